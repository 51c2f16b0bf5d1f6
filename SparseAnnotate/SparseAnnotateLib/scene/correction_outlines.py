"""Outlines of corrections in the slice views: yellow, and black where they say that something is not there."""

from __future__ import annotations

import numpy as np
import slicer
from vtk.util import numpy_support

from ..core.corrections import Corrections
from ..core.messages import _
from .annotations import annotated_segmentation, label_values
from .shown_only import nodes_with, shown_only_node
from .voxel_grids import volume_layer

_CLASS, _ATTRIBUTE = "vtkMRMLSegmentationNode", "SparseAnnotate.CorrectionOutlines"
_IS_IT, _NOT_IT = (1.0, 0.9, 0.1), (0.0, 0.0, 0.0)


def show_corrections(volume_node, corrections: Corrections | None) -> None:
    """Outline the corrections of one volume, and remove the outlines of others.

    `corrections`: with the label values of the volume's drawing; None: there are none.
    """
    segmentation = annotated_segmentation(volume_node)
    if corrections is None or segmentation is None:
        hide_corrections()
        return
    node = _node()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    voxels, labels = corrections.inside
    wanted: dict[str, tuple[np.ndarray, tuple[float, ...]]] = {}
    for name, value in label_values(segmentation).items():
        wanted[name] = voxels[labels == value], _IS_IT
        wanted[_("not {structure}").format(structure=name)] = (
            corrections.outside.get(value, np.empty(0, np.int64)),
            _NOT_IT,
        )
    shown = node.GetSegmentation()
    with slicer.util.NodeModify(node):
        shown.RemoveAllSegments()
        for name, (places, colour) in wanted.items():
            if len(places):
                segment_id = shown.AddEmptySegment(name, name, colour)
                piece = _piece(places, corrections.shape, node, volume_node)
                slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
                    piece, node, segment_id, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
                )


def hide_corrections() -> None:
    """Remove the outlines. A scene that is being closed removes them itself."""
    if slicer.mrmlScene.IsClosing():
        return
    for node in _nodes():
        slicer.mrmlScene.RemoveNode(node)


def _piece(voxels: np.ndarray, shape: tuple[int, int, int], segmentation_node, volume_node):
    """The smallest image around some voxels, which has them as 1."""
    places = np.stack(np.unravel_index(voxels, shape))
    low, high = places.min(axis=1), places.max(axis=1)
    mask = np.zeros(high - low + 1, dtype=np.uint8)
    mask[tuple(places - low[:, None])] = 1
    extent = [int(bound) for pair in zip(low[::-1], high[::-1], strict=True) for bound in pair]
    piece = volume_layer(extent, segmentation_node, volume_node)
    piece.GetPointData().SetScalars(numpy_support.numpy_to_vtk(mask.ravel(), deep=True))
    return piece


def _nodes() -> list:
    return nodes_with(_CLASS, _ATTRIBUTE)


def _node():
    node, is_new = shown_only_node(_CLASS, _("Corrections"), _ATTRIBUTE, "1")
    if is_new:
        display = node.GetDisplayNode()
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(3)
    return node
