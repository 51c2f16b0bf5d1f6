"""Slices at fixed intervals: at the same relative positions everywhere, or staggered over the cohort."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...core import SliceRef, Watch
from ...core.messages import _
from ..budget import Budget
from ..stack import Stack, indices_by_stack
from ..strategy import STRATEGIES, RankedSlice, StrategyEntry

_GOLDEN_RATIO_STEP = (math.sqrt(5) - 1) / 2


class FixedInterval:
    """Slice floor((i + 1/2) n / k) for i = 0..k-1 of an extent of n slices (equal-interval annotation).

    The slices are spread evenly over all that share the budget; the content of the image is not used.
    """

    def __init__(self, seed: int = 0):
        del seed

    def phase(self, stack: Stack) -> float:
        """Where in its interval each slice lies, 0 to 1."""
        del stack
        return 0.5

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """See `Strategy.rank`. Regular positions that a drawn slice already represents are left out."""
        ranked = []
        drawn_in = indices_by_stack(drawn)
        for stack, count in zip(candidates, budget.slices_for(candidates, drawn), strict=True):
            already = drawn_in.get((stack.volume, stack.plane), [])
            # Slices drawn outside the extent count towards the budget, but represent none within it.
            count -= sum(not stack.first <= index <= stack.last for index in already)
            if count <= 0:
                continue
            interval = stack.extent / count
            phase = self.phase(stack)
            positions = [stack.first + min(int((i + phase) * interval), stack.extent - 1) for i in range(count)]
            inside = [index for index in already if stack.first <= index <= stack.last]
            reason = _("the only slice in this plane")
            if count > 1:
                reason = _("one of {count}, every {interval:.3g} slices").format(count=count, interval=interval)
            for rank, position in enumerate(_missing(positions, inside)):
                ranked.append(RankedSlice(SliceRef(stack.volume, stack.plane, position), 1.0 / (rank + 1), reason))
        return ranked


class Staggered(FixedInterval):
    """Fixed interval whose phase differs from volume to volume: floor((i + u) n / k).

    u runs through the additive golden-ratio sequence, which fills [0, 1) evenly for any number of volumes; the first
    volume has u = 1/2, so one volume alone gets the same slices as with `fixed_interval`. In a cohort of scans
    with the same field of view, a model trained on the same relative positions everywhere never sees those in between.
    """

    def phase(self, stack: Stack) -> float:
        return (0.5 + stack.position * _GOLDEN_RATIO_STEP) % 1.0


def _missing(positions: list[int], drawn: list[int]) -> list[int]:
    """Positions left when each drawn slice has taken the nearest one."""
    left = list(positions)
    for index in drawn:
        if left:
            left.remove(min(left, key=lambda position: abs(position - index)))
    return [position for position in left if position not in drawn]


STRATEGIES.add(
    StrategyEntry(
        name="staggered",
        label=_("Staggered"),
        description=_(
            "Every n-th slice, with a different start in each volume, so that together they cover all positions."
        ),
        make=Staggered,
        order=2,
    )
)
STRATEGIES.add(
    StrategyEntry(
        name="fixed_interval",
        label=_("Fixed interval"),
        description=_("Every n-th slice, at the same relative positions in every volume."),
        make=FixedInterval,
        order=1,
    )
)
