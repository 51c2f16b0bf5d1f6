"""The series in DICOM folders, and whether the images of a series make up one volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .dicom_headers import (
    DICOMDIR_CLASS,
    SECONDARY_CAPTURE_CLASSES,
    SEGMENTATION_CLASSES,
    DicomHeader,
    DicomSlice,
)
from .dicom_stack import require_even, sorted_slices, stack_geometry
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _, counted, listed

_SAME_DIRECTION = 1e-4
_MOST_OF_LOCALIZER = 20  # images in one orientation


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The images of one series.

    Attributes:
        headers: of its files. slices: its images, sorted along the normal of the slices where they have a place.
        left_out: why it is no volume to segment, as a sentence, such as a localizer; '' otherwise.
        problem: why its volume cannot be used, as a sentence; '' otherwise.
        notes: sentences on what was left out of it.
        geometry: of the volume; None without one.
    """

    headers: tuple[DicomHeader, ...]
    slices: tuple[DicomSlice, ...]
    left_out: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    geometry: VolumeGeometry | None = None

    @property
    def uid(self) -> str:
        return self.headers[0].series_uid

    @property
    def description(self) -> str:
        return self.headers[0].description

    @cached_property
    def folder(self) -> str:
        """The folder that holds all its files."""
        return os.path.commonpath([os.path.dirname(os.path.abspath(header.path)) for header in self.headers])

    @property
    def title(self) -> str:
        """The series for messages; its description and folder are left out when they name the patient."""
        first = self.headers[0]
        is_shown = bool(self.description) and not first.names_patient(self.description)
        facts = [first.modality, f"'{self.description}'" if is_shown else "", self.uid]
        title = _("series {number} ({facts})").format(number=first.number or "?", facts=", ".join(filter(None, facts)))
        if any(header.names_patient(self.folder) for header in self.headers):
            return title
        return _("{series} in '{folder}'").format(series=title, folder=self.folder)

    def required_geometry(self) -> VolumeGeometry:
        """Raises BadInputError, with what is wrong, when the series has no volume."""
        if self.geometry is None:
            raise BadInputError(f"{self.title[:1].upper()}{self.title[1:]}: {self.left_out or self.problem}")
        return self.geometry


def series_of(headers: Iterable[DicomHeader]) -> list[DicomSeries]:
    """The series that files belong to, in the order of their folders and numbers; DICOMDIR files are no series."""
    groups: dict[str, list[DicomHeader]] = {}
    for header in headers:
        if header.sop_class != DICOMDIR_CLASS:
            groups.setdefault(header.series_uid or header.path, []).append(header)
    found = [_series(group) for group in groups.values()]
    return sorted(found, key=lambda one: (one.folder, _number(one.headers[0].number), one.uid))


def chosen_series(found: Sequence[DicomSeries], wanted: Sequence[str]) -> list[DicomSeries]:
    """The series with these UIDs or descriptions, or all. Raises BadInputError when nothing has one of them.

    Upper and lower case do not count in descriptions.
    """
    if not wanted:
        return list(found)
    chosen = []
    for text in wanted:
        fitting = [s for s in found if text == s.uid or text.casefold().strip() == s.description.casefold().strip()]
        if not fitting:
            known = [s.title for s in found if not s.left_out]
            raise BadInputError(
                _(
                    "No DICOM series has the UID or the description '{text}'. There are: {known}. Write the "
                    "description as a whole."
                ).format(text=text, known=listed(known, 10) or _("none with a volume"))
            )
        chosen += fitting
    return [one for one in found if one in chosen]


def _series(headers: Sequence[DicomHeader]) -> DicomSeries:
    whole: dict[str, DicomHeader] = {}
    for header in headers:
        whole.setdefault(header.sop_uid or header.path, header)
    notes = []
    if len(whole) < len(headers):
        notes.append(
            counted(
                len(headers) - len(whole),
                _("{count} file is a copy of another one of the series and was left out."),
                _("{count} files are copies of others of the series and were left out."),
            )
        )
    kept = [header for header in whole.values() if not header.is_localizer]
    if kept and len(kept) < len(whole):
        count = len(whole) - len(kept)
        one, many = _("{count} localizer image was left out."), _("{count} localizer images were left out.")
        notes.append(counted(count, one, many))
    elif not kept:
        kept = list(whole.values())
    slices = tuple(one for header in kept for one in header.slices)
    found = DicomSeries(tuple(kept), slices, notes=tuple(notes))
    left_out = _why_left_out(kept, slices)
    if left_out:
        return DicomSeries(found.headers, slices, left_out=left_out)
    try:
        _require_one_grid(kept, slices)
        slices = sorted_slices(slices)
        require_even(slices)
        return DicomSeries(found.headers, slices, notes=found.notes, geometry=stack_geometry(slices))
    except BadInputError as error:
        return DicomSeries(found.headers, slices, problem=error.message)


