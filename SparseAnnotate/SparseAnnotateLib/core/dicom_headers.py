"""What the headers of DICOM files say of the images in them; voxels are not read.

Of what identifies a patient, names, IDs and the date of birth are read, to recognize them in paths and descriptions;
see `DicomHeader.names_patient`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .dicom_files import (
    damaged,
    group_of,
    is_marked,
    is_named_like_dicom,
    is_readable,
    is_surely_dicom,
    numbers_of,
    opened,
    uids_within,
    unreadable,
    value_of,
    whole_number,
)
from .dicom_paths import IDENTIFIERS, NAMES, FilesBeside, has_patient, patient_of
from .dicom_rescaling import has_rescaling, rescaling_of, unusable_rescaling
from .errors import BadInputError
from .messages import _
from .patient_names import names_one_of
from .progress import Watch

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
SECONDARY_CAPTURE_CLASSES = "1.2.840.10008.5.1.4.1.1.7"
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")

IMAGE_TYPE = _("image type")
# A volume has only one of each.
ONE_OF_EACH = (_("temporal position"), _("echo time"), _("b-value"))
# What distinguishes images at the same place, and its name in messages.
_VARIANTS = {
    "TemporalPositionIdentifier": _("temporal position"),
    "TriggerTime": _("trigger time"),
    "AcquisitionTime": _("acquisition time"),
    "EchoTime": _("echo time"),
    "DiffusionBValue": _("b-value"),
    "ImageType": IMAGE_TYPE,
    "AcquisitionNumber": _("acquisition number"),
}
VARIANTS = tuple(str(name) for name in _VARIANTS.values())
"""Names of what distinguishes images at the same place, the first ones first."""
_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    *NAMES,
    "PatientID",
    *IDENTIFIERS,
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *_VARIANTS,
]
_FRAME_TYPES = ("MRImageFrameType", "CTImageFrameType", "PETFrameType")
_PLACES = ("PlanePosition", "PlaneOrientation", "PixelMeasures")


@dataclass(frozen=True)
class DicomSlice:
    """One image: of a file of its own, or a frame of a file.

    Attributes:
        path: of the file. frame: its number in the file, from 1; 0 in a file with a single image.
        sop_uid: SOP instance UID of the file.
        position: ImagePositionPatient in mm (LPS), the center of the first voxel. orientation: directions of
            increasing column and row index (LPS), 6 numbers. spacing: of rows and of columns in mm.
        size: rows and columns. is_inverted: small values are to be shown bright (MONOCHROME1).
        rescaling: slope and intercept from stored values to those of the volume; see `rescaling_of`. is_rescaled: the
            header has one of them.
        variants: what may tell it apart from another image at the same place, by name.

    `position`, `orientation` and `spacing` are empty when the header has none, or none that can be read.
    """

    path: str
    frame: int
    sop_uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, int]
    is_inverted: bool = False
    rescaling: tuple[float, float] = (1.0, 0.0)
    is_rescaled: bool = False
    variants: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def has_place(self) -> bool:
        return len(self.position) == 3 and len(self.orientation) == 6 and len(self.spacing) == 2


@dataclass(frozen=True)
class DicomHeader:
    """What the header of one file says.

    Attributes:
        sop_class, sop_uid, series_uid, study_uid, frame_of_reference_uid: UIDs, '' where there is none.
        modality, description, number: of the series. image_type: values of ImageType.
        is_color: has several values per voxel, or a palette. is_cut_off: the file is shorter than its voxels.
        voxel_bytes: size of the end of the file that holds the voxels; 0 when it is not known.
        problem: why its voxels cannot be used, as a sentence; '' otherwise.
        patient: words that identify the patient. is_patient_known: the header says who that is; see `has_patient`.
    """

    path: str
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    description: str
    number: str
    image_type: tuple[str, ...]
    is_color: bool
    is_cut_off: bool
    voxel_bytes: int
    slices: tuple[DicomSlice, ...]
    problem: str = ""
    patient: frozenset[str] = frozenset()
    is_patient_known: bool = True
    patient_id: str = ""

    @property
    def is_localizer(self) -> bool:
        return any(value.upper() in ("LOCALIZER", "SCOUT", "TOPOGRAM") for value in self.image_type)

    def names_patient(self, text: str) -> bool:
        """True when a text has a part of the patient's name, or the ID, in it, or when the patient is not known."""
        return not self.is_patient_known or names_one_of(text, self.patient)


