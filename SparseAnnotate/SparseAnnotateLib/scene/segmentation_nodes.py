"""Segmentation nodes as label arrays, and label arrays as segmentation nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
from vtk.util import numpy_support

from ..core import BadInputError
from ..core.messages import _, counted, joined
from ..core.voxel_boxes import Box, along_axes, bounding_box
from .segment_representations import BINARY_LABELMAP, binary_labelmap_copy, other_representation
from .volume_nodes import local_ijk_to_ras, require_scalar_volume, vtk_matrix
from .voxel_grids import GridAlignment, layer_alignment, layer_ijk_to_local, whole_voxel_relation

_STATUS_TAG = "Segmentation.Status"
_MAX_PAIRS = 3  # named in a message
_PALETTE = ((0.9, 0.45, 0.35), (0.35, 0.65, 0.9), (0.5, 0.8, 0.4), (0.95, 0.8, 0.3), (0.7, 0.5, 0.85))


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


def structure_names(segmentation_node) -> list[str]:
    """Names of all segments, in their order, each once; see `segment_names` for where they must be unique."""
    segmentation = segmentation_node.GetSegmentation()
    return list(dict.fromkeys(segmentation.GetSegment(s).GetName() for s in segment_ids(segmentation_node)))


def segment_names(segmentation_node) -> list[str]:
    """Names of all segments, in their order; each must occur only once, because labels are matched by name.

    Raises BadInputError when there is no segment or a name occurs twice.
    """
    segmentation = segmentation_node.GetSegmentation()
    names = [segmentation.GetSegment(segment_id).GetName() for segment_id in segment_ids(segmentation_node)]
    if not names:
        raise BadInputError(
            _(
                "The segmentation '{segmentation}' has no segment. Add one for each structure that you want to draw."
            ).format(segmentation=segmentation_node.GetName())
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(
            _(
                "The segmentation '{segmentation}' has several segments named '{segment}'. Give each segment its own "
                "name."
            ).format(segmentation=segmentation_node.GetName(), segment=twice[0])
        )
    return names


def geometry_problem(segmentation_node, volume_node) -> str | None:
    """A message that says why slices painted in the segmentation are not slices of the volume; None when they are."""
    require_scalar_volume(volume_node)
    stored_as = other_representation(segmentation_node)
    if stored_as is not None:
        return _(
            "The segmentation '{segmentation}' is stored as '{representation}', not as a binary labelmap, so you "
            "cannot draw slices in it. Press 'Match to volume grid' in the SparseAnnotate panel to make a copy on the "
            "voxels of '{volume}'."
        ).format(segmentation=segmentation_node.GetName(), representation=stored_as, volume=volume_node.GetName())
    return _grid_problem(segmentation_node, volume_node)


def _grid_problem(segmentation_node, volume_node) -> str | None:
    """A message that says why the binary labelmaps do not lie on the volume's voxels; None when they do."""
    require_scalar_volume(volume_node)
    for layer in _distinct(layers_of(segmentation_node)):
        if layer_alignment(layer, segmentation_node, volume_node) is None:
            return _off_grid(segmentation_node, volume_node)
    return None


def _off_grid(segmentation_node, volume_node) -> str:
    return _transform_problem(segmentation_node, volume_node) or _(
        "The segmentation '{segmentation}' does not have the voxel grid of the volume '{volume}', so a slice painted "
        "in it spreads over several slices of the volume. Press 'Match to volume grid' in the SparseAnnotate panel to "
        "make a copy on the volume's voxels."
    ).format(segmentation=segmentation_node.GetName(), volume=volume_node.GetName())


def required_alignment(layer, segmentation_node, volume_node) -> GridAlignment:
    """How the layer lies in the volume. Raises BadInputError when its voxels are not voxels of the volume's grid."""
    alignment = layer_alignment(layer, segmentation_node, volume_node)
    if alignment is None:
        raise BadInputError(_off_grid(segmentation_node, volume_node))
    return alignment


