"""Results of filling and of trained models: segmentation nodes that say what made them, for which volume."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from .annotations import annotated_segmentation
from .confidence import confidence_of, show_confidence

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


def show_only_volume(volume_node, volume_nodes: Sequence) -> None:
    """Show the annotation and the newest result of one volume, and hide those of the others with their confidences.

    In a cohort scans lie on each other: what was drawn in one would be seen over the next.
    """
    wanted = {annotated_segmentation(volume_node), *results_of(volume_node)[-1:]} if volume_node is not None else set()
    known = set(volume_nodes)
    # Once over the segmentations, not over those of each volume: there may be hundreds.
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        volume = volume_of(node)
        if volume not in known or (made_by(node) is None and annotated_segmentation(volume) is not node):
            continue
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(node in wanted)
        confidence = confidence_of(node)
        if confidence is not None and node not in wanted:
            show_confidence(confidence, False)
