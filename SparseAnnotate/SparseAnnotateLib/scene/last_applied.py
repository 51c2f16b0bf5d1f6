"""The labels that the module last applied to a segmentation, to distinguish them from what was drawn since."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from ..core import BadInputError, pieces
from ..core.pieces import finding_box, slabs
from ..core.strict_json import parse_json, to_text
from ..core.voxel_boxes import Box, along_axes
from .ledger_anchor import LedgerAnchor, anchor_of, relation_to_volume
from .segmentation_layers import LabelOf
from .segmentation_nodes import common_part
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


@dataclass(frozen=True)
class Packed:
    """Labels as they are stored; see `Applied`."""

    segments: dict[int, str]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    dtype: Literal["u1", "u2"]
    data: str


@dataclass(frozen=True, eq=False)
class AppliedLabels:
    """Labels that were applied: a part of the volume that begins at a voxel, the segment ID of each label, and the
    name of what each segment ID's labels come from, as far as it is known."""

    labels: np.ndarray
    start: tuple[int, int, int]
    segments: dict[int, str]
    sources: Mapping[str, str]

    def mask(self, segment_id: str, box: Box) -> np.ndarray:
        """bool, of the shape of a box of the volume: where a segment was applied."""
        found = np.zeros([side.stop - side.start for side in box], dtype=bool)
        value = next((value for value, one in self.segments.items() if one == segment_id), None)
        common = common_part(self.labels, self.start, box)
        if value is not None and common is not None:
            inner, within = common
            found[within] = self.labels[inner] == value
        return found


def packing_applied(
    segmentation_node, volume_node, labels: np.ndarray, segments: dict[int, str]
) -> Generator[None, None, Packed]:
    """In pieces: labels that are to be applied to a segmentation, for `store_applied`; those of others are kept.

    Args:
        labels: (K, J, I) on the volume's grid. segments: segment ID of each of its label values.
    """
    labels, segments = _with_others(labels, segments, segmentation_node, volume_node)
    box = (yield from finding_box(labels)) or (slice(0, 0),) * 3
    dtype: Literal["u1", "u2"] = "u1" if max(segments, default=0) < 256 else "u2"
    # Only the labels that were applied are stored.
    wanted, packer, packed = (
        LabelOf({value: value for value in segments}, np.dtype(f"<{dtype}")),
        zlib.compressobj(1),
        [],
    )
    part = labels[box]
    for slab in slabs(part.shape, part.itemsize):
        packed.append(packer.compress(np.ascontiguousarray(wanted[part[slab]]).data))
        yield
    data = base64.b64encode(b"".join([*packed, packer.flush()])).decode("ascii")
    return Packed(segments, along_axes(side.start for side in box), along_axes(part.shape), dtype, data)


def store_applied(segmentation_node, volume_node, packed: Packed, sources: Mapping[str, str] | None = None) -> None:
    """Store in the segmentation node which labels were applied to it.

    `sources`: segment ID to the name of what its labels come from; a segment that is not named keeps its source.
    """
    before = _newest(segmentation_node)
    kept_sources = {**(before.sources if before is not None else {}), **(sources or {})}
    kept_sources = {one: name for one, name in kept_sources.items() if one in packed.segments.values()}
    anchor = anchor_of(segmentation_node, volume_node, {})
    applied = Applied(anchor, packed.segments, packed.start, packed.shape, packed.dtype, packed.data, kept_sources)
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
    text, newest = segmentation_node.GetAttribute(_ATTRIBUTES[0]), _newest(segmentation_node)
    if newest is None or set(newest.segments.values()) <= set(segments.values()):
        return labels, segments
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


def has_applied(segmentation_node) -> bool:
    """Whether a result was ever applied to a segmentation."""
    return bool(segmentation_node.GetAttribute(_ATTRIBUTES[0]))


def copy_applied(source_node, target_node) -> None:
    """Store the applied labels of a segmentation in a copy of it with the same coordinates and segment IDs."""
    for name in _ATTRIBUTES:
        if source_node.GetAttribute(name):
            target_node.SetAttribute(name, source_node.GetAttribute(name))


def applied_masks(segmentation_node, volume_node) -> list[dict[str, Part]]:
    """The labels last applied to a segmentation, newest first: segment ID to part of the volume's array and its mask.

    Labels whose position on the volume can no longer be determined are left out.
    """
    texts = filter(None, (segmentation_node.GetAttribute(name) for name in _ATTRIBUTES))
    found = (_masks(text, segmentation_node, volume_node) for text in texts)
    return [masks for masks in found if masks]


def reading_applied(segmentation_node, volume_node) -> Generator[None, None, list[AppliedLabels]]:
    """In pieces: what `applied_masks` reads, as labels, and what they come from."""
    found = []
    for text in filter(None, (segmentation_node.GetAttribute(name) for name in _ATTRIBUTES)):
        try:
            applied = parse_json(text, Applied, f"what was applied to '{segmentation_node.GetName()}'")
            relation = relation_to_volume(
                applied.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes
            )
            unpacker, waiting = zlib.decompressobj(), base64.b64decode(applied.data)
            labels = np.empty(applied.shape, dtype=f"<{applied.dtype}")
            raw, filled = labels.reshape(-1).view(np.uint8), 0
            while not unpacker.eof:
                piece = unpacker.decompress(waiting, pieces.PIECE_BYTES)
                waiting = unpacker.unconsumed_tail
                raw[filled : filled + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
                filled += len(piece)
                yield
                if not piece and not waiting and not unpacker.eof:
                    raise ValueError("cut off")
            if filled != raw.size:
                raise ValueError("too short")
        except (BadInputError, ValueError, zlib.error):
            continue
        turned, start = _on_volume(applied, relation, labels)
        found.append(AppliedLabels(turned, start, applied.segments, applied.sources))
    return found


def _on_volume(applied: Applied, relation: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Stored labels in the volume's orientation, and the place of the first voxel in the volume."""
    if not labels.size:
        return labels, (0, 0, 0)
    ends = [(s, s + n - 1) for s, n in zip(applied.start, applied.shape, strict=True)]
    alignment = alignment_of(relation, [bound for pair in reversed(ends) for bound in pair])
    return alignment.reoriented(labels), alignment.starts


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
    reoriented, starts = _on_volume(applied, relation, labels)
    region = along_axes(slice(s, s + n) for s, n in zip(starts, reoriented.shape, strict=True))
    return {segment_id: (region, reoriented == value) for value, segment_id in applied.segments.items()}
