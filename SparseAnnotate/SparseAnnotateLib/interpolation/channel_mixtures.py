"""Images of several channels, as one image for each structure: the channel that separates it best.

Only where no channel alone separates a structure from its surroundings, but several together do, they are mixed, by
Fisher's linear discriminant (Fisher 1936, 'The use of multiple measurements in taxonomic problems'). On MS lesions a
mixture of FLAIR and T1 separates the drawn lesions twice as well as FLAIR alone, and yet the fill is worse by .001 to
.03 Dice (Testing/Benchmarks/README.md, *channels*): edges of the second image that have nothing to do with the
structure count, too.

All of this is learned on the drawn slices. By chance, a channel that shows nothing would get a small weight in a
mixture, too: channels whose weight is not the same from slice to slice are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from ..core.pieces import result_of
from .drawn_stack import DrawnStack, PlaneBox

_AROUND = 5.0  # in-plane pixels around a structure that it is compared with
_SHRINKAGE = 0.05  # of the covariance towards a multiple of the identity matrix
_CLEAR = 0.5  # separation from which on a channel shows a structure by itself
_BETTER = 2.0  # times as large the separation by a mixture must be
_STEADY = 2.0  # times its standard error that a channel's weight must be
_MOST_SAMPLES = 20_000  # of each slice, inside and around
_MOST_OF_ALL = 1_000_000  # voxels of the drawn slices from which the range of a mixture is found


@dataclass(frozen=True, eq=False)
class ChannelMixture:
    """One image from several channels, between 0 and 1.

    Attributes:
        weights: (C,) float32, of each channel; the largest magnitude is 1. Negative where the structure is darker than
            what is around it.
        low, width: the value of the weighted sum that becomes 0, and the difference that becomes 1.
    """

    weights: np.ndarray
    low: float
    width: float

    def of(self, channel: Callable[[int], np.ndarray]) -> np.ndarray:
        """Arrays of one shape, each between 0 and 1, as one: float32.

        Args:
            channel: gives the array of a channel by its number; called only for those that count.
        """
        first, *others = np.flatnonzero(self.weights).tolist()
        total = np.float32(self.weights[first]) * channel(first)
        for number in others:
            total += np.float32(self.weights[number]) * channel(number)
        found: np.ndarray = np.clip((total - np.float32(self.low)) / np.float32(self.width), 0, 1)
        return found


def channel_mixture(layers: np.ndarray, stack: DrawnStack, value: int) -> ChannelMixture:
    """The mixture for a label, from the drawn slices that show it.

    Args:
        layers: (C, n, rows, columns) float32 between 0 and 1, the drawn slices of the stack in order.

    It is the first channel where the label is on no slice.
    """
    return result_of(finding_mixture(layers, stack, value))


def finding_mixture(layers: np.ndarray, stack: DrawnStack, value: int) -> Generator[None, None, ChannelMixture]:
    """`channel_mixture` in pieces."""
    pairs = []
    for place, index in enumerate(stack.indices):
        if value in stack.boxes(index):
            pair = _samples(layers[:, place], stack, index, value)
            pairs += [pair] if pair is not None else []
            yield
    weights = _weights(pairs, len(layers))
    if np.count_nonzero(weights) == 1:
        return ChannelMixture(weights, 0.0, 1.0)
    yield
    step = max(1, int(np.ceil((layers[0].size / _MOST_OF_ALL) ** 0.5)))
    sums = np.tensordot(weights, layers[:, :, ::step, ::step], 1)
    low, high = np.percentile(sums, (0.5, 99.5))
    if low == high:
        sums = np.tensordot(weights, layers, 1)
        low, high = sums.min(), sums.max()
    return ChannelMixture(weights, float(low), float(high) - float(low) or 1.0)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over intensities (n, C), from which means and covariances of any slices together follow.

    Attributes:
        count: n. total: (C,). products: (C, C), the sum of the outer products.
    """

    count: int
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> _Moments:
        values = values.astype(np.float64)
        return cls(len(values), values.sum(0), values.T @ values)

    def __add__(self, other: _Moments) -> _Moments:
        return _Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> np.ndarray:
        found: np.ndarray = self.total / self.count
        return found

    @property
    def covariance(self) -> np.ndarray:
        """(C, C)"""
        found: np.ndarray = self.products / self.count - np.outer(self.mean, self.mean)
        return found


