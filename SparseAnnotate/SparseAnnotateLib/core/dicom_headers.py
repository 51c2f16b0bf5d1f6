"""DICOM files in a folder, and what their headers say of the images in them; voxels are not read.

Of what identifies a patient only the name and the ID are read, to recognize them in paths and descriptions; see
`DicomHeader.names_patient`.
"""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dicom_packages import require_dicom_packages
from .errors import BadInputError
from .messages import _
from .progress import Watch

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
SECONDARY_CAPTURE_CLASSES = "1.2.840.10008.5.1.4.1.1.7"

# What tells apart several images at one place, and its name in messages.
_VARIANTS = {
    "TemporalPositionIdentifier": _("temporal position"),
    "TriggerTime": _("trigger time"),
    "AcquisitionTime": _("acquisition time"),
    "EchoTime": _("echo time"),
    "DiffusionBValue": _("b-value"),
    "ImageType": _("image type"),
    "AcquisitionNumber": _("acquisition number"),
}
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
    "PatientName",
    "PatientID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *_VARIANTS,
]
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae"})
_SHORTEST_NAME = 3  # letters of a name, or characters of an ID, that can be recognized in a longer text


@dataclass(frozen=True)
class DicomSlice:
    """One image: of a file of its own, or a frame of a file.

    Attributes:
        path: of the file. frame: its number in the file, from 1; 0 in a file with a single image.
        sop_uid: SOP instance UID of the file.
        position: ImagePositionPatient in mm (LPS), the center of the first voxel. orientation: unit vectors of
            increasing column and row index (LPS), 6 numbers. spacing: of rows and of columns in mm.
        size: rows and columns. is_inverted: small values are to be shown bright (MONOCHROME1).
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
        samples: values per voxel; 0 for what is no image. is_cut_off: the file is shorter than its voxels.
        transfer_syntax: UID of how the voxels are stored.
        patient: words that identify the patient.
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
    samples: int
    is_cut_off: bool
    transfer_syntax: str
    slices: tuple[DicomSlice, ...]
    patient: frozenset[str] = frozenset()
    patient_id: str = ""

    @property
    def is_localizer(self) -> bool:
        return any(value.upper() in ("LOCALIZER", "SCOUT", "TOPOGRAM") for value in self.image_type)

    def names_patient(self, text: str) -> bool:
        """True when a text has a part of the patient's name, or the ID, in it."""
        text = _spellings(text)
        words = set(re.split(r"[^\w]+|_", text))
        names = {spelling for word in self.patient for spelling in _spellings(word).split()}
        return any(name in text if len(name) >= _SHORTEST_NAME else name in words for name in names)


def _spellings(text: str) -> str:
    """A text in small letters, and the same with umlauts as they are often written in file names."""
    text = unicodedata.normalize("NFKC", text).casefold()
    two_letters = text.translate(_UMLAUTS)
    without_accents = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return f"{text} {two_letters} {without_accents}"


def is_dicom_file(path: str | Path) -> bool:
    """Whether a file begins like a DICOM file, with or without the usual preamble. Raises BadInputError."""
    try:
        with open(path, "rb") as file:
            head = file.read(132)
    except OSError as error:
        raise _unreadable(path, error) from error
    # Without the preamble, old files begin with the first elements of group 8.
    return head[128:132] == b"DICM" or (head[:2] == b"\x08\x00" and head[2:4] in _FIRST_ELEMENTS)


