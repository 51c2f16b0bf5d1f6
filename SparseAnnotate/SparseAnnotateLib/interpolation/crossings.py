"""Drawn slices of different planes that contradict each other where they cross.

A voxel has one label. Where two drawn slices cross, the one drawn last has overwritten the other along one line, and
the other slice shows a notch one voxel wide: the same label on both sides of the line, and another one on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.messages import _, counted
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
        (plane, index), (kept_plane, kept_index) = self.overwritten, self.kept
        return _(
            "The drawings on {plane} slice {index} and {kept_plane} slice {kept_index} seem to contradict each other "
            "in {voxels} where they cross. The later drawing, on {kept_plane} slice {kept_index}, is kept. "
            "Correct one of the two, unless the structure really is that thin."
        ).format(
            plane=plane.value,
            index=index,
            kept_plane=kept_plane.value,
            kept_index=kept_index,
            voxels=counted(self.voxels, _("{count} voxel"), _("{count} voxels")),
        )


def contradictions(annotation: SparseAnnotation) -> list[Contradiction]:
    """Every pair of crossing drawn slices that disagree in at least 3 voxels, those with most voxels first."""
    plane_of = {plane.array_axis(annotation.geometry): plane for plane in Plane}
    found = []
    for one, two in combinations(drawn_stacks(annotation), 2):
        for stack, other in ((one, two), (two, one)):
            for index in stack.indices:
                layer = stack.slices[index]
                for crossing, _beside, notch in _notches(layer, stack, other):
                    count = int(np.count_nonzero(notch))
                    if count >= _FEWEST_VOXELS:
                        slices = (plane_of[stack.axis], index), (plane_of[other.axis], crossing)
                        found.append(Contradiction(*slices, count))
    return sorted(found, key=lambda c: -c.voxels)


def without_crossings(stack: DrawnStack, stacks: list[DrawnStack]) -> DrawnStack:
    """The stack without the notches that crossing slices have cut into its labels, for blending its outlines.

    A label that lies only on the line is kept: it may be a structure one voxel thick.
    """
    slices = {}
    for index in stack.indices:
        layer = stack.slices[index]
        changed = layer.copy()
        for other in stacks:
            if other.axis == stack.axis:
                continue
            lines = np.moveaxis(changed, stack.place_of(other.axis), 0)
            for crossing, beside, notch in _notches(layer, stack, other):
                notch = notch & (lines[beside] > 0)
                if np.count_nonzero(notch) >= _FEWEST_VOXELS:
                    lines[crossing][notch] = lines[beside][notch]
        slices[index] = changed
    return stack.with_slices(slices)


def _notches(layer: np.ndarray, stack: DrawnStack, other: DrawnStack) -> Iterator[tuple[int, int, np.ndarray]]:
    """Crossings of a drawn slice with those of another stack: index, a line beside it, and the voxels that differ.

    Adjacent crossings are compared with the lines on either side of all of them; at the border there is no such line.
    """
    lines = np.moveaxis(layer, stack.place_of(other.axis), 0)
    drawn = set(other.indices)
    for crossing in other.indices:
        before, after = crossing - 1, crossing + 1
        while before in drawn:
            before -= 1
        while after in drawn:
            after += 1
        if before >= 0 and after < len(lines):
            same = lines[before] == lines[after]
            yield crossing, before, same & (lines[crossing] != lines[before])
