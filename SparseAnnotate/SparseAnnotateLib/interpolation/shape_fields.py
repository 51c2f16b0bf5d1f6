"""Signed distance fields of a label between drawn slices: aligned, blended, and closed where a structure ends.

Sources: Raya & Udupa 1990, 'Shape-based interpolation of multidimensional objects', for blending signed distances;
Herman, Zheng & Bucholtz 1992, 'Shape-based interpolation', for aligning an object's outlines before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .alignment import MARGIN, Piece, pieces
from .drawn_stack import DrawnStack, Gap, PlaneBox, joined, rows_and_columns, widened

# A structure on only one of two neighbouring drawn slices ends half-way, but at most 3 of its radii away.
_REACH_IN_RADII = 3.0
# One that is no larger than the gap ends this many slices later: half of those drawn on one slice reach beyond the
# middle, and of the smallest a rounded end would leave nothing. Not one this many times as long as it is wide: a thin
# band that crosses the plane at an angle lies elsewhere on the next slices.
_SMALL_REACHES_FARTHER, _LONG = 0.5, 3.0
# One that is drawn on a single slice extends this many of its radii to either side.
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
        pixel: its size along rows and columns, in mm.
    """

    box: PlaneBox
    one: np.ndarray | None
    two: np.ndarray | None
    shift: tuple[float, float]
    gap: Gap
    step: float
    pace: np.ndarray | None = None
    pixel: tuple[float, float] = (1.0, 1.0)

    def at(self, index: int) -> np.ndarray:
        """(rows, columns) float32 field on one undrawn slice of the gap."""
        before, after = self.gap.before, self.gap.after
        if self.one is not None and self.two is not None and before is not None and after is not None:
            left = np.float32((after - index) / (after - before))
            return self._blended(self.one, self.two, left, np.float32((index - before) / (after - before)))
        here, drawn = self._only_side()
        distance = abs(index - drawn) * self.step
        radius = max(float(here.max()), 1e-6)
        if self.pace is not None and self.gap.inner is not None:
            gap_mm = abs(drawn - self.gap.inner) * self.step
            return here + self.pace * np.float32(distance) - _closing(distance - gap_mm / 2, gap_mm / 2, radius)
        if before is None or after is None:
            return here - _closing(distance, _SINGLE_REACH_IN_RADII * _mean_radius(here > 0, self.pixel), radius)
        half = (after - before) * self.step / 2
        farther = _SMALL_REACHES_FARTHER * self.step if self._is_small else 0.0
        return here - _closing(distance, min(half, _REACH_IN_RADII * radius) + farther, radius)

    @cached_property
    def _is_small(self) -> bool:
        """Whether the piece, on one side only, is not long, and its radius at most half the gap."""
        mask = self._only_side()[0] > 0
        half = (self.gap.count + 1) * self.step / 2
        return _mean_radius(mask, self.pixel) <= half and _length_in_widths(mask, self.pixel) < _LONG

    def _only_side(self) -> tuple[np.ndarray, int]:
        """The signed distance on the one drawn slice that shows the piece, and that slice's index."""
        for side, drawn in ((self.one, self.gap.before), (self.two, self.gap.after)):
            if side is not None and drawn is not None:
                return side, drawn
        raise ValueError("a piece must be on one of the drawn slices beside its gap")

    def _blended(self, one: np.ndarray, two: np.ndarray, left: np.float32, right: np.float32) -> np.ndarray:
        """The two signed distances, aligned and blended with the weights `left` and `right`, which sum to 1."""
        if any(self.shift):
            one = shifted(one, [int(np.rint(right * s)) for s in self.shift])
            two = shifted(two, [-int(np.rint(left * s)) for s in self.shift])
        blended: np.ndarray = one * left + two * right
        return blended


