"""The slices of one volume in one plane, among which some are chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..core import BadInputError, Plane, SliceRef


@dataclass(frozen=True)
class Stack:
    """The slices of one volume in one plane that may be recommended, and what is known of each.

    Attributes:
        volume: name of the volume.
        plane: the plane the slices lie in.
        slice_count: all slices of the volume in that plane.
        first, last: the extent that is worth drawing, both included (for example the body, without air).
        position: place of the volume in its cohort, from 0.
        features: (slice_count, D) float32, what each slice looks like; see `slice_features`.
        uncertainty: (slice_count,) float, how unsure models are of each slice, from 0.
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
                f"The extent {self.first} to {self.last} does not lie within the {self.plane.value} slices "
                f"0 to {self.slice_count - 1} of '{self.volume}'."
            )
        for name in ("features", "uncertainty", "seconds"):
            values = getattr(self, name)
            if values is not None and len(values) != self.slice_count:
                raise BadInputError(
                    f"The {name} of '{self.volume}' are of {len(values)} slices, but it has {self.slice_count} "
                    f"{self.plane.value} ones."
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
