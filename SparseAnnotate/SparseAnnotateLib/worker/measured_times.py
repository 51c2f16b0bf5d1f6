"""How long drawing has taken in a cohort so far."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ..core import Cohort, Ledger, SparseAnnotateError
from ..selection import CostModel, DrawingEffort, drawing_effort

_LOG = logging.getLogger(__name__)


def readable_ledgers(cohort: Cohort) -> dict[str, Ledger]:
    """The ledgers by case; a damaged one is left out with a warning, so that it does not stop work on other cases."""
    found = {}
    for case in cohort.cases:
        try:
            found[case.name] = cohort.ledger(case.name)
        except SparseAnnotateError as error:
            _warn_left_out(case.name, error)
    return found


def learned_cost(cohort: Cohort, ledgers: Mapping[str, Ledger]) -> CostModel | None:
    """The cost of slices, from the seconds spent on those drawn so far; None when no slice was timed."""
    contours, parts, seconds = [], [], []
    for name, ledger in ledgers.items():
        timed = [entry for entry in ledger.decided if entry.seconds > 0]
        if not timed:
            continue
        try:
            # How long an outline took has nothing to do with the image.
            annotation = cohort.annotation(name, on_any_image=True)
        except SparseAnnotateError as error:
            _warn_left_out(name, error)
            continue
        for entry in timed:
            axis = entry.plane.array_axis(annotation.geometry)
            effort = drawing_effort(annotation.labels, annotation.geometry, axis, [entry.index])
            contours.append(effort.contour_mm[0])
            parts.append(effort.parts[0])
            seconds.append(entry.seconds)
    return CostModel.learned(DrawingEffort(np.array(contours), np.array(parts)), np.array(seconds))


def _warn_left_out(name: str, error: SparseAnnotateError) -> None:
    _LOG.warning(f"The drawing times of case '{name}' are left out. {error}")
