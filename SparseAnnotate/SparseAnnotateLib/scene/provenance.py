"""Where each voxel of a drawing comes from, and a label volume that shows it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np
import slicer
import vtk

from ..core import BadInputError, Provenance
from ..core.messages import _
from ..core.pieces import slabs
from ..core.provenance import CORRECTED, DRAWN, PAINTED, PAINTED_NAME, filled_by, one_of, predicted_by
from ..core.voxel_boxes import Box, along_axes, bounding_box
from .annotations import annotated_segmentation, label_values, reading_annotation
from .applied_labels import AppliedLabels
from .channel_references import further_channels
from .last_applied import reading_applied
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
_COLORS = {DRAWN: (0.2, 0.75, 0.3), CORRECTED: (0.95, 0.85, 0.2), PAINTED: (0.9, 0.3, 0.3)}
_RESULT_COLORS = ((0.25, 0.55, 0.95), (0.7, 0.45, 0.9), (0.3, 0.8, 0.85), (0.9, 0.55, 0.2), (0.6, 0.6, 0.6))
_OPACITY = 0.5
_ATTEMPTS = 3


def source_of_result(result_node) -> str:
    """The name of what the voxels of a result come from."""
    made = made_by(result_node)
    if made is None:
        return f"copied ({result_node.GetName()})"
    return filled_by(method_of(result_node)) if made == FILL else predicted_by(made)


def note_source(segmentation_node, segment_id: str, *sources: str) -> None:
    """Store in a segment what its voxels off the drawn slices come from; saved in .seg.nrrd files, too.

    Of several sources it is not stored there which voxels come from which.
    """
    segmentation_node.GetSegmentation().GetSegment(segment_id).SetTag(_SOURCE_TAG, one_of(sources))


def computing_provenance(volume_node) -> Generator[None, None, Provenance]:
    """Where the voxels of a volume's drawing come from, in pieces.

    A voxel that a segment had when a result was applied to it comes from that result. Raises BadInputError as
    `annotation_of` does, and when the drawing is being changed all the time.
    """
    for _attempt in range(_ATTEMPTS):
        found = yield from _computing_once(volume_node)
        if found is not None:
            return found
    raise BadInputError(
        _("The drawing of '{volume}' was changed while it was found where its voxels come from. Try again.").format(
            volume=volume_node.GetName()
        )
    )


def _computing_once(volume_node) -> Generator[None, None, Provenance | None]:
    """The provenance; None when something was changed between two pieces."""
    stamp = provenance_stamp(volume_node)
    segmentation = annotated_segmentation(volume_node)
    values = label_values(segmentation) if segmentation is not None else None
    annotation = yield from reading_annotation(volume_node, segmentation, values, winners=list(values or ()))
    provenance = Provenance.of(annotation)
    yield
    applied = yield from reading_applied(segmentation, volume_node)
    if provenance_stamp(volume_node) != stamp:
        return None
    identifiers = {segmentation.GetSegmentation().GetSegment(one).GetName(): one for one in segment_ids(segmentation)}
    record_of = yield from _finding_records(volume_node, segmentation, identifiers, applied, stamp)
    if record_of is None:
        return None
    for region in _regions(volume_node):
        for name, box, mask in _masks_in(segmentation, volume_node, region):
            segment_id = identifiers[name]
            known = annotation.known_in(box, (values or {})[name]) if annotation.has_unknown_structures else None
            record = record_of.get(segment_id)
            if record is None and (source := _source_of(segmentation, segment_id)):
                provenance.enter(source, mask, box, known)
            elif record is not None:
                for source, applied_there in record.masks_by_source(segment_id, box):
                    from_result = applied_there & mask
                    if source:
                        provenance.enter(source, from_result, box, known)
                        mask = mask & ~from_result
            provenance.enter(PAINTED_NAME, mask, box, known)
        yield
        if provenance_stamp(volume_node) != stamp:
            return None
    return provenance


def _finding_records(
    volume_node, segmentation, identifiers: Mapping[str, str], applied: Sequence[AppliedLabels], stamp: str
) -> Generator[None, None, dict[str, AppliedLabels] | None]:
    """What was last applied to each segment, in pieces; None when something was changed between two of them.

    Undo may have restored what was applied before: of several, the one that agrees most with what is there.
    """
    records = {one: [record for record in applied if one in record.segments.values()] for one in identifiers.values()}
    differing = {one: np.zeros(len(found), dtype=int) for one, found in records.items() if len(found) > 1}
    for region in _regions(volume_node) if differing else ():
        for name, box, mask in masks_of(segmentation, volume_node, region):
            one, place = identifiers[name], _in_volume(box, region)
            for number, record in enumerate(records[one] if one in differing else ()):
                differing[one][number] += np.count_nonzero(record.mask(one, place) != mask)
        yield
        if provenance_stamp(volume_node) != stamp:
            return None
    best = {one: int(counts.argmin()) for one, counts in differing.items()}
    return {one: found[best.get(one, 0)] for one, found in records.items() if found}


def _regions(volume_node) -> Iterator[Box]:
    """The slabs of a volume, as slices with start and stop."""
    whole = whole_region(geometry_of(volume_node).shape)
    return ((slab, *whole[1:]) for slab in slabs([side.stop for side in whole], 1))


def _masks_in(segmentation, volume_node, region: Box) -> Iterator[tuple[str, Box, np.ndarray]]:
    """For every segment with voxels in a region: its name, the part of the volume around it, and its bool mask there.

    Only that part, because of hundreds of segments most are in a small one.
    """
    for name, box, mask in masks_of(segmentation, volume_node, region):
        around = bounding_box(mask)
        if around is not None:
            yield name, _in_volume(_in_volume(around, box), region), mask[around]


def _in_volume(box: Box, region: Box) -> Box:
    """A box within a region, or within another box, as a box of what that lies in."""
    return along_axes(slice(b.start + r.start, b.stop + r.start) for b, r in zip(box, region, strict=True))


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
                    opacity, _space, label_id = (composite.GetAttribute(_BEFORE_ATTRIBUTE) or "1.0 ").partition(" ")
                    composite.SetLabelVolumeID(label_id or None)
                    composite.SetLabelOpacity(float(opacity))
            display = node.GetDisplayNode()
            colors = display.GetColorNode() if display is not None else None
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
