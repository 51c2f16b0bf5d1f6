"""Segmentation nodes as label arrays, and label arrays as segmentation nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..core import BadInputError
from .volume_nodes import local_ijk_to_ras, matrix_array, require_scalar_volume, vtk_matrix, world_from_node

BINARY_LABELMAP = "Binary labelmap"
_ALIGNED_VOXELS = 1e-2


@dataclass(frozen=True)
class Overlap:
    """Two segments that claim the same voxels."""

    first: str
    second: str
    voxels: int


def segment_ids(segmentation_node) -> list[str]:
    """IDs of all segments, in their order."""
    segmentation = segmentation_node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def segment_names(segmentation_node) -> list[str]:
    """Names of all segments, in their order; each must be there once, because labels are matched by name.

    Raises BadInputError when there is no segment or a name occurs twice.
    """
    segmentation = segmentation_node.GetSegmentation()
    names = [segmentation.GetSegment(segment_id).GetName() for segment_id in segment_ids(segmentation_node)]
    if not names:
        raise BadInputError(
            f"The segmentation '{segmentation_node.GetName()}' has no segment. "
            "Add one for each structure you want to draw."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(
            f"The segmentation '{segmentation_node.GetName()}' has several segments named '{twice[0]}'. "
            "Give each segment its own name."
        )
    return names


def geometry_problem(segmentation_node, volume_node) -> str | None:
    """Why slices painted in the segmentation are not slices of the volume, as a sentence; None when they are."""
    require_scalar_volume(volume_node)
    for segment_id in segment_ids(segmentation_node):
        layer = _layer(segmentation_node, segment_id)
        if layer is not None and _alignment(layer, segmentation_node, volume_node) is None:
            return (
                f"The segmentation '{segmentation_node.GetName()}' does not have the voxel grid of the volume "
                f"'{volume_node.GetName()}', so a slice painted in it spreads over several slices of the volume. "
                "'Mend' in the SparseAnnotate panel makes a copy of it on the volume's voxels."
            )
    return None


def mended_copy(segmentation_node, volume_node):
    """A new segmentation on the volume's grid, with every segment resampled to it (nearest neighbour)."""
    require_scalar_volume(volume_node)
    name = slicer.mrmlScene.GenerateUniqueName(f"{segmentation_node.GetName()} on {volume_node.GetName()}")
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    copy.CreateDefaultDisplayNodes()
    copy.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    copy.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segment_ids(segmentation_node):
        segment = segmentation.GetSegment(segment_id)
        copy.GetSegmentation().AddEmptySegment(segment_id, segment.GetName(), segment.GetColor())
        if _layer(segmentation_node, segment_id) is not None:
            array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, volume_node)
            slicer.util.updateSegmentBinaryLabelmapFromArray(array, copy, segment_id, volume_node)
    return copy


def labels_of(
    segmentation_node,
    volume_node,
    values: dict[str, int],
    winners: Sequence[str] | None = None,
    where: np.ndarray | None = None,
    region: tuple[slice, slice, slice] | None = None,
) -> np.ndarray:
    """Segments as one label array on the volume's grid.

    Args:
        values: label value of each segment name; segments that are not named are left out.
        winners: names of segments, the strongest first, that decide where segments overlap. Without them an
            overlap is an error.
        where: (K, J, I) bool; overlaps elsewhere do not matter. Everywhere by default.
        region: part of the volume's array to read, as slices with start and stop; all of it by default. `where` and
            the result then have the region's shape.

    Returns:
        (K, J, I) uint8, or uint16 when a value exceeds 255.

    Raises:
        BadInputError: no segments, another grid, or segments that overlap.
    """
    problem = geometry_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    shape = tuple(reversed(volume_node.GetImageData().GetDimensions()))
    region = region or tuple(slice(0, n) for n in shape)
    dtype = np.uint8 if max(values.values(), default=0) < 256 else np.uint16
    labels = np.zeros([part.stop - part.start for part in region], dtype=dtype)
    names = {value: name for name, value in values.items()}
    overlaps: dict[tuple[str, str], int] = {}
    order = [name for name in segment_names(segmentation_node) if name in values]
    if winners:
        order.sort(key=lambda name: -winners.index(name) if name in winners else -len(winners))
    masks = {name: (box, mask) for name, box, mask in masks_of(segmentation_node, volume_node, region)}
    for name in order:
        if name not in masks:
            continue
        box, mask = masks[name]
        target = labels[box]
        if not winners:
            clash = (target > 0) & mask
            if where is not None:
                clash &= where[box]
            taken = target[clash] if clash.any() else ()
            for value in np.unique(taken).tolist():
                overlaps[names[value], name] = int(np.count_nonzero(taken == value))
        np.copyto(target, np.asarray(values[name], dtype=target.dtype), where=mask)
    if overlaps:
        raise BadInputError(_overlap_sentence(segmentation_node, [Overlap(*k, n) for k, n in overlaps.items()]))
    return labels


