"""The labels that the module last applied to a segmentation, to distinguish them from what was drawn since."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Generator, Iterator, Mapping
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


@dataclass(frozen=True)
class Applied:
    """Labels that were applied to a segmentation.

    Attributes:
        anchor: the grid of the labels. segments: segment ID of each label value.
        start, shape: first voxel and size (K, J, I) of the box that holds all labels.
        dtype: of the labels, 'u1' or 'u2'. data: the box, compressed, in base64.
        sources: segment ID to the name of what its labels come from, as far as it is known.
        earlier: the same, for slices that were left out when a result was applied: 'axis index' in the grid of the
            labels, (K, J, I), to what those of segment IDs come from there.
    """

    anchor: LedgerAnchor
    segments: dict[int, str]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    dtype: Literal["u1", "u2"]
    data: str
    sources: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, dict[str, str]] = field(default_factory=dict)


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
    name of what each segment ID's labels come from, as far as it is known; `earlier`: the same, for axis and index of
    slices of the volume that were left out when the result was applied."""

    labels: np.ndarray
    start: tuple[int, int, int]
    segments: dict[int, str]
    sources: Mapping[str, str]
    earlier: Mapping[tuple[int, int], Mapping[str, str]] = field(default_factory=dict)

    def source_on(self, segment_id: str, axis: int, index: int) -> str:
        """What the labels of a segment come from on a slice; '' when it is not known."""
        return self.earlier.get((axis, index), {}).get(segment_id) or self.sources.get(segment_id, "")

    def masks_by_source(self, segment_id: str, box: Box) -> Iterator[tuple[str, np.ndarray]]:
        """Where a segment was applied, as `mask`, for each of the sources that its labels come from."""
        rest = self.mask(segment_id, box)
        for (axis, index), sources in self.earlier.items():
            if segment_id in sources and box[axis].start <= index < box[axis].stop:
                there, place = np.zeros_like(rest), index - box[axis].start
                np.moveaxis(there, axis, 0)[place] = np.moveaxis(rest, axis, 0)[place]
                yield sources[segment_id], there
                rest &= ~there
        yield self.sources.get(segment_id, ""), rest

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
    labels, segments = yield from _adding_others(labels, segments, segmentation_node, volume_node)
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


def store_applied(
    segmentation_node,
    volume_node,
    packed: Packed,
    sources: Mapping[str, str] | None = None,
    earlier: Mapping[tuple[int, int], Mapping[str, str]] | None = None,
) -> None:
    """Store in the segmentation node which labels were applied to it.

    Args:
        sources: segment ID to the name of what its labels come from; a segment that is not named keeps its source.
        earlier: the same for slices that were left out, by array axis and index; see `AppliedLabels`.
    """
    before = _newest(segmentation_node)
    kept_sources = {**(before.sources if before is not None else {}), **(sources or {})}
    kept_sources = {one: name for one, name in kept_sources.items() if one in packed.segments.values()}
    slices = _earlier_kept(before, segmentation_node, volume_node, kept_sources.keys() - set(sources or {}))
    for place, from_there in (earlier or {}).items():
        slices[place] = {**slices.get(place, {}), **from_there}
    anchor = anchor_of(segmentation_node, volume_node, {})
    applied = Applied(
        anchor,
        packed.segments,
        packed.start,
        packed.shape,
        packed.dtype,
        packed.data,
        kept_sources,
        {f"{axis} {index}": from_there for (axis, index), from_there in slices.items()},
    )
    for newer, older in reversed(list(pairwise(_ATTRIBUTES))):
        if segmentation_node.GetAttribute(newer):
            segmentation_node.SetAttribute(older, segmentation_node.GetAttribute(newer))
    segmentation_node.SetAttribute(_ATTRIBUTES[0], to_text(applied))


def _earlier_kept(
    before: Applied | None, segmentation_node, volume_node, kept: Collection[str]
) -> dict[tuple[int, int], dict[str, str]]:
    """What labels of the segments that are not applied now come from on slices that were left out earlier."""
    if before is None or not before.earlier or not kept:
        return {}
    try:
        slices = _earlier_on_volume(before, _relation(before, segmentation_node, volume_node))
    except BadInputError:
        return {}
    return {place: {one: name for one, name in found.items() if one in kept} for place, found in slices.items()}


