"""What the drawn slices nearby expect on a single slice, whatever is drawn on that slice itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import SparseAnnotation, Watch
from .drawn_stack import DrawnStack, Gap, PlaneBox, drawn_stacks, joined, widened
from .interpolators.random_walk import RandomWalkInterpolator
from .label_fields import DrawnSlices
from .label_gaps import WIDEST, label_gap

SUREST = 5.0
"""The largest log odds that are given; more than 99 %."""

_NEXT = 2  # drawn slices on either side that count: beyond these none changes a gap
_MOST_VOXELS = 2_000_000  # in the walks for one slice together: half a second
_MOST_OF_IMAGE = 50_000_000  # voxels of the slab that is read for one slice: 200 MB


class ExpectedLabels:
    """The log odds of labels on single slices, drawn or not, by random walks from other drawn slices of the same plane.

    What is drawn on the slice itself, or on slices of other planes, is never looked at, so that it can be compared with
    what is drawn there.

    Args:
        annotation: what is drawn; its labels may be changed later. values: the labels.
        image: (K, J, I), or (C, K, J, I) of several channels; only parts of it are read.
    """

    def __init__(self, annotation: SparseAnnotation, values: Sequence[int], image: np.ndarray):
        self._shape, self._image = annotation.labels.shape, image
        self._stacks: dict[int, list[tuple[tuple[int, ...], DrawnStack]]] = {}
        for known, decided in annotation.structure_groups(values):
            own = tuple(value for value in known if value in values)
            for stack in drawn_stacks(decided) if own else ():
                # Copies, so that the labels of the whole volume need not be kept.
                layers = {place: layer.copy() for place, layer in stack.slices.items()}
                self._stacks.setdefault(stack.axis, []).append((own, stack.with_slices(layers)))

    def odds(self, axis: int, index: int, values: Sequence[int], watch: Watch | None = None) -> np.ndarray:
        """(values, rows, columns) float32 between -`SUREST` and `SUREST`, on the slice across an array axis.

        `values`: some of the labels.

        0 of a label on which no other drawn slice of this plane decides, and where walks would take long: of labels
        that are large, or in a wide gap, the last ones. The same of a label on the outermost drawn slice, too far
        beyond it to be expected there. Raises CancelledError.
        """
        shape = [n for a, n in enumerate(self._shape) if a != axis]
        result = np.zeros((len(values), *shape), dtype=np.float32)
        left = _MOST_VOXELS
        for known, stack in self._stacks.get(axis, ()):
            near = _nearest(stack, index)
            if not near:
                continue
            first, stop = min(*near, index), max(*near, index) + 1
            drawn = DrawnSlices(stack.cropped(first, stop, near))
            gap = next(gap for gap in drawn.main.gaps() if gap.first <= index - first < gap.stop)
            asked, left = _affordable(drawn.main, gap, [value for value in values if value in known], left)
            if not asked or self._image.size // self._shape[axis] * (stop - first) > _MOST_OF_IMAGE:
                continue
            slab = np.moveaxis(np.moveaxis(self._image, axis - 3, 0)[first:stop], 0, axis - 3)
            image = slab.astype(np.float32)
            for value, own in _walks(drawn, gap, index - first, asked, image, watch or Watch()).items():
                result[list(values).index(value)] = own
        return result


def _nearest(stack: DrawnStack, index: int) -> list[int]:
    before = [place for place in stack.indices if place < index]
    after = [place for place in stack.indices if place > index]
    return [*before[-_NEXT:], *after[:_NEXT]]


def _affordable(main: DrawnStack, gap: Gap, values: Sequence[int], most: int) -> tuple[list[int], int]:
    """Those of the labels whose walks through a gap take few voxels together, and how many voxels then are left."""
    found = []
    for value in values:
        box: PlaneBox | None = None
        for index in main.indices:
            box = joined(box, own) if (own := main.boxes(index).get(value)) is not None else box
        rows, columns = widened(box, int(WIDEST), main.shape) if box is not None else (slice(0, 0), slice(0, 0))
        voxels = gap.count * (rows.stop - rows.start) * (columns.stop - columns.start)
        if voxels <= most:
            found.append(value)
            most -= voxels
    return found, most


def _walks(
    drawn: DrawnSlices, gap: Gap, index: int, values: Sequence[int], image: np.ndarray, watch: Watch
) -> dict[int, np.ndarray]:
    """(rows, columns) float32 log odds of those labels that are known, on one undrawn slice of the main stack."""
    main, walk = drawn.main, RandomWalkInterpolator()
    prepared = walk.prepared_for(drawn, image)
    nothing = np.broadcast_to(np.uint8(0), (gap.count, *main.shape))
    found = {}
    for value in values:
        watch.check()
        odds = np.full(main.shape, -SUREST, dtype=np.float32)
        place = label_gap(drawn, gap, value, nothing, None)
        if place is not None and gap.first + place.slices.start <= index < gap.first + place.slices.stop:
            chance = walk.chance(place, drawn, prepared, watch)[index - gap.first - place.slices.start]
            with np.errstate(divide="ignore"):
                odds[place.box] = np.clip(np.log(chance) - np.log1p(-chance), -SUREST, SUREST)
        if gap.is_end and value in main.boxes(gap.neighbours[0]) and odds.max() <= 0:
            continue  # it may go on so far beyond the drawn slices, or not
        found[value] = odds
    return found
