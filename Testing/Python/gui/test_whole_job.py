"""The whole job by clicking only, with a real worker."""

from __future__ import annotations

import json

import numpy as np
import pytest


def overlay_id(panel, result) -> str:
    """ID of the volume that shows how far a result can be trusted in the slice views."""
    from SparseAnnotateLib import scene

    return scene.overlay_in_views(panel.logic.confidenceNode(result)).GetID()


def test_from_a_volume_to_results_and_to_the_next_round(panel, tmp_path, embedded):
    ui = panel.ui
    assert ui.nextStepLabel.text == "Load a volume to begin."
    volume = panel.add_ball()
    assert ui.nextStepButton.text == "Recommend"
    ui.budgetSpinBox.value = 20.0
    ui.iterationsSpinBox.value = 10
    ui.nextStepButton.click()
    panel.idle()
    assert panel.message == "The worklist contains 5 slices to draw."
    assert ui.worklistTable.rowCount == 5
    assert not ui.drawSection.collapsed
    assert ui.dataSection.collapsed
    assert ui.dataSection.text == "Data: ball, axial"
    assert ui.recommendSection.text == "Recommend: 20 %, Staggered"
    assert ui.segmentationSelector.currentNode() is panel.logic.segmentationNode(volume)
    assert ui.segmentEditorWidget.segmentationNode() is panel.logic.segmentationNode(volume)
    assert "Add a segment" in ui.nextStepLabel.text

    panel.add_segment(volume)
    drawn = [item.index for item in panel.items]
    for number, index in enumerate(drawn[:4]):
        assert panel.panel.draw.table.chosen().index == index
        panel.paint(index)
        assert not ui.offerFrame.isHidden()
        if number % 2:
            ui.drawnButton.click()
        else:
            ui.nextStepButton.click()
    ui.skipButton.click()
    assert ui.drawnLabel.text == "4 of 4 drawn"
    assert ui.nextStepButton.text == "Fill"

    ui.nextStepButton.click()
    assert panel.logic.isBusy
    assert not ui.trainButton.enabled
    assert "Another task is running" in ui.trainButton.toolTip
    assert not ui.jobFrame.isHidden()
    panel.idle()
    assert "'ball fill' shows the fill" in panel.message
    assert "Leave-one-out Dice, with hidden slices" in ui.resultLabel.text
    before = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), "ball", volume)
    ui.applyButton.click()
    panel.applied()
    assert "drawn slices are unchanged" in panel.message
    after = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), "ball", volume)
    assert after.sum() > before.sum()
    np.testing.assert_array_equal(after[drawn[:4]], before[drawn[:4]])
    ui.undoButton.click()
    assert "undone" in panel.message
    again = panel.mrml.util.arrayFromSegmentBinaryLabelmap(panel.logic.segmentationNode(volume), "ball", volume)
    np.testing.assert_array_equal(again, before)

    # Cancel, then train again.
    ui.iterationsSpinBox.value = 100000
    ui.trainButton.click()
    assert ui.trainButton.text == "Cancel"
    panel.until(lambda: "step" in panel.job)
    ui.trainButton.click()
    panel.idle()
    assert panel.message.startswith("Cancelled.")
    assert ui.trainButton.text == "Train"
    assert ui.runTable.item(0, 3).text() == "not finished"
    ui.iterationsSpinBox.value = 10
    ui.presetSelector.setCurrentText("Balanced")
    ui.trainButton.click()
    panel.idle()
    assert "'run 2' is trained" in panel.message
    assert panel.panel.train.runs.chosen.name == "run 2"
    card = panel.logic.cohort().run_folder("run 2") / "card.json"
    assert [m["plan"]["role"] for m in json.loads(card.read_text())["models"]] == ["2d", "3d"]
    assert [ui.runTable.item(row, 0).text() for row in range(2)] == ["run 2", "run 1"]
    assert "4 slices" in ui.runTable.item(0, 2).text()

    assert ui.nextStepButton.text == "Run"
    ui.nextStepButton.click()
    panel.idle()
    assert panel.message == "New segmentation: 'ball run 2'."
    result = panel.mrml.util.getNode("ball run 2")
    assert result.GetSegmentation().GetNumberOfSegments() == 1
    assert not panel.mrml.util.getNode("ball fill").GetDisplayNode().GetVisibility()
    ui.confidenceCheckBox.click()
    composites = panel.mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetForegroundVolumeID() for node in composites} == {overlay_id(panel, result)}

    # The circle closes: what the model is unsure of is drawn next.
    ui.budgetSpinBox.value = 30.0
    ui.nextSlicesButton.click()
    panel.idle()
    assert "slices to draw" in panel.message
    to_do = [item for item in panel.items if item.state == "to do"]
    assert to_do
    assert all("disagree" in item.reason for item in to_do)
    assert panel.panel.draw.table.chosen() == to_do[0]

    embedded.save_scene(tmp_path / "scene.mrb")
    rows = [[ui.worklistTable.item(r, c).text() for c in range(7)] for r in range(ui.worklistTable.rowCount)]
    # Slicer turns a left-handed volume round when it loads it: the same slice then has another number.
    for row in rows:
        row[3] = str(len(panel.labels) - 1 - int(row[3]))
    embedded.load_scene(tmp_path / "scene.mrb")
    panel.idle()
    assert ui.budgetSpinBox.value == 30.0
    assert ui.presetSelector.currentText == "Balanced"
    assert [[ui.worklistTable.item(r, c).text() for c in range(7)] for r in range(len(rows))] == rows
    assert panel.panel.train.runs.chosen.name == "run 2"
    assert panel.panel.session.volume.GetName() == "ball"
    assert not ui.drawSection.collapsed
    assert ui.fillSection.collapsed


