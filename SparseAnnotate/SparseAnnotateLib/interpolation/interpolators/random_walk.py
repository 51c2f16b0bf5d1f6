"""Image-guided filling: random walks from the drawn slices through the image, with a shape prior.

Sources: Grady 2006, 'Random walks for image segmentation': the probability that a walker starting at a voxel reaches a
seed of a label first, when edges of the image slow it down; the solution of a sparse linear system. Grady 2005,
'Multilabel random walker image segmentation using prior models': a prior probability per voxel joins as further seeds.
Here the prior combines the shape-based fill and the intensities on the drawn slices; it counts more in narrow gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...core import SparseAnnotation, Watch
from ...core.intensities import Intensities
from ...core.messages import _
from ...core.registry import Need
from ..confidence import scaled
from ..drawn_stack import DrawnStack, Gap, PlaneBox, widened
from ..gap_filling import GapInterpolator, required_image
from ..interpolator import INTERPOLATORS, InterpolatorEntry
from ..label_fields import DrawnSlices

# All lengths in pixels. Measured on the sets of the benchmark `interpolation`; the results change little around them.
_EDGE = 20.0  # beta of Grady 2006, for steps as high as the contrast of the structure
_PRIOR = 1.0  # gamma of Grady 2005, times the square of half the gap
_SPREAD, _SPREAD_GROWTH, _SPREAD_START = 0.5, 1.0, 3.0  # how uncertain the shape prior is of an outline's place
_INTENSITY, _INTENSITY_START = 1.5, 2.0  # weight of the intensities, and the distance at which it is half of that
_BAND, _BAND_GROWTH = 2.0, 2.5  # half-width of the band that is solved for, and its growth with the distance
_WIDEST = 40.0
_MOST_UNKNOWNS = 3_000_000
_BINS = 32
_WEAKEST_EDGE = 1e-5


_Prepared = tuple[np.ndarray, Intensities, float, float]
"""The image with the stack's axis first; its intensities, their lowest value on the drawn slices, and their range."""

_Seen = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(rows, columns) each: a drawn slice's image, the label's mask, and the distance from the mask in pixels."""


@dataclass(frozen=True, eq=False)
class _Slab:
    """Slices of a gap, and the drawn slices beside it, in main-stack order.

    Attributes:
        image: (n, rows, columns) float32, intensities between 0 and 1.
        inner: the undrawn slices within `image`. ends: place within `image` to the index of a drawn slice.
        distance: (count,) float32, pixels from each undrawn slice to the nearest drawn one.
        drawn: (count, rows, columns) bool, drawn in another plane; None with one plane only.
    """

    image: np.ndarray
    inner: slice
    ends: dict[int, int]
    distance: np.ndarray
    drawn: np.ndarray | None


class RandomWalkInterpolator(GapInterpolator):
    """Random walks with a shape prior, label by label, in a band around its outline; memory is bounded by the band."""

    needs_image = True
    uses_image = True

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> _Prepared:
        image = required_image(image)
        intensities, image = Intensities.of(image), drawn.main.moved(image)
        layers = np.stack([image[index] for index in drawn.main.indices])
        if intensities.is_clipped or intensities.is_scaled:
            layers = intensities.shown_in(layers)
        low, high = np.percentile(layers, (0.5, 99.5))
        if low == high:
            low, high = layers.min(), layers.max()
        return image, intensities, float(low), float(high) - float(low) or 1.0

    def _fill_gap(
        self,
        drawn: DrawnSlices,
        gap: Gap,
        prepared: _Prepared,
        out: np.ndarray,
        confidence: np.ndarray,
        watch: Watch,
    ) -> None:
        main, pixel = drawn.main, min(drawn.main.in_plane)
        distance = main.distance()[gap.first : gap.stop].astype(np.float32) * np.float32(main.step / pixel)
        width = np.minimum(_BAND + _BAND_GROWTH * distance, _WIDEST)
        elsewhere = drawn.drawn_elsewhere(gap)
        highest = np.zeros(out.shape, dtype=np.float32)
        rest = np.ones(out.shape, dtype=np.float32)
        winner = np.zeros_like(out)
        for value in drawn.labels_in(gap):
            watch.check()
            field = drawn.field(gap, value)
            if field is None:
                continue
            near = np.flatnonzero((field.values.max((1, 2)) / pixel) > -width)
            if not near.size:
                continue
            # One more slice on either side, without the label: the walk needs a boundary.
            slices = slice(max(near[0] - 1, 0), min(near[-1] + 2, gap.count))
            box = widened(field.box, int(np.ceil(width[slices].max())), main.shape)
            part = (slices, *box)
            drawn_here = elsewhere[part] if elsewhere is not None else None
            slab = _slab(prepared, gap, slices, box, distance[slices], drawn_here)
            truth = {place: main.mask(index, value, box) for place, index in slab.ends.items()}
            distances = _spread_out(field.values[slices], field.box, box, main.in_plane) / pixel
            chance = _walk(slab, distances, truth, out[part] == value, width[slices], main, watch)
            wins = chance > highest[part]
            np.copyto(highest[part], chance, where=wins)
            winner[part][wins] = value
            rest[part] -= chance
        np.copyto(winner, 0, where=highest <= rest)
        keep = slice(None) if elsewhere is None else ~elsewhere
        out[keep] = winner[keep]
        confidence[keep] = scaled(confidence[keep], np.clip(np.maximum(highest, rest), 0, 1)[keep])


def _slab(
    prepared: _Prepared, gap: Gap, slices: slice, box: PlaneBox, distance: np.ndarray, drawn: np.ndarray | None
) -> _Slab:
    """The slab around some of a gap's slices, with the drawn slices beside the gap if these reach them."""
    image, intensities, low, scale = prepared
    first = gap.first + slices.start - (gap.before is not None and slices.start == 0)
    stop = gap.first + slices.stop + (gap.after is not None and slices.stop == gap.count)
    inner = slice(gap.first + slices.start - first, gap.first + slices.stop - first)
    ends = {index - first: index for index in gap.neighbours if first <= index < stop}
    part = np.clip((intensities.of_part(image[(slice(first, stop), *box)]) - low) / scale, 0, 1)
    return _Slab(part, inner, ends, distance, drawn)


