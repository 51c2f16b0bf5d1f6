"""Where each voxel of a drawing comes from, and a label volume that shows it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer
import vtk

from ..core import Provenance
from ..core.provenance import CORRECTED, DRAWN, PAINTED, filled_by, predicted_by
from ..core.voxel_boxes import Box
from .annotations import annotated_segmentation, annotation_of, label_values
from .channel_references import further_channels
from .last_applied import Part, applied_records
from .node_stamps import voxel_stamp
from .results import FILL, made_by, method_of
from .segment_regions import whole_region
from .segmentation_layers import segment_ids
from .segmentation_nodes import masks_of
from .volume_nodes import geometry_of, local_ijk_to_ras, vtk_matrix

_SOURCE_TAG = "SparseAnnotate.Source"
_SHOWN_ATTRIBUTE = "SparseAnnotate.ProvenanceOf"
_STAMP_ATTRIBUTE = "SparseAnnotate.ProvenanceMadeFrom"
_BEFORE_ATTRIBUTE = "SparseAnnotate.LabelBefore"
_PAINTED = "painted, not marked"
_COLORS = {DRAWN: (0.2, 0.75, 0.3), CORRECTED: (0.95, 0.85, 0.2), PAINTED: (0.9, 0.3, 0.3)}
_RESULT_COLORS = ((0.25, 0.55, 0.95), (0.7, 0.45, 0.9), (0.3, 0.8, 0.85), (0.9, 0.55, 0.2), (0.6, 0.6, 0.6))
_OPACITY = 0.5


def source_of_result(result_node) -> str:
    """The name of what the voxels of a result come from."""
    made = made_by(result_node)
    if made is None:
        return f"copied ({result_node.GetName()})"
    return filled_by(method_of(result_node)) if made == FILL else predicted_by(made)


def note_source(segmentation_node, segment_id: str, source: str) -> None:
    """Store in a segment what its voxels off the drawn slices come from; saved in .seg.nrrd files, too."""
    segmentation_node.GetSegmentation().GetSegment(segment_id).SetTag(_SOURCE_TAG, source)


def computing_provenance(volume_node, found: list[Provenance]) -> Iterator[None]:
    """Where the voxels of a volume's drawing come from, appended to `found`; yields after each segment.

    A voxel that a segment had when a result was applied to it comes from that result. Raises BadInputError as
    `annotation_of` does.
    """
    segmentation = annotated_segmentation(volume_node)
    values = label_values(segmentation) if segmentation is not None else None
    annotation = annotation_of(volume_node, segmentation, values, winners=list(values or ()))
    provenance = Provenance.of(annotation)
    yield
    applied = applied_records(segmentation, volume_node)
    region = whole_region(geometry_of(volume_node).shape)
    identifiers = {segmentation.GetSegmentation().GetSegment(one).GetName(): one for one in segment_ids(segmentation)}
    for name, box, mask in masks_of(segmentation, volume_node, region):
        segment_id = identifiers[name]
        known = annotation.known_in(box, (values or {})[name]) if annotation.has_unknown_structures else None
        records = [
            (_within(record[segment_id], box, mask.shape), source.get(segment_id, ""))
            for record, source in applied
            if segment_id in record
        ]
        if not records and (source := _source_of(segmentation, segment_id)):
            provenance.enter(source, mask, box, known)
        elif records:
            # Undo may have restored what was applied before: the record that agrees most with what is there.
            from_result, source = max(records, key=lambda record: np.count_nonzero(record[0] == mask))
            if source:
                from_result &= mask
                provenance.enter(source, from_result, box, known)
                mask = mask & ~from_result
        provenance.enter(_PAINTED, mask, box, known)
        yield
    found.append(provenance)


def provenance_stamp(volume_node) -> str:
    """A text that changes whenever the provenance of a volume's drawing may have."""
    segmentation = annotated_segmentation(volume_node)
    if segmentation is None:
        return ""
    return f"{voxel_stamp(segmentation)}|{segmentation.GetMTime()}"


