"""Slice views: the volume they show, and jumping to a slice of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from ..core import BadInputError, Plane
from ..core.messages import _
from ..core.planes import slice_centre_ras
from .channel_references import channel_names, further_channels
from .channel_volumes import cases_of_channels
from .confidence_overlay import overlays_in_views
from .volume_nodes import geometry_of, matrix_array, world_geometry_of

_ORIENTATIONS = {Plane.AXIAL: "Axial", Plane.CORONAL: "Coronal", Plane.SAGITTAL: "Sagittal"}
_PARALLEL = 0.999
_SHOWN_ATTRIBUTE = "SparseAnnotate.ShownChannel"
_FADED_ATTRIBUTE = "SparseAnnotate.FadedChannel"
_FADED = 0.5  # opacity
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


def show_channel(volume_node, name: str, faded: str = "") -> None:
    """Show a channel of a case in all slice views, now and when its slices are gone to.

    Args:
        name: of the channel in the background. faded: of another one, half transparent over it; '' for none.

    Raises BadInputError when the case has no such channel, or the confidence is shown where `faded` would be.
    """
    nodes = _channels(volume_node)
    for wanted in (name, *([faded] if faded else [])):
        if wanted not in nodes:
            raise BadInputError(
                _("'{volume}' has no image of the channel '{channel}'.").format(
                    volume=volume_node.GetName(), channel=wanted
                )
            )
    if faded and overlays_in_views():
        raise BadInputError(
            _("The slice views show the confidence. Hide it first to fade '{channel}' over the image.").format(
                channel=faded
            )
        )
    volume_node.SetAttribute(_SHOWN_ATTRIBUTE, name)
    volume_node.SetAttribute(_FADED_ATTRIBUTE, faded)
    show_volume(volume_node)
    own = {node.GetID() for node in nodes.values()}
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if faded or composite.GetForegroundVolumeID() in own:
            _fade(composite, nodes.get(faded) if faded else None)


def shown_channel(volume_node) -> tuple[str, str]:
    """The name of the channel that is shown of a case, and of the one that is faded over it, '' for none."""
    nodes = _channels(volume_node)
    name, faded = (volume_node.GetAttribute(a) or "" for a in (_SHOWN_ATTRIBUTE, _FADED_ATTRIBUTE))
    if name not in nodes:
        return next(iter(nodes)), ""
    return name, faded if faded in nodes else ""


def _channels(volume_node) -> dict[str, Any]:
    """The volumes of a case by the name of their channel; that of a case by itself has the name ''."""
    return {(channel_names(volume_node) or ("",))[0]: volume_node, **further_channels(volume_node)}


def volumes_shown() -> list:
    """The volumes in the background of the slice views, each once; for a further channel that of its case."""
    cases = cases_of_channels()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    found = (slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID() or "") for node in composites)
    return list(dict.fromkeys(cases.get(node.GetID(), node) for node in found if node is not None))


def views_showing(volume_node) -> list[str]:
    """IDs of the slice views in which a channel of a volume is visible, in the background or in the foreground."""
    own = {node.GetID() for node in _channels(volume_node).values()}
    names = {
        node.GetLayoutName()
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        if node.GetBackgroundVolumeID() in own
        or (node.GetForegroundVolumeID() in own and node.GetForegroundOpacity() > 0.0)
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
    """Set a volume, or its channel to be shown, as the background of all slice views.

    Returns the names of the views that showed another case.
    """
    nodes, (shown, faded) = _channels(volume_node), shown_channel(volume_node)
    own, others = {node.GetID() for node in nodes.values()}, cases_of_channels()
    changed = set()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        before = composite.GetBackgroundVolumeID()
        if before != nodes[shown].GetID():
            composite.SetBackgroundVolumeID(nodes[shown].GetID())
        if before in own:
            continue
        changed.add(composite.GetLayoutName())
        in_front = composite.GetForegroundVolumeID()
        if faded and not in_front:
            _fade(composite, nodes[faded])
        elif in_front in others or in_front in {case.GetID() for case in others.values()}:
            # That of another patient.
            _fade(composite, nodes[faded] if faded else None)
    return changed


def _fade(composite, node) -> None:
    """Show a volume half transparent in front of a slice view's background; None: nothing."""
    composite.SetForegroundVolumeID(node.GetID() if node is not None else None)
    composite.SetForegroundOpacity(_FADED if node is not None else 0.0)


def _fit(names: set[str]) -> None:
    logics = slicer.app.applicationLogic().GetSliceLogics()
    for number in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(number)
        if logic.GetSliceNode() is not None and logic.GetSliceNode().GetLayoutName() in names:
            logic.FitSliceToBackground()
