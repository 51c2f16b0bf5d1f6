"""Where the brush of the Segment Editor is: what a stroke says of voxels that have the right label already."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

_IS_IN = {"Paint": True, "Erase": False}
_DIAMETER_ATTRIBUTE = "BrushAbsoluteDiameter"  # mm; Slicer keeps it up to date for brushes of a relative size, too


@dataclass(frozen=True)
class BrushPlace:
    """A brush over a slice view.

    Attributes:
        at: (R, A, S) in the world, mm. radius: mm; 0: not known.
        structure: name of the selected segment. is_in: True for a brush that paints, False for one that erases.
    """

    at: tuple[float, float, float]
    radius: float
    structure: str
    is_in: bool


def brush_place(editor_node, segmentation_node) -> BrushPlace | None:
    """Where the mouse is with the brush of an editor of a segmentation; None without a brush over a slice view."""
    effect = editor_node.GetActiveEffectName() or ""
    if effect not in _IS_IN or editor_node.GetSegmentationNode() is not segmentation_node:
        return None
    segment = segmentation_node.GetSegmentation().GetSegment(editor_node.GetSelectedSegmentID() or "")
    at = [0.0, 0.0, 0.0]
    cursors = slicer.util.getNodesByClass("vtkMRMLCrosshairNode")
    if segment is None or not any(cursor.GetCursorPositionRAS(at) for cursor in cursors):
        return None
    try:
        radius = float(editor_node.GetAttribute(_DIAMETER_ATTRIBUTE) or 0.0) / 2
    except ValueError:
        radius = 0.0
    return BrushPlace((at[0], at[1], at[2]), max(radius, 0.0), segment.GetName(), _IS_IN[effect])
