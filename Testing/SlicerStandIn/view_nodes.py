"""The view nodes that a Slicer scene always has: three slice views with their layers, and one 3D view."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

THREE_D_VIEW = "1"


@dataclass(frozen=True)
class SliceViewKind:
    """One of Slicer's standard slice views."""

    name: str
    orientation: str
    colour: tuple[float, float, float]


SLICE_VIEWS = (
    SliceViewKind("Red", "Axial", slicer.vtkMRMLSliceNode.GetRedColor()),
    SliceViewKind("Green", "Coronal", slicer.vtkMRMLSliceNode.GetGreenColor()),
    SliceViewKind("Yellow", "Sagittal", slicer.vtkMRMLSliceNode.GetYellowColor()),
)


def add_slice_views() -> None:
    """Add to the scene what is missing of Slicer's standard views, and a slice logic for each slice view.

    All are singletons: they outlive the closing of the scene, and a loaded scene changes them in place.
    """
    for kind in SLICE_VIEWS:
        node = view_node(kind.name, "vtkMRMLSliceNode") or _add_view_node(kind.name, "vtkMRMLSliceNode")
        if not node.GetDefaultOrientation():  # new, or made by a layout, which leaves this to the views
            node.SetDefaultOrientation(kind.orientation)
            node.SetOrientation(kind.orientation)
            node.SetLayoutColor(*kind.colour)
            node.SetLayoutLabel(kind.name[0])
        if composite_node(kind.name) is None:
            _add_view_node(kind.name, "vtkMRMLSliceCompositeNode")
        slice_logic(kind.name).SetSliceNode(node)
        node.SetMappedInLayout(True)
    node = view_node(THREE_D_VIEW, "vtkMRMLViewNode") or _add_view_node(THREE_D_VIEW, "vtkMRMLViewNode")
    node.SetLayoutLabel(THREE_D_VIEW)
    node.SetMappedInLayout(True)


def view_node(name: str, class_name: str):
    """The view node of that name in the scene; None when there is none."""
    return slicer.mrmlScene.GetSingletonNode(name, class_name)


def composite_node(name: str):
    """The layers (background, foreground) of a slice view; None when the scene has none for it."""
    return view_node(name, "vtkMRMLSliceCompositeNode")


def slice_logic(name: str):
    """The slice logic of a slice view, made (with its nodes) when there is none."""
    application_logic = slicer._embedded.application_logic
    logic = application_logic.GetSliceLogicByLayoutName(name)
    if logic is None:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(slicer.mrmlScene)
        node = view_node(name, "vtkMRMLSliceNode")
        if node is None:
            logic.AddSliceNode(name)
        else:
            logic.SetSliceNode(node)
    return logic


def show_volume(volume_node) -> None:
    """Put a volume into the background of all slice views and fit them to it, as Slicer does with one just loaded."""
    application_logic = slicer._embedded.application_logic
    application_logic.GetSelectionNode().SetActiveVolumeID(volume_node.GetID())
    application_logic.PropagateVolumeSelection()


def _add_view_node(name: str, class_name: str):
    # Nodes made by the scene start from its defaults, which have the orientation presets.
    node = slicer.mrmlScene.CreateNodeByClass(class_name)
    node.UnRegister(None)
    node.SetName(name)
    node.SetSingletonTag(name)
    node.SetLayoutName(name)
    return slicer.mrmlScene.AddNode(node)
