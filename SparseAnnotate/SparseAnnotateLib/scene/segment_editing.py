"""Changing segments, and detecting changes. To make a change undoable, the caller saves the state before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import slicer
from vtk.util import numpy_support

from ..core import BadInputError, Plane
from ..core.pieces import result_of
from ..core.voxel_boxes import Box, along_axes, bounding_box
from ..core.voxel_values import label_counts
from .changed_segments import ShownSegment
from .layer_writing import NewVoxels, making_voxels, put_in_layers
from .ledger_store import layers_may_be_replaced
from .segment_regions import slice_region, whole_region
from .segmentation_layers import layers_of, segment_ids
from .segmentation_nodes import aligned_voxels, geometry_problem, masks_of, on_slices
from .volume_nodes import geometry_of
from .voxel_grids import volume_layer

_EDITOR_TAG = "SparseAnnotate"
_OWN_ATTRIBUTE = "SparseAnnotate.Editor"  # of the module's editors without a window, which have no tag
BALL_ATTRIBUTE = "BrushSphere"  # a setting of the effects Paint and Erase


def apply_labels(
    segmentation_node,
    labels: np.ndarray,
    values: dict[str, int],
    volume_node,
    made: Sequence[NewVoxels] | None = None,
    without: Mapping[int, Sequence[int]] | None = None,
) -> None:
    """Replace the named segments by the labels within the volume; voxels outside it are kept.

    Args:
        labels: (K, J, I) on the volume's grid; the caller has put the drawn slices into it.
        values: label value of each segment name to replace; all other segments stay bit-identical.
        made: what `making_voxels` has made of the same arguments for the segmentation as it is now, if at hand.
        without: slices that stay as they are, array axis to indices.
    """
    segmentation = segmentation_node.GetSegmentation()
    if made is None:
        made = result_of(making_voxels(segmentation_node, volume_node, labels, values, without)) or ()
    done = {name for voxels in made for name in voxels.names}
    with layers_may_be_replaced(segmentation_node, volume_node):
        for voxels in made:
            voxels.put()
        for segment_id in segment_ids(segmentation_node):
            name = segmentation.GetSegment(segment_id).GetName()
            if name not in values or name in done:
                continue
            # A layer shared with other segments must not be written to: they would lose what overlaps.
            segmentation.SeparateSegmentLabelmap(segment_id)
            wanted = labels == values[name]
            if without:
                whole = whole_region(labels.shape)
                now = ShownSegment(segmentation_node, volume_node, name, segment_id, {}).mask(whole)
                wanted = np.where(on_slices(without, whole), now, wanted)
            mask, start = _with_outside(wanted, segmentation_node, segment_id, volume_node)
            region = bounding_box(mask) or (slice(0, 1),) * 3
            # Only the part that holds the segment: a whole volume for each would take seconds.
            moved = tuple(slice(part.start + s, part.stop + s) for part, s in zip(region, start, strict=True))
            piece = _layer_of(mask[region].astype(np.uint8), moved, segmentation_node, volume_node)
            slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
                piece, segmentation_node, segment_id, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
            )


def differing_segments(
    segmentation_node,
    labels: np.ndarray,
    values: Mapping[str, int],
    volume_node,
    without: Mapping[int, Sequence[int]] | None = None,
) -> list[str]:
    """Those of the named segments that `apply_labels` with the same arguments would change."""
    size, whole = label_counts(labels), whole_region(labels.shape)
    is_kept = on_slices(without, whole) if without else None
    if is_kept is not None:
        size = label_counts(np.where(is_kept, labels.dtype.type(0), labels))
    same = {name for name, value in values.items() if value not in size}
    for name, box, mask in masks_of(segmentation_node, volume_node, whole):
        if name in values:
            inside = labels[box][mask if is_kept is None else mask & ~is_kept[box]] == values[name]
            is_same = inside.all() and len(inside) == size.get(values[name], 0)
            same = same | {name} if is_same else same - {name}
    return [name for name in values if name not in same]


def _with_outside(
    mask: np.ndarray, segmentation_node, segment_id: str, volume_node
) -> tuple[np.ndarray, tuple[int, ...]]:
    """A (K, J, I) bool mask of the volume, extended by the segment's voxels outside the volume; and its first voxel."""
    start = (0, 0, 0)
    layer = layers_of(segmentation_node).get(segment_id)
    if layer is None:
        return mask, start
    array, starts = aligned_voxels(layer, segmentation_node, volume_node)
    low = np.minimum(starts, 0)
    high = np.maximum(np.add(starts, array.shape), mask.shape)
    if not low.any() and np.array_equal(high, mask.shape):
        return mask, start
    value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
    whole = np.zeros(high - low, dtype=bool)
    whole[tuple(slice(s, s + n) for s, n in zip(np.subtract(starts, low), array.shape, strict=True))] = array == value
    whole[tuple(slice(-s, n - s) for s, n in zip(low, mask.shape, strict=True))] = mask
    return whole, tuple(int(s) for s in low)


