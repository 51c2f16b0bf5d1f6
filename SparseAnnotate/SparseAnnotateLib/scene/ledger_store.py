"""The ledger in the scene: stored in attributes of the segmentation node, so that it is saved and copied with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter

import numpy as np

from ..core import BadInputError, Ledger, LedgerEntry, Plane, VolumeGeometry
from ..core.messages import _
from ..core.strict_json import parse_json, to_text
from .kept_results import KeptResults
from .ledger_anchor import (
    LedgerAnchor,
    anchor_of,
    covers_slices,
    mapped_entry,
    relation_to_volume,
    relations_within,
)
from .node_stamps import drawing_stamp
from .segment_regions import slice_region, voxels_in
from .volume_nodes import geometry_of

_LEDGER_ATTRIBUTE = "SparseAnnotate.Ledger"
_ANCHOR_ATTRIBUTE = "SparseAnnotate.Anchor"
_OLD_GRID_ATTRIBUTE = "SparseAnnotate.Grid"  # of the volume, in scenes of the first version


def stored_ledger(segmentation_node, volume_node) -> Ledger:
    """The segmentation's ledger, with indices of the volume's slices as they are now; empty when none is stored.

    Raises BadInputError when it is damaged, or its decided slices are no longer slices of the volume.
    """
    return _read(segmentation_node, volume_node)[0]


def has_ledger(segmentation_node) -> bool:
    """True when slices have been recommended or marked in a segmentation."""
    return bool(segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE))


def ledger_text(segmentation_node) -> str:
    """What is stored of the ledger; '' when there is none."""
    return segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE) or ""


def marked_slice_count(segmentation_node) -> int:
    """How many slices, of any volume, have been marked as drawn or empty in a segmentation."""
    text = segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE)
    return len(_parsed(text, Ledger, _ledger_source(segmentation_node)).decided) if text else 0


def copied_ledger(segmentation_node, volume_node, local: np.ndarray, copy_node) -> Ledger:
    """The ledger for a copy of a segmentation on the volume's grid: only slices that are whole slices of the volume.

    When layers have been rewritten, so that it is not certain which slices those are, the voxels drawn on them in the
    copy decide; if these do not decide it either, the ledger is empty.

    Args:
        local: (4, 4) voxel index of the volume's array to the coordinates of the segmentation, where the copy's voxels
            come from.
    """
    text = segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE)
    anchor = _stored_anchor(segmentation_node) if text else None
    if anchor is None:
        return Ledger()
    ledger = _parsed(text, Ledger, _ledger_source(segmentation_node))
    ledger = _with_segment_names(ledger, segmentation_node)
    geometry = geometry_of(volume_node)
    planes = {plane.array_axis(geometry): plane for plane in Plane}
    found: list[tuple[int, list[LedgerEntry]]] = []
    for relation in relations_within(anchor, segmentation_node, local, geometry.shape):
        score, entries = 0, []
        for entry in ledger.entries:
            plane, index = mapped_entry(entry, relation, anchor, planes)
            is_whole = covers_slices(relation, anchor, plane.array_axis(geometry), geometry.shape)
            if is_whole and 0 <= index < plane.slice_count(geometry):
                entries.append(replace(entry, plane=plane, index=index))
                count = anchor.counts.get(_key(entry))
                score += count is not None and count == _drawn_on(copy_node, volume_node, entries[-1])
        found.append((score, entries))
    best = [entries for score, entries in found if score == max(found, key=itemgetter(0))[0]]
    if not best or (ledger.decided and any(entries != best[0] for entries in best)):
        return Ledger()
    return Ledger(tuple(best[0]))


def store_ledger(segmentation_node, volume_node, ledger: Ledger) -> None:
    """Store a ledger of slices of the volume in the segmentation node. Raises BadInputError when there is no node."""
    if segmentation_node is None:
        raise BadInputError(
            _("No segmentation is selected to store the slice status in. Create or choose a segmentation first.")
        )
    before, known, identifiers = _read(segmentation_node, volume_node)
    counts, kept = {}, {}
    for entry in ledger.decided:
        key = _key(entry)
        if key in known and before.entry(entry.plane, entry.index) == entry:
            counts[key], kept[key] = known[key], identifiers[key]
        else:
            counts[key] = _drawn_on(segmentation_node, volume_node, entry)
    _write(segmentation_node, volume_node, ledger, counts, kept)


@contextmanager
def layers_may_be_replaced(segmentation_node, volume_node) -> Iterator[None]:
    """Context for a change that rewrites layers: the ledger's slices remain the same.

    Raises BadInputError as `stored_ledger` does, before anything is changed.
    """
    found = _read(segmentation_node, volume_node)
    yield
    if found[0].entries:
        _write(segmentation_node, volume_node, *found)


def _write(segmentation_node, volume_node, ledger: Ledger, counts: dict[str, int], identifiers: dict) -> None:
    """Store a ledger; `counts` and `identifiers` as `_read` gives them."""
    anchor = anchor_of(segmentation_node, volume_node, counts)
    segmentation_node.SetAttribute(_ANCHOR_ATTRIBUTE, to_text(anchor))
    text = to_text(_with_segment_ids(ledger, segmentation_node, identifiers))
    segmentation_node.SetAttribute(_LEDGER_ATTRIBUTE, text)
    segmentation_node.RemoveAttribute(_OLD_GRID_ATTRIBUTE)


_Read = tuple[Ledger, dict[str, int], dict[str, tuple[str, ...] | None]]
"""A ledger; by 'plane index', the stored voxel counts of decided slices; and segment IDs of the structures."""

_KEPT: KeptResults[_Read] = KeptResults()


def _read(segmentation_node, volume_node) -> _Read:
    """What is stored, as the volume is now; read again only when something has changed that it depends on."""
    text = segmentation_node.GetAttribute(_LEDGER_ATTRIBUTE)
    if not text:
        return Ledger(), {}, {}
    stamp = drawing_stamp(segmentation_node, volume_node)
    if stamp is not None:
        stamp = (text, segmentation_node.GetAttribute(_ANCHOR_ATTRIBUTE), *stamp)
    which = segmentation_node.GetID(), volume_node.GetID()
    return _KEPT.of(which, stamp, lambda: _read_again(segmentation_node, volume_node, text))


def _read_again(segmentation_node, volume_node, text: str) -> _Read:
    stored = _parsed(text, Ledger, _ledger_source(segmentation_node))
    ledger = _with_segment_names(stored, segmentation_node)
    anchor = _stored_anchor(segmentation_node)
    if anchor is None or not ledger.entries:
        return ledger, {}, {}
    geometry = geometry_of(volume_node)
    planes = {plane.array_axis(geometry): plane for plane in Plane}

    def matches(relation: np.ndarray) -> int:
        found = 0
        for entry in ledger.decided:
            if _key(entry) in anchor.counts:
                plane, index = mapped_entry(entry, relation, anchor, planes)
                moved = replace(entry, plane=plane, index=index)
                found += anchor.counts[_key(entry)] == _drawn_on(segmentation_node, volume_node, moved)
        return found

    def outcome(relation: np.ndarray) -> frozenset:
        return frozenset((*mapped_entry(entry, relation, anchor, planes), entry.state) for entry in ledger.entries)

    try:
        relation = relation_to_volume(anchor, segmentation_node, volume_node, matches, outcome)
    except BadInputError:
        if ledger.decided:
            raise
        # There are only recommended slices: no drawing is lost, and slices can be recommended again.
        return Ledger(), {}, {}
    if np.array_equal(relation, np.eye(4)) and all(anchor.planes[p.value] == axis for axis, p in planes.items()):
        return ledger, anchor.counts, {_key(entry): entry.structures for entry in stored.entries}
    entries, counts, identifiers = [], {}, {}
    for entry, old in zip(ledger.entries, stored.entries, strict=True):
        plane, index = mapped_entry(entry, relation, anchor, planes)
        entries.append(replace(entry, plane=plane, index=index))
        identifiers[_key(entries[-1])] = old.structures
        if _key(entry) in anchor.counts:
            counts[_key(entries[-1])] = anchor.counts[_key(entry)]
    return Ledger(tuple(entries)), counts, identifiers


def _ledger_source(segmentation_node) -> str:
    """The name of the stored ledger in error messages."""
    return _("the ledger stored in the segmentation '{segmentation}'").format(segmentation=segmentation_node.GetName())


def _stored_anchor(segmentation_node) -> LedgerAnchor | None:
    name = segmentation_node.GetName()
    text = segmentation_node.GetAttribute(_ANCHOR_ATTRIBUTE)
    if text:
        source = _("the position of the ledger stored in the segmentation '{segmentation}'").format(segmentation=name)
        return _parsed(text, LedgerAnchor, source)
    text = segmentation_node.GetAttribute(_OLD_GRID_ATTRIBUTE)
    if not text:
        return None
    source = _("the voxel grid stored in the segmentation '{segmentation}'").format(segmentation=name)
    grid = _parsed(text, VolumeGeometry, source)
    return LedgerAnchor(grid.shape, {plane.value: plane.array_axis(grid) for plane in Plane}, grid.ijk_to_ras)


@lru_cache(maxsize=4096)
def _parsed(text: str, cls, what: str):
    """Cached, because the panel reads the ledgers of hundreds of volumes with every click, and few have changed."""
    return parse_json(text, cls, what)


def _drawn_on(segmentation_node, volume_node, entry: LedgerEntry) -> int:
    """Voxels of all segments together on a slice of the volume."""
    geometry = geometry_of(volume_node)
    if not 0 <= entry.index < entry.plane.slice_count(geometry):
        return -1
    region = slice_region(geometry.shape, entry.plane.array_axis(geometry), entry.index)
    return voxels_in(segmentation_node, volume_node, region)


def _key(entry: LedgerEntry) -> str:
    return f"{entry.plane.value} {entry.index}"


def _with_segment_ids(ledger: Ledger, segmentation_node, kept: dict[str, tuple[str, ...] | None]) -> Ledger:
    """The ledger with segment IDs as structures, as IDs survive renaming; `kept` has those of unchanged entries."""
    segmentation = segmentation_node.GetSegmentation()
    entries = []
    for entry in ledger.entries:
        identifiers = entry.structures
        if _key(entry) in kept:
            identifiers = kept[_key(entry)]
        elif identifiers is not None:
            identifiers = tuple(segmentation.GetSegmentIdBySegmentName(name) or name for name in identifiers)
        entries.append(replace(entry, structures=identifiers))
    return Ledger(tuple(entries))


def _with_segment_names(ledger: Ledger, segmentation_node) -> Ledger:
    """The ledger with structures by the current names of the segments; removed segments are left out."""
    if all(entry.structures is None for entry in ledger.entries):
        return ledger
    segmentation = segmentation_node.GetSegmentation()
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    for identifiers in {entry.structures for entry in ledger.entries if entry.structures is not None}:
        segments = [segmentation.GetSegment(identifier) for identifier in identifiers]
        names[identifiers] = tuple(segment.GetName() for segment in segments if segment is not None)
    return Ledger(
        tuple(
            entry if entry.structures is None else replace(entry, structures=names[entry.structures])
            for entry in ledger.entries
        )
    )
