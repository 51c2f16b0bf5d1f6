"""Shape-based interpolation: the label with the highest signed distance takes the voxel, if it is positive."""

from __future__ import annotations

import numpy as np

from .confidence import lower_where_sides_disagree
from .drawn_stack import FOREGROUND, Gap, PlaneBox, joined
from .gap_filling import GapInterpolator
from .interpolator import register_interpolator
from .label_fields import DrawnSlices


@register_interpolator("shape", "Blends the drawn outlines from slice to slice by their signed distances.")
class ShapeInterpolator(GapInterpolator):
    """Fills by signed distance; needs no image and nothing but numpy and scipy. See `shape_fields` for the sources."""

    def _fill_gap(self, drawn: DrawnSlices, gap: Gap, prepared, out: np.ndarray, confidence: np.ndarray) -> None:
        fill_by_shape(drawn, gap, out)
        if not drawn.others:
            lower_where_sides_disagree(confidence, drawn.main, gap)


def fill_by_shape(drawn: DrawnSlices, gap: Gap, out: np.ndarray) -> None:
    """Fill one gap of the main stack, in place: `out` is (count, rows, columns) labels."""
    fields = [(value, drawn.field(gap, value)) for value in drawn.labels_in(gap)]
    fields = [(value, field) for value, field in fields if field is not None]
    box = None
    for _, field in fields:
        box = joined(box, field.box)
    if box is None:
        return
    if len(fields) == 1:
        value, field = fields[0]
        out[(slice(None), *box)][field.values > 0] = value
        return
    highest = np.full((gap.count, *(s.stop - s.start for s in box)), -np.inf, dtype=np.float32)
    winner = np.zeros(highest.shape, dtype=out.dtype)
    for value, field in fields:
        part = (slice(None), *_local(field.box, box))
        wins = field.values > highest[part]
        np.copyto(highest[part], field.values, where=wins)
        winner[part][wins] = value
    winner[(highest <= 0) & ~_no_background(drawn, gap, box, highest)] = 0
    out[(slice(None), *box)] = winner


def _no_background(drawn: DrawnSlices, gap: Gap, box: PlaneBox, highest: np.ndarray) -> np.ndarray:
    """(count, rows, columns) bool: where some label must be, though none is sure of it.

    Labels that touch on both sides must not gape in between: there the outline of all labels together decides. It is
    blended like a label, and where both neighbours show some label, background is no choice.
    """
    near = highest > -2 * min(drawn.main.in_plane)
    whole = drawn.field(gap, FOREGROUND)
    closed = np.zeros(highest.shape, dtype=bool)
    if whole is not None:
        common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(whole.box, box, strict=True))
        closed[(slice(None), *_local(common, box))] = whole.values[(slice(None), *_local(common, whole.box))] > 0
        closed &= near
    if not gap.is_end:
        both = (drawn.main.slices[gap.before][box] > 0) & (drawn.main.slices[gap.after][box] > 0)
        closed |= (both & near) if drawn.others else both
    return closed


def _local(box: PlaneBox, within: PlaneBox) -> PlaneBox:
    return tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, within, strict=True))
