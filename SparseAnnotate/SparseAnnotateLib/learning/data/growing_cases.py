"""The cases that a model learns from while their slices are being drawn: read again as soon as a file has changed."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core import BadInputError, CancelledError, Cohort, Plane, SparseAnnotateError, SparseAnnotation, Watch
from ...core.cohort_file import COHORT_FILE
from ...core.geometry import VolumeGeometry
from ...core.messages import _
from ...runs.ct_scale import CtScale
from ...runs.loss import LOSSES
from ...runs.settings import TrainingSettings
from .training_cases import TrainingCase, training_cases

_LOOK_EVERY = 0.5  # seconds
_SHARE_OF_TIME = 0.02  # for looking, where a cohort has many files or they are far away
_TRY_AGAIN_AFTER = 10.0  # seconds, where a file could not be read

FileMark = tuple[int, int, int] | None
_NO_FILES: tuple[FileMark, ...] = (None,) * 4


class _ImageChangedError(BadInputError):
    """A case has another image than the one that was learned from."""


@dataclass(frozen=True, eq=False)
class DrawnSlice:
    """A drawn slice of a case: as a plane and its index, and as axis and index in the standard order of `case`."""

    case: TrainingCase
    plane: Plane
    index: int
    axis: int
    standard_index: int


class GrowingCases:
    """What has been drawn in a cohort so far, as training data.

    Files are only read. They are replaced one by one when a slice is marked, labels before the ledger, so that the
    ledger never names a slice whose labels are missing.

    Args:
        cohort: to learn from. names: of its cases; none: all that have a drawn slice, at any time.
        settings: of the training. folder: where arrays are kept while training, see `kept_path`.
        images: name to the fingerprint of the image that has been learned from; others may follow.
        ct: scales of CT channels by name.
        channels: those of the run, none where its images have no names; by default those that the cohort has now.
        voxels: name to the fingerprint of the voxels of such an image, as far as it is known. grids: name to its grid.

    Attributes:
        images, voxels, grids: see above, with those that were added.
        fingerprints: name to the fingerprint of what is known of each case.
        unreadable: name to a sentence, for cases whose files cannot be used now.
    """

    def __init__(
        self,
        cohort: Cohort,
        names: Sequence[str],
        settings: TrainingSettings,
        folder: Path,
        images: Mapping[str, str] | None = None,
        ct: Mapping[str, CtScale] | None = None,
        channels: Sequence[str] | None = None,
        voxels: Mapping[str, str] | None = None,
        grids: Mapping[str, VolumeGeometry] | None = None,
    ):
        self._cohort, self._names, self._settings, self._folder = cohort, tuple(names), settings, folder
        self._cases: dict[str, TrainingCase] = {}
        self._slices: dict[str, list[DrawnSlice]] = {}
        self._unknown_sets: dict[tuple[int, ...], int] = {}
        self._marks: dict[str, tuple[FileMark, ...]] = {}
        self._cohort_mark: FileMark = None
        self._look_at = 0.0
        self._failed: dict[str, tuple[tuple[FileMark, ...], float]] = {}
        self._ct = dict(ct or {})
        self._channels = tuple(cohort.channels if channels is None else channels)
        self.images, self.voxels, self.grids = dict(images or {}), dict(voxels or {}), dict(grids or {})
        self.fingerprints: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}

    @property
    def cohort(self) -> Cohort:
        """The cohort, with the cases and labels that it has now."""
        return self._cohort

    @property
    def cases(self) -> list[TrainingCase]:
        """Those with drawn slices, in the order of the cohort."""
        return [self._cases[name] for name in self._wanted() if name in self._cases]

    @property
    def slices(self) -> list[DrawnSlice]:
        """All drawn slices of the cases."""
        return [one for case in self.cases for one in self._slices[case.name]]

    def have_changed(self) -> bool:
        """Whether a file has changed since it was read; files are looked at twice a second at most."""
        began = time.monotonic()
        if began < self._look_at:
            return False
        found = bool(self._changed())
        took = time.monotonic() - began
        self._look_at = began + max(_LOOK_EVERY, took / _SHARE_OF_TIME)
        return found

    def read(self, watch: Watch, whole: bool = False) -> dict[str, SparseAnnotation]:
        """The cases whose drawn slices or corrections differ from those in `cases`, with their annotations now.

        A case that cannot be read is left as it was, see `unreadable`, and read again later. Raises CancelledError.

        Args:
            whole: all cases instead.
        """
        found: dict[str, SparseAnnotation] = {}
        for name in self._wanted() if whole else self._changed():
            # Before reading: what is written meanwhile is read the next time.
            mark = self._mark(name)
            watch.check()
            try:
                annotation = self._cohort.annotation(name)
            except SparseAnnotateError as error:
                self._fail(name, error, mark)
                continue
            self.unreadable.pop(name, None)
            self._marks[name] = mark
            if whole or annotation.fingerprint() != self.fingerprints.get(name):
                found[name] = annotation
        return found

    def use(
        self, annotations: Mapping[str, SparseAnnotation], classes: dict[int, int], watch: Watch, whole: bool = False
    ) -> None:
        """Let the cases be as these annotations say. No patch may be cut meanwhile.

        A case without drawn slices is none any more, nor is one whose arrays cannot be made. Raises CancelledError.

        Args:
            classes: label value to class index.
            whole: there are no other cases than these: of others it is not known what is unknown on their slices.
        """
        for name in [*self._cases] if whole else []:
            if name not in annotations:
                self._drop(name)
        for number, (name, annotation) in enumerate(annotations.items()):
            watch.step(0.0, _("reading what was drawn in '{case}'").format(case=name))
            case = None
            try:
                if annotation.ledger.decided:
                    case = self._case(name, annotation, classes, watch.part(number, len(annotations)).quiet())
            except CancelledError:
                raise  # the case has been learned from, whatever has become of its arrays
            except SparseAnnotateError as error:
                # Some of its arrays may be new, and others old.
                self._drop(name)
                self._fail(name, error, self._marks.get(name, _NO_FILES))
                continue
            self.fingerprints[name] = annotation.fingerprint()
            if case is None:
                self._cases.pop(name, None)
                self._slices.pop(name, None)
            else:
                self._cases[name], self._slices[name] = case, _slices(case, annotation)
        sets = tuple(self._unknown_sets)
        self._cases = {name: replace(case, unknown_sets=sets) for name, case in self._cases.items()}
        self._slices = {
            name: [replace(one, case=self._cases[name]) for one in slices] for name, slices in self._slices.items()
        }

    def _drop(self, name: str) -> None:
        for known in (self._cases, self._slices, self.fingerprints):
            known.pop(name, None)

    def _fail(self, name: str, error: SparseAnnotateError, mark: tuple[FileMark, ...]) -> None:
        """Try a case again when its files have changed, or after a while, unless that cannot help."""
        self.unreadable[name] = error.message
        self._marks.pop(name, None)
        is_final = isinstance(error, _ImageChangedError)
        self._failed[name] = mark, math.inf if is_final else time.monotonic() + _TRY_AGAIN_AFTER

    def _case(self, name: str, annotation: SparseAnnotation, classes: dict[int, int], watch: Watch) -> TrainingCase:
        # A channel that was added since is none of the run's.
        settings = self._settings
        if not self._is_learned_from(name):
            raise _ImageChangedError(
                _(
                    "The image of '{name}' has changed since the run began to learn from it, so it is not "
                    "learned from any more. Stop, and begin another run."
                ).format(name=name)
            )
        return training_cases(
            self._cohort,
            [name],
            classes,
            normalisation=settings.normalisation,
            ct=self._ct,
            channels=self._channels,
            validation_share=0.0,
            seed=settings.seed,
            folder=self._folder,
            watch=watch,
            with_distances=LOSSES[settings.loss].needs_distances,
            unknown_sets=self._unknown_sets,
            read=lambda _name: annotation,
        )[0]

    def _is_learned_from(self, name: str) -> bool:
        """Whether a case still has the image that was learned from first; one that was only saved again is the same."""
        cohort = self._cohort
        if name not in self.images:
            self.images[name] = cohort.image_fingerprint(name, self._channels)
            voxels = cohort.voxel_fingerprint(name, self._channels)
            if voxels:
                self.voxels[name], self.grids[name] = voxels, cohort.geometry(name)
        known = self.images[name], self.voxels.get(name, ""), self.grids.get(name)
        return cohort.is_image_of(name, *known, self._channels)

    def _wanted(self) -> list[str]:
        return [case.name for case in self._cohort.cases if not self._names or case.name in self._names]

    def _changed(self) -> list[str]:
        self._look_for_cases()
        marks = {name: self._mark(name) for name in self._wanted()}
        return [n for n, m in marks.items() if m != self._marks.get(n, _NO_FILES) and not self._has_just_failed(n, m)]

    def _has_just_failed(self, name: str, mark: tuple[FileMark, ...]) -> bool:
        failed, again_at = self._failed.get(name, (None, 0.0))
        return mark == failed and time.monotonic() < again_at

    def _look_for_cases(self) -> None:
        mark = _mark_of(self._cohort.folder / COHORT_FILE)
        if mark == self._cohort_mark:
            return
        try:
            self._cohort = Cohort.open(self._cohort.folder, self._cohort.state_folder)
        except (SparseAnnotateError, OSError) as error:
            # Looked at again the next time.
            logging.getLogger(__name__).warning(str(error))
            return
        self._cohort_mark = mark

    def _mark(self, name: str) -> tuple[FileMark, ...]:
        return tuple(_mark_of(path) for path in self._cohort.annotation_files(name))


def _mark_of(path: Path) -> FileMark:
    """What changes whenever a file is replaced; None when it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _slices(case: TrainingCase, annotation: SparseAnnotation) -> list[DrawnSlice]:
    geometry = annotation.geometry
    found = []
    for plane in Plane:
        axis = plane.array_axis(geometry)
        for index in annotation.ledger.indices(plane):
            found.append(DrawnSlice(case, plane, index, *geometry.to_standard_slice(axis, index)))
    return found


def new_values(annotations: Mapping[str, SparseAnnotation], classes: Sequence[int]) -> list[int]:
    """Sorted label values of the annotations, other than 0, that are not among the classes."""
    found = {int(value) for annotation in annotations.values() for value in annotation.label_values()}
    return sorted(found - set(classes))
