"""The images of scans that are in no cohort: one each, or one of each channel that a run has learned from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import BadInputError, VolumeGeometry
from ..core.channels import grouped_by_channel, on_grid_of_channels, stacked
from ..core.images import channel_count, read_geometry, read_image
from ..core.messages import _, counted
from ..runs.cards import RunCard
from .case_channels import log_left_out, no_channel

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanChannels:
    """The scans to label.

    Attributes:
        paths: the file of each scan, or of the first channel that it has.
        stems: a name for each; None: its file's name.
        names: the channels in the order that the run has learned; none for scans of one image each.
        given: the channels in 4D files, in their order; none for other files.
        parts: for each path the files of the run's channels that the scan has, by name; of scans of one file each, no
            path.
    """

    paths: list[Path]
    stems: list[str] | None
    names: tuple[str, ...]
    given: tuple[str, ...]
    parts: Mapping[Path, Mapping[str, str]]

    @property
    def is_4d(self) -> bool:
        """True when each file has all channels."""
        return bool(self.given)

    @classmethod
    def of(cls, files: Sequence[Path], endings: Mapping[str, str], card: RunCard, run: str) -> ScanChannels:
        """The files of scans, grouped by scan.

        Args:
            files: of all channels. endings: name of each channel to the ending of its files' names; none for scans of
                one image each. card, run: of the run, and its name.

        Raises BadInputError when these are not the channels that the run has learned from.
        """
        _require_channels(endings, card, run)
        if not endings:
            _note_other_files(files, card)
            return cls(list(files), None, (), (), {})
        if not any(endings.values()):
            given = tuple(endings) if len(endings) > 1 else ()
            return cls(list(files), None, card.channels, given, {})
        # By all endings: a file may end like a needed channel and like another one, whose ending is longer.
        groups = grouped_by_channel([str(path) for path in files], endings)
        if not groups:
            raise no_channel(endings)
        used = {path for parts in groups.values() for path in parts.values()}
        log_left_out([str(path) for path in files if str(path) not in used])
        paths, stems, found = [], [], {}
        for (folder, rest), parts in groups.items():
            # A scan with none of them is a scan that cannot be labeled, not one to leave out without a word.
            wanted = {name: parts[name] for name in card.channels if name in parts}
            paths.append(Path(next(iter((wanted or parts).values()))))
            stems.append(rest or Path(folder).name)
            found[paths[-1]] = wanted
        return cls(paths, stems, card.channels, (), found)

    def files(self, path: Path) -> dict[str, Path]:
        """The file of each channel of a scan; none for scans of one file each."""
        return {name: Path(file) for name, file in self.parts.get(path, {}).items()}

    def geometry(self, path: Path) -> VolumeGeometry:
        """The geometry of a scan, from its header alone. Raises BadInputError when that cannot be read."""
        return read_geometry(path, 0 if self.is_4d else None)

    def image(self, path: Path) -> tuple[np.ndarray, VolumeGeometry]:
        """The image of a scan, (K, J, I), of several channels (C, K, J, I), and its geometry.

        Raises BadInputError when it cannot be read, a channel is missing or has another grid.
        """
        if self.is_4d:
            return self._image_4d(path)
        files = self.files(path)
        missing = [name for name in self.names if name not in files] if path in self.parts else []
        if missing:
            raise BadInputError(_("It has no image of the channel '{channel}'.").format(channel=missing[0]))
        first, geometry = read_image(path)
        if len(files) < 2:
            return first, geometry
        images = [first]
        for name in self.names[1:]:
            array, own = read_image(files[name])
            images.append(on_grid_of_channels(array, own, geometry, files[name]))
        return stacked(images), geometry

    def _image_4d(self, path: Path) -> tuple[np.ndarray, VolumeGeometry]:
        count = channel_count(path)
        if count != len(self.given):
            raise BadInputError(
                counted(
                    count,
                    _("It holds {count} image instead of {wanted} ({names})."),
                    _("It holds {count} images instead of {wanted} ({names})."),
                    wanted=len(self.given),
                    names=", ".join(self.given),
                )
            )
        read = [read_image(path, self.given.index(name)) for name in self.names]
        geometry = read[0][1]
        return (read[0][0] if len(read) == 1 else stacked([array for array, _geometry in read])), geometry


def _note_other_files(files: Sequence[Path], card: RunCard) -> None:
    """Log that each file is labeled, where the names of some but not all have that of the run's only channel."""
    for channel in card.channels:
        others = sum(channel.casefold() not in path.name.casefold() for path in files)
        if 0 < others < len(files):
            _LOG.warning(
                counted(
                    others,
                    "Each file is labeled as an image of the channel '{channel}', also the {count} file without this "
                    "name. {remedy}",
                    "Each file is labeled as an image of the channel '{channel}', also the {count} files without this "
                    "name. {remedy}",
                    channel=channel,
                    remedy="If scans have files of other channels, too, say how those of this one end, for example "
                    f"with '--channels {channel}=_{channel.lower()}'.",
                )
            )


def _require_channels(endings: Mapping[str, str], card: RunCard, run: str) -> None:
    missing = [name for name in card.channels if name not in endings]
    if missing and (endings or len(card.channels) > 1):
        raise BadInputError(
            _(
                "The run '{run}' needs the channels {wanted}. Say which files they are, for example with '--channels "
                "{example}'."
            ).format(
                run=run,
                wanted=", ".join(card.channels),
                example=" ".join(f"{name}=_{name.lower()}" for name in card.channels),
            )
        )
    if endings and not card.channels:
        raise BadInputError(
            _("The run '{run}' has learned from single images without channels. Leave out '--channels'.").format(
                run=run
            )
        )
