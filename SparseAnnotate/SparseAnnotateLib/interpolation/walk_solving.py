"""The sparse linear system of random walks on a voxel grid (Grady 2005, 2006)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import Watch


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
    from scipy.sparse import csr_matrix, diags_array  # here, because Slicer reads this file at every start
    from scipy.sparse.linalg import cg

    numbers = np.full(free.shape, -1, dtype=np.int32)
    count = np.count_nonzero(free)
    numbers[free] = np.arange(count, dtype=np.int32)
    rows, columns, values = [numbers[free]], [numbers[free]], []
    for axis, edge in enumerate(edges):
        low, high = neighbours(axis)
        total[low] += edge
        total[high] += edge
        pull[low] += edge * seeds[high]
        pull[high] += edge * seeds[low]
        both = free[low] & free[high]
        one, two = numbers[low][both], numbers[high][both]
        rows += [one, two]
        columns += [two, one]
        values += [-edge[both]] * 2
    diagonal = total[free]
    matrix = csr_matrix(
        (np.concatenate([diagonal, *values]), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    )
    solution: np.ndarray
    solution, _status = cg(
        matrix,
        pull[free],
        x0=None if start is None else start[free],
        rtol=tolerance,
        maxiter=iterations,
        M=diags_array(1 / diagonal),
        callback=lambda _solution: watch.check(),
    )
    return solution


def neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """All voxels of a 3D array that have a next one along an axis, and these next ones."""
    low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
    high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
    return low, high
