"""The 0-1 knapsack: the most valuable slices within the available time (Kuo et al. 2018)."""

from __future__ import annotations

import numpy as np

from ..core import BadInputError
from ..core.messages import _

_GAP = 1e-4


def knapsack(
    values: np.ndarray,
    costs: np.ndarray,
    capacity: float,
    volume: np.ndarray | None = None,
    least: np.ndarray | None = None,
    most: np.ndarray | None = None,
) -> np.ndarray:
    """Choose items with the largest total value whose costs sum to at most `capacity`; (N,) bool.

    Solved by SciPy's HiGHS, to one part in ten thousand of the optimum.

    Args:
        values: (N,) not negative. costs: (N,) positive.
        volume: (N,) int, the volume of each item; least, most: (V,) how many of each volume.

    Raises:
        BadInputError: when the minimum of each volume does not fit into the capacity.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    values, costs = np.asarray(values, dtype=float), np.asarray(costs, dtype=float)
    if not len(values):
        return np.zeros(0, dtype=bool)
    constraints = [LinearConstraint(costs[None], ub=capacity)]
    if volume is not None and least is not None and most is not None:
        rows = csr_array((np.ones(len(values)), (volume, np.arange(len(values)))), shape=(len(least), len(values)))
        constraints.append(LinearConstraint(rows, lb=least, ub=most))
    found = milp(
        -values,
        constraints=constraints,
        integrality=np.ones(len(values)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": _GAP},
    )
    if found.x is None:
        raise BadInputError(
            _(
                "The minimum number of slices of each volume does not fit into the minutes available. Give more "
                "minutes, a smaller minimum, or fewer volumes."
            )
        )
    taken: np.ndarray = np.round(found.x)
    return taken.astype(bool)