def _transform_problem(segmentation_node, volume_node) -> str | None:
    """The message for a segmentation that differs from the volume only by a parent transform; None for others."""
    if not lies_on_voxels(segmentation_node, volume_node):
        return None
    consequence = _("They are no longer aligned.")
    return different_transforms_sentence(segmentation_node, volume_node, consequence)


def different_transforms_sentence(segmentation_node, volume_node, consequence: str) -> str:
    """The message for a segmentation and a volume under different transforms, with the consequence as a sentence."""
    first, second = (node.GetParentTransformNode() for node in (segmentation_node, volume_node))
    if first is None:
        text = _(
            "The segmentation '{segmentation}' is under no transform, but the volume '{volume}' is under the transform "
            "'{second}'."
        )
    elif second is None:
        text = _(
            "The segmentation '{segmentation}' is under the transform '{first}', but the volume '{volume}' is under no "
            "transform."
        )
    else:
        text = _(
            "The segmentation '{segmentation}' is under the transform '{first}', but the volume '{volume}' is under "
            "the transform '{second}'."
        )
    advice = _(
        "Put both under the same transform in the Data module, or press 'Match to volume grid' in the SparseAnnotate "
        "panel to make a copy on the volume's voxels."
    )
    fact = text.format(
        segmentation=segmentation_node.GetName(),
        volume=volume_node.GetName(),
        first=first.GetName() if first is not None else "",
        second=second.GetName() if second is not None else "",
    )
    return joined(" ", [fact, consequence, advice])


def lies_on_voxels(segmentation_node, volume_node) -> bool:
    """True when all segments lie on the volume's voxels, without regard to parent transforms."""
    size = max(volume_node.GetImageData().GetDimensions())
    return all(
        whole_voxel_relation(local_ijk_to_ras(volume_node), layer_ijk_to_local(layer), size) is not None
        for layer in _distinct(layers_of(segmentation_node))
    )


def _distinct(layers: dict) -> list:
    """The layers, each once: segments share them."""
    return list({id(layer): layer for layer in layers.values()}.values())


def labels_of(
    segmentation_node,
    volume_node,
    values: dict[str, int],
    winners: Sequence[str] | None = None,
    where: np.ndarray | None = None,
    region: Box | None = None,
    counting: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
) -> np.ndarray:
    """Segments as one label array on the volume's grid. Surfaces and other representations are converted to voxels.

    Args:
        values: label value of each segment name; segments that are not named are left out.
        winners: names of segments in order of priority, which decides where segments overlap. Without them an
            overlap is an error.
        where: (K, J, I) bool; overlaps elsewhere are not an error, and labels there have no meaning. Everywhere by
            default.
        region: part of the volume's array to read, as slices with start and stop; all of it by default. `where` and
            the result then have the region's shape.
        counting: for some segments, the slices on which they count, as array axis to indices; only without `region`.

    Returns:
        (K, J, I) uint8, or uint16 when a value exceeds 255.

    Raises:
        BadInputError: when there are no segments, the grids differ, or segments overlap.
    """
    problem = None if other_representation(segmentation_node) else _grid_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    region = region or along_axes(slice(0, n) for n in reversed(volume_node.GetImageData().GetDimensions()))
    dtype = np.uint8 if max(values.values(), default=0) < 256 else np.uint16
    labels: np.ndarray = np.zeros([part.stop - part.start for part in region], dtype=dtype)
    if not counting and _enter_one_layer(labels, segmentation_node, volume_node, values, region, where):
        return labels
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
        if counting and name in counting:
            mask = mask & _on_slices(counting[name], box)
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
        found = [Overlap(*pair, count) for pair, count in overlaps.items()]
        raise BadInputError(_overlap_sentence(segmentation_node, found, where is not None))
    return labels


