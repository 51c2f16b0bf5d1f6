"""From volumes, a budget and a strategy to the worklist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import BadInputError, Ledger, LedgerEntry, Plane, SliceRef, SliceState, VolumeGeometry
from .body_extent import body_extents
from .strategy import Budget, Stack, strategy_named

# For a cohort's first volume, and so for a single one, it is the same as fixed_interval.
DEFAULT_STRATEGY = "staggered"


@dataclass(frozen=True, eq=False)
class Volume:
    """What the choice of slices needs to know of a volume.

    Attributes:
        name, geometry: the volume.
        ledger: what is drawn and skipped already.
        extents: first and last slice (both included) worth drawing, per array axis; see `body_extents`.
        position: its place in the whole cohort, from 0, also when slices are recommended for a part of it only.
    """

    name: str
    geometry: VolumeGeometry
    ledger: Ledger
    extents: tuple[tuple[int, int], ...]
    position: int = 0

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
        extents = tuple((0, n - 1) for n in geometry.shape) if whole else body_extents(image)
        return cls(name, geometry, ledger, extents, position)


def recommend_slices(
    volumes: Sequence[Volume],
    planes: Sequence[Plane],
    budget: Budget,
    strategy: str | None = None,
    seed: int = 0,
) -> dict[str, list[LedgerEntry]]:
    """The worklist: for each volume its recommended slices, as ledger entries numbered over the whole cohort.

    Slices drawn already count towards the budget; skipped ones may be recommended again.

    Raises:
        BadInputError: when there is no volume or plane, or the strategy is unknown.
    """
    if not volumes:
        raise BadInputError("There is no volume to recommend slices of. Choose at least one volume.")
    if not planes:
        raise BadInputError("There is no plane to recommend slices in. Choose at least one plane.")
    stacks, drawn = [], set()
    for volume in volumes:
        for plane in planes:
            axis = plane.array_axis(volume.geometry)
            first, last = volume.extents[axis]
            stacks.append(Stack(volume.name, plane, volume.geometry.shape[axis], first, last, volume.position))
            decided = volume.ledger.indices(plane, SliceState.DRAWN, SliceState.EMPTY)
            drawn.update(SliceRef(volume.name, plane, index) for index in decided)
    ranked = strategy_named(strategy or DEFAULT_STRATEGY, seed).rank(stacks, budget, frozenset(drawn))
    worklist: dict[str, list[LedgerEntry]] = {volume.name: [] for volume in volumes}
    for order, item in enumerate(ranked, start=1):
        entry = LedgerEntry(item.slice.plane, item.slice.index, SliceState.TODO, order, item.score, item.reason)
        worklist[item.slice.volume].append(entry)
    return worklist