_Pair = tuple[_Moments, _Moments]
"""Of intensities inside a label, and around it."""


def _samples(layer: np.ndarray, stack: DrawnStack, index: int, value: int) -> _Pair | None:
    """Intensities inside a label, and around it, on a drawn slice (C, rows, columns); None without either."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    box = _widened(stack.boxes(index)[value], stack)
    mask = stack.mask(index, value, box)
    sampling = [s / min(stack.in_plane) for s in stack.in_plane]
    around = ~mask & (ndimage.distance_transform_edt(~mask, sampling=sampling) < _AROUND)
    if not around.any():
        return None
    part = layer[(slice(None), *box)]
    inside, outside = (_Moments.of(_some(part[:, where].T)) for where in (mask, around))
    return inside, outside


def _some(values: np.ndarray) -> np.ndarray:
    return values[:: max(1, len(values) // _MOST_SAMPLES)]


def _widened(box: PlaneBox, stack: DrawnStack) -> PlaneBox:
    rows, columns = (
        slice(max(side.start - more, 0), min(side.stop + more, size))
        for side, size, more in zip(
            box, stack.shape, (int(np.ceil(_AROUND * min(stack.in_plane) / s)) for s in stack.in_plane), strict=True
        )
    )
    return rows, columns


def _weights(slices: Sequence[_Pair], count: int) -> np.ndarray:
    """(C,) float32: one channel, or a mixture where that is much better; the first channel without slices."""
    if not slices:
        return _alone(0, count)
    together = _together(slices)
    separations = [_separation(together, _alone(number, count)) for number in range(count)]
    best = int(np.argmax(separations))
    if separations[best] >= _CLEAR:
        return _alone(best, count)
    chosen = list(range(count))
    if len(slices) > 2:
        others = [[*slices[:n], *slices[n + 1 :]] for n in range(len(slices))]
        without = np.array([_discriminant(_together(one), chosen) for one in others])
        error = np.sqrt((len(slices) - 1) * without.var(0))  # jackknife
        chosen = np.flatnonzero(np.abs(without.mean(0)) > _STEADY * error).tolist()
    if len(chosen) < 2:
        return _alone(best, count)
    mixture = np.zeros(count)
    mixture[chosen] = _discriminant(together, chosen)
    if _separation(together, mixture) < max(_CLEAR, _BETTER * separations[best]):
        return _alone(best, count)
    weights: np.ndarray = (mixture / np.abs(mixture).max()).astype(np.float32)
    return weights


def _alone(number: int, count: int) -> np.ndarray:
    weights = np.zeros(count, dtype=np.float32)
    weights[number] = 1.0
    return weights


def _together(slices: Sequence[_Pair]) -> _Pair:
    inside, outside = (reduce(add, [pair[side] for pair in slices]) for side in (0, 1))
    return inside, outside


def _separation(pair: _Pair, weights: np.ndarray) -> float:
    """Fisher's criterion: the squared difference of the means over the sum of the variances."""
    inside, outside = pair
    variance = weights @ (inside.covariance + outside.covariance) @ weights
    return float(((inside.mean - outside.mean) @ weights) ** 2 / max(float(variance), 1e-12))


def _discriminant(pair: _Pair, channels: Sequence[int]) -> np.ndarray:
    """Fisher's linear discriminant of some channels inside and around a structure: float64 (their number,)."""
    inside, outside = pair
    scatter = (inside.covariance + outside.covariance)[np.ix_(channels, channels)]
    scale = float(np.trace(scatter)) / len(scatter)
    scatter = (1 - _SHRINKAGE) * scatter + (_SHRINKAGE * scale + 1e-9) * np.eye(len(scatter))
    found: np.ndarray = np.linalg.solve(scatter, (inside.mean - outside.mean)[list(channels)])
    return found
