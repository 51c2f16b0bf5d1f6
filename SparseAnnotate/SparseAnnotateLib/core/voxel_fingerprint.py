"""Fingerprints of an image's voxels, which stay the same when its file is compressed or saved in another way."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Generator, Iterator

import numpy as np

from .pieces import slabs

_TYPES = ("<i2", "<f4", "<f8")


def finding_voxel_fingerprint(array: np.ndarray) -> Generator[float, None, str]:
    """24 hexadecimal digits from the values of a (K, J, I) array, whatever its dtype, in pieces.

    Yields 0.0, the share written of a file, after each piece.
    """
    return (yield from finding_fingerprint_of_layers(array.shape, array.itemsize, iter(array)))


def finding_fingerprint_of_layers(
    shape: tuple[int, ...], bytes_per_voxel: int, layers: Iterator[np.ndarray]
) -> Generator[float, None, str]:
    """`finding_voxel_fingerprint` of an array of this shape, of which only one layer, (J, I), is needed at a time."""
    digest = hashlib.sha256("x".join(map(str, shape)).encode())
    for slab in slabs(shape, bytes_per_voxel):
        # Layer by layer: how many of them are in a piece depends on the dtype.
        for _number in range(slab.start, slab.stop):
            # A longer checksum of all voxels takes several times as long.
            digest.update(b"%08x" % zlib.crc32(np.ascontiguousarray(_in_smallest_type(next(layers))).data))
        yield 0.0
    for _rest in layers:  # the end of a file, where its checksum is
        pass
    return digest.hexdigest()[:24]


def _in_smallest_type(layer: np.ndarray) -> np.ndarray:
    """The same values in the first of _TYPES that has them all exactly."""
    for kind in _TYPES[:-1]:
        if np.can_cast(layer.dtype, kind):
            return _without_negative_zeros(layer.astype(kind, copy=False))
        with np.errstate(invalid="ignore", over="ignore"):
            cast = layer.astype(kind)
        # Beyond their range, casts to whole numbers give any value.
        fits = layer.dtype.kind != "f" or kind != "<i2" or float(np.abs(layer).max(initial=0)) < 1 << 15
        if fits and np.array_equal(cast, layer):
            return _without_negative_zeros(cast)
    return _without_negative_zeros(layer.astype(_TYPES[-1]))


def _without_negative_zeros(layer: np.ndarray) -> np.ndarray:
    return layer + layer.dtype.type(0) if layer.dtype.kind == "f" else layer
