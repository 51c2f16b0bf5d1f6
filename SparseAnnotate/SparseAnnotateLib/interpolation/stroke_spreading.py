"""What follows from a stroke in a region: the sparse linear system of `correcting`, and the labels that it gives."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from ..core import SparseAnnotation, Watch
from ..core.corrections import Stroke
from ..core.intensities import Intensities
from ..core.pieces import slabs
from ..core.voxel_boxes import Box, along_axes, bounding_box
from .seen_channels import StructureImage
from .walk_solving import neighbours, solving

_EDGE = 60.0  # beta of Grady 2006, for steps as high as half of the range of the intensities around
_WEAKEST_EDGE = 1e-3
_UNSURE_PULL = 0.15  # where the answer is undecided, as part of the pull where it is certain
_CERTAIN = 100
_SAMPLED = 40  # places along each axis
_NEAR = 8.0  # in-plane pixels
_EVEN = 0.5  # of the range of the whole image
_LEAST_CERTAIN = 0.3  # of the answer, for which a change of .15 is needed
_TOLERANCE, _ITERATIONS = 1e-2, 200  # of the conjugate gradients


@dataclass(frozen=True, eq=False)
class Following:
    """What follows from a stroke in a region; arrays of its shape.

    Attributes:
        labels: of the answer. percent: its confidence, uint8, where it is `touched`.
        change: float32, of the probability of the structure.
    """

    labels: np.ndarray
    percent: np.ndarray
    touched: np.ndarray
    change: np.ndarray


def following(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: StructureImage | None,
    annotation: SparseAnnotation,
    stroke: Stroke,
    region: Box,
    reach: float,
    watch: Watch,
    start: np.ndarray | None = None,
    lost: float = 0.0,
    scaled_by: Box | None = None,
) -> Generator[None, None, Following]:
    """In pieces: what follows from a stroke in a region.

    Args:
        start: float32, of the region's shape, a change to start from. lost: of a single slice, how much of a change
            goes on into the slices beside it, as part of the mean weight of the edges.
        scaled_by: the part of the volume whose range of intensities counts; None: the region.
    """
    steps = annotation.geometry.spacing
    here, sure = labels[region].copy(), confidence[region].astype(np.float32) / _CERTAIN
    yield
    is_label, chance = here == stroke.value, np.empty(here.shape, dtype=np.float32)
    for slab in slabs(here.shape, chance.itemsize):
        # How sure the answer is counts for half only: what is nearly undecided must not change from afar.
        certain = _LEAST_CERTAIN + (1.0 - _LEAST_CERTAIN) * np.clip(2.0 * sure[slab] - 1.0, 0.0, 1.0)
        chance[slab] = np.where(is_label[slab], 0.5 + 0.5 * certain, 0.5 - 0.5 * certain)
        yield
    decided = annotation.known_in(region, stroke.value)
    # What is known stays, whatever follows from the stroke.
    known = annotation.known_in(region)
    yield
    fixed, target = _fixed(annotation, stroke, region, decided, chance)
    watch.check()
    yield
    scaled = None if image is None else (yield from _scaling(image, region, scaled_by))
    yield
    change = yield from _solving(scaled, steps, fixed, target, chance, reach, watch, start, lost)
    after = np.clip(chance + change, 0.0, 1.0)
    yield
    gains = ~is_label & (after > 0.5) & (change > 0) & ~decided & ~known
    yield
    loses = is_label & (after <= 0.5) & (change < 0) & ~decided & ~known
    watch.check()
    yield
    new = here.copy()
    new[gains] = stroke.value
    yield
    if loses.any():
        new[loses] = _instead(here, is_label, loses, steps)
        yield
    said = annotation.corrections.of(stroke.value, region) if annotation.corrections is not None else None
    if said is not None:
        new[said > 0] = stroke.value
        new[(said < 0) & is_label] = 0
    yield
    touched = (np.abs(change) > 0.005) & ~known
    yield
    share = np.where(new == stroke.value, after, 1.0 - after)
    yield
    percent = np.clip(np.round(100 * share), 1, 99).astype(np.uint8)
    return Following(new, percent, touched, change)


def _fixed(
    annotation: SparseAnnotation,
    stroke: Stroke,
    region: Box,
    decided: np.ndarray,
    chance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the change is known, and what it is: float32."""
    fixed = decided.copy()
    target = np.zeros(chance.shape, dtype=np.float32)
    said = annotation.corrections.of(stroke.value, region) if annotation.corrections is not None else None
    if said is not None:
        fixed |= said != 0
        target[said > 0] = 1.0 - chance[said > 0]
        target[said < 0] = -chance[said < 0]
    return fixed, target


