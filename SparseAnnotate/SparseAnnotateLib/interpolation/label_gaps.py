"""One label within a gap: where it may be there, and where the drawn outlines expect it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawn_stack import Gap, PlaneBox, joined, widened
from .label_fields import DrawnSlices

# All lengths in pixels. Measured on the sets of the benchmark `interpolation`.
_BAND, _BAND_GROWTH = 2.0, 2.5  # half-width of the band around an outline, and its growth with the distance
WIDEST = 40.0
_SPREAD, _SPREAD_GROWTH, _SPREAD_START = 0.5, 1.0, 3.0  # how uncertain shapes are of an outline's place
_CERTAIN = 20.0
_FAR = 1e6  # from a label that no drawn slice shows near


@dataclass(frozen=True, eq=False)
class LabelGap:
    """A label in the part of a gap of the main stack where it may be; n slices. All lengths are in pixels.

    Attributes:
        value, gap: which label and which gap.
        slices: those of the gap's undrawn slices. box: rows and columns of the main stack.
        inside: (n, rows, columns) float32, signed distance that the shapes expect, positive inside.
        away: (n,) float32, distance to the nearest drawn slice.
        width: (n,) float32, half-width of the band around the expected outline in which the true one may be.
        elsewhere: (n, rows, columns) bool, drawn in another plane; None with one plane only.
        shown: (n, rows, columns) bool, this label on the drawn slices of other planes.
    """

    value: int
    gap: Gap
    slices: slice
    box: PlaneBox
    inside: np.ndarray
    away: np.ndarray
    width: np.ndarray
    elsewhere: np.ndarray | None
    shown: np.ndarray

    @property
    def part(self) -> tuple[slice, ...]:
        """Its place in an array of the gap's slices."""
        return (self.slices, *self.box)

    def shape_odds(self) -> np.ndarray:
        """(n, rows, columns) float32 log odds of the label by its shapes; the farther away, the less certain."""
        spread = _SPREAD + _SPREAD_GROWTH * self.away**2 / (self.away + _SPREAD_START)
        odds: np.ndarray = self.inside / spread[:, None, None]
        return odds

    def shape_chance(self) -> np.ndarray:
        """(n, rows, columns) float32 probability of the label by its shapes."""
        return probability(self.shape_odds())


def probability(odds: np.ndarray) -> np.ndarray:
    """Probabilities of log odds."""
    chance: np.ndarray = 1 / (1 + np.exp(-np.clip(odds, -_CERTAIN, _CERTAIN)))
    return chance


def label_gap(
    drawn: DrawnSlices,
    gap: Gap,
    value: int,
    out: np.ndarray,
    elsewhere: np.ndarray | None,
    also: tuple[slice, PlaneBox] | None = None,
) -> LabelGap | None:
    """A label within a gap; None when no drawn slice shows it near.

    Args:
        out: (count, rows, columns) labels of the gap, with the drawn voxels of other planes.
        elsewhere: (count, rows, columns) bool, those voxels; None with one plane only.
        also: slices, and rows and columns, where it may be in any case.
    """
    field = drawn.field(gap, value)
    main, pixel = drawn.main, min(drawn.main.in_plane)
    away = main.distance()[gap.first : gap.stop].astype(np.float32) * np.float32(main.step / pixel)
    width = np.minimum(_BAND + _BAND_GROWTH * away, WIDEST)
    near = np.flatnonzero((field.values.max((1, 2)) / pixel) > -width) if field is not None else np.empty(0, int)
    slices, box = also or (None, None)
    if near.size and field is not None:
        # One more slice on either side, without the label: the random walk needs a boundary.
        first, stop = max(int(near[0]) - 1, 0), min(int(near[-1]) + 2, gap.count)
        slices = slice(first, stop) if slices is None else slice(min(first, slices.start), max(stop, slices.stop))
        box = joined(box, widened(field.box, int(np.ceil(width[slices].max())), main.shape))
    if slices is None or box is None:
        return None
    if field is not None:
        inside = _spread_out(field.values[slices], field.box, box, main.in_plane) / pixel
    else:
        sides = [side.stop - side.start for side in (slices, *box)]
        inside = np.full(sides, -_FAR, dtype=np.float32)
    part = (slices, *box)
    there = elsewhere[part] if elsewhere is not None else None
    return LabelGap(value, gap, slices, box, inside, away[slices], width[slices], there, out[part] == value)


def _spread_out(values: np.ndarray, own: PlaneBox, box: PlaneBox, spacing: tuple[float, float]) -> np.ndarray:
    """(n, rows, columns) signed distances (mm) over a larger box: beyond its own they fall by the distance from it."""
    places = []
    for small, wide, step in zip(own, box, spacing, strict=True):
        index = np.arange(wide.start, wide.stop)
        nearest = np.clip(index, small.start, small.stop - 1)
        places.append((nearest - small.start, np.abs(index - nearest) * np.float32(step)))
    (rows, below), (columns, beside) = places
    fall = np.hypot(below[:, None], beside[None]).astype(np.float32)
    spread: np.ndarray = np.maximum(values[:, rows[:, None], columns[None]], np.float32(-1e6)) - fall
    return spread
