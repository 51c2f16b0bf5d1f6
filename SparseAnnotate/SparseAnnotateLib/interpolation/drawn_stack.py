"""The drawn slices along one array axis, and the gaps between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np

from ..core import Plane, SparseAnnotation

T = TypeVar("T")
PlaneBox = tuple[slice, slice]

FOREGROUND = 0
"""Used like a label value: all labels together."""


@dataclass(frozen=True)
class Gap:
    """Undrawn slices between two neighbouring drawn ones; `before` or `after` is None at the ends of the stack.

    Attributes:
        before, after: indices of the drawn slices beside the gap.
        inner: at an end, the drawn slice on the far side of the only neighbour: it shows how the structure changes.
    """

    before: int | None
    after: int | None
    depth: int
    inner: int | None = None

    @property
    def first(self) -> int:
        """Index of the first undrawn slice."""
        return 0 if self.before is None else self.before + 1

    @property
    def stop(self) -> int:
        """One past the last undrawn slice."""
        return self.depth if self.after is None else self.after

    @property
    def count(self) -> int:
        """Number of undrawn slices."""
        return self.stop - self.first

    @property
    def neighbours(self) -> tuple[int, ...]:
        """The drawn slices beside the gap: one or two."""
        return tuple(index for index in (self.before, self.after) if index is not None)

    @property
    def is_end(self) -> bool:
        return self.before is None or self.after is None


class DrawnStack:
    """Drawn slices along one array axis.

    Args:
        labels: (K, J, I); read on the drawn slices only. axis: the array axis slices are stacked along.
        indices: sorted indices of the drawn slices. spacing: voxel size (mm) along the array's axes.
    """

    def __init__(self, labels: np.ndarray, axis: int, indices: list[int], spacing: tuple[float, float, float]):
        self.axis = axis
        self.indices = list(indices)
        self.depth = labels.shape[axis]
        self.step = spacing[axis]
        self.in_plane = rows_and_columns(s for a, s in enumerate(spacing) if a != axis)
        moved = np.moveaxis(labels, axis, 0)
        self.shape = moved.shape[1:]
        self.slices: dict[int, np.ndarray] = {index: moved[index] for index in self.indices}
        self._boxes: dict[int, dict[int, PlaneBox]] = {}
        self._sizes: dict[int, np.ndarray] = {}

    def with_slices(self, slices: dict[int, np.ndarray]) -> DrawnStack:
        """The stack with other drawn slices, (rows, columns) labels by index."""
        other = copy(self)
        same = [index for index, layer in slices.items() if layer is self.slices.get(index)]
        other.indices, other.slices = sorted(slices), slices
        other._boxes = {index: self._boxes[index] for index in same if index in self._boxes}
        other._sizes = {index: self._sizes[index] for index in same if index in self._sizes}
        return other

    def cropped(self, first: int, stop: int, indices: Iterable[int]) -> DrawnStack:
        """Some drawn slices, all from `first` to before `stop`, as a stack of only this part of the volume."""
        other = self.with_slices({index - first: self.slices[index] for index in indices})
        other.depth = stop - first
        return other

    def boxes(self, index: int) -> dict[int, PlaneBox]:
        """Bounding box, in the plane, of every label on a drawn slice, and of all together under FOREGROUND."""
        if index not in self._boxes:
            from scipy import ndimage  # here, because Slicer reads this file at every start

            found = ndimage.find_objects(self.slices[index])
            boxes = {value: box for value, box in enumerate(found, start=1) if box is not None}
            whole: PlaneBox | None = None
            for box in boxes.values():
                whole = joined(whole, box)
            if whole is not None:
                boxes[FOREGROUND] = whole
            self._boxes[index] = boxes
        return self._boxes[index]

    def sizes(self, index: int) -> np.ndarray:
        """(largest label + 1,) int: how many voxels of a drawn slice each label has."""
        if index not in self._sizes:
            box = self.boxes(index).get(FOREGROUND)
            self._sizes[index] = np.bincount(self.slices[index][box].ravel() if box else np.empty(0, int))
        return self._sizes[index]

    def mask(self, index: int, value: int, box: PlaneBox) -> np.ndarray:
        """(rows, columns) bool mask of a label (or of FOREGROUND) on a drawn slice, cut to a box."""
        layer = self.slices[index][box]
        return layer > 0 if value == FOREGROUND else layer == value

    def gaps(self) -> Iterator[Gap]:
        """All gaps that hold at least one undrawn slice, in order."""
        places = [None, *self.indices, None]
        for number in range(len(places) - 1):
            before, after = places[number], places[number + 1]
            inner = None
            if before is None and len(self.indices) > 1:
                inner = self.indices[1]
            elif after is None and len(self.indices) > 1:
                inner = self.indices[-2]
            gap = Gap(before, after, self.depth, inner)
            if gap.count > 0:
                yield gap

    def distance(self) -> np.ndarray:
        """(depth,) int: slices from each position to the nearest drawn one."""
        positions = np.arange(self.depth)[:, None]
        nearest: np.ndarray = np.abs(positions - np.asarray(self.indices)[None]).min(axis=1)
        return nearest

    def place_of(self, axis: int) -> int:
        """Which of the two axes of a slice (0: rows, 1: columns) another array axis is."""
        return [a for a in range(3) if a != self.axis].index(axis)

    def moved(self, array: np.ndarray) -> np.ndarray:
        """View of a (K, J, I) array with the stack's axis first."""
        return np.moveaxis(array, self.axis, 0)


def drawn_stacks(annotation: SparseAnnotation) -> list[DrawnStack]:
    """One stack for every array axis along which slices are drawn: axial, coronal and sagittal, however it is stored.

    The order decides between stacks that are equal otherwise, which must not depend on the order of the array axes.
    """
    spacing = annotation.geometry.spacing
    drawn = annotation.drawn_by_axis()
    axes = [axis for plane in Plane if (axis := plane.array_axis(annotation.geometry)) in drawn]
    return [DrawnStack(annotation.labels, axis, drawn[axis], spacing) for axis in axes]


def rows_and_columns(values: Iterable[T]) -> tuple[T, T]:
    """One value for each axis of a slice, as a pair. Raises ValueError when there are more or fewer."""
    rows, columns = values
    return rows, columns


@overload
def joined(first: PlaneBox, second: PlaneBox | None) -> PlaneBox: ...
@overload
def joined(first: PlaneBox | None, second: PlaneBox) -> PlaneBox: ...
@overload
def joined(first: PlaneBox | None, second: PlaneBox | None) -> PlaneBox | None: ...
def joined(first: PlaneBox | None, second: PlaneBox | None) -> PlaneBox | None:
    """Smallest box around two boxes; None counts as nothing."""
    if first is None or second is None:
        return first or second
    return rows_and_columns(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def widened(box: PlaneBox, margin: int, shape: tuple[int, ...]) -> PlaneBox:
    """The box with a margin on every side, cut to the shape."""
    return rows_and_columns(
        slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in zip(box, shape, strict=True)
    )


def relative(box: PlaneBox, within: PlaneBox) -> PlaneBox:
    """Where a box lies in an array that covers another box."""
    return rows_and_columns(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, within, strict=True))


def common(first: PlaneBox, second: PlaneBox) -> PlaneBox | None:
    """What two boxes share; None when they share nothing."""
    shared = rows_and_columns(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )
    return shared if all(s.start < s.stop for s in shared) else None
