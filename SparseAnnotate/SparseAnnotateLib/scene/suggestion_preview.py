"""What a model suggests for a slice, shown half-transparent over that slice before it is put into the drawing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer

from ..core import Plane
from ..core.messages import _
from .annotations import annotated_segmentation
from .segmentation_layers import segment_ids
from .shown_only import nodes_with, shown_only_node
from .shown_voxels import show_voxels
from .volume_nodes import geometry_of

_CLASS, _ATTRIBUTE = "vtkMRMLSegmentationNode", "SparseAnnotate.SuggestionPreview"
_OPACITY = 0.25


def show_suggestion(volume_node, plane: Plane, index: int, masks: Mapping[str, np.ndarray]) -> None:
    """Show masks over a slice, in the colours of the segments that are drawn in; others are taken away.

    Args:
        masks: segment name to (rows, columns) bool. Those that the drawing has no segment for are left out.
    """
    segmentation, geometry = annotated_segmentation(volume_node), geometry_of(volume_node)
    axis, wanted = plane.array_axis(geometry), {}
    for segment_id in segment_ids(segmentation) if segmentation is not None else ():
        segment = segmentation.GetSegmentation().GetSegment(segment_id)
        mask = masks.get(segment.GetName())
        if mask is not None:
            # Not through a mask of the volume, which may be large.
            places = list(np.nonzero(mask))
            places.insert(axis, np.full(len(places[0]), index))
            voxels = np.ravel_multi_index(tuple(places), geometry.shape).astype(np.int64)
            wanted[segment.GetName()] = voxels, segment.GetColor()
    node = _node()
    node.SetName(_("Suggestion for slice {index}").format(index=index))
    show_voxels(node, volume_node, geometry.shape, wanted)


def hide_suggestion() -> None:
    """Take the preview away. A scene that is being closed removes it itself."""
    if slicer.mrmlScene.IsClosing():
        return
    for node in nodes_with(_CLASS, _ATTRIBUTE):
        slicer.mrmlScene.RemoveNode(node)


def _node():
    node, is_new = shown_only_node(_CLASS, _("Suggestion"), _ATTRIBUTE, "1")
    if is_new:
        display = node.GetDisplayNode()
        display.SetVisibility3D(False)
        display.SetVisibility2DFill(True)
        display.SetVisibility2DOutline(True)
        display.SetOpacity2DFill(_OPACITY)
        display.SetSliceIntersectionThickness(2)
    return node
