"""Extents and pictures of a cohort's slices, cached by the content of the image files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import BadInputError, Cohort, Plane, Watch
from ..core.array_files import load_array, save_array
from ..core.case_names import file_stem
from ..core.modalities import CT_WINDOW
from ..core.strict_json import read_json, write_json
from .body_extent import body_extents
from .slice_images import INTENSITY_SIZE, slice_images

CACHE_VERSION = 2  # part of every name, so that what another version has written is not read


@dataclass(frozen=True)
class BodyExtents:
    """First and last slice along each array axis that the body reaches."""

    extents: tuple[tuple[int, int], ...]


def cohort_extents(cohort: Cohort, name: str) -> tuple[tuple[int, int], ...]:
    """See `body_extents`."""
    path = cohort.cache_folder / "extents" / f"{cohort.image_fingerprint(name)}-{CACHE_VERSION}.json"
    if path.is_file():
        try:
            return read_json(path, BodyExtents).extents
        except BadInputError:
            path.unlink()
    extents = body_extents(cohort.image(name)[0])
    write_json(path, BodyExtents(extents))
    return extents


def cohort_slice_images(
    cohort: Cohort,
    name: str,
    planes: Sequence[Plane] = tuple(Plane),
    size: int = INTENSITY_SIZE,
    watch: Watch | None = None,
    channel: str = "",
) -> dict[Plane, np.ndarray]:
    """See `slice_images`: for each plane (number of slices, size, size) float16; of a channel, or of the first."""
    mark = cohort.image_fingerprint(name)
    geometry = cohort.geometry(name)
    shapes = {plane: (plane.slice_count(geometry), size, size) for plane in planes}
    is_first = not channel or channel == cohort.channels[0]
    kind = f"slices-{size}" if is_first else f"slices-{size}-{file_stem(channel)}"
    window = CT_WINDOW if cohort.is_ct(channel) else None
    kind = f"{kind}-ct" if window else kind
    paths = {plane: _path(cohort, kind, mark, plane) for plane in planes}
    found = {plane: read_array(paths[plane], shape) for plane, shape in shapes.items()}
    kept = {plane: pictures for plane, pictures in found.items() if pictures is not None}
    missing = [plane for plane in planes if plane not in kept]
    made: dict[Plane, np.ndarray] = {}
    if missing:
        image = cohort.image(name)[0] if is_first else cohort.channel_image(name, channel, geometry)
        made = slice_images(image, geometry, missing, size, watch, window)
        for plane, pictures in made.items():
            save_array(paths[plane], pictures)
    return {plane: kept[plane] if plane in kept else made[plane] for plane in planes}


def cached_array(cohort: Cohort, kind: str, name: str, plane: Plane, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The result of `compute` for the slices of a case in a plane, (number of slices, ...), from the cache if possible.

    `kind` names the result and all it depends on besides the image; it becomes the name of a folder.
    """
    path = _path(cohort, kind, cohort.image_fingerprint(name), plane)
    found = read_array(path, (plane.slice_count(cohort.geometry(name)), None))
    if found is None:
        found = compute()
        save_array(path, found)
    return found


def read_array(path: Path, shape: tuple[int | None, ...]) -> np.ndarray | None:
    """A cached array; None when there is none, or it is damaged or of another shape (None: any length)."""
    array = load_array(path)
    if array is None:
        return None
    fits = array.ndim == len(shape) and all(n in (m, None) for n, m in zip(shape, array.shape, strict=True))
    return array if fits and np.isfinite(array).all() else None


def _path(cohort: Cohort, kind: str, mark: str, plane: Plane) -> Path:
    return cohort.cache_folder / f"{kind}-{CACHE_VERSION}" / f"{mark}-{plane.value}.npy"
