"""The extent of a volume that holds the body, so that air is not recommended for drawing."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..core.intensities import Intensities
from ..core.pieces import result_of

_SAMPLES_PER_AXIS = 96
_SMALLEST_SHARE_OF_LARGEST_SLICE = 0.02

Extents = tuple[tuple[int, int], ...]


def body_extents(image: np.ndarray) -> Extents:
    """First and last slice (both included) along each array axis that the body reaches.

    The body is the largest connected part brighter than Otsu's threshold, in a coarse sample of the image. Where it
    reaches less than a tenth of the slices of an axis, the threshold has found something else: the whole axis counts.

    Args:
        image: (K, J, I) of any real dtype, finite.
    """
    return result_of(finding_body_extents(image))


def finding_body_extents(image: np.ndarray) -> Generator[None, None, Extents]:
    """`body_extents` in pieces."""
    import SimpleITK as sitk  # here, because Slicer reads this file at every start
    from scipy import ndimage

    steps = [max(1, n // _SAMPLES_PER_AXIS) for n in image.shape]
    intensities = Intensities.of(image)
    yield
    sample = image[tuple(slice(None, None, step) for step in steps)]
    padding, shown, sample = intensities.is_padding(sample), intensities.shown_in(sample), intensities.of_part(sample)
    whole = tuple((0, n - 1) for n in image.shape)
    # A few very bright voxels must not push the threshold above the body.
    low, high = np.percentile(shown, [0.5, 99.5])
    if high <= low:
        return whole
    yield
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.Execute(sitk.GetImageFromArray(np.clip(shown, low, high).reshape(1, -1)))
    bright = (np.clip(sample, low, high) > np.float32(otsu.GetThreshold())) & ~padding
    yield
    parts, count = ndimage.label(bright)
    if not count:
        return whole
    body = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    extents = []
    for axis, (size, step) in enumerate(zip(image.shape, steps, strict=True)):
        area = body.sum(axis=tuple(a for a in range(3) if a != axis))
        reached = np.flatnonzero(area > _SMALLEST_SHARE_OF_LARGEST_SLICE * area.max())
        first, last = int(reached[0]) * step, min(int(reached[-1]) * step + step - 1, size - 1)
        extents.append((first, last) if 10 * (last - first + 1) >= size else (0, size - 1))
    return tuple(extents)
