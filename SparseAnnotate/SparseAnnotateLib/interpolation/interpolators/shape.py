"""Shape-based interpolation: the label with the highest signed distance takes the voxel, if it is positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...core import SparseAnnotation, Watch
from ...core.messages import _
from ..confidence import lower_where_sides_disagree
from ..drawn_stack import FOREGROUND, Gap, PlaneBox, common, joined, relative
from ..gap_filling import GapInterpolator
from ..interpolator import INTERPOLATORS, InterpolatorEntry
from ..label_fields import DrawnSlices, LabelField
from ..label_gaps import LabelGap


class ShapeInterpolator(GapInterpolator):
    """Fills by signed distance; needs only NumPy and SciPy, and no image. See `shape_fields` for the sources."""

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> None:
        """See `ChanceSource`."""

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: None, watch: Watch) -> np.ndarray:
        """See `ChanceSource`: the farther inside the expected outline, the more likely."""
        return place.shape_chance()

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> np.ndarray:
        """See `ChanceSource`: where all labels together, or both neighbouring slices, show something."""
        whole = (slice(0, drawn.main.shape[0]), slice(0, drawn.main.shape[1]))
        return no_background(drawn, gap, whole, near)

    def _fill_gap(
        self, drawn: DrawnSlices, gap: Gap, prepared: None, out: np.ndarray, confidence: np.ndarray, watch: Watch
    ) -> None:
        fill_by_shape(drawn, gap, out, watch)
        if not drawn.others:
            lower_where_sides_disagree(confidence, drawn.main, gap)


def fill_by_shape(drawn: DrawnSlices, gap: Gap, out: np.ndarray, watch: Watch) -> None:
    """Fill one gap of the main stack, in place: `out` is (count, rows, columns) labels."""
    every, lasting = _Nearest.of(gap, out.dtype), _Nearest.of(gap, out.dtype)
    for value in drawn.labels_in(gap):
        watch.check()
        field = drawn.field(gap, value)
        if field is None:
            continue
        whole = joined(every.box, field.box)
        every, lasting = every.grown(whole), lasting.grown(whole)
        every.enter(value, field)
        if drawn.continues(gap, value):
            lasting.enter(value, field)
    if every.box is None:
        return
    background = every.distance <= 0
    if every.count > 1:
        near = -2 * min(drawn.main.in_plane)
        # Not by a label that ends in the gap: it would be larger again than it is expected to be.
        closed = no_background(drawn, gap, every.box, lasting.distance > near) & background
        every.label[closed] = lasting.label[closed]
        background &= ~closed
        if _changes_labels(drawn, gap):
            background &= ~no_background(drawn, gap, every.box, every.distance > near)
    every.label[background] = 0
    out[(slice(None), *every.box)] = every.label


def _changes_labels(drawn: DrawnSlices, gap: Gap) -> bool:
    """Whether some label ends in a gap and another begins there, so that one may follow the other."""
    if gap.is_end:
        return False
    before, after = (set(drawn.main.boxes(index)) for index in gap.neighbours)
    return bool(before - after) and bool(after - before)


@dataclass(eq=False)
class _Nearest:
    """The largest signed distance (mm) of some labels, (count, rows, columns) over `box`, and the label that has it."""

    box: PlaneBox | None
    distance: np.ndarray
    label: np.ndarray
    count: int = 0

    @classmethod
    def of(cls, gap: Gap, dtype: np.dtype) -> _Nearest:
        """Of no label yet."""
        empty = (gap.count, 0, 0)
        return cls(None, np.empty(empty, dtype=np.float32), np.empty(empty, dtype=dtype))

    def grown(self, whole: PlaneBox) -> _Nearest:
        """The same over a larger box."""
        if whole == self.box:
            return self
        distance, label = _grown(self.distance, self.box, whole, -np.inf), _grown(self.label, self.box, whole, 0)
        return _Nearest(whole, distance, label, self.count)

    def enter(self, value: int, field: LabelField) -> None:
        """Enter one more label, within the box; in place."""
        if self.box is None:
            raise ValueError("its box must be grown before")
        part = (slice(None), *relative(field.box, self.box))
        wins = field.values > self.distance[part]
        np.copyto(self.distance[part], field.values, where=wins)
        self.label[part][wins] = value
        self.count += 1


def _grown(array: np.ndarray, box: PlaneBox | None, whole: PlaneBox, value: float) -> np.ndarray:
    """An array extended to a larger box, with `value` outside its old one; a box of None: all of it `value`."""
    grown = np.full((len(array), *(s.stop - s.start for s in whole)), value, dtype=array.dtype)
    if box is not None:
        grown[(slice(None), *relative(box, whole))] = array
    return grown


def no_background(drawn: DrawnSlices, gap: Gap, box: PlaneBox, near: np.ndarray) -> np.ndarray:
    """(count, rows, columns) bool: where some label must be, although no label's distance is positive.

    Labels that touch on both drawn slices must not leave a gap in between: near a label, the outline of all labels
    together decides. It is blended like a label. Where both neighbouring slices show some label, so does the fill.

    `near`: (count, rows, columns) bool, voxels near one of the labels that may close it.
    """
    whole = drawn.field(gap, FOREGROUND)
    closed = np.zeros(near.shape, dtype=bool)
    shared = common(whole.box, box) if whole is not None else None
    if whole is not None and shared is not None:
        there, here = (slice(None), *relative(shared, box)), (slice(None), *relative(shared, whole.box))
        closed[there] = whole.values[here] > 0
        closed &= near
    if not gap.is_end:
        closed |= np.logical_and(*(drawn.main.slices[index][box] > 0 for index in gap.neighbours)) & near
    return closed


INTERPOLATORS.add(
    InterpolatorEntry(
        name="shape",
        label=_("Shape"),
        description=_("Blends the drawn outlines from slice to slice, using signed distances."),
        make=ShapeInterpolator,
        tried_by_auto=True,
        order=2,
    )
)
