"""The stand-in's parameters: what a scene keeps of a panel's choices, and how widgets follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import numpy as np
import pytest


def add_volume(mrml, name: str):
    return mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


@pytest.fixture
def parameters(facade, mrml):
    from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
    from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

    kinds = {
        "volume": vtkMRMLScalarVolumeNode,
        "volumes": list[vtkMRMLScalarVolumeNode],
        "reference": Optional[vtkMRMLSegmentationNode],  # noqa: UP045 as modules of Slicer write it
        "result": vtkMRMLSegmentationNode | None,
        "plane": Annotated[str, Choice(["axial", "coronal"])],
        "count": Annotated[int, WithinRange(1, 10)],
        "share": Annotated[float, WithinRange(0.0, 1.0)],
        "free": bool,
        "title": str,
        "folder": Path,
    }
    defaults = {"plane": "axial", "count": 3, "share": 0.5, "title": "x", "folder": Path("some")}
    TrialParameters = parameterNodeWrapper(type("TrialParameters", (), {"__annotations__": kinds, **defaults}))
    node = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "trial")
    wrapper = TrialParameters(node)
    wrapper.remade = lambda: TrialParameters(mrml.util.getNode("trial"))
    return wrapper


def test_parameters_have_their_defaults_in_the_node(parameters):
    assert (parameters.plane, parameters.count, parameters.share, parameters.free) == ("axial", 3, 0.5, False)
    assert (parameters.volume, parameters.reference, parameters.result) == (None, None, None)
    assert parameters.volumes == []
    assert parameters.parameterNode.GetParameter("count") == "3"
    assert parameters.folder == Path("some")


def test_a_list_of_nodes_survives_in_the_scene(parameters, mrml, embedded, tmp_path):
    volumes = [mrml.util.addVolumeFromArray(np.zeros((2, 2, 2)), name=name) for name in "abc"]
    parameters.volumes = volumes
    parameters.volumes.remove(volumes[1])
    parameters.reference = segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "s")
    assert parameters.volumes == [volumes[0], volumes[2]]
    assert parameters.reference is segmentation
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    loaded = parameters.remade()
    assert [node.GetName() for node in loaded.volumes] == ["a", "c"]
    assert loaded.reference.GetName() == "s"
    loaded.reference = None
    assert loaded.reference is None


def test_a_node_of_a_list_that_goes_leaves_a_gap(parameters, mrml):
    parameters.volumes = [add_volume(mrml, "a"), add_volume(mrml, "b")]
    mrml.mrmlScene.RemoveNode(mrml.util.getNode("a"))
    assert [node and node.GetName() for node in parameters.remade().volumes] == [None, "b"]


def test_parameters_refuse_what_slicer_refuses(parameters, mrml):
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for name, value in {"plane": "oblique", "count": 11, "share": -0.1}.items():
        with pytest.raises(ValueError, match="Value"):
            setattr(parameters, name, value)
    for name, value in {"count": "3", "title": 5, "volume": segmentation, "volumes": [segmentation], "free": 1}.items():
        with pytest.raises(TypeError, match="Value must be"):
            setattr(parameters, name, value)
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.setValue("nothing", 1)
    assert parameters.remade().count == 3


def test_other_kinds_of_parameters_have_no_serializer(facade):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError, match="no serializer for Odd.what"):
        parameterNodeWrapper(type("Odd", (), {"__annotations__": {"what": complex}}))


def test_values_are_read_again_when_the_node_says_so(parameters):
    node = parameters.parameterNode
    was_modifying = node.StartModify()
    node.SetParameter("count", "8")
    assert parameters.count == 3
    node.EndModify(was_modifying)
    assert parameters.count == 8


@pytest.fixture
def widgets(qt, ctk, mrml):
    selector = mrml.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(mrml.mrmlScene)
    return {
        "volume": selector,
        "plane": qt.QComboBox(),
        "count": qt.QSpinBox(),
        "share": qt.QDoubleSpinBox(),
        "free": qt.QCheckBox(),
        "title": qt.QLineEdit(),
        "folder": ctk.ctkPathLineEdit(),
    }


def test_widgets_and_parameters_follow_each_other_until_they_are_let_go(parameters, widgets, mrml):
    tag = parameters.connectParametersToGui(widgets)
    assert (widgets["count"].minimum, widgets["count"].maximum, widgets["count"].value) == (1, 10, 3)
    assert [widgets["plane"].itemText(n) for n in range(2)] == ["axial", "coronal"]
    widgets["count"].value = 4
    widgets["plane"].setCurrentText("coronal")
    widgets["folder"].currentPath = "else"
    widgets["volume"].setCurrentNode(volume := add_volume(mrml, "v"))
    assert (parameters.count, parameters.plane, parameters.folder) == (4, "coronal", Path("else"))
    assert parameters.volume is volume
    parameters.free, parameters.title, parameters.share, parameters.volume = True, "y", 0.25, None
    shown = (widgets["free"].checked, widgets["title"].text, widgets["share"].value, widgets["volume"].currentNode())
    assert shown == (True, "y", 0.25, None)
    parameters.parameterNode.SetParameter("count", "9")
    assert widgets["count"].value == 9
    parameters.disconnectGui(tag)
    widgets["count"].value = 2
    parameters.plane = "axial"
    assert (parameters.count, widgets["plane"].currentText) == (9, "coronal")


def test_a_widget_is_bound_by_its_property_in_the_ui_file(parameters, widgets):
    from types import SimpleNamespace

    widgets["count"].setProperty("SlicerParameterName", "count")
    parameters.connectGui(SimpleNamespace(**widgets))
    parameters.count = 5
    assert widgets["count"].value == 5


def test_what_slicer_cannot_bind_is_an_error(parameters, qt, mrml):
    pairs = {"title": qt.QComboBox(), "count": qt.QDoubleSpinBox(), "share": qt.QSpinBox(), "volumes": qt.QListWidget()}
    assert parameters.connectParametersToGui({"count": pairs.pop("count")}) == 0  # an int in a QDoubleSpinBox
    for name, widget in pairs.items():
        with pytest.raises(RuntimeError, match=r"Unable to create GUI connector|annotation Choice"):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="Cannot find a param"):
        parameters.connectParametersToGui({"nothing": qt.QSpinBox()})
