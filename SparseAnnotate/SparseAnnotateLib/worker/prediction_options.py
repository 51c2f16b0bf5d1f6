"""What changes the result of a run: options that the requests to predict share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..learning.prediction.clean_up import CleanUp


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """What changes the result of a run.

    Attributes:
        flips: also average over mirrored volumes. models: only these models of the run ('2d', '3d', 'final').
        uncertainty: also write volumes of entropy and disagreement.
        largest_component, smoothing (mm), stray_pieces: see `learning.prediction.clean_up.CleanUp`.
    """

    flips: bool = False
    models: tuple[str, ...] = ()
    uncertainty: bool = False
    largest_component: bool = False
    smoothing: float = 0.0
    stray_pieces: bool = True


def clean_up_of(options: PredictionOptions) -> CleanUp:
    """How predictions are cleaned with these options. Raises BadInputError."""
    from ..learning.prediction.clean_up import CleanUp

    return CleanUp(options.largest_component, options.smoothing, options.stray_pieces)
