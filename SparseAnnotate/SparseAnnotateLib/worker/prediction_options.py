"""What changes the result of a run: options that the requests to predict share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core import BadInputError
from ..core.messages import _

if TYPE_CHECKING:
    from ..learning.prediction.clean_up import CleanUp

MOST_SMOOTHING = 100.0
"""In mm; more is a typing error."""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """What changes the result of a run.

    Attributes:
        flips: also average over mirrored volumes. models: only these models of the run ('2d', '3d', 'final').
        uncertainty: also write volumes of entropy and disagreement.
        largest_component, smoothing (mm), stray_pieces: see `learning.prediction.clean_up.CleanUp`.

    Raises BadInputError when the smoothing is not from 0 to MOST_SMOOTHING.
    """

    flips: bool = False
    models: tuple[str, ...] = ()
    uncertainty: bool = False
    largest_component: bool = False
    smoothing: float = 0.0
    stray_pieces: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing <= MOST_SMOOTHING:
            raise BadInputError(
                _("The smoothing width must be from 0 to {most:g} mm, not {width:g}.").format(
                    most=MOST_SMOOTHING, width=self.smoothing
                )
            )


def clean_up_of(options: PredictionOptions) -> CleanUp:
    """How predictions are cleaned with these options."""
    from ..learning.prediction.clean_up import CleanUp

    return CleanUp(options.largest_component, options.smoothing, options.stray_pieces)
