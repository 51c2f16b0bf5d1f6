"""New segmentation nodes from label arrays."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import slicer

from ..core.pieces import finding_box, result_of, slabs
from .copied_voxels import copying_voxels
from .node_names import savable
from .segment_representations import BINARY_LABELMAP
from .segmentation_layers import new_segment_id
from .volume_nodes import local_ijk_to_ras, require_scalar_volume, vtk_matrix

_STATUS_TAG = "Segmentation.Status"
_PALETTE = ((0.9, 0.45, 0.35), (0.35, 0.65, 0.9), (0.5, 0.8, 0.4), (0.95, 0.8, 0.3), (0.7, 0.5, 0.85))


def new_segmentation(
    name: str, labels: np.ndarray, names: dict[int, str], volume_node, like=None
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation node with a segment for every named label, lying exactly on the volume.

    Args:
        labels: (K, J, I) unsigned integers on the volume's grid.
        names: label value to segment name; a label that does not occur becomes an empty segment.
        like: segmentation node; colour and terminology are copied from its segments of the same name.
    """
    return segmentation_of_layer(name, result_of(making_layer(labels, names)), names, volume_node, like)


def making_layer(labels: np.ndarray, names: Mapping[int, str]) -> Generator[None, None, Any]:
    """The voxels for `segmentation_of_layer`, a vtkOrientedImageData, made in pieces; arguments as there."""
    highest = 0
    for slab in slabs(labels.shape, labels.itemsize):
        highest = max(highest, int(labels[slab].max(initial=0)))
        yield
    # Slow, and rarely needed: only for a label without a name.
    if not set(range(1, highest + 1)) <= set(names):
        kept = np.array([value if value in names else 0 for value in range(highest + 1)], dtype=labels.dtype)
        named = np.empty_like(labels)
        for slab in slabs(labels.shape, labels.itemsize):
            named[slab] = kept[labels[slab]]
            yield
        labels = named
    # Only the part that holds labels, which makes later processing faster, too.
    box = (yield from finding_box(labels)) or (slice(0, 1),) * 3
    layer = slicer.vtkOrientedImageData()
    layer.SetExtent([bound for part in reversed(box) for bound in (part.start, part.stop - 1)])
    layer.GetPointData().SetScalars((yield from copying_voxels(labels[box])))
    return layer


def segmentation_of_layer(
    name: str, layer, names: Mapping[int, str], volume_node, like=None
) -> slicer.vtkMRMLSegmentationNode:
    """`new_segmentation` of voxels that `making_layer` has made."""
    require_scalar_volume(volume_node)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", savable(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    layer.SetImageToWorldMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    # All segments share one layer, so that there is only one copy of the voxels.
    for value, segment_name in names.items():
        segment = _segment_like(segment_name, int(value), like)
        segment.AddRepresentation(BINARY_LABELMAP, layer)
        segmentation.AddSegment(segment, new_segment_id(node, segment_name))
    return node


def _segment_like(name: str, value: int, like):
    """A new segment with the colour, terminology and tags of the segment of that name in another segmentation."""
    segment = slicer.vtkSegment()
    source_id = like.GetSegmentation().GetSegmentIdBySegmentName(name) if like is not None else ""
    if source_id:
        segment.DeepCopyMetadata(like.GetSegmentation().GetSegment(source_id))
        # The status of the drawing does not apply to the result.
        segment.RemoveTag(_STATUS_TAG)
    else:
        segment.SetColor(*_PALETTE[(value - 1) % len(_PALETTE)])
    segment.SetName(name)
    segment.SetLabelValue(value)
    return segment
