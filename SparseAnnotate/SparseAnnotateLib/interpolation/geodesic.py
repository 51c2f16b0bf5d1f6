"""Geodesic distances through an image: how much its intensities change on the way from drawn voxels.

Sources: Criminisi, Sharp & Blake 2008, 'GeoS: geodesic image segmentation'; Zhu, Kolesov, Gao, Kikinis & Tannenbaum
2014, 'An effective interactive medical image segmentation method using fast GrowCut', which is Slicer's effect 'Grow
from seeds'. Computed by sweeps along the axes (Toivanen 1996, 'New geodesic distance transforms for gray-scale
images'), once in each direction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .drawn_stack import PlaneBox, rows_and_columns

_LENGTH = 0.003  # of a step between voxels, so that also where the image is even the shortest way counts
_MOST_PIXELS = 128**2  # of a slice; larger ones are computed on coarser pixels
_SMALL = 1e-3
_FAR = 1e3
_SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def geodesic_odds(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(n, rows, columns) float32: log odds that a voxel belongs to a structure, by its distances from known voxels.

    That is log(distance from outside / distance from inside), the distance being the smallest sum of intensity
    differences on a way there. Ways go straight in the plane, and to the next slice by at most one pixel sideways.
    Slices of more than 16,384 pixels are averaged over squares of pixels before, unless the structure is so thin,
    on average, that it would be lost.

    Args:
        image: (n, rows, columns) float32, intensities between 0 and 1.
        inside, outside: (n, rows, columns) bool, the voxels known to belong to it, and not to.
    """
    sign = int(inside.any()) - int(outside.any())
    if sign or not inside.any():
        # Nothing is known of the other kind.
        return np.full(image.shape, sign * np.log(_FAR / _SMALL), dtype=np.float32)
    rows, columns = image.shape[1:]
    side = min(int(np.ceil((rows * columns / _MOST_PIXELS) ** 0.5)), int(_width(inside) / 2))
    if side <= 1:
        return _odds(np.ascontiguousarray(image), np.stack([inside, outside]))
    shares = np.stack([_coarser(known.astype(np.float32), side) for known in (inside, outside)])
    # Squares on an outline belong to the set that has most of them.
    odds = _odds(_coarser(image, side), (shares > 0) & (shares == shares.max(0)))
    return _finer(_finer(odds, 1, side, rows), 2, side, columns)


def _odds(image: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """(n, rows, columns) float32 of (2, n, rows, columns) bool, the voxels known to be inside and outside."""
    distances = np.where(seeds, np.float32(0), np.float32(_FAR))
    _sweep(image, distances)
    distances += np.float32(_SMALL)
    odds: np.ndarray = np.log(distances[1] / distances[0])
    return odds


def _width(mask: np.ndarray) -> float:
    """About how wide the pieces of a mask are in its slices: as a long band with its area and outline, in pixels."""
    inner = mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:]
    area = int(np.count_nonzero(mask))
    outline = area - int(np.count_nonzero(inner))
    return 2.0 * area / max(outline, 1)


def _coarser(array: np.ndarray, side: int) -> np.ndarray:
    """Means over squares of a slice's pixels; beyond the border its last pixels repeat."""
    _, rows, columns = array.shape
    padded = np.pad(array, ((0, 0), (0, -rows % side), (0, -columns % side)), mode="edge")
    total = np.zeros((len(array), padded.shape[1] // side, padded.shape[2] // side), dtype=np.float32)
    for down in range(side):
        for right in range(side):
            total += padded[:, down::side, right::side]
    means: np.ndarray = total / np.float32(side**2)
    return means


def _finer(coarse: np.ndarray, axis: int, side: int, count: int) -> np.ndarray:
    """The opposite of `_coarser` along one axis, linear between the centres of the squares."""
    last = coarse.shape[axis] - 1
    place = np.clip((np.arange(count) + 0.5) / side - 0.5, 0, last)
    before = np.minimum(place.astype(int), max(last - 1, 0))
    share = np.expand_dims((place - before).astype(np.float32), tuple(range(1, coarse.ndim - axis)))
    low = np.take(coarse, before, axis)
    high = np.take(coarse, np.minimum(before + 1, last), axis)
    finer: np.ndarray = low + share * (high - low)
    return finer


def _sweep(image: np.ndarray, distances: np.ndarray) -> None:
    """Lower all distances by going along each axis, forwards and backwards; in place."""
    _sweep_slices(image, distances)
    for axis in (1, 2):
        moved = np.ascontiguousarray(np.moveaxis(distances, axis + 1, 0))
        cost = np.abs(np.diff(np.moveaxis(image, axis, 0), axis=0)) + np.float32(_LENGTH)
        way = np.empty_like(moved[0])
        for position in range(1, len(moved)):
            np.add(moved[position - 1], cost[position - 1], out=way)
            np.minimum(moved[position], way, out=moved[position])
        for position in range(len(moved) - 1, 0, -1):
            np.add(moved[position], cost[position - 1], out=way)
            np.minimum(moved[position - 1], way, out=moved[position - 1])
        distances[...] = np.moveaxis(moved, 0, axis + 1)


def _sweep_slices(image: np.ndarray, distances: np.ndarray) -> None:
    """Along the first axis, also to the pixels beside the same one in the next slice."""
    length = np.float32(_LENGTH)
    ways = []
    for (rows, columns), (to_rows, to_columns) in _shifted(image.shape[1:]):
        cost = np.abs(image[1:, to_rows, to_columns] - image[:-1, rows, columns]) + length
        ways.append((cost, distances[:, :, rows, columns], distances[:, :, to_rows, to_columns]))
    for position in range(len(image) - 1):
        for cost, start, to in ways:
            np.minimum(to[:, position + 1], start[:, position] + cost[position], out=to[:, position + 1])
    for position in reversed(range(len(image) - 1)):
        for cost, start, to in ways:
            np.minimum(start[:, position], to[:, position + 1] + cost[position], out=start[:, position])


def _shifted(shape: tuple[int, ...]) -> Iterator[tuple[PlaneBox, PlaneBox]]:
    """For each shift the pixels that have one there, and these."""
    for shift in _SHIFTS:
        start = rows_and_columns(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift, shape, strict=True))
        to = rows_and_columns(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(shift, shape, strict=True))
        yield start, to
