"""The request that takes in slices drawn in another program, from mask files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from ..core.atomic_files import require_writable_place
from ..core.case_names import normal_name
from ..core.cohort_file import check_labels
from ..core.cropped_labels import read_cropped_labels
from ..core.dicom_source import note_codes
from ..core.drawn_elsewhere import DrawnElsewhere, SliceKey, with_drawn_elsewhere
from ..core.failed_cases import report_failed
from ..core.images import read_labels
from ..core.messages import _, capitalized, counted, listed
from ..core.planes import slice_layer
from ..core.scan_files import image_files
from ..core.segment_names import read_label_codes, read_label_names
from ..core.voxel_values import label_counts
from .dicom_masks import DicomMasks
from .mask_labels import in_cohort_values
from .mask_names import matched_masks
from .mask_slices import listed_indices, shown_slices, slices_as_text, slices_in_file

_NOT_TAKEN = (
    _("{count} mask was not taken (others taken: {done}):\n{problems}"),
    _("{count} masks were not taken (others taken: {done}):\n{problems}"),
)
_SHARES = (1.0, 9.0)  # of the time: looking for DICOM files, and reading masks


@dataclass(frozen=True)
class ImportDrawnRequest:
    """Take slices drawn in another program (ITK-SNAP, MITK, Slicer) as drawn slices of the cohort's cases.

    Attributes:
        masks: label files, or folders or patterns of them; each belongs to a case by its name, see `matched_masks`. Or
            DICOM SEG files, which refer to the DICOM series of their cases.
        cases: only these.
        planes: in which the slices were drawn.
        slices: those drawn in every mask, as numbers and ranges ('3', '10-14'). Without them, and without
            `slices_from`: those that show a structure, in a single plane.
        slices_from: a CSV file with the columns case, plane and index; `planes` does not count then.
        labels: value in the masks to the name of a structure; by default the names in the mask's header, or the
            cohort's labels.
        decided: names of the structures that the slices decide; by default all of the cohort.
        ignore_label: value of voxels that the masks say nothing about: on drawn slices they are undecided.
        replace: draw slices as the mask shows them where the cohort has other drawings.
    """

    cohort: str
    masks: tuple[str, ...]
    state: str | None = None
    cases: tuple[str, ...] = ()
    planes: tuple[Plane, ...] = (Plane.AXIAL,)
    slices: tuple[str, ...] = ()
    slices_from: str | None = None
    labels: dict[int, str] = field(default_factory=dict)
    decided: tuple[str, ...] = ()
    ignore_label: int | None = None
    replace: bool = False


@dataclass(frozen=True)
class TakenMask:
    """What was taken from the mask of one case.

    Attributes:
        mask: path of the file; where it names the patient, where the file is.
        slices: those drawn in it, in short ('axial 3 10-14').
        new, replaced, unchanged: how many of them were not drawn in the cohort, drawn differently, and the same.
        structures: those that they show. notes: sentences about what was left out or looks wrong.
    """

    case: str
    mask: str
    slices: str
    new: int
    replaced: int
    unchanged: int
    structures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_drawn(request: ImportDrawnRequest, watch: Watch) -> list[TakenMask]:
    """Take the drawn slices of each mask; a case gets all slices of its mask, or none.

    Raises:
        BadInputError: when the request cannot be used at all; then nothing has changed.
        PartlyDoneError: when some masks were refused, after the others have been taken.
    """
    cohort = Cohort.open(request.cohort, request.state)
    wanted = {normal_name(case.name) for case in cohort.chosen(request.cases)} if request.cases else None
    looking, watch = (watch.stage(_SHARES, stage) for stage in range(2))
    require_writable_place(cohort.state_folder)
    reading = _Reading(cohort, request, looking)
    dicom = reading.dicom
    matched = matched_masks(cohort, image_files(dicom.others), dicom)
    found = {**matched.of_case, **dicom.of_case}
    problems = {**matched.problems, **dicom.problems}
    for name in set(matched.of_case) & set(dicom.of_case):
        problems[name] = BadInputError(
            _("The case '{case}' has two masks: '{one}' and {other}. Give one.").format(
                case=name, one=matched.of_case[name], other=dicom.shown(found.pop(name))
            )
        )
    of_case = {name: path for name, path in found.items() if wanted is None or name in wanted}
    failed: dict[str, SparseAnnotateError] = {
        name: problem for name, problem in problems.items() if wanted is None or name in wanted
    }
    for name in sorted((wanted or set()) - set(of_case) - set(failed)):
        text = _("No mask has the name of the case '{case}'. Name the file, or its folder, like its case.")
        failed[name] = BadInputError(text.format(case=name))
    taken: list[TakenMask] = []
    for number, (name, path) in enumerate(of_case.items()):
        watch.step(number / len(of_case), _("reading the mask of '{case}'").format(case=name))
        try:
            taken.append(reading.take(name, path))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One mask that cannot be used must not stop the others.
            failed[name] = error
    reading.warn_of_unused(of_case)
    if failed:
        report_failed(failed, len(taken), _NOT_TAKEN, taken)
    return taken


class _Reading:
    """Reads masks as a request asks, and draws their slices in the cohort."""

    def __init__(self, cohort: Cohort, request: ImportDrawnRequest, watch: Watch):
        self._cohort, self._request = cohort, request
        self.dicom = DicomMasks(cohort, request.masks, watch)
        check_labels(request.labels)
        if request.slices_from and request.slices:
            raise BadInputError(_("Give the drawn slices either with '--slices' or with '--slices-from', not both."))
        if not request.planes:
            raise BadInputError(_("Name the plane in which the slices were drawn."))
        if not request.slices_from and not request.slices and len(request.planes) > 1:
            raise BadInputError(
                _(
                    "Slices drawn in several planes cannot be told apart by what the mask shows, because those of one "
                    "plane cross all slices of the others. List them with '--slices-from'."
                )
            )
        if request.ignore_label is not None and (request.ignore_label <= 0 or request.ignore_label in request.labels):
            raise BadInputError(
                _(
                    "The value {value} cannot be the ignore label, because it means the background or a structure."
                ).format(value=request.ignore_label)
            )
        self._value_of = {name: value for value, name in cohort.labels.items()}
        self._decided = [self._value(name) for name in dict.fromkeys(request.decided)] or None
        self._given = {value: self._value(name) for value, name in request.labels.items()}
        self._indices = listed_indices(request.slices)
        self._listed = slices_in_file(request.slices_from, cohort) if request.slices_from else None
        self._has_ignored = False

    def take(self, name: str, path: str) -> TakenMask:
        """Draw the slices of a mask in a case. Raises SparseAnnotateError when it cannot be used; nothing is drawn."""
        image, geometry = self._cohort.image_fingerprint(name, ()), self._cohort.geometry(name)
        names: Mapping[int, str] | None
        if self.dicom.has(path):
            names, source = self.dicom.read(name, path, geometry)
        else:
            names = read_label_names(path)
            # Slicer's own files may end where the segments do; others must have the whole grid.
            is_of_slicer = path.lower().endswith(".seg.nrrd")
            note_codes(self._cohort, read_label_codes(path) if is_of_slicer else {})
            source = read_cropped_labels(path, geometry) if is_of_slicer else read_labels(path, geometry)
        try:
            return self._drawn(name, path, names, source, geometry, image)
        except BadInputError as error:
            raise BadInputError(
                _("{mask} was not taken. {problem}").format(
                    mask=capitalized(self.dicom.shown_mask(path)), problem=error.message
                )
            ) from error

    def warn_of_unused(self, masks: Mapping[str, str]) -> None:
        """Log what was asked for and occurs in no mask."""
        log = logging.getLogger(__name__)
        if masks and self._request.ignore_label is not None and not self._has_ignored:
            log.warning(f"No voxel of the masks has the ignore label {self._request.ignore_label}.")
        left = [f"'{name}'" for name in self._listed or () if name not in masks]
        if left and not self._request.cases:
            log.warning(f"'{self._request.slices_from}' lists slices of cases without a mask: {listed(left, 5)}.")

    def _drawn(
        self,
        name: str,
        path: str,
        names: Mapping[int, str] | None,
        source: np.ndarray,
        geometry: VolumeGeometry,
        image: str,
    ) -> TakenMask:
        ignored = source == self._request.ignore_label if self._request.ignore_label is not None else None
        if ignored is not None:
            self._has_ignored |= bool(ignored.any())
            source = np.where(ignored, 0, source)
        labels = in_cohort_values(source, names, self._given, self._cohort.labels)
        keys, notes = self._slices(name, labels, ignored, geometry)
        found = self._written(name, image, partial(self._compared, labels=labels, keys=keys, ignored=ignored))
        notes += self._left_out(labels, keys, geometry)
        after, axis_of = found.annotation, {plane: plane.array_axis(geometry) for plane in Plane}
        shown = {v for plane, i in keys for v in label_counts(after.labels[slice_layer(axis_of[plane], i)][None])}
        return TakenMask(
            case=name,
            mask=path if f"'{path}'" in self.dicom.shown(path) else self.dicom.shown(path),
            slices=slices_as_text(keys),
            new=len(found.new),
            replaced=len(found.changed),
            unchanged=len(found.unchanged),
            structures=[self._cohort.labels.get(value, str(value)) for value in sorted(shown)],
            notes=notes,
        )

    def _written(self, name: str, image: str, compared: Callable[[SparseAnnotation], DrawnElsewhere]) -> DrawnElsewhere:
        """What was taken; written unless nothing is new."""
        found: list[DrawnElsewhere] = []

        def change(annotation: SparseAnnotation) -> SparseAnnotation | None:
            found.append(compared(annotation))
            return found[0].annotation if found[0].new or found[0].changed else None

        self._cohort.change_annotation(name, image, change)
        return found[0]

    def _compared(
        self, annotation: SparseAnnotation, labels: np.ndarray, keys: Sequence[SliceKey], ignored: np.ndarray | None
    ) -> DrawnElsewhere:
        """The mask's slices together with what is drawn. Raises BadInputError when they contradict each other."""
        found = with_drawn_elsewhere(annotation, labels, keys, self._decided, ignored)
        if found.unclear:
            raise BadInputError(
                _(
                    "On slices that are drawn for other structures already it has ignored voxels, which cannot be "
                    "undecided for some structures only: {slices}. Draw these slices without the ignore label."
                ).format(slices=slices_as_text(found.unclear))
            )
        if found.differing and not self._request.replace:
            raise BadInputError(
                counted(
                    sum(found.differing.values()),
                    _("At {count} voxel it differs from what is drawn already, on {slices}. {remedy}"),
                    _("At {count} voxels it differs from what is drawn already, on {slices}. {remedy}"),
                    slices=slices_as_text(list(found.differing)),
                    remedy=_("To draw these slices as the mask shows them, use '--replace'."),
                )
            )
        return found

    def _slices(
        self, name: str, labels: np.ndarray, ignored: np.ndarray | None, geometry: VolumeGeometry
    ) -> tuple[Sequence[SliceKey], list[str]]:
        if self._listed is not None:
            keys = list(dict.fromkeys(self._listed.get(normal_name(name), ())))
            if not keys:
                raise BadInputError(
                    _("'{path}' lists no slice of the case '{case}'.").format(path=self._request.slices_from, case=name)
                )
        elif self._indices:
            keys = [(plane, index) for plane in self._request.planes for index in self._indices]
        else:
            return shown_slices(labels > 0, ignored, geometry, self._request.planes[0])
        for plane, index in keys:
            plane.require_slice(index, geometry, _("The list of slices"))
        return keys, []

    def _left_out(self, labels: np.ndarray, keys: Sequence[SliceKey], geometry: VolumeGeometry) -> list[str]:
        """Sentences about what the mask shows and is not taken."""
        notes = []
        left = labels > 0
        for plane, index in keys:
            left[slice_layer(plane.array_axis(geometry), index)] = False
        if left.any():
            count = int(np.count_nonzero(left))
            notes.append(
                counted(
                    count,
                    _("Left out {count} labeled voxel that is on none of the listed slices."),
                    _("Left out {count} labeled voxels that are on none of the listed slices."),
                )
            )
        if self._decided is not None:
            others = [v for v in label_counts(labels) if v not in self._decided]
            if others:
                names = [f"'{self._cohort.labels.get(value, str(value))}'" for value in others]
                notes.append(
                    _("Left out, because the slices do not decide them: {names}.").format(names=listed(names, 5))
                )
        return notes

    def _value(self, name: str) -> int:
        if name not in self._value_of:
            known = ", ".join(f"'{own}'" for own in self._value_of) or _("none")
            raise BadInputError(
                _("The cohort '{cohort}' has no structure '{name}'; it has: {known}.").format(
                    cohort=self._cohort.name, name=name, known=known
                )
            )
        return self._value_of[name]
