"""Corrections spread into an answer: correcting a few voxels changes similar voxels around them, too.

A stroke says of some voxels that they are a structure, or that they are not. The change u of the structure's
probability p that follows from it minimizes

    sum over neighbours i, j of w_ij (u_i - u_j)^2  +  sum over voxels i of g_i u_i^2

with u = 1 - p or -p on the corrected voxels, and u = 0 on drawn slices: a random walk with priors (Grady 2005) for the
change alone, so that an answer without corrections stays as it is. The weights w fall across edges of the image (Grady
2006). The pull g towards the answer sets how far a stroke reaches: about as far as the stroke is from the surface of
the structure, because an error that was corrected in its middle ends there at one side. Beyond three times that far the
change is too small to give a voxel another label: the region around a stroke is all of the volume that it concerns.

A window shows the answer in the slice at hand first (`slice_answer`), and then that in the region, which comes in
pieces (`correcting`); of a region that is large, the part around the middle of the stroke comes before the whole.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..core import BadInputError, SparseAnnotation, Watch
from ..core.corrections import Stroke
from ..core.messages import _
from ..core.pieces import result_of
from ..core.voxel_boxes import Box, along_axes, relative
from .seen_channels import StructureImage
from .stroke_spreading import following

_REACH = 1.6  # how far a stroke reaches, as part of its distance from the surface of the structure
_LEAST_REACH, _MOST_REACH = 1.5, 16.0  # in-plane pixels
_NEW_REACH = 4.0  # where the structure is not near
_MARGIN = 3.0  # of the region around a stroke, in reaches
_MOST_MARGIN = 48.0  # in-plane pixels
_LOST_OF_FLAT, _LOST_OF_THICK = 0.5, 0.1  # of a change in a slice to those beside it; of strokes in one slice or more
_AT_ONCE = 1_300_000  # voxels, a little more than 128 x 128 x 64; of a larger region, a part comes first
_MOST_AT_ONCE = 1 << 24  # voxels, for which about a GB of memory is needed


@dataclass(frozen=True)
class Corrected:
    """What a stroke has changed.

    Attributes:
        region: where; nothing changes outside it. changed: number of voxels with another label.
    """

    region: Box
    changed: int


@dataclass(frozen=True, eq=False)
class PartAnswer:
    """What follows from a stroke in a part of the volume, before all of it is known; to be shown meanwhile.

    Attributes:
        region: the part. labels: of its shape, those of the answer there.
    """

    region: Box
    labels: np.ndarray


def correct(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: StructureImage | None,
    annotation: SparseAnnotation,
    stroke: Stroke,
    watch: Watch | None = None,
) -> Corrected:
    """Spread a stroke into an answer.

    Args:
        labels, confidence: (K, J, I) integer labels and uint8 percent of the answer; changed in place.
        image: (K, J, I); None: the stroke spreads evenly.
        annotation: the drawn slices and the corrections, this stroke among them: what they say stays.
        stroke: the correction. watch: for cancelling; until then nothing has been changed.

    Raises:
        BadInputError: when shapes differ. CancelledError.
    """
    return result_of(correcting(labels, confidence, image, annotation, stroke, watch))


def correcting(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: StructureImage | None,
    annotation: SparseAnnotation,
    stroke: Stroke,
    watch: Watch | None = None,
) -> Generator[PartAnswer | None, None, Corrected]:
    """The same as `correct` in pieces; only the last one changes labels and confidence.

    When the region is large, one of the pieces is the answer in a part of it.
    """
    shape = annotation.geometry.shape
    _check_shapes(labels, confidence, image, shape)
    if not len(stroke.voxels):
        return Corrected((slice(0, 0),) * 3, 0)
    watch = watch or Watch()
    steps = annotation.geometry.spacing
    places = np.stack(np.unravel_index(stroke.voxels, shape))
    reach = _reach(labels, places, stroke, steps, shape)
    region = _around(places, _margin(reach) * min(steps), steps, shape)
    yield None
    if _size(region) > _MOST_AT_ONCE:
        return (yield from _in_tiles(labels, confidence, image, annotation, stroke, region, reach, watch))
    start = None
    part = _part_at_once(region, places, steps)
    if part != region:
        first = yield from following(labels, confidence, image, annotation, stroke, part, reach, watch)
        yield PartAnswer(part, first.labels)
        start = np.zeros([side.stop - side.start for side in region], dtype=np.float32)
        start[relative(part, region)] = first.change
    found = yield from following(labels, confidence, image, annotation, stroke, region, reach, watch, start)
    watch.check()
    here = labels[region].copy()
    np.copyto(confidence[region], found.percent, where=found.touched)
    labels[region] = found.labels
    annotation.restore_known(labels, confidence, region)
    return Corrected(region, int(np.count_nonzero(labels[region] != here)))


def _in_tiles(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: StructureImage | None,
    annotation: SparseAnnotation,
    stroke: Stroke,
    region: Box,
    reach: float,
    watch: Watch,
) -> Generator[PartAnswer | None, None, Corrected]:
    """`correcting` in a region that is too large for the memory: tile by tile, each solved with a margin around it.

    As the region itself ends where the change is too small to give a voxel another label, so do the margins.
    """
    shape, steps = annotation.geometry.shape, annotation.geometry.spacing
    places = np.stack(np.unravel_index(stroke.voxels, shape))
    margin = [int(np.ceil(_margin(reach) * min(steps) / step)) for step in steps]
    tiles: list[tuple[Box, np.ndarray, np.ndarray, np.ndarray]] = []
    for tile in _tiles(region, margin, _MOST_AT_ONCE):
        around = _grown(tile, margin, region)
        if _within(places, around).any():
            given = labels, confidence, image, annotation, stroke, around, reach, watch
            found = yield from following(*given, scaled_by=region)
            kept = relative(tile, around)
            tiles.append((tile, found.labels[kept].copy(), found.percent[kept].copy(), found.touched[kept].copy()))
        yield None
    watch.check()
    before = labels[region].copy()
    for tile, new, percent, touched in tiles:
        np.copyto(confidence[tile], percent, where=touched)
        labels[tile] = new
    annotation.restore_known(labels, confidence, region)
    return Corrected(region, int(np.count_nonzero(labels[region] != before)))


def _grown(tile: Box, margin: list[int], region: Box) -> Box:
    """A tile with a margin around it, in voxels, as far as the region goes."""
    sides = zip(tile, margin, region, strict=True)
    return along_axes(slice(max(t.start - m, r.start), min(t.stop + m, r.stop)) for t, m, r in sides)


def _within(places: np.ndarray, box: Box) -> np.ndarray:
    """(n,) bool: which of some places, (3, n), lie in a box."""
    sides = zip(places, box, strict=True)
    found: np.ndarray = np.all([(along >= side.start) & (along < side.stop) for along, side in sides], axis=0)
    return found


def _tiles(region: Box, margin: list[int], most: int) -> list[Box]:
    """A region in tiles of which each has, with the margin around it, no more than `most` voxels if possible."""
    counts = [1, 1, 1]
    sizes = [side.stop - side.start for side in region]

    def widths() -> list[int]:
        return [-(-size // count) for size, count in zip(sizes, counts, strict=True)]

    while True:
        whole = [min(width + 2 * m, size) for width, m, size in zip(widths(), margin, sizes, strict=True)]
        divisible = [axis for axis in range(3) if widths()[axis] > max(margin[axis], 1)]
        if np.prod(whole, dtype=np.int64) <= most or not divisible:
            break
        counts[max(divisible, key=lambda axis: widths()[axis] / max(margin[axis], 1))] += 1
    cuts = [
        [slice(first, min(first + width, side.stop)) for first in range(side.start, side.stop, width)]
        for side, width in zip(region, widths(), strict=True)
    ]
    return [along_axes(sides) for sides in product(*cuts)]


def _size(region: Box) -> int:
    return int(np.prod([side.stop - side.start for side in region], dtype=np.int64))


def _margin(reach: float) -> float:
    """In-plane pixels around a stroke outside which it changes nothing."""
    return min(_MARGIN * reach + 2.0, _MOST_MARGIN)


def slice_answer(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: StructureImage | None,
    annotation: SparseAnnotation,
    stroke: Stroke,
    axis: int,
    index: int,
) -> PartAnswer:
    """What follows from a stroke in one slice through it, which takes far less time than `correct`; nothing is changed.

    The same system in two dimensions. Part of the change goes on into the slices beside it, and is lost.

    Args:
        labels, confidence, image, annotation, stroke: as for `correct`.
        axis, index: array axis across the slice, and its place on that axis.

    Raises BadInputError when shapes differ.
    """
    shape, steps = annotation.geometry.shape, annotation.geometry.spacing
    _check_shapes(labels, confidence, image, shape)
    places = np.stack(np.unravel_index(stroke.voxels, shape))
    reach = _reach(labels, places, stroke, steps, shape)
    share = _LOST_OF_FLAT if np.ptp(places[axis]) == 0 else _LOST_OF_THICK
    places = places[:, places[axis] == index]
    if not places.size:
        return PartAnswer((slice(0, 0),) * 3, labels[:0, :0, :0])
    sides = list(_around(places, _margin(reach) * min(steps), steps, shape))
    sides[axis] = slice(index, index + 1)
    region = (sides[0], sides[1], sides[2])
    # To both sides, where it falls off as it does over the reach.
    across = steps[axis] / min(steps)
    lost = 2.0 * share / across**2 * (1.0 - float(np.exp(-across / reach)))
    given = labels, confidence, image, annotation, stroke, region, reach
    found = result_of(following(*given, Watch(), lost=lost))
    return PartAnswer(region, found.labels)


def slice_at_hand(stroke: Stroke, annotation: SparseAnnotation) -> tuple[int, int]:
    """Array axis and index of the slice that a stroke was probably painted in: across the stroke's shortest side."""
    steps = annotation.geometry.spacing
    places = np.stack(np.unravel_index(stroke.voxels, annotation.geometry.shape))
    axis = int(np.argmin([np.ptp(along) * step for along, step in zip(places, steps, strict=True)]))
    return axis, int(np.median(places[axis]))


