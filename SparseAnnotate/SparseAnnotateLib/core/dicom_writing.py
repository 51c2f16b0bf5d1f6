"""Segmentations as DICOM SEG that refer to the series they were made on; nothing is resampled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .atomic_files import written_atomically
from .dicom_codes import DEFAULT_CODES, Code, StructureCodes
from .dicom_files import is_readable, opened, quietly, value_of
from .dicom_packages import require_dicom_packages
from .dicom_series import DicomSeries
from .errors import BadInputError
from .messages import _
from .progress import Watch
from .provenance import CORRECTED, DRAWN, NOT_LABELED, PAINTED, Provenance

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROGRAM = "SparseAnnotate"
LONGEST_LABEL = 64  # characters of a segment's label in DICOM
_FEWEST_PIXELS = 8  # of a slice: highdicom writes the bits of fewer into wrong places
_BY_HAND = (NOT_LABELED, DRAWN, CORRECTED, PAINTED)
# Elements that a segmentation must have, even if empty: de-identified files may lack them.
_NEEDED = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)

_SEVERAL_CHARACTER_SETS = re.compile(r"\\|ISO 2022")

AlgorithmType = Literal["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"]


@dataclass(frozen=True)
class DicomSegment:
    """A segment of a DICOM SEG, without its voxels.

    Attributes:
        name: of the structure. codes: what it is. color: red, green and blue from 0 to 1; None without.
        algorithm_type: how its voxels were made; see `algorithm_of`.
        algorithm: name of what made those that a person did not draw; '' when drawn by hand.
    """

    name: str
    codes: StructureCodes = DEFAULT_CODES
    algorithm_type: AlgorithmType = "MANUAL"
    algorithm: str = ""
    color: tuple[float, float, float] | None = None


def algorithm_of(provenance: Provenance, mask: np.ndarray) -> tuple[AlgorithmType, str]:
    """How the voxels of a structure, (K, J, I) bool, were made, and by what.

    'MANUAL': all of them were drawn, corrected or painted. 'AUTOMATIC': a run predicted all of them in a volume in
    which nobody has drawn anything. 'SEMIAUTOMATIC': everything else, such as a fill between drawn slices.
    """
    found = np.flatnonzero(np.bincount(provenance.sources[mask], minlength=1)).tolist()
    results = [provenance.names.get(value, "") for value in found if value not in _BY_HAND]
    if not results:
        return "MANUAL", ""
    is_touched = any(value in provenance.names for value in (DRAWN, CORRECTED, PAINTED))
    is_predicted = all(name.startswith("predicted") for name in results)
    return ("AUTOMATIC" if is_predicted and not is_touched else "SEMIAUTOMATIC"), f"{PROGRAM}: {'; '.join(results)}"


def write_segmentation(
    path: str | Path,
    series: DicomSeries,
    segments: Sequence[DicomSegment],
    voxels: np.ndarray,
    version: str,
    watch: Watch,
) -> list[str]:
    """Write a DICOM SEG in a series of its own in the study of the images; patient and study are copied from them.

    Returns sentences on what was left empty.

    Args:
        segments: number n of the file is `segments[n - 1]`.
        voxels: on the grid of the series: (K, J, I), the number of the segment or 0; or, when segments overlap,
            (K, J, I, number of segments) with 1 where a segment is.
        version: of the program.

    Raises:
        BadInputError: when there are no labeled voxels, or the series' files lack what a segmentation must refer to.
        FileWriteError: when the file cannot be written.
    """
    require_dicom_packages(writes_segmentations=True)
    geometry = series.required_geometry()
    if voxels.shape[:3] != geometry.shape:
        raise BadInputError(
            _("An array of shape {shape} does not fit a volume of shape {volume_shape}.").format(
                shape=voxels.shape[:3], volume_shape=geometry.shape
            )
        )
    if not segments or not voxels.any():
        raise BadInputError(_("There are no labeled voxels to write."))
    if geometry.shape[1] * geometry.shape[2] < _FEWEST_PIXELS:
        raise BadInputError(
            _("Slices of fewer than {count} voxels cannot be written as a DICOM SEG.").format(count=_FEWEST_PIXELS)
        )
    for segment in segments:
        segment.codes.require_writable(segment.name)
    if not series.headers[0].frame_of_reference_uid:
        raise BadInputError(
            _("The files of the {series} have no frame of reference UID, which a DICOM SEG must refer to.").format(
                series=series.title
            )
        )
    sources = _sources(series, watch)
    with quietly():
        emptied = sorted({keyword for source in sources for keyword in _emptied(source)})
    if series.slices[0].frame:
        # Segment frames refer to the frames of the file, in its order.
        order = np.argsort([one.frame for one in series.slices])
        voxels = voxels[order]
    with quietly():
        try:
            dataset = _dataset(series, sources, segments, voxels, version)
        except Exception as error:  # a damaged element raises whatever its conversion does
            raise BadInputError(
                _(
                    "A DICOM SEG cannot refer to the {series}: its files lack elements that DICOM requires, or have "
                    "wrong ones ({reason})."
                ).format(series=series.title, reason=_keywords_in(str(error)))
            ) from error
        with written_atomically(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    note = _("Left empty, because the images have values that DICOM does not allow: {keywords}.")
    return [note.format(keywords=", ".join(emptied))] if emptied else []


def _keywords_in(text: str) -> str:
    """The DICOM elements that an error of highdicom names: the rest may quote the patient."""
    from pydicom.datadict import tag_for_keyword

    found = [word for word in dict.fromkeys(re.findall(r"[A-Za-z]+", text)) if tag_for_keyword(word) is not None]
    return ", ".join(found) or "?"


def _emptied(dataset: Dataset) -> list[str]:
    """Empty the elements of patient and study whose values DICOM does not allow, or that cannot be read.

    Returns their keywords.
    """
    from pydicom.valuerep import DA, TM

    allowed: dict[str, Callable[[str], object]] = {
        "PatientSex": ["", "M", "F", "O"].index,
        "PatientBirthDate": DA,
        "StudyDate": DA,
        "StudyTime": TM,
    }
    found = []
    for keyword in _NEEDED:
        try:
            allowed.get(keyword, str)(str(dataset[keyword].value or ""))
            is_allowed = is_readable(dataset, keyword)
        except Exception:  # a damaged element raises whatever its conversion does
            is_allowed = False
        if not is_allowed:
            del dataset[keyword]
            setattr(dataset, keyword, "")
            found.append(keyword)
    return found


def _sources(series: DicomSeries, watch: Watch) -> list[Dataset]:
    """The complete headers, in the order of the slices; a multi-frame file once."""
    paths = list(dict.fromkeys(one.path for one in series.slices))
    if series.slices[0].frame and len(paths) > 1:
        raise BadInputError(
            _(
                "The images of the {series} are in {count} multi-frame files; a DICOM SEG can refer to a single one."
            ).format(series=series.title, count=len(paths))
        )
    if series.slices[0].frame and len(series.slices) < sum(len(header.slices) for header in series.headers):
        raise BadInputError(
            _(
                "The images of the {series} are some of the frames of a multi-frame file; a DICOM SEG can refer to all "
                "of them only."
            ).format(series=series.title)
        )
    found = []
    for number, path in enumerate(paths):
        watch.step(number / len(paths) / 2, _("reading DICOM headers"))
        with opened(path, shown=series.shown(path)) as dataset:
            _decode(dataset)
            for keyword in _NEEDED:
                if keyword not in dataset:
                    setattr(dataset, keyword, "")
            if not series.slices[0].frame and not value_of(dataset, "SliceThickness"):
                dataset.SliceThickness = f"{series.required_geometry().spacing[0]:.10g}"
            found.append(dataset)
    return found


def _decode(dataset: Dataset) -> None:
    """Make all text Unicode where a header has several character sets, of which a segmentation has one only."""
    from pydicom.charset import convert_encodings, decode_element

    if not _SEVERAL_CHARACTER_SETS.search(value_of(dataset, "SpecificCharacterSet")):
        return
    encodings = convert_encodings(dataset.SpecificCharacterSet)
    for tag in list(dataset.keys()):
        try:
            decode_element(dataset[tag], encodings)
        except Exception:  # a damaged element raises whatever its conversion does; it counts as missing
            del dataset[tag]
    dataset.SpecificCharacterSet = "ISO_IR 192"


def _dataset(
    series: DicomSeries, sources: Sequence[Dataset], segments: Sequence[DicomSegment], voxels: np.ndarray, version: str
) -> Dataset:
    import highdicom
    from highdicom.seg import Segmentation

    number = series.headers[0].number
    seg: Dataset = Segmentation(
        source_images=sources,
        pixel_array=voxels,
        segmentation_type="BINARY",
        segment_descriptions=[_description(n, segment, version) for n, segment in enumerate(segments, 1)],
        series_instance_uid=highdicom.UID(),
        series_number=int(number) * 100 + 1 if number.isdigit() and len(number) < 6 else 1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=PROGRAM,
        manufacturer_model_name=PROGRAM,
        software_versions=version,
        device_serial_number="0",
        content_label="SEGMENTATION",
        series_description=f"{PROGRAM} segmentation",
    )
    seg.SpecificCharacterSet = "ISO_IR 192"  # names of structures may have any letters
    return seg


def _description(number: int, segment: DicomSegment, version: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    def concept(code: Code) -> Any:
        return CodedConcept(code.value, code.scheme, code.meaning)

    to_lab = getattr(CIELabColor, "from_rgb", lambda *_: None)  # older versions cannot convert
    algorithm = None
    if segment.algorithm_type != "MANUAL":
        is_run = "predicted" in segment.algorithm
        families = codes.cid7162
        algorithm = AlgorithmIdentificationSequence(
            name=_shortened(segment.algorithm),
            family=families.ArtificialIntelligence if is_run else families.MorphologicalOperations,
            version=version,
            source=PROGRAM,
        )
    found = segment.codes
    description: Any = SegmentDescription(
        segment_number=number,
        segment_label=_shortened(segment.name),
        segmented_property_category=concept(found.category),
        segmented_property_type=concept(found.type),
        algorithm_type=segment.algorithm_type,
        algorithm_identification=algorithm,
        anatomic_regions=None if found.region is None else [concept(found.region)],
        display_color=None if segment.color is None else to_lab(*(round(255 * share) for share in segment.color)),
    )
    if found.modifier is not None:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [concept(found.modifier)]
    if found.region is not None and found.region_modifier is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(found.region_modifier)]
    if description.SegmentLabel != segment.name:
        description.SegmentDescription = segment.name
    return description


def _shortened(text: str) -> str:
    """A text as DICOM's short strings can hold it."""
    return text.replace("\\", "/")[:LONGEST_LABEL]


def stacked(masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """The voxels of overlapping segments for `write_segmentation`: number of each, from 1, to its (K, J, I) mask."""
    voxels = np.zeros((*next(iter(masks.values())).shape, len(masks)), dtype=np.uint8)
    for number, mask in masks.items():
        voxels[..., number - 1] = mask
    return voxels
