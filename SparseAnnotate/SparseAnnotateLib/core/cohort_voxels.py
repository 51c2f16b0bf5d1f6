"""Fingerprints of the voxels of a cohort's images: an image that was saved again in another file is the same one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cohort_channels import CohortChannels
from .errors import BadInputError, FileWriteError
from .geometry import VolumeGeometry
from .image_fingerprint import finding_image_fingerprint, joined_fingerprint
from .images import read_facts, read_geometry
from .layer_reading import LayeredFile, NotLayeredError
from .messages import _
from .origin import Origin
from .pieces import result_of
from .strict_json import read_json, write_json
from .voxel_fingerprint import finding_fingerprint_of_layers, finding_voxel_fingerprint
from .voxel_values import NotNumbersError, require_finite


@dataclass(frozen=True)
class KeptVoxels:
    """The fingerprint of the voxels in an image file, and that of the file."""

    file: str
    voxels: str


class ReplacedError(BadInputError):
    """An image whose file is another one than a moment ago."""

    def __init__(self, name: str):
        super().__init__(
            _("The image of case '{name}' is being replaced. Try again when it has been written.").format(name=name)
        )


class CohortVoxels(CohortChannels):
    """What `Cohort` knows of the voxels of its images; an image is read once, and again when its file has changed."""

    @abstractmethod
    def channel_paths(self, name: str) -> dict[str, Path]: ...

    @abstractmethod
    def image(self, name: str) -> tuple[np.ndarray, VolumeGeometry]: ...

    @abstractmethod
    def channel_image(self, name: str, channel: str, geometry: VolumeGeometry) -> np.ndarray: ...

    @abstractmethod
    def _channel_in_file(self, name: str, channel: str = "") -> int | None: ...

    @abstractmethod
    def image_fingerprint(self, name: str, channels: Sequence[str] | None = None) -> str: ...

    @abstractmethod
    def image_marks(self, name: str, channels: Sequence[str] | None = None) -> dict[str, str]: ...

    def voxel_fingerprint(self, name: str, channels: Sequence[str] | None = None, read: bool = True) -> str:
        """Short text computed from the voxels of a case's images; it stays the same when they are saved again.

        '' when `voxel_marks` gives none. Args: as there.
        """
        marks = self.voxel_marks(name, channels, read)
        return joined_fingerprint(list(marks.items())) if marks else ""

    def voxel_marks(self, name: str, channels: Sequence[str] | None = None, read: bool = True) -> dict[str, str]:
        """The `voxel_fingerprint` of each channel of a case alone.

        Empty when some voxels are not numbers, or are not known yet, or an image cannot be read.

        Args:
            channels: as for `image_fingerprint`. read: whether images are read whose voxels are not known yet.
        """
        marks: dict[str, str] = {}
        try:
            for channel, file in self.image_marks(name, channels).items():
                known = self._known_voxels(name, file, channel)
                if known is None and read:
                    known = result_of(self._finding_voxels(name, file, channel=channel))
                marks[channel] = known or ""
        except BadInputError:
            return {}
        return marks if all(marks.values()) else {}

    def finding_voxel_marks(self, name: str, unless: str) -> Generator[float, None, None]:
        """Let the `voxel_marks` of a case be known, in pieces, unless its image files have a fingerprint already.

        Yields 0.0, the share written of a file. Where an image cannot be read, nothing is known: reading it tells.
        """
        with suppress(BadInputError):
            marks = dict[str, str]()
            for channel, path in self.channel_paths(name).items():
                marks[channel] = yield from finding_image_fingerprint(path, self._memo_of_file(name, channel))
            if joined_fingerprint(list(marks.items())) == unless:
                return
            for channel, mark in marks.items():
                if self._known_voxels(name, mark, channel) is None:
                    yield from self._finding_voxels(name, mark, channel=channel)

    def is_image_of(
        self, name: str, file: str, voxels: str, grid: VolumeGeometry | None, channels: Sequence[str] | None = None
    ) -> bool:
        """Whether a case's images are those that had these fingerprints, or were only saved again.

        Saved again means on the same grid, and with the same voxels. They are read only when the file is another one.

        Args:
            file: an `image_fingerprint`. voxels: a `voxel_fingerprint`; '' when it is not known. grid: of the first
                image; None when it is not known. channels: as for `image_fingerprint`.
        """
        if self.image_fingerprint(name, channels) == file:
            return True
        if not voxels or (grid is not None and self.geometry(name).difference_from(grid) is not None):
            return False
        return self.voxel_fingerprint(name, channels) == voxels

    def image_since(self, name: str, path: Path) -> str:
        """The fingerprint of a case's image, to compare with that which an earlier result, in a file, was made from.

        It is the earlier one when the image was only saved again: on the same grid, and with the same voxels. They are
        read only when its file has another fingerprint. Of a result of an earlier version the voxels are not known.
        """
        made, now = Origin.from_facts(read_facts(path)), self.image_fingerprint(name)
        if not made.voxels or made.image in ("", now):
            return now
        # A result lies on the grid of its image.
        if self.geometry(name).difference_from(read_geometry(path)) is not None:
            return now
        return made.image if self.voxel_fingerprint(name) == made.voxels else now

    def keep_voxels(self, name: str, array: np.ndarray, marks: Mapping[str, str], channel: str = "") -> None:
        """`keeping_voxels` of a channel, or of the first, unless its file was replaced while it was read.

        `marks`: the `image_marks` of the case before it was read.
        """
        channel = channel or self._first(name)
        if self.image_marks(name, [channel]).get(channel) == marks[channel]:
            result_of(self.keeping_voxels(name, array, marks[channel], channel))

    def keeping_voxels(
        self, name: str, array: np.ndarray, mark: str, channel: str = ""
    ) -> Generator[float, None, None]:
        """Keep the fingerprint of a case's voxels, (K, J, I), that were just read, so that they are not read again.

        In pieces: yields 0.0, the share written of a file.

        Args:
            mark: the fingerprint of the file that they were read from, computed before they were read.
        """
        kept = self._kept_voxels(name, channel)
        if kept is None or kept.file != mark:
            voxels = yield from finding_voxel_fingerprint(array)
            self._keep_voxels(name, KeptVoxels(mark, voxels), channel)

    def _known_voxels(self, name: str, mark: str, channel: str = "") -> str | None:
        """What is kept of the voxels of a channel, or of the first, if its file has the fingerprint `mark`."""
        kept = self._kept_voxels(name, channel)
        return kept.voxels if kept is not None and kept.file == mark else None

    def _finding_voxels(
        self, name: str, mark: str, image: np.ndarray | None = None, channel: str = ""
    ) -> Generator[float, None, str]:
        """The fingerprint of a channel's voxels, or of the first's, '' when some are not numbers.

        Args:
            mark: the fingerprint of its file. image: its voxels, (K, J, I), if they are at hand.
        """
        kept = self._kept_voxels(name, channel)
        if kept is not None and kept.file == mark:
            return kept.voxels
        path = self.channel_paths(name)[channel or self._first(name)]
        try:
            voxels = yield from self._finding_unknown_voxels(name, channel, path, image)
        except NotNumbersError:  # an image that is not needed for everything
            return ""
        now = yield from finding_image_fingerprint(path, self._memo_of_file(name, channel))
        if now != mark:
            raise ReplacedError(name)
        self._keep_voxels(name, KeptVoxels(mark, voxels), channel)
        return voxels

    def _finding_unknown_voxels(
        self, name: str, channel: str, path: Path, image: np.ndarray | None
    ) -> Generator[float, None, str]:
        """`_finding_voxels` from the voxels themselves: layer by layer where the file allows it.

        Raises NotNumbersError.
        """
        number = self._channel_in_file(name, channel)
        frames = 1 if number is None else len(self.channels)
        layered = LayeredFile.of(path, number or 0, frames) if image is None else None
        # A further channel may lie on the grid in another order of axes, in which its voxels are compared.
        if layered is not None and read_geometry(path, number).difference_from(self.geometry(name)) is None:
            with suppress(NotLayeredError):
                layers = _finite(layered.layers(), path)
                return (yield from finding_fingerprint_of_layers(layered.shape, layered.dtype.itemsize, layers))
        array = self._voxels(name, channel) if image is None else image
        yield 0.0
        return (yield from finding_voxel_fingerprint(array))

    def _voxels(self, name: str, channel: str) -> np.ndarray:
        if channel in ("", self._first(name)):
            return self.image(name)[0]
        return self.channel_image(name, channel, self.geometry(name))

    def _first(self, name: str) -> str:
        return next(iter(self.channel_paths(name)))

    def _memo_of_file(self, name: str, channel: str) -> Path:
        """Where the fingerprint of a channel's file is kept; a 4D file is that of each channel."""
        is_further = channel not in ("", self._first(name)) and not self.case(name).is_4d
        return self.marks_path(name, channel if is_further else "")

    def _kept_voxels(self, name: str, channel: str = "") -> KeptVoxels | None:
        path = self._voxels_path(name, channel)
        with suppress(BadInputError):
            return read_json(path, KeptVoxels) if path.is_file() else None
        return None

    def _keep_voxels(self, name: str, kept: KeptVoxels, channel: str = "") -> None:
        # If it cannot be written, the image is read each time.
        with suppress(FileWriteError):
            write_json(self._voxels_path(name, channel), kept)

    def _voxels_path(self, name: str, channel: str = "") -> Path:
        folder = self.cache_folder / "voxels"
        if channel not in ("", self._first(name)):
            folder /= self._folder_of_further(name, channel)
        return folder / f"{self._stem(name)}.json"

    def _folder_of_further(self, name: str, channel: str) -> str:
        if not self.case(name).is_4d:
            return f"channel {channel}"
        # All channels are in one file, so its fingerprint does not show that their names were put in another order.
        return f"frame {list(self.channel_paths(name)).index(channel)}"


def _finite(layers: Iterator[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """The layers of an image file, in their order. Raises NotNumbersError at the first that holds NaN or Inf."""
    for number, layer in enumerate(layers):
        require_finite(layer[None], _("The image '{path}'").format(path=path), first=number)
        yield layer
