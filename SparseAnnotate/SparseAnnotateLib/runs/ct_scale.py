"""How a run scales CT: all cases alike, because Hounsfield units mean the same in every scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.errors import BadInputError
from ..core.messages import _


@dataclass(frozen=True)
class CtScale:
    """Values are clipped to a window, then `mean` becomes 0 and `deviation` becomes 1.

    Attributes:
        low, high: the window, in Hounsfield units. mean, deviation: of the drawn structures within it.
    """

    low: float
    high: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.mean, self.deviation)
        if not all(map(math.isfinite, numbers)) or self.low >= self.high or self.deviation <= 0:
            raise BadInputError(
                _("The CT window {low:g} to {high:g} with mean {mean:g} and deviation {deviation:g} is none.").format(
                    low=self.low, high=self.high, mean=self.mean, deviation=self.deviation
                )
            )

    def of(self, image: np.ndarray) -> np.ndarray:
        """An image of any real dtype and shape, in Hounsfield units, as float32."""
        clipped = np.clip(np.asarray(image, dtype=np.float32), np.float32(self.low), np.float32(self.high))
        clipped -= np.float32(self.mean)
        clipped /= np.float32(self.deviation)
        return clipped
