"""Probabilities of a whole volume in a few bytes a voxel, whatever the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.array_files import is_whole_array, mapped_array, save_array

CERTAIN = 255


@dataclass(frozen=True, eq=False)
class LikeliestLabels:
    """The two most likely labels of each voxel, and their probabilities; those of all others count as 0.

    Attributes:
        labels: (2, K, J, I) uint8 or uint16, the most likely one first; 0 is the background.
        chances: (2, K, J, I) of the same dtype, 255 for certainty.
    """

    labels: np.ndarray
    chances: np.ndarray

    def chance_of(self, value: int, region: Sequence[slice | int]) -> np.ndarray:
        """float32 probability of a label in a region of the volume."""
        found = np.zeros(self.labels[(0, *region)].shape, dtype=np.float32)
        for labels, chances in zip(self.labels, self.chances, strict=True):
            np.copyto(found, chances[tuple(region)], where=labels[tuple(region)] == value, casting="unsafe")
        found /= CERTAIN
        return found

    def moved(self, axis: int) -> LikeliestLabels:
        """The same with another axis of the volume first."""
        return LikeliestLabels(np.moveaxis(self.labels, 1 + axis, 1), np.moveaxis(self.chances, 1 + axis, 1))

    def save(self, path: Path) -> None:
        """Write both into one .npy file. Raises FileWriteError."""
        save_array(path, np.stack([self.labels, self.chances]))

    @classmethod
    def load(cls, path: Path) -> LikeliestLabels | None:
        """From a file of `save`, mapped from disk; None when it is missing or damaged."""
        if not is_whole_array(path):
            return None
        labels, chances = mapped_array(path)
        return cls(labels, chances)
