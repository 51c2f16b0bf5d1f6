"""Which pieces of a label on one drawn slice match which pieces on the next, and how far they have moved.

A piece is a connected component, or several where they split or merge: components that overlap after the shift belong
together. A component without any overlap is matched with the nearest piece that is left within reach: a tube that
crosses the slices obliquely has moved by more than its own width. When one piece is left on each slice, the two may
lie farther apart, if their shapes are alike: there is nothing else to confuse them with.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .drawn_stack import PlaneBox, joined, rows_and_columns, widened

MARGIN = 2
_EIGHT = np.ones((3, 3), dtype=bool)
_SHIFT_GAIN = 0.02
_SKIP_IOU = 0.3
# In distances of the drawn slices: how far a piece may have moved to the nearest one that is left, and, being the last
# one on its slice, to the last one on the other, if their shapes have this IoU when laid over each other.
_REACH, _REACH_ALONE, _ALIKE = 2.0, 4.0, 0.5
_MAX_COMPONENTS = 200


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a label that continues from one drawn slice to the next; one side may be empty (None).

    Attributes:
        box: where it lies within the masks it was found in.
        before, after: (rows, columns) bool masks over `box`, or None where the piece is absent.
        shift: how far `after` lies from `before`, in pixels along rows and columns.
    """

    box: PlaneBox
    before: np.ndarray | None
    after: np.ndarray | None
    shift: tuple[float, float] = (0.0, 0.0)


def pieces(
    before: np.ndarray | None, after: np.ndarray | None, spacing: tuple[float, float], gap_mm: float
) -> list[Piece]:
    """Pieces of one label between two drawn slices.

    Args:
        before, after: (rows, columns) bool masks over the same box; None where the label is absent, on one of them.
        spacing: pixel size in mm. gap_mm: distance of the two slices in mm.
    """
    shape = next(mask.shape for mask in (before, after) if mask is not None)
    whole = rows_and_columns(slice(0, n) for n in shape)
    (ones, count_one), (twos, count_two) = _numbered(before), _numbered(after)
    if count_one <= 1 and count_two <= 1:
        # There is no other candidate.
        are_alike = before is not None and after is not None and count_one and count_two and _alike(before, after)
        return _matched(whole, before, after, spacing, (_REACH_ALONE if are_alike else _REACH) * gap_mm)
    if max(count_one, count_two) > _MAX_COMPONENTS:
        return [Piece(whole, before, after)]
    first, second = _Components(ones, count_one), _Components(twos, count_two)
    found = []
    left_one, left_two = set(range(count_one)), set(range(count_two))
    if count_one and count_two:
        both = (ones > 0) & (twos > 0)
        links = np.zeros((count_one, count_two), dtype=bool)
        links[ones[both] - 1, twos[both] - 1] = True
        for group_one, group_two in _groups(links):
            if group_one and group_two:
                box = widened(joined(first.box(group_one), second.box(group_two)), MARGIN, shape)
                masks = first.mask(group_one, box), second.mask(group_two, box)
                found += _matched(box, *masks, spacing, _REACH * gap_mm)
                left_one -= group_one
                left_two -= group_two
        for i, j in _nearest_pairs(first, second, left_one, left_two, spacing, _REACH * gap_mm):
            box = widened(joined(first.box({i}), second.box({j})), MARGIN, shape)
            found += _matched(box, first.mask({i}, box), second.mask({j}, box), spacing, _REACH * gap_mm)
            left_one.remove(i)
            left_two.remove(j)
        if len(left_one) == len(left_two) == 1:
            box = widened(joined(first.box(left_one), second.box(left_two)), MARGIN, shape)
            masks = first.mask(left_one, box), second.mask(left_two, box)
            if _alike(*masks):
                found += _matched(box, *masks, spacing, _REACH_ALONE * gap_mm)
                left_one, left_two = set(), set()
    for i in sorted(left_one):
        box = widened(first.box({i}), MARGIN, shape)
        found.append(Piece(box, first.mask({i}, box), None))
    for j in sorted(left_two):
        box = widened(second.box({j}), MARGIN, shape)
        found.append(Piece(box, None, second.mask({j}, box)))
    return found


