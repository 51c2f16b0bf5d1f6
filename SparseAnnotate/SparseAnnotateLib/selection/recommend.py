"""From volumes, a budget and a strategy to the worklist."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import BadInputError, Ledger, LedgerEntry, Plane, SliceRef, SliceState, VolumeGeometry, Watch
from ..core.messages import _
from ..core.pieces import result_of
from .body_extent import finding_body_extents
from .budget import Budget
from .stack import Stack
from .strategy import DEFAULT_STRATEGY, strategy_named


@dataclass(frozen=True, eq=False)
class Volume:
    """What is needed to choose slices of a volume.

    Attributes:
        name, geometry: the volume.
        ledger: which slices are drawn or skipped.
        extents: first and last slice (both included) worth drawing, per array axis; see `body_extents`.
        position: its place in the whole cohort, from 0, also when slices are recommended for a part of it only.
        features, uncertainty, seconds: what is known about the slices of each plane; see `Stack`.
    """

    name: str
    geometry: VolumeGeometry
    ledger: Ledger
    extents: tuple[tuple[int, int], ...]
    position: int = 0
    features: Mapping[Plane, np.ndarray] = field(default_factory=dict)
    uncertainty: Mapping[Plane, np.ndarray] = field(default_factory=dict)
    seconds: Mapping[Plane, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of_image(
        cls,
        name: str,
        image: np.ndarray,
        geometry: VolumeGeometry,
        ledger: Ledger,
        whole: bool = False,
        position: int = 0,
    ) -> Volume:
        """With the body's extent found in `image` (K, J, I), or with the whole volume."""
        return result_of(cls.reading_image(name, image, geometry, ledger, whole, position))

    @classmethod
    def reading_image(
        cls,
        name: str,
        image: np.ndarray,
        geometry: VolumeGeometry,
        ledger: Ledger,
        whole: bool = False,
        position: int = 0,
    ) -> Generator[None, None, Volume]:
        """`of_image` in pieces."""
        extents = geometry.whole_extents if whole else (yield from finding_body_extents(image))
        return cls(name, geometry, ledger, extents, position)

    def stack(self, plane: Plane) -> Stack:
        """Its slices in one plane."""
        axis = plane.array_axis(self.geometry)
        first, last = self.extents[axis]
        known = (self.features.get(plane), self.uncertainty.get(plane), self.seconds.get(plane))
        return Stack(self.name, plane, self.geometry.shape[axis], first, last, self.position, *known)

    def drawn(self, plane: Plane) -> list[SliceRef]:
        """Its slices in one plane that are drawn or marked as empty."""
        return [SliceRef(self.name, plane, index) for index in self.ledger.indices(plane)]


def recommend_slices(
    volumes: Sequence[Volume],
    planes: Sequence[Plane],
    budget: Budget,
    strategy: str = DEFAULT_STRATEGY,
    seed: int = 0,
    watch: Watch | None = None,
    *,
    timed: Iterable[Ledger] | None = None,
    examined: Callable[[Sequence[Volume]], Sequence[Volume]] | None = None,
) -> dict[str, list[LedgerEntry]]:
    """The worklist: for each volume its recommended slices, as ledger entries numbered over the whole cohort.

    Slices drawn already count towards the budget; skipped ones may be recommended again.

    Args:
        timed: ledgers with the drawing times of slices, for minutes without seconds per slice; by default the volumes'
            own.
        examined: adds to the volumes what the strategy needs to know about their slices. It may take hours, so it is
            called after all checks that do not need it.

    Raises:
        BadInputError: no volume or plane; an unknown strategy; a budget larger than the number of slices, or in minutes
            when the time per slice is unknown; limits that cannot be met; a volume without what the strategy needs.
    """
    if not volumes:
        raise BadInputError(_("There is no volume to recommend slices for. Choose at least one volume."))
    if not planes:
        raise BadInputError(_("There is no plane to recommend slices in. Choose at least one plane."))
    chooser = strategy_named(strategy, seed)
    if budget.minutes is not None:
        budget = with_measured_seconds(budget, timed if timed is not None else (v.ledger for v in volumes))
    drawn = _drawn(volumes, planes)
    budget.check_fits(_stacks(volumes, planes), drawn)
    if examined is not None:
        volumes = examined(volumes)
    ranked = chooser.rank(_stacks(volumes, planes), budget, drawn, watch)
    worklist: dict[str, list[LedgerEntry]] = {volume.name: [] for volume in volumes}
    for order, item in enumerate(ranked, start=1):
        entry = LedgerEntry(item.slice.plane, item.slice.index, SliceState.TODO, order, item.score, item.reason)
        worklist[item.slice.volume].append(entry)
    return worklist


def _stacks(volumes: Sequence[Volume], planes: Sequence[Plane]) -> list[Stack]:
    return [volume.stack(plane) for volume in volumes for plane in dict.fromkeys(planes)]


def _drawn(volumes: Sequence[Volume], planes: Sequence[Plane]) -> frozenset[SliceRef]:
    return frozenset(item for volume in volumes for plane in planes for item in volume.drawn(plane))


def with_measured_seconds(budget: Budget, ledgers: Iterable[Ledger]) -> Budget:
    """The budget with the mean time of timed slices, unless it already has a time per slice."""
    if budget.seconds_per_slice is not None:
        return budget
    timed = [entry.seconds for ledger in ledgers for entry in ledger.decided if entry.seconds > 0]
    return replace(budget, seconds_per_slice=float(np.mean(timed)) if timed else None)
