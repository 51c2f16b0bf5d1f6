"""How the voxel grids of a volume and a segmentation relate: the same voxels, with axes swapped, flipped or shifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from ..core.voxel_boxes import along_axes
from .volume_nodes import local_ijk_to_ras, matrix_array, vtk_matrix, world_from_node

_ALIGNED_VOXELS = 1e-2


def volume_ijk_to_segmentation(segmentation_node, volume_node) -> np.ndarray:
    """(4, 4) matrix from voxel index of the volume's array to the segmentation's own coordinates (mm).

    Under the same parent transform, even a non-linear one, both have the same coordinates. Raises BadInputError, naming
    the node, when their parent transforms differ and one of them is non-linear.
    """
    matrix = local_ijk_to_ras(volume_node)
    if segmentation_node.GetTransformNodeID() == volume_node.GetTransformNodeID():
        return matrix
    return np.linalg.solve(world_from_node(segmentation_node), world_from_node(volume_node) @ matrix)


def grid_of(segmentation_node, volume_node) -> tuple:
    """A value that changes when the volume gets another grid, or is moved against a segmentation."""
    dimensions = volume_node.GetImageData().GetDimensions()
    return dimensions, tuple(volume_ijk_to_segmentation(segmentation_node, volume_node).round(6).ravel().tolist())


def is_other_order(before: tuple, now: tuple) -> bool:
    """Whether two results of `grid_of` are of the same voxels in another order: with axes swapped or flipped."""
    (sizes_before, matrix_before), (sizes, matrix) = before, now
    grids = np.reshape(matrix_before, (4, 4)), np.reshape(matrix, (4, 4))
    relation = whole_voxel_relation(*grids, max(*sizes_before, *sizes))
    if before == now or relation is None:
        return False
    corners = relation @ np.array([[0, 0, 0, 1], [*(size - 1 for size in sizes), 1]]).T
    ends = np.sort(corners[:3], axis=1)
    return bool(np.all(ends[:, 0] == 0) and np.array_equal(ends[:, 1] + 1, sizes_before))


def layer_ijk_to_local(layer) -> np.ndarray:
    """(4, 4) matrix from voxel index of a vtkOrientedImageData to the coordinates of its segmentation (mm)."""
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    return matrix_array(matrix)


def whole_voxel_relation(target_from: np.ndarray, source_from: np.ndarray, size: int) -> np.ndarray | None:
    """(4, 4) int matrix from voxel index of a source grid to that of a target grid; None when the voxels differ.

    Args:
        target_from, source_from: (4, 4) voxel index (i, j, k, 1) to mm, both to the same coordinates.
        size: voxels along the longest axis of the two: over that length the grids may differ by a hundredth of a voxel.
    """
    try:
        between = np.linalg.solve(target_from, source_from)
    except np.linalg.LinAlgError:
        return None
    whole = np.rint(between)
    turn = np.abs(whole[:3, :3])
    counts = [turn.sum(axis=axis) for axis in (0, 1)]
    if not np.array_equal(counts, np.ones((2, 3))):
        return None
    if np.abs(between[:3, :3] - whole[:3, :3]).max() * size > _ALIGNED_VOXELS:
        return None
    if np.abs(between[:3, 3] - whole[:3, 3]).max() > _ALIGNED_VOXELS:
        return None
    return whole.astype(int)


@dataclass(frozen=True)
class GridAlignment:
    """How a layer's array lies in the volume's, both (K, J, I): axes swapped, flipped, and moved by whole voxels."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    starts: tuple[int, int, int]

    def reoriented(self, array: np.ndarray) -> np.ndarray:
        """View of the layer's array with the volume's axes."""
        return np.transpose(array, self.axes)[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]


def layer_alignment(layer, segmentation_node, volume_node) -> GridAlignment | None:
    """How the layer lies in the volume; None when its voxels are not voxels of the volume's grid.

    Axes may be flipped: when it loads a scene, Slicer reorients a left-handed volume, but not its segmentation.
    """
    volume_from = volume_ijk_to_segmentation(segmentation_node, volume_node)
    size = max(*layer.GetDimensions(), *volume_node.GetImageData().GetDimensions())
    relation = whole_voxel_relation(volume_from, layer_ijk_to_local(layer), size)
    return alignment_of(relation, layer.GetExtent()) if relation is not None else None


def alignment_of(relation: np.ndarray, extent: Sequence[int]) -> GridAlignment:
    """How an array lies in another grid.

    Args:
        relation: (4, 4) int matrix from voxel index of the array's grid to that of the other.
        extent: (first, last) voxel of the array along I, J and K, as six numbers.
    """
    # From (i, j, k) to the order of arrays.
    turn, offset = relation[2::-1, 2::-1], relation[2::-1, 3]
    axes = along_axes(int(np.argmax(np.abs(row))) for row in turn)
    signs = [int(turn[v, a]) for v, a in enumerate(axes)]
    ends = [(extent[2 * (2 - a)], extent[2 * (2 - a) + 1]) for a in axes]
    starts = along_axes(
        int(o) + (low if sign > 0 else -high) for o, sign, (low, high) in zip(offset, signs, ends, strict=True)
    )
    return GridAlignment(axes, along_axes(sign < 0 for sign in signs), starts)


def volume_layer(array_extent, segmentation_node, volume_node):
    """An empty vtkOrientedImageData in the segmentation's coordinates, on the voxels of the volume.

    Args:
        array_extent: (first, last) voxel along I, J and K, as six numbers; voxels outside the volume are possible.
    """
    layer = slicer.vtkOrientedImageData()
    layer.SetExtent([int(bound) for bound in array_extent])
    layer.SetImageToWorldMatrix(vtk_matrix(volume_ijk_to_segmentation(segmentation_node, volume_node)))
    return layer
