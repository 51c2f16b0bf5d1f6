"""The worklist of the scene: the ledgers of several volumes as one list, and adding recommended slices to them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core import BadInputError, Effort, Ledger, LedgerEntry, Plane, SliceState, SparseAnnotateError, VolumeGeometry
from ..core.pieces import Piece
from .annotations import annotated_segmentation, ledger_of, ledger_stamp
from .ledger_store import store_ledger, stored_ledger
from .sequence_frames import Frame, frame_of
from .volume_cases import case_of
from .volume_nodes import geometry_of, volumes_of_scene


@dataclass(frozen=True)
class WorklistItem:
    """One slice of the worklist: its volume node, plane, index, state ('to do', 'drawn', ...), and why it is there.

    `seconds` is the time spent on it, and `startedFrom` what it was initialized from ('' for nothing). A slice of a
    case of the cohort folder that has not been opened has no volume node, but the name of its `case`. `grid` is that of
    the volume when the item was made, on another one, `index` may be another slice; and `frame` is the frame of a
    sequence that it showed then, as each frame has its own slices.
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
    case: str = ""
    grid: VolumeGeometry | None = field(default=None, compare=False, repr=False)
    frame: Frame | None = field(default=None, compare=False, repr=False)

    @property
    def isOfOtherFrame(self) -> bool:
        """Whether the volume shows another frame of a sequence than the one that this is a slice of."""
        is_there = self.volumeNode is not None and self.volumeNode.GetScene() is not None
        return is_there and frame_of(self.volumeNode) != self.frame

    @property
    def isCurrent(self) -> bool:
        """Whether the volume is in the scene, with the grid that `index` was counted on (but for rounding), and shows
        the same frame."""
        if self.volumeNode is None or self.volumeNode.GetScene() is None or self.isOfOtherFrame:
            return False
        try:
            now = geometry_of(self.volumeNode)
            return now == self.grid or (self.grid is not None and now.resembles(self.grid))
        except BadInputError:
            return False


@dataclass(frozen=True)
class _FoundOfVolume:
    """What was found of a volume.

    Attributes:
        stamp: of what it was made from; None if changes of that are not noticed. ledger, items: of the volume.
    """

    volume: Any
    stamp: tuple | None
    ledger: Ledger
    items: list[WorklistItem]
    _efforts: dict[Plane, Effort] = field(default_factory=dict)

    @classmethod
    def of(cls, volume_node, stamp: tuple | None) -> _FoundOfVolume:
        ledger = _ledger_in_scene(volume_node)
        return cls(volume_node, stamp, ledger, _items(volume_node, ledger.entries))

    def effort(self, plane: Plane) -> Effort:
        if plane not in self._efforts:
            self._efforts[plane] = Effort.of([(self.ledger, geometry_of(self.volume))], plane)
        return self._efforts[plane]


@dataclass(frozen=True)
class ReadableWorklist:
    """The worklist of volumes, some of which may have a ledger that cannot be read.

    Attributes:
        items: in the order of the worklist. volumes: those whose ledgers can be read.
        ledgers: of these volumes. problems: what is wrong with the ledgers of the others, as messages.
    """

    items: list[WorklistItem]
    volumes: list
    ledgers: list[Ledger]
    problems: list[str]
    _found: dict[Any, _FoundOfVolume] = field(default_factory=dict)

    def effort(self, plane: Plane) -> Effort:
        """Slices and seconds spent on the volumes, and saved; see `Effort.of`."""
        return Effort.together(found.effort(plane) for found in self._found.values())


def worklist_of(volume_nodes: Sequence) -> list[WorklistItem]:
    """All slices in the ledgers of the volumes, in the order of the worklist."""
    return in_order(item for node in volume_nodes for item in _items_of(node))


def readable_worklist(volume_nodes: Sequence, earlier: ReadableWorklist | None = None) -> ReadableWorklist:
    """Like `worklist_of`, but ledgers that cannot be read are reported as problems and do not block the others.

    `earlier`: of the same scene; volumes of which nothing has changed since are not read again.
    """
    known = earlier._found if earlier is not None else {}
    found: dict[Any, _FoundOfVolume] = {}
    problems = []
    for node in volume_nodes:
        stamp, own = ledger_stamp(node), known.get(node)
        if own is None or stamp is None or own.stamp != stamp:
            try:
                own = _FoundOfVolume.of(node, stamp)
            except SparseAnnotateError as error:
                problems.append(error.message)
                continue
        found[node] = own
    items = in_order(item for own in found.values() for item in own.items)
    return ReadableWorklist(items, list(found), [own.ledger for own in found.values()], problems, found)


def unopened_items(case: str, entries: Iterable[LedgerEntry]) -> list[WorklistItem]:
    """Slices of a case that has not been opened as items of the worklist."""
    return [_item(None, entry, None, case) for entry in entries]


def _ledger_in_scene(volume_node) -> Ledger:
    """The ledger of a volume; empty for one that has been removed from the scene."""
    return ledger_of(volume_node) if volume_node.GetScene() is not None else Ledger()


def _items_of(volume_node) -> list[WorklistItem]:
    return _items(volume_node, _ledger_in_scene(volume_node).entries)


def _items(volume_node, entries: Iterable[LedgerEntry]) -> list[WorklistItem]:
    frame = frame_of(volume_node)
    return [_item(volume_node, entry, frame) for entry in entries]


def in_order(items: Iterable[WorklistItem]) -> list[WorklistItem]:
    """The items in the order of the worklist; those without an order last."""
    return sorted(items, key=lambda item: (item.order == 0, item.order, item.index))


def worklist_item(volume_node, plane: Plane, index: int) -> WorklistItem:
    """A slice as an item of the worklist, whether or not the ledger names it."""
    entry = ledger_of(volume_node).entry(plane, index) or LedgerEntry(plane, index)
    return _item(volume_node, entry, frame_of(volume_node))


def _item(node, e: LedgerEntry, frame: Frame | None, case: str = "") -> WorklistItem:
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
        case=case,
        grid=geometry_of(node) if node is not None else None,
        frame=frame,
    )


def storing_recommended(
    volume_nodes: Sequence, recommended: Mapping[str, list[LedgerEntry]]
) -> Generator[Piece | None, None, list[WorklistItem]]:
    """Add recommended slices (case to entries) to the ledgers, volume by volume; yields after each.

    Yields `Piece.NEXT_IS_KEPT` before the first.

    Returns the worklist of these volumes.

    Slices that were still to do are replaced, also in volumes without new ones. Volumes that have been removed from the
    scene are skipped. In the worklist, the new slices come after the decided ones and after all slices of other
    volumes, so that slices recommended for different volumes one after the other are not mixed.
    """
    own = set(volume_nodes)
    last = 0
    for node in dict.fromkeys([*volume_nodes, *volumes_of_scene()]):
        if node.GetScene() is None:
            continue
        kept = [entry.order for entry in ledger_of(node).entries if node not in own or entry.state.is_decided]
        last = max([last, *kept])
        yield None
    yield Piece.NEXT_IS_KEPT
    items: list[WorklistItem] = []
    for node in volume_nodes:
        if node.GetScene() is None:
            continue
        segmentation = annotated_segmentation(node, create=True)
        entries = [replace(entry, order=entry.order + last) for entry in recommended.get(case_of(node), [])]
        store_ledger(segmentation, node, stored_ledger(segmentation, node).with_recommended(entries))
        # Read here, and not all of them at once when they are shown.
        items += _items_of(node)
        yield None
    return in_order(items)