def editor_for(segmentation_node, volume_node):
    """A vtkSlicerSegmentEditorLogic with undo that edits the segmentation without a user interface."""
    editor_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor_node.SetHideFromEditors(True)
    editor_node.SetSaveWithScene(False)
    editor_node.SetAttribute(_OWN_ATTRIBUTE, "1")
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLScene(slicer.mrmlScene)
    editor.SetSegmentEditorNode(editor_node)
    editor.SetSegmentationHistory(slicer.vtkSegmentationHistory())
    editor.SetSegmentationNode(segmentation_node)
    editor.SetSourceVolumeNode(volume_node)
    return editor


def slice_masks(segmentation_node, volume_node, plane: Plane, index: int) -> dict[str, np.ndarray]:
    """For every segment with voxels on a slice: its name, and its (rows, columns) bool mask there.

    Only the slice is read, because this runs while the user draws. Raises BadInputError when the grids differ.
    """
    problem = geometry_problem(segmentation_node, volume_node)
    if problem:
        raise BadInputError(problem)
    geometry = geometry_of(volume_node)
    region = slice_region(geometry.shape, plane.array_axis(geometry), index)
    found = {}
    for name, box, mask in masks_of(segmentation_node, volume_node, region):
        whole = np.zeros([part.stop - part.start for part in region], dtype=bool)
        whole[box] = mask
        if whole.any():
            found[name] = np.squeeze(whole, axis=plane.array_axis(geometry))
    return found


def put_slice(
    segmentation_node, volume_node, plane: Plane, index: int, masks: Mapping[str, np.ndarray], editor
) -> None:
    """Replace the segments named in `masks` on one slice, and nothing else. The caller saves the state for undo.

    Args:
        masks: segment name to (rows, columns) bool, in the order of the array's axes.
        editor: a vtkSlicerSegmentEditorLogic on this segmentation.
    """
    geometry = geometry_of(volume_node)
    axis = plane.array_axis(geometry)
    region = slice_region(geometry.shape, axis, index)
    whole = {name: np.expand_dims(np.asarray(mask, dtype=bool), axis) for name, mask in masks.items()}
    with layers_may_be_replaced(segmentation_node, volume_node):
        done = _put_at_once(segmentation_node, volume_node, region, whole)
        for segment_id in segment_ids(segmentation_node):
            name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
            if name not in masks or name in done:
                continue
            mask = np.expand_dims(np.asarray(masks[name], dtype=np.uint8), axis)
            for array, mode in (
                (np.ones_like(mask), editor.ModificationModeRemove),
                (mask, editor.ModificationModeAdd),
            ):
                if array.any():
                    piece = _layer_of(array, region, segmentation_node, volume_node)
                    # Bypasses the editor's masking and overwrite settings, so that other segments do not change.
                    editor.ModifySegmentByLabelmap(
                        segmentation_node, segment_id, piece, mode, piece.GetExtent(), False, True
                    )


def _put_at_once(segmentation_node, volume_node, region: Box, masks: Mapping[str, np.ndarray]) -> set[str]:
    """Make segments show masks in a part of the volume where that is possible at once; returns their names."""
    shape = [part.stop - part.start for part in region]
    claims = np.zeros(shape, dtype=np.uint16)
    for mask in masks.values():
        claims += mask
    if claims.max(initial=0) > 1:
        return set()
    values = {name: value for value, name in enumerate(masks, start=1)}
    wanted = np.zeros(shape, dtype=np.uint16)
    for name, value in values.items():
        wanted[masks[name]] = value
    return put_in_layers(segmentation_node, volume_node, region, wanted, values)


