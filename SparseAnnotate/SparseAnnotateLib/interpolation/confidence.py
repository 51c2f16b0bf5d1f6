"""How far a fill can be trusted, in percent: 100 on drawn slices, 1 to 99 elsewhere.

It falls with the distance to the nearest drawn slice, and where the drawn slices on the two sides, or two methods,
disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .drawn_stack import DrawnStack, Gap

_LOSS_PER_SLICE = 0.1


def enter_confidence(confidence: np.ndarray, stacks: Sequence[DrawnStack], region: tuple[slice, slice, slice]) -> None:
    """Set a region of a (K, J, I) uint8 array to 100 / (1 + 0.1 d), d slices from the nearest drawn one."""
    part = confidence[region]
    part[...] = 0
    for stack in stacks:
        percent = np.clip(np.rint(100.0 / (1.0 + _LOSS_PER_SLICE * stack.distance())), 1, 99).astype(np.uint8)
        percent[stack.indices] = 100
        along = [1, 1, 1]
        along[stack.axis] = -1
        np.maximum(part, percent[region[stack.axis]].reshape(along), out=part)


def lower_where_sides_disagree(confidence: np.ndarray, stack: DrawnStack, gap: Gap) -> None:
    """Lower the confidence by up to half where the drawn slices beside a gap differ, most in its middle.

    `confidence` is (count, rows, columns) uint8 percent, and is changed.
    """
    if gap.before is None or gap.after is None:
        return
    differs = stack.slices[gap.before] != stack.slices[gap.after]
    if not differs.any():
        return
    length = gap.after - gap.before
    for layer, index in zip(confidence, range(gap.first, gap.stop), strict=True):
        layer[differs] = scaled(layer[differs], 1.0 - min(index - gap.before, gap.after - index) / length)


def scaled(percent: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Percent (uint8) times shares between 0 and 1, at least 1."""
    return np.maximum(np.rint(percent * share), 1).astype(np.uint8)
