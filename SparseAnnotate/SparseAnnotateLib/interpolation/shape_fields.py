"""Signed distance fields of a label between drawn slices: aligned, blended, and closed where a structure ends.

Sources: Raya & Udupa 1990, 'Shape-based interpolation of multidimensional objects', for blending signed distances;
Herman, Zheng & Bucholtz 1992, 'Shape-based interpolation', for aligning an object's outlines before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .alignment import MARGIN, Piece, pieces
from .drawn_stack import DrawnStack, Gap, PlaneBox, joined, rows_and_columns, widened

# A structure on only one of two neighbouring drawn slices ends half-way, but at most 3 of its radii away. It may also
# end like a ball, see `_Ball`.
_REACH_IN_RADII = 3.0
# One that is no larger than the gap ends this many slices later: half of those drawn on one slice reach beyond the
# middle, and of the smallest a rounded end would leave nothing. Nor does a ball end later than that. Not one this many
# times as long as it is wide: a thin band that crosses the plane at an angle lies elsewhere on the next slices.
_REACHES_FARTHER, _LONG = 0.5, 3.0
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
        ball: that a piece on one side only may be the end of; None when no drawn slice follows on that side.
    """

    box: PlaneBox
    one: np.ndarray | None
    two: np.ndarray | None
    shift: tuple[float, float]
    gap: Gap
    step: float
    pace: np.ndarray | None = None
    pixel: tuple[float, float] = (1.0, 1.0)
    ball: _Ball | None = None

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
        return here - _closing(distance, self._reach, radius)

    @cached_property
    def _reach(self) -> float:
        """Where a piece on one side only, between two drawn slices, is closed: mm from the slice that shows it."""
        here, _drawn = self._only_side()
        half = (self.gap.count + 1) * self.step / 2
        middle = min(half, _REACH_IN_RADII * float(here.max()))
        if _length_in_widths(here > 0, self.pixel) >= _LONG:
            return middle
        farther = _REACHES_FARTHER * self.step
        usual = middle + farther if _mean_radius(here > 0, self.pixel) <= half else middle
        if self.ball is None:
            return usual
        end = min(self.ball.end, half + farther)
        # The tip of something larger is no small structure, and ends sooner.
        return (middle + end) / 2 if self.ball.is_behind else max(usual, end)

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
    found = _pieces_of(stack, gap, value)
    return [
        _field(stack, gap, value, piece, _within(found.outer, piece.box), found.far)
        for piece in found.pieces
        if not (gap.is_end and piece.after is None)
    ]


def depends_on(stack: DrawnStack, gap: Gap, index: int, earlier: DrawnStack | None = None) -> bool:
    """Whether the fields of a gap may be others once a slice is drawn, drawn differently, or reset.

    A slice that is not beside the gap matters for what ends there, see `_Ball`.

    Args:
        stack: after that. earlier: before it; None when that is not known: then whatever ends there counts as changed.
    """
    if gap.before is None:
        return gap.inner is None or index <= gap.inner
    if gap.after is None:
        return gap.inner is None or index >= gap.inner
    if gap.before <= index <= gap.after:
        return True
    is_before = index < gap.before
    side = gap.before if is_before else gap.after
    behind = _behind(stack, side, -1 if is_before else 1)
    if behind is not None and not min(behind, side) <= index <= max(behind, side):
        return False
    if earlier is not None and side not in earlier.slices:
        return True
    return any(_ends_otherwise(stack, earlier, gap, value, is_before) for value in stack.boxes(side))


def _ends_otherwise(stack: DrawnStack, earlier: DrawnStack | None, gap: Gap, value: int, is_before: bool) -> bool:
    """Whether a piece that is on one side of a gap only reaches less far, or farther, into it than it did earlier."""
    found = _pieces_of(stack, gap, value)
    for piece in found.pieces:
        if (piece.after if is_before else piece.before) is not None:
            continue
        if earlier is None:
            return True
        box = _within(found.outer, piece.box)
        now, before = (_Ball.of(one, gap, value, piece, box) for one in (stack, earlier))
        if now != before:
            field = _field(stack, gap, value, piece, box, found.far)
            if replace(field, ball=before)._reach != field._reach:
                return True
    return False


