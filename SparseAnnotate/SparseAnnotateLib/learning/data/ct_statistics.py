"""The scale of CT images for a run, from the drawn structures of its cases (after nnU-Net, Isensee et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core import Cohort, SparseAnnotation
from ...core.array_files import load_array, save_array
from ...core.modalities import CT_WINDOW
from ...runs.ct_scale import CtScale
from .image_channels import channels_mark

_MOST_VALUES = 10_000  # of each case, so that large structures and thin slices do not count more
_PERCENT = (0.5, 99.5)
_NARROWEST, _LEAST_DEVIATION = 200.0, 10.0  # a few slices may show less than there is
_VERSION = 1  # part of every name in the cache


class CtStatistics:
    """Hounsfield units of the drawn structures, for each channel of a cohort that is CT."""

    def __init__(self, cohort: Cohort):
        self._cohort = cohort
        self._values: dict[str, list[np.ndarray]] = {c: [] for c in cohort.channels or ("",) if cohort.is_ct(c)}

    @property
    def reads_images(self) -> bool:
        """True when some channel is CT, so that `add` reads images."""
        return bool(self._values)

    def add(self, name: str, annotation: SparseAnnotation) -> None:
        """Add the structures on the drawn slices of a case. Raises BadInputError when an image cannot be read."""
        own = self._cohort.channel_paths(name)
        for channel, found in self._values.items():
            if channel in own:
                found.append(_values(self._cohort, name, channel, annotation))

    def scales(self, channels: Sequence[str]) -> dict[str, CtScale]:
        """The scale of each of these channels that is CT, by its name; '' for images that are no channels with names.

        Args:
            channels: none for such images.
        """
        seen = channels or ("",)
        return {
            channel: _scale(np.concatenate(found))
            for channel, found in self._values.items()
            if found and channel in seen
        }


def scale_marks(ct: Mapping[str, CtScale]) -> str:
    """Short text for a file name that differs between scales; '' without any."""
    return channels_mark([repr(item) for item in sorted(ct.items())]) if ct else ""


def _values(cohort: Cohort, name: str, channel: str, annotation: SparseAnnotation) -> np.ndarray:
    """(n,) float32 Hounsfield units of drawn structures, at most 10,000, evenly spread."""
    marks = f"{cohort.image_fingerprint(name)}-{annotation.fingerprint()}-{_VERSION}{channels_mark([channel])}"
    path = cohort.cache_folder / "ct_structures" / f"{marks}.npy"
    kept = load_array(path)
    if kept is not None and kept.ndim == 1:
        return kept
    image = cohort.channel_image(name, channel, annotation.geometry)
    values = image[annotation.drawn_labels() > 0].astype(np.float32)
    values = values[:: max(1, -(-len(values) // _MOST_VALUES))]
    save_array(path, values)
    return values


def _scale(values: np.ndarray) -> CtScale:
    """The scale for Hounsfield units of structures, (n,) float32; a fixed one where there are none."""
    if not len(values):
        low, high = CT_WINDOW
        return CtScale(low, high, 0.0, (high - low) / 4)
    low, high = (float(value) for value in np.percentile(values, _PERCENT))
    more = max(0.0, (_NARROWEST - (high - low)) / 2)
    inside = np.clip(values.astype(np.float64), low, high)
    return CtScale(low - more, high + more, float(inside.mean()), max(float(inside.std()), _LEAST_DEVIATION))