def piece_fields(stack: DrawnStack, gap: Gap, value: int) -> list[PieceField]:
    """The fields of one label within a gap, one for every piece of it; none where the label cannot occur.

    Beyond the last drawn slice a structure continues to shrink as it did before, and never grows. From half a gap on
    (the gap to the second last drawn slice) it closes like a ball, and it ends after a whole gap, where the next drawn
    slice would have been.
    """
    if gap.before is None:
        first, second = gap.inner, gap.after
    elif gap.after is None:
        first, second = gap.inner, gap.before
    else:
        first, second = gap.before, gap.after
    if second is None:
        return []
    one = stack.boxes(first).get(value) if first is not None else None
    two = stack.boxes(second).get(value)
    both = joined(one, two)
    if both is None or (two is None and gap.is_end):
        return []
    outer = widened(both, MARGIN, stack.shape)
    before = stack.mask(first, value, outer) if first is not None and one is not None else None
    after = stack.mask(second, value, outer) if two is not None else None
    far = abs(second - first) * stack.step if first is not None else 0.0
    found = []
    for piece in pieces(before, after, stack.in_plane, far):
        if gap.is_end and piece.after is None:
            continue
        found.append(_field(stack, gap, piece, _within(outer, piece.box), far))
    return found


def _field(stack: DrawnStack, gap: Gap, piece: Piece, box: PlaneBox, far: float) -> PieceField:
    one = signed_distance(piece.before, stack.in_plane) if piece.before is not None else None
    two = signed_distance(piece.after, stack.in_plane) if piece.after is not None else None
    pace: np.ndarray | None = None
    if gap.is_end and two is not None:
        here = two
        if gap.inner is not None:
            there = here + 2 * here.max() if one is None else shifted(one, [int(np.rint(s)) for s in piece.shift])
            pace = np.minimum(here - there, 0) / np.float32(far)
        one, two = (None, here) if gap.before is None else (here, None)
    return PieceField(box, one, two, piece.shift, gap, stack.step, pace, stack.in_plane)


def _closing(distance: float, reach: float, radius: float) -> np.float32:
    """How much (mm) an ellipsoid's outline has shrunk at a distance from its widest slice.

    Beyond its reach it continues by 1 mm per mm, so that a method that uses the image may still decide otherwise.

    Args:
        distance: from the widest slice, in mm; below 0 counts as 0. reach: where it is closed. radius: where widest.
    """
    if distance <= 0:
        return np.float32(0)
    if distance >= reach:
        return np.float32(radius + distance - reach)
    return np.float32(radius * (1.0 - np.sqrt(1.0 - (distance / reach) ** 2)))


def _mean_radius(mask: np.ndarray, pixel: tuple[float, float]) -> float:
    """Of the disc with the area of a mask, in mm."""
    return float(np.sqrt(np.count_nonzero(mask) * pixel[0] * pixel[1] / np.pi))


def _length_in_widths(mask: np.ndarray, pixel: tuple[float, float]) -> float:
    """How many times as long as wide the ellipse with the second moments of a mask is; 1 for an empty one."""
    rows, columns = np.nonzero(mask)
    count = len(rows)
    if not count:
        return 1.0
    # Sums of whole numbers are exact, so a flipped mask has exactly the same.
    r, c = int(rows.sum()), int(columns.sum())
    scatter = [int((rows * rows).sum()) * count - r * r, int((columns * columns).sum()) * count - c * c]
    # Each pixel is an area, not a point.
    first, second = (side**2 * (s / count**2 + 1 / 12) for s, side in zip(scatter, pixel, strict=True))
    both = pixel[0] * pixel[1] * (int((rows * columns).sum()) * count - r * c) / count**2
    mean, half = (first + second) / 2, float(np.hypot((first - second) / 2, both))
    return float(np.sqrt((mean + half) / (mean - half)))


def _within(outer: PlaneBox, inner: PlaneBox) -> PlaneBox:
    return rows_and_columns(slice(o.start + i.start, o.start + i.stop) for o, i in zip(outer, inner, strict=True))


def shifted(array: np.ndarray, shift: list[int]) -> np.ndarray:
    """The 2D array moved by whole pixels; values at the border are repeated outwards."""
    if not any(shift):
        return array
    rows, columns = (np.clip(np.arange(n) - s, 0, n - 1) for n, s in zip(array.shape, shift, strict=True))
    moved: np.ndarray = array[rows[:, None], columns[None]]
    return moved


def signed_distance(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Signed distance (mm) of a 2D bool mask as float32: positive inside, zero half-way across its edge."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    half = 0.5 * min(spacing)
    if mask.all():
        # Without any background, the distance to the image border is used instead.
        padded: np.ndarray = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)
        return (padded[1:-1, 1:-1] - half).astype(np.float32)
    inside: np.ndarray = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside: np.ndarray = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return np.where(mask, inside - half, half - outside).astype(np.float32)
