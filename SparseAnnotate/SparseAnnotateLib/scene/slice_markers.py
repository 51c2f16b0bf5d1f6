"""Markers of drawn and recommended slices: thin lines where they cross the other slice views."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..core import Ledger, Plane, SliceState, VolumeGeometry
from .shown_only import nodes_with, shown_only_node
from .slice_views import views_showing
from .volume_nodes import geometry_of

_CLASS, _MARKERS_ATTRIBUTE = "vtkMRMLModelNode", "SparseAnnotate.Markers"
_KINDS = {
    "drawn": ((SliceState.DRAWN, SliceState.EMPTY), (0.25, 0.8, 0.35)),
    "to do": ((SliceState.TODO,), (1.0, 0.65, 0.1)),
}


def show_markers(volume_node, ledger: Ledger) -> None:
    """Mark drawn slices of one volume in green and recommended ones in orange; remove markers of other volumes.

    The markers are visible in the slice views that show the volume now; see `place_markers`.
    """
    geometry = geometry_of(volume_node)
    for kind, (states, colour) in _KINDS.items():
        node = _node(kind, colour)
        node.SetAndObservePolyData(slice_frames(geometry, ledger, states))
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    place_markers(volume_node)


def place_markers(volume_node) -> None:
    """Show the markers only in the slice views that show the volume: over another one they would be misleading."""
    views = views_showing(volume_node)
    for node in _nodes():
        display = node.GetDisplayNode()
        if list(display.GetViewNodeIDs()) != views or bool(display.GetVisibility()) != bool(views):
            with slicer.util.NodeModify(display):
                display.RemoveAllViewNodeIDs()
                for view in views:
                    display.AddViewNodeID(view)
                # A display node without any view ID is visible in all views.
                display.SetVisibility(bool(views))


def hide_markers() -> None:
    """Remove all markers. A scene that is being closed removes them itself."""
    if slicer.mrmlScene.IsClosing():
        return
    for node in _nodes():
        slicer.mrmlScene.RemoveNode(node)


def slice_frames(geometry: VolumeGeometry, ledger: Ledger, states: Iterable[SliceState]) -> vtk.vtkPolyData:
    """A rectangle (RAS, mm) for each slice in one of the states, through the middle of its voxels."""
    corners = []
    for plane in Plane:
        axis = plane.array_axis(geometry)
        across = [a for a in range(3) if a != axis]
        for index in ledger.indices(plane, *states):
            for first, second in ((0, 0), (1, 0), (1, 1), (0, 1)):
                kji = np.empty(3)
                kji[axis] = index
                for place, end in zip(across, (first, second), strict=True):
                    # To the outer edge of the outermost voxels.
                    kji[place] = end * geometry.shape[place] - 0.5
                corners.append((geometry.matrix @ [*kji[::-1], 1.0])[:3])
    data = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    points.SetData(numpy_support.numpy_to_vtk(np.array(corners, dtype=float).reshape(-1, 3), deep=True))
    data.SetPoints(points)
    faces = vtk.vtkCellArray()
    for number in range(len(corners) // 4):
        faces.InsertNextCell(4, range(4 * number, 4 * number + 4))
    data.SetPolys(faces)
    return data


def _nodes() -> list:
    return nodes_with(_CLASS, _MARKERS_ATTRIBUTE)


def _node(kind: str, colour: tuple[float, float, float]):
    node, is_new = shown_only_node(_CLASS, f"Slices {kind}", _MARKERS_ATTRIBUTE, kind)
    if is_new:
        display = node.GetDisplayNode()
        display.SetColor(*colour)
        display.SetVisibility2D(True)
        display.SetVisibility3D(False)
        display.SetSliceIntersectionThickness(1)
    return node
