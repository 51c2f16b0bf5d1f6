"""What a structure is seen in: the image, or of several channels the one that separates it best, or a mixture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core import SparseAnnotation
from ..core.intensities import Intensities
from .channel_mixtures import ChannelMixture, channel_mixture
from .drawn_stack import FOREGROUND, DrawnStack
from .label_fields import DrawnSlices

_MOST_SAMPLES = 1_000_000  # voxels of the drawn slices whose intensities are compared

_Channel = tuple[np.ndarray, Intensities, float, float]
"""The image with the stack's axis first; its intensities, their lowest value on the drawn slices, and their range."""


@dataclass(frozen=True, eq=False)
class SeenChannels:
    """The image, or its channels, and, of several, how they are mixed for each label."""

    channels: list[_Channel]
    mixtures: Mapping[int, ChannelMixture]

    def part(self, place: tuple[slice, ...], value: int) -> np.ndarray:
        """A part of the volume with the stack's axis first, as one image for a label: float32 between 0 and 1."""
        if len(self.channels) == 1:
            return _scaled(self.channels[0], place)
        return self.mixtures[value].of(lambda number: _scaled(self.channels[number], place))


@dataclass(frozen=True, eq=False)
class MixedImage:
    """A mixture of channels as an image (K, J, I), float32 between 0 and 1: a part is computed when it is read.

    Kept as an array, it would take as much memory as the image for each structure, and seconds in the window.

    Attributes:
        shape: of the volume. seen, value: how the label is seen. axis: of the volume, that of the stack.
    """

    shape: tuple[int, ...]
    seen: SeenChannels
    value: int
    axis: int

    def __getitem__(self, place: tuple[slice, ...]) -> np.ndarray:
        """A part of the volume."""
        others = [part for number, part in enumerate(place) if number != self.axis]
        return np.moveaxis(self.seen.part((place[self.axis], *others), self.value), 0, self.axis)


StructureImage = np.ndarray | MixedImage
"""What shows a structure, (K, J, I)."""


def seen_channels(images: Sequence[np.ndarray] | np.ndarray, main: DrawnStack, values: Iterable[int]) -> SeenChannels:
    """How labels are seen in images (K, J, I), learned on the drawn slices of a stack; of one image nothing is learned.

    Args:
        values: the labels.
    """
    channels = [_channel(one, main) for one in images]
    if len(channels) == 1:
        return SeenChannels(channels, {})
    layers = np.stack([np.stack([_scaled(one, index) for index in main.indices]) for one in channels])
    return SeenChannels(channels, {value: channel_mixture(layers, main, value) for value in values})


def image_of_structure(
    images: Sequence[np.ndarray] | np.ndarray, annotation: SparseAnnotation, value: int
) -> tuple[StructureImage, tuple[float, ...]]:
    """What shows a structure best of images (K, J, I), as the random walk sees it; and the weight of each of them.

    One of the images itself, or where only several together show the structure, a mixture of them. The first one where
    no drawn slice shows the structure.
    """
    if len(images) == 1:
        return images[0], (1.0,)
    annotation = annotation.deciding(value)
    main = DrawnSlices.of(annotation).main if annotation.drawn_by_axis() else None
    if main is None or not any(value in main.boxes(index) for index in main.indices):
        return images[0], (1.0, *(0.0,) * (len(images) - 1))
    seen = seen_channels(images, main, [value])
    weights = tuple(seen.mixtures[value].weights.tolist())
    if np.count_nonzero(weights) == 1:
        return images[int(np.flatnonzero(weights)[0])], weights
    return MixedImage(images[0].shape, seen, value, main.axis), weights


def channel_of_most(images: Sequence[np.ndarray] | np.ndarray, main: DrawnStack) -> int:
    """The number of the image (K, J, I) that shows most of the drawn structures best; the first of equal ones."""
    values = {value for index in main.indices for value in main.boxes(index) if value != FOREGROUND}
    if len(images) == 1 or not values:
        return 0
    votes = np.zeros(len(images), dtype=int)
    for mixture in seen_channels(images, main, sorted(values)).mixtures.values():
        votes[int(np.abs(mixture.weights).argmax())] += 1
    return int(votes.argmax())


def _channel(image: np.ndarray, main: DrawnStack) -> _Channel:
    intensities, image = Intensities.of(image), main.moved(image)
    # Percentiles of all voxels would take a third of the time of filling two gaps of a large volume.
    step = max(1, int(np.ceil((len(main.indices) * image[0].size / _MOST_SAMPLES) ** 0.5)))
    low, high = np.percentile(_drawn(image, main, intensities, step), (0.5, 99.5))
    if low == high:
        every = _drawn(image, main, intensities, 1)
        low, high = every.min(), every.max()
    return image, intensities, float(low), float(high) - float(low) or 1.0


def _drawn(image: np.ndarray, main: DrawnStack, intensities: Intensities, step: int) -> np.ndarray:
    """The intensities of the drawn slices, of every `step`th row and column."""
    layers = np.stack([image[index, ::step, ::step] for index in main.indices])
    return intensities.shown_in(layers) if intensities.is_clipped or intensities.is_scaled else layers


def _scaled(channel: _Channel, place: int | tuple[slice, ...]) -> np.ndarray:
    """A part of a channel, with the stack's axis first, between 0 and 1: float32."""
    image, intensities, low, scale = channel
    found: np.ndarray = np.clip((intensities.of_part(image[place]) - low) / scale, 0, 1)
    return found
