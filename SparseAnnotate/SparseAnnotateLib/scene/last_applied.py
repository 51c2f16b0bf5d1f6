"""The labels that the module last applied to a segmentation, to distinguish them from what was drawn since."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Generator, Mapping
from itertools import pairwise
from typing import Literal

import numpy as np

from ..core import BadInputError, pieces
from ..core.pieces import finding_box, slabs
from ..core.strict_json import parse_json, to_text
from ..core.voxel_boxes import along_axes
from ..core.voxel_values import values_in
from .applied_labels import Applied, AppliedLabels, AppliedValues, Packed
from .ledger_anchor import anchor_of, relation_to_volume
from .segmentation_layers import LabelOf
from .segmentation_nodes import common_part
from .voxel_grids import alignment_of

# The last one and the one before it, which the Segment Editor's undo may have restored.
_ATTRIBUTES = ("SparseAnnotate.Applied", "SparseAnnotate.Applied.1")


def packing_applied(
    segmentation_node,
    volume_node,
    wanted: AppliedValues,
    renewed: Collection[str],
    before: Mapping[str, AppliedLabels | None],
) -> Generator[None, None, Packed]:
    """In pieces: labels that are to be applied to a segmentation, for `store_applied`; those of others are kept.

    Args:
        renewed: the segment IDs whose labels get a new source; those of the others keep theirs.
        before: segment ID to what was applied of it, as undo has left it; without one: what was applied last.
    """
    wanted, sources = yield from _adding_others(wanted, segmentation_node, volume_node, renewed, before)
    labels, segments = wanted.labels, wanted.segments
    box = (yield from finding_box(labels)) or (slice(0, 0),) * 3
    dtype: Literal["u1", "u2"] = "u1" if max(segments, default=0) < 256 else "u2"
    # Only the labels that were applied are stored.
    own, packer = LabelOf({value: value for value in segments}, np.dtype(f"<{dtype}")), zlib.compressobj(1)
    part, packed, present = labels[box], [], set[int]()
    for slab in slabs(part.shape, part.itemsize):
        piece = np.ascontiguousarray(own[part[slab]])
        if wanted.sources:
            present |= set(values_in(piece))
        packed.append(packer.compress(piece.data))
        yield
    data = base64.b64encode(b"".join([*packed, packer.flush()])).decode("ascii")
    others = {value: name for value, name in wanted.sources.items() if value in present}
    segments = {value: one for value, one in segments.items() if value in others or value not in wanted.sources}
    start, shape = along_axes(side.start for side in box), along_axes(part.shape)
    return Packed(segments, start, shape, dtype, data, others, sources)


def store_applied(segmentation_node, volume_node, packed: Packed, sources: Mapping[str, str] | None = None) -> None:
    """Store in the segmentation node which labels were applied to it.

    Args:
        sources: segment ID to the name of what its labels come from; a segment that is not named keeps its source.
    """
    known = {**packed.sources, **(sources or {})}
    applied = Applied(
        anchor_of(segmentation_node, volume_node, {}),
        packed.segments,
        packed.start,
        packed.shape,
        packed.dtype,
        packed.data,
        {one: name for one, name in known.items() if one in packed.segments.values()},
        label_sources=packed.label_sources,
    )
    for newer, older in reversed(list(pairwise(_ATTRIBUTES))):
        if segmentation_node.GetAttribute(newer):
            segmentation_node.SetAttribute(older, segmentation_node.GetAttribute(newer))
    segmentation_node.SetAttribute(_ATTRIBUTES[0], to_text(applied))


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
    wanted: AppliedValues,
    segmentation_node,
    volume_node,
    renewed: Collection[str],
    before: Mapping[str, AppliedLabels | None],
) -> Generator[None, None, tuple[AppliedValues, dict[str, str]]]:
    """In pieces: labels with what was applied of other segments, and with sources that are kept.

    Returns also the sources of the segments that keep theirs. Args: as for `packing_applied`.
    """
    newest, now = _newest(segmentation_node), set(wanted.segments.values())
    in_newest = set(newest.segments.values()) if newest is not None else set[str]()
    record_of = {one: record for one, record in before.items() if record is not None and one not in renewed}
    sources = {one: record.sources.get(one, "") for one, record in record_of.items()}
    missing = in_newest - set(record_of) - set(renewed)
    if newest is not None and missing:
        sources |= {one: newest.sources.get(one, "") for one in missing}
        if missing - now or newest.label_sources or newest.earlier:
            last = yield from _reading(newest, segmentation_node, volume_node)
            record_of |= {} if last is None else dict.fromkeys(missing, last)
    records = {id(record): record for record in record_of.values() if record.labels.size}
    for record in records.values():
        known = {one for one, its in record_of.items() if its is record and one in record.segments.values()}
        added, kept = known - now, known & now if record.other_sources else set[str]()
        if added or kept:
            wanted = yield from _merging(wanted, record, added, kept)
    return wanted, {one: source for one, source in sources.items() if source}


def _merging(
    wanted: AppliedValues, record: AppliedLabels, added: Collection[str], kept: Collection[str]
) -> Generator[None, None, AppliedValues]:
    """In pieces: labels with those of some segments of a record, and with what others come from in it.

    Args:
        added: the segments whose labels are added where there are none. kept: those whose labels are there, and come
            from what they come from in the record.
    """
    found = AppliedValues(np.zeros(wanted.labels.shape, np.uint16), {**wanted.segments}, {**wanted.sources})
    own_value = {one: value for value, one in wanted.segments.items() if value not in wanted.sources}
    numbers = len(record.other_sources) + 1
    new: dict[str, dict[int, int]] = {"added": {}, "kept": {}}
    for value, one in record.segments.items():
        for number in range(numbers):
            if one in added or (one in kept and number):
                source = record.other_sources[number - 1] if number else None
                new["added" if one in added else "kept"][value * numbers + number] = found.with_value(one, source)
    own = LabelOf({value: value for value in wanted.segments}, found.labels.dtype)
    same = LabelOf({v: own_value.get(one, 0) for v, one in record.segments.items()}, found.labels.dtype)
    tables = {what: LabelOf(values, found.labels.dtype) for what, values in new.items()}
    for slab in slabs(wanted.labels.shape, found.labels.itemsize):
        part = found.labels[slab]
        part[...] = own[wanted.labels[slab]]
        region = (slab, *(slice(0, size) for size in wanted.labels.shape[1:]))
        common = common_part(record.labels, record.start, along_axes(region))
        if common is not None:
            target, theirs = part[common[1]], record.labels[common[0]]
            both = theirs.astype(np.int64) * numbers
            if record.others is not None:
                both += record.others[common[0]]
            shown = tables["added"][both]
            np.copyto(target, shown, where=(target == 0) & (shown > 0))
            if new["kept"]:
                shown = tables["kept"][both]
                np.copyto(target, shown, where=(target == same[theirs]) & (shown > 0))
        yield
    return found


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
        others, other_sources = yield from _separating(applied, labels)
    except (BadInputError, ValueError, IndexError, zlib.error):
        return None
    turned, start = _on_volume(applied, relation, labels)
    if others is not None:
        others, _start = _on_volume(applied, relation, others)
    segments = {value: one for one, value in _value_of(applied).items()}
    return AppliedLabels(turned, start, segments, applied.sources, others, other_sources)


def _value_of(applied: Applied) -> dict[str, int]:
    """The first label value of each segment ID."""
    return {one: value for value, one in reversed(applied.segments.items())}


def _separating(applied: Applied, labels: np.ndarray) -> Generator[None, None, tuple[np.ndarray | None, list[str]]]:
    """In pieces: `AppliedLabels.others` and `other_sources` of stored labels, which get one value for each segment."""
    earlier = [name for from_there in applied.earlier.values() for name in from_there.values()]
    sources = list(dict.fromkeys([*applied.label_sources.values(), *earlier]))
    if not sources:
        return None, []
    number = {source: place for place, source in enumerate(sources, start=1)}
    others, value_of = np.zeros(labels.shape, np.uint8 if len(sources) < 256 else np.uint16), _value_of(applied)
    number_of = LabelOf({value: number[name] for value, name in applied.label_sources.items()}, others.dtype)
    own = LabelOf({value: value_of[one] for value, one in applied.segments.items()}, labels.dtype)
    for slab in slabs(labels.shape, labels.itemsize):
        others[slab] = number_of[labels[slab]]
        labels[slab] = own[labels[slab]]
        yield
    for place, from_there in applied.earlier.items():
        axis, index = map(int, place.split(" "))
        if applied.start[axis] <= index < applied.start[axis] + applied.shape[axis]:
            layer, there = (np.moveaxis(a, axis, 0)[index - applied.start[axis]] for a in (labels, others))
            for one, source in from_there.items():
                there[layer == value_of.get(one, -1)] = number[source]
        yield
    return others, sources


def _on_volume(applied: Applied, relation: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Stored labels in the volume's orientation, and the place of the first voxel in the volume."""
    if not labels.size:
        return labels, (0, 0, 0)
    ends = [(s, s + n - 1) for s, n in zip(applied.start, applied.shape, strict=True)]
    alignment = alignment_of(relation, [bound for pair in reversed(ends) for bound in pair])
    return alignment.reoriented(labels), alignment.starts
