"""Several stacks as one list of slices, for strategies that compare slices with each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from ..core import BadInputError, SliceRef, Watch
from ..core.messages import _
from .budget import Budget
from .quota import Quota
from .stack import STACK_VALUES, Stack, indices_by_stack
from .strategy import RankedSlice


class Pool:
    """The slices of several stacks, numbered consecutively; slice n of the pool is element n of each array.

    Attributes:
        stacks: the stacks it consists of.
        candidate: (N,) bool, slices that may be recommended: within the extent and not drawn.
        inside: (N,) bool, slices within the extent.
        drawn: (N,) bool.
        volume: (N,) int, the volume each belongs to, numbered from 0.
    """

    def __init__(self, stacks: Sequence[Stack], drawn: frozenset[SliceRef]):
        self.stacks = list(stacks)
        counts = [s.slice_count for s in stacks]
        self._start = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self._stack = np.repeat(np.arange(len(counts)), counts)
        size = int(self._start[-1])
        self.inside = np.zeros(size, dtype=bool)
        self.drawn = np.zeros(size, dtype=bool)
        drawn_in = indices_by_stack(drawn)
        for start, stack in zip(self._start, stacks, strict=False):
            self.inside[start + stack.first : start + stack.last + 1] = True
            indices = drawn_in.get((stack.volume, stack.plane), [])
            self.drawn[[start + i for i in indices if i < stack.slice_count]] = True
        self.candidate = self.inside & ~self.drawn
        names = {name: n for n, name in enumerate(dict.fromkeys(s.volume for s in stacks))}
        self.volume = np.array([names[s.volume] for s in stacks], dtype=int)[self._stack]

    def __len__(self) -> int:
        return len(self.inside)

    def slice(self, number: int) -> SliceRef:
        """The slice of that number."""
        stack = self.stacks[int(self._stack[number])]
        return SliceRef(stack.volume, stack.plane, int(number - self._start[self._stack[number]]))

    def gathered(self, name: str) -> np.ndarray:
        """One of the stacks' arrays ('features', 'uncertainty', 'seconds') for the whole pool, (N, ...) float32.

        Raises BadInputError when a stack has no such array, or one with NaN or Inf.
        """
        for stack in self.stacks:
            if getattr(stack, name) is None:
                raise BadInputError(
                    _("This strategy needs the {values} of the slices of '{volume}'.").format(
                        values=STACK_VALUES[name], volume=stack.volume
                    )
                )
            if not np.isfinite(getattr(stack, name)).all():
                raise BadInputError(
                    _(
                        "The {values} of some {plane} slices of '{volume}' are not finite numbers, so its slices "
                        "cannot be compared. Check the image for extreme values, or use other slice features."
                    ).format(values=STACK_VALUES[name], plane=stack.plane.value, volume=stack.volume)
                )
        return np.concatenate([np.asarray(getattr(s, name), dtype=np.float32) for s in self.stacks])

    def quota(self, count: int, budget: Budget) -> Quota:
        """How many slices may be chosen: `count`, including those drawn, within the budget's limits for each volume."""
        volumes = int(self.volume.max()) + 1
        already = np.bincount(self.volume[self.drawn], minlength=volumes).tolist()
        capacities = np.bincount(self.volume[self.candidate], minlength=volumes).tolist()
        return Quota(capacities, already, max(0, count - sum(already)), budget.minimum, budget.maximum)


class PoolStrategy(ABC):
    """A strategy that compares slices with each other: it chooses from one pool for each part of the budget's scope."""

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
        watch = watch or Watch()
        ranked = []
        known = {(s.volume, s.plane) for s in candidates}
        drawn_here = frozenset(d for d in drawn if (d.volume, d.plane) in known)
        groups = budget.groups(candidates, drawn_here)
        for place, (members, count) in enumerate(groups):
            pool = Pool([candidates[n] for n in members], drawn_here)
            quota = pool.quota(count, budget)
            if quota.left:
                chosen = self._chosen(pool, quota, budget, watch.part(place, len(groups)))
                ranked += [RankedSlice(pool.slice(n), score, reason) for n, score, reason in chosen]
        return ranked

    @abstractmethod
    def _chosen(self, pool: Pool, quota: Quota, budget: Budget, watch: Watch) -> Iterable[tuple[int, float, str]]:
        """Slices of the pool that the quota allows, best first: number, score, reason."""
