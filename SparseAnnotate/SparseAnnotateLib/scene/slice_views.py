"""Slice views: the volume they show, and jumping to a slice of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer

from ..core import BadInputError, Plane
from ..core.messages import _
from ..core.planes import slice_centre_ras
from .volume_nodes import geometry_of, matrix_array, world_geometry_of

_ORIENTATIONS = {Plane.AXIAL: "Axial", Plane.CORONAL: "Coronal", Plane.SAGITTAL: "Sagittal"}
_PARALLEL = 0.999
_VIEWS = {Plane.AXIAL: "Red", Plane.CORONAL: "Green", Plane.SAGITTAL: "Yellow"}


def slice_view_for(plane: Plane):
    """The slice view that shows this plane in Slicer's layouts; in a layout without it, another one that is shown.

    Raises BadInputError when there is no slice view.
    """
    nodes = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    own = [nodes[name] for name in (_VIEWS[plane], *_VIEWS.values()) if name in nodes] + list(nodes.values())
    if not own:
        raise BadInputError(_("There is no slice view to show the slice in. Choose a layout with slice views."))
    return next((node for node in own if node.IsMappedInLayout()), own[0])


def jump_to_slice(slice_node, volume_node, plane: Plane, index: int) -> None:
    """Show a slice of a volume in a slice view, rotated to the volume's own plane, even if that is oblique.

    The other slice views show the volume as well, at the same point.
    """
    axis, world = plane.array_axis(geometry_of(volume_node)), world_geometry_of(volume_node)
    # Under a parent transform the volume's axial slices may be coronal in the world.
    shown = next(p for p in Plane if p.array_axis(world) == axis)
    is_new = _show_volume(volume_node)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node is not slice_node and node.GetLayoutName() in is_new:
            node.RotateToVolumePlane(volume_node)
            node.JumpSliceByCentering(*slice_centre_ras(world, axis, index))
    slice_node.SetOrientation(_ORIENTATIONS[shown])
    # RotateToVolumePlane chooses the volume's plane that is nearest to the orientation just set.
    slice_node.RotateToVolumePlane(volume_node)
    if is_new:
        _fit(is_new)
    slice_node.JumpSliceByCentering(*slice_centre_ras(world, axis, index))


def show_volume(volume_node) -> None:
    """Show a volume in all slice views; those that showed another one are rotated and fitted to it."""
    changed = _show_volume(volume_node)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetLayoutName() in changed:
            node.RotateToVolumePlane(volume_node)
    _fit(changed)


def volumes_shown() -> list:
    """The volumes in the background of the slice views, each once."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    found = (slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID() or "") for node in composites)
    return list(dict.fromkeys(node for node in found if node is not None))


def views_showing(volume_node) -> list[str]:
    """IDs of the slice views in which a volume is visible, in the background or in the foreground."""
    own = volume_node.GetID()
    names = {
        node.GetLayoutName()
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if node.GetBackgroundVolumeID() == own
        or (node.GetForegroundVolumeID() == own and node.GetForegroundOpacity() > 0.0)
    }
    return [node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetLayoutName() in names]


def slice_shown(volume_node, plane: Plane) -> int | None:
    """Index of the slice that the plane's view shows; None when it shows no slice of this volume in this plane."""
    slice_node = slice_view_for(plane)
    axis, world = plane.array_axis(geometry_of(volume_node)), world_geometry_of(volume_node)
    to_ras = matrix_array(slice_node.GetSliceToRAS())
    if abs(to_ras[:3, 2] @ np.asarray(world.directions)[:, axis]) < _PARALLEL:
        return None
    ijk = np.linalg.solve(world.matrix, to_ras[:, 3])
    index = round(float(ijk[2 - axis]))
    return index if 0 <= index < world.shape[axis] else None


def watch_slice_views(on_moved: Callable[[], None]) -> Callable[[], None]:
    """Call `on_moved` whenever a slice view shows another slice; returns a function that stops watching."""
    return _watch("vtkMRMLSliceNode", on_moved)


def watch_layers(on_changed: Callable[[], None]) -> Callable[[], None]:
    """Call `on_changed` whenever a slice view may show another volume; returns a function that stops watching."""
    return _watch("vtkMRMLSliceCompositeNode", on_changed)


def _watch(class_name: str, on_changed: Callable[[], None]) -> Callable[[], None]:
    nodes = slicer.util.getNodesByClass(class_name)
    tags = [(node, node.AddObserver("ModifiedEvent", lambda *_: on_changed())) for node in nodes]

    def stop() -> None:
        for node, tag in tags:
            node.RemoveObserver(tag)

    return stop


def _show_volume(volume_node) -> set[str]:
    """Set a volume as the background of all slice views; returns the names of those that showed another one."""
    changed = set()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID() != volume_node.GetID():
            composite.SetBackgroundVolumeID(volume_node.GetID())
            changed.add(composite.GetLayoutName())
    return changed


def _fit(names: set[str]) -> None:
    logics = slicer.app.applicationLogic().GetSliceLogics()
    for number in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(number)
        if logic.GetSliceNode() is not None and logic.GetSliceNode().GetLayoutName() in names:
            logic.FitSliceToBackground()
