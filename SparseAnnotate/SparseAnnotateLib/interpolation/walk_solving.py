"""The sparse linear system of random walks on a voxel grid (Grady 2005, 2006)."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from ..core import Watch
from ..core.pieces import result_of

_MANY = 1 << 21  # unknowns, for which each product takes more than some ten milliseconds


def solved(
    free: np.ndarray,
    edges: Sequence[np.ndarray],
    seeds: np.ndarray,
    total: np.ndarray,
    pull: np.ndarray,
    watch: Watch,
    start: np.ndarray | None = None,
    tolerance: float = 1e-3,
    iterations: int = 300,
) -> np.ndarray:
    """(unknowns,) float32: the values of the free voxels, in the order of the array.

    Args:
        free: 3D bool, the unknown voxels; all others are seeds.
        edges: for each axis the weights float32 between neighbours, one shorter along that axis.
        seeds: float32, the values of the seeds, 0 where free.
        total, pull: float32, the weight of the prior, and that times its value; both are changed.
        start: float32, values to start from; None: 0.
        tolerance, iterations: of the conjugate gradients.

    Raises CancelledError.
    """
    return result_of(solving(free, edges, seeds, total, pull, watch, start, tolerance, iterations))


def solving(
    free: np.ndarray,
    edges: Sequence[np.ndarray],
    seeds: np.ndarray,
    total: np.ndarray,
    pull: np.ndarray,
    watch: Watch,
    start: np.ndarray | None = None,
    tolerance: float = 1e-3,
    iterations: int = 300,
) -> Generator[None, None, np.ndarray]:
    """The same as `solved` in pieces: one for each step of the conjugate gradients, and some before."""
    for axis, edge in enumerate(edges):
        low, high = neighbours(axis)
        total[low] += edge
        total[high] += edge
        yield
        pull[low] += edge * seeds[high]
        pull[high] += edge * seeds[low]
        yield
    # With few unknowns among the voxels, a matrix of the unknowns alone is smaller; else it takes longer to build.
    is_mostly_free = 2 * np.count_nonzero(free) > free.size and min(free.shape) > 1
    unknown = np.ones_like(free) if is_mostly_free else free
    yield
    diagonal = np.where(free, total, 1)[unknown]
    yield
    right = np.where(free, pull, 0)[unknown]
    yield
    matrix = yield from (_all_voxels if is_mostly_free else _unknowns)(free, edges, diagonal)
    solution = np.zeros_like(right) if start is None else np.where(free, start, 0)[unknown].astype(right.dtype)
    yield
    yield from _conjugate_gradients(matrix, right, solution, diagonal, watch, tolerance, iterations)
    of_free: np.ndarray = solution[free[unknown]]
    return of_free


def _conjugate_gradients(
    matrix: Any,
    right: np.ndarray,
    solution: np.ndarray,
    diagonal: np.ndarray,
    watch: Watch,
    tolerance: float,
    iterations: int,
) -> Iterator[None]:
    """Improve a solution in place, until the remaining error is a small part of the right side.

    A piece a step; where there are many unknowns, several.

    As `scipy.sparse.linalg.cg` with the inverse of the diagonal as preconditioner, which cannot be interrupted.
    """
    enough = tolerance * float(np.linalg.norm(right))
    if enough == 0:
        solution[:] = 0
        return
    is_large = len(right) > _MANY
    remaining = right - matrix @ solution if solution.any() else right.copy()
    yield
    inverse = 1 / diagonal
    direction = np.zeros_like(remaining)
    before = 1.0
    for _step in range(iterations):
        if np.linalg.norm(remaining) < enough:
            return
        scaled = inverse * remaining
        now = np.dot(remaining, scaled)
        direction *= now / before
        direction += scaled
        if is_large:
            yield
        along = matrix @ direction
        if is_large:
            yield
        length = now / np.dot(direction, along)
        solution += length * direction
        remaining -= length * along
        before = now
        watch.check()
        yield


def _unknowns(free: np.ndarray, edges: Sequence[np.ndarray], diagonal: np.ndarray) -> Generator[None, None, Any]:
    """In pieces: the sparse matrix of the free voxels: `diagonal`, and minus the weights between neighbours."""
    from scipy.sparse import csr_matrix

    count = len(diagonal)
    padded = [n + 2 for n in free.shape]
    is_free, numbers, weights = np.zeros(padded, bool), np.zeros(padded, np.int32), np.zeros(padded, diagonal.dtype)
    is_free[1:-1, 1:-1, 1:-1] = free
    places = np.flatnonzero(is_free)
    flat_numbers, flat_weights = numbers.ravel(), weights.ravel()
    flat_numbers[places] = np.arange(count, dtype=np.int32)
    # Seven entries in each row, sorted as they are: the neighbours before a voxel, itself, and those after it. Where
    # one is no unknown its entry is 0: leaving such entries out, or sorting all, would take twice as long.
    columns, values = np.empty((count, 7), np.int32), np.empty((count, 7), diagonal.dtype)
    yield
    columns[:, 3], values[:, 3] = flat_numbers[places], diagonal
    yield
    for axis, edge in enumerate(edges):
        low, high = neighbours(axis)
        weights.fill(0)
        part = weights[tuple(slice(1, n + 1) for n in edge.shape)]
        # NumPy 2.4 negates wrongly in place where the last axis has two voxels.
        part[...] = np.where(free[low] & free[high], -edge, 0)
        step = int(np.prod(padded[axis + 1 :]))
        for entry, place, neighbour in ((axis, places - step, places - step), (6 - axis, places, places + step)):
            columns[:, entry], values[:, entry] = flat_numbers[neighbour], flat_weights[place]
            yield
    starts = np.arange(0, 7 * count + 1, 7, dtype=np.int32)
    return csr_matrix((values.ravel(), columns.ravel(), starts), shape=(count, count))


def _all_voxels(free: np.ndarray, edges: Sequence[np.ndarray], diagonal: np.ndarray) -> Generator[None, None, Any]:
    """The same for all voxels of the array, those that are not free being alone."""
    from scipy.sparse import dia_array

    data, offsets = np.empty((1 + 2 * len(edges), free.size), diagonal.dtype), [0]
    data[0] = diagonal
    yield
    for axis, edge in enumerate(edges):
        low, high = neighbours(axis)
        weights = np.zeros(free.shape, dtype=diagonal.dtype)
        weights[low] = np.where(free[low] & free[high], -edge, 0)
        yield
        step = int(np.prod(free.shape[axis + 1 :]))
        # A diagonal is stored by its columns.
        rolled, own = data[2 * axis + 1], weights.ravel()
        rolled[:step], rolled[step:] = own[len(own) - step :], own[: len(own) - step]
        data[2 * axis + 2] = own
        offsets += [step, -step]
        yield
    return dia_array((data, offsets), shape=(free.size, free.size))


def neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All voxels of a 3D array that have a next one along an axis, and these next ones."""
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high
