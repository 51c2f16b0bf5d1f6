"""The images that the cases of a cohort were drawn on: kept when something is drawn, and compared when it is used."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from .atomic_files import why_not_written
from .cohort_channels import CohortChannels
from .drawn_on import DrawnOn, ImageChange, KeptVoxels, changed_images_sentence
from .errors import BadInputError, FileWriteError
from .file_stamp import FileStamp, is_settled, stamp_of
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .image_fingerprint import finding_image_fingerprint, image_files
from .ledger import Ledger
from .messages import _
from .pieces import result_of
from .progress import Watch
from .strict_json import read_json, write_json
from .voxel_fingerprint import finding_voxel_fingerprint


class CohortDrawnOn(CohortChannels):
    """What `Cohort` knows of the images that were drawn on; only the first channel of each counts.

    Of a case that was drawn before this was kept, nothing is known until it is drawn on again.
    """

    def __init__(self, state_folder: Path):
        super().__init__(state_folder)
        self._image_changes: dict[str, tuple[list[FileStamp], ImageChange | None]] = {}

    @abstractmethod
    def image_path(self, name: str) -> Path: ...

    @abstractmethod
    def image(self, name: str) -> tuple[np.ndarray, VolumeGeometry]: ...

    @abstractmethod
    def image_fingerprint(self, name: str, channels: Sequence[str] | None = None) -> str: ...

    @abstractmethod
    def ledger(self, name: str) -> Ledger: ...

    def image_change(self, name: str) -> ImageChange | None:
        """How a case's image differs from the one that was drawn on; None when it does not, or nothing is known.

        A file that was compressed or saved again with the same voxels is the same image. The image is read only when
        its file has another fingerprint.

        Raises BadInputError when the image cannot be read, or what is known is damaged.
        """
        path = self.drawn_on_path(name)
        if not path.is_file():
            return None
        stamps: list[FileStamp] = []
        with suppress(OSError):  # of a missing image, reading it tells
            stamps = [stamp_of(path), *map(stamp_of, image_files(self.image_path(name)))]
        known = self._image_changes.get(name)
        if stamps and known is not None and known[0] == stamps:
            return known[1]
        change = self._change_since(read_json(path, DrawnOn), name)
        if stamps and all(map(is_settled, stamps)):
            self._image_changes[name] = stamps, change
        return change

    def image_changes(self, names: Iterable[str], watch: Watch | None = None) -> dict[str, ImageChange]:
        """`image_change` of those of these cases that have one.

        Cases whose images cannot be read are left out: reading them tells what is wrong.

        Args:
            watch: shows whose image is being read, and cancels in between.
        """
        found = {}
        for name in names:
            if not self.drawn_on_path(name).is_file():
                continue
            if watch is not None:
                watch.step(0.0, _("checking the image of '{name}'").format(name=name))
            with suppress(BadInputError):
                found[name] = self.image_change(name)
        return {name: change for name, change in found.items() if change is not None}

    def require_images_drawn_on(self, names: Iterable[str], watch: Watch | None = None) -> None:
        """Raise BadInputError when images of cases are not those that were drawn on; it names the cases.

        `watch`: as for `image_changes`.
        """
        changes = self.image_changes(names, watch)
        if changes:
            raise BadInputError(changed_images_sentence(changes))

    def accept_image(self, name: str, wait_seconds: float = 10.0) -> None:
        """Let what was drawn on a case belong to the image that is there now.

        Raises BadInputError when that image cannot be read, or has another grid; BusyError when another process works
        in the folder for longer than `wait_seconds`.
        """
        with FolderLock(self.state_folder, f"accepting the image of case '{name}'", wait_seconds):
            change = self._change_of_grid(name)
            if change is not None:
                raise BadInputError(changed_images_sentence({name: change}))
            for _step in self._noting_image(name):
                pass

    def keeping_voxels(self, name: str, array: np.ndarray) -> Iterator[float]:
        """Keep the fingerprint of a case's voxels, (K, J, I), that were just read, so that they are not read again.

        In pieces: yields 0.0, the share written of a file.
        """
        mark, kept = self.image_fingerprint(name, ()), self._kept_voxels(name)
        if kept is None or kept.file != mark:
            voxels = yield from finding_voxel_fingerprint(array)
            self._keep_voxels(name, KeptVoxels(mark, voxels))

    def forget_image(self, name: str) -> None:
        """Let nothing be known of the image that a case was drawn on. Raises FileWriteError."""
        path = self.drawn_on_path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise FileWriteError(why_not_written(path, error)) from error

    def _noting_image_of_drawing(self, name: str, image: np.ndarray | None = None) -> Iterator[float]:
        """After something was drawn or cleared: keep the image that is there now, if anything is drawn, in pieces.

        What is drawn is stored even when the image cannot be read.

        Args:
            image: its voxels, (K, J, I), if they are at hand.
        """
        if not self._has_knowledge(name):
            self.forget_image(name)
            return
        try:
            yield from self._noting_image(name, image)
        except BadInputError as error:
            logging.getLogger(__name__).warning(f"It was not kept which image '{name}' was drawn on. {error}")

    def _has_knowledge(self, name: str) -> bool:
        return self.corrections_path(name).is_file() or bool(self.ledger(name).decided)

    def _noting_image_of_corrections(self, name: str) -> Iterator[float]:
        """After something was corrected or that was cleared: keep the image that is there now, if none is known.

        Another image is not accepted by it.
        """
        is_known, is_needed = self.drawn_on_path(name).is_file(), self._has_knowledge(name)
        if is_known != is_needed:
            yield from self._noting_image_of_drawing(name)

    def _noting_image(self, name: str, image: np.ndarray | None = None) -> Iterator[float]:
        path = self.drawn_on_path(name)
        mark = yield from finding_image_fingerprint(self.image_path(name), self.marks_path(name))
        with suppress(BadInputError):
            if path.is_file() and read_json(path, DrawnOn).file == mark:
                return
        voxels = yield from self._finding_voxels(name, mark, image)
        write_json(path, DrawnOn(mark, voxels, self.geometry(name)))

    def _change_since(self, drawn_on: DrawnOn, name: str) -> ImageChange | None:
        mark = self.image_fingerprint(name, ())
        if mark == drawn_on.file:
            return None
        difference = self.geometry(name).difference_from(drawn_on.geometry)
        if difference is not None:
            return ImageChange(difference, is_of_grid=True)
        voxels = result_of(self._finding_voxels(name, mark))
        if not voxels or not drawn_on.voxels:
            return ImageChange(_("its file is another one, and the voxels cannot be compared"))
        return ImageChange(_("its voxels have other values")) if voxels != drawn_on.voxels else None

    def _change_of_grid(self, name: str) -> ImageChange | None:
        path = self.drawn_on_path(name)
        with suppress(BadInputError):  # what is damaged is replaced
            drawn_on = read_json(path, DrawnOn) if path.is_file() else None
            difference = self.geometry(name).difference_from(drawn_on.geometry) if drawn_on is not None else None
            return ImageChange(difference, is_of_grid=True) if difference is not None else None
        return None

    def _finding_voxels(self, name: str, mark: str, image: np.ndarray | None = None) -> Generator[float, None, str]:
        """The fingerprint of a case's voxels, '' when they cannot be used; `mark` is that of its file."""
        kept = self._kept_voxels(name)
        if kept is not None and kept.file == mark:
            return kept.voxels
        try:
            array = self.image(name)[0] if image is None else image
        except BadInputError:  # not numbers: an image that is not needed for everything
            return ""
        yield 0.0
        voxels = yield from finding_voxel_fingerprint(array)
        now = yield from finding_image_fingerprint(self.image_path(name), self.marks_path(name))
        if now != mark:
            raise BadInputError(
                _("The image of case '{name}' is being replaced. Try again when it has been written.").format(name=name)
            )
        self._keep_voxels(name, KeptVoxels(mark, voxels))
        return voxels

    def _kept_voxels(self, name: str) -> KeptVoxels | None:
        path = self._voxels_path(name)
        with suppress(BadInputError):
            return read_json(path, KeptVoxels) if path.is_file() else None
        return None

    def _keep_voxels(self, name: str, kept: KeptVoxels) -> None:
        # If it cannot be written, the image is read each time.
        with suppress(FileWriteError):
            write_json(self._voxels_path(name), kept)

    def _voxels_path(self, name: str) -> Path:
        return self.cache_folder / "voxels" / f"{self._stem(name)}.json"
