"""How segments are presented: their colors, and what they are in the terms of a terminology."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import vtk

from ..core import BadInputError
from ..core.dicom_codes import StructureCodes
from ..core.strict_json import parse_json, to_text
from ..core.structure_colors import Color, shown_color
from .segmentation_layers import segment_ids

_TERMINOLOGY_TAG = "TerminologyEntry"
_ATTRIBUTE = "SparseAnnotate.Looks"


@dataclass(frozen=True)
class SegmentLooks:
    """What the segments of a segmentation look like, by their names.

    Attributes:
        colors: as a screen shows them. codes: as Slicer's terminology tags; '' of a segment without one.
    """

    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)


def looks_of(segmentation_node) -> SegmentLooks:
    """What the segments look like now."""
    colors = {name: shown_color(color) for name, color in colors_of(segmentation_node).items()}
    codes = {name: found.for_slicer() for name, found in codes_of(segmentation_node).items()}
    return SegmentLooks(colors, dict.fromkeys(colors, "") | codes)


def looks_kept(segmentation_node) -> SegmentLooks:
    """What the segments looked like when a cohort folder last had it so, as far as it had; see `keep_looks`."""
    text = segmentation_node.GetAttribute(_ATTRIBUTE)
    with suppress(BadInputError):
        return parse_json(text, SegmentLooks, _ATTRIBUTE) if text else SegmentLooks()
    return SegmentLooks()


def keep_looks(segmentation_node, looks: SegmentLooks) -> None:
    """Note that a cohort folder has considered these looks: what differs later was changed in this segmentation."""
    text = to_text(looks)
    if segmentation_node.GetAttribute(_ATTRIBUTE) != text:
        segmentation_node.SetAttribute(_ATTRIBUTE, text)


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