def show_provenance(volume_node, provenance: Provenance, stamp: str):
    """Show the sources of voxels in color in the slice views; returns the label volume's node, which is not saved."""
    node = shown_provenance(volume_node)
    if node is None:
        name = f"{volume_node.GetName()} provenance"
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
        node.SetAttribute(_SHOWN_ATTRIBUTE, volume_node.GetID())
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetIJKToRASMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
    slicer.util.updateVolumeFromArray(node, provenance.sources)
    node.SetAttribute(_STAMP_ATTRIBUTE, stamp)
    node.GetDisplayNode().SetAndObserveColorNodeID(_color_table(node, provenance).GetID())
    own = {channel.GetID() for channel in (volume_node, *further_channels(volume_node).values())}
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID() in own and composite.GetLabelVolumeID() != node.GetID():
            before = f"{composite.GetLabelOpacity()} {composite.GetLabelVolumeID() or ''}"
            composite.SetAttribute(_BEFORE_ATTRIBUTE, before)
            composite.SetLabelVolumeID(node.GetID())
            composite.SetLabelOpacity(_OPACITY)
    return node


def shown_provenance(volume_node):
    """The label volume of `show_provenance`; None when it is not shown."""
    nodes = slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")
    return next((node for node in nodes if node.GetAttribute(_SHOWN_ATTRIBUTE) == volume_node.GetID()), None)


def is_current(node, stamp: str) -> bool:
    """Whether a label volume of `show_provenance` shows the drawing with this stamp."""
    return node.GetAttribute(_STAMP_ATTRIBUTE) == stamp


def hide_provenance(only_orphans: bool = False) -> None:
    """Remove the label volumes of `show_provenance`, or those of volumes that have been removed."""
    for node in slicer.util.getNodesByClass("vtkMRMLLabelMapVolumeNode"):
        shown_of = node.GetAttribute(_SHOWN_ATTRIBUTE)
        if shown_of and not (only_orphans and slicer.mrmlScene.GetNodeByID(shown_of) is not None):
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                if composite.GetLabelVolumeID() == node.GetID():
                    opacity, _, label_id = (composite.GetAttribute(_BEFORE_ATTRIBUTE) or "1.0 ").partition(" ")
                    composite.SetLabelVolumeID(label_id or None)
                    composite.SetLabelOpacity(float(opacity))
            colors = node.GetDisplayNode().GetColorNode()
            slicer.mrmlScene.RemoveNode(node)
            if colors is not None and colors.GetAttribute(_SHOWN_ATTRIBUTE):
                slicer.mrmlScene.RemoveNode(colors)


def _color_table(node, provenance: Provenance):
    colors = node.GetDisplayNode().GetColorNode()
    if colors is None or not colors.GetAttribute(_SHOWN_ATTRIBUTE):
        colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", node.GetName())
        colors.SetAttribute(_SHOWN_ATTRIBUTE, "1")
        colors.SetTypeToUser()
        colors.SetSaveWithScene(False)
        colors.SetHideFromEditors(True)
    colors.SetNumberOfColors(max([*provenance.names, PAINTED]) + 1)
    colors.SetColor(0, "not labeled", 0.0, 0.0, 0.0, 0.0)
    for value, name in provenance.names.items():
        color = _COLORS.get(value) or _RESULT_COLORS[(value - PAINTED - 1) % len(_RESULT_COLORS)]
        colors.SetColor(value, name, *color, 1.0)
    return colors


def _source_of(segmentation_node, segment_id: str) -> str:
    """What `note_source` has stored in a segment; '' for one that no result was applied to."""
    value = vtk.reference("")
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    return str(value) if segment.GetTag(_SOURCE_TAG, value) else ""


def _within(part: Part, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """bool, of the shape of a box of the volume: where another part of the volume has its mask."""
    other, mask = part
    found = np.zeros(shape, dtype=bool)
    common = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(other, box, strict=True)]
    if all(stop > start for start, stop in common):
        inside = tuple(slice(low - b.start, high - b.start) for (low, high), b in zip(common, box, strict=True))
        source = tuple(slice(low - a.start, high - a.start) for (low, high), a in zip(common, other, strict=True))
        found[inside] = mask[source]
    return found
