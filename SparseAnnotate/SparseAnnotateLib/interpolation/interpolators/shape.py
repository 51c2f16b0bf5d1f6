"""Shape-based interpolation: the label with the highest signed distance takes the voxel, if it is positive."""

from __future__ import annotations

import numpy as np

from ...core import SparseAnnotation, Watch
from ...core.messages import _
from ..confidence import lower_where_sides_disagree
from ..drawn_stack import FOREGROUND, Gap, PlaneBox, common, joined, relative
from ..gap_filling import GapInterpolator
from ..interpolator import INTERPOLATORS, InterpolatorEntry
from ..label_fields import DrawnSlices
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
    box: PlaneBox | None = None
    highest = np.empty((gap.count, 0, 0), dtype=np.float32)
    winner = np.empty((gap.count, 0, 0), dtype=out.dtype)
    several = False
    for value in drawn.labels_in(gap):
        watch.check()
        field = drawn.field(gap, value)
        if field is None:
            continue
        several = box is not None
        whole = joined(box, field.box)
        if whole != box:
            highest = _grown(highest, box, whole, -np.inf)
            winner = _grown(winner, box, whole, 0)
            box = whole
        part = (slice(None), *relative(field.box, whole))
        wins = field.values > highest[part]
        np.copyto(highest[part], field.values, where=wins)
        winner[part][wins] = value
    if box is None:
        return
    background = highest <= 0
    if several:
        background &= ~no_background(drawn, gap, box, highest > -2 * min(drawn.main.in_plane))
    winner[background] = 0
    out[(slice(None), *box)] = winner


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

    `near`: (count, rows, columns) bool, voxels near a label.
    """
    whole = drawn.field(gap, FOREGROUND)
    closed = np.zeros(near.shape, dtype=bool)
    shared = common(whole.box, box) if whole is not None else None
    if whole is not None and shared is not None:
        there, here = (slice(None), *relative(shared, box)), (slice(None), *relative(shared, whole.box))
        closed[there] = whole.values[here] > 0
        closed &= near
    if gap.before is not None and gap.after is not None:
        both = (drawn.main.slices[gap.before][box] > 0) & (drawn.main.slices[gap.after][box] > 0)
        closed |= both & near
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
