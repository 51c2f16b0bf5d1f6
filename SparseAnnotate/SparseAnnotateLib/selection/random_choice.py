"""Slices at random positions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ..core import SliceRef, Watch
from .budget import Budget
from .pool import Pool, ranked_by_pool
from .quota import Quota
from .strategy import RankedSlice, Stack, register_strategy


@register_strategy("random", "Slices at random, each equally likely.")
class RandomChoice:
    """Uniform choice without replacement; the same seed gives the same slices of a volume, whatever its cohort."""

    needs = ()

    def __init__(self, seed: int = 0):
        self._seed = seed

    def rank(
        self,
        candidates: Sequence[Stack],
        budget: Budget,
        drawn: frozenset[SliceRef] = frozenset(),
        watch: Watch | None = None,
    ) -> list[RankedSlice]:
        """See `Strategy.rank`."""
        return ranked_by_pool(candidates, budget, drawn, self._chosen, watch)

    def _chosen(self, pool: Pool, quota: Quota, watch: Watch) -> list[tuple[int, float, str]]:
        lots = np.concatenate([self._lots(stack) for stack in pool.stacks])
        chosen = []
        for number in np.argsort(lots, kind="stable"):
            if pool.candidate[number] and quota.allows(pool.volume[number]):
                quota.take(pool.volume[number])
                chosen.append(int(number))
        return [(number, 1.0, "chosen at random") for number in sorted(chosen)]

    def _lots(self, stack: Stack) -> np.ndarray:
        name = zlib.crc32(f"{stack.volume}/{stack.plane.value}".encode())
        return np.random.default_rng([self._seed, name]).random(stack.slice_count)
