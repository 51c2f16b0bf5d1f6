"""The signed distance of a label everywhere within a gap, from the drawn slices of one plane or of several."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..core import SparseAnnotation
from .alignment import MARGIN
from .crossings import without_crossings
from .drawn_stack import (
    FOREGROUND,
    DrawnStack,
    Gap,
    PlaneBox,
    common,
    drawn_stacks,
    joined,
    relative,
    rows_and_columns,
    widened,
)
from .shape_fields import PieceField, piece_fields, signed_distance

# Slices of another plane count as much as the main stack's own when their distance is this fraction of its distance.
_CORRECTED_FOR = 0.7


@dataclass(frozen=True, eq=False)
class LabelField:
    """Signed distance of a label within a gap: (count, rows, columns) float32 in mm over `box`, positive inside.

    -inf where none of the label's pieces is near.
    """

    box: PlaneBox
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class DrawnSlices:
    """All drawn slices of a volume: the main stack, whose gaps are filled one by one, and the others.

    The main stack is the one with most slices that show a label: slices without a structure say little about it.
    """

    main: DrawnStack
    others: tuple[DrawnStack, ...] = ()
    _cache: dict[tuple[int, int, int], tuple[PlaneBox, np.ndarray] | None] = field(default_factory=dict)

    @classmethod
    def of(cls, annotation: SparseAnnotation, axis: int | None = None) -> DrawnSlices:
        """The drawn slices of an annotation, with those across `axis` as the main stack where it is given.

        Raises BadInputError when there are none.
        """
        annotation.require_drawn("the volume")
        stacks = drawn_stacks(annotation)
        if len(stacks) > 1:
            stacks = [without_crossings(stack, stacks) for stack in stacks]
        main = max(stacks, key=lambda stack: (sum(bool(stack.boxes(i)) for i in stack.indices), len(stack.indices)))
        main = next((stack for stack in stacks if stack.axis == axis), main)
        return cls(main, tuple(s for s in stacks if s is not main))

    @property
    def stacks(self) -> tuple[DrawnStack, ...]:
        return (self.main, *self.others)

    def labels_in(self, gap: Gap) -> list[int]:
        """Labels that may be within a gap of the main stack, in the order of `in_order`."""
        return self._ordered([(self.main, gap.neighbours), *((stack, stack.indices) for stack in self.others)])

    def continues(self, gap: Gap, value: int) -> bool:
        """Whether a label is on all slices of the main stack beside a gap, or may be on slices of another plane."""
        return bool(self.others) or all(value in self.main.boxes(index) for index in gap.neighbours)

    def in_order(self) -> list[int]:
        """All labels, ordered by what is drawn and not by their numbers: where two are equal, the first wins.

        Fewest voxels first; of equally many, the more compact one; of these, the one found first.
        """
        return self._ordered([(stack, stack.indices) for stack in self.stacks])

    @staticmethod
    def _ordered(drawn: Sequence[tuple[DrawnStack, Sequence[int]]]) -> list[int]:
        layers = [(stack, index) for stack, indices in drawn for index in indices]
        found = {value for stack, index in layers for value in stack.boxes(index)} - {FOREGROUND}
        sizes = np.zeros(max(found, default=0) + 1, dtype=int)
        for stack, index in layers:
            here = stack.sizes(index)
            sizes[: len(here)] += here
        by_size: dict[int, list[int]] = {}
        for value in sorted(found):
            by_size.setdefault(int(sizes[value]), []).append(value)
        ordered = []
        for size in sorted(by_size):
            same = by_size[size]
            ordered += same if len(same) == 1 else sorted(same, key=lambda value: _outline(layers, value))
        return ordered

    def drawn_elsewhere(self, gap: Gap) -> np.ndarray | None:
        """(count, rows, columns) bool: voxels of a gap that are drawn in another plane; None with one plane only."""
        if not self.others:
            return None
        shape = [gap.count, *self.main.shape]
        mask = np.zeros(shape, dtype=bool)
        for stack in self.others:
            np.moveaxis(mask, 1 + self.main.place_of(stack.axis), 0)[stack.indices] = True
        return mask

    def field(self, gap: Gap, value: int) -> LabelField | None:
        """Signed distance of one label within a gap of the main stack; None when it cannot be there.

        The main stack's slices give the expected distance; the drawn slices of other planes correct it where they cross
        the gap, the more the nearer they are compared with the main stack's own.
        """
        own = piece_fields(self.main, gap, value)
        box = None
        for piece in own:
            box = joined(box, piece.box)
        for stack in self.others:
            for index in stack.indices:
                box = joined(box, self._reached(stack, index, value, gap))
        if box is None:
            return None
        values = np.full((gap.count, *(s.stop - s.start for s in box)), -np.inf, dtype=np.float32)
        _enter(values, box, own, gap.first)
        if self.others:
            away = (self.main.distance()[gap.first : gap.stop] * self.main.step).astype(np.float32)[:, None, None]
            # Where no piece is near, all that is known is that the nearest drawn slice does not show the label.
            np.copyto(values, -np.maximum(away, self.main.step / 2), where=np.isneginf(values))
            for stack in self.others:
                self._correct(values, box, stack, gap, value, away[:, :, 0])
        return LabelField(box, values)

    def _reached(self, stack: DrawnStack, index: int, value: int, gap: Gap) -> PlaneBox | None:
        """Box, in the main stack's plane, that a label on a drawn slice of another plane may reach within a gap."""
        box = stack.boxes(index).get(value)
        place = stack.place_of(self.main.axis)
        if box is None or box[place].start >= gap.stop or box[place].stop <= gap.first:
            return None
        reach = int(gap.count * self.main.step / stack.step) + 1
        extent = dict(zip((a for a in range(3) if a != stack.axis), widened(box, MARGIN, stack.shape), strict=True))
        extent[stack.axis] = slice(max(index - reach, 0), min(index + reach + 1, stack.depth))
        return rows_and_columns(extent[a] for a in range(3) if a != self.main.axis)

    def _correct(
        self, values: np.ndarray, box: PlaneBox, stack: DrawnStack, gap: Gap, value: int, away: np.ndarray
    ) -> None:
        """Move a label's field towards what the slices of another plane show, in place.

        Between two of these slices the corrections are blended, and they fade with the distance from them.

        Args:
            away: (count, 1) float32 distance (mm) to the main stack's nearest drawn slice.
        """
        place = self.main.place_of(stack.axis)
        along, third = box[place], box[1 - place]
        layers = np.moveaxis(values, 1 + place, 0)  # (along the stack, count, third axis)
        corrections = {
            index: self._shown(stack, index, value, gap, third, layers[index - along.start])
            for index in stack.indices
            if along.start <= index < along.stop
        }
        found = sorted(corrections)
        if not found:
            return
        near = np.float32(_CORRECTED_FOR) * away
        for position in range(along.start, along.stop):
            later = bisect_left(found, position)
            sides = [found[n] for n in (later - 1, later) if 0 <= n < len(found)]
            if later < len(found) and found[later] == position:
                sides = [position]
            for index in sides:
                others = [other for other in sides if other != index]
                share = abs(position - others[0]) / abs(index - others[0]) if others else 1.0
                distance = abs(position - index) * stack.step
                weight = share * near**2 / (near**2 + distance**2)
                layers[position - along.start] += weight.astype(np.float32) * corrections[index]

    def _shown(
        self, stack: DrawnStack, index: int, value: int, gap: Gap, third: slice, expected: np.ndarray
    ) -> np.ndarray:
        """(count, third axis) float32: signed distance on a slice of another plane, minus what was expected there."""
        truth = np.full(expected.shape, -np.inf, dtype=np.float32)
        known = self._distance_on(stack, index, value)
        if known is not None:
            box, distance = known
            if stack.place_of(self.main.axis) == 1:
                box, distance = (box[1], box[0]), distance.T
            window = (slice(gap.first, gap.stop), third)
            shared = common(box, window)
            if shared is not None:
                truth[relative(shared, window)] = distance[relative(shared, box)]
        # Where the label is absent, the outline is somewhere in between; how far away is not known.
        absent = np.minimum(expected, -0.5 * min(stack.in_plane))
        truth = np.where(np.isneginf(truth), absent, truth)
        # A distance within one plane is never less than the distance in space: where both are inside, it only lowers.
        wrong = np.where(expected > 0, np.minimum(truth, expected) - expected, truth - expected)
        return np.where((truth > 0) | (expected > 0), wrong, 0).astype(np.float32)

    def _distance_on(self, stack: DrawnStack, index: int, value: int) -> tuple[PlaneBox, np.ndarray] | None:
        """Signed distance (mm) of a label on a drawn slice, in its box; cached, because every gap needs it."""
        key = (stack.axis, index, value)
        if key not in self._cache:
            box = stack.boxes(index).get(value)
            if box is not None:
                box = widened(box, 2 * MARGIN, stack.shape)
                self._cache[key] = box, signed_distance(stack.mask(index, value, box), stack.in_plane)
            else:
                self._cache[key] = None
        return self._cache[key]


def _outline(layers: Sequence[tuple[DrawnStack, int]], value: int) -> tuple[int, tuple[int, int, int] | None]:
    """What two labels of the same size differ in: how far they spread on each slice, and their first voxel."""
    spread, first = 0, None
    for number, (stack, index) in enumerate(layers):
        box = stack.boxes(index).get(value)
        if box is None:
            continue
        places = np.nonzero(stack.mask(index, value, box))
        # Sums of whole numbers are exact, so a flipped drawing has exactly the same spread.
        spread += sum(int(p.size * (p * p).sum() - p.sum() ** 2) for p in places)
        if first is None:
            first = (number, int(places[0][0]) + box[0].start, int(places[1][0]) + box[1].start)
    return spread, first


def _enter(values: np.ndarray, box: PlaneBox, fields: list[PieceField], first: int) -> None:
    for piece in fields:
        local = relative(piece.box, box)
        for number in range(len(values)):
            part = values[(number, *local)]
            np.maximum(part, piece.at(first + number), out=part)
