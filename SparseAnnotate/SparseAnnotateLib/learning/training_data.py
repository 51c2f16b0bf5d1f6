"""Where `training_cases` was in version 0.1.0, with its arguments by position: scripts that import it keep working."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core import Cohort, Watch
from .data import training_cases as current
from .data.training_cases import TrainingCase

__all__ = ["TrainingCase", "training_cases"]


def training_cases(
    cohort: Cohort,
    names: Sequence[str],
    classes: dict[int, int],
    normalisation: str,
    validation_share: float,
    seed: int,
    folder: Path,
    watch: Watch,
    fill_weight: float = 0.0,
    with_distances: bool = False,
) -> list[TrainingCase]:
    """See `data.training_cases.training_cases`."""
    return current.training_cases(
        cohort,
        names,
        classes,
        normalisation=normalisation,
        validation_share=validation_share,
        seed=seed,
        folder=folder,
        watch=watch,
        fill_weight=fill_weight,
        with_distances=with_distances,
    )
