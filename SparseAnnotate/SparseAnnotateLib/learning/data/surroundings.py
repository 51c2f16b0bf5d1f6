"""The uniform surroundings of an image, where a program has cut something out or filled something up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core import Watch
from ...core.planes import slice_layer
from .training_cases import TrainingCase

_FACES_SHARE = 0.5


def surroundings_value(image: np.ndarray) -> float | None:
    """The value that at least half of the outermost voxels of an image (S, A, R) share; None if there is none.

    It is there where a program has cut out the brain. In air that was measured, values differ.
    """
    faces = [face.ravel() for axis in range(3) for face in (image.take(0, axis), image.take(-1, axis))]
    # Not as float16, which NumPy does not sort properly on all processors.
    values, counts = np.unique(np.concatenate(faces).astype(np.float32), return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= _FACES_SHARE * counts.sum() else None


def without_surroundings(classes: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, int]:
    """Class indices (S, A, R) without those in the uniform surroundings of the image, and how many voxels these were.

    Of an image of several channels, (C, S, A, R), the first counts.

    The surroundings are all voxels with the `surroundings_value` that are connected to the border of the image.
    """
    image = image if image.ndim == 3 else image[0]
    value, sides = surroundings_value(image), [n for n in image.shape if n > 1]
    if value is None or len(sides) < 2 or not np.any((image == value) & (classes > 0)):
        return classes, 0
    import SimpleITK as sitk

    # Holes in the rest of the image are not connected to its border; the margin is a border around all of it.
    rest = np.pad((image != value).astype(np.uint8).reshape(sides), 1)
    inside = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(rest)))
    inside = inside[(slice(1, -1),) * len(sides)].reshape(image.shape)
    wrong = (inside == 0) & (classes > 0)
    return np.where(wrong, 0, classes).astype(classes.dtype), int(np.count_nonzero(wrong))


def structures_keep_out(cases: Sequence[TrainingCase], watch: Watch) -> bool:
    """Whether some images have uniform surroundings, and no structure on any drawn slice reaches into them."""
    found = False
    for case in cases:
        watch.check()
        image, labels = case.image, case.labels
        image = image if image.ndim == 3 else image[0]
        value = surroundings_value(image)
        if value is None:
            continue
        found = True
        for axis, index in (*case.slices, *case.held_out):
            layer = slice_layer(axis, index)
            if np.any((image[layer] == value) & (labels[layer] > 0) & case.decided_on(axis, index)):
                return False
    return found
