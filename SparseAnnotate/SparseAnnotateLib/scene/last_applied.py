"""The labels that the module last applied to a segmentation, to distinguish them from what was drawn since."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from ..core import BadInputError
from ..core.strict_json import parse_json, to_text
from ..core.voxel_boxes import Box, along_axes, bounding_box
from .ledger_anchor import LedgerAnchor, anchor_of, relation_to_volume
from .voxel_grids import alignment_of

# The last one and the one before it, which the Segment Editor's undo may have restored.
_ATTRIBUTES = ("SparseAnnotate.Applied", "SparseAnnotate.Applied.1")

Part = tuple[Box, np.ndarray]
"""Part of a volume's array, and a bool mask there."""


@dataclass(frozen=True)
class Applied:
    """Labels that were applied to a segmentation.

    Attributes:
        anchor: the grid of the labels. segments: segment ID of each label value.
        start, shape: first voxel and size (K, J, I) of the box that holds all labels.
        dtype: of the labels, 'u1' or 'u2'. data: the box, compressed, in base64.
        sources: segment ID to the name of what its labels come from, as far as it is known.
    """

    anchor: LedgerAnchor
    segments: dict[int, str]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    dtype: Literal["u1", "u2"]
    data: str
    sources: dict[str, str] = field(default_factory=dict)


def remember_applied(
    segmentation_node,
    volume_node,
    labels: np.ndarray,
    segments: dict[int, str],
    sources: Mapping[str, str] | None = None,
) -> None:
    """Store in the segmentation node which labels were applied to it; those of other segments are kept.

    Args:
        labels: (K, J, I) on the volume's grid. segments: segment ID of each of its label values.
        sources: segment ID to the name of what its labels come from; a segment that is not named keeps its source.
    """
    before = _newest(segmentation_node)
    kept_sources = {**(before.sources if before is not None else {}), **(sources or {})}
    labels, segments = _with_others(labels, segments, segmentation_node, volume_node)
    kept_sources = {one: name for one, name in kept_sources.items() if one in segments.values()}
    box = bounding_box(labels) or (slice(0, 0),) * 3
    dtype: Literal["u1", "u2"] = "u1" if max(segments, default=0) < 256 else "u2"
    # Only the labels that were applied are stored.
    wanted = np.zeros(int(labels[box].max(initial=0)) + 1, dtype=f"<{dtype}")
    for value in segments:
        wanted[value : value + 1] = value
    piece = np.ascontiguousarray(wanted[labels[box]])
    data = base64.b64encode(zlib.compress(piece.tobytes(), 1)).decode("ascii")
    anchor = anchor_of(segmentation_node, volume_node, {})
    start, shape = along_axes(part.start for part in box), along_axes(piece.shape)
    applied = Applied(anchor, segments, start, shape, dtype, data, kept_sources)
    for newer, older in reversed(list(pairwise(_ATTRIBUTES))):
        if segmentation_node.GetAttribute(newer):
            segmentation_node.SetAttribute(older, segmentation_node.GetAttribute(newer))
    segmentation_node.SetAttribute(_ATTRIBUTES[0], to_text(applied))


def _newest(segmentation_node) -> Applied | None:
    text = segmentation_node.GetAttribute(_ATTRIBUTES[0])
    try:
        return parse_json(text, Applied, f"what was applied to '{segmentation_node.GetName()}'") if text else None
    except BadInputError:
        return None


def _with_others(
    labels: np.ndarray, segments: dict[int, str], segmentation_node, volume_node
) -> tuple[np.ndarray, dict[int, str]]:
    """Labels and segments with those of the newest record that are not among these."""
    text = segmentation_node.GetAttribute(_ATTRIBUTES[0])
    others = _masks(text, segmentation_node, volume_node) if text else {}
    others = {one: part for one, part in others.items() if one not in segments.values()}
    if not others:
        return labels, segments
    highest = max([*segments, 0])
    own = np.isin(labels, list(segments))
    together = np.where(own, labels, 0).astype(np.uint16)
    found = dict(segments)
    for value, (one, (region, mask)) in enumerate(others.items(), start=highest + 1):
        part = together[region]
        part[mask & (part == 0)] = value
        found[value] = one
    return together, found


def copy_applied(source_node, target_node) -> None:
    """Store the applied labels of a segmentation in a copy of it with the same coordinates and segment IDs."""
    for name in _ATTRIBUTES:
        if source_node.GetAttribute(name):
            target_node.SetAttribute(name, source_node.GetAttribute(name))


def applied_records(segmentation_node, volume_node) -> list[tuple[dict[str, Part], Mapping[str, str]]]:
    """The labels last applied to a segmentation, newest first: segment ID to part of the volume's array and its mask;
    and segment ID to the name of what they come from.

    Labels whose position on the volume can no longer be determined are left out.
    """
    found: list[tuple[dict[str, Part], Mapping[str, str]]] = []
    for text in filter(None, (segmentation_node.GetAttribute(name) for name in _ATTRIBUTES)):
        masks = _masks(text, segmentation_node, volume_node)
        if masks:
            found.append((masks, parse_json(text, Applied, "what was applied").sources))
    return found


def applied_masks(segmentation_node, volume_node) -> list[dict[str, Part]]:
    """The masks of `applied_records`."""
    return [masks for masks, _sources in applied_records(segmentation_node, volume_node)]


def _masks(text: str, segmentation_node, volume_node) -> dict[str, Part]:
    try:
        applied = parse_json(text, Applied, f"what was applied to '{segmentation_node.GetName()}'")
        relation = relation_to_volume(applied.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes)
        raw = zlib.decompress(base64.b64decode(applied.data))
        labels = np.frombuffer(raw, dtype=f"<{applied.dtype}").reshape(applied.shape)
    except (BadInputError, ValueError, zlib.error):
        return {}
    if not labels.size:
        return {segment_id: ((slice(0, 0),) * 3, labels > 0) for segment_id in applied.segments.values()}
    ends = [(s, s + n - 1) for s, n in zip(applied.start, applied.shape, strict=True)]
    alignment = alignment_of(relation, [bound for pair in reversed(ends) for bound in pair])
    reoriented = alignment.reoriented(labels)
    region = along_axes(slice(s, s + n) for s, n in zip(alignment.starts, reoriented.shape, strict=True))
    return {segment_id: (region, reoriented == value) for value, segment_id in applied.segments.items()}
