"""Fill with a model, and Run on a volume with drawn slices: both give one answer, with its sources and confidence."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from SparseAnnotateLib.runs.run_list import RunSummary


def summaries(*names: str, problem: str = "") -> list[RunSummary]:
    finished = [RunSummary(name, True, datetime.now(UTC), problem=problem) for name in names]
    return [*finished, RunSummary("stopped", False, datetime.now(UTC))]


@pytest.fixture
def drawn(panel):
    """A volume with drawn slices."""
    volume = panel.add_ball()
    panel.recommend(20.0)
    panel.add_segment(volume)
    for index in [item.index for item in panel.items]:
        panel.paint(index)
        panel.ui.drawnButton.click()
    return panel


def offered(panel) -> list[str]:
    selector = panel.ui.fillRunSelector
    return [selector.itemText(number) for number in range(selector.count)]


def test_a_finished_run_can_take_part_in_the_fill(drawn, monkeypatch):
    ui, asked = drawn.ui, []
    monkeypatch.setattr(drawn.logic, "fillBetweenSlices", lambda *given, **how: asked.append(how["runName"]))
    assert offered(drawn) == ["none"]
    assert not ui.fillRunSelector.enabled
    assert ui.fillRunSelector.toolTip == "First train a model."
    monkeypatch.setattr(drawn.logic.panel, "run_summaries", lambda: summaries("first", "second"))
    drawn.panel.refresh()
    assert offered(drawn) == ["none", "first", "second"]
    drawn.panel.fill.fill()
    ui.fillRunSelector.setCurrentText("second")
    drawn.application.processEvents()
    drawn.panel.refresh()
    assert ui.fillRunSelector.currentText == "second"
    drawn.panel.fill.fill()
    # Other methods take no run; the choice is kept.
    ui.fillMethodSelector.setCurrentText("Shape")
    drawn.application.processEvents()
    drawn.panel.refresh()
    assert not ui.fillRunSelector.enabled
    assert "Only the method 'Automatic'" in ui.fillRunSelector.toolTip
    drawn.panel.fill.fill()
    ui.fillMethodSelector.setCurrentText("Automatic")
    drawn.application.processEvents()
    drawn.panel.refresh()
    assert ui.fillRunSelector.currentText == "second"
    # One that has gone takes no part.
    monkeypatch.setattr(drawn.logic.panel, "run_summaries", lambda: summaries("first"))
    drawn.panel.refresh()
    assert ui.fillRunSelector.currentText == "none"
    drawn.panel.fill.fill()
    assert asked == ["", "second", "", ""]


def test_a_damaged_run_is_not_offered(drawn, monkeypatch):
    monkeypatch.setattr(drawn.logic.panel, "run_summaries", lambda: summaries("first", problem="It is damaged."))
    drawn.panel.refresh()
    assert offered(drawn) == ["none"]


def test_fill_with_a_model_and_run_give_the_same_answer(drawn):
    ui, util = drawn.ui, drawn.mrml.util
    volume = drawn.panel.session.volume
    ui.iterationsSpinBox.value = 10
    ui.trainButton.click()
    drawn.idle()
    ui.fillRunSelector.setCurrentText("run 1")
    ui.fillButton.click()
    drawn.idle()
    fill = drawn.panel.result.node
    of_fill = ui.resultLabel.text.splitlines()
    assert of_fill[0] == "Shown: 'ball fill'."
    assert any("The run 'run 1' has learned from slices of this volume" in line for line in of_fill)
    ui.runButton.click()
    drawn.idle()
    answer = drawn.panel.result.node
    assert answer.GetName() == "ball run 1"
    of_answer = ui.resultLabel.text.splitlines()
    assert of_answer[0] == "Shown: 'ball run 1'."
    assert of_answer[1:] == of_fill[1:]
    one, other = (util.arrayFromSegmentBinaryLabelmap(node, "ball", volume) for node in (fill, answer))
    np.testing.assert_array_equal(one, other)
    confidences = [util.arrayFromVolume(drawn.logic.confidenceNode(node)) for node in (fill, answer)]
    np.testing.assert_array_equal(*confidences)
    assert (confidences[0][[item.index for item in drawn.items]] == 100).all()
    before = util.arrayFromSegmentBinaryLabelmap(drawn.logic.segmentationNode(volume), "ball", volume)
    ui.applyButton.click()
    drawn.applied()
    after = util.arrayFromSegmentBinaryLabelmap(drawn.logic.segmentationNode(volume), "ball", volume)
    assert after.sum() > before.sum()
    # Discarding goes back to the fill.
    ui.discardButton.click()
    assert answer.GetScene() is None
    assert drawn.panel.result.node is fill
    assert ui.resultLabel.text.splitlines() == of_fill
    # The model alone, from the console.
    (alone,) = drawn.logic.segment([volume], "run 1", modelOnly=True)
    assert drawn.logic.confidenceNode(alone) is None
    assert drawn.logic.fillReport(alone).summary == ""
    drawn.panel.refresh()
    assert ui.resultLabel.text == f"Shown: '{alone.GetName()}'."
    assert not ui.confidenceCheckBox.enabled
    assert ui.confidenceCheckBox.toolTip == "This result has no confidence."


@pytest.mark.parametrize("turns", [0, 3, 40])
def test_a_fill_that_is_cancelled_leaves_everything_as_it_was(drawn, turns):
    ui, util = drawn.ui, drawn.mrml.util

    def nodes() -> list[str]:
        kinds = ("vtkMRMLSegmentationNode", "vtkMRMLVolumeNode", "vtkMRMLTableNode")
        return sorted(node.GetName() for kind in kinds for node in util.getNodesByClass(kind))

    before = nodes()
    ui.fillButton.click()
    for _turn in range(turns):
        drawn.application.processEvents()
    assert drawn.logic.isBusy
    ui.cancelButton.click()
    drawn.idle()
    assert drawn.message == "Cancelled. Finished work is kept."
    assert nodes() == before
    assert not ui.jobFrame.visible
    assert drawn.panel.result.node is None
    ui.fillButton.click()
    drawn.idle()
    assert drawn.panel.result.node.GetName() == "ball fill"


def test_a_result_of_another_volume_is_not_offered_to_apply(drawn):
    ui, panel = drawn.ui, drawn.panel
    other = drawn.add_ball("other")
    rows = {ui.volumeList.item(row).text(): row for row in range(ui.volumeList.count)}
    ui.volumeList.setCurrentRow(rows["ball"])
    assert panel.session.volume.GetName() == "ball"
    panel.open(panel.fill)
    ui.fillButton.click()
    ui.volumeList.setCurrentRow(rows["other"])
    assert panel.session.volume is other
    drawn.idle()
    assert drawn.message.endswith("shows the fill. Select its volume to apply it.")
    assert ui.resultSection.collapsed
    assert not ui.applyButton.enabled
    # The scans overlap in space: what belongs to another one is not shown over this one.
    fill = drawn.mrml.util.getNode("ball fill")
    assert not fill.GetDisplayNode().GetVisibility()
    ui.volumeList.setCurrentRow(rows["ball"])
    assert panel.result.node is fill
    assert fill.GetDisplayNode().GetVisibility()
    assert ui.applyButton.enabled


def test_fill_and_run_open_the_same_section_which_says_what_to_do_before(drawn):
    ui, panel = drawn.ui, drawn.panel
    assert ui.resultLabel.text == "Fill between slices first, or run a model on this volume."
    assert ui.resultSection.text == "Result: none yet"
    for button in (ui.applyButton, ui.discardButton):
        assert button.toolTip == ui.resultLabel.text
    panel.open(panel.fill)
    assert ui.resultSection.collapsed
    ui.fillButton.click()
    drawn.idle()
    assert not ui.resultSection.collapsed
    ui.resultSection.collapsed = True
    assert ui.resultSection.text == "Result: to apply or discard"
    ui.iterationsSpinBox.value = 5
    panel.open(panel.train)
    ui.trainButton.click()
    drawn.idle()
    assert ui.resultSection.collapsed
    ui.runButton.click()
    drawn.idle()
    assert not ui.resultSection.collapsed
    assert ui.resultLabel.text.startswith("Shown: 'ball run 1'.")
