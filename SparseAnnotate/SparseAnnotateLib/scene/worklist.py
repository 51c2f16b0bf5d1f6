"""The worklist of the scene: the ledgers of several volumes as one list, and adding recommended slices to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core import LedgerEntry, Plane, SliceState, SparseAnnotateError
from .annotations import annotated_segmentation, case_of, ledger_of
from .ledger_store import store_ledger, stored_ledger
from .volume_nodes import volumes_of_scene


@dataclass(frozen=True)
class WorklistItem:
    """One slice of the worklist: its volume node, plane, index, state ('to do', 'drawn', ...), and why it is there.

    `seconds` is the time spent on it, and `startedFrom` what it was initialized from ('' for nothing).
    """

    volumeNode: Any
    plane: str
    index: int
    order: int
    state: SliceState
    score: float
    reason: str
    seconds: float
    startedFrom: str = ""


@dataclass(frozen=True)
class ReadableWorklist:
    """The worklist of volumes, some of which may have a ledger that cannot be read.

    Attributes:
        items: in the order of the worklist. volumes: those whose ledgers can be read.
        problems: what is wrong with the ledgers of the others, as messages.
    """

    items: list[WorklistItem]
    volumes: list
    problems: list[str]


def worklist_of(volume_nodes: Sequence) -> list[WorklistItem]:
    """All slices in the ledgers of the volumes, in the order of the worklist."""
    return _in_order(item for node in volume_nodes for item in _items_of(node))


def readable_worklist(volume_nodes: Sequence) -> ReadableWorklist:
    """Like `worklist_of`, but ledgers that cannot be read are reported as problems and do not block the others."""
    items: list[WorklistItem] = []
    volumes, problems = [], []
    for node in volume_nodes:
        try:
            items += _items_of(node)
        except SparseAnnotateError as error:
            problems.append(error.message)
        else:
            volumes.append(node)
    return ReadableWorklist(_in_order(items), volumes, problems)


def _items_of(volume_node) -> list[WorklistItem]:
    is_there = volume_node.GetScene() is not None
    return [_item(volume_node, entry) for entry in ledger_of(volume_node).entries] if is_there else []


def _in_order(items: Iterable[WorklistItem]) -> list[WorklistItem]:
    return sorted(items, key=lambda item: (item.order == 0, item.order, item.index))


def worklist_item(volume_node, plane: Plane, index: int) -> WorklistItem:
    """A slice as an item of the worklist, whether or not the ledger names it."""
    return _item(volume_node, ledger_of(volume_node).entry(plane, index) or LedgerEntry(plane, index))


def _item(node, e: LedgerEntry) -> WorklistItem:
    return WorklistItem(
        volumeNode=node,
        plane=e.plane.value,
        index=e.index,
        order=e.order,
        state=e.state,
        score=e.score,
        reason=e.reason,
        seconds=e.seconds,
        startedFrom=e.started_from,
    )


def storing_recommended(volume_nodes: Sequence, recommended: Mapping[str, list[LedgerEntry]]) -> Iterator[None]:
    """Add recommended slices (case to entries) to the ledgers, volume by volume; yields after each.

    Slices that were still to do are replaced, also in volumes without new ones. Volumes that have been removed from the
    scene are skipped. In the worklist, the new slices come after the decided ones and after all slices of other
    volumes, so that slices recommended for different volumes one after the other are not mixed.
    """
    others = [node for node in volumes_of_scene() if node not in volume_nodes]
    kept = [item.order for item in worklist_of(volume_nodes) if item.state.is_decided]
    last = max([*kept, *(item.order for item in worklist_of(others))], default=0)
    for node in volume_nodes:
        if node.GetScene() is None:
            continue
        segmentation = annotated_segmentation(node, create=True)
        entries = [replace(entry, order=entry.order + last) for entry in recommended.get(case_of(node), [])]
        store_ledger(segmentation, node, stored_ledger(segmentation, node).with_recommended(entries))
        yield
