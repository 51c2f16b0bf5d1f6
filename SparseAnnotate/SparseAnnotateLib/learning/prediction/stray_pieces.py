"""Pieces of a prediction that lie far from anything drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ...core import Watch
from ...core.planes import slice_layer
from ...core.voxel_boxes import Box

_SLICES_AT_LEAST = 5  # that show a structure; fewer say too little about how far apart its pieces are
_FARTHER = 1.5
_POINTS_OF_A_SLICE, _POINTS_OF_A_PIECE = 4000, 500
_POINTS_IN_ALL = 40_000


@dataclass(frozen=True, eq=False)
class DrawnVoxels:
    """What a person has drawn in a volume, in the axis order (S, A, R).

    Attributes:
        classes: (S, A, R) class indices; only those on drawn voxels count.
        mask: (S, A, R) bool, which voxels are drawn.
        slices: the drawn slices as (axis, index).
        silent: for each class of which some of the slices say nothing, those slices.
    """

    classes: np.ndarray
    mask: np.ndarray
    slices: tuple[tuple[int, int], ...]
    silent: Mapping[int, frozenset[tuple[int, int]]] = field(default_factory=dict)

    def deciding(self, value: int) -> list[tuple[int, int]]:
        """The drawn slices that either show a class or rule it out."""
        silent = self.silent.get(value, frozenset())
        return [one for one in self.slices if one not in silent]


@dataclass(frozen=True)
class StrayPieces:
    """Pieces of one class that were left out of a prediction: how many, and their voxels together."""

    value: int
    pieces: int
    voxels: int


def without_far_pieces(
    classes: np.ndarray, class_count: int, spacing: Sequence[float], drawn: DrawnVoxels, watch: Watch | None = None
) -> tuple[np.ndarray, list[StrayPieces]]:
    """Class indices (S, A, R) without pieces far from anything drawn of their structure, and what was left out.

    How far is far is measured on the drawing itself: for each piece of the structure on a drawn slice, how far away the
    structure is on the other drawn slices. A connected piece of the prediction is left out when it has no drawn voxel
    and lies 1.5 times as far from all drawn voxels of the structure as any drawn piece from those of the other slices,
    and as the widest gap between drawn slices. So nothing is removed of a structure that is scattered, nor of one drawn
    on fewer than five slices. Pieces beyond an outermost drawn slice that still shows the structure stay as well: the
    structure extends beyond that slice, and its end was not drawn.

    Args:
        classes: with the drawn voxels as drawn. spacing: (S, A, R), mm.
    """
    watch = watch or Watch()
    found, result = [], classes.copy()
    for value, box in enumerate(ndimage.find_objects(classes, class_count - 1), start=1):
        watch.check()
        points = _drawn_points(drawn, value, spacing) if box is not None else {}
        if len(points) < _SLICES_AT_LEAST:
            continue
        pieces, count = ndimage.label(classes[box] == value)
        untouched = _untouched_pieces(pieces, count, box, drawn, value, points)
        if not untouched:
            continue
        limit = _FARTHER * max(_farthest_neighbour(drawn, value, points, spacing), _widest_gap(drawn, value, spacing))
        stray = _far_ones(pieces, untouched, box, points, spacing, limit)
        if stray.any():
            removed = stray[pieces]
            result[box][removed] = 0
            found.append(StrayPieces(value, int(stray.sum()), int(np.count_nonzero(removed))))
    return result, found


def _drawn_points(drawn: DrawnVoxels, value: int, spacing: Sequence[float]) -> dict[tuple[int, int], np.ndarray]:
    """For each drawn slice that shows a structure, some of its voxels there, (n, 3) float64 in mm."""
    found = {}
    most = max(1, min(_POINTS_OF_A_SLICE, _POINTS_IN_ALL // len(drawn.slices)))
    for axis, index in drawn.slices:
        layer = slice_layer(axis, index)
        places = np.argwhere((drawn.classes[layer] == value) & drawn.mask[layer])
        if len(places):
            found[axis, index] = _in_mm(_some(places, most), axis, index, spacing)
    return found


def _farthest_neighbour(
    drawn: DrawnVoxels, value: int, points: dict[tuple[int, int], np.ndarray], spacing: Sequence[float]
) -> float:
    """The largest distance (mm) of a piece on a drawn slice from the structure on the others."""
    farthest = 0.0
    for (axis, index), own in points.items():
        others = [p for s, p in points.items() if s != (axis, index)]
        layer = slice_layer(axis, index)
        pieces, count = ndimage.label((drawn.classes[layer] == value) & drawn.mask[layer])
        tree = cKDTree(np.concatenate(others))
        if count == 1:
            farthest = max(farthest, float(tree.query(own)[0].min()))
            continue
        for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
            places = np.argwhere(pieces[box] == piece) + [side.start for side in box]
            places = _in_mm(_some(places, _POINTS_OF_A_PIECE), axis, index, spacing)
            farthest = max(farthest, float(tree.query(places)[0].min()))
    return farthest


def _widest_gap(drawn: DrawnVoxels, value: int, spacing: Sequence[float]) -> float:
    """The widest gap (mm) between neighbouring slices along the axis that most slices are drawn across."""
    by_axis = [sorted(index for a, index in drawn.deciding(value) if a == axis) for axis in range(3)]
    axis = max(range(3), key=lambda a: len(by_axis[a]))
    return float(max(np.diff(by_axis[axis]), default=0)) * spacing[axis]


def _untouched_pieces(
    pieces: np.ndarray,
    count: int,
    box: Box,
    drawn: DrawnVoxels,
    value: int,
    points: dict[tuple[int, int], np.ndarray],
) -> dict[int, Box]:
    """The labelled pieces of a box of the volume without a drawn voxel, and where in the box they are.

    Those beyond an outermost drawn slice that shows the structure are left out.
    """
    touched = np.zeros(count + 1, dtype=bool)
    touched[pieces[drawn.mask[box] & (drawn.classes[box] == value)]] = True
    open_sides = _open_sides(drawn, value, points)
    found = {}
    for piece, place in enumerate(ndimage.find_objects(pieces), start=1):
        whole = tuple(slice(p.start + b.start, p.stop + b.start) for p, b in zip(place, box, strict=True))
        if not touched[piece] and not any(_is_beyond(whole, *side) for side in open_sides):
            found[piece] = place
    return found


def _far_ones(
    pieces: np.ndarray,
    candidates: dict[int, Box],
    box: Box,
    points: dict[tuple[int, int], np.ndarray],
    spacing: Sequence[float],
    limit: float,
) -> np.ndarray:
    """(pieces + 1,) bool: which of the candidates lie farther than `limit` mm from all drawn voxels."""
    far = np.zeros(int(pieces.max()) + 1, dtype=bool)
    tree = cKDTree(np.concatenate(list(points.values())))
    for piece, place in candidates.items():
        first = [p.start + b.start for p, b in zip(place, box, strict=True)]
        places = _some(np.argwhere(pieces[place] == piece), _POINTS_OF_A_PIECE) + first
        distance = tree.query(places * np.asarray(spacing), distance_upper_bound=limit)[0]
        far[piece] = not bool(np.isfinite(distance).any())
    return far


def _open_sides(
    drawn: DrawnVoxels, value: int, points: dict[tuple[int, int], np.ndarray]
) -> list[tuple[int, int, bool]]:
    """The outermost drawn slices that show the structure, or may do so: (axis, index, whether it is the last one)."""
    sides = []
    slices = drawn.deciding(value)
    for axis in {axis for axis, _ in slices}:
        indices = [index for a, index in slices if a == axis]
        for end in {min(indices), max(indices)}:
            if (axis, end) in points or not drawn.mask[slice_layer(axis, end)].all():
                sides.append((axis, end, end == max(indices)))
    return sides


def _is_beyond(box: tuple[slice, ...], axis: int, index: int, is_last: bool) -> bool:
    return box[axis].start > index if is_last else box[axis].stop <= index


def _some(places: np.ndarray, count: int) -> np.ndarray:
    """At most about `count` rows, evenly spread."""
    return places[:: max(1, -(-len(places) // count))]


def _in_mm(places: np.ndarray, axis: int, index: int, spacing: Sequence[float]) -> np.ndarray:
    """Places on a slice, (n, 2), as (n, 3) float64 in mm."""
    return np.insert(places, axis, index, axis=1) * np.asarray(spacing, dtype=float)
