"""How a run scales CT: all cases alike, because Hounsfield units mean the same in every scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.errors import BadInputError
from ..core.messages import _

LOWEST, HIGHEST = -1024.0, 3071.0  # of 12 bits, as scanners store them
OUTSIDE = 0.1
"""How much of a difference remains outside of the window."""


@dataclass(frozen=True)
class CtScale:
    """Outside of a window a tenth of the difference remains; then `mean` becomes 0 and `deviation` becomes 1.

    Values are not clipped to the window: air and fat would be uniform, and what is labeled in uniform surroundings is
    left out of predictions; see `clean_up`.

    Attributes:
        low, high: the window, in Hounsfield units. mean, deviation: of the drawn structures within it.

    Example::

        scale = CtScale(-160.0, 240.0, mean=40.0, deviation=50.0)
        scale.of(np.array([40.0, 240.0, 1240.0]))  # 0, 4, 6
    """

    low: float
    high: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.mean, self.deviation)
        if not all(map(math.isfinite, numbers)) or self.low >= self.high or self.deviation <= 0:
            raise BadInputError(
                _("The CT window {low:g} to {high:g} (mean {mean:g}, deviation {deviation:g}) cannot be used.").format(
                    low=self.low, high=self.high, mean=self.mean, deviation=self.deviation
                )
            )

    @property
    def limits(self) -> tuple[float, float]:
        """What values are clipped to: padding and metal are beyond."""
        return min(self.low, LOWEST), max(self.high, HIGHEST)

    def of(self, image: np.ndarray) -> np.ndarray:
        """An image of any real dtype and shape, in Hounsfield units, as float32."""
        values = np.asarray(image, dtype=np.float32)
        found: np.ndarray = np.clip(values, np.float32(self.low), np.float32(self.high))
        found *= np.float32(1 - OUTSIDE)
        lowest, highest = self.limits
        found += np.float32(OUTSIDE) * np.clip(values, np.float32(lowest), np.float32(highest))
        found -= np.float32(self.mean)
        found /= np.float32(self.deviation)
        return found
