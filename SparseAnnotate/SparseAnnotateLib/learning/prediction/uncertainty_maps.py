"""Uncertainty of a prediction: kept beside it in a cohort's cache, and on the grid of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core import SparseAnnotation
from ...core.array_files import is_whole_array, mapped_array, save_array


@dataclass(frozen=True, eq=False)
class UncertaintyMaps:
    """Uncertainty in percent; (S, A, R) as predicted and kept, (K, J, I) as written.

    Attributes: see `CasePrediction`.
    """

    entropy: np.ndarray | None
    disagreement: np.ndarray | None

    def on_own_grid(self, annotation: SparseAnnotation, values: Sequence[int]) -> UncertaintyMaps:
        """The same in the image's axis order; certain where all of these labels were decided by hand."""
        entropy, disagreement = (_on_own_grid(m, annotation, values) for m in (self.entropy, self.disagreement))
        return UncertaintyMaps(entropy, disagreement)

    def save(self, path: Path) -> None:
        """Keep them beside a file of likeliest labels. Raises FileWriteError."""
        for name, percent in (("entropy", self.entropy), ("disagreement", self.disagreement)):
            if percent is not None:
                save_array(path.with_suffix(f".{name}.npy"), percent)

    @classmethod
    def load(cls, path: Path) -> UncertaintyMaps | None:
        """Those beside a file; None when there is no entropy."""
        kept = [path.with_suffix(f".{name}.npy") for name in ("entropy", "disagreement")]
        entropy, disagreement = (mapped_array(one) if is_whole_array(one) else None for one in kept)
        return cls(entropy, disagreement) if entropy is not None else None


def _on_own_grid(percent: np.ndarray | None, annotation: SparseAnnotation, classes: Sequence[int]) -> np.ndarray | None:
    """A map in the image's axis order; where all of these labels were decided by hand it is certain."""
    if percent is None:
        return None
    percent = np.array(annotation.geometry.from_standard_order(percent), order="C")
    percent[annotation.decided_mask(classes)] = 0
    return percent
