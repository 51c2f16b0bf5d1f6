"""The prediction of one slice of a volume: only the slab that the network sees for it is predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...core import Watch
from ...core.planes import slice_layer
from ..data.image_channels import part_of
from .trained_model import TrainedModel
from .volume_prediction import predicted_classes


def slab_around(shape: tuple[int, ...], axis: int, index: int, thickness: int) -> tuple[tuple[slice, ...], int]:
    """The part of a volume of this shape around a slice, and its first index along the axis."""
    low = max(0, min(index - thickness // 2, shape[axis] - thickness))
    return tuple(slice(low, min(low + thickness, n)) if a == axis else slice(0, n) for a, n in enumerate(shape)), low


def for_slices(model: TrainedModel, axis: int) -> tuple[TrainedModel, int]:
    """The model as it predicts slices across an axis, and how many slices it has to see for one of them."""
    return (replace(model, planes=(axis,)), 1) if model.role == "2d" else (model, model.patch[axis])


def slice_classes(model: TrainedModel, image: np.ndarray, axis: int, index: int, watch: Watch) -> np.ndarray:
    """Most likely class of every pixel of a slice, (rows, columns) uint8 or uint16. Raises CancelledError.

    Args:
        model: a 2D or 3D one. image: ([C,] S, A, R) normalised, as in training.
        axis, index: the slice across that axis of the image.
    """
    model, thickness = for_slices(model, axis)
    part, low = slab_around(image.shape[-3:], axis, index, thickness)
    found: np.ndarray = predicted_classes(model, part_of(image, part), watch.quiet())[slice_layer(axis, index - low)]
    return found