@dataclass(frozen=True)
class _Pieces:
    """Pieces of a label within a gap, with boxes in `outer`, on two slices at a distance of `far` mm."""

    pieces: list[Piece]
    outer: PlaneBox
    far: float


def _pieces_of(stack: DrawnStack, gap: Gap, value: int) -> _Pieces:
    nothing = _Pieces([], (slice(0, 0), slice(0, 0)), 0.0)
    if gap.before is None:
        first, second = gap.inner, gap.after
    elif gap.after is None:
        first, second = gap.inner, gap.before
    else:
        first, second = gap.before, gap.after
    if second is None:
        return nothing
    one = stack.boxes(first).get(value) if first is not None else None
    two = stack.boxes(second).get(value)
    both = joined(one, two)
    if both is None or (two is None and gap.is_end):
        return nothing
    outer = widened(both, MARGIN, stack.shape)
    before = stack.mask(first, value, outer) if first is not None and one is not None else None
    after = stack.mask(second, value, outer) if two is not None else None
    far = abs(second - first) * stack.step if first is not None else 0.0
    return _Pieces(pieces(before, after, stack.in_plane, far), outer, far)


def _behind(stack: DrawnStack, drawn: int, onward: int) -> int | None:
    """The next drawn slice after a drawn one, in the direction of -1 or 1; None at the last one."""
    place = stack.indices.index(drawn) + onward
    return stack.indices[place] if 0 <= place < len(stack.indices) else None


def _field(stack: DrawnStack, gap: Gap, value: int, piece: Piece, box: PlaneBox, far: float) -> PieceField:
    one = signed_distance(piece.before, stack.in_plane) if piece.before is not None else None
    two = signed_distance(piece.after, stack.in_plane) if piece.after is not None else None
    pace: np.ndarray | None = None
    if gap.is_end and two is not None:
        here = two
        if gap.inner is not None:
            there = here + 2 * here.max() if one is None else shifted(one, [int(np.rint(s)) for s in piece.shift])
            pace = np.minimum(here - there, 0) / np.float32(far)
        one, two = (None, here) if gap.before is None else (here, None)
    ball = _Ball.of(stack, gap, value, piece, box) if not gap.is_end else None
    return PieceField(box, one, two, piece.shift, gap, stack.step, pace, stack.in_plane, ball)


@dataclass(frozen=True)
class _Ball:
    """A ball through a piece's outline and the one behind it, as circles of the same areas.

    Where the structure is absent behind the piece, it is the ball whose widest circle is the piece.

    Attributes:
        end: how far it reaches beyond the piece, in mm, at least 0. is_behind: whether it is wider behind the piece.
    """

    end: float
    is_behind: bool

    @classmethod
    def of(cls, stack: DrawnStack, gap: Gap, value: int, piece: Piece, box: PlaneBox) -> _Ball | None:
        """Of a piece on one side of a gap only; None when it is on both, or no drawn slice lies behind it."""
        drawn, onward, mask = gap.before, -1, piece.before
        if mask is None:
            drawn, onward, mask = gap.after, 1, piece.after
        elif piece.after is not None:
            return None
        behind = _behind(stack, drawn, onward) if drawn is not None else None
        if drawn is None or behind is None or mask is None:
            return None
        radius = _mean_radius(mask, stack.in_plane)
        other = _mean_radius(stack.mask(behind, value, widened(box, MARGIN, stack.shape)), stack.in_plane)
        if not other:
            return cls(radius, False)
        far = abs(behind - drawn) * stack.step
        centre = (radius**2 - other**2 - far**2) / (2 * far)
        return cls(max(centre + float(np.hypot(radius, centre)), 0.0), other > radius)


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
