"""Parts of a volume's array, and the number of voxels drawn there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.voxel_boxes import Box, along_axes
from .segmentation_nodes import geometry_problem, masks_of


def slice_region(shape: Sequence[int], axis: int, index: int) -> Box:
    """The part of a (K, J, I) array that one slice occupies, as slices with start and stop."""
    return along_axes(slice(index, index + 1) if a == axis else slice(0, n) for a, n in enumerate(shape))


def whole_region(shape: Sequence[int]) -> Box:
    """All of a (K, J, I) array, as slices with start and stop."""
    return along_axes(slice(0, n) for n in shape)


def voxels_in(segmentation_node, volume_node, region: Box) -> int:
    """Voxels of all segments together in a part of the volume; 0 when the segmentation does not lie on its voxels."""
    if geometry_problem(segmentation_node, volume_node) is not None:
        return 0
    return sum(int(np.count_nonzero(mask)) for _, _, mask in masks_of(segmentation_node, volume_node, region))
