"""Signed distance fields of a label between drawn slices: registered, blended, and closed where a structure ends.

Sources: Raya & Udupa 1990, 'Shape-based interpolation of multidimensional objects', for blending signed distances;
Herman, Zheng & Bucholtz 1992, 'Shape-based interpolation', for aligning an object's outlines before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .alignment import MARGIN, Piece, pieces
from .drawn_stack import DrawnStack, Gap, PlaneBox, joined, widened

# A structure seen on one of two neighbouring drawn slices ends half-way, but no further away than 3 of its radii.
_REACH_IN_RADII = 3.0
# One that has been drawn once only: as long as this many of its radii, on either side.
_SINGLE_REACH_IN_RADII = 1.5


@dataclass(frozen=True, eq=False)
class PieceField:
    """Signed distance (mm, positive inside) of one piece of a label within one gap.

    Attributes:
        box: where in the plane it is known; outside the piece is absent.
        one, two: (rows, columns) float32 signed distance on the drawn slice before and after the gap, or None.
        shift: how far `two` lies from `one`, in pixels.
        gap: the gap. step: distance of slices in mm.
        pace: at an end, (rows, columns) change of the signed distance per mm, never positive; None elsewhere.
        pixel_area: in square mm.
    """

    box: PlaneBox
    one: np.ndarray | None
    two: np.ndarray | None
    shift: tuple[float, float]
    gap: Gap
    step: float
    pace: np.ndarray | None = None
    pixel_area: float = 1.0

    def at(self, index: int) -> np.ndarray:
        """(rows, columns) float32 field on one undrawn slice of the gap."""
        if self.one is not None and self.two is not None:
            return self._blended(index)
        here, drawn = (self.one, self.gap.before) if self.one is not None else (self.two, self.gap.after)
        distance = abs(index - drawn) * self.step
        radius = max(float(here.max()), 1e-6)
        if self.pace is not None:
            gap_mm = abs(drawn - self.gap.inner) * self.step
            return here + self.pace * np.float32(distance) - _closing(distance - gap_mm / 2, gap_mm / 2, radius)
        if self.gap.is_end:
            area = np.count_nonzero(here > 0) * self.pixel_area
            return here - _closing(distance, _SINGLE_REACH_IN_RADII * float(np.sqrt(area / np.pi)), radius)
        half = (self.gap.after - self.gap.before) * self.step / 2
        return here - _closing(distance, min(half, _REACH_IN_RADII * radius), radius)

    def _blended(self, index: int) -> np.ndarray:
        length = self.gap.after - self.gap.before
        left = np.float32((self.gap.after - index) / length)
        right = np.float32((index - self.gap.before) / length)
        one, two = self.one, self.two
        if any(self.shift):
            one = shifted(one, [int(np.rint(right * s)) for s in self.shift])
            two = shifted(two, [-int(np.rint(left * s)) for s in self.shift])
        return one * left + two * right


def piece_fields(stack: DrawnStack, gap: Gap, value: int) -> list[PieceField]:
    """The fields of one label within a gap, one for every piece of it; none where the label cannot be.

    Beyond the last drawn slice a structure goes on shrinking as it did before, never grows, and from half a gap on (the
    gap to the second last drawn slice) closes like a ball until it is gone after a whole one: the next drawn slice
    would have been there.
    """
    if gap.before is None:
        first, second = gap.inner, gap.after
    elif gap.after is None:
        first, second = gap.inner, gap.before
    else:
        first, second = gap.before, gap.after
    boxes = [stack.boxes(index).get(value) if index is not None else None for index in (first, second)]
    if boxes[1] is None and (gap.is_end or boxes[0] is None):
        return []
    outer = widened(joined(*boxes), MARGIN, stack.shape)
    before, after = (
        stack.mask(index, value, outer) if box is not None else None
        for index, box in zip((first, second), boxes, strict=True)
    )
    far = abs(second - first) * stack.step if first is not None else 0.0
    found = []
    for piece in pieces(before, after, stack.in_plane, far):
        if gap.is_end and piece.after is None:
            continue
        found.append(_field(stack, gap, piece, _within(outer, piece.box), far))
    return found


def _field(stack: DrawnStack, gap: Gap, piece: Piece, box: PlaneBox, far: float) -> PieceField:
    one, two = (
        signed_distance(mask, stack.in_plane) if mask is not None else None for mask in (piece.before, piece.after)
    )
    pace = None
    if gap.is_end:
        here, there = two, one
        if gap.inner is not None:
            there = here + 2 * here.max() if there is None else shifted(there, [int(np.rint(s)) for s in piece.shift])
            pace = np.minimum(here - there, 0) / np.float32(far)
        one, two = (None, here) if gap.before is None else (here, None)
    area = float(stack.in_plane[0] * stack.in_plane[1])
    return PieceField(box, one, two, piece.shift, gap, stack.step, pace, area)


def _closing(distance: float, reach: float, radius: float) -> np.float32:
    """How much (mm) an ellipsoid's outline has drawn in at a distance from its widest slice.

    Beyond its reach it goes on by 1 mm per mm, so that a method that looks at the image may still decide otherwise.

    Args:
        distance: from the widest slice, in mm; below 0 counts as 0. reach: where it is closed. radius: where widest.
    """
    if distance <= 0:
        return np.float32(0)
    if distance >= reach:
        return np.float32(radius + distance - reach)
    return np.float32(radius * (1.0 - np.sqrt(1.0 - (distance / reach) ** 2)))


def _within(outer: PlaneBox, inner: PlaneBox) -> PlaneBox:
    return tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))


def shifted(array: np.ndarray, shift: list[int]) -> np.ndarray:
    """The 2D array moved by whole pixels; what comes in over the border repeats the border."""
    if not any(shift):
        return array
    rows, columns = (np.clip(np.arange(n) - s, 0, n - 1) for n, s in zip(array.shape, shift, strict=True))
    return array[rows[:, None], columns[None]]


def signed_distance(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Signed distance (mm) of a 2D bool mask as float32: positive inside, zero half-way across its edge."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    half = 0.5 * min(spacing)
    if mask.all():
        # Without any background in sight the distance to the image border stands in for it.
        inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
        return (inside - half).astype(np.float32)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.where(mask, inside - half, half - outside).astype(np.float32)
