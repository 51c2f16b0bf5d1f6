"""A coloured overlay in the slice views that shows low confidence of a result near its boundaries."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
import slicer

from ..core.voxel_boxes import Box, along_axes
from .node_stamps import voxel_stamp
from .segment_regions import whole_region
from .segmentation_nodes import masks_of
from .volume_nodes import geometry_of, local_ijk_to_ras, vtk_matrix

OVERLAY_ATTRIBUTE = "SparseAnnotate.OverlayOf"
"""Names the confidence volume of an overlay, by its node's ID."""

_STAMP_ATTRIBUTE = "SparseAnnotate.OverlayMadeFrom"
_COLOURS = "vtkMRMLColorTableNodeRainbow"  # its first half: red where confidence is low, then yellow and green
_CONFIDENT = 80  # percent; from here on the overlay is transparent
_NEAR_MM = 2.0
_NEAR_VOXELS = 4  # at most
_VOXELS_AT_ONCE = 1 << 20


def overlay_node(confidence_node):
    """The overlay's volume node, created if there is none; a new one shows nothing until `filling_overlay` fills it.

    It is hidden from node selectors and not saved with the scene. The confidence volume is not changed.
    """
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    node = next((n for n in nodes if n.GetAttribute(OVERLAY_ATTRIBUTE) == confidence_node.GetID()), None)
    return node if node is not None else _new_node(confidence_node)


def filling_overlay(node, confidence_node, result_node) -> Iterator[None]:
    """Update an overlay's node to the current result, step by step; yields after each step.

    Stops early when the overlay, the result or its confidence is removed from the scene. Does nothing when the overlay
    is up to date.
    """
    stamp = f"{voxel_stamp(result_node)}|{confidence_node.GetImageData().GetMTime()}"
    if node.GetAttribute(_STAMP_ATTRIBUTE) == stamp:
        return
    geometry = geometry_of(confidence_node)
    reach = along_axes(min(_NEAR_VOXELS, max(1, round(_NEAR_MM / mm))) for mm in geometry.spacing)
    box = yield from _finding_box(confidence_node, result_node, geometry.shape, reach)
    shown = np.full([part.stop - part.start for part in box], 100, dtype=np.uint8)
    percent = slicer.util.arrayFromVolume(confidence_node)
    for slab in _slabs(box):
        # Boundaries just outside the slab count, too.
        first, stop = max(box[0].start, slab.start - reach[0]), min(box[0].stop, slab.stop + reach[0])
        region = (slice(first, stop), box[1], box[2])
        found = doubtful(_labels(confidence_node, result_node, region), percent[region], reach)
        shown[slab.start - box[0].start : slab.stop - box[0].start] = found[slab.start - first : slab.stop - first]
        yield
        if node.GetScene() is None or result_node.GetScene() is None or confidence_node.GetScene() is None:
            return
    matrix = local_ijk_to_ras(confidence_node)
    matrix[:, 3] = matrix @ [*(part.start for part in reversed(box)), 1.0]
    node.SetIJKToRASMatrix(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(confidence_node.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(node, shown)
    node.SetAttribute(_STAMP_ATTRIBUTE, stamp)


def overlay_in_views(confidence_node):
    """The overlay of a confidence volume that a slice view shows now; None when none does."""
    own = confidence_node.GetID()
    return next((node for node in overlays_in_views() if node.GetAttribute(OVERLAY_ATTRIBUTE) == own), None)


def overlays_in_views() -> list:
    """All overlays that a slice view shows now, each once."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    nodes = dict.fromkeys(slicer.mrmlScene.GetNodeByID(node.GetForegroundVolumeID() or "") for node in composites)
    return [node for node in nodes if node is not None and node.GetAttribute(OVERLAY_ATTRIBUTE)]


def doubtful(labels: np.ndarray, percent: np.ndarray, reach: tuple[int, int, int]) -> np.ndarray:
    """Confidence in percent where it is low near a boundary between labels; 100 elsewhere.

    Args:
        labels, percent: (K, J, I) of the same shape; uint8 percent.
        reach: how many voxels from a boundary are near, along each axis, at least 1.
    """
    near = np.zeros(labels.shape, dtype=bool)
    for axis in range(3):
        low, high = _shifted(near, axis, 1)
        differs = np.not_equal(*_shifted(labels, axis, 1))
        low |= differs
        high |= differs
    for axis, voxels in enumerate(reach):
        for _ in range(voxels - 1):
            before = near.copy()
            for target, source in zip(_shifted(near, axis, 1), reversed(_shifted(before, axis, 1)), strict=True):
                target |= source
    near &= percent < _CONFIDENT
    return np.where(near, percent, np.uint8(100))


def _shifted(array: np.ndarray, axis: int, by: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of all but the last, and of all but the first layers of an axis."""
    return np.moveaxis(array, axis, 0)[:-by], np.moveaxis(array, axis, 0)[by:]


def _new_node(confidence_node):
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(f"{confidence_node.GetName()} overlay")
    node.SetAttribute(OVERLAY_ATTRIBUTE, confidence_node.GetID())
    node.SetHideFromEditors(True)
    # Computed again from the confidence whenever it is shown.
    node.SetSaveWithScene(False)
    node = slicer.mrmlScene.AddNode(node)
    slicer.util.updateVolumeFromArray(node, np.full((1, 1, 1), 100, dtype=np.uint8))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSaveWithScene(False)
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 2 * _CONFIDENT)
        display.SetLowerThreshold(0)
        display.SetUpperThreshold(_CONFIDENT - 1)
        display.SetApplyThreshold(True)
        if slicer.mrmlScene.GetNodeByID(_COLOURS) is not None:
            display.SetAndObserveColorNodeID(_COLOURS)
    return node


def _finding_box(
    confidence_node, result_node, shape: tuple[int, int, int], reach: tuple[int, int, int]
) -> Generator[None, None, Box]:
    """The part of the grid that holds all segments and the voxels near them; one voxel when all segments are empty."""
    low, high = list(shape), [0, 0, 0]
    whole = whole_region(shape)
    for slab in _slabs(whole):
        region = (slab, whole[1], whole[2])
        for _name, box, mask in masks_of(result_node, confidence_node, region):
            for axis in range(3):
                found = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
                if len(found):
                    start = box[axis].start + (slab.start if axis == 0 else 0)
                    low[axis] = min(low[axis], start + int(found[0]))
                    high[axis] = max(high[axis], start + int(found[-1]) + 1)
        yield
    if not high[0]:
        return (slice(0, 1), slice(0, 1), slice(0, 1))
    return along_axes(
        slice(max(0, lo - r), min(n, hi + r)) for lo, hi, r, n in zip(low, high, reach, shape, strict=True)
    )


def _slabs(box: Box) -> Iterator[slice]:
    """Layers of a box in groups of about as many voxels as can be processed without delaying the user interface."""
    layers = max(1, _VOXELS_AT_ONCE // max(1, math.prod(part.stop - part.start for part in box[1:])))
    for start in range(box[0].start, box[0].stop, layers):
        yield slice(start, min(box[0].stop, start + layers))


def _labels(confidence_node, result_node, region: Box) -> np.ndarray:
    """A number for each segment of a result in a region of the grid, (K, J, I) uint16."""
    labels = np.zeros([part.stop - part.start for part in region], dtype=np.uint16)
    for number, (_name, box, mask) in enumerate(masks_of(result_node, confidence_node, region), start=1):
        np.copyto(labels[box], np.uint16(number), where=mask)
    return labels