def _walk(
    slab: _Slab,
    distances: np.ndarray,
    truth: Mapping[int, np.ndarray],
    drawn_value: np.ndarray,
    width: np.ndarray,
    main: DrawnStack,
    watch: Watch,
) -> np.ndarray:
    """(count, rows, columns) float32: the probability of one label in the slab.

    Args:
        distances: (count, rows, columns) signed distance (pixels) that the shapes predict, positive inside.
        truth: bool masks of the drawn slices, by their place in the slab. drawn_value: (count, rows, columns) bool,
            this label on the drawn slices of other planes.
        width: (count,) half-width of the band to solve for, in pixels.
    """
    unknown = np.abs(distances) < width[:, None, None]
    while np.count_nonzero(unknown) > _MOST_UNKNOWNS:
        width = 0.8 * width
        unknown = np.abs(distances) < width[:, None, None]
    chance = np.zeros(slab.image.shape, dtype=np.float32)
    chance[slab.inner] = distances > 0
    if slab.drawn is not None:
        unknown &= ~slab.drawn
        chance[slab.inner][slab.drawn] = drawn_value[slab.drawn]
    for place, mask in truth.items():
        chance[place] = mask
    if not unknown.any():
        return chance[slab.inner]
    seen = list(_seen(slab, truth, main))
    prior = _prior(slab, distances, seen, float(width.max()))
    free = np.zeros(slab.image.shape, dtype=bool)
    free[slab.inner] = unknown
    chance[free] = _solved(slab, free, chance, prior, _contrast(seen), main, watch)
    return chance[slab.inner]


def _solved(
    slab: _Slab,
    free: np.ndarray,
    chance: np.ndarray,
    prior: np.ndarray,
    contrast: float,
    main: DrawnStack,
    watch: Watch,
) -> np.ndarray:
    """(unknowns,) float32: the random walker's probabilities of the free voxels, all others being seeds."""
    from scipy.sparse import csr_matrix, diags_array  # here, because Slicer reads this file at every start
    from scipy.sparse.linalg import cg

    image, pixel = slab.image, min(main.in_plane)
    weight = np.float32(_PRIOR / max(float(slab.distance.max()), 1.0) ** 2)
    total = np.full(image.shape, weight, dtype=np.float32)
    pull = np.zeros(image.shape, dtype=np.float32)
    pull[slab.inner] = weight * prior
    numbers = np.full(image.shape, -1, dtype=np.int32)
    count = np.count_nonzero(free)
    numbers[free] = np.arange(count, dtype=np.int32)
    seeds = np.where(free, np.float32(0), chance)
    rows, columns, values = [numbers[free]], [numbers[free]], []
    for axis, step in enumerate((main.step, *main.in_plane)):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        # Diffusion would divide by the square of the distance, and thick slices would hardly affect each other.
        edge = np.exp(-_EDGE * ((image[high] - image[low]) / contrast) ** 2) * (pixel / step) + _WEAKEST_EDGE
        edge = edge.astype(np.float32)
        total[low] += edge
        total[high] += edge
        pull[low] += edge * seeds[high]
        pull[high] += edge * seeds[low]
        both = free[low] & free[high]
        one, two = numbers[low][both], numbers[high][both]
        rows += [one, two]
        columns += [two, one]
        values += [-edge[both]] * 2
    diagonal = total[free]
    matrix = csr_matrix(
        (np.concatenate([diagonal, *values]), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    )
    start = np.zeros(image.shape, dtype=np.float32)
    start[slab.inner] = prior
    solution, _status = cg(
        matrix,
        pull[free],
        x0=start[free],
        rtol=1e-3,
        maxiter=300,
        M=diags_array(1 / diagonal),
        callback=lambda _solution: watch.check(),
    )
    chance_of_free: np.ndarray = np.clip(solution, 0, 1)
    return chance_of_free


def _prior(slab: _Slab, distances: np.ndarray, seen: Iterable[_Seen], width: float) -> np.ndarray:
    """(count, rows, columns) float32: prior from shape and intensity; far from drawn slices the shape counts less."""
    away = slab.distance
    spread = _SPREAD + _SPREAD_GROWTH * away**2 / (away + _SPREAD_START)
    trust = _INTENSITY * away / (away + _INTENSITY_START)
    odds = distances / spread[:, None, None]
    ratios = _intensity_odds(seen, width)
    if ratios is not None:
        odds = odds + trust[:, None, None] * ratios[_binned(slab.image[slab.inner])]
    return 1 / (1 + np.exp(-np.clip(odds, -20, 20)))


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
