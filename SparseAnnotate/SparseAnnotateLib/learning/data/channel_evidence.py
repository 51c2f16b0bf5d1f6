"""What the drawn slices show of each channel: whether it is at the structures as it is anywhere else.

Each piece of a structure on a drawn slice is compared with the same shape at random places of the slice. A channel that
has nothing to do with the structures is there like at any other place: the differences, in standard deviations of what
the random places have, average 0, and their squares average 1. Smooth noise is no exception, because the random places
have it, too. A channel that shows anything of the body differs from that in some way, because drawn structures do not
lie at random places of the body: it is brighter or darker there, has another texture or other edges, or is too much
alike from piece to piece. So is one that only helps to read the others, which is why a channel is also looked at after
what can be computed from the others has been subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from ...core import Cohort, SparseAnnotation
from ...core.array_files import load_array, save_array
from ...core.intensities import Intensities
from ...core.planes import slice_layer
from .image_channels import channels_mark

MEASURES = 6  # three images of a channel, at a piece, and at the piece less what is around it
_IMAGES = MEASURES // 2

_FEWEST_PIECES = 12
_ERRORS = 3.0  # standard errors of noise that a mean may differ from that of noise
_MEAN, _SQUARE = 0.5, 1.0  # and the most that it may differ, so that few pieces are no proof
_MOST_PIECES, _MOST_PER_STRUCTURE = 16, 8  # of a slice
_SMALLEST_PIECE = 3  # pixels
_PLACES = 128
_MOST_PIXELS = 512  # of a piece, evenly spread
_AROUND = 5  # pixels
_TEXTURE = 5  # pixels
_LEAST_DEVIATION = 1e-6  # relative to the channel's on the slice; below, it is uniform
_VERSION = 3  # part of every name in the cache


def case_evidence(cohort: Cohort, name: str, annotation: SparseAnnotation, most_slices: int) -> np.ndarray:
    """(n, 1 + channels x MEASURES) float32: label and measures of each of n pieces of structures on drawn slices.

    Measures are NaN of channels that the case lacks or that are uniform on the slice, and where nothing is around a
    piece. They are kept in the cohort's cache.

    Args:
        most_slices: so many are looked at, evenly spread.

    Raises BadInputError when an image cannot be read.
    """
    marks = f"{cohort.image_fingerprint(name)}-{annotation.fingerprint()}"
    kind = f"{most_slices}-{_VERSION}{channels_mark(cohort.channels)}"
    path = cohort.cache_folder / "channel_evidence" / f"{marks}-{kind}.npy"
    width = 1 + len(cohort.channels) * MEASURES
    kept = load_array(path)
    if kept is not None and kept.ndim == 2 and kept.shape[1] == width:
        return kept
    own = cohort.channel_paths(name)
    here = [number for number, channel in enumerate(cohort.channels) if channel in own]
    places = _shown_slices(annotation, most_slices)
    layers = _layers(cohort, name, [cohort.channels[number] for number in here], annotation, places)
    rows = [np.empty((0, width))]
    for place, layer in zip(places, layers, strict=True):
        undecided = annotation.undecided[place] if annotation.undecided is not None else None
        for value, measures in _pieces(layer, annotation.labels[place], undecided):
            # A uniform channel is like a missing one: such slices must not outweigh those on which it shows something.
            measures[~layer.any((1, 2))] = np.nan
            row = np.full((1, width), np.nan)
            row[0, 0] = value
            row[0, 1:].reshape(-1, MEASURES)[here] = measures
            rows.append(row)
    found = np.concatenate(rows).astype(np.float32)
    save_array(path, found)
    return found


def is_like_noise(measures: np.ndarray) -> bool:
    """Whether (n, MEASURES) measures of a channel, at n pieces of one structure, are certainly those of noise.

    With too few pieces nothing is certain.
    """
    measures = measures[~np.isnan(measures[:, :_IMAGES]).any(1)].astype(np.float64)
    if len(measures) < _FEWEST_PIECES:
        return False
    counts = np.maximum((~np.isnan(measures)).sum(0), 1)
    means, squares = np.nansum(measures, 0) / counts, np.nansum(measures**2, 0) / counts
    usual = counts >= _FEWEST_PIECES  # the surroundings of a structure that fills the slices are not known
    is_mean = np.abs(means) < np.minimum(_MEAN, _ERRORS / counts**0.5)
    is_square = np.abs(squares - 1) < np.minimum(_SQUARE, _ERRORS * (2 / counts) ** 0.5)
    return bool((is_mean & is_square)[usual].all())


def _shown_slices(annotation: SparseAnnotation, most: int) -> list[tuple[int | slice, ...]]:
    """The places of drawn slices that show a structure, at most so many."""
    found = [
        slice_layer(axis, index)
        for axis, indices in annotation.drawn_by_axis().items()
        for index in indices
        if annotation.labels[slice_layer(axis, index)].any()
    ]
    chosen = np.unique(np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int))
    return [found[number] for number in chosen]


def _layers(
    cohort: Cohort,
    name: str,
    channels: Sequence[str],
    annotation: SparseAnnotation,
    places: Sequence[tuple[int | slice, ...]],
) -> Iterator[np.ndarray]:
    """(C, rows, columns) float64 of each slice: its channels with mean 0 and deviation 1, or all 0 where uniform."""
    read: list[list[np.ndarray]] = [[] for _place in places]
    for channel in channels if places else ():
        image = cohort.channel_image(name, channel, annotation.geometry)  # one at a time, because of their memory
        intensities = Intensities.of(image)  # padding must not hide all else, nor squares overflow
        for kept, place in zip(read, places, strict=True):
            kept.append(intensities.of_part(image[place]))  # a copy: a view would keep the image
    for one in read:
        yield np.stack([_standardized(layer.astype(np.float64)) for layer in one])


def _standardized(layer: np.ndarray) -> np.ndarray:
    centered = layer - layer.mean()
    deviation = float(centered.std())
    is_uniform = deviation <= _LEAST_DEVIATION * float(np.abs(layer).max())
    return np.zeros_like(layer) if is_uniform else centered / deviation


def _pieces(layer: np.ndarray, labels: np.ndarray, undecided: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """Label and (C, MEASURES) measures of each piece of a structure on a slice, the largest pieces of each."""
    images = _images(layer)
    shifts = np.random.default_rng(0).integers(0, labels.shape, (_PLACES, 2))
    decided = np.ones(labels.shape, dtype=bool) if undecided is None else ~undecided
    values = np.unique(labels[decided & (labels > 0)]).tolist()
    most = min(_MOST_PER_STRUCTURE, max(1, _MOST_PIECES // max(len(values), 1)))
    for value in values:
        mask = decided & (labels == value)
        pieces, _count = ndimage.label(mask)
        sizes = np.bincount(pieces.ravel())[1:]
        for number in np.argsort(-sizes, kind="stable")[:most].tolist():
            if sizes[number] >= _SMALLEST_PIECE:
                piece = pieces == number + 1
                around = _grown(piece) & decided & ~mask
                yield value, _measures(images, piece, around, shifts)


def _images(layer: np.ndarray) -> np.ndarray:
    """(C, 3, rows, columns): of each channel itself, its local deviation, and what the others do not explain of it."""
    mean, square = (ndimage.uniform_filter(image, (0, _TEXTURE, _TEXTURE)) for image in (layer, layer**2))
    texture = np.sqrt(np.maximum(square - mean**2, 0))
    flat = layer.reshape(len(layer), -1)
    products = flat @ flat.T
    rest = flat.copy()
    for number in range(len(layer)):
        others = np.arange(len(layer)) != number
        factors = np.linalg.lstsq(products[np.ix_(others, others)], products[others, number], rcond=None)[0]
        rest[number] -= factors @ flat[others]
    return np.stack([layer, texture, rest.reshape(layer.shape)], axis=1)


def _grown(piece: np.ndarray) -> np.ndarray:
    """A mask (rows, columns) with what is close to it."""
    rows, columns = (np.flatnonzero(piece.any(axis)) for axis in (1, 0))
    box = tuple(slice(max(int(side[0]) - _AROUND, 0), int(side[-1]) + 1 + _AROUND) for side in (rows, columns))
    found = np.zeros_like(piece)
    found[box] = ndimage.binary_dilation(piece[box], iterations=_AROUND)
    return found


def _measures(images: np.ndarray, piece: np.ndarray, around: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(C, MEASURES) of a piece: what is there, less the mean of the random places, in their standard deviations.

    Of uniform images they are 0.
    """
    inside = _means(images, piece, shifts)
    found = np.concatenate([inside, inside - _means(images, around, shifts)], axis=1)
    deviation = found[..., 1:].std(-1)
    difference = found[..., 0] - found[..., 1:].mean(-1)
    scaled: np.ndarray = difference / np.where(deviation > _LEAST_DEVIATION, deviation, np.inf)
    return scaled


def _means(images: np.ndarray, mask: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(C, 3, 1 + places) means of images in a mask, and in the same mask at other places; NaN without any pixel.

    What leaves the slice on one side enters on the other.
    """
    places = np.argwhere(mask)
    places = places[:: max(1, -(-len(places) // _MOST_PIXELS))]
    if not len(places):
        return np.full((*images.shape[:2], 1 + len(shifts)), np.nan)
    at = (places[None] + np.concatenate([[(0, 0)], shifts])[:, None]) % mask.shape
    found: np.ndarray = images[:, :, at[..., 0], at[..., 1]].mean(-1)
    return found
