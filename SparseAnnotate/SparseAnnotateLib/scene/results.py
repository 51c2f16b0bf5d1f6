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
    for node in volume_nodes:
        results = results_of(node)
        annotation = annotated_segmentation(node)
        for shown in [*results, *([annotation] if annotation is not None else [])]:
            newest = node is volume_node and shown in (annotation, results[-1] if results else None)
            if shown.GetDisplayNode() is not None:
                shown.GetDisplayNode().SetVisibility(newest)
            confidence = confidence_of(shown)
            if confidence is not None and not newest:
                show_confidence(confidence, False)
