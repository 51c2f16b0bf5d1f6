"""The corrected voxels of a training case, by class: found once, because there may be millions of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .training_cases import TrainingCase


@dataclass(frozen=True, eq=False)
class CorrectedVoxels:
    """Corrected voxels that are learned from, as (n,) places in the flattened arrays of a case, sorted.

    Attributes:
        every: all of them.
        by_class: those of each class index that occurs; those with anything unknown are not background.
    """

    every: np.ndarray
    by_class: dict[int, np.ndarray]

    @classmethod
    def of(cls, case: TrainingCase) -> CorrectedVoxels:
        """Those of a case; none on its held-out slices, where a slice may say nothing of what was corrected."""
        if case.corrected is None:
            return cls(np.empty(0, np.int64), {})
        voxels = np.flatnonzero(case.corrected)
        held_out = np.zeros(len(voxels), dtype=bool)
        for axis, along in enumerate(np.unravel_index(voxels, case.shape)) if case.held_out else ():
            held_out |= np.isin(along, [index for a, index in case.held_out if a == axis])
        voxels = voxels[~held_out]
        classes = case.labels.reshape(-1)[voxels].astype(np.int64)
        if case.unknown is not None:
            classes[(classes == 0) & (case.unknown.reshape(-1)[voxels] > 0)] = -1
        in_order = voxels[np.argsort(classes, kind="stable")]
        found, counts = np.unique(classes, return_counts=True)
        parts = np.split(in_order, np.cumsum(counts))
        return cls(voxels, {c: part for c, part in zip(found.tolist(), parts, strict=False) if c >= 0})