def _earlier_on_volume(applied: Applied, relation: np.ndarray) -> dict[tuple[int, int], dict[str, str]]:
    """`Applied.earlier` by axis and index of slices of the volume."""
    found = {}
    for place, sources in applied.earlier.items():
        axis, index = map(int, place.split(" "))
        row = int(np.flatnonzero(relation[:3, 2 - axis])[0])
        found[2 - row, int(relation[row, 2 - axis]) * index + int(relation[row, 3])] = sources
    return found


def _relation(applied: Applied, segmentation_node, volume_node) -> np.ndarray:
    """(4, 4) from stored voxels to those of the volume. Raises BadInputError when it cannot be determined."""
    return relation_to_volume(applied.anchor, segmentation_node, volume_node, lambda _: 0, np.ndarray.tobytes)


def _newest(segmentation_node) -> Applied | None:
    text = segmentation_node.GetAttribute(_ATTRIBUTES[0])
    try:
        return parse_json(text, Applied, f"what was applied to '{segmentation_node.GetName()}'") if text else None
    except BadInputError:
        return None


def _adding_others(
    labels: np.ndarray, segments: dict[int, str], segmentation_node, volume_node
) -> Generator[None, None, tuple[np.ndarray, dict[int, str]]]:
    """In pieces: labels and segments with those of the newest record that are not among these."""
    newest = _newest(segmentation_node)
    if newest is None or set(newest.segments.values()) <= set(segments.values()):
        return labels, segments
    record = yield from _reading(newest, segmentation_node, volume_node)
    others = [one for one in newest.segments.values() if one not in segments.values()]
    if record is None or not record.labels.size:
        return labels, segments
    found = {**segments, **dict(enumerate(others, start=max([*segments, 0]) + 1))}
    own, together = (
        LabelOf({value: value for value in segments}, np.dtype(np.uint16)),
        np.zeros(labels.shape, np.uint16),
    )
    new_value = {one: value for value, one in found.items()}
    theirs = LabelOf({v: new_value[one] for v, one in record.segments.items() if one in others}, np.dtype("u2"))
    for slab in slabs(labels.shape, together.itemsize):
        part = together[slab]
        part[...] = own[labels[slab]]
        region = (slab, *(slice(0, size) for size in labels.shape[1:]))
        common = common_part(record.labels, record.start, along_axes(region))
        if common is not None:
            target, shown = part[common[1]], theirs[record.labels[common[0]]]
            np.copyto(target, shown, where=(target == 0) & (shown > 0))
        yield
    return together, found


def has_applied(segmentation_node) -> bool:
    """Whether a result was ever applied to a segmentation."""
    return bool(segmentation_node.GetAttribute(_ATTRIBUTES[0]))


def copy_applied(source_node, target_node) -> None:
    """Store the applied labels of a segmentation in a copy of it with the same coordinates and segment IDs."""
    for name in _ATTRIBUTES:
        if source_node.GetAttribute(name):
            target_node.SetAttribute(name, source_node.GetAttribute(name))


def reading_applied(segmentation_node, volume_node) -> Generator[None, None, list[AppliedLabels]]:
    """In pieces: the labels last applied to a segmentation, newest first, and what they come from.

    Labels whose position on the volume can no longer be determined are left out.
    """
    found = []
    for text in filter(None, (segmentation_node.GetAttribute(name) for name in _ATTRIBUTES)):
        try:
            applied = parse_json(text, Applied, f"what was applied to '{segmentation_node.GetName()}'")
        except BadInputError:
            continue
        labels = yield from _reading(applied, segmentation_node, volume_node)
        if labels is not None:
            found.append(labels)
    return found


def _reading(applied: Applied, segmentation_node, volume_node) -> Generator[None, None, AppliedLabels | None]:
    """In pieces: stored labels; None when their position can no longer be determined, or they are damaged."""
    try:
        relation = _relation(applied, segmentation_node, volume_node)
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
        earlier = _earlier_on_volume(applied, relation)
    except (BadInputError, ValueError, IndexError, zlib.error):
        return None
    turned, start = _on_volume(applied, relation, labels)
    return AppliedLabels(turned, start, applied.segments, applied.sources, earlier)


def _on_volume(applied: Applied, relation: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Stored labels in the volume's orientation, and the place of the first voxel in the volume."""
    if not labels.size:
        return labels, (0, 0, 0)
    ends = [(s, s + n - 1) for s, n in zip(applied.start, applied.shape, strict=True)]
    alignment = alignment_of(relation, [bound for pair in reversed(ends) for bound in pair])
    return alignment.reoriented(labels), alignment.starts
