"""The confidence of a result as a separate volume, and as an overlay in the slice views."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import slicer
import vtk

from ..core.pieces import result_of
from .confidence_overlay import (
    OVERLAY_ATTRIBUTE,
    filling_overlay,
    overlay_in_views,
    overlay_node,
    overlays_in_views,
)
from .copied_voxels import copying_voxels
from .node_names import savable
from .volume_nodes import local_ijk_to_ras, require_scalar_volume, vtk_matrix

_CONFIDENCE_ROLE = "SparseAnnotate.Confidence"
_CONFIDENCE_ATTRIBUTE = "SparseAnnotate.IsConfidence"
_BEFORE_ATTRIBUTE = "SparseAnnotate.ForegroundBefore"
_COLOURS = "vtkMRMLColorTableNodeRainbow"  # red where it is low
_OPACITY = 0.6


def new_confidence(result_node, volume_node, percent: np.ndarray):
    """A volume node with the confidence of a result, which refers to it.

    Args:
        result_node: the segmentation node of the fill. volume_node: the volume it lies on.
        percent: (K, J, I) uint8, 100 on drawn slices.
    """
    image = result_of(making_image(percent))
    return confidence_of_image(result_node, volume_node, image)


def making_image(percent: np.ndarray) -> Generator[None, None, vtk.vtkImageData]:
    """The voxels for `confidence_of_image`, made in pieces; `percent` as for `new_confidence`."""
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(percent.shape))
    scalars = yield from copying_voxels(percent)
    scalars.SetName("ImageScalars")  # as VTK names those that it allocates
    image.GetPointData().SetScalars(scalars)
    return image


def confidence_of_image(result_node, volume_node, image: vtk.vtkImageData):
    """`new_confidence` of voxels that `making_image` has made."""
    require_scalar_volume(volume_node)
    name = slicer.mrmlScene.GenerateUniqueName(f"{result_node.GetName()} confidence")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", savable(name))
    node.SetAttribute(_CONFIDENCE_ATTRIBUTE, "1")
    node.SetIJKToRASMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    # Before it has voxels: finding a window and level, which are not used, takes long in a large volume.
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 100)
        if slicer.mrmlScene.GetNodeByID(_COLOURS) is not None:
            display.SetAndObserveColorNodeID(_COLOURS)
    node.SetAndObserveImageData(image)
    result_node.SetNodeReferenceID(_CONFIDENCE_ROLE, node.GetID())
    return node


def confidence_of(result_node):
    """The confidence volume of a result; None when it has none."""
    return result_node.GetNodeReference(_CONFIDENCE_ROLE)


def _result_with(confidence_node):
    """The result that a confidence volume belongs to; None when it has been removed."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in nodes if confidence_of(node) is confidence_node), None)


def is_confidence(node) -> bool:
    """True for a volume that was made by `new_confidence`, which is not for drawing on."""
    return node.GetAttribute(_CONFIDENCE_ATTRIBUTE) is not None


def hide_confidence(confidence_node) -> None:
    """Remove the overlay of a confidence volume from the slice views and restore their previous foreground."""
    overlay = overlay_in_views(confidence_node)
    if overlay is not None:
        _remove_overlay(overlay)


def hide_orphaned_overlays() -> None:
    """Remove overlays whose result or confidence volume has been removed from the scene."""
    for overlay in overlays_in_views():
        confidence = slicer.mrmlScene.GetNodeByID(overlay.GetAttribute(OVERLAY_ATTRIBUTE))
        if confidence is None or _result_with(confidence) is None:
            _remove_overlay(overlay)


def _remove_overlay(overlay) -> None:
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == overlay.GetID():
            opacity, _, volume_id = (composite.GetAttribute(_BEFORE_ATTRIBUTE) or "0.0 ").partition(" ")
            composite.SetForegroundVolumeID(volume_id or None)
            composite.SetForegroundOpacity(float(opacity))
    slicer.mrmlScene.RemoveNode(overlay)


def showing_confidence(confidence_node) -> Iterator[None]:
    """Show the overlay of a confidence volume in the slice views, step by step; yields after each step.

    Stops when the overlay is removed before it is complete.
    """
    result = _result_with(confidence_node)
    if result is None:
        return
    overlay = overlay_node(confidence_node)
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() != overlay.GetID():
            before = f"{composite.GetForegroundOpacity()} {composite.GetForegroundVolumeID() or ''}"
            composite.SetAttribute(_BEFORE_ATTRIBUTE, before)
            composite.SetForegroundVolumeID(overlay.GetID())
            composite.SetForegroundOpacity(_OPACITY)
    yield from filling_overlay(overlay, confidence_node, result)
