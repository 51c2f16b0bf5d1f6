"""A round brush for the slice views: what a person does with Paint and Erase of the Segment Editor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

_EFFECTS = {
    "Paint": slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
    "Draw": slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
    "Erase": slicer.vtkSlicerSegmentEditorLogic.ModificationModeRemove,
}


class EditorBrush:
    """Draws discs into the segment that is selected in a segment editor, while one of its brushes is active.

    Args:
        diameter: of the disc, as a part of the height of the slice view.
        before_stroke: called with the segmentation node before the first disc of a stroke, to save a state for undo.
    """

    def __init__(self, diameter: float = 0.05, before_stroke: Callable | None = None):
        self.diameter = diameter
        self.before_stroke = before_stroke

    @property
    def is_active(self) -> bool:
        return _editor_node() is not None

    def __call__(self, slice_node, points: Sequence[np.ndarray], first: bool) -> None:
        """Draw around world positions (mm) on a slice view; `first` with the first ones of a stroke."""
        editor_node = _editor_node()
        if editor_node is None:
            return
        segmentation, volume = editor_node.GetSegmentationNode(), editor_node.GetSourceVolumeNode()
        if first and self.before_stroke is not None:
            self.before_stroke(segmentation)
        piece = _discs(slice_node, volume, segmentation, points, self.diameter * slice_node.GetFieldOfView()[1] / 2)
        if piece is None:
            return
        editor = slicer.vtkSlicerSegmentEditorLogic()
        editor.SetMRMLScene(slicer.mrmlScene)
        editor.SetSegmentEditorNode(editor_node)
        # With the editor's masks, and its rule for what lies under the brush.
        editor.UpdateReferenceGeometryImage()
        editor.UpdateMaskLabelmap()
        mode = _EFFECTS[editor_node.GetActiveEffectName()]
        editor.ModifySegmentByLabelmap(segmentation, editor_node.GetSelectedSegmentID(), piece, mode, False, False)


def _editor_node():
    """The node of a segment editor that has all it takes to draw; None when there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode"):
        ready = node.GetSegmentationNode() is not None and node.GetSourceVolumeNode() is not None
        if ready and node.GetSelectedSegmentID() and node.GetActiveEffectName() in _EFFECTS:
            return node
    return None


def _discs(slice_node, volume, segmentation, points: Sequence[np.ndarray], radius: float):
    """Discs of one slice's thickness on the volume's grid, as an image in the segmentation's frame; None if outside."""
    local = _array(_filled(volume.GetIJKToRASMatrix))
    to_world = _transform(volume, None) @ local
    shape = np.array(volume.GetImageData().GetDimensions())
    ijk = np.array([(np.linalg.solve(to_world, [*point, 1.0]))[:3] for point in points])
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    low = np.maximum(np.floor(ijk.min(axis=0) - radius / spacing), 0).astype(int)
    high = np.minimum(np.ceil(ijk.max(axis=0) + radius / spacing), shape - 1).astype(int)
    if (high < low).any():
        return None
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    world = grid @ to_world[:3, :3].T + to_world[:3, 3]
    normal = _array(slice_node.GetSliceToRAS())[:3, 2]
    half = np.abs(np.linalg.solve(to_world[:3, :3], normal)).max() ** -1 / 2  # half the way to the next slice
    mask = np.zeros(grid.shape[:3], dtype=bool)
    for point in points:
        away = world - point
        height = away @ normal
        across = np.linalg.norm(away - height[..., None] * normal, axis=-1)
        mask |= (-half <= height) & (height < half) & (across <= radius)
    image = slicer.vtkOrientedImageData()
    image.SetExtent([int(bound) for pair in zip(low, high, strict=True) for bound in pair])
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((_transform(volume, segmentation) @ local).ravel())
    image.SetImageToWorldMatrix(matrix)
    scalars = np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(scalars, deep=True))
    return image


def _transform(source, target) -> np.ndarray:
    """From the frame of a node to that of another one, or to the world."""
    to_node = target.GetParentTransformNode() if target is not None else None
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    return _array(_filled(lambda matrix: between(source.GetParentTransformNode(), to_node, matrix)))


def _filled(fill: Callable) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    fill(matrix)
    return matrix


def _array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