def read_headers(paths: Sequence[str], watch: Watch) -> list[DicomHeader]:
    """The headers of files. Raises BadInputError when one of them is damaged or cannot be read, and names it."""
    headers, damages = readable_headers(paths, watch)
    if damages:
        raise next(iter(damages.values()))
    return headers


def readable_headers(paths: Sequence[str], watch: Watch) -> tuple[list[DicomHeader], dict[str, BadInputError]]:
    """The headers of files, and by path what is wrong with others; what is no DICOM file is in neither."""
    headers: list[DicomHeader] = []
    damages: dict[str, OSError | None] = {}
    for number, path in enumerate(paths):
        watch.step(number / len(paths), _("reading DICOM headers"))
        try:
            headers.append(read_header(path, path))
        except BadInputError as error:
            if isinstance(error.__cause__, OSError):
                damages[path] = error.__cause__
            else:
                damages[path] = None
    whole = {one.sop_uid for one in headers}
    damages = {path: cause for path, cause in damages.items() if cause is not None or _is_damaged(path, whole)}
    if not damages:
        return headers, {}
    beside, problems = FilesBeside(paths, {one.path: one.patient for one in headers if one.is_patient_known}), {}
    for path, cause in damages.items():
        watch.check()
        shown = beside.shown(path)
        problems[path] = damaged(path, shown) if cause is None else unreadable(path, cause, shown)
    return headers, problems


def _is_damaged(path: str, whole: Collection[str]) -> bool:
    """Whether a file without a whole header is a damaged DICOM file, and not one of another kind that holds elements.

    `whole`: the SOP instance UIDs of the files that are not damaged; what holds a copy of one of them is no loss.
    """
    if _element(path, "SOPClassUID"):
        return True
    if is_marked(path) or is_named_like_dicom(path):
        return is_surely_dicom(path)
    uids = uids_within(path)
    return bool(uids.keys() & {"SOPClassUID", "SeriesInstanceUID"}) and uids.get("SOPInstanceUID") not in whole


def series_of_damaged(path: str) -> str:
    """The series UID of a damaged file; '' when it cannot be found."""
    return _element(path, "SeriesInstanceUID") or uids_within(path).get("SeriesInstanceUID", "")


def _element(path: str, keyword: str) -> str:
    try:
        with opened(path, [keyword], shown=path) as dataset:
            return value_of(dataset, keyword)
    except BadInputError:
        return ""


def read_header(path: str, shown: str = "") -> DicomHeader:
    """The header of one file, `shown` as for `opened`. Raises BadInputError when it is damaged."""
    with opened(path, _TAGS, shown=shown) as dataset:
        require_whole_header(dataset, path, shown)
        sop_uid = value_of(dataset, "SOPInstanceUID")
        slices = tuple(_slices(dataset, path, sop_uid))
        return DicomHeader(
            path=path,
            sop_class=class_of(dataset),
            sop_uid=sop_uid,
            series_uid=value_of(dataset, "SeriesInstanceUID"),
            study_uid=value_of(dataset, "StudyInstanceUID"),
            frame_of_reference_uid=value_of(dataset, "FrameOfReferenceUID"),
            modality=value_of(dataset, "Modality"),
            description=value_of(dataset, "SeriesDescription"),
            number=value_of(dataset, "SeriesNumber"),
            image_type=tuple(value_of(dataset, "ImageType").split("\\")),
            is_color=bool(slices) and _is_color(dataset),
            is_cut_off=_is_cut_off(dataset),
            voxel_bytes=dataset.bytes_left,
            slices=slices,
            problem=_problem(dataset, slices),
            patient=patient_of(dataset),
            is_patient_known=has_patient(dataset),
            patient_id=value_of(dataset, "PatientID") if is_readable(dataset, "PatientID") else "",
        )


