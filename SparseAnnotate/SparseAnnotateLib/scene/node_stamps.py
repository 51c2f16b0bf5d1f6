"""Values that change whenever something of nodes changes."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from ..core import BadInputError
from .segmentation_layers import segment_ids
from .voxel_grids import grid_of


def node_times(nodes: Sequence) -> tuple[int, ...] | None:
    """When each node was last changed: its attributes, references, name or image, not the voxels of its image.

    None while one of them does not report its changes.
    """
    if any(node.GetDisableModifiedEvent() for node in nodes):
        return None
    return tuple([node.GetMTime() for node in nodes])


def voxel_stamp(segmentation_node) -> tuple[tuple[str, int], ...]:
    """A value that changes whenever a voxel of a segment changes, or a segment is added or removed."""
    segments = segment_ids(segmentation_node)
    layers = [segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id) for segment_id in segments]
    return tuple((s, layer.GetMTime() if layer is not None else 0) for s, layer in zip(segments, layers, strict=True))


def drawing_stamp(segmentation_node, volume_node) -> tuple | None:
    """A value that changes with all that decides which slices of a volume a segmentation's attributes speak of.

    That is the grid and the transform of both, the voxels, names and reference geometry of the segmentation, and any
    attribute. None while a node does not report its changes.
    """
    if segmentation_node.GetDisableModifiedEvent() or volume_node.GetDisableModifiedEvent():
        return None
    segmentation, image = segmentation_node.GetSegmentation(), volume_node.GetImageData()
    voxels = voxel_stamp(segmentation_node)
    return (
        segmentation_node.GetMTime(),
        volume_node.GetMTime(),
        image.GetMTime() if image is not None else 0,
        _moved(segmentation_node, volume_node),
        segmentation.GetConversionParameter(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()),
        voxels,
        tuple(segmentation.GetSegment(segment_id).GetName() for segment_id, _time in voxels),
    )


def _moved(segmentation_node, volume_node) -> tuple:
    """How the two are moved against each other. Not times: those of transforms that are put under others stay."""
    parents = segmentation_node.GetTransformNodeID(), volume_node.GetTransformNodeID()
    if parents[0] == parents[1] or volume_node.GetImageData() is None:
        return parents
    try:
        return *parents, grid_of(segmentation_node, volume_node)
    except BadInputError as error:  # a transform is not linear
        return *parents, str(error)
