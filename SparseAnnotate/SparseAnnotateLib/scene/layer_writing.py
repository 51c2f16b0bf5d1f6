"""Writing labels straight into the layers of a segmentation, all segments of a layer at once.

Slicer's own operations change one segment at a time, and each of them goes through the whole layer: with twenty
segments of a large volume they take seconds. They are left what cannot be done here, see `put_in_layers`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from vtk.util import numpy_support

from ..core.pieces import finding_boxes_of_values, slabs
from ..core.voxel_boxes import (
    Box,
    along_axes,
    bounding_box,
    boxes_of_values,
    enclosing_box,
    moved_by,
    shared_part,
)
from ..core.voxel_values import values_in
from .node_stamps import voxel_stamp
from .segment_regions import whole_region
from .segment_representations import has_only_labelmaps, other_representation
from .segmentation_layers import LabelOf, NamedLayer, named_layers, segment_ids
from .segmentation_nodes import aligned_voxels, common_part, on_slices, required_alignment
from .volume_nodes import geometry_of

_FEW_LAYERS = 4
_AS_THE_VOLUME = ((0, 1, 2), (False, False, False))  # axes and flips of a layer that lies as the volume's array does


@dataclass(frozen=True, eq=False)
class NewVoxels:
    """Voxels that a layer is to get, and the part of its grid that they fill; `names`: of the segments they change."""

    layer: Any
    scalars: Any
    extent: list[int]
    names: tuple[str, ...]

    def put(self) -> None:
        """Replace the voxels of the layer; Slicer is notified when all of it has been replaced."""
        self.layer.GetPointData().SetScalars(self.scalars)
        if list(self.layer.GetExtent()) == self.extent:
            self.layer.Modified()
        else:
            self.layer.SetExtent(self.extent)


def put_in_layers(
    segmentation_node, volume_node, region: Box, wanted: np.ndarray, values: Mapping[str, int]
) -> set[str]:
    """Make the named segments show labels in a part of the volume, where that is possible; returns their names.

    It is not possible for a segment that shares its layer with one that it would overlap, that has no layer yet or
    would leave it, and where other representations, such as surfaces, would have to follow.

    Args:
        region: the part. wanted: labels there, of the shape of the part. values: label value of each segment name.
    """
    if not has_only_labelmaps(segmentation_node):
        return set()
    shown = set(np.unique(wanted).tolist())
    done, changes = set(), []
    layers = named_layers(segmentation_node, values)
    for layer in layers:
        if layer.label_of is None:
            continue
        array, starts = aligned_voxels(layer.image, segmentation_node, volume_node)
        common = common_part(array, starts, region)
        if common is None:
            if not any(values[name] in shown for name in layer.names):
                done |= set(layer.names)
            continue
        inner, box = common
        new_values = layer.label_of.inverse(array.dtype)[wanted]
        new, needed = _with_values(array[inner], layer.label_of, new_values[box]), bounding_box(new_values)
        if new is None or (needed is not None and not _is_within(needed, box)):
            continue
        changes.append((layer, array[inner], new))
        done |= set(layer.names)
    for layer, part, new in changes:
        assert layer.label_of is not None
        is_changed = part != new
        if is_changed.any():
            changed = {*part[is_changed].tolist(), *new[is_changed].tolist()}
            part[...] = new
            layer.image.GetPointData().GetScalars().Modified()
            layer.image.Modified()
            _note_begun(segmentation_node, {layer.label_of.labels.get(value) for value in changed}, values)
    # An empty segment without a layer stays as it is.
    in_layers = {name for layer in layers for name in layer.names}
    return done | {name for name, value in values.items() if name not in in_layers and value not in shown}


def _note_begun(segmentation_node, labels: set[int | None], values: Mapping[str, int]) -> None:
    """Give the changed segments the status 'in progress', as Slicer's own operations do."""
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, segmentation_node.GetSegmentation()
    for segment_id in segment_ids(segmentation_node):
        segment = segmentation.GetSegment(segment_id)
        is_changed = values.get(segment.GetName()) in labels - {None}
        if is_changed and logic.GetSegmentStatus(segment) == logic.NotStarted:
            logic.SetSegmentStatus(segment, logic.InProgress)