def _scaling(image: StructureImage, region: Box, scaled_by: Box | None) -> Generator[None, None, np.ndarray]:
    """In pieces: the image in a region, float32, so that half of its range is 1.

    The range is that in the region, or in places of the part `scaled_by`; where the image is nearly even, so that it
    has nothing but noise, part of the range of the whole image.
    """
    near = image[region]
    if scaled_by is not None:
        near = image[along_axes(slice(s.start, s.stop, max(1, (s.stop - s.start) // _SAMPLED)) for s in scaled_by)]
    conversion = Intensities.of(near)
    yield
    values = conversion.of_part(image[region]).astype(np.float32)
    yield
    every = tuple(slice(None, None, max(1, size // _SAMPLED)) for size in image.shape)
    sample = Intensities.of(image[every]).of_part(image[every])
    parts = (values if scaled_by is None else conversion.of_part(near), sample)
    yield
    ranges = [float(np.subtract(*np.percentile(part, (99, 1)))) for part in parts]
    yield
    scaled: np.ndarray = values / max(ranges[0], _EVEN * ranges[1], 1e-6) * 2.0
    return scaled


def _solving(
    image: np.ndarray | None,
    steps: tuple[float, ...],
    fixed: np.ndarray,
    target: np.ndarray,
    chance: np.ndarray,
    reach: float,
    watch: Watch,
    start: np.ndarray | None,
    lost: float,
) -> Generator[None, None, np.ndarray]:
    """float32, in pieces: the change of the probability in the region; see the top of this file."""
    pixel = min(steps)
    certainty = np.abs(2.0 * chance - 1.0)
    total = ((_UNSURE_PULL + (1.0 - _UNSURE_PULL) * certainty) / reach**2).astype(np.float32)
    result = target.copy()
    free = ~fixed
    yield
    if not free.any():
        return result
    edges = []
    for axis, step in enumerate(steps):
        low, high = neighbours(axis)
        edge = np.full(fixed[low].shape, (pixel / step) ** 2, dtype=np.float32)
        for slab in slabs(edge.shape, edge.itemsize):
            if image is None:
                break
            apart = (image[high][slab] - image[low][slab]) ** 2
            edge[slab] = (np.exp(-_EDGE * apart) + _WEAKEST_EDGE) * (pixel / step) ** 2
            yield
        edges.append(edge)
        yield
    if lost:
        total += np.float32(lost) * _mean_edges(edges, fixed.shape)
    pull = np.zeros(fixed.shape, dtype=np.float32)
    seeds = target * fixed
    result[free] = yield from solving(free, edges, seeds, total, pull, watch, start, _TOLERANCE, _ITERATIONS)
    return result


def _mean_edges(edges: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """float32: the mean weight of the edges of each voxel."""
    sums, counts = np.zeros((2, *shape), dtype=np.float32)
    for axis, edge in enumerate(edges):
        for part in neighbours(axis):
            sums[part] += edge
            counts[part] += 1
    means: np.ndarray = sums / np.maximum(counts, 1)
    return means


def _instead(labels: np.ndarray, is_label: np.ndarray, loses: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """(n,): for the voxels that lose a label, the nearest other label, or the background."""
    from scipy import ndimage

    found = bounding_box(loses)
    margin = _NEAR * min(steps)
    while found is not None:
        # Only as far as it takes: for a large region the distances take long.
        more = [int(np.ceil(margin / step)) for step in steps]
        near = tuple(
            slice(max(side.start - m, 0), min(side.stop + m, size))
            for side, m, size in zip(found, more, labels.shape, strict=True)
        )
        is_all = all(side.stop - side.start == size for side, size in zip(near, labels.shape, strict=True))
        if not is_label[near].all():
            away, nearest = ndimage.distance_transform_edt(is_label[near], sampling=steps, return_indices=True)
            lost = loses[near]
            if is_all or away[lost].max() <= margin:
                other: np.ndarray = labels[near][tuple(axis[lost] for axis in nearest)]
                return other
        elif is_all:
            break
        margin *= 2
    return np.zeros(np.count_nonzero(loses), dtype=labels.dtype)
