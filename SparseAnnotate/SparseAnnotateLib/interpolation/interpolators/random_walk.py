"""Image-guided filling: random walks from the drawn slices through the image, with a shape prior.

Sources: Grady 2006, 'Random walks for image segmentation': the probability that a walker starting at a voxel reaches a
seed of a label first, when edges of the image slow it down; the solution of a sparse linear system. Grady 2005,
'Multilabel random walker image segmentation using prior models': a prior probability per voxel joins as further seeds.
Here the prior combines the shape-based fill, the intensities on the drawn slices, and geodesic distances from them
(`..geodesic`); it counts more in narrow gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...core import SparseAnnotation, Watch
from ...core.messages import _
from ...core.registry import Need
from ..chance_filling import ChanceInterpolator
from ..drawn_stack import DrawnStack, Gap
from ..gap_filling import required_image
from ..geodesic import geodesic_odds
from ..interpolator import INTERPOLATORS, InterpolatorEntry
from ..label_fields import DrawnSlices
from ..label_gaps import LabelGap, probability
from ..seen_channels import SeenChannels, seen_channels
from ..walk_solving import neighbours, solved

# All lengths in pixels. Measured on the sets of the benchmark `interpolation`; the results change little around them.
_EDGE = 20.0  # beta of Grady 2006, for steps as high as the contrast of the structure
_PRIOR, _LEAST_PRIOR = 1.0, 0.1  # gamma of Grady 2005, times the square of half the gap; and the least it can be
_INTENSITY, _INTENSITY_START = 1.5, 2.0  # weight of the intensities, and the distance at which it is half of that
_GEODESIC, _GEODESIC_START = 3.0, 4.0  # the same of the geodesic distances
_CERTAIN = 3.0  # log odds that they reach
_MOST_UNKNOWNS = 3_000_000
_BINS = 32
_WEAKEST_EDGE = 1e-5


_Seen = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(rows, columns) each: a drawn slice's image, the label's mask, and the distance from the mask in pixels."""


@dataclass(frozen=True, eq=False)
class _Slab:
    """Slices of a gap, and the drawn slices beside it, in main-stack order.

    Attributes:
        image: (n, rows, columns) float32, intensities between 0 and 1.
        inner: the undrawn slices within `image`. ends: place within `image` to the index of a drawn slice.
    """

    image: np.ndarray
    inner: slice
    ends: dict[int, int]


class RandomWalkInterpolator(ChanceInterpolator):
    """Random walks with a shape prior, label by label, in a band around its outline; memory is bounded by the band."""

    needs_image = True
    uses_image = True

    def __init__(self) -> None:
        super().__init__({"random_walk": self})

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> SeenChannels:
        """See `ChanceSource`."""
        self._check_image(annotation, image)
        return self.prepared_for(drawn, required_image(image))

    def prepared_for(self, drawn: DrawnSlices, image: np.ndarray) -> SeenChannels:
        """What `chance` needs with an image (K, J, I), or (C, K, J, I), that fits the drawn slices."""
        values = {value for index in drawn.main.indices for value in drawn.main.boxes(index)} | set(drawn.in_order())
        return seen_channels([image] if image.ndim == 3 else image, drawn, values)

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: SeenChannels, watch: Watch) -> np.ndarray:
        """See `ChanceSource`: the probability that a walker reaches the label's seeds first."""
        slab = _slab(prepared, place)
        truth = {at: drawn.main.mask(index, place.value, place.box) for at, index in slab.ends.items()}
        return _walk(slab, place, truth, drawn.main, watch)

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> None:
        """See `ChanceSource`: the image may show background between labels."""


def _slab(prepared: SeenChannels, place: LabelGap) -> _Slab:
    """The slab around some of a gap's slices, with the drawn slices beside the gap if these reach them."""
    gap, slices = place.gap, place.slices
    first = gap.first + slices.start - (gap.before is not None and slices.start == 0)
    stop = gap.first + slices.stop + (gap.after is not None and slices.stop == gap.count)
    inner = slice(gap.first + slices.start - first, gap.first + slices.stop - first)
    ends = {index - first: index for index in gap.neighbours if first <= index < stop}
    return _Slab(prepared.part((slice(first, stop), *place.box), place.value), inner, ends)


def _walk(slab: _Slab, place: LabelGap, truth: Mapping[int, np.ndarray], main: DrawnStack, watch: Watch) -> np.ndarray:
    """(count, rows, columns) float32: the probability of one label in the slab.

    `truth`: bool masks of the drawn slices, by their place in the slab.
    """
    width = place.width
    unknown = np.abs(place.inside) < width[:, None, None]
    while np.count_nonzero(unknown) > _MOST_UNKNOWNS:
        width = 0.8 * width
        unknown = np.abs(place.inside) < width[:, None, None]
    chance = np.zeros(slab.image.shape, dtype=np.float32)
    chance[slab.inner] = place.inside > 0
    if place.elsewhere is not None:
        unknown &= ~place.elsewhere
        chance[slab.inner][place.elsewhere] = place.shown[place.elsewhere]
    for at, mask in truth.items():
        chance[at] = mask
    if not unknown.any():
        return chance[slab.inner]
    seen = list(_seen(slab, truth, main))
    prior = _prior(slab, place, seen, float(width.max()), _by_geodesics(slab, place, truth))
    free = np.zeros(slab.image.shape, dtype=bool)
    free[slab.inner] = unknown
    weight = np.float32(max(_PRIOR / max(float(place.away.max()), 1.0) ** 2, _LEAST_PRIOR))
    chance[free] = _solved(slab, free, chance, prior, weight, _contrast(seen), main, watch)
    return chance[slab.inner]


