"""Slices spread as evenly as possible over stacks, volumes or the cohort."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def even_counts(total: int, capacities: Sequence[int]) -> list[int]:
    """`total` spread as evenly as the capacities allow; a remainder goes to places spread over all of them."""
    counts = [0] * len(capacities)
    left = min(total, sum(capacities))
    while left:
        free = [n for n, capacity in enumerate(capacities) if counts[n] < capacity]
        each = min(left // len(free), min(capacities[n] - counts[n] for n in free))
        # A remainder goes to stacks spread over the cohort, not to the first ones.
        chosen = free if each else [free[i * len(free) // left] for i in range(left)]
        for n in chosen:
            counts[n] += max(each, 1)
        left -= len(chosen) * max(each, 1)
    return counts


def moved_to(total: int, counts: Sequence[int], least: Sequence[int], most: Sequence[int]) -> list[int]:
    """The counts, changed by one at a time until they sum to `total`: the largest down or the smallest up."""
    moved = list(counts)
    for sign, limits in ((-1, least), (1, most)):
        heap = [
            (sign * c, n) for n, (c, limit) in enumerate(zip(moved, limits, strict=True)) if c * sign < limit * sign
        ]
        heapq.heapify(heap)
        difference = sign * (total - sum(moved))
        while heap and difference > 0:
            n = heapq.heappop(heap)[1]
            moved[n] += sign
            difference -= 1
            if moved[n] * sign < limits[n] * sign:
                heapq.heappush(heap, (sign * moved[n], n))
    return moved