def _enter_one_layer(
    labels: np.ndarray,
    segmentation_node,
    volume_node,
    values: Mapping[str, int],
    region: Box,
    where: np.ndarray | None,
) -> bool:
    """Enter the labels of segments that share one layer, all at once; False when they do not.

    Segment by segment, hundreds of structures would take a minute. Where only some voxels are of interest, slices
    without any are left out: of a large volume most are.
    """
    if other_representation(segmentation_node) is not None:
        return False
    segmentation = segmentation_node.GetSegmentation()
    segment_names(segmentation_node)  # raises where names are not clear
    layers = layers_of(segmentation_node)
    segments = {s: segmentation.GetSegment(s) for s in layers}
    wanted = [layer for s, layer in layers.items() if segments[s].GetName() in values]
    if len({id(layer) for layer in wanted}) != 1:
        return False
    array, starts = aligned_voxels(wanted[0], segmentation_node, volume_node)
    found = common_part(array, starts, region)
    if found is None:
        return True
    inner, box = found
    own = [segment for s, segment in segments.items() if layers[s] is wanted[0]]
    if len({segment.GetLabelValue() for segment in own}) < len(own):
        return False
    part = array[inner]
    label_of = np.zeros(max(int(part.max(initial=0)), *(s.GetLabelValue() for s in own)) + 1, dtype=labels.dtype)
    for segment in own:
        label_of[segment.GetLabelValue()] = values.get(segment.GetName(), 0)
    target, wanted_voxels = labels[box], where[box] if where is not None else None
    for index, layer in enumerate(part):  # at once, it would take much more memory
        if wanted_voxels is None or wanted_voxels[index].any():
            target[index] = label_of[layer]
    return True


def aligned_voxels(layer, segmentation_node, volume_node) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The voxels of a layer in the volume's orientation, a view of them, and the place of the first in the volume.

    Raises BadInputError when they are not voxels of the volume's grid.
    """
    alignment = required_alignment(layer, segmentation_node, volume_node)
    array = numpy_support.vtk_to_numpy(layer.GetPointData().GetScalars())
    return alignment.reoriented(array.reshape(tuple(reversed(layer.GetDimensions())))), alignment.starts


def common_part(array: np.ndarray, starts: Sequence[int], region: Box) -> tuple[Box, Box] | None:
    """What an array that starts somewhere in the volume shares with a region: within the array, and the region."""
    common = [
        (max(s, part.start), min(s + n, part.stop)) for s, n, part in zip(starts, array.shape, region, strict=True)
    ]
    if any(stop <= start for start, stop in common):
        return None
    inner = along_axes(slice(low - s, high - s) for (low, high), s in zip(common, starts, strict=True))
    box = along_axes(slice(low - p.start, high - p.start) for (low, high), p in zip(common, region, strict=True))
    return inner, box


def _on_slices(slices: Mapping[int, Sequence[int]], box: Box) -> np.ndarray:
    """bool, of the shape of a box of the volume: where one of some slices, array axis to indices, passes."""
    where = np.zeros([side.stop - side.start for side in box], dtype=bool)
    for axis, indices in slices.items():
        inside = [index - box[axis].start for index in indices if box[axis].start <= index < box[axis].stop]
        np.moveaxis(where, axis, 0)[inside] = True
    return where


def new_segmentation(
    name: str, labels: np.ndarray, names: dict[int, str], volume_node, like=None
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation node with a segment for every named label, lying exactly on the volume.

    Args:
        labels: (K, J, I) unsigned integers on the volume's grid.
        names: label value to segment name; a label that does not occur becomes an empty segment.
        like: segmentation node; colour and terminology are copied from its segments of the same name.
    """
    require_scalar_volume(volume_node)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    highest = int(labels.max(initial=0))
    # Slow, and rarely needed: only for a label without a name.
    if not set(range(1, highest + 1)) <= set(names):
        labels = np.where(np.isin(labels, list(names)), labels, 0).astype(labels.dtype)
    # Only the part that holds labels, which makes later processing faster, too.
    box = bounding_box(labels) or (slice(0, 1),) * 3
    layer = slicer.vtkOrientedImageData()
    layer.SetExtent([bound for part in reversed(box) for bound in (part.start, part.stop - 1)])
    layer.SetImageToWorldMatrix(vtk_matrix(local_ijk_to_ras(volume_node)))
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(labels[box]).ravel(), deep=True)
    layer.GetPointData().SetScalars(scalars)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    # All segments share one layer, so that there is only one copy of the voxels.
    for value, segment_name in names.items():
        segment = _segment_like(segment_name, int(value), like)
        segment.AddRepresentation(BINARY_LABELMAP, layer)
        segmentation.AddSegment(segment, segmentation.GenerateUniqueSegmentID(segment_name))
    return node


