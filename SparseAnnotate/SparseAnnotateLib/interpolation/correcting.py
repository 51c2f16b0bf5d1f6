"""Corrections spread into an answer: correcting a few voxels changes similar voxels around them, too.

A stroke says of some voxels that they are a structure, or that they are not. The change u of the structure's
probability p that follows from it minimizes

    sum over neighbours i, j of w_ij (u_i - u_j)^2  +  sum over voxels i of g_i u_i^2

with u = 1 - p or -p on the corrected voxels, and u = 0 on drawn slices: a random walk with priors (Grady 2005) for the
change alone, so that an answer without corrections stays as it is. The weights w fall across edges of the image (Grady
2006). The pull g towards the answer sets how far a stroke reaches: about as far as the stroke is from the surface of
the structure, because an error that was corrected in its middle ends there at one side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core import BadInputError, SparseAnnotation, Watch
from ..core.corrections import Stroke
from ..core.intensities import Intensities
from ..core.messages import _
from .walk_solving import neighbours, solved

_EDGE = 60.0  # beta of Grady 2006, for steps as high as half of the range of the intensities around
_WEAKEST_EDGE = 1e-3
_REACH = 1.6  # how far a stroke reaches, as part of its distance from the surface of the structure
_LEAST_REACH, _MOST_REACH = 1.5, 16.0  # in-plane pixels
_NEW_REACH = 4.0  # where the structure is not near
_UNSURE_PULL = 0.15  # where the answer is undecided, as part of the pull where it is certain
_MARGIN = 3.0  # of the region around a stroke, in reaches
_MOST_MARGIN = 48.0  # in-plane pixels
_CERTAIN = 100
_SAMPLED = 40  # places along each axis
_EVEN = 0.5  # of the range of the whole image
_LEAST_CERTAIN = 0.3  # of the answer, for which a change of .15 is needed


@dataclass(frozen=True)
class Corrected:
    """What a stroke has changed.

    Attributes:
        region: where; nothing changes outside it. changed: number of voxels with another label.
    """

    region: tuple[slice, slice, slice]
    changed: int


def correct(
    labels: np.ndarray,
    confidence: np.ndarray,
    image: np.ndarray | None,
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
    shape = annotation.geometry.shape
    if labels.shape != shape or confidence.shape != shape or (image is not None and image.shape != shape):
        raise BadInputError(_("Answer, image and annotation differ in shape: corrections need all on the same grid."))
    if not len(stroke.voxels):
        return Corrected((slice(0, 0),) * 3, 0)
    watch = watch or Watch()
    steps = annotation.geometry.spacing
    pixel = min(steps)
    places = np.stack(np.unravel_index(stroke.voxels, shape))
    reach = _reach(labels, places, stroke, steps, shape)
    region = _around(places, min(_MARGIN * reach + 2.0, _MOST_MARGIN) * pixel, steps, shape)
    here, sure = labels[region].copy(), confidence[region].astype(np.float32) / _CERTAIN
    is_label = here == stroke.value
    # How sure the answer is counts for half only: what is nearly undecided must not change from afar.
    certain = _LEAST_CERTAIN + (1.0 - _LEAST_CERTAIN) * np.clip(2.0 * sure - 1.0, 0.0, 1.0)
    chance = np.where(is_label, 0.5 + 0.5 * certain, 0.5 - 0.5 * certain).astype(np.float32)
    decided = annotation.known_in(region, stroke.value)
    fixed, target = _fixed(annotation, stroke, region, decided, chance)
    watch.check()
    change = _solved(None if image is None else _scaled(image, region), steps, fixed, target, chance, reach, watch)
    after = np.clip(chance + change, 0.0, 1.0)
    gains = ~is_label & (after > 0.5) & (change > 0)
    loses = is_label & (after <= 0.5) & (change < 0)
    # What is known stays, whatever follows from the stroke.
    known = annotation.known_in(region)
    gains &= ~decided & ~known
    loses &= ~decided & ~known
    watch.check()
    new = here.copy()
    new[gains] = stroke.value
    if loses.any():
        new[loses] = _instead(here, is_label, steps)[loses]
    touched = np.abs(change) > 0.005
    percent = np.clip(np.round(100 * np.where(new == stroke.value, after, 1.0 - after)), 1, 99)
    np.copyto(confidence[region], percent.astype(np.uint8), where=touched & ~known)
    labels[region] = new
    annotation.restore_known(labels, confidence, region)
    return Corrected(region, int(np.count_nonzero(labels[region] != here)))


def reachable(stroke: Stroke, annotation: SparseAnnotation) -> tuple[slice, slice, slice]:
    """The part of a volume outside which a stroke changes nothing."""
    shape, steps = annotation.geometry.shape, annotation.geometry.spacing
    return _around(np.stack(np.unravel_index(stroke.voxels, shape)), _MOST_MARGIN * min(steps), steps, shape)


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
    away = ndimage.distance_transform_edt(wrong, sampling=[step / pixel for step in steps])
    return float(np.clip(_REACH * np.max(away[inside]), _LEAST_REACH, _MOST_REACH))


def _around(
    places: np.ndarray, margin: float, steps: tuple[float, ...], shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """The box around voxels, with a margin in mm, within the volume."""
    sides = []
    for axis in range(3):
        more = int(np.ceil(margin / steps[axis]))
        sides.append(
            slice(max(int(places[axis].min()) - more, 0), min(int(places[axis].max()) + more + 1, shape[axis]))
        )
    return sides[0], sides[1], sides[2]


def _fixed(
    annotation: SparseAnnotation,
    stroke: Stroke,
    region: tuple[slice, slice, slice],
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


def _scaled(image: np.ndarray, region: tuple[slice, slice, slice]) -> np.ndarray:
    """The image in a region, float32, so that half of its range is 1.

    The range is that in the region; where the image is nearly even, so that it has nothing but noise, part of the range
    of the whole image.
    """
    values = Intensities.of(image[region]).of_part(image[region]).astype(np.float32)
    every = tuple(slice(None, None, max(1, size // _SAMPLED)) for size in image.shape)
    sample = Intensities.of(image[every]).of_part(image[every])
    ranges = [float(np.subtract(*np.percentile(part, (99, 1)))) for part in (values, sample)]
    scaled: np.ndarray = values / max(ranges[0], _EVEN * ranges[1], 1e-6) * 2.0
    return scaled


def _solved(
    image: np.ndarray | None,
    steps: tuple[float, ...],
    fixed: np.ndarray,
    target: np.ndarray,
    chance: np.ndarray,
    reach: float,
    watch: Watch,
) -> np.ndarray:
    """float32: the change of the probability in the region; see the top of this file."""
    pixel = min(steps)
    certainty = np.abs(2.0 * chance - 1.0)
    total = ((_UNSURE_PULL + (1.0 - _UNSURE_PULL) * certainty) / reach**2).astype(np.float32)
    result = target.copy()
    free = ~fixed
    if not free.any():
        return result
    edges = []
    for axis, step in enumerate(steps):
        low, high = neighbours(axis)
        edge = np.full(fixed[low].shape, 1.0, dtype=np.float32)
        if image is not None:
            edge = np.exp(-_EDGE * (image[high] - image[low]) ** 2) + _WEAKEST_EDGE
        edges.append((edge * (pixel / step) ** 2).astype(np.float32))
    pull = np.zeros(fixed.shape, dtype=np.float32)
    result[free] = solved(free, edges, target * fixed, total, pull, watch, tolerance=1e-2, iterations=200)
    return result


def _instead(labels: np.ndarray, is_label: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """For the voxels of a label, the nearest other label, or the background."""
    from scipy import ndimage

    if is_label.all():
        return np.zeros_like(labels)
    nearest = ndimage.distance_transform_edt(is_label, sampling=steps, return_distances=False, return_indices=True)
    other: np.ndarray = labels[tuple(nearest)]
    return other
