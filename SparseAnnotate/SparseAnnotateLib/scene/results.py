"""Results of filling and of trained models: segmentation nodes that say what made them, for which volume."""

from __future__ import annotations

import slicer

FILL = "fill"
_MADE_BY_ATTRIBUTE = "SparseAnnotate.MadeBy"


def name_result(result_node, made_by: str) -> None:
    """Note what made a result: FILL, or the name of a run."""
    result_node.SetAttribute(_MADE_BY_ATTRIBUTE, made_by)


def made_by(node) -> str | None:
    """What made a result: FILL, or the name of a run; None for a segmentation that is no result."""
    return node.GetAttribute(_MADE_BY_ATTRIBUTE)


def results_of(volume_node) -> list:
    """All results for a volume that are in the scene, the oldest first."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if made_by(node) is not None and volume_of(node) is volume_node]


def volume_of(segmentation_node):
    """The volume a segmentation lies on; None when it has gone."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentation_node.GetNodeReference(role)