_FIRST_ELEMENTS = (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00", b"\x16\x00")


def dicom_files(folder: str | Path, watch: Watch | None = None) -> tuple[list[str], int]:
    """The DICOM files in a folder and the folders in it, sorted, and how many other files there are.

    Files are recognized by their content, because those from a hospital often have no ending.

    Raises BadInputError when a folder or a file in it cannot be read.
    """

    def stop(error: OSError) -> None:
        raise BadInputError(
            _("The folder '{folder}' cannot be read ({reason}).").format(folder=error.filename, reason=error.strerror)
        ) from error

    found: list[str] = []
    others = 0
    for parent, folders, files in os.walk(folder, onerror=stop):
        folders.sort()
        for name in files:
            if watch is not None:
                watch.check()
            path = os.path.join(parent, name)
            if not os.path.isfile(path):
                continue  # a link to nothing, a socket
            if is_dicom_file(path):
                found.append(path)
            else:
                others += 1
    return sorted(found), others


def has_dicom_file(folder: str | Path) -> bool:
    """Whether there is a DICOM file in a folder or the folders in it. Raises BadInputError as `dicom_files` does."""
    if not os.access(folder, os.R_OK | os.X_OK):
        dicom_files(folder)
    return any(
        is_dicom_file(path)
        for parent, _folders, names in os.walk(folder)
        for path in (os.path.join(parent, name) for name in sorted(names))
        if os.path.isfile(path)
    )


def read_headers(paths: Sequence[str], watch: Watch) -> list[DicomHeader]:
    """The headers of files. Raises BadInputError when one of them is damaged, and names it."""
    headers = []
    for number, path in enumerate(paths):
        watch.step(number / len(paths), _("reading DICOM headers"))
        headers.append(read_header(path))
    return headers


def read_header(path: str) -> DicomHeader:
    """The header of one file. Raises BadInputError when it is damaged."""
    with opened(path, _TAGS) as dataset:
        _require_whole_header(dataset, path)
        syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
        sop_uid = value_of(dataset, "SOPInstanceUID")
        slices = tuple(_slices(dataset, path, sop_uid))
        name = value_of(dataset, "PatientName")
        patient_id = value_of(dataset, "PatientID")
        words = {word.casefold() for word in re.split(r"[\^=,;\s]+", name) if len(word) > 1}
        return DicomHeader(
            path=path,
            sop_class=value_of(dataset, "SOPClassUID") or value_of(dataset.file_meta, "MediaStorageSOPClassUID"),
            sop_uid=sop_uid,
            series_uid=value_of(dataset, "SeriesInstanceUID"),
            study_uid=value_of(dataset, "StudyInstanceUID"),
            frame_of_reference_uid=value_of(dataset, "FrameOfReferenceUID"),
            modality=value_of(dataset, "Modality"),
            description=value_of(dataset, "SeriesDescription"),
            number=value_of(dataset, "SeriesNumber"),
            image_type=tuple(value_of(dataset, "ImageType").split("\\")),
            samples=_whole(dataset, "SamplesPerPixel") if slices else 0,
            is_cut_off=_is_cut_off(dataset),
            transfer_syntax=syntax,
            slices=slices,
            patient=frozenset(words | ({patient_id.casefold()} if patient_id else set())),
            patient_id=patient_id,
        )


@contextmanager
def opened(path: str | Path, tags: Sequence[str] | None = None, with_voxels: bool = False) -> Iterator[Dataset]:
    """A DICOM file, read by pydicom with all elements, or some; `bytes_left` is the size of its rest, the voxels.

    Raises BadInputError when it is damaged.
    """
    require_dicom_packages()
    import pydicom  # here, because Slicer imports this folder at every start
    from pydicom.errors import InvalidDicomError

    with warnings.catch_warnings():
        # pydicom's warnings quote values, which may be those of the patient.
        warnings.simplefilter("ignore")
        try:
            wanted: list[Any] | None = None if tags is None else list(tags)
            with open(path, "rb") as file:
                dataset = pydicom.dcmread(file, stop_before_pixels=not with_voxels, specific_tags=wanted, force=True)
                dataset.bytes_left = os.fstat(file.fileno()).st_size - file.tell()
        except OSError as error:
            raise _unreadable(path, error) from error
        except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError, AttributeError) as error:
            raise _damaged(path) from error
        if not hasattr(dataset, "file_meta"):
            dataset.file_meta = pydicom.dataset.FileMetaDataset()
        yield dataset


