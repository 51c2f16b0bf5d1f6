"""Writing a segmentation as DICOM SEG, for the series that its volume was loaded from: the worker does the writing."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import scene
from ..client import Steps
from ..core import BadInputError, Exchanged, Progress, Provenance, SparseAnnotation
from ..core.case_names import file_stem, usable_case_name
from ..core.dicom_codes import DEFAULT_CODES
from ..core.dicom_writing import AlgorithmType, DicomSegment, algorithm_of
from ..core.messages import _
from ..core.slab_writing import written_in_slabs
from ..core.strict_json import from_plain, to_plain
from .session import Session, Waiting
from .sources_of_voxels import SourcesOfVoxels

_UNKNOWN: tuple[AlgorithmType, str] = ("SEMIAUTOMATIC", "not made by SparseAnnotate")
_FOLDER = "dicom_segmentation"


class DicomExport:
    """Writes segmentations of volumes that Slicer's DICOM module has loaded.

    Args:
        sources: tells where the voxels of drawings come from.
        following: lets a result follow from all corrections, in pieces.
    """

    def __init__(self, session: Session, sources: SourcesOfVoxels, following: Callable[[Any], Steps]):
        self._session, self._sources, self._following = session, sources, following

    def export(
        self,
        segmentation_node,
        volume_node,
        folder: str | Path,
        waiting: Waiting,
        result: Callable[[Exchanged], Any] = lambda found: found,
    ):
        """See `ConsoleLogic.exportDicomSegmentation`; what the job returns is `result` of the path and notes."""
        if not str(folder).strip():
            raise BadInputError(_("No folder is given. Choose one."))
        name = file_stem(usable_case_name(segmentation_node.GetName()))
        path = Path(folder).expanduser().absolute() / f"{name}.dcm"
        files = scene.dicom_files_of(volume_node)

        def finish(answer: Any) -> Any:
            found = from_plain(answer, Exchanged, _("the worker's answer"))
            for note in found.warnings:
                logging.getLogger(__name__).warning(note)
            return result(found)

        prepare = self._preparing(segmentation_node, volume_node, path, files)
        return self._session.do("write_dicom_segmentation", prepare, finish, waiting)

    def export_from_panel(
        self,
        segmentation_node,
        volume_node,
        folder: str,
        waitForCompletion: bool = False,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """`export`, whose job returns the path with the notes on the file, as `Exchanged`."""
        return self.export(segmentation_node, volume_node, folder, Waiting(waitForCompletion, onDone, onProgress))

    def segmentations(self, volume_node) -> list:
        """The segmentations of a volume that can be written: the one that is drawn in, and its results."""
        drawn = scene.annotated_segmentation(volume_node)
        return [*([drawn] if drawn is not None else []), *scene.results_of(volume_node)]

    def why_not(self, volume_node) -> str | None:
        """Why segmentations of a volume cannot be written; None if they can, as far as can be told at once."""
        return scene.why_not_from_dicom(volume_node)

    def _preparing(self, segmentation_node, volume_node, path: Path, files: Sequence[str]) -> Steps:
        """The request, step by step: the voxels of the segments are written into the cache of the cohort folder."""
        yield from self._following(segmentation_node)
        volume, stamp = volume_node.GetName(), _stamp(segmentation_node, volume_node)
        yield Progress(0.0, _("reading the segments of '{volume}'").format(volume=volume))
        masks: dict[str, np.ndarray] = {}
        for name, mask in scene.reading_whole_masks(segmentation_node, volume_node):
            masks[name] = mask
            yield None
        if not masks:
            raise BadInputError(
                _("The segmentation '{segmentation}' has no labeled voxels in '{volume}'.").format(
                    segmentation=segmentation_node.GetName(), volume=volume
                )
            )
        made = yield from self._provenance(segmentation_node, volume_node, masks)
        codes, colors = scene.codes_of(segmentation_node), scene.colors_of(segmentation_node)
        segments: list[DicomSegment] = []
        layers: list[np.ndarray] = []
        for number, (name, mask) in enumerate(masks.items(), 1):
            how, algorithm = algorithm_of(made[name], mask) if name in made else _UNKNOWN
            segments.append(DicomSegment(name, codes.get(name, DEFAULT_CODES), how, algorithm, colors.get(name)))
            _enter(layers, mask, number, len(masks))
            yield None
        if _stamp(segmentation_node, volume_node) != stamp:
            raise BadInputError(
                _("'{segmentation}' or its volume was changed while it was read. Export it again.").format(
                    segmentation=segmentation_node.GetName()
                )
            )
        geometry = scene.geometry_of(volume_node)
        folder = self._session.cohort().cache_folder / _FOLDER / uuid.uuid4().hex
        is_written = False
        try:
            for place, labels in enumerate(layers):
                for _share in written_in_slabs(folder / f"{place}.nrrd", labels, geometry, compress=True):
                    yield None
            is_written = True
        finally:
            if not is_written:
                shutil.rmtree(folder, ignore_errors=True)
        return {
            "out": str(path),
            "volume": volume,
            "files": list(files),
            "folder": str(folder),
            "layers": len(layers),
            "segments": to_plain(segments),
        }

    def _provenance(self, segmentation_node, volume_node, masks: Mapping[str, np.ndarray]) -> Steps:
        """Where the voxels of each segment come from; nothing for a segmentation of which nothing is known.

        Raises BadInputError when it is a result that is out of date.
        """
        drawn = scene.annotated_segmentation(volume_node)
        if segmentation_node is drawn:
            return dict.fromkeys(masks, (yield from self._sources.computing(volume_node)))
        if scene.made_by(segmentation_node) is None:
            return {}
        values = scene.label_values(drawn) if drawn is not None else {}
        annotation = (yield from scene.reading_annotation(volume_node, drawn, values)) if values else None
        yield from _requiring_up_to_date(segmentation_node, volume_node, drawn, annotation, list(masks))
        source, shape = scene.source_of_result(segmentation_node), scene.geometry_of(volume_node).shape
        if annotation is None:
            found = Provenance(np.zeros(shape, dtype=np.uint8))
            found.enter(source, np.ones(shape, dtype=bool))
            return dict.fromkeys(masks, found)
        by_name = {}
        for name, mask in masks.items():  # they may overlap, so each has its own
            by_name[name] = Provenance.of_result(annotation, source, [(values.get(name), mask)])
            yield None
        return by_name


def _stamp(segmentation_node, volume_node) -> tuple[Any, str]:
    return scene.voxel_stamp(segmentation_node), scene.image_stamp(volume_node)


def _enter(layers: list[np.ndarray], mask: np.ndarray, number: int, count: int) -> None:
    """Enter a segment into the first label map in which it overlaps no other one."""
    for labels in layers:
        if not labels[mask].any():
            labels[mask] = number
            return
    layers.append(np.where(mask, number, 0).astype(np.uint8 if count < 256 else np.uint16))


def _requiring_up_to_date(
    result_node, volume_node, drawn, annotation: SparseAnnotation | None, names: Sequence[str]
) -> Generator[None, None, None]:
    """Raise BadInputError, step by step, when a result is out of date."""
    scene.require_current(result_node, volume_node, drawn, names)
    names_of = annotation.names if annotation is not None else {}
    now = yield from scene.finding_origin(volume_node, annotation, names_of)
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
