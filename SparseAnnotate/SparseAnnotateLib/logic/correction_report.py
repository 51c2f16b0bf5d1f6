"""What is reported of a correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.corrections import Stroke


@dataclass(frozen=True)
class CorrectionReport:
    """What a correction did.

    Attributes:
        corrections: how many strokes the volume has now. voxels: of the new ones.
        changed: voxels of the result that have another label now, apart from those of the strokes.
        notes: sentences.
        place: (K, J, I) of a voxel in the middle of the new strokes; None without any.
        confirmed: how many of `voxels` had the right label already.
        is_following: True while `changed` counts the slices at hand only, and the rest of the result follows.
    """

    corrections: int
    voxels: int = 0
    changed: int = 0
    notes: tuple[str, ...] = ()
    place: tuple[int, int, int] | None = None
    confirmed: int = 0
    is_following: bool = False


def middle_of(strokes: Sequence[Stroke], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(K, J, I) of a voxel in the middle of strokes; None without any."""
    if not strokes:
        return None
    voxels = strokes[0].voxels
    k, j, i = np.unravel_index(int(voxels[len(voxels) // 2]), shape)
    return int(k), int(j), int(i)