def put_labels(
    segmentation_node, volume_node, region: Box, wanted: np.ndarray, values: Mapping[str, int], editor
) -> None:
    """Make segments show labels in a part of the volume, and change nothing else.

    Args:
        region: the part. wanted: labels there, of the shape of the part. values: label value of each segment name.
        editor: a vtkSlicerSegmentEditorLogic on this segmentation.
    """
    done = put_in_layers(segmentation_node, volume_node, region, wanted, values)
    values = {name: value for name, value in values.items() if name not in done}
    segmentation = segmentation_node.GetSegmentation()
    # Each by itself: segments may overlap, whatever the editor's settings.
    shown = {name: (box, mask) for name, box, mask in masks_of(segmentation_node, volume_node, region)}
    changes: dict[bool, list[tuple[str, np.ndarray]]] = {True: [], False: []}
    for segment_id in segment_ids(segmentation_node):
        name = segmentation.GetSegment(segment_id).GetName()
        if name not in values:
            continue
        now = np.zeros(wanted.shape, dtype=bool)
        if name in shown:
            box, mask = shown[name]
            now[box] = mask
        changes[True].append((segment_id, now & (wanted != values[name])))
        changes[False].append((segment_id, ~now & (wanted == values[name])))
    # What is taken away first: segments that share a layer must not overlap in between.
    for is_less, masks in changes.items():
        mode = editor.ModificationModeRemove if is_less else editor.ModificationModeAdd
        for segment_id, mask in masks:
            changed = bounding_box(mask)
            if changed is not None:
                place = along_axes(
                    slice(p.start + c.start, p.start + c.stop) for p, c in zip(region, changed, strict=True)
                )
                piece = _layer_of(mask[changed].astype(np.uint8), place, segmentation_node, volume_node)
                editor.ModifySegmentByLabelmap(
                    segmentation_node, segment_id, piece, mode, piece.GetExtent(), False, True
                )


def _layer_of(array: np.ndarray, region, segmentation_node, volume_node):
    """Part of a volume's grid as an image in the segmentation's coordinates; `array` (K, J, I) uint8 has its shape."""
    extent = [bound for part in reversed(region) for bound in (part.start, part.stop - 1)]
    layer = volume_layer(extent, segmentation_node, volume_node)
    layer.GetPointData().SetScalars(numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return layer


def watch_segmentation(
    segmentation_node, on_voxels: Callable[[], None], on_segments: Callable[[], None]
) -> Callable[[], None]:
    """Call `on_voxels` whenever voxels change, and `on_segments` when segments are added, removed or renamed.

    Returns a function that stops watching.
    """
    segmentation = segmentation_node.GetSegmentation()
    kinds = slicer.vtkSegmentation
    events = {
        kinds.SourceRepresentationModified: on_voxels,
        kinds.SegmentAdded: on_segments,
        kinds.SegmentRemoved: on_segments,
        kinds.SegmentModified: on_segments,
    }
    tags = [segmentation.AddObserver(event, lambda *_, call=call: call()) for event, call in events.items()]

    def stop() -> None:
        for tag in tags:
            segmentation.RemoveObserver(tag)

    return stop


def brush_for_correcting(editor_node) -> Callable[[], None]:
    """Let an editor paint balls, everywhere and over all segments, since an answer has one label for each voxel.

    Returns a function that restores the settings.
    """
    mode, is_ball = editor_node.GetOverwriteMode(), editor_node.GetAttribute(BALL_ATTRIBUTE)
    mask, is_limited = editor_node.GetMaskMode(), editor_node.GetSourceVolumeIntensityMask()
    editor_node.SetOverwriteMode(editor_node.OverwriteAllSegments)
    editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    editor_node.SourceVolumeIntensityMaskOff()
    editor_node.SetAttribute(BALL_ATTRIBUTE, "1")

    def restore() -> None:
        editor_node.SetOverwriteMode(mode)
        editor_node.SetMaskMode(mask)
        editor_node.SetSourceVolumeIntensityMask(is_limited)
        editor_node.SetAttribute(BALL_ATTRIBUTE, is_ball or "0")

    return restore


def is_in_other_editor(segmentation_node) -> bool:
    """Whether a Segment Editor other than the module's own has selected a segmentation.

    Slicer's module has the tag 'SegmentEditor'; those of other modules have other tags, or none.
    """
    editors = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode")
    return any(node.GetSegmentationNode() is segmentation_node and not _is_own(node) for node in editors)


def _is_own(editor_node) -> bool:
    return editor_node.GetSingletonTag() == _EDITOR_TAG or bool(editor_node.GetAttribute(_OWN_ATTRIBUTE))


def segment_editor_node():
    """The module's own vtkMRMLSegmentEditorNode, one in a scene; created if there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode"):
        if node.GetSingletonTag() == _EDITOR_TAG:
            return node
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
    node.UnRegister(None)
    node.SetSingletonTag(_EDITOR_TAG)
    return slicer.mrmlScene.AddNode(node)
