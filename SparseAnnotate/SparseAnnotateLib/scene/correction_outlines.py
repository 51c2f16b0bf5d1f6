"""Outlines of corrections in the slice views: yellow, and black where they say that something is not there."""

from __future__ import annotations

import numpy as np
import slicer

from ..core.corrections import Corrections
from ..core.messages import _
from .annotations import annotated_segmentation, label_values
from .shown_only import nodes_with, shown_only_node
from .shown_voxels import show_voxels

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
    voxels, labels = corrections.inside
    wanted: dict[str, tuple[np.ndarray, tuple[float, ...]]] = {}
    for name, value in label_values(segmentation).items():
        wanted[name] = voxels[labels == value], _IS_IT
        wanted[_("not {structure}").format(structure=name)] = (
            corrections.outside.get(value, np.empty(0, np.int64)),
            _NOT_IT,
        )
    show_voxels(node, volume_node, corrections.shape, wanted)


def hide_corrections() -> None:
    """Remove the outlines. A scene that is being closed removes them itself."""
    if slicer.mrmlScene.IsClosing():
        return
    for node in _nodes():
        slicer.mrmlScene.RemoveNode(node)


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
