"""What people do in Slicer between two clicks in the panel: nothing is silently wrong, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from SparseAnnotateLib.core import Plane


@pytest.fixture
def drawn(panel):
    """A ball whose recommended slices are all drawn."""
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    panel.ui.fillMethodSelector.setCurrentText("Shape")
    return volume


@pytest.fixture
def filled(panel, drawn):
    """The same, with a fill as a preview."""
    panel.ui.fillButton.click()
    panel.idle()
    return drawn


def voxels(panel, segmentation, volume, name: str = "ball") -> np.ndarray:
    identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    return panel.mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, identifier, volume).copy()


def clone(panel, node):
    """A copy as the Data module makes it, with a display node of its own."""
    scene_ = panel.mrml.mrmlScene
    copy = scene_.AddNewNodeByClass(node.GetClassName())
    copy.Copy(node)
    copy.SetName(f"{node.GetName()} Copy")
    copy.SetAndObserveDisplayNodeID(None)
    copy.CreateDefaultDisplayNodes()
    return copy


def moved(panel, *nodes):
    """Put nodes under a transform."""
    transform = panel.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 7.5)
    transform.SetMatrixTransformToParent(matrix)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    panel.idle()
    return transform


def test_results_without_a_display_node_can_be_used(panel, filled):
    ui, scene_ = panel.ui, panel.mrml.mrmlScene
    for node in panel.mrml.util.getNodesByClass("vtkMRMLSegmentationNode"):
        while node.GetDisplayNode() is not None:
            scene_.RemoveNode(node.GetDisplayNode())
    scene_.RemoveNode(filled.GetDisplayNode())
    panel.idle()
    ui.fillButton.click()
    panel.idle()
    assert "shows the fill" in panel.message
    for box in (ui.confidenceCheckBox, ui.provenanceCheckBox, ui.markersCheckBox):
        box.checked = not box.checked
        panel.idle()
    ui.applyButton.click()
    panel.applied()
    assert "Applied to your segmentation" in panel.message
    ui.undoButton.click()
    result = panel.logic.panel.latest_result(filled)
    ui.discardButton.click()
    panel.idle()
    assert result.GetScene() is None


def test_a_copy_of_a_result_is_the_user_s_own(panel, filled):
    """It is neither shown as the result nor removed with it."""
    result = panel.logic.panel.latest_result(filled)
    copy = clone(panel, result)
    panel.idle()
    assert panel.logic.panel.latest_result(filled) is result
    panel.ui.discardButton.click()
    panel.idle()
    assert panel.logic.panel.latest_result(filled) is None
    assert copy.GetScene() is not None
    assert voxels(panel, copy, filled).any()


def test_a_copy_of_the_drawing_leaves_it_where_it_is_and_can_be_drawn_in(panel, filled):
    drawing = panel.logic.drawnIn(filled)
    copy = clone(panel, drawing)
    panel.idle()
    assert panel.logic.drawnIn(filled) is drawing
    before = [entry.key for entry in panel.logic.ledger(filled).decided]
    panel.ui.segmentationSelector.setCurrentNode(copy)
    panel.ui.segmentationSelector.nodeActivated.emit(copy)
    panel.idle()
    assert panel.logic.drawnIn(filled) is copy
    assert [entry.key for entry in panel.logic.ledger(filled).decided] == before
    voxels_before = voxels(panel, drawing, filled)
    panel.ui.applyButton.click()
    panel.applied()
    np.testing.assert_array_equal(voxels(panel, drawing, filled), voxels_before)


def test_a_preview_that_was_not_moved_with_its_volume_is_not_applied_elsewhere(panel, filled):
    drawing, expected = panel.logic.drawnIn(filled), voxels(panel, panel.logic.panel.latest_result(filled), filled)
    before = voxels(panel, drawing, filled)
    transform = moved(panel, filled, drawing)
    panel.ui.applyButton.click()
    panel.applied()
    after = voxels(panel, drawing, filled)
    assert np.array_equal(after, before) or np.array_equal(after, expected), panel.message
    if np.array_equal(after, before):
        assert "transform" in panel.message
    for node in (filled, drawing):
        node.HardenTransform()
    panel.mrml.mrmlScene.RemoveNode(transform)
    panel.idle()
    assert len(panel.logic.ledger(filled).decided) == 6
    panel.ui.fillButton.click()
    panel.idle()
    panel.ui.applyButton.click()
    panel.applied()
    assert "Applied to your segmentation" in panel.message
    np.testing.assert_array_equal(voxels(panel, drawing, filled), expected)


@pytest.mark.parametrize("what", ["volume", "drawing", "display", "cohort folder"])
def test_nodes_may_go_while_a_model_is_trained(panel, what, tmp_path):
    volume = panel.draw_one_slice_for_a_long_training()
    panel.ui.trainButton.click()
    panel.until(lambda: "step" in panel.job)
    if what == "cohort folder":
        panel.ui.cohortFolderSelector.currentPath = str(tmp_path / "another")
    else:
        drawing = panel.logic.drawnIn(volume)
        node = {"volume": volume, "drawing": drawing, "display": drawing.GetDisplayNode()}[what]
        panel.mrml.mrmlScene.RemoveNode(node)
    panel.application.processEvents()
    panel.until(lambda: "step" in panel.job)
    panel.ui.trainButton.click()
    panel.idle()
    assert "Cancelled" in panel.message
    assert panel.logic.panel.run_summaries() or what == "cohort folder"
    panel.add_ball("another one")
    panel.recommend()
    assert panel.items


def test_names_may_change_while_a_result_is_made(panel, drawn):
    panel.ui.fillButton.click()
    drawn.SetName("other name")
    panel.logic.drawnIn(drawn).SetName("other drawing")
    segment = panel.logic.drawnIn(drawn).GetSegmentation().GetNthSegment(0)
    segment.SetName("globe")
    panel.idle()
    result = panel.logic.panel.latest_result(drawn)
    if result is None:
        assert "globe" in panel.message or "changed" in panel.message, panel.message
        panel.ui.fillButton.click()
        panel.idle()
        result = panel.logic.panel.latest_result(drawn)
    assert result is not None
    panel.ui.applyButton.click()
    panel.applied()
    names = [result.GetSegmentation().GetNthSegment(0).GetName()]
    assert ("Applied" in panel.message) == (names == ["globe"]), panel.message


def test_hidden_segments_are_filled_and_applied_as_shown_ones(panel, drawn):
    drawing = panel.logic.drawnIn(drawn)
    panel.ui.fillButton.click()
    panel.idle()
    expected = voxels(panel, panel.logic.panel.latest_result(drawn), drawn)
    display = drawing.GetDisplayNode()
    display.SetSegmentVisibility(drawing.GetSegmentation().GetNthSegmentID(0), False)
    panel.ui.fillButton.click()
    panel.idle()
    panel.ui.applyButton.click()
    panel.applied()
    np.testing.assert_array_equal(voxels(panel, drawing, drawn), expected)


def test_a_labelmap_that_is_imported_into_the_drawing_says_nothing_of_marked_slices(panel, filled):
    drawing = panel.logic.drawnIn(filled)
    other = np.zeros(panel.labels.shape, np.uint8)
    other[2:5, 2:5, 2:5] = 1
    node = panel.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "imported")
    node.CopyOrientation(filled)
    panel.mrml.util.updateVolumeFromArray(node, other)
    before = [entry.structures for entry in panel.logic.ledger(filled).decided]
    panel.mrml.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(node, drawing)
    panel.idle()
    assert [entry.structures for entry in panel.logic.ledger(filled).decided] == before
    names = [drawing.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    panel.ui.applyButton.click()
    panel.applied()
    assert "Applied" in panel.message, panel.message
    np.testing.assert_array_equal(voxels(panel, drawing, filled, names[1]), other)


def test_another_module_may_be_shown_and_the_scene_saved_and_opened_between_any_two_clicks(
    panel, embedded, tmp_path, drawn
):
    path, ui = tmp_path / "scene.mrb", panel.ui

    def in_between() -> None:
        panel.widget.exit()
        panel.widget.enter()
        embedded.save_scene(path)
        embedded.load_scene(path)
        panel.idle()

    expected = None
    for step in range(3):
        in_between()
        volume = panel.panel.session.volume
        assert volume.GetName() == "ball"
        assert len(panel.logic.ledger(volume).decided) == 6
        if step == 0:
            ui.fillMethodSelector.setCurrentText("Shape")
            ui.fillButton.click()
            panel.idle()
            expected = voxels(panel, panel.logic.panel.latest_result(volume), volume)
        elif step == 1:
            ui.applyButton.click()
            panel.applied()
            assert "Applied" in panel.message
    np.testing.assert_array_equal(voxels(panel, panel.logic.drawnIn(volume), volume), expected)
    counts = panel.logic.provenance(volume).counts()
    assert set(counts) == {"drawn", "filled (shape)"}
    panel.logic.markToDo(volume, Plane.AXIAL.value, panel.items[0].index)


@pytest.mark.parametrize("moment", ["correcting", "overlays", "learning", "applied", "predicted"])
def test_the_scene_can_be_closed_at_further_steps(panel, embedded, filled, moment):
    ui = panel.ui
    if moment == "correcting":
        ui.correctCheckBox.checked = True
        panel.until(lambda: panel.panel.draw.correcting.node is not None)
    elif moment == "overlays":
        ui.confidenceCheckBox.checked = ui.provenanceCheckBox.checked = True
        panel.idle()
    elif moment == "learning":
        ui.learnCheckBox.checked = True
        panel.application.processEvents()
    elif moment == "applied":
        ui.applyButton.click()
    else:
        ui.iterationsSpinBox.value = 1
        ui.trainButton.click()
        panel.idle()
        ui.runButton.click()
        panel.application.processEvents()
    embedded.clear_scene()
    panel.idle()
    assert panel.items == []
    assert ui.nextStepLabel.text == "Load a volume to begin."
    panel.add_ball("again")
    panel.recommend(25.0)
    assert len(panel.items) == 6
