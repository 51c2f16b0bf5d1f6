"""A checksum of a volume's voxels, to see whether its image has been changed."""

from __future__ import annotations

import zlib

import numpy as np
import slicer

from .volume_nodes import geometry_of

_SAMPLES_PER_AXIS = 48


def image_checksum(volume_node) -> str:
    """A checksum of voxels spread over the image; it is the same when Slicer stores the image flipped."""
    geometry = geometry_of(volume_node)
    array = geometry.to_standard_order(slicer.util.arrayFromVolume(volume_node))
    places = [_spread(n) for n in array.shape]
    sample = np.ascontiguousarray(array[np.ix_(*places)])
    return f"{zlib.crc32(sample.tobytes()):08x} {array.dtype} {'x'.join(map(str, array.shape))}"


def _spread(count: int) -> np.ndarray:
    """Indices spread over an axis, the same from both its ends."""
    steps = np.arange(0, count, max(1, count // _SAMPLES_PER_AXIS))
    return np.unique(np.concatenate([steps, count - 1 - steps]))
