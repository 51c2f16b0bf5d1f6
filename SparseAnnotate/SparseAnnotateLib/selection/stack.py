"""The slices of one volume in one plane, from which some are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..core import BadInputError, Plane, SliceRef
from ..core.messages import _

STACK_VALUES = {
    "features": _("features"),
    "uncertainty": _("uncertainties"),
    "seconds": _("drawing times"),
}
"""The arrays that a stack may carry, as users read them."""


@dataclass(frozen=True)
class Stack:
    """The slices of one volume in one plane that may be recommended, and what is known about each.

    Attributes:
        volume: name of the volume.
        plane: the plane the slices lie in.
        slice_count: all slices of the volume in that plane.
        first, last: the extent that is worth drawing, both included (for example the body without air).
        position: place of the volume in its cohort, from 0.
        features: (slice_count, D) float32, see `slice_features`.
        uncertainty: (slice_count,) float, how uncertain models are about each slice, 0 or more.
        seconds: (slice_count,) float, how long drawing each slice will take.
    """

    volume: str
    plane: Plane
    slice_count: int
    first: int
    last: int
    position: int = 0
    features: np.ndarray | None = field(default=None, compare=False, repr=False)
    uncertainty: np.ndarray | None = field(default=None, compare=False, repr=False)
    seconds: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last < self.slice_count:
            raise BadInputError(
                _(
                    "The extent {first} to {last} does not lie within the {plane} slices 0 to {end} of '{volume}'."
                ).format(
                    first=self.first,
                    last=self.last,
                    plane=self.plane.value,
                    end=self.slice_count - 1,
                    volume=self.volume,
                )
            )
        for name in STACK_VALUES:
            values = getattr(self, name)
            if values is not None and len(values) != self.slice_count:
                raise BadInputError(
                    _(
                        "The {values} of '{volume}' are given for {count} slices, but it has {slice_count} {plane} "
                        "slices."
                    ).format(
                        values=STACK_VALUES[name],
                        volume=self.volume,
                        count=len(values),
                        slice_count=self.slice_count,
                        plane=self.plane.value,
                    )
                )

    @property
    def extent(self) -> int:
        """Number of slices within the extent."""
        return self.last - self.first + 1


def indices_by_stack(slices: Iterable[SliceRef]) -> dict[tuple[str, Plane], list[int]]:
    """Sorted indices of the slices for each (volume, plane); sorted, because a set's order changes from run to run."""
    found: dict[tuple[str, Plane], list[int]] = {}
    for item in sorted(slices):
        found.setdefault((item.volume, item.plane), []).append(item.index)
    return found