def new_segmentation(
    name: str, labels: np.ndarray, names: dict[int, str], volume_node, like=None
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation node with a segment for every named label, lying exactly on the volume.

    Args:
        labels: (K, J, I) unsigned integers on the volume's grid.
        names: label value to segment name; a label that does not occur becomes an empty segment.
        like: segmentation node whose segments of the same name lend their colour and terminology.
    """
    require_scalar_volume(volume_node)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    layer = slicer.vtkOrientedImageData()
    layer.SetExtent(volume_node.GetImageData().GetExtent())
    layer.SetImageToWorldMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
    highest = int(labels.max(initial=0))
    # Seldom needed, and slow: a label that has no name.
    if not set(range(1, highest + 1)) <= set(names):
        labels = np.where(np.isin(labels, list(names)), labels, 0).astype(labels.dtype)
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(labels).ravel(), deep=True)
    layer.GetPointData().SetScalars(scalars)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    # All segments share one layer: one copy of the voxels, whatever the number of structures.
    for value, segment_name in names.items():
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        segment.SetLabelValue(int(value))
        segment.SetColor(*_colour(segment_name, int(value), like))
        segment.AddRepresentation(BINARY_LABELMAP, layer)
        segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(segment_name))
    return node


def masks_of(segmentation_node, volume_node, region) -> Iterator[tuple[str, tuple[slice, ...], np.ndarray]]:
    """For every segment with voxels in the region: name, box within the region, and bool mask within the box."""
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segment_ids(segmentation_node):
        layer = _layer(segmentation_node, segment_id)
        if layer is None:
            continue
        segment = segmentation.GetSegment(segment_id)
        alignment = _alignment(layer, segmentation_node, volume_node)
        starts = alignment.starts
        array = numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars())
        array = alignment.turned(array.reshape(tuple(reversed(layer.GetDimensions()))))
        common = [
            (max(s, part.start), min(s + n, part.stop)) for s, n, part in zip(starts, array.shape, region, strict=True)
        ]
        if any(stop <= start for start, stop in common):
            continue
        inner = tuple(slice(low - s, high - s) for (low, high), s in zip(common, starts, strict=True))
        box = tuple(slice(low - p.start, high - p.start) for (low, high), p in zip(common, region, strict=True))
        yield segment.GetName(), box, array[inner] == segment.GetLabelValue()


def _layer(segmentation_node, segment_id: str):
    """The image that holds a segment's voxels (shared or not); None when the segment is empty."""
    layer = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
    if layer is None or layer.IsEmpty() or layer.GetPointData().GetScalars() is None:
        return None
    return layer


@dataclass(frozen=True)
class _Alignment:
    """How a layer's array lies in the volume's, both (K, J, I): axes swapped, flipped, and moved by whole voxels."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    starts: tuple[int, int, int]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """View of the layer's array with the volume's axes."""
        return np.transpose(array, self.axes)[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]


def _alignment(layer, segmentation_node, volume_node) -> _Alignment | None:
    """How the layer lies in the volume; None when its voxels are not voxels of the volume's grid.

    Axes may be flipped: Slicer turns a left-handed volume round when it loads a scene, but not its segmentation.
    """
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    layer_to_world, volume_to_world = matrix_array(matrix), local_ijk_to_ras(volume_node)
    if segmentation_node.GetTransformNodeID() != volume_node.GetTransformNodeID():
        layer_to_world = world_from_node(segmentation_node) @ layer_to_world
        volume_to_world = world_from_node(volume_node) @ volume_to_world
    between = np.linalg.solve(volume_to_world, layer_to_world)
    # From (i, j, k) to the order of arrays.
    turn, offset = between[2::-1, 2::-1], between[2::-1, 3]
    whole, whole_offset = np.rint(turn), np.rint(offset)
    size = max(*layer.GetDimensions(), *volume_node.GetImageData().GetDimensions())
    counts = [np.abs(whole).sum(axis=axis) for axis in (0, 1)]
    if not np.array_equal(counts, np.ones((2, 3))) or np.abs(turn - whole).max() * size > _ALIGNED_VOXELS:
        return None
    if np.abs(offset - whole_offset).max() > _ALIGNED_VOXELS:
        return None
    axes = tuple(int(np.argmax(np.abs(row))) for row in whole)
    signs = [int(whole[v, a]) for v, a in enumerate(axes)]
    extent = layer.GetExtent()
    ends = [(extent[2 * (2 - a)], extent[2 * (2 - a) + 1]) for a in axes]
    starts = tuple(
        int(o) + (low if sign > 0 else -high) for o, sign, (low, high) in zip(whole_offset, signs, ends, strict=True)
    )
    return _Alignment(axes, tuple(sign < 0 for sign in signs), starts)


def _colour(name: str, value: int, like) -> tuple[float, float, float]:
    if like is not None:
        segmentation = like.GetSegmentation()
        segment_id = segmentation.GetSegmentIdBySegmentName(name)
        if segment_id:
            return segmentation.GetSegment(segment_id).GetColor()
    palette = ((0.9, 0.45, 0.35), (0.35, 0.65, 0.9), (0.5, 0.8, 0.4), (0.95, 0.8, 0.3), (0.7, 0.5, 0.85))
    return palette[(value - 1) % len(palette)]


def _overlap_sentence(segmentation_node, overlaps: list[Overlap]) -> str:
    pairs = "; ".join(f"'{o.first}' and '{o.second}' in {o.voxels} voxels" for o in overlaps[:3])
    more = f"; and {len(overlaps) - 3} more pairs" if len(overlaps) > 3 else ""
    return (
        f"Segments of '{segmentation_node.GetName()}' overlap on drawn slices: {pairs}{more}. A voxel can have one "
        "label only: erase one of them there."
    )
