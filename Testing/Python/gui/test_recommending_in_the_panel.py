"""What can be chosen under Recommend reaches the request: models, scope, limits, and what a plan is made for."""

from __future__ import annotations

from datetime import datetime

import pytest

from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.runs.run_list import RunSummary
from SparseAnnotateLib.selection import Scope


@pytest.fixture
def asked(panel, monkeypatch):
    """The settings that the panel asks the logic with, the newest last."""
    found = []
    for name in ("recommend", "plan"):
        monkeypatch.setattr(
            type(panel.logic.panel), name, lambda self, volumes, settings, **how: found.append(settings)
        )
    return found


@pytest.fixture
def with_runs(panel, monkeypatch):
    """Lets the cohort folder seem to hold finished runs of these names."""

    def show(*names: str) -> None:
        runs = [RunSummary(name, is_finished=True, changed=datetime(2026, 1, n + 1)) for n, name in enumerate(names)]
        monkeypatch.setattr(type(panel.logic.panel), "run_summaries", lambda self: runs)
        panel.panel.refresh()

    return show


def check(panel, *names: str) -> None:
    """Check these runs in the menu Models, or uncheck them, one after the other."""
    for name in names:
        (action,) = [a for a in panel.ui.modelsButton.menu().actions() if a.text.replace("&&", "&") == name]
        action.trigger()
        panel.idle()


def is_seen(widget) -> bool:
    return not widget.isHidden()


def test_several_models_are_chosen_for_the_uncertainty_and_kept_with_the_scene(panel, asked, with_runs):
    ui = panel.ui
    panel.add_ball()
    with_runs("first", "second & third", "last")
    assert not is_seen(ui.modelsButton)
    assert not ui.samplesSpinBox.enabled
    assert ui.samplesSpinBox.toolTip == "Only for a strategy that uses trained models."
    ui.strategySelector.setCurrentText("Uncertainty")
    assert is_seen(ui.modelsButton)
    assert is_seen(ui.modelsFormLabel)
    assert ui.modelsButton.text == "none"
    ui.recommendButton.click()
    assert panel.message.startswith("This strategy needs a trained model.")
    check(panel, "last", "second & third")
    assert ui.modelsButton.text == "last, second && third"
    ui.samplesSpinBox.value = 5
    ui.recommendButton.click()
    assert (asked[-1].runs, asked[-1].samples) == (("last", "second & third"), 5)
    check(panel, "last")
    ui.recommendButton.click()
    assert asked[-1].runs == ("second & third",)
    panel.widget.exit()
    panel.widget.enter()
    assert (ui.modelsButton.text, ui.samplesSpinBox.value) == ("second && third", 5)
    ui.strategySelector.setCurrentText("Staggered")
    assert not is_seen(ui.modelsButton)
    ui.recommendButton.click()
    assert asked[-1].runs == ()


def test_without_a_checked_model_the_selected_one_counts(panel, asked, with_runs):
    ui = panel.ui
    panel.add_ball()
    with_runs("first", "second")
    ui.strategySelector.setCurrentText("Uncertainty")
    panel.panel.train._run_chosen("first")
    assert ui.modelsButton.text == "first (selected under Train and run)"
    ui.recommendButton.click()
    assert asked[-1].runs == ("first",)


def test_a_model_that_was_deleted_meanwhile_is_named_and_can_be_unchecked(panel, asked, with_runs):
    ui = panel.ui
    panel.add_ball()
    with_runs("first", "second")
    ui.strategySelector.setCurrentText("Uncertainty")
    check(panel, "first", "second")
    with_runs("first")
    ui.recommendButton.click()
    assert asked == []
    assert panel.message.startswith("The model 'second' is not in the cohort folder any more, is not finished, or can")
    check(panel, "second (missing)")
    assert [action.text for action in ui.modelsButton.menu().actions()] == ["first"]
    ui.recommendButton.click()
    assert asked[-1].runs == ("first",)


def test_models_of_other_structures_are_a_sentence_and_those_of_the_same_recommend_together(panel):
    ui, volume = panel.ui, panel.add_ball()
    ui.iterationsSpinBox.value = 2
    panel.recommend(25.0)
    panel.draw_all(volume)
    for _ in range(2):
        ui.trainButton.click()
        panel.idle()
    panel.add_segment(volume, "cube")
    for item in panel.items:
        panel.paint(item.index, "cube")
        panel.logic.markDrawn(volume, item.plane, item.index)
    ui.trainButton.click()
    panel.idle()
    assert "'run 3' is trained" in panel.message
    ui.strategySelector.setCurrentText("Uncertainty")
    ui.budgetKindSelector.setCurrentText("slices")
    ui.budgetSpinBox.value = 8
    check(panel, "run 1", "run 3")
    ui.recommendButton.click()
    panel.idle()
    assert panel.message == (
        "The runs 'run 1' and 'run 3' have learned different labels, so their predictions cannot be compared. Choose "
        "runs that were trained on the same structures."
    )
    check(panel, "run 3", "run 2")
    ui.recommendButton.click()
    panel.idle()
    assert panel.message == "The worklist contains 2 slices to draw."


