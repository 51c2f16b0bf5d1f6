"""The images of each case when a cohort is made: one, or one of each channel."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core import BadInputError, Case, Cohort, CohortError
from ..core.case_names import file_stem
from ..core.channels import (
    channel_folder,
    check_channels,
    grouped_by_channel,
    require_grid_of_channel,
    resampled_to_channel,
)
from ..core.decathlon import case_name
from ..core.geometry import VolumeGeometry
from ..core.image_intake import ImportMode, free_path, import_image, is_same_image
from ..core.images import channel_count, read_geometry, read_image, write_image
from ..core.messages import _, counted, joined, listed

_LOG = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(.+)_(\d{4})")  # as nnU-Net names the channels of a case


@dataclass(frozen=True)
class CaseChannels:
    """The images of the cases to add, in order.

    Attributes:
        names: of the channels; none for cases of a single image without a channel's name.
        images: the file of each case's image, or of its first channel.
        stems: for each case, what its file's name is without the ending of a channel; its folder's if nothing is left.
        further: for each case, the files of its other channels by name.
        is_4d: True when each file has all channels.
        resample: whether channels on another grid are resampled.
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    stems: tuple[str, ...]
    further: tuple[Mapping[str, str], ...]
    is_4d: bool
    resample: bool

    @classmethod
    def of(cls, files: Sequence[str], channels: Mapping[str, str], resample: bool) -> CaseChannels:
        """The files of a cohort's scans, grouped by case.

        Args:
            files: of all channels. channels: names, in order, to the endings of their files' names; see
                `CreateRequest`.

        Raises BadInputError when the channels cannot be used, no file is a channel, or a case lacks the first one.
        """
        names = check_channels(tuple(channels))
        endings = dict(zip(names, channels.values(), strict=True))
        if not channels:
            _note_numbered_channels(files)
        if not any(endings.values()):
            stems = tuple(case_name(path) for path in files)
            return cls(names, tuple(files), stems, ({},) * len(files), len(names) > 1, resample)
        groups = grouped_by_channel(files, endings)
        if not groups:
            raise no_channel(endings)
        first = names[0]
        without = [next(iter(parts.values())) for parts in groups.values() if first not in parts]
        if without:
            raise BadInputError(
                _(
                    "These files have no image of the first channel, '{channel}', beside them: {files}. Slices are "
                    "drawn in the first channel: leave these cases out, or name a channel first that all cases have."
                ).format(channel=first, files=listed(without, 3))
            )
        used = {path for parts in groups.values() for path in parts.values()}
        log_left_out([path for path in files if path not in used])
        images = tuple(parts[first] for parts in groups.values())
        stems = tuple(rest or Path(folder).name for folder, rest in groups)
        further = tuple({name: parts[name] for name in names[1:] if name in parts} for parts in groups.values())
        return cls(names, images, stems, further, False, resample)

    def checked_geometry(self, number: int) -> VolumeGeometry:
        """The grid of a case. Raises BadInputError when one of its images cannot be used, or has another grid."""
        path = self.images[number]
        if not self.is_4d:
            geometry = read_geometry(path)
            for other in self.further[number].values():
                if self.resample:
                    read_geometry(other)
                else:
                    _require_grid(other, geometry)
            return geometry
        count = channel_count(path)
        if count != len(self.names):
            raise BadInputError(
                counted(
                    count,
                    _("'{path}' holds {count} image instead of {wanted} ({names})."),
                    _("'{path}' holds {count} images instead of {wanted} ({names})."),
                    path=path,
                    wanted=len(self.names),
                    names=", ".join(self.names),
                )
            )
        return read_geometry(path, 0)

    def entered(self, case: Case, number: int, folder: Path, import_mode: ImportMode, made: list[Path]) -> Case:
        """The case with its further channels, whose files are imported, or resampled, into the cohort's `folder`."""
        geometry = read_geometry(self.images[number]) if self.further[number] else None
        further = {}
        for channel, path in self.further[number].items():
            stem, kind = file_stem(case.name), channel_folder(channel)
            if geometry is not None and self.resample and not _has_same_voxels(path, geometry):
                array, own = read_image(path)
                target = free_path(folder / kind / f"{stem}.nrrd", lambda place: place.exists())
                write_image(target, _resampled(path, array, own, geometry), geometry)
                made.append(target)
                _LOG.warning(f"Resampled '{path}' to the grid of '{self.images[number]}': '{target}'.")
                further[channel] = target.relative_to(folder).as_posix()
                continue
            further[channel] = import_image(path, folder, kind, stem, import_mode, made)
        return replace(case, further=further, is_4d=self.is_4d)

    def require_same(self, known: Cohort, number: int, name: str) -> None:
        """Raise CohortError when a case of the cohort has other further channels than the case to add."""
        paths = known.channel_paths(name)
        for channel, path in self.further[number].items():
            if channel not in paths or not self._is_same(known, name, channel, path, paths[channel]):
                raise CohortError(
                    _(
                        "The case '{name}' is already in the cohort '{cohort}', without the image '{path}' of the "
                        "channel '{channel}'. Choose another name for the new case with '--names'."
                    ).format(name=name, cohort=known.name, path=path, channel=channel)
                )

    def _is_same(self, known: Cohort, name: str, channel: str, path: str, known_path: Path) -> bool:
        if is_same_image(Path(path), known_path):
            return True
        geometry = known.geometry(name)
        if not self.resample or _has_same_voxels(path, geometry):
            return False
        array, own = read_image(path)
        return np.array_equal(_resampled(path, array, own, geometry), known.channel_image(name, channel, geometry))

    def report(self, names: Sequence[str]) -> None:
        """Log which cases lack which channels."""
        for channel in () if self.is_4d else self.names[1:]:
            without = [name for name, parts in zip(names, self.further, strict=True) if channel not in parts]
            if without:
                _LOG.warning(
                    counted(
                        len(without),
                        "{count} case has no image of the channel '{channel}': {cases}.",
                        "{count} cases have no image of the channel '{channel}': {cases}.",
                        channel=channel,
                        cases=listed(without, 5),
                    )
                )


