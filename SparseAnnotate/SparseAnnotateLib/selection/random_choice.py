"""Slices at random positions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ..core import SliceRef
from .strategy import Budget, RankedSlice, Stack, indices_by_stack, register_strategy


@register_strategy("random", "Slices at random, each equally likely.")
class RandomChoice:
    """Uniform choice without replacement; the same seed gives the same slices of a volume, whatever its cohort."""

    def __init__(self, seed: int = 0):
        self._seed = seed

    def rank(
        self, candidates: Sequence[Stack], budget: Budget, drawn: frozenset[SliceRef] = frozenset()
    ) -> list[RankedSlice]:
        """See `Strategy.rank`."""
        ranked = []
        drawn_in = indices_by_stack(drawn)
        for stack, count in zip(candidates, budget.slices_for(candidates), strict=True):
            already = set(drawn_in.get((stack.volume, stack.plane), []))
            free = [i for i in range(stack.first, stack.last + 1) if i not in already]
            name = zlib.crc32(f"{stack.volume}/{stack.plane.value}".encode())
            order = np.random.default_rng([self._seed, name]).permutation(len(free))
            chosen = sorted(free[i] for i in order[: max(0, count - len(already))])
            ranked += [RankedSlice(SliceRef(stack.volume, stack.plane, i), 1.0, "chosen at random") for i in chosen]
        return ranked