def test_several_volumes_make_one_worklist_and_the_checked_ones_the_cohort(panel):
    ui = panel.ui
    nodes = [panel.add_ball(name) for name in ("one", "two", "three")]
    assert ui.dataSection.text == "Data"
    assert panel.panel.session.volumes == nodes[:1]
    ui.allVolumesButton.click()
    assert panel.panel.session.volumes == nodes
    ui.volumeList.item(2).setCheckState(ui.volumeList.item(2).checkState().Unchecked)
    panel.recommend(10.0)
    assert [item.volumeNode.GetName() for item in panel.items] == ["one", "one", "two", "two"]
    assert panel.panel.session.volume is nodes[0]
    ui.nextButton.click()
    ui.nextButton.click()
    assert ui.worklistTable.currentRow() == 2
    # Going to a slice of another volume works on that volume.
    assert panel.panel.session.volume is nodes[1]
    assert ui.segmentEditorWidget.segmentationNode() is panel.logic.segmentationNode(nodes[1])
    assert ui.volumeList.currentRow == 1
    ui.previousButton.click()
    assert panel.panel.session.volume is nodes[0]
    ui.volumeFilter.text = "THR"
    assert [ui.volumeList.item(row).isHidden() for row in range(3)] == [True, True, False]
    ui.noVolumesButton.click()
    assert panel.panel.session.volumes == nodes[:2]


def test_a_plan_is_advice_until_it_is_used(panel):
    ui = panel.ui
    panel.add_ball()
    ui.budgetKindSelector.setCurrentText("minutes")
    ui.suggestPlanButton.click()
    panel.idle()
    assert "how long a slice takes" in panel.message
    ui.budgetKindSelector.setCurrentText("slices")
    ui.budgetSpinBox.value = 6
    assert not ui.usePlanButton.enabled
    ui.suggestPlanButton.click()
    assert not ui.suggestPlanButton.enabled
    panel.idle()
    assert ui.planLabel.text.startswith("Draw 6 ")
    assert "Zhang et al. 2025" in ui.planLabel.toolTip
    ui.budgetSpinBox.value = 9
    ui.usePlanButton.click()
    assert ui.budgetSpinBox.value == 6
    assert panel.panel.session.planes == [ui.planLabel.text.split()[2]]
    ui.strategySelector.setCurrentText("Representative")
    ui.recommendButton.click()
    assert panel.logic.isBusy
    panel.idle()
    assert panel.message == "The worklist contains 6 slices to draw."
    assert ui.worklistTable.currentRow() == 0
    assert "covers" in ui.worklistTable.item(0, 4).text()