def _numbered(mask: np.ndarray | None) -> tuple[np.ndarray, int]:
    """A mask's connected components, (rows, columns) int from 1, and how many there are."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    if mask is None:
        return np.zeros((0, 0), dtype=np.int32), 0
    numbered, count = ndimage.label(mask, _EIGHT)
    return numbered, count


def _nearest_pairs(
    first: _Components,
    second: _Components,
    ones: set[int],
    twos: set[int],
    spacing: tuple[float, float],
    reach: float,
) -> list[tuple[int, int]]:
    """Components that lie nearest to each other and within reach (mm), the nearest first, each once.

    One that is equally near to two others is not matched: the order in which they are processed must not decide.
    """
    by_distance: dict[float, list[tuple[int, int]]] = {}
    for i in ones:
        for j in twos:
            distance = round(_distance_mm(first.centre(i), second.centre(j), spacing), 6)
            if distance <= reach:
                by_distance.setdefault(distance, []).append((i, j))
    ones, twos = set(ones), set(twos)
    found: list[tuple[int, int]] = []
    for distance in sorted(by_distance):
        free = [(i, j) for i, j in by_distance[distance] if i in ones and j in twos]
        counts = Counter(("one", i) for i, _ in free) + Counter(("two", j) for _, j in free)
        found += [(i, j) for i, j in free if counts["one", i] == counts["two", j] == 1]
        ones -= {i for i, _ in free}
        twos -= {j for _, j in free}
    return found


class _Components:
    """Connected components of a mask, by number from 0."""

    def __init__(self, numbered: np.ndarray, count: int):
        from scipy import ndimage

        self._numbered = numbered
        self._boxes: list[PlaneBox] = ndimage.find_objects(numbered) if count else []

    def box(self, group: set[int]) -> PlaneBox:
        box, *others = (self._boxes[number] for number in group)
        for other in others:
            box = joined(box, other)
        return box

    def mask(self, group: set[int], box: PlaneBox) -> np.ndarray:
        part = self._numbered[box]
        if len(group) == 1:
            is_one: np.ndarray = part == next(iter(group)) + 1
            return is_one
        return np.isin(part, [number + 1 for number in group])

    def centre(self, number: int) -> tuple[float, float]:
        box = self._boxes[number]
        rows, columns = _centre(self._numbered[box] == number + 1)
        return rows + box[0].start, columns + box[1].start


def _alike(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two pieces have about the same shape, wherever they lie."""
    shift = (q - p for p, q in zip(_centre(before), _centre(after), strict=True))
    return _iou_shifted(before, after, rows_and_columns(int(np.rint(s)) for s in shift)) >= _ALIKE


def _matched(
    box: PlaneBox, before: np.ndarray | None, after: np.ndarray | None, spacing: tuple[float, float], reach: float
) -> list[Piece]:
    """One piece with its shift, or two where they lie farther apart (mm) than reach and cannot be the same."""
    if before is None or after is None:
        return [Piece(box, before, after)]
    plain = _iou_shifted(before, after, (0, 0))
    if plain >= _SKIP_IOU:
        return [Piece(box, before, after)]
    a, b = _centre(before), _centre(after)
    if plain == 0 and _distance_mm(a, b, spacing) > reach:
        return [Piece(box, before, None), Piece(box, None, after)]
    shift = rows_and_columns(q - p for p, q in zip(a, b, strict=True))
    whole = rows_and_columns(int(np.rint(s)) for s in shift)
    if _iou_shifted(before, after, whole) > plain + _SHIFT_GAIN:
        return [Piece(box, before, after, shift)]
    return [Piece(box, before, after)]


def _groups(links: np.ndarray) -> list[tuple[set[int], set[int]]]:
    """Connected parts of the graph of overlapping components: (those before, those after)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ones, twos = links.shape
    i, j = np.nonzero(links)
    graph = coo_matrix((np.ones(len(i)), (i, j + ones)), shape=(ones + twos, ones + twos))
    count, numbers = connected_components(graph, directed=False)
    return [
        (set(np.flatnonzero(numbers[:ones] == n).tolist()), set(np.flatnonzero(numbers[ones:] == n).tolist()))
        for n in range(count)
    ]


def _centre(mask: np.ndarray) -> tuple[float, float]:
    # Sums of whole numbers are exact, so a flipped mask has exactly the flipped centre.
    rows, columns = mask.sum(axis=1), mask.sum(axis=0)
    total = int(rows.sum())
    return (
        int((rows * np.arange(len(rows))).sum()) / total,
        int((columns * np.arange(len(columns))).sum()) / total,
    )


def _distance_mm(a: tuple[float, float], b: tuple[float, float], spacing: tuple[float, float]) -> float:
    return float(np.hypot((a[0] - b[0]) * spacing[0], (a[1] - b[1]) * spacing[1]))


def _iou_shifted(before: np.ndarray, after: np.ndarray, shift: tuple[int, int]) -> float:
    """IoU of `before`, moved by the shift, with `after`."""
    (r0, r1), (c0, c1) = (_overlap(n, s) for n, s in zip(before.shape, shift, strict=True))
    both = int(np.count_nonzero(before[r0, c0] & after[r1, c1]))
    return both / (int(np.count_nonzero(before)) + int(np.count_nonzero(after)) - both)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    if abs(shift) >= size:
        return slice(0, 0), slice(0, 0)
    return slice(max(-shift, 0), min(size - shift, size)), slice(max(shift, 0), min(size + shift, size))
