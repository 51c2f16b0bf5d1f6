"""How segments are presented: their colors, and what they are in the terms of a terminology."""

from __future__ import annotations

from collections.abc import Mapping

import vtk

from ..core.dicom_codes import StructureCodes
from ..core.structure_colors import Color
from .segmentation_layers import segment_ids

_TERMINOLOGY_TAG = "TerminologyEntry"


def codes_of(segmentation_node) -> dict[str, StructureCodes]:
    """The codes in the terminology of each segment that has one, by the segment's name."""
    found: dict[str, StructureCodes] = {}
    for segment_id in segment_ids(segmentation_node):
        segment, tag = segmentation_node.GetSegmentation().GetSegment(segment_id), vtk.reference("")
        codes = StructureCodes.from_slicer(str(tag)) if segment.GetTag(_TERMINOLOGY_TAG, tag) else None
        if codes is not None:
            found[segment.GetName()] = codes
    return found


def colors_of(segmentation_node) -> dict[str, Color]:
    """Red, green and blue of each segment, from 0 to 1, by its name."""
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetSegment(segment_id) for segment_id in segment_ids(segmentation_node)]
    return {segment.GetName(): segment.GetColor() for segment in segments}


def present_segments(segmentation_node, codes: Mapping[str, StructureCodes], colors: Mapping[str, Color]) -> None:
    """Give segments the codes and the colors that are known of structures of their names; others stay as they are."""
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segment_ids(segmentation_node):
        segment = segmentation.GetSegment(segment_id)
        name = segment.GetName()
        if name in codes:
            segment.SetTag(_TERMINOLOGY_TAG, codes[name].for_slicer())
        if name in colors:
            segment.SetColor(*colors[name])
