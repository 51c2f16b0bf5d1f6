"""Segmentation nodes as label arrays, and label arrays as segmentation nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from vtk.util import numpy_support

from ..core import BadInputError
from ..core.annotation import DecidedSlices
from ..core.messages import _, counted, joined
from ..core.voxel_boxes import Box, along_axes
from .segment_representations import BINARY_LABELMAP, binary_labelmap_copy, other_representation
from .segmentation_layers import is_empty_layer, layers_of, named_layers, segment_ids
from .volume_nodes import local_ijk_to_ras, require_scalar_volume
from .voxel_grids import GridAlignment, layer_alignment, layer_ijk_to_local, whole_voxel_relation

_MAX_PAIRS = 3  # named in a message


@dataclass(frozen=True)
class Overlap:
    """Two segments that claim the same voxels."""

    first: str
    second: str
    voxels: int


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
    where: np.ndarray | DecidedSlices | None = None,
    region: Box | None = None,
    counting: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
    into: np.ndarray | None = None,
) -> np.ndarray:
    """Segments as one label array on the volume's grid. Surfaces and other representations are converted to voxels.

    Args:
        values: label value of each segment name; segments that are not named are left out.
        winners: names of segments in order of priority, which decides where segments overlap. Without them an
            overlap is an error.
        where: (K, J, I) bool, or what gives it for parts; overlaps elsewhere are not an error, and labels there have
            no meaning. Everywhere by default.
        region: part of the volume's array to read, as slices with start and stop; all of it by default. `where` and
            the result then have the region's shape.
        counting: for some segments, the slices on which they count, as array axis to indices within the region.
        into: an array for the result, all zeros and of its shape and type; a new one by default.

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
    labels: np.ndarray = np.zeros([part.stop - part.start for part in region], dtype=dtype) if into is None else into
    if not counting:
        if _enter_layers(labels, segmentation_node, volume_node, values, region, where):
            return labels
        labels[...] = 0
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
            mask = mask & on_slices(counting[name], box)
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


def _enter_layers(
    labels: np.ndarray,
    segmentation_node,
    volume_node,
    values: Mapping[str, int],
    region: Box,
    where: np.ndarray | DecidedSlices | None,
) -> bool:
    """Enter the labels of segments layer by layer; False, with labels of no meaning, when segments overlap.

    Segment by segment, hundreds of structures would take a minute. Where only some voxels are of interest, slices
    without any are left out: of a large volume most are.
    """
    if other_representation(segmentation_node) is not None:
        return False
    segment_names(segmentation_node)  # raises where names are not clear
    for number, layer in enumerate(named_layers(segmentation_node, values)):
        label_of = layer.label_of
        if label_of is None:
            return False
        array, starts = aligned_voxels(layer.image, segmentation_node, volume_node)
        common = common_part(array, starts, region)
        if common is None:
            continue
        inner, box = common
        part, target = array[inner], labels[box]
        for index in range(len(part)):  # at once, it would take much more memory
            place = slice(box[0].start + index, box[0].start + index + 1)
            wanted = where[place, box[1], box[2]][0] if where is not None else None
            if wanted is not None and not wanted.any():
                continue
            shown = label_of[part[index]]
            if not number:
                target[index] = shown
                continue
            clash = (target[index] > 0) & (shown > 0)
            if (clash & wanted if wanted is not None else clash).any():
                return False
            np.copyto(target[index], shown, where=shown > 0, casting="unsafe")
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


def on_slices(slices: Mapping[int, Sequence[int]], box: Box) -> np.ndarray:
    """bool, of the shape of a box of the volume: where one of some slices, array axis to indices, passes."""
    where = np.zeros([side.stop - side.start for side in box], dtype=bool)
    for axis, indices in slices.items():
        inside = [index - box[axis].start for index in indices if box[axis].start <= index < box[axis].stop]
        np.moveaxis(where, axis, 0)[inside] = True
    return where


def masks_of(segmentation_node, volume_node, region: Box) -> Iterator[tuple[str, Box, np.ndarray]]:
    """For every segment with voxels in the region: name, box within the region, and bool mask within the box."""
    if other_representation(segmentation_node) is None:
        segmentation, layers = segmentation_node.GetSegmentation(), layers_of(segmentation_node)
    else:
        segmentation = binary_labelmap_copy(segmentation_node, volume_node)
        layers = {segment_id: segmentation.GetSegment(segment_id) for segment_id in segment_ids(segmentation_node)}
        layers = {segment_id: segment.GetRepresentation(BINARY_LABELMAP) for segment_id, segment in layers.items()}
        layers = {segment_id: layer for segment_id, layer in layers.items() if not is_empty_layer(layer)}
    parts: dict[int, tuple[np.ndarray, Box] | None] = {}  # of a layer, which segments share
    for segment_id, layer in layers.items():
        if id(layer) not in parts:
            array, starts = aligned_voxels(layer, segmentation_node, volume_node)
            found = common_part(array, starts, region)
            parts[id(layer)] = (array[found[0]], found[1]) if found is not None else None
        part = parts[id(layer)]
        if part is not None:
            segment = segmentation.GetSegment(segment_id)
            yield segment.GetName(), part[1], part[0] == segment.GetLabelValue()


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
