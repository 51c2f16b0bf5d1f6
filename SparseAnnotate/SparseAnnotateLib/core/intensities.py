"""Intensities for computing: an image's voxels as float32, without padding values far outside of their range.

Programs pad images with -32768, 1e300, or the largest float. One such voxel would take up the whole range: the others
would become a single grey value, or overflow. Images without such values keep their intensities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAMPLES = 1 << 18
# A value farther from the densest half of all distinct values than this many times its range is not an intensity.
_ABSURD = 1e4
_FEW, _FEW_SHARE = 4, 0.05
# Nor is the lowest of many values, unless it is 0, when the gap above it is this many times the range of all others.
# For the limits of integer types, at either end, a smaller gap is enough, as they are rarely measured by chance.
_EMPTY, _EMPTY_BEFORE_LIMIT, _MANY = 20.0, 2.0, 16
_LIMITS = {-(2.0**15), 2.0**15 - 1, 2.0**16 - 1, -(2.0**31), 2.0**31 - 1, 2.0**32 - 1}
# Padding stays a little darker or brighter than all other voxels, so that its border remains visible.
_MARGIN = 0.25
# Within these limits float32 is exact enough, also for squares and sums.
_SMALLEST, _LARGEST, _FARTHEST_OFFSET = 1e-12, 1e12, 1e3


@dataclass(frozen=True)
class Intensities:
    """How the voxels of one image are converted to float32.

    Attributes:
        shown: lowest and highest of the values that are not padding.
        low, high: the range that values are clipped to: that of the image itself, or somewhat wider than `shown`.
        is_clipped: whether there are values outside.
        is_scaled: whether low to high become 0 to 1; otherwise values are not scaled.
    """

    shown: tuple[float, float]
    low: float
    high: float
    is_clipped: bool
    is_scaled: bool

    @classmethod
    def of(cls, image: np.ndarray) -> Intensities:
        """For an image of any real dtype and shape, with at least one voxel, all finite."""
        lowest, highest = float(image.min()), float(image.max())
        # Below the largest float64, so that differences of two values are finite.
        values = np.unique(np.append(_sample(image), (lowest, highest)).astype(np.float64) / 4)
        low, high = (4 * end for end in _shown_range(values))
        shown = (low, high)
        is_clipped = low > lowest or high < highest
        if is_clipped:
            margin = _MARGIN * (high / 4 - low / 4) * 4
            low, high = max(low - margin, lowest), min(high + margin, highest)
        size, width = max(abs(low), abs(high)), high / 2 - low / 2
        fits = size == 0 or (_SMALLEST <= size <= _LARGEST and (width == 0 or size <= 2 * _FARTHEST_OFFSET * width))
        return cls(shown, low, high, is_clipped, not fits)

    def of_part(self, part: np.ndarray) -> np.ndarray:
        """A part of the image as float32: a copy of the same shape, clipped and scaled."""
        if self.is_scaled:
            # Halved, because the range itself may be more than float64 holds.
            half = np.clip(part.astype(np.float64), self.low, self.high) / 2 - self.low / 2
            return (half / ((self.high / 2 - self.low / 2) or 1.0)).astype(np.float32)
        if self.is_clipped:
            part = np.clip(part.astype(np.float64), self.low, self.high)
        return part.astype(np.float32)

    def is_padding(self, part: np.ndarray) -> np.ndarray:
        """Which voxels of a part of the image are padding: bool of the same shape."""
        return (part < self.shown[0]) | (part > self.shown[1]) if self.is_clipped else np.zeros(part.shape, dtype=bool)

    def sampled(self, image: np.ndarray) -> np.ndarray:
        """About 260,000 voxels spread evenly over the image, (n,) float64 as in the file, without padding.

        With it when all of them are padding.
        """
        sample = _sample(image).astype(np.float64)
        values = sample[~self.is_padding(sample)]
        return values if values.size else sample

    def shown_in(self, part: np.ndarray) -> np.ndarray:
        """A part of the image for statistics: (n,) float32 without padding; with it when all voxels are padding."""
        values = part[~self.is_padding(part)] if self.is_clipped else part.ravel()
        return self.of_part(values if values.size else part.ravel())


def _sample(image: np.ndarray) -> np.ndarray:
    step = max(1, round((image.size / _SAMPLES) ** (1 / max(image.ndim, 1))))
    return image[(slice(None, None, step),) * image.ndim].ravel()


def _shown_range(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest of sorted, distinct values (n,) float64, without those that cannot be intensities."""
    half = max(2, -(-len(values) // 2))
    if len(values) <= half:
        return float(values[0]), float(values[-1])
    widths = values[half - 1 :] - values[: len(values) - half + 1]
    start = int(widths.argmin())
    reach = min(_ABSURD * widths[start], np.finfo(np.float64).max / 4)
    centre_low, centre_high = values[start], values[start + half - 1]
    near = (values >= centre_low - reach) & (values <= centre_high + reach)
    # Padding has few distinct values, though it may be most voxels. A background that fades to nothing may itself be
    # the densest half; then many values lie far outside of it, which are the body.
    if np.count_nonzero(~near) <= max(_FEW, _FEW_SHARE * len(values)):
        values = values[near]
    # Both ends together first, then each one alone: one would hide the other.
    for drop_low, drop_high in ((True, True), (True, False), (False, True)):
        rest = values[int(drop_low) : len(values) - int(drop_high)]
        if len(rest) < 2:
            continue
        width = rest[-1] - rest[0]
        below, above = rest[0] - values[0], values[-1] - rest[-1]
        many = len(rest) >= _MANY
        # A single bright object may be far above all other values, but no object is far below the background.
        if (not drop_low or _is_apart(values[0], below, width, many)) and (
            not drop_high or _is_apart(values[-1], above, width, many=False)
        ):
            values = rest
            break
    return float(values[0]), float(values[-1])


def _is_apart(value: float, empty: float, width: float, many: bool) -> bool:
    if 4 * value in _LIMITS:
        return empty / _EMPTY_BEFORE_LIMIT > width
    return many and value != 0 and empty / _EMPTY > width
