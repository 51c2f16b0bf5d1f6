"""Series with several images at each place: time points, echoes or b-values, of which a case can have one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .dicom_headers import ONE_OF_EACH, VARIANTS, DicomSlice
from .dicom_stack import slices_by_place
from .messages import _

_CONSISTENT = {str(name) for name in ONE_OF_EACH}


def time_points(slices: Sequence[DicomSlice]) -> tuple[str, list[tuple[DicomSlice, ...]]]:
    """By what images at the same place differ, and the slices of each time point in order; '' and none if unclear.

    They must be equally many at every place, and differ in a number: of temporal position, echo time and b-value each
    place must have the same ones; times may differ from place to place, and only their order counts.

    Args:
        slices: of one orientation, sorted by position.
    """
    places = slices_by_place(slices)
    counts = {len(place) for place in places}
    if len(places) < 2 or len(counts) > 1 or counts == {1}:
        return "", []
    for name in VARIANTS:
        ordered = [_ordered(place, name) for place in places]
        if not all(ordered):
            continue
        values = np.array([[value for value, _one in place] for place in ordered])
        if name in _CONSISTENT and not np.allclose(values, values[0], rtol=1e-3, atol=0):
            continue
        return name, [tuple(place[number][1] for place in ordered) for number in range(counts.pop())]
    return "", []


def choice_sentence(name: str, count: int) -> str:
    """How to choose one of `count` time points that differ in `name`."""
    return _("Choose one with '--time-point', from 1 to {count} by {name}; each of them can be a case.").format(
        count=count, name=name
    )


def _ordered(place: Sequence[DicomSlice], name: str) -> list[tuple[float, DicomSlice]]:
    """The images at one place by a value, each with it; none unless all have different numbers."""
    try:
        found = [(float(one.variants.get(name, "")), one) for one in place]
    except ValueError:
        return []
    found.sort(key=lambda item: item[0])
    values = np.array([value for value, _one in found])
    return found if np.isfinite(values).all() and (np.diff(values) > 0).all() else []
