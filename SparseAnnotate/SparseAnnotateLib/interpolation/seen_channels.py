"""What a structure is seen in: the image, or of several channels the one that separates it best, or a mixture."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core import SparseAnnotation
from ..core.intensities import Intensities
from ..core.pieces import result_of
from .channel_mixtures import ChannelMixture, finding_mixture
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


def seen_channels(images: Sequence[np.ndarray] | np.ndarray, drawn: DrawnSlices, values: Iterable[int]) -> SeenChannels:
    """How labels are seen in images (K, J, I), learned on the drawn slices; of one image nothing is learned.

    Args:
        values: the labels. Each is learned on the main stack, or on the first other one if only others show it.
    """
    return result_of(finding_channels(images, drawn, values))


def finding_channels(
    images: Sequence[np.ndarray] | np.ndarray, drawn: DrawnSlices, values: Iterable[int]
) -> Generator[None, None, SeenChannels]:
    """`seen_channels` in pieces."""
    channels = []
    for image in images:
        channels.append(_channel(image, drawn.main))
        yield
    if len(channels) == 1:
        return SeenChannels(channels, {})
    labels = [(stack, _labels_on(stack)) for stack in drawn.stacks]
    stack_of = {value: next((stack for stack, shown in labels if value in shown), drawn.main) for value in values}
    mixtures: dict[int, ChannelMixture] = {}
    for stack in drawn.stacks:
        here = [value for value, own in stack_of.items() if own is stack]
        if here:
            layers = yield from _layers(images, channels, stack)
            for value in here:
                mixtures[value] = yield from finding_mixture(layers, stack, value)
    return SeenChannels(channels, mixtures)


def image_of_structure(
    images: Sequence[np.ndarray] | np.ndarray, annotation: SparseAnnotation, value: int
) -> tuple[StructureImage, tuple[float, ...]]:
    """What shows a structure best of images (K, J, I), as the random walk sees it; and the weight of each of them.

    One of the images itself, or where only several together show the structure, a mixture of them. The first one where
    no drawn slice shows the structure.
    """
    return result_of(finding_image_of_structure(images, annotation, value))


def finding_image_of_structure(
    images: Sequence[np.ndarray] | np.ndarray, annotation: SparseAnnotation, value: int
) -> Generator[None, None, tuple[StructureImage, tuple[float, ...]]]:
    """`image_of_structure` in pieces."""
    if len(images) == 1:
        return images[0], (1.0,)
    annotation = annotation.deciding(value)
    drawn = DrawnSlices.of(annotation) if annotation.drawn_by_axis() else None
    if drawn is None or not any(value in _labels_on(stack) for stack in drawn.stacks):
        return images[0], (1.0, *(0.0,) * (len(images) - 1))
    seen = yield from finding_channels(images, drawn, [value])
    weights = tuple(seen.mixtures[value].weights.tolist())
    if np.count_nonzero(weights) == 1:
        return images[int(np.flatnonzero(weights)[0])], weights
    return MixedImage(images[0].shape, seen, value, drawn.main.axis), weights


def channel_of_most(images: Sequence[np.ndarray] | np.ndarray, annotation: SparseAnnotation) -> int:
    """The number of the image (K, J, I) that shows most of the drawn structures best; the first of equal ones.

    Each structure is judged on the slices that decide it, and only on those of their main stack.
    """
    votes = np.zeros(len(images), dtype=int)
    if len(images) == 1 or not annotation.drawn_by_axis():
        return 0
    for values, decided in annotation.structure_groups():
        drawn = DrawnSlices.of(decided)
        shown = sorted(_labels_on(drawn.main).intersection(values))
        if shown:
            for mixture in seen_channels(images, drawn, shown).mixtures.values():
                votes[int(np.abs(mixture.weights).argmax())] += 1
    return int(votes.argmax())


def _labels_on(stack: DrawnStack) -> set[int]:
    return {value for index in stack.indices for value in stack.boxes(index)} - {FOREGROUND}


def _layers(
    images: Sequence[np.ndarray] | np.ndarray, channels: Sequence[_Channel], stack: DrawnStack
) -> Generator[None, None, np.ndarray]:
    """(C, n, rows, columns) float32 between 0 and 1: the drawn slices of a stack, which need not be the main one."""
    layers = np.empty((len(channels), len(stack.indices), *stack.shape), dtype=np.float32)
    for number, (image, channel) in enumerate(zip(images, channels, strict=True)):
        moved = (stack.moved(image), *channel[1:])
        for place, index in enumerate(stack.indices):
            layers[number, place] = _scaled(moved, index)
            yield
    return layers


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
