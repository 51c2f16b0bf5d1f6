"""The confidence of a fill as a volume of its own, and as a coloured overlay in the slice views."""

from __future__ import annotations

import numpy as np
import slicer

from .volume_nodes import local_ijk_to_ras, require_scalar_volume, vtk_matrix

_CONFIDENCE_ROLE = "SparseAnnotate.Confidence"
_CONFIDENCE_ATTRIBUTE = "SparseAnnotate.IsConfidence"
_BEFORE_ATTRIBUTE = "SparseAnnotate.ForegroundBefore"
_COLOURS = "vtkMRMLColorTableNodeRainbow"  # red where it is low
_OPACITY = 0.4
_SURE = 95  # percent


def new_confidence(result_node, volume_node, percent: np.ndarray):
    """A volume node with the confidence of a result, which refers to it.

    Args:
        result_node: the segmentation node of the fill. volume_node: the volume it lies on.
        percent: (K, J, I) uint8, 100 on drawn slices.
    """
    require_scalar_volume(volume_node)
    name = slicer.mrmlScene.GenerateUniqueName(f"{result_node.GetName()} confidence")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAttribute(_CONFIDENCE_ATTRIBUTE, "1")
    node.SetIJKToRASMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(node, percent)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 100)
        # Where it is sure, the image is to be seen.
        display.SetLowerThreshold(0)
        display.SetUpperThreshold(_SURE)
        display.SetApplyThreshold(True)
        if slicer.mrmlScene.GetNodeByID(_COLOURS) is not None:
            display.SetAndObserveColorNodeID(_COLOURS)
    result_node.SetNodeReferenceID(_CONFIDENCE_ROLE, node.GetID())
    return node


def confidence_of(result_node):
    """The confidence volume of a result; None when it has none."""
    return result_node.GetNodeReference(_CONFIDENCE_ROLE)


def is_confidence(node) -> bool:
    """True for a volume that was made by `new_confidence`: nothing to draw on."""
    return node.GetAttribute(_CONFIDENCE_ATTRIBUTE) is not None


def show_confidence(confidence_node, shown: bool) -> None:
    """Lay a confidence volume over the slice views, or take it away: then what lay there before is back."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if shown and composite.GetForegroundVolumeID() != confidence_node.GetID():
            before = f"{composite.GetForegroundOpacity()} {composite.GetForegroundVolumeID() or ''}"
            composite.SetAttribute(_BEFORE_ATTRIBUTE, before)
            composite.SetForegroundVolumeID(confidence_node.GetID())
            composite.SetForegroundOpacity(_OPACITY)
        elif not shown and composite.GetForegroundVolumeID() == confidence_node.GetID():
            opacity, _, volume_id = (composite.GetAttribute(_BEFORE_ATTRIBUTE) or "0.0 ").partition(" ")
            composite.SetForegroundVolumeID(volume_id or None)
            composite.SetForegroundOpacity(float(opacity))