def test_the_planes_of_a_volume_share_its_slices(panel, asked):
    panel.add_ball()
    panel.ui.coronalCheckBox.checked = True
    panel.ui.scopeSelector.setCurrentText("Each volume")
    panel.ui.recommendButton.click()
    assert (asked[-1].budget.scope, asked[-1].planes) == (Scope.VOLUME, (Plane.AXIAL, Plane.CORONAL))


def test_the_fewest_and_the_most_slices_of_a_volume_count_over_the_whole_cohort_only(panel, asked):
    ui = panel.ui
    panel.add_ball()
    ui.scopeSelector.setCurrentText("Whole cohort")
    ui.minimumSpinBox.value, ui.maximumSpinBox.value = 2, 5
    assert (ui.minimumSpinBox.text, ui.maximumSpinBox.text) == ("at least 2", "at most 5")
    ui.recommendButton.click()
    assert (asked[-1].budget.scope, asked[-1].budget.minimum, asked[-1].budget.maximum) == (Scope.COHORT, 2, 5)
    for scope in ("Each plane", "Each volume"):
        ui.scopeSelector.setCurrentText(scope)
        assert not ui.minimumSpinBox.enabled
        assert not ui.maximumSpinBox.enabled
        assert ui.minimumSpinBox.toolTip == "Only for the selection scope 'Whole cohort'."
        ui.recommendButton.click()
        assert (asked[-1].budget.minimum, asked[-1].budget.maximum) == (None, None)
    ui.scopeSelector.setCurrentText("Whole cohort")
    assert ui.minimumSpinBox.enabled
    ui.minimumSpinBox.value, ui.maximumSpinBox.value = 0, 0
    assert (ui.minimumSpinBox.text, ui.maximumSpinBox.text) == ("at least 0", "no limit")
    ui.recommendButton.click()
    assert (asked[-1].budget.minimum, asked[-1].budget.maximum) == (None, None)


def test_a_minimum_above_the_maximum_is_a_sentence(panel):
    ui = panel.ui
    panel.add_ball()
    ui.scopeSelector.setCurrentText("Whole cohort")
    ui.minimumSpinBox.value, ui.maximumSpinBox.value = 4, 3
    ui.recommendButton.click()
    panel.idle()
    assert panel.message == "The minimum of 4 slices per volume is more than the maximum of 3."
    assert panel.items == []


def test_limits_hold_for_each_volume(panel):
    ui = panel.ui
    for name in ("one", "two", "three"):
        panel.add_ball(name)
    ui.allVolumesButton.click()
    ui.scopeSelector.setCurrentText("Whole cohort")
    ui.budgetKindSelector.setCurrentText("slices")
    ui.budgetSpinBox.value = 9
    ui.minimumSpinBox.value, ui.maximumSpinBox.value = 3, 3
    ui.recommendButton.click()
    panel.idle()
    counts = {name: sum(item.volumeNode.GetName() == name for item in panel.items) for name in ("one", "two", "three")}
    assert counts == {"one": 3, "two": 3, "three": 3}


def test_a_plan_is_made_for_the_chosen_model_and_structure(panel, asked):
    ui = panel.ui
    panel.add_ball()
    ui.suggestPlanButton.click()
    assert (asked[-1].dimensions, asked[-1].target) == (3, None)
    ui.planDimensionsSelector.setCurrentText("2D model")
    ui.planTargetSelector.setCurrentText("subtle")
    ui.suggestPlanButton.click()
    assert (asked[-1].dimensions, asked[-1].target) == (2, "subtle")
    panel.widget.exit()
    panel.widget.enter()
    assert (ui.planDimensionsSelector.currentText, ui.planTargetSelector.currentText) == ("2D model", "subtle")


def test_the_plan_for_a_subtle_structure_asks_for_more_slices(panel):
    ui = panel.ui
    panel.add_ball()
    ui.planTargetSelector.setCurrentText("subtle")
    ui.suggestPlanButton.click()
    panel.idle()
    assert "Draw about 20% of the slices of each volume" in ui.planLabel.toolTip
    assert "is not known; the plan assumes that it is clear" not in ui.planLabel.toolTip