def test_filling_shows_how_far_it_can_be_trusted_and_goes_no_further_than_wanted(panel):
    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    assert not ui.confidenceCheckBox.enabled
    assert "Fill between slices first" in ui.confidenceCheckBox.toolTip
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.beyondSpinBox.value = 0
    ui.fillButton.click()
    panel.idle()
    first = panel.mrml.util.getNode("ball fill")
    drawn = sorted(item.index for item in panel.items if item.state == "drawn")
    filled = panel.mrml.util.arrayFromSegmentBinaryLabelmap(first, "ball", volume)
    decided = sorted(item.index for item in panel.items)
    assert not filled[: decided[0]].any()
    assert not filled[decided[-1] + 1 :].any()
    assert filled[drawn[0] + 1].any()
    ui.confidenceCheckBox.click()
    composites = panel.mrml.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {c.GetForegroundVolumeID() for c in composites} == {overlay_id(panel, first)}
    ui.fillButton.click()
    panel.idle()
    second = panel.mrml.util.getNode("ball fill_1")
    assert {c.GetForegroundVolumeID() for c in composites} == {overlay_id(panel, second)}
    ui.discardButton.click()
    assert second.GetScene() is None
    assert panel.panel.result.node is first
    assert first.GetDisplayNode().GetVisibility()
    assert {c.GetForegroundVolumeID() for c in composites} == {overlay_id(panel, first)}
    ui.confidenceCheckBox.click()
    assert {c.GetForegroundVolumeID() for c in composites} == {None}
    # A confidence is a volume, but none to draw on.
    assert [ui.volumeList.item(row).text() for row in range(ui.volumeList.count)] == ["ball"]


def test_measuring_fills_the_table_and_says_what_was_saved(panel):
    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import CaseFigures, LabelFigures

    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    ui.fillButton.click()
    panel.idle()
    assert not ui.measureButton.enabled
    reference = scene.new_segmentation("reference", (panel.labels > 0).astype(np.uint8), {1: "ball"}, volume)
    panel.idle()
    other, its_reference = (scene.new_segmentation(name, panel.labels, {1: "ball"}, volume) for name in ("one", "two"))
    scene.set_made_by(other, scene.FILL)
    rows = (LabelFigures(1, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, None, 10**9, 10**9),)
    scene.new_figures_table("before", CaseFigures("other", rows, (), 1.0), {1: "ball"}, other, its_reference)
    ui.measuredSelector.setCurrentNode(panel.mrml.util.getNode("ball fill"))
    ui.referenceSelector.setCurrentNode(reference)
    ui.measureButton.click()
    panel.idle()
    assert panel.message.startswith("Mean Dice ")
    assert panel.message.endswith("Batched IoU over 2 measured volumes: ball 1.000.")
    assert "HVSMR overall score" in panel.message
    assert "adapted Rand F-score 0." in panel.message or "adapted Rand F-score 1.000" in panel.message
    assert ui.figuresTable.item(0, 0).text() == "ball"
    assert float(ui.figuresTable.item(0, 1).text()) > 0.8
    table = panel.mrml.util.getNode("ball fill measured").GetTable()
    assert table.GetValueByName(0, "Dice").ToDouble() == pytest.approx(
        float(ui.figuresTable.item(0, 1).text()), abs=1e-3
    )
    assert f"{len(panel.items)} of 24 slices drawn" in ui.effortLabel.text
    assert "did not have to be drawn (about" in ui.effortLabel.text


def test_curves_of_a_training_come_into_slicer_s_plot_view(panel):
    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend(25.0)
    panel.draw_all(volume)
    ui.iterationsSpinBox.value = 12
    ui.estimateButton.click()
    panel.idle()
    assert ui.estimateLabel.text.startswith("about ")
    assert " on cpu (3d)" in ui.estimateLabel.text
    ui.trainButton.click()
    panel.idle()
    assert "is trained" in panel.message
    ui.curvesButton.click()
    (chart,) = panel.mrml.util.getNodesByClass("vtkMRMLPlotChartNode")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [node.GetName() for node in series] == ["3d loss"]
    steps = panel.mrml.util.arrayFromTableColumn(series[0].GetTableNode(), "step")
    assert list(steps) == list(range(1, 13))
    view = panel.mrml.util.getNodesByClass("vtkMRMLPlotViewNode")
    assert [node.GetPlotChartNodeID() for node in view] == [chart.GetID()]
