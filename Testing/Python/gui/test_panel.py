"""The real panel, clicked."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from small_volumes import ball, noisy_image


@pytest.fixture
def panel(mrml, tmp_path):
    from SlicerStandIn.panel_window import open_panel

    application, widget = open_panel()
    widget.panel.ui.cohortFolderSelector.currentPath = str(tmp_path / "cohort")
    yield Clicker(application, widget, mrml)
    widget.cleanup()
    wait_until(application, lambda: not any(client.is_running for client in widget.logic._jobs.clients))


class Clicker:
    """A person in front of the panel."""

    def __init__(self, application, widget, mrml):
        self.application, self.widget, self.mrml = application, widget, mrml
        self.ui, self.logic = widget.panel.ui, widget.logic

    @property
    def message(self) -> str:
        return self.ui.messageLabel.text

    def add_ball(self, name="ball"):
        self.labels = ball()
        return self.mrml.util.addVolumeFromArray(noisy_image(self.labels), np.diag([-1.0, 1.0, 2.0, 1.0]), name)

    def draw_everything(self, volume):
        segmentation = self.logic.segmentationNode(volume)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        self.mrml.util.updateSegmentBinaryLabelmapFromArray(self.labels, segmentation, "ball", volume)

    def draw_one_slice_for_a_long_training(self):
        volume = self.add_ball()
        self.ui.iterationsSpinBox.value = 100000
        self.ui.recommendButton.click()
        self.draw_everything(volume)
        self.ui.drawnButton.click()

    def wait(self):
        wait_until(self.application, lambda: not self.logic.isBusy)


def wait_until(application, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        application.processEvents()


def test_the_whole_job_by_clicking(panel, tmp_path, embedded):
    ui = panel.ui
    volume = panel.add_ball()
    assert ui.volumeSelector.currentNode() is volume
    ui.percentSpinBox.value = 20.0
    ui.iterationsSpinBox.value = 10
    ui.recommendButton.click()
    assert panel.message == "5 slices are to be drawn."
    assert ui.worklistTable.rowCount == 5
    assert ui.segmentationSelector.currentNode() is panel.logic.segmentationNode(volume)
    panel.draw_everything(volume)
    rows = []
    for _ in range(4):
        rows.append(ui.worklistTable.currentRow())
        ui.drawnButton.click()
    assert rows == [0, 1, 2, 3]
    ui.skipButton.click()
    assert ui.drawnLabel.text == "4 of 4 drawn"
    ui.fillButton.click()
    assert panel.logic.isBusy
    assert not ui.trainButton.enabled
    assert "being worked on" in ui.trainButton.toolTip
    panel.wait()
    assert "'ball fill' shows the fill" in panel.message
    assert "On hidden drawn slices" in ui.fillLabel.text
    assert ui.confidenceCheckBox.enabled
    ui.applyButton.click()
    assert "drawn slices are as they were" in panel.message
    ui.undoButton.click()
    assert "taken back" in panel.message
    ui.presetSelector.setCurrentText("balanced")
    ui.trainButton.click()
    panel.wait()
    assert "'run 1' is trained" in panel.message
    assert ui.runSelector.currentText == "run 1"
    card = panel.logic.cohort().run_folder("run 1") / "card.json"
    assert [m["plan"]["role"] for m in json.loads(card.read_text())["models"]] == ["2d", "3d"]
    ui.runButton.click()
    panel.wait()
    assert panel.message == "New segmentations: ball run 1."
    assert panel.mrml.util.getNode("ball run 1").GetSegmentation().GetNumberOfSegments() == 1

    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    assert ui.percentSpinBox.value == 20.0
    assert ui.presetSelector.currentText == "balanced"
    assert ui.worklistTable.rowCount == 5
    assert ui.runSelector.currentText == "run 1"


def test_the_way_to_fill_is_chosen_and_its_confidence_shown(panel):
    ui = panel.ui
    volume = panel.add_ball()
    composite = panel.mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    choices = {ui.fillMethodSelector.itemText(n) for n in range(ui.fillMethodSelector.count)}
    assert choices == set(panel.logic.fillMethods())
    ui.percentSpinBox.value = 20.0
    ui.recommendButton.click()
    panel.draw_everything(volume)
    ui.drawnButton.click()
    assert not ui.confidenceCheckBox.enabled
    assert "Fill between slices first" in ui.confidenceCheckBox.toolTip
    ui.fillMethodSelector.setCurrentText("shape")
    ui.fillButton.click()
    panel.wait()
    assert "Only one slice is drawn" in ui.fillLabel.text
    ui.confidenceCheckBox.click()
    confidence = panel.mrml.util.getNode("ball fill confidence")
    assert composite.GetForegroundVolumeID() == confidence.GetID()
    ui.confidenceCheckBox.click()
    assert composite.GetForegroundVolumeID() is None
    ui.confidenceCheckBox.click()
    ui.fillButton.click()
    panel.wait()
    newer = panel.mrml.util.getNode("ball fill_1 confidence")
    assert composite.GetForegroundVolumeID() == newer.GetID()
    ui.recommendButton.click()
    assert composite.GetForegroundVolumeID() is None
    # A confidence is a volume, but none to draw on.
    ui.volumeSelector.setCurrentNode(confidence)
    assert panel.widget.panel.volumes() == []
    assert not ui.fillButton.enabled
    ui.volumeSelector.setCurrentNode(volume)
    ui.allVolumesCheckBox.click()
    assert [node.GetName() for node in panel.widget.panel.volumes()] == ["ball"]


def test_a_plan_sets_the_choices_and_a_strategy_of_the_worker_fills_the_worklist(panel):
    ui = panel.ui
    volume = panel.add_ball()
    ui.planKindSelector.setCurrentText("minutes")
    ui.planButton.click()
    panel.wait()
    assert "how long a slice takes" in panel.message
    ui.planKindSelector.setCurrentText("slices")
    ui.planAmountSpinBox.value = 6
    ui.planButton.click()
    assert not ui.planButton.enabled
    panel.wait()
    assert panel.message.startswith("6 ")
    assert "in each of 1 volume(s)" in panel.message
    assert "Zhang et al. 2025" in ui.adviceLabel.text
    assert ui.planeSelector.currentText in panel.message
    assert ui.percentSpinBox.value == pytest.approx(100 * 6 / len(panel.labels), abs=10)
    ui.planeSelector.setCurrentText("axial")
    ui.percentSpinBox.value = 20.0
    ui.strategySelector.setCurrentText("representative")
    ui.scopeSelector.setCurrentText("cohort")
    ui.recommendButton.click()
    assert panel.logic.isBusy
    panel.wait()
    assert panel.message == "5 slices are to be drawn."
    assert ui.worklistTable.rowCount == 5
    assert ui.worklistTable.currentRow() == 0
    assert "covers" in ui.worklistTable.item(0, 5).text()
    ui.strategySelector.setCurrentText("uncertainty")
    ui.recommendButton.click()
    panel.wait()
    assert "none is named" in panel.message
    assert [e.index for e in panel.logic.ledger(volume).todo]


def test_training_can_be_cancelled_and_the_window_goes_on(panel):
    from PySide6 import QtCore

    ui = panel.ui
    panel.draw_one_slice_for_a_long_training()
    ticks = []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(20)
    ui.trainButton.click()
    assert ui.cancelButton.enabled
    wait_until(panel.application, lambda: "step" in ui.progressLabel.text)
    assert "s left" in ui.progressLabel.text
    assert "loss" in ui.progressLabel.text
    ui.cancelButton.click()
    panel.wait()
    assert panel.message.startswith("Cancelled.")
    assert ui.trainButton.enabled
    assert ui.runSelector.count == 0
    ui.continueButton.click()
    assert panel.logic.isBusy
    wait_until(panel.application, lambda: "step" in ui.progressLabel.text)
    ui.cancelButton.click()
    panel.wait()
    assert panel.logic.unfinishedRuns() == ["run 1"] == panel.logic.runs()
    # Room for a machine that is busy with the training itself.
    assert max(np.diff(ticks)) < 1.0
    assert len(ticks) > 20


def test_a_worker_that_is_killed_is_said_and_the_panel_goes_on(panel):
    ui = panel.ui
    panel.draw_one_slice_for_a_long_training()
    ui.trainButton.click()
    wait_until(panel.application, lambda: "step" in ui.progressLabel.text)
    panel.logic._jobs.clients[0].transport.process.kill()
    panel.wait()
    assert "The worker process ended during 'train' (crashed or was killed)" in panel.message
    assert "goes on from its last checkpoint" in panel.message
    ui.environmentButton.click()
    wait_until(panel.application, lambda: "Computing on" in panel.message or "works" in panel.message)


def test_buttons_that_cannot_be_used_say_why(panel):
    ui = panel.ui
    assert not ui.recommendButton.enabled
    assert ui.recommendButton.toolTip == "Choose a volume first."
    panel.add_ball()
    assert ui.recommendButton.enabled
    assert "Choose the slices to draw" in ui.recommendButton.toolTip
    for button in (ui.fillButton, ui.trainButton):
        assert not button.enabled
        assert button.toolTip == "Draw a slice and mark it as drawn first."


def test_errors_are_sentences_in_the_panel(panel):
    ui = panel.ui
    panel.add_ball()
    ui.recommendButton.click()
    ui.drawnButton.click()
    assert "has no segment. Add one for each structure" in panel.message
    assert "color" in ui.messageLabel.styleSheet
    other = panel.mrml.util.addVolumeFromArray(np.zeros((5, 6, 7)), name="other")
    from SparseAnnotateLib import scene

    foreign = scene.new_segmentation("foreign", np.ones((5, 6, 7), np.uint8), {1: "x"}, other)
    ui.segmentationSelector.setCurrentNode(foreign)
    ui.segmentationSelector.nodeActivated.emit(foreign)
    assert "does not have the voxel grid of the volume 'ball'" in panel.message
    assert ui.segmentationSelector.currentNode() is not foreign


def test_several_volumes_make_one_worklist(panel):
    ui = panel.ui
    for name in ("one", "two"):
        panel.add_ball(name)
    ui.allVolumesCheckBox.checked = True
    ui.recommendButton.click()
    items = panel.widget.panel.table.items
    assert [item.volumeNode.GetName() for item in items] == ["one", "one", "two", "two"]
    ui.nextButton.click()
    assert ui.worklistTable.currentRow() == 1
    ui.previousButton.click()
    assert ui.worklistTable.currentRow() == 0


def test_a_volume_that_was_there_before_the_panel_is_chosen(mrml, tmp_path):
    from SlicerStandIn.panel_window import open_panel

    mrml.util.addVolumeFromArray(np.zeros((4, 5, 6, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode", name="rgb")
    volume = mrml.util.addVolumeFromArray(noisy_image(ball()), name="early")
    _, widget = open_panel()
    assert widget.panel.ui.volumeSelector.currentNode() is volume
    widget.panel.ui.allVolumesCheckBox.checked = True
    assert widget.panel.volumes() == [volume]
    widget.cleanup()


def test_a_segmentation_that_goes_does_not_make_another_one_the_one_drawn_in(panel):
    from SparseAnnotateLib import scene

    volume = panel.add_ball()
    panel.ui.recommendButton.click()
    result = scene.new_segmentation("result", panel.labels, {1: "ball"}, volume)
    panel.mrml.mrmlScene.RemoveNode(panel.logic.segmentationNode(volume))
    assert panel.logic.drawnIn(volume) is not result


def test_closing_the_scene_forgets_results_and_undo(panel, embedded):
    panel.draw_one_slice_for_a_long_training()
    panel.ui.fillButton.click()
    panel.wait()
    panel.ui.applyButton.click()
    embedded.clear_scene()
    for button in (panel.ui.applyButton, panel.ui.undoButton, panel.ui.fillButton):
        assert not button.enabled


def test_clicking_the_chosen_row_goes_back_to_its_slice(panel):
    panel.add_ball()
    panel.ui.recommendButton.click()
    node = panel.mrml.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    there = node.GetSliceOffset()
    node.SetSliceOffset(there + 5)
    panel.ui.worklistTable.cellClicked.emit(0, 2)
    assert node.GetSliceOffset() == pytest.approx(there)


def test_every_control_has_a_tool_tip(panel):
    from PySide6 import QtWidgets

    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QTableWidget)
    controls = [c for c in vars(panel.ui).values() if isinstance(c, kinds)]
    assert len(controls) > 15
    assert [c.objectName for c in controls if not c.toolTip] == []


def test_the_panel_offers_every_strategy_and_plane(panel):
    from SparseAnnotateLib.core import Plane
    from SparseAnnotateLib.selection import strategy_descriptions

    for selector, names in ((panel.ui.strategySelector, strategy_descriptions()), (panel.ui.planeSelector, Plane)):
        assert {selector.itemText(n) for n in range(selector.count)} == {str(name) for name in names}
