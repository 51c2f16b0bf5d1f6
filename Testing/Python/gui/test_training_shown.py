"""A training as it is seen: curves, estimates, the next slices; and figures in a scene that is opened again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest


@pytest.fixture
def drawn(panel):
    """A volume whose recommended slices are drawn."""
    panel.volume = panel.add_ball()
    panel.recommend(20.0)
    panel.draw_all(panel.volume)
    return panel


def write_metrics(panel, run: str, steps: int) -> None:
    """As the worker does while it trains."""
    folder = panel.logic.cohort().run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"model": "3d", "iteration": n, "loss": 1.0 / n} for n in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_table_of_runs_shows_the_range_of_a_dice_and_how_far_it_reaches(panel):
    from SparseAnnotateLib.runs.run_list import RunSummary

    one = RunSummary("one", True, datetime(2026, 1, 1), 1, 21, 0.87, 0.55)
    others = [replace(one, name="two", corrected_dice=0.87), replace(one, name="three", dice=None, corrected_dice=None)]
    panel.panel.train.runs.show([one, *others], "one")
    cells = [panel.ui.runTable.item(row, 3) for row in range(3)]
    assert [cell.text() for cell in cells] == ["not measured", "0.870", "0.550 to 0.870"]
    assert "Dice was not measured" in cells[0].toolTip()
    assert cells[1].toolTip() == "Dice 0.870 on held-out drawn slices. It holds inside the drawn range."
    assert "Dice 0.550 if all labels are wrong" in cells[2].toolTip()


def test_curves_in_view_follow_a_training(drawn):
    from SparseAnnotateLib.core import Progress

    layout = drawn.mrml.app.layoutManager()
    train = drawn.panel.train
    write_metrics(drawn, "run 1", 3)
    drawn.logic.showCurves("run 1", inLayout=True)
    view = layout.plotWidget(0).plotView()
    assert view.shown[1] == 3.0
    write_metrics(drawn, "run 1", 40)
    train._training, train._trained_in = "run 1", drawn.logic.cohortFolder
    train.show_progress(Progress(0.5, "step 40", metrics={"loss": 0.025}))
    assert view.shown == [1.0, 40.0, 1.0 / 40, 1.0]
    train._training = None


def test_a_plot_view_that_shows_something_else_is_left_alone(drawn):
    layout, scene = drawn.mrml.app.layoutManager(), drawn.mrml.mrmlScene
    write_metrics(drawn, "run 1", 3)
    drawn.logic.showCurves("run 1", inLayout=True)
    layout.plotWidget(0).mrmlPlotViewNode().SetPlotChartNodeID(scene.AddNewNodeByClass("vtkMRMLPlotChartNode").GetID())
    view = layout.plotWidget(0).plotView()
    before = view.shown
    write_metrics(drawn, "run 1", 9)
    drawn.logic.showCurves("run 1")
    assert view.shown == before


def test_curves_can_be_opened_during_the_first_training(drawn):
    ui = drawn.ui
    assert not ui.curvesButton.enabled
    ui.iterationsSpinBox.value = 100000
    ui.trainButton.click()
    assert ui.curvesButton.enabled
    drawn.until(lambda: "loss" in drawn.job)
    ui.curvesButton.click()
    assert drawn.mrml.app.layoutManager().plotWidget(0).plotView().shown
    ui.cancelButton.click()
    drawn.idle()


def test_an_estimate_goes_when_what_it_was_made_for_has_changed(drawn, embedded):
    from types import SimpleNamespace

    ui, train = drawn.ui, drawn.panel.train
    plan = SimpleNamespace(minutes=0.2, device="cpu", models=[SimpleNamespace(role="3d")], notes=())

    def estimate() -> None:
        train._estimated(plan, train._to_estimate())
        assert ui.estimateLabel.text == "about 12 s on cpu (3d)"

    changes = [
        lambda: setattr(ui.iterationsSpinBox, "value", 500),
        lambda: ui.presetSelector.setCurrentText("Balanced"),
        lambda: ui.deviceSelector.setCurrentText("CPU"),
        lambda: drawn.logic.markDrawn(drawn.volume, "axial", 0),
        lambda: drawn.add_ball("another") and ui.allVolumesButton.click(),
    ]
    for change in changes:
        estimate()
        drawn.panel.refresh()
        assert ui.estimateLabel.text.startswith("about")
        change()
        drawn.panel.refresh()
        assert ui.estimateLabel.text == "not estimated yet"
    estimate()
    embedded.clear_scene()
    drawn.idle()
    assert ui.estimateLabel.text == "not estimated yet"


@pytest.mark.parametrize(("kind", "amount", "expected"), [("percent", 10.0, 2), ("slices", 3, 3)])
def test_next_slices_come_in_addition_to_those_that_are_drawn(drawn, monkeypatch, kind, amount, expected):
    asked = []

    def recommend(volumes, settings, **how):
        asked.append(settings)
        return []

    monkeypatch.setattr(drawn.logic.panel, "recommend", recommend)
    monkeypatch.setattr(drawn.panel.session, "start", lambda _text, begin, done, **_how: done(begin()))
    drawn.ui.budgetKindSelector.setCurrentText(kind)
    drawn.ui.budgetSpinBox.value = amount
    drawn.ui.deviceSelector.setCurrentText("CPU")
    drawn.panel.train.recommend_next("run 1")
    assert asked[-1].budget.more == expected
    assert asked[-1].runs == ("run 1",)
    assert asked[-1].device == "cpu"
    assert (asked[-1].budget.density, asked[-1].budget.total) == (None, None)
    assert "every slice has been drawn" in drawn.message
    asked.clear()
    drawn.panel.recommend.recommend()
    assert asked[-1].budget.more is None or asked[-1].strategy != "uncertainty"
    assert "Raise the budget" in drawn.message


def test_a_fill_is_asked_for_on_the_device_of_the_panel(drawn, monkeypatch):
    asked = {}
    monkeypatch.setattr(drawn.logic, "fillBetweenSlices", lambda *_, **given: asked.update(given))
    drawn.ui.deviceSelector.setCurrentText("CPU")
    drawn.ui.fillButton.click()
    assert asked["device"] == "cpu"


def test_a_plan_never_takes_about_0_minutes(panel):
    from types import SimpleNamespace

    panel.add_ball()
    plane = SimpleNamespace(value="axial")
    plan = SimpleNamespace(
        slices=1, plane=plane, cases=("ball",), minutes=0.4, advice=(), unknown=(), slices_per_volume=1
    )
    panel.panel.recommend._suggested(plan)
    assert panel.ui.planLabel.text == "Draw 1 axial slice. This will take about 24 s."


def test_figures_are_shown_again_when_a_scene_is_opened_or_the_pair_is_chosen_again(drawn, embedded, tmp_path):
    from SparseAnnotateLib import scene

    ui, util = drawn.ui, drawn.mrml.util
    labels = (drawn.labels > 0).astype(np.uint8)
    one, two = (scene.new_segmentation(name, labels, {1: "ball"}, drawn.volume) for name in ("one", "two"))
    drawn.idle()
    ui.measuredSelector.setCurrentNode(one)
    ui.referenceSelector.setCurrentNode(two)
    ui.measureButton.click()
    drawn.idle()
    cells = [ui.figuresTable.item(0, column).text() for column in range(5)]
    assert cells[:2] == ["ball", "1.000"]
    ui.referenceSelector.setCurrentNode(None)
    assert ui.figuresTable.rowCount == 0
    ui.referenceSelector.setCurrentNode(two)
    assert [ui.figuresTable.item(0, column).text() for column in range(5)] == cells
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    drawn.idle()
    assert ui.measuredSelector.currentNode().GetName() == "one"
    assert [ui.figuresTable.item(0, column).text() for column in range(5)] == cells
    ui.measureSection.collapsed = True
    assert ui.measureSection.text == "Measure: mean Dice 1.000"
    volume = util.getNode("ball")
    util.updateSegmentBinaryLabelmapFromArray(np.zeros_like(labels), util.getNode("one"), "ball", volume)
    drawn.panel.refresh()
    assert ui.figuresTable.rowCount == 0, "figures of a segmentation that has been changed since"


def test_an_overlay_that_is_taken_away_at_once_stays_away(drawn):
    from SparseAnnotateLib import scene

    ui = drawn.ui
    ui.fillMethodSelector.setCurrentText("Shape")
    ui.fillButton.click()
    drawn.idle()
    confidence = drawn.logic.confidenceNode(drawn.panel.result.node)
    ui.confidenceCheckBox.click()
    assert scene.overlay_in_views(confidence) is not None
    ui.confidenceCheckBox.click()
    assert scene.overlay_in_views(confidence) is None
    for _ in range(20):
        drawn.application.processEvents()
    assert scene.overlay_in_views(confidence) is None
    # While something else is being worked on, it is shown, too.
    ui.iterationsSpinBox.value = 100000
    ui.trainButton.click()
    ui.confidenceCheckBox.click()
    overlay = scene.overlay_in_views(confidence)
    drawn.until(lambda: (drawn.mrml.util.arrayFromVolume(overlay) < 100).any())
    ui.cancelButton.click()
    drawn.idle()
