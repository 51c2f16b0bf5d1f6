"""Drawn slices of different planes that contradict each other where they cross.

A voxel has one label. Where two drawn slices cross, the one drawn last has overwritten the other along one line, and
the other slice shows a notch one voxel wide: on both sides of the line it has the same label, on the line another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..core import Plane, SparseAnnotation
from .drawn_stack import DrawnStack, drawn_stacks

_FEWEST_VOXELS = 3


@dataclass(frozen=True)
class Contradiction:
    """Two drawn slices that disagree where they cross.

    Attributes:
        overwritten: the slice whose drawing is interrupted along the crossing, as (plane, index).
        kept: the slice that was drawn last there, as (plane, index).
        voxels: how many voxels of the crossing disagree.
    """

    overwritten: tuple[Plane, int]
    kept: tuple[Plane, int]
    voxels: int

    @property
    def sentence(self) -> str:
        """What is wrong, where, and what to do."""
        (first, one), (second, two) = self.overwritten, self.kept
        return (
            f"{first.capitalize()} slice {one} and {second} slice {two} contradict each other in {self.voxels} voxels "
            f"where they cross. What was drawn last, on {second} slice {two}, stays; correct one of the two slices."
        )


def contradictions(annotation: SparseAnnotation) -> list[Contradiction]:
    """Every pair of crossing drawn slices that disagree in at least 3 voxels, the worst first."""
    plane_of = {plane.array_axis(annotation.geometry): plane for plane in Plane}
    found = []
    for one, two in combinations(drawn_stacks(annotation), 2):
        for stack, other in ((one, two), (two, one)):
            for index in stack.indices:
                layer = stack.slices[index]
                for crossing, notch in _notches(layer, stack, other):
                    count = int(np.count_nonzero(notch))
                    if count >= _FEWEST_VOXELS:
                        slices = (plane_of[stack.axis], index), (plane_of[other.axis], crossing)
                        found.append(Contradiction(*slices, count))
    return sorted(found, key=lambda c: -c.voxels)


def without_crossings(stack: DrawnStack, stacks: list[DrawnStack]) -> DrawnStack:
    """The stack with the notches that crossing slices have cut into its drawn slices closed: outlines to blend."""
    slices = {}
    for index in stack.indices:
        layer = stack.slices[index]
        for other in stacks:
            if other.axis == stack.axis:
                continue
            for crossing, notch in _notches(layer, stack, other):
                if np.count_nonzero(notch) >= _FEWEST_VOXELS:
                    layer = layer.copy() if layer is stack.slices[index] or layer.base is not None else layer
                    lines = np.moveaxis(layer, _place(other, stack), 0)
                    lines[crossing][notch] = lines[crossing - 1][notch]
        slices[index] = layer
    return stack.with_slices(slices)


def _notches(layer: np.ndarray, stack: DrawnStack, other: DrawnStack):
    """Crossings of a drawn slice with those of another stack: (index, bool line of voxels that were overwritten)."""
    lines = np.moveaxis(layer, _place(other, stack), 0)
    drawn = set(other.indices)
    for crossing in other.indices:
        # Beside another crossing, or at the border, there is nothing of the slice's own to compare with.
        if crossing == 0 or crossing == len(lines) - 1 or {crossing - 1, crossing + 1} & drawn:
            continue
        before, after = lines[crossing - 1], lines[crossing + 1]
        yield crossing, (before == after) & (lines[crossing] != before)


def _place(other: DrawnStack, stack: DrawnStack) -> int:
    return [a for a in range(3) if a != stack.axis].index(other.axis)
