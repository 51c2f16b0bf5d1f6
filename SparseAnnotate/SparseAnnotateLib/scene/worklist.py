"""The worklist of the scene: the ledgers of several volumes as one list, and recommended slices put into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core import LedgerEntry
from .annotations import annotated_segmentation, case_of
from .ledger_store import store_ledger, stored_ledger


@dataclass(frozen=True)
class WorklistItem:
    """One slice of the worklist: its volume node, plane, index, state ('to do', 'drawn', ...), and why it is there."""

    volumeNode: Any
    plane: str
    index: int
    order: int
    state: str
    score: float
    reason: str
    seconds: float


def worklist_of(volume_nodes: Sequence) -> list[WorklistItem]:
    """All slices in the ledgers of the volumes, in the order of the worklist."""
    items = []
    for node in volume_nodes:
        segmentation = annotated_segmentation(node) if node.GetScene() is not None else None
        for e in stored_ledger(segmentation).entries if segmentation is not None else ():
            items.append(
                WorklistItem(node, e.plane.value, e.index, e.order, e.state.value, e.score, e.reason, e.seconds)
            )
    return sorted(items, key=lambda item: (item.order == 0, item.order, item.index))


def store_recommended(volume_nodes: Sequence, recommended: Mapping[str, list[LedgerEntry]]) -> None:
    """Put recommended slices (case to entries) into the ledgers; volumes without any lose what was still to do.

    Volumes that have been removed from the scene in the meantime are left out.
    """
    for node in volume_nodes:
        if node.GetScene() is None:
            continue
        segmentation = annotated_segmentation(node, create=True)
        entries = recommended.get(case_of(node), [])
        store_ledger(segmentation, stored_ledger(segmentation).with_recommended(entries))
