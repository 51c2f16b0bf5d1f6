"""Slices that leave no other far away: k-centre greedy (Sener and Savarese 2018)."""

from __future__ import annotations

import numpy as np

from ...core import Watch
from ...core.registry import Need
from ..budget import Budget
from ..pool import Pool, PoolStrategy
from ..quota import Quota
from ..strategy import STRATEGIES, StrategyEntry

_ROUNDS_UNTOLD = 64


class CoreSet(PoolStrategy):
    """Each slice is the one farthest, in feature space, from all that are drawn or chosen.

    With nothing drawn the first one is the slice nearest to the mean. The largest distance left is at most twice the
    smallest that is possible with as many slices (Gonzalez 1985). The score is the distance to the nearest
    slice drawn or chosen before.
    """

    def _chosen(self, pool: Pool, quota: Quota, budget: Budget, watch: Watch) -> list[tuple[int, float, str]]:
        features = pool.gathered("features")
        squares = np.einsum("nd,nd->n", features, features)

        def squared_distance_to(row: np.ndarray) -> np.ndarray:
            squared: np.ndarray = np.maximum(squares - 2.0 * (features @ row) + row @ row, 0.0)
            return squared

        nearest = np.full(len(pool), np.inf, dtype=np.float32)
        for n in np.flatnonzero(pool.drawn):
            nearest = np.minimum(nearest, squared_distance_to(features[n]))
        chosen: list[tuple[int, float, str]] = []
        possible = pool.candidate.copy()
        total = quota.left
        while quota.left and possible.any():
            if len(chosen) % _ROUNDS_UNTOLD == 0:
                watch.step(len(chosen) / total, "choosing slices")
            if chosen or pool.drawn.any():
                number = int(np.argmax(np.where(possible, nearest, -1.0)))
                score = float(np.sqrt(nearest[number]))
                reason = f"differs from all drawn or chosen before it (distance {score:.2g})"
            else:
                to_mean = squared_distance_to(features[pool.inside].mean(axis=0))
                # A constant slice has the features 0, which may be the mean, but is not ordinary.
                ordinary = possible & (squares > 0) if (possible & (squares > 0)).any() else possible
                number = int(np.argmin(np.where(ordinary, to_mean, np.inf)))
                score, reason = float(np.sqrt(to_mean[number])), "the most ordinary slice"
            possible[number] = False
            if not quota.allows(pool.volume[number]):
                continue
            quota.take(pool.volume[number])
            chosen.append((number, score, reason))
            nearest = np.minimum(nearest, squared_distance_to(features[number]))
        return chosen


STRATEGIES.add(
    StrategyEntry(
        name="core_set",
        label="Core set",
        description="Slices that differ most from what is drawn or chosen already (Sener 2018).",
        make=CoreSet,
        needs=frozenset({Need.FEATURES}),
        order=5,
    )
)