def making_voxels(
    segmentation_node,
    volume_node,
    labels: np.ndarray,
    values: Mapping[str, int],
    without: Mapping[int, Sequence[int]] | None = None,
) -> Generator[None, None, list[NewVoxels] | None]:
    """In pieces: what the layers of the named segments have to hold to show labels in all of the volume.

    Voxels of theirs outside the volume stay. Layers for which this is not possible, as for `put_in_layers`, are left
    out. None when a voxel of the segmentation was changed meanwhile.

    Args:
        labels: (K, J, I) on the volume's grid. values: label value of each segment name.
        without: slices that stay as they are, array axis to indices.
    """
    before, found = voxel_stamp(segmentation_node), []
    layers = named_layers(segmentation_node, values) if has_only_labelmaps(segmentation_node) else []
    boxes = (yield from finding_boxes_of_values(labels)) if layers else {}
    if voxel_stamp(segmentation_node) != before:
        return None
    for layer in layers:
        if layer.label_of is None:
            continue
        needed = enclosing_box(boxes[values[name]] for name in layer.names if values[name] in boxes)
        alignment = required_alignment(layer.image, segmentation_node, volume_node)
        if (alignment.axes, alignment.flips) != _AS_THE_VOLUME:
            continue
        new = yield from _making_voxels(
            segmentation_node, volume_node, labels, needed, layer, alignment.starts, before, without or {}
        )
        if voxel_stamp(segmentation_node) != before:
            return None
        if new is not None:
            found.append(new)
    return found


def _making_voxels(
    segmentation_node,
    volume_node,
    labels: np.ndarray,
    needed: Box | None,
    layer: NamedLayer,
    starts: tuple[int, int, int],
    before: tuple,
    without: Mapping[int, Sequence[int]],
) -> Generator[None, None, NewVoxels | None]:
    """What one layer has to hold, see `making_voxels`; None when that is not possible, or something was changed.

    `needed`: the part of the volume around its labels.
    """
    array, _starts = aligned_voxels(layer.image, segmentation_node, volume_node)
    own, dtype, extent = _box_at(starts, array.shape), array.dtype, layer.image.GetExtent()
    del array  # not kept: it may become invalid between two pieces
    assert layer.label_of is not None
    value_of = layer.label_of.inverse(dtype)
    box = _box_around(own, needed)
    size = along_axes(part.stop - part.start for part in box)
    scalars = numpy_support.create_vtk_array(numpy_support.get_vtk_array_type(dtype))
    scalars.SetNumberOfComponents(1)
    scalars.SetNumberOfTuples(int(np.prod(size)))
    target = numpy_support.vtk_to_numpy(scalars).reshape(size)
    for slab in slabs(size, dtype.itemsize):
        if voxel_stamp(segmentation_node) != before:
            return None
        region = (slice(box[0].start + slab.start, box[0].start + slab.stop), *box[1:])
        piece = target[slab]
        piece[...] = 0
        array, _starts = aligned_voxels(layer.image, segmentation_node, volume_node)
        common = common_part(array, starts, region)
        if common is not None:
            piece[common[1]] = array[common[0]]
        del array
        in_volume = common_part(labels, (0, 0, 0), region)
        if in_volume is not None:
            wanted, is_kept = value_of[labels[in_volume[0]]], on_slices(without, in_volume[0])
            new = _with_values(piece[in_volume[1]], layer.label_of, np.where(is_kept, wanted.dtype.type(0), wanted))
            if new is None:
                return None
            np.copyto(piece[in_volume[1]], new, where=~is_kept)
        yield
    first = [extent[2 * (2 - axis)] + box[axis].start - own[axis].start for axis in range(3)]
    bounds = [bound for axis in (2, 1, 0) for bound in (first[axis], first[axis] + size[axis] - 1)]
    return NewVoxels(layer.image, scalars, bounds, layer.names)


