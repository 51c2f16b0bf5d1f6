"""Where the brush of the Segment Editor is: what a stroke says of voxels that have the right label already."""

from __future__ import annotations

import math
from dataclasses import dataclass

import slicer

from .segment_editing import BALL_ATTRIBUTE

_IS_IN = {"Paint": True, "Erase": False}
_DIAMETER_ATTRIBUTE = "BrushAbsoluteDiameter"  # mm; Slicer keeps it up to date for brushes of a relative size, too


@dataclass(frozen=True)
class BrushPlace:
    """A brush over a slice view.

    Attributes:
        at: (R, A, S) in the world, mm. radius: mm; 0: not known.
        structure: name of the selected segment. is_in: True for a brush that paints, False for one that erases.
        across: unit vector (R, A, S) across the slice, for a brush that paints in one slice; None: it paints balls.
    """

    at: tuple[float, float, float]
    radius: float
    structure: str
    is_in: bool
    across: tuple[float, float, float] | None = None


def brush_place(editor_node, segmentation_node) -> BrushPlace | None:
    """Where the mouse is with the brush of an editor of a segmentation; None without a brush over a slice view.

    Of a brush that paints in one slice it must be known which one: then the mouse must be in that view.
    """
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
    across = None
    if editor_node.GetAttribute(BALL_ATTRIBUTE) in (None, "", "0"):
        across = _across(cursors)
        if across is None:
            return None
    return BrushPlace((at[0], at[1], at[2]), max(radius, 0.0), segment.GetName(), _IS_IN[effect], across)


def _across(cursors) -> tuple[float, float, float] | None:
    """Unit vector (R, A, S) across the slice that the mouse is over; None if it is over none."""
    for cursor in cursors:
        view = cursor.GetCursorPositionXYZ([0.0, 0.0, 0.0])
        if view is not None:
            normal = [view.GetSliceToRAS().GetElement(row, 2) for row in range(3)]
            length = math.hypot(*normal)
            return normal[0] / length, normal[1] / length, normal[2] / length
    return None
