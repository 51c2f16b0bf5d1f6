"""The signed distance of a label everywhere within a gap, from the drawn slices of one plane or of several."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..core import SparseAnnotation
from .crossings import without_crossings
from .drawn_stack import FOREGROUND, DrawnStack, Gap, PlaneBox, drawn_stacks, joined
from .shape_fields import PieceField, piece_fields


@dataclass(frozen=True, eq=False)
class LabelField:
    """Signed distance of a label within a gap: (count, rows, columns) float32 in mm over `box`, positive inside.

    -inf where none of the label's pieces is near.
    """

    box: PlaneBox
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class DrawnSlices:
    """All drawn slices of a volume: the stack with most of them, whose gaps are filled one by one, and the others."""

    main: DrawnStack
    others: tuple[DrawnStack, ...] = ()
    _cache: dict = field(default_factory=dict)

    @classmethod
    def of(cls, annotation: SparseAnnotation) -> DrawnSlices:
        """The drawn slices of an annotation. Raises BadInputError when there are none."""
        annotation.require_drawn("the volume")
        stacks = drawn_stacks(annotation)
        if len(stacks) > 1:
            stacks = [without_crossings(stack, stacks) for stack in stacks]
        main = max(stacks, key=lambda stack: len(stack.indices))
        return cls(main, tuple(s for s in stacks if s is not main))

    @property
    def stacks(self) -> tuple[DrawnStack, ...]:
        return (self.main, *self.others)

    def labels_in(self, gap: Gap) -> list[int]:
        """Sorted labels that may be within a gap of the main stack."""
        found = {value for index in gap.neighbours for value in self.main.boxes(index)}
        for stack in self.others:
            found.update(value for index in stack.indices for value in stack.boxes(index))
        return sorted(found - {FOREGROUND})

    def drawn_elsewhere(self, gap: Gap) -> np.ndarray | None:
        """(count, rows, columns) bool: voxels of a gap that are drawn in another plane; None with one plane only."""
        if not self.others:
            return None
        shape = [gap.count, *self.main.shape]
        mask = np.zeros(shape, dtype=bool)
        for stack in self.others:
            np.moveaxis(mask, 1 + _place(stack.axis, self.main.axis), 0)[stack.indices] = True
        return mask

    def field(self, gap: Gap, value: int) -> LabelField | None:
        """Signed distance of one label within a gap of the main stack; None where it cannot be.

        Fields of several planes are averaged, weighted by 1 / distance^2 to the plane's nearest drawn slice.
        """
        own = piece_fields(self.main, gap, value)
        if self.others:
            return self._of_several_planes(gap, own, value)
        box = None
        for piece in own:
            box = joined(box, piece.box)
        if box is None:
            return None
        values = _nothing(gap, box)
        _enter(values, box, own, gap.first)
        return LabelField(box, values)

    def _of_several_planes(self, gap: Gap, own: list[PieceField], value: int) -> LabelField | None:
        region = slice(gap.first, gap.stop)
        box = None
        for piece in own:
            box = joined(box, piece.box)
        others = [(stack, self._crossing(stack, value, region)) for stack in self.others]
        for stack, fields in others:
            for piece in fields:
                box = joined(box, self._seen_from_main(stack, piece))
        if box is None:
            return None
        total, weight = _nothing(gap, box, 0.0), _nothing(gap, box, 0.0)
        values = _nothing(gap, box)
        _enter(values, box, own, gap.first)
        self._add(self.main, values, total, weight, region, box)
        for stack, fields in others:
            values = _nothing(gap, box)
            self._enter_crossing(stack, fields, values, region, box)
            self._add(stack, values, total, weight, region, box)
        return LabelField(box, total / weight)

    def _crossing(self, stack: DrawnStack, value: int, region: slice) -> list[PieceField]:
        """Fields of another stack that reach into the region; kept, because every gap of the main stack asks again."""
        key = (stack.axis, value)
        if key not in self._cache:
            self._cache[key] = [piece for gap in stack.gaps() for piece in piece_fields(stack, gap, value)]
        place = _place(self.main.axis, stack.axis)
        return [p for p in self._cache[key] if p.box[place].start < region.stop and p.box[place].stop > region.start]

    def _seen_from_main(self, stack: DrawnStack, piece: PieceField) -> PlaneBox:
        """Box, in the main stack's plane, of a piece in another stack."""
        extent = {stack.axis: slice(piece.gap.first, piece.gap.stop)}
        extent.update(zip((a for a in range(3) if a != stack.axis), piece.box, strict=True))
        return tuple(extent[a] for a in range(3) if a != self.main.axis)

    def _enter_crossing(self, stack: DrawnStack, fields, values: np.ndarray, region: slice, box: PlaneBox) -> None:
        # Seen with the stack's axis first: (positions along it, main axis and third axis in the array's order).
        place = _place(self.main.axis, stack.axis)
        third = next(a for a in range(3) if a not in (stack.axis, self.main.axis))
        own = np.moveaxis(values, 1 + _place(stack.axis, self.main.axis), 0)
        if place == 1:
            own = own.swapaxes(1, 2)
        along, across = box[_place(stack.axis, self.main.axis)], box[_place(third, self.main.axis)]
        window = (region, across) if place == 0 else (across, region)
        for piece in fields:
            inner = [slice(max(b.start, w.start), min(b.stop, w.stop)) for b, w in zip(piece.box, window, strict=True)]
            if any(s.stop <= s.start for s in inner):
                continue
            source = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(inner, piece.box, strict=True))
            target = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(inner, window, strict=True))
            for index in range(max(piece.gap.first, along.start), min(piece.gap.stop, along.stop)):
                part = own[(index - along.start, *target)]
                np.maximum(part, piece.at(index)[source], out=part)

    def _add(self, stack: DrawnStack, values: np.ndarray, total, weight, region: slice, box: PlaneBox) -> None:
        distance = stack.distance().astype(np.float32) * stack.step
        if stack is self.main:
            distance = distance[region][:, None, None]
        elif _place(stack.axis, self.main.axis) == 0:
            distance = distance[box[0]][None, :, None]
        else:
            distance = distance[box[1]][None, None, :]
        share = 1.0 / (distance + np.float32(0.5 * stack.step)) ** 2
        # Where no piece is near, all that is known is that the nearest drawn slice does not show the label.
        known = np.where(np.isfinite(values), values, -np.maximum(distance, 0.5 * stack.step))
        total += share * known
        weight += share


def _nothing(gap: Gap, box: PlaneBox, value: float = -np.inf) -> np.ndarray:
    return np.full((gap.count, *(s.stop - s.start for s in box)), value, dtype=np.float32)


def _enter(values: np.ndarray, box: PlaneBox, fields: list[PieceField], first: int) -> None:
    for piece in fields:
        local = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(piece.box, box, strict=True))
        for number in range(len(values)):
            part = values[(number, *local)]
            np.maximum(part, piece.at(first + number), out=part)


def _place(axis: int, stack_axis: int) -> int:
    """Which of a stack's two in-plane axes an array axis is."""
    return [a for a in range(3) if a != stack_axis].index(axis)
