"""Drawing effort: slices and time spent and saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .geometry import VolumeGeometry
from .ledger import Ledger, SliceState
from .planes import Plane


@dataclass(frozen=True)
class Effort:
    """The effort of drawing a set of volumes.

    Attributes:
        drawn: decided slices. to_do: slices still to be drawn.
        all_slices: how many slices would have to be drawn without this program: all of one plane in each volume.
        seconds: time spent. timed, timed_seconds: the decided slices that were timed, and the time spent on them.
    """

    drawn: int
    to_do: int
    all_slices: int
    seconds: float
    timed: int
    timed_seconds: float

    @classmethod
    def of(cls, ledgers: Iterable[tuple[Ledger, VolumeGeometry]], plane: Plane = Plane.AXIAL) -> Effort:
        """The effort for volumes, each with its ledger and grid.

        `all_slices` counts, in each volume, the slices of the plane with the most decided slices; of `plane` when no
        slice has been decided yet.
        """
        drawn = to_do = everything = 0
        seconds, timed = 0.0, []
        for ledger, geometry in ledgers:
            decided = ledger.decided
            drawn += len(decided)
            to_do += sum(entry.state is SliceState.TODO for entry in ledger.entries)
            seconds += ledger.seconds
            timed += [entry.seconds for entry in decided if entry.seconds > 0]
            most = max(Plane, key=lambda other: len(ledger.indices(other))) if decided else plane
            everything += most.slice_count(geometry)
        return cls(drawn, to_do, everything, seconds, len(timed), sum(timed))

    @classmethod
    def together(cls, efforts: Iterable[Effort]) -> Effort:
        """The effort for several sets of volumes that have no volume in common."""
        counted = [(e.drawn, e.to_do, e.all_slices, e.seconds, e.timed, e.timed_seconds) for e in efforts]
        return cls(*(sum(column) for column in zip(*counted, strict=True))) if counted else cls.of([])

    @property
    def seconds_per_slice(self) -> float | None:
        """Mean over the decided slices that were timed; None when none was."""
        return self.timed_seconds / self.timed if self.timed else None

    @property
    def saved_slices(self) -> int:
        """Slices that do not have to be drawn."""
        return max(0, self.all_slices - self.drawn - self.to_do)

    @property
    def minutes_left(self) -> float | None:
        """Minutes that the slices still to do will take; None when no slice was timed."""
        return None if self.seconds_per_slice is None else self.to_do * self.seconds_per_slice / 60.0

    @property
    def saved_minutes(self) -> float | None:
        """Minutes that the saved slices would have taken; None when no slice was timed."""
        return None if self.seconds_per_slice is None else self.saved_slices * self.seconds_per_slice / 60.0
