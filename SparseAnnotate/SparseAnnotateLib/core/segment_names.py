"""Names that the header of a label file gives its labels: of 3D Slicer's .seg.nrrd files, and of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .dicom_codes import StructureCodes
from .errors import BadInputError
from .file_damage import require_whole_header, unreadable
from .messages import _
from .slab_writing import FACT_PREFIX
from .structure_values import names_from_facts

_LAYER, _NAME, _VALUE, _TAGS = "_Layer", "_Name", "_LabelValue", "_Tags"
_TERMINOLOGY = "TerminologyEntry:"


def read_label_names(path: str | Path) -> dict[int, str] | None:
    """Label value to name, from the header of a NRRD file; None when it names none, and for other formats.

    Raises BadInputError when the file is missing or damaged, or segments in it overlap.
    """
    path = Path(path)
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return None
    fields = _header_fields(path)
    segments = {key.removesuffix(_NAME) for key in fields if key.startswith("Segment") and key.endswith(_NAME)}
    segments = {segment for segment in segments if segment.removeprefix("Segment").isdigit()}
    if not segments:
        return names_from_facts(
            {k.removeprefix(FACT_PREFIX): v for k, v in fields.items() if k.startswith(FACT_PREFIX)}
        )
    _require_one_layer(fields, segments, path)
    names: dict[int, str] = {}
    for segment in sorted(segments, key=lambda text: int(text.removeprefix("Segment"))):
        value = fields.get(segment + _VALUE, "")
        if not value.isdigit() or int(value) in names:
            raise BadInputError(
                _("The header of '{path}' gives the segment '{name}' no label value of its own.").format(
                    path=path, name=fields[segment + _NAME]
                )
            )
        names[int(value)] = fields[segment + _NAME]
    return names


def read_label_codes(path: str | Path) -> dict[str, StructureCodes]:
    """Name to codes of the segments of a .seg.nrrd file that have a terminology. Raises BadInputError as above."""
    fields = _header_fields(Path(path))
    found: dict[str, StructureCodes] = {}
    for key, name in fields.items():
        tags = fields.get(key.removesuffix(_NAME) + _TAGS, "") if key.endswith(_NAME) else ""
        for tag in tags.split("|"):
            codes = StructureCodes.from_slicer(tag.removeprefix(_TERMINOLOGY)) if tag.startswith(_TERMINOLOGY) else None
            if codes is not None:
                found[name] = codes
    return found


def _header_fields(path: Path) -> dict[str, str]:
    import SimpleITK as sitk  # here, because Slicer imports this folder at every start

    if not path.is_file():
        raise BadInputError(_("The file '{path}' does not exist.").format(path=path))
    require_whole_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise BadInputError(unreadable(path, error)) from error
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def _require_one_layer(fields: Mapping[str, str], segments: set[str], path: Path) -> None:
    if len({fields.get(segment + _LAYER, "0") for segment in segments}) > 1:
        raise BadInputError(
            _(
                "The segments of '{path}' overlap, but a voxel can have one structure only. Export the segmentation "
                "as a label map, in Slicer with 'Export to labelmap'."
            ).format(path=path)
        )
