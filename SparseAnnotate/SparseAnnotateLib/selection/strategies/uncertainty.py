"""Slices that trained models are uncertain about: rounds of active learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...core import SliceRef, Watch
from ...core.messages import _
from ...core.registry import Need
from ..budget import Budget, Scope
from ..coverage import greedy_cover, unit_rows
from ..knapsack import knapsack
from ..pool import Pool, PoolStrategy
from ..quota import Quota
from ..stack import Stack
from ..strategy import STRATEGIES, RankedSlice, StrategyEntry

_SHORTLIST = 3.0  # drawing time of the shortlist / time available


class Uncertainty(PoolStrategy):
    """Most uncertain slices first, or, with features, those that are uncertain and representative.

    The two rankings are combined by a Borda count: a slice gets a point for every slice it is ahead of, in either
    ranking (Ozdemir et al. 2018).

    A budget in minutes is shared by all volumes, whatever the scope, or, where it is given for each volume, by the
    planes of the volume. A 0-1 knapsack over the expected seconds of each
    slice spends it (Kuo et al. 2018) on a shortlist: the best slices, which together would take three times as long.
    The value of a slice is its place in the shortlist, counted from the end, so that many quick slices of little use
    do not replace a few good ones.

    The score is the share of the points that a slice could get.
    """

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """See `Strategy.rank`."""
        if budget.minutes is not None:
            shared = Scope.COHORT if budget.is_for_cohort or budget.scope is Scope.COHORT else Scope.VOLUME
            budget = replace(budget, scope=shared)
        return super().rank(candidates, budget, drawn, watch)

    def _chosen(self, pool: Pool, quota: Quota, budget: Budget, watch: Watch) -> list[tuple[int, float, str]]:
        uncertainty = pool.gathered("uncertainty")
        candidates = np.flatnonzero(pool.candidate)
        scores = [uncertainty[candidates]]
        if all(stack.features is not None for stack in pool.stacks):
            units = unit_rows(pool.gathered("features"))
            covering = greedy_cover(
                units, pool.candidate, pool.inside, pool.drawn, lambda _number: True, lambda _number: None, watch
            )
            gains = np.zeros(len(pool))
            gains[covering.order] = covering.gains
            scores.append(gains[candidates])
        points = np.zeros(len(pool))
        points[candidates] = borda_points(scores)
        ranked = candidates[np.lexsort((candidates, -uncertainty[candidates], -points[candidates]))]
        if budget.minutes is not None:
            budgets = 1 if budget.is_for_cohort else int(pool.volume.max()) + 1
            chosen = _within_seconds(pool, budget, budget.minutes * 60.0 * budgets, ranked)
        else:
            chosen = _within_quota(pool, quota, ranked)
        most = max(1.0, len(scores) * (len(candidates) - 1.0))
        return [(int(n), float(points[n] / most), _reason(float(uncertainty[n]))) for n in chosen]


def borda_points(scores: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) float: for each of several scores (N,), how many items each item is ahead of, ties counting half; summed."""
    from scipy.stats import rankdata

    points: np.ndarray = np.sum([rankdata(score) - 1.0 for score in scores], axis=0)
    return points


def _within_quota(pool: Pool, quota: Quota, ranked: np.ndarray) -> list[int]:
    chosen = []
    for number in ranked:
        if quota.allows(pool.volume[number]):
            quota.take(pool.volume[number])
            chosen.append(int(number))
    return chosen


def _within_seconds(pool: Pool, budget: Budget, capacity: float, ranked: np.ndarray) -> list[int]:
    if all(stack.seconds is not None for stack in pool.stacks):
        seconds = pool.gathered("seconds")
    else:
        seconds = np.full(len(pool), budget.known_seconds_per_slice())
    volumes = int(pool.volume.max()) + 1
    already = np.bincount(pool.volume[pool.drawn], minlength=volumes)
    room = np.bincount(pool.volume[ranked], minlength=volumes)
    most = room if budget.maximum is None else np.minimum(room, np.maximum(0, budget.maximum - already))
    least = np.minimum(most, np.maximum(0, (budget.minimum or 0) - already))
    place = np.empty(len(ranked), dtype=int)
    # Besides the best of all, enough of each volume to reach the minimum.
    for v in range(volumes):
        own = pool.volume[ranked] == v
        place[own] = np.arange(np.count_nonzero(own))
    among_the_best = np.cumsum(seconds[ranked]) <= _SHORTLIST * capacity
    shortlist = ranked[among_the_best | (place < least[pool.volume[ranked]])]
    values = np.arange(len(shortlist), 0, -1)
    taken = knapsack(values, seconds[shortlist], capacity, pool.volume[shortlist], least, most)
    return [int(number) for number in shortlist[taken]]


def _reason(uncertainty: float) -> str:
    if uncertainty <= 0:
        return _("models agree here")
    return _("models disagree here (weighted area {area:.3g} mm²)").format(area=uncertainty)


STRATEGIES.add(
    StrategyEntry(
        name="uncertainty",
        label=_("Uncertainty"),
        description=_("Slices that trained models are uncertain about, and that differ from each other."),
        make=Uncertainty,
        needs=frozenset({Need.UNCERTAINTY}),
        order=6,
    )
)