def _why_left_out(headers: Sequence[DicomHeader], slices: Sequence[DicomSlice]) -> str:
    first = headers[0]
    if first.sop_class in SEGMENTATION_CLASSES:
        return _("it is a segmentation, which 'sparse-annotate import-drawn' and '--references' take.")
    if not slices:
        return _("it holds no images (modality {modality}).").format(modality=first.modality or "?")
    if all(header.samples != 1 for header in headers):
        return _(
            "its images are in color (ultrasound, photographs, screenshots). SparseAnnotate works on one value per "
            "voxel."
        )
    if all(header.is_localizer for header in headers):
        return _("it is a localizer (scout), not a volume.")
    if not any(one.has_place for one in slices):
        if first.sop_class.startswith(SECONDARY_CAPTURE_CLASSES):
            return _("it is a secondary capture (a screenshot or a scanned picture), without a place in the patient.")
        return _(
            "its images have no position, orientation or pixel spacing in the patient (modality {modality}), so they "
            "make up no volume."
        ).format(modality=first.modality or "?")
    if len(slices) < 2:
        return _("it is a single image, not a volume.")
    counts = _images_by_direction(slices)
    if len(counts) > 1 and max(counts) <= _MOST_OF_LOCALIZER:
        return _several_directions(counts)
    return ""


def _images_by_direction(slices: Sequence[DicomSlice]) -> list[int]:
    """How many images there are in each orientation."""
    found: list[tuple[np.ndarray, int]] = []
    for one in slices:
        direction = np.array(one.orientation)
        for place, (other, count) in enumerate(found):
            if direction.shape == other.shape and np.allclose(direction, other, rtol=0, atol=_SAME_DIRECTION):
                found[place] = (other, count + 1)
                break
        else:
            found.append((direction, 1))
    return [count for _direction, count in found]


def _several_directions(counts: Sequence[int]) -> str:
    return _(
        "its images lie in {count} different orientations, as those of a localizer; a volume has one. If they are "
        "several stacks of slices, save each as NRRD in 3D Slicer."
    ).format(count=len(counts))


def _require_one_grid(headers: Sequence[DicomHeader], slices: Sequence[DicomSlice]) -> None:
    cut = [header.path for header in headers if header.is_cut_off]
    if cut:
        raise BadInputError(
            counted(
                len(cut),
                _("the file '{path}' is cut off: it is shorter than its voxels. Copy it again."),
                _("{count} files are cut off, such as '{path}': they are shorter than their voxels. Copy them again."),
                path=cut[0],
            )
        )
    without = sum(not one.has_place for one in slices) + sum(header.samples != 1 for header in headers)
    if without:
        raise BadInputError(
            _(
                "{count} of its {all} images have no position, orientation or pixel spacing in the patient, or are in "
                "color. Copy the series again, or put the files of the volume into a folder of its own."
            ).format(count=without, all=len(slices))
        )
    counts = _images_by_direction(slices)
    if len(counts) > 1:
        raise BadInputError(_several_directions(counts))
    if min(min(one.spacing) for one in slices) <= 0 or not np.isfinite([one.position for one in slices]).all():
        raise BadInputError(_("its header has a pixel spacing or a position that is not a usable number."))
    remedy = _("Put the files of each part into a folder of its own.")
    sizes = sorted({one.size for one in slices})
    if len(sizes) > 1:
        shown = ", ".join(f"{columns} x {rows}" for rows, columns in sizes[:4])
        raise BadInputError(
            _("its images have different sizes ({sizes} pixels), so they are not one volume. {remedy}").format(
                sizes=shown, remedy=remedy
            )
        )
    spacing = np.array([one.spacing for one in slices])
    if not np.allclose(spacing, spacing[0], rtol=1e-4, atol=0):
        raise BadInputError(
            _("its images have different pixel spacings, so they are not one volume. {remedy}").format(remedy=remedy)
        )
    if len({header.frame_of_reference_uid for header in headers}) > 1:
        raise BadInputError(
            _("its images have different frames of reference: the patient was moved between them. {remedy}").format(
                remedy=remedy
            )
        )


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isascii() and text.isdigit() else (1 << 31, text)
