"""Which drawn slices are held out, to measure a model on what it has not learned from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

_SLICES_AT_LEAST = 20

Slice = TypeVar("Slice", bound=Hashable)


def held_out_slices(sizes: Mapping[Slice, np.ndarray], share: float, seed: int) -> set[Slice]:
    """A share of the drawn slices, large and small ones alike; none with fewer than 20 drawn slices.

    Few slices chosen regardless of what they show may show next to nothing, and then the Dice on them means nothing. So
    the slices are sorted by how much they show, and one is taken from each of as many equal parts. A slice that is the
    only one left with a structure is not held out, because the structure would not be learned.

    Args:
        sizes: for each slice, voxels of each class other than background, (classes,) int.
        share: from 0 to 1.
    """
    slices = list(sizes)
    count = int(len(slices) * share)
    if len(slices) < _SLICES_AT_LEAST or count == 0:
        return set()
    random = np.random.default_rng([seed, 0x5EED])
    of_slices = np.stack([sizes[place] for place in slices])
    by_size = np.lexsort((random.permutation(len(slices)), of_slices.sum(axis=1)))
    shows = of_slices > 0
    learned_from = shows.sum(axis=0)
    held_out: set[Slice] = set()
    for part in np.array_split(by_size, count):
        for number in random.permutation(part).tolist():
            if (learned_from[shows[number]] > 1).all():
                held_out.add(slices[number])
                learned_from[shows[number]] -= 1
                break
    return held_out
