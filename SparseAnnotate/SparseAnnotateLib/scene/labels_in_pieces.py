"""Reading labels of large segmentations in pieces, between which a person may change them."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..core import BadInputError
from ..core.pieces import slabs
from ..core.voxel_boxes import along_axes
from .node_stamps import voxel_stamp
from .segmentation_nodes import labels_of
from .voxel_grids import grid_of


def collecting_labels(
    segmentation_node, volume_node, values: dict[str, int]
) -> Generator[None, None, np.ndarray | None]:
    """`labels_of` all of a volume, in pieces; None when the segmentation or the volume has changed meanwhile."""
    before = _stamp(segmentation_node, volume_node)
    whole = along_axes(slice(0, n) for n in reversed(volume_node.GetImageData().GetDimensions()))
    shape = [part.stop for part in whole]
    labels: np.ndarray | None = None
    for slab in slabs(shape, 1):
        try:
            part = labels_of(segmentation_node, volume_node, values, region=(slab, *whole[1:]))
        except BadInputError:
            return labels_of(segmentation_node, volume_node, values)  # what is wrong with all of it
        labels = np.empty(shape, part.dtype) if labels is None else labels
        labels[slab] = part
        yield
        if _stamp(segmentation_node, volume_node) != before:
            return None
    return labels


def _stamp(segmentation_node, volume_node) -> tuple:
    return voxel_stamp(segmentation_node), grid_of(segmentation_node, volume_node)
