"""Writing a segmentation as DICOM SEG, for the series that its volume was loaded from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import __version__, scene
from ..core import BadInputError, Provenance, SparseAnnotation, Watch
from ..core.case_names import file_stem, usable_case_name
from ..core.dicom_codes import DEFAULT_CODES
from ..core.dicom_headers import read_headers
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_series import DicomSeries, series_of
from ..core.dicom_writing import AlgorithmType, DicomSegment, algorithm_of, stacked, write_segmentation
from ..core.messages import _
from .session import Waiting
from .sources_of_voxels import SourcesOfVoxels

_UNKNOWN: tuple[AlgorithmType, str] = ("SEMIAUTOMATIC", "not made by SparseAnnotate")


def export_segmentation(segmentation_node, volume_node, folder: Path, sources: SourcesOfVoxels) -> Path:
    """See `ConsoleLogic.exportDicomSegmentation`; `sources` tells where the voxels of drawings come from."""
    require_dicom_packages(writes_segmentations=True)
    series = _series(volume_node)
    masks = scene.whole_masks(segmentation_node, volume_node)
    if not masks:
        raise BadInputError(
            _("The segmentation '{segmentation}' has no labeled voxels in '{volume}'.").format(
                segmentation=segmentation_node.GetName(), volume=volume_node.GetName()
            )
        )
    made = _provenance(segmentation_node, volume_node, masks, sources)
    codes, colors = scene.codes_of(segmentation_node), scene.colors_of(segmentation_node)
    segments, voxels = [], {}
    for number, (name, mask) in enumerate(masks.items(), 1):
        how, algorithm = algorithm_of(made[name], mask) if name in made else _UNKNOWN
        segments.append(DicomSegment(name, codes.get(name, DEFAULT_CODES), how, algorithm, colors.get(name)))
        voxels[number] = _on_series(mask, volume_node, series)
    path = folder.expanduser().absolute() / f"{file_stem(usable_case_name(segmentation_node.GetName()))}.dcm"
    for note in write_segmentation(path, series, segments, _together(voxels), __version__, Watch()):
        logging.getLogger(__name__).warning(note)
    return path


def _series(volume_node) -> DicomSeries:
    found = series_of(read_headers(scene.dicom_files_of(volume_node), Watch()))
    if len(found) != 1:
        raise BadInputError(
            _("The DICOM files of '{volume}' belong to {count} series; a DICOM segmentation refers to one.").format(
                volume=volume_node.GetName(), count=len(found)
            )
        )
    found[0].required_geometry()
    return found[0]


def _on_series(mask: np.ndarray, volume_node, series: DicomSeries) -> np.ndarray:
    turned = series.required_geometry().with_same_voxels(mask, scene.geometry_of(volume_node))
    if turned is None:
        raise BadInputError(
            _(
                "'{volume}' is no longer on the grid of its DICOM series: it was resampled, cropped or moved. Export "
                "the segmentation of the volume as it was loaded."
            ).format(volume=volume_node.GetName())
        )
    return turned


def _together(masks: dict[int, np.ndarray]) -> np.ndarray:
    """The voxels of all segments as `write_segmentation` takes them."""
    first = next(iter(masks.values()))
    voxels = np.zeros(first.shape, dtype=np.uint8 if len(masks) < 256 else np.uint16)
    for number, mask in masks.items():
        if voxels[mask].any():
            return stacked(masks)
        voxels[mask] = number
    return voxels


def _provenance(
    segmentation_node, volume_node, masks: Mapping[str, np.ndarray], sources: SourcesOfVoxels
) -> dict[str, Provenance]:
    """Where the voxels of each segment come from; nothing for a segmentation of which nothing is known.

    Raises BadInputError when it is a result that is out of date.
    """
    drawn = scene.annotated_segmentation(volume_node)
    if segmentation_node is drawn:
        return dict.fromkeys(masks, sources.of(volume_node, Waiting()))
    if scene.made_by(segmentation_node) is None:
        return {}
    values = scene.label_values(drawn) if drawn is not None else {}
    annotation = scene.annotation_of(volume_node, drawn, values) if values else None
    _require_up_to_date(segmentation_node, volume_node, drawn, annotation, list(masks))
    source, shape = scene.source_of_result(segmentation_node), scene.geometry_of(volume_node).shape
    if annotation is None:
        found = Provenance(np.zeros(shape, dtype=np.uint8))
        found.enter(source, np.ones(shape, dtype=bool))
        return dict.fromkeys(masks, found)
    # Segments may overlap, so each has its own.
    return {name: Provenance.of_result(annotation, source, [(values.get(name), mask)]) for name, mask in masks.items()}


def _require_up_to_date(
    result_node, volume_node, drawn, annotation: SparseAnnotation | None, names: Sequence[str]
) -> None:
    scene.require_current(result_node, volume_node, drawn, names)
    now = scene.origin_now(volume_node, annotation, annotation.names if annotation is not None else {})
    since = scene.drawn_since(result_node, volume_node, now)
    if since:
        raise BadInputError(
            _(
                "'{result}' is out of date: slices were drawn or changed since it was made: {slices}. Make it again."
            ).format(result=result_node.GetName(), slices=since)
        )
    if scene.corrected_since(result_node, volume_node):
        raise BadInputError(
            _("'{result}' is out of date: corrections were made or taken back since. Make it again.").format(
                result=result_node.GetName()
            )
        )