def value_of(dataset: Any, keyword: str) -> str:
    """An element as text, several values joined by backslashes; '' when it is missing, empty or cannot be read."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
            return "\\".join(str(part) for part in value)
        return str(value).strip()
    except Exception:  # a damaged element raises whatever its conversion does; it counts as missing
        return ""


def numbers_of(dataset: Any, keyword: str) -> tuple[float, ...]:
    """An element as numbers; empty when it is missing or cannot be read."""
    try:
        return tuple(float(part) for part in value_of(dataset, keyword).split("\\") if part)
    except ValueError:
        return ()


def group_of(frame: Any, shared: Any, keyword: str) -> Any:
    """A functional group of a multi-frame image: of the frame, or of all frames; None without it."""
    for groups in (frame, shared):
        items = groups.get(keyword) if groups is not None else None
        if items:
            return items[0]
    return None


def _slices(dataset: Any, path: str, sop_uid: str) -> Iterator[DicomSlice]:
    size = (_whole(dataset, "Rows"), _whole(dataset, "Columns"))
    if not all(size):
        return
    is_inverted = value_of(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    count = _whole(dataset, "NumberOfFrames")
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        place = tuple(numbers_of(dataset, k) for k in ("ImagePositionPatient", "ImageOrientationPatient"))
        variants = {str(name): value_of(dataset, keyword) for keyword, name in _VARIANTS.items()}
        spacing = numbers_of(dataset, "PixelSpacing")
        for number in range(max(1, count)):
            # Several frames with one position for all cannot be placed.
            position, orientation = place if count <= 1 else ((), ())
            frame = number + 1 if count > 1 else 0
            yield DicomSlice(path, frame, sop_uid, position, orientation, spacing, size, is_inverted, variants)
        return
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    for number, frame in enumerate(frames):
        groups = {
            name: group_of(frame, shared, f"{name}Sequence")
            for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "FrameContent", "MREcho", "MRDiffusion")
        }
        yield DicomSlice(
            path,
            number + 1,
            sop_uid,
            numbers_of(groups["PlanePosition"] or {}, "ImagePositionPatient"),
            numbers_of(groups["PlaneOrientation"] or {}, "ImageOrientationPatient"),
            numbers_of(groups["PixelMeasures"] or {}, "PixelSpacing"),
            size,
            is_inverted,
            {
                str(_("temporal position")): value_of(groups["FrameContent"] or {}, "TemporalPositionIndex"),
                str(_("echo time")): value_of(groups["MREcho"] or {}, "EffectiveEchoTime"),
                str(_("b-value")): value_of(groups["MRDiffusion"] or {}, "DiffusionBValue"),
            },
        )


def _require_whole_header(dataset: Any, path: str) -> None:
    """Raise BadInputError when a header ends too early: pydicom reads what there is."""
    sop_class = value_of(dataset, "SOPClassUID") or value_of(dataset.file_meta, "MediaStorageSOPClassUID")
    if sop_class == DICOMDIR_CLASS:
        return
    is_image = _name_of(sop_class).endswith("Image Storage")
    needed = ("SeriesInstanceUID", "SOPInstanceUID", *(("Rows", "Columns") if is_image else ()))
    if not all(value_of(dataset, keyword) for keyword in needed):
        raise _damaged(path)


def _name_of(uid: str) -> str:
    from pydicom.uid import UID

    return str(UID(uid).name)


def _is_cut_off(dataset: Any) -> bool:
    """Whether a file without compression is shorter than its voxels; `dataset` is of `opened`."""
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax is not None and syntax.is_transfer_syntax and (syntax.is_compressed or syntax.is_deflated):
        return False
    bits = _whole(dataset, "BitsAllocated") * _whole(dataset, "Rows") * _whole(dataset, "Columns")
    bits *= max(1, _whole(dataset, "SamplesPerPixel")) * max(1, _whole(dataset, "NumberOfFrames"))
    return bool(dataset.bytes_left < bits // 8)


def _whole(dataset: Any, keyword: str) -> int:
    try:
        return int(value_of(dataset, keyword) or 0)
    except ValueError:
        return 0


def _damaged(path: str | Path) -> BadInputError:
    return BadInputError(
        _("The DICOM file '{path}' is damaged: its header cannot be read to its end. Copy it again.").format(path=path)
    )


def _unreadable(path: str | Path, error: OSError) -> BadInputError:
    return BadInputError(_("The file '{path}' cannot be read ({reason}).").format(path=path, reason=error.strerror))
