"""Shape-based interpolation: signed distances of the drawn outlines, blended from slice to slice.

Source: Raya & Udupa 1990, 'Shape-based interpolation of multidimensional objects' (one label, one plane). Several
labels compete voxel by voxel; several planes are averaged, weighted by how near each plane's drawn slice is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core import SparseAnnotation, VolumeGeometry, Watch
from .interpolator import Fill, register_interpolator

_CONFIDENCE_LOSS_PER_SLICE = 0.1


@register_interpolator("shape", "Blends the drawn outlines from slice to slice by their signed distances.")
class ShapeInterpolator:
    """Fills by signed distance; needs no image and nothing but numpy and scipy."""

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        geometry: VolumeGeometry,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`; the image is not looked at."""
        del image
        annotation.require_drawn("the volume")
        watch = watch or Watch()
        drawn = annotation.drawn_labels()
        stacks = [
            _DrawnStack(drawn, axis, indices, geometry.spacing) for axis, indices in annotation.drawn_by_axis().items()
        ]
        values = annotation.label_values()
        labels = np.zeros_like(drawn)
        if values:
            box = _box_around(stacks)
            highest = np.full([s.stop - s.start for s in box], -np.inf, dtype=np.float32)
            inside = labels[box]
            for number, value in enumerate(values):
                watch.step(number / len(values), f"filling label {value}")
                _enter_label(value, stacks, box, highest, inside, watch)
            inside[(highest <= 0) & ~_surely_foreground(stacks, box)] = 0
        annotation.restore_drawn(labels)
        return Fill(labels, _confidence(stacks, geometry.shape))


class _DrawnStack:
    """The drawn slices along one array axis, and the way distances are blended between them."""

    def __init__(self, drawn: np.ndarray, axis: int, indices: list[int], spacing: tuple[float, float, float]):
        self.shape = drawn.shape
        self.axis = axis
        self.indices = indices
        self.depth = drawn.shape[axis]
        self.step = spacing[axis]
        self.in_plane = tuple(s for a, s in enumerate(spacing) if a != axis)
        self.slices = np.moveaxis(drawn, axis, 0)

    def distance(self) -> np.ndarray:
        """(depth,) distance of each slice position to the nearest drawn slice, in slices."""
        positions = np.arange(self.depth)[:, None]
        return np.abs(positions - np.asarray(self.indices)[None]).min(axis=1)

    def gaps(self) -> Iterator[tuple[int | None, int | None]]:
        """Consecutive drawn slices; None before the first and after the last."""
        yield from zip([None, *self.indices], [*self.indices, None], strict=True)

    def signed_distances(self, value: int, plane_box: tuple[slice, slice]) -> Iterator[tuple[slice, np.ndarray]]:
        """For each stretch of slices around and between drawn ones where the label may be: (positions, field).

        The field is (n, rows, columns) float32 in mm, positive inside, over `plane_box`.
        """
        cache: dict[int, np.ndarray | None] = {}

        def at(index: int) -> np.ndarray | None:
            if index not in cache:
                mask = self.slices[index][plane_box] == value
                cache[index] = _signed_distance(mask, self.in_plane) if mask.any() else None
            return cache[index]

        for before, after in self.gaps():
            if before is None:
                yield slice(0, after + 1), self._beyond(after, self._next_to(after, +1), at, np.arange(after, -1, -1))
            elif after is None:
                steps = np.arange(0, self.depth - before)
                yield slice(before, self.depth), self._beyond(before, self._next_to(before, -1), at, steps)
            elif after - before > 1:
                yield slice(before, after + 1), _blend(at(before), at(after), after - before)

    def _next_to(self, index: int, direction: int) -> int | None:
        place = self.indices.index(index) + direction
        return self.indices[place] if 0 <= place < len(self.indices) else None

    def _beyond(self, end: int, inner: int | None, at, steps: np.ndarray) -> np.ndarray | None:
        """Beyond the last drawn slice a structure goes on shrinking as it did before, never grows, and after half a gap
        (the gap to the second last drawn slice) fades until it is gone after a whole one: the next drawn slice would
        have been there. With no second drawn slice to learn from it shrinks by 1 mm per mm.
        """
        here = at(end)
        if here is None:
            return None
        if inner is None:
            return here[None] - self.step * _column(steps)
        there = at(inner)
        if there is None:
            there = np.full_like(here, -here.max())
        gap = abs(end - inner)
        pace = np.minimum(here - there, 0.0) / gap
        fade = np.maximum(steps - gap / 2, 0.0) / (gap / 2) * here.max()
        return here[None] + pace[None] * _column(steps) - _column(fade)