def masks_of(segmentation_node, volume_node, region: Box) -> Iterator[tuple[str, Box, np.ndarray]]:
    """For every segment with voxels in the region: name, box within the region, and bool mask within the box."""
    if other_representation(segmentation_node) is None:
        segmentation, layers = segmentation_node.GetSegmentation(), layers_of(segmentation_node)
    else:
        segmentation = binary_labelmap_copy(segmentation_node, volume_node)
        layers = {segment_id: segmentation.GetSegment(segment_id) for segment_id in segment_ids(segmentation_node)}
        layers = {segment_id: segment.GetRepresentation(BINARY_LABELMAP) for segment_id, segment in layers.items()}
        layers = {segment_id: layer for segment_id, layer in layers.items() if not _is_empty(layer)}
    for segment_id, layer in layers.items():
        segment = segmentation.GetSegment(segment_id)
        array, starts = aligned_voxels(layer, segmentation_node, volume_node)
        found = common_part(array, starts, region)
        if found is not None:
            inner, box = found
            yield segment.GetName(), box, array[inner] == segment.GetLabelValue()


def layers_of(segmentation_node) -> dict:
    """Segment ID to the image that holds the segment's voxels (shared or not); empty segments are left out."""
    found = {}
    for segment_id in segment_ids(segmentation_node):
        layer = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
        if not _is_empty(layer):
            found[segment_id] = layer
    return found


def _is_empty(layer) -> bool:
    return layer is None or layer.IsEmpty() or layer.GetPointData().GetScalars() is None


def _segment_like(name: str, value: int, like):
    """A new segment with the colour, terminology and tags of the segment of that name in another segmentation."""
    segment = slicer.vtkSegment()
    source_id = like.GetSegmentation().GetSegmentIdBySegmentName(name) if like is not None else ""
    if source_id:
        segment.DeepCopyMetadata(like.GetSegmentation().GetSegment(source_id))
        # The status of the drawing does not apply to the result.
        segment.RemoveTag(_STATUS_TAG)
    else:
        segment.SetColor(*_PALETTE[(value - 1) % len(_PALETTE)])
    segment.SetName(name)
    segment.SetLabelValue(value)
    return segment


def _overlap_sentence(segmentation_node, overlaps: list[Overlap], on_drawn_slices: bool) -> str:
    pairs: list[str] = [
        _("'{first}' and '{second}' in {voxels}").format(
            first=overlap.first,
            second=overlap.second,
            voxels=counted(overlap.voxels, _("{count} voxel"), _("{count} voxels")),
        )
        for overlap in overlaps[:_MAX_PAIRS]
    ]
    if len(overlaps) > _MAX_PAIRS:
        pairs.append(counted(len(overlaps) - _MAX_PAIRS, _("{count} more pair"), _("{count} more pairs")))
    text = (
        _(
            "Segments of '{segmentation}' overlap on drawn slices: {pairs}. A voxel can have only one label: erase one "
            "of the two segments where they overlap."
        )
        if on_drawn_slices
        else _(
            "Segments of '{segmentation}' overlap: {pairs}. A voxel can have only one label: erase one of the two "
            "segments where they overlap."
        )
    )
    return text.format(segmentation=segmentation_node.GetName(), pairs=joined("; ", pairs))
