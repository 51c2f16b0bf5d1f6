"""Greedy maximum coverage: which slices represent all slices best (Zheng et al. 2020, eq. 5-8).

F(S) = sum over all slices j of max over i in S of sim(i, j), with sim the cosine similarity of the slices' features:
the facility-location function. Similarities below 0 count as 0, so that F is monotone and submodular, beginning
with the empty set, and greedy choice reaches at least 1 - 1/e of the best F.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core import Watch
from ..core.messages import _

_COVERED = 1.0 - 1e-12
_BLOCK_ELEMENTS = 1 << 22  # 32 MiB of similarities at a time
_UPDATED_TOGETHER = 8
_DECIMALS = 9  # gains are rounded to these, so that equal slices tie despite rounding errors


@dataclass(frozen=True)
class Covering:
    """A greedy choice.

    Attributes:
        order: chosen slices, best first.
        gains: how much each increased F.
        owner: (N,) int, the chosen slice that represents each slice best; -1 where none of them does.
    """

    order: list[int]
    gains: list[float]
    owner: np.ndarray

    def covered_by(self, number: int) -> int:
        """How many slices the chosen slice represents better than any other, itself included."""
        return int(np.count_nonzero(self.owner == number))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """(N, D) float64 with rows of length 1; a row of zeros (a constant slice) stays zero: similar to nothing.

    float64, because neighbouring slices are so similar that rounding in float32 would decide between them.
    """
    features = np.asarray(features, dtype=np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    largest = float(length.max(initial=0.0))
    return np.where(length > 1e-6 * largest, features / np.maximum(length, 1e-30), 0.0)


def coverage(units: np.ndarray, chosen: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """max over the chosen of the similarity to each counted slice, (N,) float64, at least 0.

    Args:
        units: (N, D) float64 from `unit_rows`. chosen: indices. counted: (N,) bool, by default all; others are 0.
    """
    best = np.zeros(len(units))
    targets = np.arange(len(units)) if counted is None else np.flatnonzero(counted)
    if not len(chosen) or not len(targets):
        return best
    block = max(1, _BLOCK_ELEMENTS // len(chosen))
    for start in range(0, len(targets), block):
        part = targets[start : start + block]
        best[part] = np.maximum((units[part] @ units[chosen].T).max(axis=1), 0.0)
    return np.minimum(best, 1.0)


def greedy_cover(
    units: np.ndarray,
    candidate: np.ndarray,
    counted: np.ndarray,
    drawn: np.ndarray,
    allows: Callable[[int], bool],
    take: Callable[[int], None],
    watch: Watch | None = None,
) -> Covering:
    """Choose slices one by one, each with the largest increase of F (eq. 8), as long as `allows` permits one.

    The greedy choice is exact. It is evaluated lazily: a slice's gain can only shrink as others are chosen (F is
    submodular), so only those whose last known gain is the largest are evaluated again (Minoux 1978). Similarities are
    computed in blocks when needed; N x N of them never exist at once. Equal gains: the first slice.

    Args:
        units: (N, D) float64 from `unit_rows`.
        candidate: (N,) bool, may be chosen. counted: (N,) bool, counts in F. drawn: (N,) bool, covers from the start.
        allows: whether a slice may be chosen; one that was refused must always be refused.
        take: called with each chosen slice.
    """
    watch = watch or Watch()
    cover = coverage(units, np.flatnonzero(drawn), counted)
    active = _Active(units, cover, counted)
    candidates = np.flatnonzero(candidate)
    heap: list[tuple[float, int]] = []
    block = max(1, _BLOCK_ELEMENTS // max(1, len(active)))
    for start in range(0, len(candidates), block):
        watch.check()
        part = candidates[start : start + block]
        heap += [(-gain, int(n)) for gain, n in zip(active.gains(part), part, strict=True)]
    heapq.heapify(heap)
    known_in_round = dict.fromkeys((n for _gain, n in heap), 0)
    order: list[int] = []
    gains: list[float] = []
    owner = np.full(len(units), -1)
    while heap:
        gain, number = heap[0]
        if not allows(number):
            heapq.heappop(heap)
        elif known_in_round[number] == len(order) or gain == 0.0:
            # No gain is left: all bounds are 0, and the remaining slices follow in their own order.
            heapq.heappop(heap)
            take(number)
            order.append(number)
            gains.append(-gain)
            active.add(number, owner)
            if len(order) % 64 == 0:
                watch.step(len(order) / max(1, len(candidates)), _("choosing slices"))
        else:
            stale: list[int] = []
            while heap and len(stale) < _UPDATED_TOGETHER and known_in_round[heap[0][1]] != len(order):
                stale.append(heapq.heappop(heap)[1])
            for gain, n in zip(active.gains(np.array(stale)), stale, strict=True):
                known_in_round[n] = len(order)
                heapq.heappush(heap, (-gain, n))
    return Covering(order, gains, owner)


class _Active:
    """The slices that are not fully covered yet: only they can still gain."""

    def __init__(self, units: np.ndarray, cover: np.ndarray, counted: np.ndarray):
        self._units = units
        self._where = np.flatnonzero(counted & (cover < _COVERED) & (units != 0).any(axis=1))
        self._features = np.ascontiguousarray(units[self._where].T)
        self._cover = cover[self._where]
        self._covered = float(self._cover.sum())

    def __len__(self) -> int:
        return len(self._where)

    def gains(self, numbers: np.ndarray) -> list[float]:
        """Increase of F by each of these slices alone."""
        similarity = self._units[numbers] @ self._features
        np.maximum(similarity, self._cover, out=similarity)
        growth: list[float] = np.round(similarity.sum(axis=1) - self._covered, _DECIMALS).tolist()
        return growth

    def add(self, number: int, owner: np.ndarray) -> None:
        """Choose a slice: it covers the slices that it is most similar to."""
        similarity = self._units[number] @ self._features
        better = similarity > self._cover
        owner[self._where[better]] = number
        self._cover[better] = np.minimum(similarity[better], 1.0)
        kept = self._cover < _COVERED
        if np.count_nonzero(kept) < 0.9 * len(kept):
            self._where, self._cover = self._where[kept], self._cover[kept]
            self._features = np.ascontiguousarray(self._features[:, kept])
        self._covered = float(self._cover.sum())