def _blend(before: np.ndarray | None, after: np.ndarray | None, gap: int) -> np.ndarray | None:
    """Linear blend over slices 0..gap; a label on one side only has faded to nothing half-way."""
    if before is None and after is None:
        return None
    if before is None:
        before = np.full_like(after, -after.max())
    if after is None:
        after = np.full_like(before, -before.max())
    share = (np.arange(gap + 1, dtype=np.float32) / gap)[:, None, None]
    return (1 - share) * before[None] + share * after[None]


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _signed_distance(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Signed distance (mm) of a 2D bool mask as float32: positive inside, zero half-way across its edge."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    half = 0.5 * min(spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    if mask.all():
        # Without any background in sight the distance to the image border stands in for it.
        inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
        return (inside - half).astype(np.float32)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.where(mask, inside - half, half - outside).astype(np.float32)


def _enter_label(value, stacks, box, highest, inside, watch) -> None:
    """Let one label compete: where its blended distance is the highest so far, it takes the voxel."""
    own = _box_around(stacks, value)
    shape = [s.stop - s.start for s in own]
    total = np.zeros(shape, dtype=np.float32)
    weight = np.zeros(shape, dtype=np.float32)
    for stack in stacks:
        watch.check()
        plane_box = tuple(s for a, s in enumerate(own) if a != stack.axis)
        rows = own[stack.axis]
        distance = stack.distance()[rows].astype(np.float32) * stack.step
        share = (1.0 / (distance + 0.5 * stack.step) ** 2)[:, None, None]
        # Where neither neighbour shows the label, all that is known is how far away they are.
        field = np.broadcast_to(-np.maximum(distance, 0.5 * stack.step)[:, None, None], _moved(total, stack).shape)
        field = field.astype(np.float32)
        for positions, phi in stack.signed_distances(value, plane_box):
            start, stop = max(positions.start, rows.start), min(positions.stop, rows.stop)
            if phi is not None and start < stop:
                field[start - rows.start : stop - rows.start] = phi[start - positions.start : stop - positions.start]
        _moved(total, stack)[...] += share * field
        _moved(weight, stack)[...] += share
    total /= weight
    local = tuple(slice(o.start - b.start, o.stop - b.start) for o, b in zip(own, box, strict=True))
    wins = total > highest[local]
    highest[local][wins] = total[wins]
    inside[local][wins] = value


def _moved(array: np.ndarray, stack: _DrawnStack) -> np.ndarray:
    return np.moveaxis(array, stack.axis, 0)


def _surely_foreground(stacks: list[_DrawnStack], box) -> np.ndarray:
    """Voxels between two drawn slices that both show some label there, in every plane: background is no choice.

    This is what keeps labels that touch on both sides from gaping in between.
    """
    sure = np.ones([s.stop - s.start for s in box], dtype=bool)
    for stack in stacks:
        plane_box = tuple(s for a, s in enumerate(box) if a != stack.axis)
        both = np.zeros_like(_moved(sure, stack))
        for before, after in stack.gaps():
            if before is None or after is None:
                continue
            foreground = (stack.slices[before][plane_box] > 0) & (stack.slices[after][plane_box] > 0)
            start = max(before, box[stack.axis].start) - box[stack.axis].start
            stop = min(after + 1, box[stack.axis].stop) - box[stack.axis].start
            both[max(start, 0) : max(stop, 0)] |= foreground[None]
        _moved(sure, stack)[...] &= both
    return sure


def _box_around(stacks: list[_DrawnStack], value: int | None = None) -> tuple[slice, ...]:
    """Where drawn labels may reach: their bounding box, widened along each stack's axis to the next drawn slices."""
    low, high = [None] * 3, [None] * 3
    for stack in stacks:
        for index in stack.indices:
            layer = stack.slices[index]
            mask = layer > 0 if value is None else layer == value
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not rows.size:
                continue
            place = stack.indices.index(index)
            reach = {
                stack.axis: (
                    stack.indices[place - 1] if place else 0,
                    stack.indices[place + 1] if place + 1 < len(stack.indices) else stack.depth - 1,
                )
            }
            others = [a for a in range(3) if a != stack.axis]
            reach[others[0]] = (int(rows[0]) - 1, int(rows[-1]) + 1)
            reach[others[1]] = (int(columns[0]) - 1, int(columns[-1]) + 1)
            for axis, (first, last) in reach.items():
                low[axis] = first if low[axis] is None else min(low[axis], first)
                high[axis] = last if high[axis] is None else max(high[axis], last)
    return tuple(slice(max(lo, 0), min(hi, n - 1) + 1) for lo, hi, n in zip(low, high, stacks[0].shape, strict=True))


def _confidence(stacks: list[_DrawnStack], shape: tuple[int, int, int]) -> np.ndarray:
    """1 / (1 + 0.1 d), d slices from the nearest drawn one, lower by up to half where the two neighbours disagree."""
    confidence = np.zeros(shape, dtype=np.float16)
    for stack in stacks:
        distance = stack.distance()
        own = _moved(confidence, stack)
        near = (1.0 / (1.0 + _CONFIDENCE_LOSS_PER_SLICE * distance)).astype(np.float16)
        np.maximum(own, near[:, None, None], out=own)
    if len(stacks) == 1:
        stack = stacks[0]
        own = _moved(confidence, stack)
        for before, after in stack.gaps():
            if before is None or after is None or after - before < 2:
                continue
            differs = stack.slices[before] != stack.slices[after]
            share = np.minimum(np.arange(1, after - before), np.arange(after - before - 1, 0, -1)) / (after - before)
            own[before + 1 : after][:, differs] *= (1.0 - share[:, None]).astype(np.float16)
    return confidence
