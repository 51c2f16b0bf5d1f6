"""A copy of a segmentation on a volume's voxel grid, with its display properties and ledger."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..core import BadInputError
from ..core.messages import _
from .annotations import annotated_segmentation
from .corrections_store import copy_corrections
from .last_applied import copy_applied
from .ledger_store import copied_ledger, has_ledger, store_ledger
from .node_names import savable
from .segment_representations import BINARY_LABELMAP, binary_labelmap_copy
from .segmentation_layers import layers_of
from .segmentation_nodes import lies_on_voxels
from .undecided_store import copy_undecided
from .volume_nodes import local_ijk_to_ras, require_scalar_volume, volumes_of_scene, vtk_matrix
from .voxel_grids import layer_ijk_to_local, volume_ijk_to_segmentation, volume_layer


def copy_on_volume_grid(segmentation_node, volume_node):
    """A copy of a segmentation on the volume's voxel grid; the original is not changed.

    Segments keep their IDs, order, names, colours, terminology, tags and visibility. Where the grids differ, they are
    resampled (nearest neighbour) and keep their position in the world. A segmentation that was drawn on the volume's
    own voxels, and differs from it only by a transform, follows the volume. The copy's ledger has those of the slices
    that are whole slices of the volume. Corrections are copied where the two grids have the same voxels.

    Raises BadInputError when a segment cannot be converted to a binary labelmap, no segment lies within the volume, or
    a transform is non-linear.
    """
    require_scalar_volume(volume_node)
    follows = _was_drawn_on(segmentation_node, volume_node)
    # Where the volume's voxels are, in the coordinates of the segmentation.
    local = local_ijk_to_ras(volume_node) if follows else volume_ijk_to_segmentation(segmentation_node, volume_node)
    segments = binary_labelmap_copy(segmentation_node, volume_node)
    name = slicer.mrmlScene.GenerateUniqueName(f"{segmentation_node.GetName()} on {volume_node.GetName()}")
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", savable(name))
    copy.SetDescription(segmentation_node.GetDescription() or "")
    copy.GetSegmentation().DeepCopy(segments)
    copy.CreateDefaultDisplayNodes()
    if segmentation_node.GetDisplayNode() is not None:
        copy.GetDisplayNode().CopyContent(segmentation_node.GetDisplayNode())
    copy.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    copy.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    for number in range(segments.GetNumberOfSegments()):
        segment_id, segment = segments.GetNthSegmentID(number), segments.GetNthSegment(number)
        layer = segment.GetRepresentation(BINARY_LABELMAP)
        if layer is None or layer.IsEmpty():
            continue
        copy.GetSegmentation().SeparateSegmentLabelmap(segment_id)
        piece = _on_grid(layer, segment.GetLabelValue(), local, volume_node, copy)
        logic.SetBinaryLabelmapToSegment(piece, copy, segment_id, logic.MODE_REPLACE)
    if layers_of(segmentation_node) and not layers_of(copy):
        slicer.mrmlScene.RemoveNode(copy)
        raise BadInputError(
            _(
                "No part of the segmentation '{segmentation}' lies within the volume '{volume}', so there is nothing "
                "to copy. Choose the volume that the segmentation belongs to."
            ).format(segmentation=segmentation_node.GetName(), volume=volume_node.GetName())
        )
    if follows:
        copy_applied(segmentation_node, copy)
    copy_corrections(segmentation_node, volume_node, local, copy)
    try:
        copy_undecided(segmentation_node, volume_node, local, copy)
    except BadInputError:
        slicer.mrmlScene.RemoveNode(copy)
        raise
    if has_ledger(segmentation_node):
        ledger = copied_ledger(segmentation_node, volume_node, local, copy)
        if ledger.entries:
            store_ledger(copy, volume_node, ledger)
    return copy


def _was_drawn_on(segmentation_node, volume_node) -> bool:
    """True when the segmentation was drawn on the volume's own voxels, whichever transforms the two are under."""
    if not layers_of(segmentation_node) or not lies_on_voxels(segmentation_node, volume_node):
        return False
    if annotated_segmentation(volume_node) is segmentation_node:
        return True
    # The volume may have been reloaded. A segmentation used by another volume was not drawn on this one.
    others = [node for node in volumes_of_scene() if node is not volume_node]
    return has_ledger(segmentation_node) and not any(
        annotated_segmentation(node) is segmentation_node for node in others
    )


def _on_grid(layer, value: int, local: np.ndarray, volume_node, copy):
    """A segment of a layer as an image of 0 and 1 on the volume's voxels, in the coordinates of the copy."""
    size = volume_node.GetImageData().GetDimensions()
    extent = _extent_around(np.linalg.solve(local, layer_ijk_to_local(layer)), layer.GetExtent(), size)
    values = numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars())
    mask = _image(layer.GetExtent(), layer_ijk_to_local(layer), values == value)
    grid = _image(extent, local)
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(mask, grid, resampled, False)
    piece = volume_layer(extent, copy, volume_node)
    piece.GetPointData().SetScalars(resampled.GetPointData().GetScalars())
    return piece


def _extent_around(to_volume: np.ndarray, extent, size) -> list[int]:
    """The volume's voxels (first and last along I, J, K) around all those of a layer; at least one voxel."""
    corners = np.array([[extent[i], extent[2 + j], extent[4 + k], 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    places = (corners @ to_volume.T)[:, :3]
    low = np.clip(np.floor(places.min(axis=0)) - 1, 0, np.subtract(size, 1)).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 1, low, np.subtract(size, 1)).astype(int)
    return [int(bound) for pair in zip(low, high, strict=True) for bound in pair]


def _image(extent, to_local: np.ndarray, values: np.ndarray | None = None):
    image = slicer.vtkOrientedImageData()
    image.SetExtent([int(bound) for bound in extent])
    image.SetImageToWorldMatrix(vtk_matrix(to_local))
    if values is None:
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    else:
        image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values.astype(np.uint8), deep=True))
    return image
