"""The images of scans that are in no cohort: one each, or one of each channel that a run has learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import BadInputError, VolumeGeometry
from ..core.channels import on_grid_of_channels
from ..core.images import channel_count, read_image
from ..core.messages import _
from ..runs.cards import RunCard
from .case_channels import CaseChannels


@dataclass(frozen=True)
class ScanChannels:
    """The scans to label.

    Attributes:
        paths: the file of each scan, or of its first channel.
        stems: a name for each; None: its file's name.
        names: the channels in the order that the run has learned; none for scans of one image each.
        given: all channels that were named, in the order of those in 4D files.
        further: for each path the files of its other channels by name. is_4d: True when each file has all channels.
    """

    paths: list[Path]
    stems: list[str] | None
    names: tuple[str, ...]
    given: tuple[str, ...]
    further: Mapping[Path, Mapping[str, str]]
    is_4d: bool

    @classmethod
    def of(cls, files: Sequence[Path], endings: Mapping[str, str], card: RunCard, run: str) -> ScanChannels:
        """The files of scans, grouped by scan.

        Args:
            files: of all channels. endings: name of each channel to the ending of its files' names; none for scans of
                one image each. card, run: of the run, and its name.

        Raises BadInputError when these are not the channels that the run has learned from.
        """
        missing = [name for name in card.channels if name not in endings]
        if missing and (endings or len(card.channels) > 1):
            raise BadInputError(
                _(
                    "The run '{run}' needs the channels {wanted}. Say which files they are, for example with "
                    "'--channels {example}'."
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
        if not endings:
            return cls(list(files), None, (), (), {}, False)
        # First what the run has learned first: that is what other files must lie beside.
        ordered = {name: endings[name] for name in card.channels} if any(endings.values()) else dict(endings)
        found = CaseChannels.of([str(path) for path in files], ordered, False)
        paths = [Path(image) for image in found.images]
        further = dict(zip(paths, found.further, strict=True))
        return cls(paths, list(found.stems), card.channels, tuple(ordered), further, found.is_4d)

    def files(self, path: Path) -> dict[str, Path]:
        """The file of each channel of a scan; none for scans of one image each."""
        if not self.names or self.is_4d:
            return {}
        own = {self.names[0]: path, **{name: Path(file) for name, file in self.further[path].items()}}
        return {name: own[name] for name in self.names if name in own}

    def image(self, path: Path) -> tuple[np.ndarray, VolumeGeometry]:
        """The image of a scan, (K, J, I), of several channels (C, K, J, I), and its geometry.

        Raises BadInputError when it cannot be read, a channel is missing or has another grid.
        """
        if self.is_4d:
            if (count := channel_count(path)) != len(self.given):
                raise BadInputError(
                    _("It has {count} channels instead of {wanted} ({names}).").format(
                        count=count, wanted=len(self.given), names=", ".join(self.given)
                    )
                )
            read = {name: read_image(path, place) for place, name in enumerate(self.given)}
            return np.stack([read[name][0] for name in self.names]), read[self.names[0]][1]
        if len(self.names) < 2:
            return read_image(path)
        files = self.files(path)
        missing = [name for name in self.names if name not in files]
        if missing:
            raise BadInputError(_("It has no image of the channel '{channel}'.").format(channel=missing[0]))
        first, geometry = read_image(path)
        images = [first]
        for name in self.names[1:]:
            array, own = read_image(files[name])
            images.append(on_grid_of_channels(array, own, geometry, files[name]))
        return np.stack(images), geometry
