"""Voxels of NIfTI files that are not numbers."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from .errors import BadInputError
from .file_damage import unreadable
from .nifti_header import is_gzip, nifti_header
from .voxel_values import require_finite

_FLOATS = {16: "f4", 64: "f8"}


def require_numbers_in_nifti(path: Path, read: np.ndarray, channel: int, what: str) -> None:
    """Raise NotNumbersError, starting with `what`, when a NIfTI file holds NaN or Inf.

    ITK reads such voxels as 0 and does not say so. So the file is looked through once more, but only if there are
    voxels that could have been such.

    Args:
        read: (K, J, I), what ITK has read. channel: which 3D image of the file that is, from 0.
    """
    header = nifti_header(path)
    if header is None or header.datatype not in _FLOATS or not _may_hide_some(read, header.intercept):
        return
    kind = np.dtype(header.order + _FLOATS[header.datatype])
    layer_shape = read.shape[1:]
    layer_bytes = layer_shape[0] * layer_shape[1] * kind.itemsize
    try:
        with gzip.open(path) if is_gzip(path) else open(path, "rb") as file:
            file.seek(header.offset + channel * len(read) * layer_bytes)
            for index in range(len(read)):
                layer = np.frombuffer(file.read(layer_bytes), dtype=kind).reshape(layer_shape)
                require_finite(layer[None], what, first=index)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise BadInputError(unreadable(path, error)) from error


def _may_hide_some(read: np.ndarray, intercept: float) -> bool:
    zeros = {0.0, intercept} if np.isfinite(intercept) else {0.0}
    return any((layer == read.dtype.type(zero)).any() for layer in read for zero in zeros)