def _solved(
    slab: _Slab,
    free: np.ndarray,
    chance: np.ndarray,
    prior: np.ndarray,
    weight: np.float32,
    contrast: float,
    main: DrawnStack,
    watch: Watch,
) -> np.ndarray:
    """(unknowns,) float32: the random walker's probabilities of the free voxels, all others being seeds.

    `weight`: of the prior, against edges of 1.
    """
    image, pixel = slab.image, min(main.in_plane)
    total = np.full(image.shape, weight, dtype=np.float32)
    pull, start = np.zeros((2, *image.shape), dtype=np.float32)
    pull[slab.inner] = weight * prior
    start[slab.inner] = prior
    edges = []
    for axis, step in enumerate((main.step, *main.in_plane)):
        low, high = neighbours(axis)
        # Diffusion would divide by the square of the distance, and thick slices would hardly affect each other.
        edge = image[high] - image[low]
        edge /= contrast
        np.square(edge, out=edge)
        edge *= -_EDGE
        np.exp(edge, out=edge)
        edge *= pixel / step
        edge += _WEAKEST_EDGE
        edges.append(edge)
    solution = solved(free, edges, np.where(free, np.float32(0), chance), total, pull, watch, start)
    chance_of_free: np.ndarray = np.clip(solution, 0, 1)
    return chance_of_free


def _prior(slab: _Slab, place: LabelGap, seen: Iterable[_Seen], width: float, by_geodesics: np.ndarray) -> np.ndarray:
    """(count, rows, columns) float32: prior from shape and image; far from drawn slices the shape counts less.

    `by_geodesics`: (count, rows, columns) float32 log odds by geodesic distances.
    """
    odds = place.shape_odds()
    trust = _INTENSITY * place.away / (place.away + _INTENSITY_START)
    ratios = _intensity_odds(seen, width)
    if ratios is not None:
        odds = odds + trust[:, None, None] * ratios[_binned(slab.image[slab.inner])]
    trust = _GEODESIC * place.away / (place.away + _GEODESIC_START)
    return probability(odds + trust[:, None, None] * by_geodesics)


def _by_geodesics(slab: _Slab, place: LabelGap, truth: Mapping[int, np.ndarray]) -> np.ndarray:
    """(count, rows, columns) float32: log odds of a label by geodesic distances from drawn voxels."""
    inside, outside = np.zeros((2, *slab.image.shape), dtype=bool)
    for at, mask in truth.items():
        inside[at], outside[at] = mask, ~mask
    if place.elsewhere is not None:
        inside[slab.inner] |= place.elsewhere & place.shown
        outside[slab.inner] |= place.elsewhere & ~place.shown
    # Where the slab ends before the drawn slice, the label has ended, too.
    for at, beyond in ((0, place.gap.before), (len(slab.image) - 1, place.gap.after)):
        if beyond is not None and at not in truth:
            outside[at] = ~inside[at]
    odds = geodesic_odds(slab.image, inside, outside)[slab.inner]
    return np.clip(odds, -_CERTAIN, _CERTAIN, out=odds)


def _binned(image: np.ndarray) -> np.ndarray:
    return np.minimum((image * _BINS).astype(np.int32), _BINS - 1)


def _intensity_odds(seen: Iterable[_Seen], width: float) -> np.ndarray | None:
    """(bins,) float32 log odds of the label by intensity, from the drawn slices beside the gap; None if unknown."""
    inside, outside = np.zeros(_BINS), np.zeros(_BINS)
    for layer, mask, away in seen:
        bins = _binned(layer)
        inside += np.bincount(bins[mask], minlength=_BINS)
        outside += np.bincount(bins[~mask & (away < width + 2)], minlength=_BINS)
    if not inside.any() or not outside.any():
        return None
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    shares = [np.convolve(found, kernel, "same") / found.sum() + 0.01 for found in (inside, outside)]
    odds: np.ndarray = np.log(shares[0] / shares[1])
    return odds.astype(np.float32)


def _contrast(seen: Iterable[_Seen]) -> float:
    """The difference of the intensities inside the label and right around it, but at least their scatter."""
    found = []
    for layer, mask, away in seen:
        around = ~mask & (away < 3)
        if not around.any():
            continue
        centres = [float(np.median(layer[where])) for where in (mask, around)]
        scatter = [np.median(np.abs(layer[w] - c)) for w, c in zip((mask, around), centres, strict=True)]
        found.append(max(abs(centres[0] - centres[1]), 1.4826 * float(np.mean(scatter)), 0.02))
    return float(np.mean(found)) if found else 0.2


def _seen(slab: _Slab, truth: Mapping[int, np.ndarray], main: DrawnStack) -> Iterator[_Seen]:
    """Image, mask, and distance from the mask (pixels) of every drawn slice beside the gap that shows the label."""
    from scipy import ndimage

    sampling = [s / min(main.in_plane) for s in main.in_plane]
    for place, mask in truth.items():
        if mask.any():
            yield slab.image[place], mask, ndimage.distance_transform_edt(~mask, sampling=sampling)


INTERPOLATORS.add(
    InterpolatorEntry(
        name="random_walk",
        label=_("Random walk"),
        description=_("Follows the edges of the image between the drawn slices, guided by the shape method."),
        make=RandomWalkInterpolator,
        tried_by_auto=True,
        needs=frozenset({Need.IMAGE}),
        order=3,
    )
)
