"""In which plane to draw: the one along which neighbouring slices are most alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core import Plane

_ABOUT_THE_SAME = 0.02


def self_similarity(pictures: Mapping[Plane, np.ndarray], density: float) -> dict[Plane, float]:
    """For each plane, how well a slice midway between two drawn ones is the mean of them, when `density` is drawn.

    1 - mean squared difference / variance of the pictures: 1 where slices do not change at all; NaN where the volume
    has too few slices, or no contrast. The planes are compared at the same share of slices drawn.

    Args:
        pictures: for each plane (number of slices, size, size), from `slice_images`.
        density: share of the slices that is drawn.
    """
    half = max(1, round(0.5 / density))
    found = {}
    for plane, stack in pictures.items():
        rows = stack.reshape(len(stack), -1).astype(np.float32)
        variance = float(rows.var())
        if len(rows) <= 2 * half or variance == 0.0:
            found[plane] = float("nan")
            continue
        difference = rows[half:-half] - (rows[: -2 * half] + rows[2 * half :]) / 2.0
        found[plane] = 1.0 - float((difference**2).mean()) / variance
    return found


def advised_plane(similarity: Mapping[Plane, float]) -> tuple[Plane | None, bool]:
    """The plane of the largest self-similarity, and whether it is clearly the largest; None when none is known."""
    known = {plane: value for plane, value in similarity.items() if np.isfinite(value)}
    if not known:
        return None, False
    ordered = sorted(known.values(), reverse=True)
    clearly = len(ordered) < 2 or ordered[0] - ordered[1] > _ABOUT_THE_SAME
    return max(known, key=lambda plane: known[plane]), clearly
