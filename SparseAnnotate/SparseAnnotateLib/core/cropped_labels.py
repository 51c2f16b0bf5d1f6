"""Label files that hold a part of their image's grid only, as 3D Slicer's .seg.nrrd files may."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .geometry import VolumeGeometry
from .images import read_image, read_labels
from .messages import _
from .voxel_values import labels_from_values


def read_cropped_labels(path: str | Path, geometry: VolumeGeometry) -> np.ndarray:
    """`read_labels`, also of a file whose voxels are a box of the grid's voxels: the others are 0.

    Nothing is resampled. Raises BadInputError as `read_labels` does, also when the box does not lie within the grid.
    """
    array, own = read_image(path)
    start = _start(own, geometry)
    if own.resembles(geometry) or start is None:
        return read_labels(path, geometry)
    labels = labels_from_values(array, _("The label file '{path}'").format(path=path))
    whole = np.zeros(geometry.shape, labels.dtype)
    k, j, i = (slice(first, first + count) for first, count in zip(start, labels.shape, strict=True))
    whole[k, j, i] = labels
    return whole


def _start(own: VolumeGeometry, geometry: VolumeGeometry) -> tuple[int, int, int] | None:
    """The first voxel (K, J, I) of a box of a grid's voxels; None when it is none."""
    between = np.linalg.solve(geometry.matrix, own.matrix)
    k, j, i = (round(float(offset)) for offset in between[2::-1, 3])
    shifted = geometry.matrix
    shifted[:3, 3] += geometry.matrix[:3, :3] @ (i, j, k)
    is_inside = all(
        first >= 0 and first + count <= n for first, count, n in zip((k, j, i), own.shape, geometry.shape, strict=True)
    )
    box = VolumeGeometry.from_matrix(own.shape, shifted)
    return (k, j, i) if is_inside and own.resembles(box) else None