def reachable(stroke: Stroke, annotation: SparseAnnotation) -> Box:
    """The part of a volume outside which a stroke changes nothing."""
    shape, steps = annotation.geometry.shape, annotation.geometry.spacing
    return _around(np.stack(np.unravel_index(stroke.voxels, shape)), _MOST_MARGIN * min(steps), steps, shape)


def _check_shapes(
    labels: np.ndarray, confidence: np.ndarray, image: StructureImage | None, shape: tuple[int, ...]
) -> None:
    if labels.shape != shape or confidence.shape != shape or (image is not None and image.shape != shape):
        raise BadInputError(_("Answer, image and annotation differ in shape: corrections need all on the same grid."))


def _part_at_once(region: Box, places: np.ndarray, steps: tuple[float, ...]) -> Box:
    """A region, or the part of it around the middle of a stroke that is small enough to come at once."""
    sizes = [side.stop - side.start for side in region]
    while np.prod(sizes, dtype=np.int64) > _AT_ONCE:
        longest = max(range(3), key=lambda axis: sizes[axis] * steps[axis])
        sizes[longest] = max(1, sizes[longest] * 3 // 4)
    voxel = places[:, places.shape[1] // 2]
    sides = []
    for side, size, middle in zip(region, sizes, voxel.tolist(), strict=True):
        first = min(max(middle - size // 2, side.start), side.stop - size)
        sides.append(slice(first, first + size))
    return sides[0], sides[1], sides[2]


def _reach(
    labels: np.ndarray, places: np.ndarray, stroke: Stroke, steps: tuple[float, ...], shape: tuple[int, ...]
) -> float:
    """How far a stroke reaches, in in-plane pixels: by its distance from where the answer changes."""
    from scipy import ndimage  # here, because Slicer reads this file at every start

    pixel = min(steps)
    near = _around(places, 1.5 * _MOST_REACH * pixel, steps, shape)
    is_label = labels[near] == stroke.value
    wrong = ~is_label if stroke.is_in else is_label
    inside = tuple(axis - part.start for axis, part in zip(places, near, strict=True))
    if not wrong[inside].any():
        return _LEAST_REACH  # the answer says the same already
    if wrong.all():
        return _NEW_REACH if stroke.is_in else _MOST_REACH
    # Farther than this counts for no more, so that large strokes can be measured tile by tile.
    farthest = _MOST_REACH / _REACH
    margin = [int(np.ceil(farthest * pixel / step)) + 1 for step in steps]
    whole = along_axes(slice(0, size) for size in wrong.shape)
    deepest = 0.0
    for tile in _tiles(whole, margin, _AT_ONCE):
        here = _within(np.stack(inside), tile)
        if not here.any():
            continue
        around = _grown(tile, margin, whole)
        if wrong[around].all():
            return _MOST_REACH
        away = ndimage.distance_transform_edt(wrong[around], sampling=[step / pixel for step in steps])
        reached = tuple(axis[here] - side.start for axis, side in zip(inside, around, strict=True))
        deepest = max(deepest, float(np.max(away[reached])))
        if deepest >= farthest:
            break
    return float(np.clip(_REACH * deepest, _LEAST_REACH, _MOST_REACH))


def _around(places: np.ndarray, margin: float, steps: tuple[float, ...], shape: tuple[int, ...]) -> Box:
    """The box around voxels, with a margin in mm, within the volume."""
    sides = []
    for axis in range(3):
        more = int(np.ceil(margin / steps[axis]))
        sides.append(
            slice(max(int(places[axis].min()) - more, 0), min(int(places[axis].max()) + more + 1, shape[axis]))
        )
    return sides[0], sides[1], sides[2]
