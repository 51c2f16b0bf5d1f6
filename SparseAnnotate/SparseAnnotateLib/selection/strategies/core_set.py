"""Slices chosen so that no other slice is far from them: k-centre greedy (Sener and Savarese 2018)."""

from __future__ import annotations

import numpy as np

from ...core import Watch
from ...core.messages import _
from ...core.registry import Need
from ..budget import Budget
from ..pool import Pool, PoolStrategy
from ..quota import Quota
from ..strategy import STRATEGIES, StrategyEntry

_SLICES_PER_REPORT = 64


class CoreSet(PoolStrategy):
    """Each slice is the one farthest, in feature space, from all that are drawn or chosen.

    If nothing is drawn, the first one is the slice closest to the mean. The largest distance left is at most twice the
    smallest possible with as many slices (Gonzalez 1985). The score is the distance to the nearest
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
            if len(chosen) % _SLICES_PER_REPORT == 0:
                watch.step(len(chosen) / total, _("choosing slices"))
            if chosen or pool.drawn.any():
                number = int(np.argmax(np.where(possible, nearest, -1.0)))
                score = float(np.sqrt(nearest[number]))
                reason = _("unlike all slices drawn or chosen before it (distance {distance:.2g})").format(
                    distance=score
                )
            else:
                to_mean = squared_distance_to(features[pool.inside].mean(axis=0))
                # A constant slice has the features 0, which may be the mean, but it represents no other slice.
                varied = possible & (squares > 0) if (possible & (squares > 0)).any() else possible
                number = int(np.argmin(np.where(varied, to_mean, np.inf)))
                score, reason = float(np.sqrt(to_mean[number])), _("the slice closest to the mean")
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
        label=_("Core set"),
        description=_("Slices that differ most from those already drawn or chosen (Sener 2018)."),
        make=CoreSet,
        needs=frozenset({Need.FEATURES}),
        order=5,
    )
)
