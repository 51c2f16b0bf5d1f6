"""Slices at random positions."""

from __future__ import annotations

import zlib

import numpy as np

from ...core import Watch
from ...core.messages import _
from ..budget import Budget
from ..pool import Pool, PoolStrategy
from ..quota import Quota
from ..stack import Stack
from ..strategy import STRATEGIES, StrategyEntry


class RandomChoice(PoolStrategy):
    """Uniform choice without replacement; the same seed gives the same slices of a volume in any cohort."""

    def _chosen(self, pool: Pool, quota: Quota, budget: Budget, watch: Watch) -> list[tuple[int, float, str]]:
        keys = np.concatenate([self._random_keys(stack) for stack in pool.stacks])
        chosen = []
        for number in np.argsort(keys, kind="stable"):
            if pool.candidate[number] and quota.allows(pool.volume[number]):
                quota.take(pool.volume[number])
                chosen.append(int(number))
        return [(number, 1.0, _("chosen at random")) for number in sorted(chosen)]

    def _random_keys(self, stack: Stack) -> np.ndarray:
        name = zlib.crc32(f"{stack.volume}/{stack.plane.value}".encode())
        return np.random.default_rng([self._seed, name]).random(stack.slice_count)


STRATEGIES.add(
    StrategyEntry(
        name="random",
        label=_("Random"),
        description=_("Random slices, each equally likely."),
        make=RandomChoice,
        order=3,
    )
)
