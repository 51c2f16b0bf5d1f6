"""Gives the segmentations of several volumes the same structures."""

from __future__ import annotations

from .segmentation_layers import new_segment_id, segment_ids
from .segmentation_nodes import segment_names


def add_segments_like(segmentation_node, other_node) -> list[str]:
    """Add an empty segment for each segment of another segmentation whose name is missing; returns their names.

    The new segments have the same names, colours and tags (including terminology). Raises BadInputError when the other
    segmentation has no segment, or two of the same name.
    """
    segment_names(other_node)
    segmentation, other = segmentation_node.GetSegmentation(), other_node.GetSegmentation()
    known = {segmentation.GetSegment(segment_id).GetName() for segment_id in segment_ids(segmentation_node)}
    added = []
    for segment_id in segment_ids(other_node):
        source = other.GetSegment(segment_id)
        if source.GetName() in known:
            continue
        new_id = new_segment_id(segmentation_node, segment_id)
        new = segmentation.GetSegment(segmentation.AddEmptySegment(new_id, source.GetName(), source.GetColor()))
        value = new.GetLabelValue()
        new.DeepCopyMetadata(source)
        # Each segmentation has its own label values for its voxels.
        new.SetLabelValue(value)
        added.append(source.GetName())
    return added
