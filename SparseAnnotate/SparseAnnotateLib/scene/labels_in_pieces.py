"""Reading labels of large segmentations in pieces, between which a person may change them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np

from ..core import BadInputError
from ..core.annotation import DecidedSlices
from ..core.pieces import slabs
from ..core.voxel_boxes import along_axes
from .node_stamps import voxel_stamp
from .segmentation_nodes import labels_of
from .voxel_grids import grid_of


def collecting_labels(
    segmentation_node,
    volume_node,
    values: dict[str, int],
    winners: Sequence[str] | None = None,
    where: DecidedSlices | None = None,
    counting: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
) -> Generator[None, None, np.ndarray | None]:
    """`labels_of` all of a volume, in pieces; None when the segmentation or the volume has changed meanwhile."""
    before = _stamp(segmentation_node, volume_node)
    whole = along_axes(slice(0, n) for n in reversed(volume_node.GetImageData().GetDimensions()))
    shape = [part.stop for part in whole]
    labels: np.ndarray | None = None
    for slab in slabs(shape, 1):
        region = (slab, *whole[1:])
        wanted = where[region] if where is not None else None
        if wanted is not None and labels is not None and not wanted.any():
            continue
        counted = _counting_in(counting, slab)
        into = labels[slab] if labels is not None else None
        try:
            part = labels_of(segmentation_node, volume_node, values, winners, wanted, region, counted, into)
        except BadInputError:
            # What is wrong with all of it.
            return labels_of(segmentation_node, volume_node, values, winners, where, counting=counting)
        if labels is None:
            labels = np.zeros(shape, part.dtype)
            labels[slab] = part
        yield
        if _stamp(segmentation_node, volume_node) != before:
            return None
    return labels


def _counting_in(
    counting: Mapping[str, Mapping[int, Sequence[int]]] | None, slab: slice
) -> dict[str, dict[int, list[int]]]:
    """The slices on which segments count, with the slab's own indices along the first axis."""
    return {
        name: {axis: [index - slab.start if axis == 0 else index for index in found] for axis, found in slices.items()}
        for name, slices in (counting or {}).items()
    }


def _stamp(segmentation_node, volume_node) -> tuple:
    return voxel_stamp(segmentation_node), grid_of(segmentation_node, volume_node)