def _note_numbered_channels(files: Sequence[str]) -> None:
    """Say that files look like the channels of nnU-Net: each of several cases has the same numbers from 0."""
    numbers: dict[str, set[str]] = {}
    for path in files:
        found = _NUMBERED.fullmatch(case_name(path))
        if found is None:
            return
        numbers.setdefault(found[1], set()).add(found[2])
    kinds = set(map(frozenset, numbers.values()))
    if len(numbers) < 2 or len(kinds) > 1:
        return
    endings = sorted(next(iter(kinds)))
    if len(endings) < 2 or endings != [f"{number:04d}" for number in range(len(endings))]:
        return
    options = " ".join(f"NAME{number}=_{ending}" for number, ending in enumerate(endings, 1))
    _LOG.warning(
        f"Each file became a case, but the names look like {len(endings)} channels of {len(numbers)} cases, as nnU-Net "
        f"writes them. If they are, make the cohort again with '--channels {options}', with the names of the channels."
    )


def no_channel(endings: Mapping[str, str]) -> BadInputError:
    """The error for files none of which is a channel."""
    shown = ", ".join(f"{name}={ending}" for name, ending in endings.items())
    return BadInputError(
        _("No file's name ends like a channel ({endings}). Correct the endings in '--channels'.").format(endings=shown)
    )


def log_left_out(files: Sequence[str]) -> None:
    """Log which files are no channel."""
    if files:
        _LOG.warning(
            counted(
                len(files),
                "Left out {count} file whose name matches none of the endings of channels: '{example}'.",
                "Left out {count} files whose names match none of the endings of channels, for example '{example}'.",
                example=files[0],
            )
        )


def _require_grid(path: str, geometry: VolumeGeometry) -> None:
    read_geometry(path)  # what is wrong with the file itself cannot be resampled
    try:
        require_grid_of_channel(path, geometry)
    except BadInputError as error:
        raise BadInputError(joined(" ", [error.message, _("'--resample' does it.")])) from error


def _has_same_voxels(path: str, geometry: VolumeGeometry) -> bool:
    try:
        require_grid_of_channel(path, geometry)
    except BadInputError:
        return False
    return True


def _resampled(path: str, array: np.ndarray, own: VolumeGeometry, geometry: VolumeGeometry) -> np.ndarray:
    try:
        return resampled_to_channel(array, own, geometry)
    except BadInputError as error:
        raise BadInputError(_("'{path}' cannot be used. {problem}").format(path=path, problem=error.message)) from error