def comparing_labels(
    segmentation_node,
    volume_node,
    labels: np.ndarray | None,
    values: Mapping[str, int],
    start: tuple[int, int, int] = (0, 0, 0),
    without: Mapping[int, Sequence[int]] | None = None,
) -> Generator[None, None, set[str] | None]:
    """In pieces: those of the named segments that differ from labels within the volume.

    None when a voxel of the segmentation was changed meanwhile, or where segments cannot be distinguished by the values
    of their layer.

    Args:
        labels: a part of the volume that starts at the voxel `start`; nothing is labeled elsewhere. None: nowhere.
        values: label value of each segment name. without: slices that do not count, array axis to indices.
    """
    before, differing = voxel_stamp(segmentation_node), set[str]()
    shape = geometry_of(volume_node).shape
    whole, layers = whole_region(shape), named_layers(segmentation_node, values)
    groups: list[tuple[NamedLayer | None, tuple[str, ...]]] = [(layer, layer.names) for layer in layers]
    in_layers = {name for layer in layers for name in layer.names}
    groups.append((None, tuple(name for name in values if name not in in_layers)))
    if any(layer.label_of is None for layer in layers) or other_representation(segmentation_node):
        return None
    dtype = np.dtype(np.uint16 if max(values.values(), default=0) > 255 else np.uint8)
    boxes: dict[int, Box] = {}
    for one in layers:
        boxes[id(one)] = _box_of(one, segmentation_node, volume_node)
        yield
    for slab in slabs(shape, dtype.itemsize):
        if voxel_stamp(segmentation_node) != before:
            return None
        region = (slab, *whole[1:])
        there = common_part(labels, start, region) if labels is not None else None
        part = labels[there[0]] if labels is not None and there is not None else np.zeros((0, 0, 0), dtype)
        origin = [side.start for side in region]
        first = (
            [side.start + step for side, step in zip(there[1], origin, strict=True)] if there is not None else origin
        )
        places = _places_of(values, part, first, len(layers))
        for layer, names in groups:
            shown = shared_part(boxes[id(layer)], region) if layer is not None else None
            wanted_in = [places[values[name]] for name in names if values[name] in places]
            box = enclosing_box([*wanted_in, *([shown] if shown is not None else [])])
            if box is None:
                continue
            label_of = LabelOf({values[name]: values[name] for name in names}, dtype)
            now = np.zeros([side.stop - side.start for side in box], dtype=dtype)
            wanted = np.zeros_like(now)
            if layer is not None and layer.label_of is not None and shown is not None:
                array, starts = aligned_voxels(layer.image, segmentation_node, volume_node)
                common = common_part(array, starts, box)
                if common is not None and array[common[0]].any():
                    now[common[1]] = layer.label_of[array[common[0]]]
                del array
            given = common_part(part, first, box)
            if wanted_in and given is not None:
                wanted[given[1]] = label_of[part[given[0]]]
            is_other = now != wanted
            is_other[on_slices(without or {}, box)] = False
            if is_other.any():
                found = {*values_in(now[is_other]), *values_in(wanted[is_other])}
                differing |= {name for name in names if values[name] in found}
        yield
    return differing


def _places_of(values: Mapping[str, int], part: np.ndarray, first: Sequence[int], layers: int) -> dict[int, Box]:
    """Where the named labels may be in the volume; `part`: some of its labels, that begin at the voxel `first`.

    With hundreds of layers, looking at all of the part for each of them would take minutes.
    """
    if layers > _FEW_LAYERS:
        return {value: moved_by(box, first) for value, box in boxes_of_values(part).items()}
    return dict.fromkeys(values.values(), _box_at(first, part.shape)) if part.any() else {}


def _box_of(layer: NamedLayer, segmentation_node, volume_node) -> Box:
    """The part of the volume, and perhaps beyond it, that a layer fills."""
    array, starts = aligned_voxels(layer.image, segmentation_node, volume_node)
    return _box_at(starts, array.shape)


def _with_values(now: np.ndarray, label_of: LabelOf, wanted: np.ndarray) -> np.ndarray | None:
    """Values of a layer with those of its labelled segments replaced; None when a segment would overlap another."""
    new = np.where(label_of[now] > 0, np.zeros((), now.dtype), now)
    is_wanted = wanted > 0
    if (is_wanted & (new > 0)).any():
        return None
    np.copyto(new, wanted, where=is_wanted, casting="unsafe")
    return new


def _is_within(box: Box, other: Box) -> bool:
    return all(b.start <= a.start and a.stop <= b.stop for a, b in zip(box, other, strict=True))


def _box_at(start: Sequence[int], shape: Sequence[int]) -> Box:
    return along_axes(slice(s, s + n) for s, n in zip(start, shape, strict=True))


def _box_around(box: Box, needed: Box | None) -> Box:
    """The smallest box around both."""
    if needed is None:
        return box
    return along_axes(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, needed, strict=True))
