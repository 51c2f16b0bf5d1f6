"""The series in DICOM folders, and whether the images of a series make up one volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from .dicom_grid import (
    has_usable_numbers,
    images_by_direction,
    is_copy,
    require_one_grid,
    require_one_of_each,
    require_one_rescaling,
    several_directions,
    with_unit_directions,
)
from .dicom_headers import (
    DICOMDIR_CLASS,
    SECONDARY_CAPTURE_CLASSES,
    SEGMENTATION_CLASSES,
    DicomHeader,
    DicomSlice,
)
from .dicom_paths import FileNumbers, GivenFolders, shown_file
from .dicom_stack import require_even, require_one_stack, sorted_slices, stack_geometry
from .dicom_time_points import choice_sentence, time_points
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _, capitalized, counted, listed
from .patient_names import names_one_of

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
        time_point: the number of its time point, from 1, if it has several; otherwise 0. time_points: how many it has.
        place: what messages call its folders when their paths are not shown; see `GivenFolders`.
    """

    headers: tuple[DicomHeader, ...]
    slices: tuple[DicomSlice, ...]
    left_out: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    geometry: VolumeGeometry | None = None
    time_point: int = 0
    time_points: int = 1
    place: str = ""

    @property
    def uid(self) -> str:
        return self.headers[0].series_uid

    @property
    def key(self) -> str:
        """Its UID, with the number of the time point, if there are several."""
        return series_key(self.uid, self.time_point)

    @property
    def description(self) -> str:
        return self.headers[0].description

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folders that hold its files, sorted."""
        return tuple(sorted({os.path.dirname(os.path.abspath(header.path)) for header in self.headers}))

    @property
    def title(self) -> str:
        """The series for messages; its description and folders are left out when they name the patient."""
        first = self.headers[0]
        is_shown = bool(self.description) and not first.names_patient(self.description)
        facts = [first.modality, f"'{self.description}'" if is_shown else "", self.uid]
        if self.time_point:
            facts.append(_("time point {number} of {count}").format(number=self.time_point, count=self.time_points))
        title = _("series {number} ({facts})").format(number=first.number or "?", facts=", ".join(filter(None, facts)))
        place = self.place
        if not any(self.names_patient(folder) for folder in self.folders):
            place = listed([f"'{folder}'" for folder in self.folders], 2)
        return _("{series} in {folders}").format(series=title, folders=place) if place else title

    def found_in(self, given: GivenFolders) -> DicomSeries:
        """The series with its place in the folders that a user gives."""
        return replace(self, place=listed(list(filter(None, map(given.shown, self.folders))), 2))

    def names_patient(self, text: str) -> bool:
        """True when a text names the patient of one of its files, or when one of these is not known."""
        return self._patients is None or names_one_of(text, self._patients)

    @cached_property
    def _patients(self) -> frozenset[str] | None:
        """The words by which the patients of its files are recognized; None when one of them is not known."""
        if not all(header.is_patient_known for header in self.headers):
            return None
        return frozenset().union(*(header.patient for header in self.headers))

    @cached_property
    def _numbers(self) -> FileNumbers:
        return FileNumbers()

    def shown(self, path: str) -> str:
        """One of its files for messages: its path, or its number and the series when the path names the patient."""
        file = shown_file(path, self._patients, numbers=self._numbers)
        return _("{file} of {series}").format(file=file, series=self.title) if self.names_patient(path) else file

    def required_geometry(self) -> VolumeGeometry:
        """Raises BadInputError, with what is wrong, when the series has no volume."""
        if self.geometry is None:
            raise BadInputError(f"{capitalized(self.title)}: {self.left_out or self.problem}")
        return self.geometry


def series_key(uid: str, time_point: int) -> str:
    """What identifies the images of a case: the UID of a series, with the number of a time point, if not 0."""
    return f"{uid} {time_point}" if time_point else uid


def series_of(headers: Iterable[DicomHeader], time_point: int = 0) -> list[DicomSeries]:
    """The series that files belong to, in the order of their folders and numbers; DICOMDIR files are no series.

    `time_point`: which one to take of series that have several, from 1; 0: such series cannot be used.
    """
    groups: dict[str, list[DicomHeader]] = {}
    for header in headers:
        if header.sop_class != DICOMDIR_CLASS:
            groups.setdefault(header.series_uid or header.path, []).append(header)
    found = [_series(group, time_point) for group in groups.values()]
    return sorted(found, key=lambda one: (one.folders, _number(one.headers[0].number), one.uid))


def chosen_series(found: Sequence[DicomSeries], wanted: Sequence[str]) -> list[DicomSeries]:
    """The series with these UIDs or descriptions, or all. Raises BadInputError when nothing has one of them.

    Upper and lower case do not count in descriptions.
    """
    if not wanted:
        return list(found)
    chosen = []
    for text in wanted:
        fitting = [s for s in found if is_named(s, text)]
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


def is_named(series: DicomSeries, text: str) -> bool:
    """Whether a text is the UID or the description of a series; upper and lower case do not count in descriptions."""
    return text == series.uid or text.casefold().strip() == series.description.casefold().strip()


def _series(headers: Sequence[DicomHeader], time_point: int) -> DicomSeries:
    whole: dict[str, DicomHeader] = {}
    differing: list[DicomHeader] = []
    for header in headers:
        first = whole.setdefault(header.sop_uid or header.path, header)
        if first is not header and not is_copy(first, header):
            differing = differing or [first, header]
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
        if differing:
            raise BadInputError(
                _("{one} and {other} have the same SOP instance UID, but are different images. {remedy}").format(
                    one=found.shown(differing[0].path),
                    other=found.shown(differing[1].path),
                    remedy=_("Remove the one that does not belong to the volume."),
                )
            )
        require_one_grid(found.headers, slices, found.shown)
        slices = sorted_slices(with_unit_directions(slices))
        require_one_stack(slices)
        differing_in, points = time_points(slices)
        count, number = max(1, len(points)), 0
        if points and time_point:
            if time_point > count:
                raise BadInputError(
                    _("it has {count} time points, so there is no time point {number}.").format(
                        count=count, number=time_point
                    )
                )
            slices, number = points[time_point - 1], time_point
            used = {one.path for one in slices}
            kept = [header for header in kept if header.path in used]
            values = dict.fromkeys(one.variants[differing_in] for one in slices)
            shown = f" {next(iter(values))}" if len(values) == 1 else ""
            notes.append(
                _("time point {number} of {count} was taken ({name}{value}).").format(
                    number=number, count=count, name=differing_in, value=shown
                )
            )
        require_one_rescaling(slices)
        require_even(slices, choice_sentence(differing_in, count) if points else "")
        notes += require_one_of_each(slices)
        if slices[0].frame and len(kept) > 1:
            notes.append(_("its images are in several multi-frame files, so 'export-dicom' cannot refer to them."))
        geometry = stack_geometry(slices)
        return DicomSeries(tuple(kept), slices, "", "", tuple(notes), geometry, number, count)
    except BadInputError as error:
        return DicomSeries(found.headers, slices, problem=error.message)


def _why_left_out(headers: Sequence[DicomHeader], slices: Sequence[DicomSlice]) -> str:
    first = headers[0]
    if first.sop_class in SEGMENTATION_CLASSES:
        return _("it is a segmentation, which 'sparse-annotate import-drawn' and '--references' take.")
    if not slices:
        return _("it holds no images (modality {modality}).").format(modality=first.modality or "?")
    if all(header.is_color for header in headers):
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
    counts = images_by_direction(slices) if all(map(has_usable_numbers, slices)) else []
    if len(counts) > 1 and max(counts) <= _MOST_OF_LOCALIZER:
        return several_directions(counts)
    return ""


def _number(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isascii() and text.isdigit() else (1 << 31, text)
