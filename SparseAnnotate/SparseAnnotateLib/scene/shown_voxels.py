"""Fills segmentations that only show something with voxels of a volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
from vtk.util import numpy_support

from .segmentation_layers import new_segment_id
from .voxel_grids import volume_layer


def show_voxels(
    segmentation_node,
    volume_node,
    shape: tuple[int, int, int],
    wanted: Mapping[str, tuple[np.ndarray, tuple[float, ...]]],
) -> None:
    """Make a segmentation show voxels of a volume, and nothing else.

    Args:
        shape: (K, J, I) of the volume.
        wanted: name of each segment to its places in the flattened array, (n,) int64, and its colour (r, g, b). There
            are no segments for those without any voxel.
    """
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    shown, logic = segmentation_node.GetSegmentation(), slicer.vtkSlicerSegmentationsModuleLogic
    with slicer.util.NodeModify(segmentation_node):
        shown.RemoveAllSegments()
        for name, (voxels, colour) in wanted.items():
            if len(voxels):
                segment_id = shown.AddEmptySegment(new_segment_id(segmentation_node, name), name, colour)
                piece = _piece(voxels, shape, segmentation_node, volume_node)
                logic.SetBinaryLabelmapToSegment(piece, segmentation_node, segment_id, logic.MODE_REPLACE)


def _piece(voxels: np.ndarray, shape: tuple[int, int, int], segmentation_node, volume_node):
    """The smallest image around some voxels, which has them as 1."""
    places = np.stack(np.unravel_index(voxels, shape))
    low, high = places.min(axis=1), places.max(axis=1)
    mask = np.zeros(high - low + 1, dtype=np.uint8)
    mask[tuple(places - low[:, None])] = 1
    extent = [int(bound) for pair in zip(low[::-1], high[::-1], strict=True) for bound in pair]
    piece = volume_layer(extent, segmentation_node, volume_node)
    piece.GetPointData().SetScalars(numpy_support.numpy_to_vtk(mask.ravel(), deep=True))
    return piece
