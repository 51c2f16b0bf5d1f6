"""The ledger: which slices of a volume are recommended, drawn, empty or skipped, and the seconds they took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _
from .planes import Plane


class SliceState(StrEnum):
    """State of a slice in the ledger. A slice that is not in the ledger is undrawn."""

    TODO = "to do"
    DRAWN = "drawn"
    EMPTY = "empty"
    SKIPPED = "skipped"

    @property
    def is_decided(self) -> bool:
        """True when a person has decided every voxel of the slice: drawn, or checked and empty."""
        return self in (SliceState.DRAWN, SliceState.EMPTY)


def time_spent(seconds: float | None) -> float:
    """The seconds that a person spent on something; 0 for None. Raises BadInputError below 0, or without an end."""
    if seconds is not None and not 0 <= seconds < math.inf:
        raise BadInputError(_("The time spent must be 0 seconds or more, not {seconds:g}.").format(seconds=seconds))
    return float(seconds or 0.0)


@dataclass(frozen=True)
class LedgerEntry:
    """One slice in the ledger.

    Attributes:
        plane, index: the slice (index along the plane's array axis, from 0).
        state: to do, drawn, empty or skipped.
        order: place in the cohort's worklist, from 1; 0 for a slice drawn without being recommended.
        score: of the strategy, higher is more important.
        reason: why it was recommended, in a few words.
        seconds: time a person spent on it.
        started_from: what the drawing was initialized from, in a few words; '' for an empty slice.
        structures: names of the structures that the slice was decided for, by default all that existed then. Others,
            among them those added later, are unknown on it. None: not recorded (older ledgers), decided for all.
    """

    plane: Plane
    index: int
    state: SliceState = SliceState.TODO
    order: int = 0
    score: float = 0.0
    reason: str = ""
    seconds: float = 0.0
    started_from: str = ""
    structures: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[Plane, int]:
        return (self.plane, self.index)


@dataclass(frozen=True)
class Ledger:
    """All slices of one volume that were recommended or decided. Immutable: every change returns a new ledger.

    In version 1 structures that were added later counted as absent on a slice. So its slices are read as decided for
    all structures, which makes the same results.
    """

    entries: tuple[LedgerEntry, ...] = ()
    format: Literal["SparseAnnotate ledger"] = "SparseAnnotate ledger"
    version: Literal[1, 2] = 2
    _by_key: dict[tuple[Plane, int], LedgerEntry] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.version == 1:
            object.__setattr__(self, "entries", tuple(replace(entry, structures=None) for entry in self.entries))
            object.__setattr__(self, "version", 2)
        by_key = {entry.key: entry for entry in self.entries}
        if len(by_key) != len(self.entries):
            raise BadInputError(_("A ledger lists the same slice twice."))
        object.__setattr__(self, "_by_key", by_key)

    def entry(self, plane: Plane, index: int) -> LedgerEntry | None:
        """The entry of a slice, or None when the ledger does not name it."""
        return self._by_key.get((plane, index))

    def with_state(
        self,
        plane: Plane,
        index: int,
        state: SliceState,
        seconds: float | None = None,
        structures: Iterable[str] | None = None,
    ) -> Ledger:
        """The ledger with the slice set to `state`; seconds, when given, are added to those spent before.

        `structures` are the names of those that the slice is decided for, None for all; kept for decided slices only.

        Raises BadInputError when the seconds cannot be a time that was spent.
        """
        old = self.entry(plane, index) or LedgerEntry(plane, index)
        known = tuple(structures) if structures is not None and state.is_decided else None
        new = replace(old, state=state, seconds=old.seconds + time_spent(seconds), structures=known)
        return self._with_entry(new)

    def with_renamed(self, names: Mapping[str, str]) -> Ledger:
        """The ledger with other names of structures, old name to new name."""

        def renamed(entry: LedgerEntry) -> LedgerEntry:
            if entry.structures is None or not names.keys() & entry.structures:
                return entry
            return replace(entry, structures=tuple(names.get(name, name) for name in entry.structures))

        return Ledger(tuple(renamed(entry) for entry in self.entries))

    def with_start(self, plane: Plane, index: int, started_from: str) -> Ledger:
        """The ledger with a note of what the drawing of a slice was initialized from."""
        old = self.entry(plane, index) or LedgerEntry(plane, index)
        return self._with_entry(replace(old, started_from=started_from))

    def with_recommended(self, recommended: list[LedgerEntry]) -> Ledger:
        """The ledger with `recommended` in place of the slices still to do; decided slices do not change.

        Skipped slices that are recommended again become slices to do.
        """
        kept = {e.key: e for e in self.entries if e.state is not SliceState.TODO}
        for entry in recommended:
            old = kept.get(entry.key)
            if old is None:
                kept[entry.key] = replace(entry, state=SliceState.TODO)
            elif old.state is SliceState.SKIPPED:
                kept[entry.key] = replace(
                    entry, state=SliceState.TODO, seconds=old.seconds, started_from=old.started_from
                )
        return Ledger(tuple(kept.values()))

    def indices(self, plane: Plane, *states: SliceState) -> list[int]:
        """Sorted indices of the plane's slices in one of `states` (default: the decided ones)."""
        wanted = states or (SliceState.DRAWN, SliceState.EMPTY)
        return sorted(e.index for e in self.entries if e.plane is plane and e.state in wanted)

    def is_decided(self, plane: Plane, index: int) -> bool:
        """True for a slice that is drawn or empty."""
        entry = self.entry(plane, index)
        return entry is not None and entry.state.is_decided

    @property
    def decided(self) -> list[LedgerEntry]:
        """Entries that are drawn or empty."""
        return [e for e in self.entries if e.state.is_decided]

    @property
    def todo(self) -> list[LedgerEntry]:
        """Entries still to be drawn, in worklist order."""
        return sorted((e for e in self.entries if e.state is SliceState.TODO), key=lambda e: (e.order, e.key))

    @property
    def seconds(self) -> float:
        """Seconds spent on all slices together."""
        return sum(e.seconds for e in self.entries)

    def check_fits(self, geometry: VolumeGeometry, what: str) -> None:
        """Raise BadInputError, naming `what`, when a slice lies outside the volume."""
        for entry in self.entries:
            entry.plane.require_slice(entry.index, geometry, what)

    def _with_entry(self, new: LedgerEntry) -> Ledger:
        if new.key in self._by_key:
            return Ledger(tuple(new if e.key == new.key else e for e in self.entries))
        return Ledger((*self.entries, new))