def _slices(dataset: Any, path: str, sop_uid: str) -> Iterator[DicomSlice]:
    size = (whole_number(dataset, "Rows"), whole_number(dataset, "Columns"))
    if not all(size):
        return
    is_inverted = value_of(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    count = whole_number(dataset, "NumberOfFrames")
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        place = tuple(numbers_of(dataset, k) for k in ("ImagePositionPatient", "ImageOrientationPatient"))
        variants = {str(name): value_of(dataset, keyword) for keyword, name in _VARIANTS.items()}
        spacing = numbers_of(dataset, "PixelSpacing")
        for number in range(max(1, count)):
            # Several frames with one position for all cannot be placed.
            position, orientation = place if count <= 1 else ((), ())
            frame = number + 1 if count > 1 else 0
            geometry = (position, orientation, spacing, size)
            values = rescaling_of(dataset), has_rescaling(dataset)
            yield DicomSlice(path, frame, sop_uid, *geometry, is_inverted, *values, variants)
        return
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, frame in enumerate(frames):
        groups = {
            name: group_of(frame, shared, f"{name}Sequence")
            for name in (*_PLACES, *_FRAME_TYPES, "FrameContent", "MREcho", "MRDiffusion", "PixelValueTransformation")
        }
        kinds = [groups[name] for name in _FRAME_TYPES if groups[name] is not None]
        values = groups["PixelValueTransformation"]
        yield DicomSlice(
            path,
            number + 1,
            sop_uid,
            numbers_of(groups["PlanePosition"] or {}, "ImagePositionPatient"),
            numbers_of(groups["PlaneOrientation"] or {}, "ImageOrientationPatient"),
            numbers_of(groups["PixelMeasures"] or {}, "PixelSpacing"),
            size,
            is_inverted,
            rescaling_of(dataset if values is None else values),
            has_rescaling(dataset if values is None else values),
            {
                str(_("temporal position")): value_of(groups["FrameContent"] or {}, "TemporalPositionIndex"),
                str(_("echo time")): value_of(groups["MREcho"] or {}, "EffectiveEchoTime"),
                str(_("b-value")): value_of(groups["MRDiffusion"] or {}, "DiffusionBValue"),
                str(IMAGE_TYPE): "; ".join(value_of(kind, "FrameType") for kind in kinds),
            },
        )


def _problem(dataset: Any, slices: Sequence[DicomSlice]) -> str:
    """Why the voxels of a file cannot be used, as a sentence; '' when they can."""
    described = dataset.get("PerFrameFunctionalGroupsSequence")
    if described and len(described) != max(1, whole_number(dataset, "NumberOfFrames")):
        return _("its header does not describe as many frames as there are. Copy the series again.")
    stored = value_of(dataset, "BitsStored"), value_of(dataset, "HighBit")
    if all(stored) and whole_number(dataset, "HighBit") != whole_number(dataset, "BitsStored") - 1:
        return _(
            "its values do not begin at the lowest bit ({stored} bits, the highest one is number {highest}), as in "
            "files of old scanners, and would be read wrongly. Export the series again, without this."
        ).format(stored=stored[0], highest=stored[1])
    if dataset.get("ModalityLUTSequence"):
        return _("its values are to be converted by a table (modality LUT), which SparseAnnotate does not read.")
    return next(filter(None, (unusable_rescaling(*one.rescaling) for one in slices)), "")


def _is_color(dataset: Any) -> bool:
    samples, kind = whole_number(dataset, "SamplesPerPixel"), value_of(dataset, "PhotometricInterpretation")
    return samples != 1 or kind == "PALETTE COLOR"


def class_of(dataset: Any) -> str:
    """What kind of object a file of `opened` is, as the UID of its class; '' when its header does not say."""
    found = (value_of(dataset, "SOPClassUID"), value_of(dataset.file_meta, "MediaStorageSOPClassUID"))
    return next((uid for uid in found if _UID.fullmatch(uid)), "")


def require_whole_header(dataset: Any, path: str, shown: str, inside: str | os.PathLike[str] = "") -> None:
    """Raise BadInputError when a header ends too early: pydicom reads what there is. As for `opened`."""
    sop_class = class_of(dataset)
    if sop_class == DICOMDIR_CLASS:
        return
    # Some objects that are no images, such as color palettes, belong to no series.
    is_image = sop_class in SEGMENTATION_CLASSES or _name_of(sop_class).endswith("Image Storage")
    needed = ("SOPInstanceUID", *(("SeriesInstanceUID", "Rows", "Columns") if is_image else ()))
    if not all(value_of(dataset, keyword) for keyword in needed):
        raise damaged(path, shown, inside)


def _name_of(uid: str) -> str:
    from pydicom.uid import UID

    return str(UID(uid).name)


def _is_cut_off(dataset: Any) -> bool:
    """Whether a file without compression is shorter than its voxels; `dataset` is of `opened`."""
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_transfer_syntax and (syntax.is_compressed or syntax.is_deflated):
        return False
    bits = whole_number(dataset, "BitsAllocated") * whole_number(dataset, "Rows") * whole_number(dataset, "Columns")
    bits *= max(1, whole_number(dataset, "SamplesPerPixel")) * max(1, whole_number(dataset, "NumberOfFrames"))
    return bool(dataset.bytes_left < bits // 8)
