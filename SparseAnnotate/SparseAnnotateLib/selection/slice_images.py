"""Every slice of a volume as a small square picture, the basis of slice features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import BadInputError, Plane, VolumeGeometry, Watch
from ..core.intensities import Intensities
from ..core.messages import _

INTENSITY_SIZE = 32
_SLAB_VOXELS = 1 << 23  # 32 MiB of float32 at a time
_SAMPLES = 1 << 18


def slice_images(
    image: np.ndarray,
    geometry: VolumeGeometry,
    planes: Sequence[Plane] = tuple(Plane),
    size: int = INTENSITY_SIZE,
    watch: Watch | None = None,
    window: tuple[float, float] | None = None,
) -> dict[Plane, np.ndarray]:
    """Each slice averaged down (or repeated up) to `size` x `size`, the volume's 0.5-99.5 % range scaled to 0-1.

    Volumes of any size, spacing, axis order and direction give comparable pictures: the whole field of view
    is spread over the square, superior up, anterior before right. A constant image gives zeros.

    Args:
        image: (K, J, I) of any real dtype, finite. geometry: of the image.
        window: values that become 0 and 1, instead of percentiles of the volume.

    Returns:
        for each plane (number of slices, size, size) float16, in the order of the volume's own slice indices.
    """
    watch = watch or Watch()
    intensities = Intensities.of(image)
    low, high = window or _robust_range(image, intensities)
    if window and intensities.is_scaled:
        raise BadInputError(_("The image has values far outside of the range of CT. Check its modality."))
    standard = geometry.to_standard_order(image)
    weights = [_averaging(n, size) for n in standard.shape]
    found: dict[Plane, np.ndarray] = {
        plane: np.zeros((standard.shape[axis], size, size), dtype=np.float32)
        for axis, plane in enumerate((Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL))
        if plane in planes
    }
    thickness = max(1, _SLAB_VOXELS // (standard.shape[1] * standard.shape[2]))
    starts = range(0, standard.shape[0] if high > low else 0, thickness)
    for number, start in enumerate(starts):
        watch.step(number / len(starts), _("reading slices"))
        stop = min(start + thickness, standard.shape[0])
        slab = np.ascontiguousarray(intensities.of_part(standard[start:stop]))
        slab -= low
        slab /= high - low
        np.clip(slab, 0.0, 1.0, out=slab)
        along = weights[0][:, start:stop]
        if Plane.AXIAL in found or Plane.CORONAL in found:
            narrow = slab @ weights[2].T
            if Plane.AXIAL in found:
                found[Plane.AXIAL][start:stop] = weights[1] @ narrow
            if Plane.CORONAL in found:
                found[Plane.CORONAL] += np.tensordot(narrow, along, axes=(0, 1)).transpose(0, 2, 1)
        if Plane.SAGITTAL in found:
            found[Plane.SAGITTAL] += np.tensordot(weights[1] @ slab, along, axes=(0, 1)).transpose(1, 2, 0)
    return {plane: _own_order(pictures, plane, geometry).astype(np.float16) for plane, pictures in found.items()}


def _own_order(pictures: np.ndarray, plane: Plane, geometry: VolumeGeometry) -> np.ndarray:
    _axis, index = geometry.to_standard_slice(plane.array_axis(geometry), 0)
    return pictures[::-1] if index else pictures


def _robust_range(image: np.ndarray, intensities: Intensities) -> tuple[float, float]:
    step = max(1, round((image.size / _SAMPLES) ** (1 / 3)))
    sample = intensities.shown_in(image[::step, ::step, ::step]).astype(np.float64)
    low, high = np.percentile(sample, [0.5, 99.5])
    return (low, high) if high > low else (float(sample.min()), float(sample.max()))


def _averaging(count: int, size: int) -> np.ndarray:
    """(size, count) float32; row i averages the voxels that the i-th of `size` equal parts covers."""
    edges = np.linspace(0.0, count, size + 1)
    voxel = np.arange(count)
    overlap = np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel)
    weights = np.clip(overlap, 0.0, None)
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)
