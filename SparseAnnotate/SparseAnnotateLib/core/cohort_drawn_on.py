"""The images that the cases of a cohort were drawn on: kept when something is drawn, and compared when it is used."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from .atomic_files import why_not_written
from .cohort_voxels import CohortVoxels, ReplacedError
from .drawn_on import DrawnOn, ImageChange, changed_images_sentence
from .errors import BadInputError, FileWriteError, SparseAnnotateError
from .file_stamp import FileStamp, is_settled, stamp_of
from .folder_lock import FolderLock
from .geometry import VolumeGeometry
from .image_fingerprint import finding_image_fingerprint, image_files
from .ledger import Ledger
from .messages import _
from .pieces import result_of
from .progress import Watch
from .strict_json import read_json, write_json


class _ReplacedError(ReplacedError):
    """A `ReplacedError`; `before`: what is known of the earlier image."""

    def __init__(self, name: str, before: DrawnOn):
        super().__init__(name)
        self.before = before


class CohortDrawnOn(CohortVoxels):
    """What `Cohort` knows of the images that were drawn on; only the first channel of each counts.

    Of a case that was drawn before this was kept, nothing is known until it is drawn on again.
    """

    def __init__(self, state_folder: Path):
        super().__init__(state_folder)
        self._image_changes: dict[str, tuple[list[FileStamp], ImageChange | None]] = {}

    @abstractmethod
    def image_path(self, name: str) -> Path: ...

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
        stamps = self._stamps(name)
        known = self._image_changes.get(name)
        if stamps and known is not None and known[0] == stamps:
            return known[1]
        change = self._change_since(read_json(path, DrawnOn), name)
        if stamps and all(map(is_settled, stamps)) and self._stamps(name) == stamps:
            self._image_changes[name] = stamps, change
        return change

    def _stamps(self, name: str) -> list[FileStamp]:
        with suppress(OSError):  # of a missing image, reading it tells
            return [stamp_of(path) for path in (self.drawn_on_path(name), *image_files(self.image_path(name)))]
        return []

    def image_changes(self, names: Iterable[str], watch: Watch | None = None) -> dict[str, ImageChange]:
        """`image_change` of those of these cases that have one.

        Cases whose images cannot be read are left out: reading them tells what is wrong.

        Args:
            watch: shows whose image is being read, and cancels in between.
        """
        found: dict[str, ImageChange] = {}
        for name in names:
            with suppress(BadInputError):
                found |= self._checked(name, watch)
        return found

    def _checked(self, name: str, watch: Watch | None) -> dict[str, ImageChange]:
        if watch is not None and self.drawn_on_path(name).is_file():
            watch.step(0.0, _("checking the image of '{name}'").format(name=name))
        change = self.image_change(name)
        return {name: change} if change is not None else {}

    def require_images_drawn_on(self, names: Iterable[str], watch: Watch | None = None) -> None:
        """Raise BadInputError when images of cases are not those that were drawn on; it names the cases.

        It also raises it when such an image cannot be read, or what is known of it is damaged.

        `watch`: as for `image_changes`.
        """
        changes: dict[str, ImageChange] = {}
        for name in names:
            changes |= self._checked(name, watch)
        if changes:
            raise BadInputError(changed_images_sentence(changes))

    def images_not_drawn_on(self, names: Iterable[str], watch: Watch | None = None) -> dict[str, SparseAnnotateError]:
        """The error of `require_images_drawn_on` for each of these cases that has one. `watch`: as for it."""
        found: dict[str, SparseAnnotateError] = {}
        for name in names:
            try:
                self.require_images_drawn_on([name], watch)
            except BadInputError as error:
                found[name] = error
        return found

    def accept_image(
        self, name: str, wait_seconds: float = 10.0, image: str = "", channels: Sequence[str] | None = ()
    ) -> None:
        """Let what was drawn on a case belong to the image that is there now.

        Args:
            image: the `image_fingerprint` that it must have; by default any. channels: those that it is of, by default
                the first alone.

        Raises BadInputError when that image cannot be read, or has another grid, or another fingerprint; BusyError when
        another process works in the folder for longer than `wait_seconds`.
        """
        drawn_on = result_of(self._finding_image(name))
        if image and self.image_fingerprint(name, channels) != image:
            raise ReplacedError(name)
        with FolderLock(self.state_folder, f"accepting the image of case '{name}'", wait_seconds):
            change = self._change_of_grid(name, drawn_on.geometry)
            if change is not None:
                raise BadInputError(changed_images_sentence({name: change}))
            if not self._is_noted(name, drawn_on):
                write_json(self.drawn_on_path(name), drawn_on)

    def forget_image(self, name: str) -> None:
        """Let nothing be known of the image that a case was drawn on. Raises FileWriteError."""
        path = self.drawn_on_path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise FileWriteError(why_not_written(path, error)) from error

    def _has_knowledge(self, name: str) -> bool:
        return self.corrections_path(name).is_file() or bool(self.ledger(name).decided)

    def _note_image(self, name: str, drawn_on: DrawnOn | None) -> None:
        """After something was written: keep the image that it was drawn on, None: what is known; nothing drawn, none.

        Found before the writing: a file that has replaced it since was not drawn on.
        """
        if not self._has_knowledge(name):
            self.forget_image(name)
        elif drawn_on is not None and not self._is_noted(name, drawn_on):
            write_json(self.drawn_on_path(name), drawn_on)

    def _is_noted(self, name: str, drawn_on: DrawnOn) -> bool:
        noted = self._noted(name)
        return noted is not None and noted.file == drawn_on.file

    def _noted(self, name: str) -> DrawnOn | None:
        path = self.drawn_on_path(name)
        with suppress(BadInputError):  # what is damaged is replaced
            return read_json(path, DrawnOn) if path.is_file() else None
        return None

    def _finding_image_of_drawing(
        self, name: str, image: np.ndarray | None = None
    ) -> Generator[float, None, DrawnOn | None]:
        """`_finding_image`; None when it cannot be read: what is drawn is stored all the same."""
        try:
            return (yield from self._finding_image(name, image))
        except BadInputError as error:
            if isinstance(error, _ReplacedError) and self._noted(name) is None:
                return error.before  # otherwise, nothing would tell the image that is there now from it
            logging.getLogger(__name__).warning(f"Which image '{name}' was drawn on could not be recorded. {error}")
            return None

    def _finding_image_of_corrections(self, name: str) -> Generator[float, None, DrawnOn | None]:
        """The image that is there now, for the first correction of a case on which nothing is drawn; else None."""
        if self._has_knowledge(name):
            return None
        return (yield from self._finding_image_of_drawing(name))

    def _finding_image(self, name: str, image: np.ndarray | None = None) -> Generator[float, None, DrawnOn]:
        """The image that is there now, in pieces. Voxels are read only when it is not the one that is known.

        Args:
            image: the voxels in its file, (K, J, I), if they are at hand.

        Raises BadInputError when it cannot be read, or is being replaced.
        """
        mark = yield from finding_image_fingerprint(self.image_path(name), self.marks_path(name))
        noted = self._noted(name)
        if noted is not None and noted.file == mark:
            return noted
        geometry = self.geometry(name)
        known = DrawnOn(mark, "", geometry)
        try:
            known = replace(known, voxels=(yield from self._finding_voxels(name, mark, image)))
        except ReplacedError as error:
            raise _ReplacedError(name, known) from error
        if not (yield from self._finding_whether_image(name, known)):
            raise _ReplacedError(name, known)
        return known

    def _finding_whether_image(self, name: str, drawn_on: DrawnOn) -> Generator[float, None, bool]:
        """Whether that image is there now, by the content of its file; in pieces."""
        try:
            mark = yield from finding_image_fingerprint(self.image_path(name), self.marks_path(name))
            return mark == drawn_on.file
        except BadInputError:
            return False

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

    def _change_of_grid(self, name: str, geometry: VolumeGeometry | None = None) -> ImageChange | None:
        """How the grid of a case's image, or this one, differs from the one that was drawn on."""
        noted = self._noted(name)
        if noted is None:
            return None
        difference = (geometry or self.geometry(name)).difference_from(noted.geometry)
        return ImageChange(difference, is_of_grid=True) if difference is not None else None

    def _known_voxels(self, name: str, mark: str, channel: str = "") -> str | None:
        found = super()._known_voxels(name, mark, channel)
        if found is not None or channel not in ("", self._first(name)):
            return found
        noted = self._noted(name)
        return noted.voxels or None if noted is not None and noted.file == mark else None
