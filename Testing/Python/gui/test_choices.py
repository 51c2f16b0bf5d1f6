"""What the panel offers to choose from is what the registries hold."""

from __future__ import annotations

import pytest

from SparseAnnotateLib.core.messages import Message
from SparseAnnotateLib.interpolation import INTERPOLATORS
from SparseAnnotateLib.runs import LOSSES, PRESETS, base_networks
from SparseAnnotateLib.selection import FEATURES, SCOPES, STRATEGIES

CHOICES = {
    "strategySelector": STRATEGIES,
    "featuresSelector": FEATURES,
    "fillMethodSelector": INTERPOLATORS,
    "presetSelector": PRESETS,
}


def offered(selector) -> list[str]:
    return [selector.itemText(n) for n in range(selector.count)]


@pytest.mark.parametrize("name", CHOICES)
def test_the_choices_of_the_panel_are_those_there_are(panel, name):
    selector, parts = getattr(panel.ui, name), CHOICES[name]
    assert offered(selector) == [part.label for part in parts.values()]
    explained = selector.property("helpText") or selector.toolTip
    assert explained.splitlines() == [f"{part.label}: {part.description}" for part in parts.values()]


def test_labels_and_descriptions_are_shown_in_the_users_language(panel, monkeypatch):
    from SparseAnnotateLib.gui import choice_labels, words

    monkeypatch.setattr(words, "translate", lambda context, text: f"{context}: {text}")
    for name, parts in CHOICES.items():
        selector = getattr(panel.ui, name)
        assert all(isinstance(text, Message) for part in parts.values() for text in (part.label, part.description))
        choice_labels.show_labels(selector, parts)
        choice_labels.explain(selector, parts)
        shown = [f"{part.label.context}: {part.label}" for part in parts.values()]
        assert offered(selector) == shown
        explained = zip(selector.toolTip.splitlines(), shown, strict=True)
        assert all(line.startswith(label) for line, label in explained)


def test_network_and_loss_are_those_of_the_preset_unless_chosen(panel):
    for selector, parts in ((panel.ui.networkSelector, base_networks()), (panel.ui.lossSelector, LOSSES)):
        assert offered(selector) == ["Automatic", *(part.label for part in parts.values())]
    assert panel.panel.train._changes() == {}
    panel.ui.networkSelector.setCurrentText("SegResNet")
    panel.ui.lossSelector.setCurrentText("Tversky")
    assert panel.panel.train._changes() == {"network": "segresnet", "loss": "tversky"}


def test_the_scopes_of_the_panel_are_scopes(panel):
    from SparseAnnotate import PANEL_SCOPES
    from SparseAnnotateLib.gui.panel_choices import panel_scopes

    assert offered(panel.ui.scopeSelector) == ["Each plane", "Each volume", "Whole cohort"]
    assert list(panel_scopes()) == PANEL_SCOPES == [scope.value for scope in SCOPES]


def test_every_stored_choice_of_the_panel_has_a_label_and_an_explanation(panel):
    from SparseAnnotate import BUDGETS, PLAN_DIMENSIONS, PLAN_TARGETS
    from SparseAnnotateLib.gui.panel_choices import budget_units, plan_dimensions, plan_targets, starts
    from SparseAnnotateLib.logic import STARTS

    for selector, parts, stored in (
        (panel.ui.budgetKindSelector, budget_units(), BUDGETS),
        (panel.ui.startSelector, starts(), STARTS),
        (panel.ui.planDimensionsSelector, plan_dimensions(), PLAN_DIMENSIONS),
        (panel.ui.planTargetSelector, plan_targets(), PLAN_TARGETS),
    ):
        assert list(parts) == stored
        assert offered(selector) == [part.label for part in parts.values()]
        assert selector.toolTip.splitlines() == [f"{part.label}: {part.description}" for part in parts.values()]


def test_the_stored_unit_counts_and_not_its_label(panel):
    selector, parameters = panel.ui.budgetKindSelector, panel.widget.logic.getParameterNode()
    for number, label in enumerate(("Prozent", "Schichten", "Minuten")):
        selector.setItemText(number, label)
    for label, name, maximum in (("Schichten", "slices", 100_000), ("Prozent", "percent", 100)):
        selector.setCurrentText(label)
        assert (parameters.budgetKind, panel.ui.budgetSpinBox.maximum) == (name, maximum)


def test_devices_have_labels_and_the_name_is_stored(panel):
    panel.panel.environment.show_devices(["auto", "cuda:1", "mps", "cpu"])
    assert offered(panel.ui.deviceSelector) == ["Automatic", "GPU (cuda:1)", "Apple GPU", "CPU"]
    panel.ui.deviceSelector.setCurrentText("GPU (cuda:1)")
    assert panel.widget.logic.getParameterNode().device == "cuda:1"
    panel.panel.environment.show_devices(["auto", "cpu"])
    assert offered(panel.ui.deviceSelector) == ["Automatic", "CPU", "GPU (cuda:1)"]
    assert panel.ui.deviceSelector.currentText == "GPU (cuda:1)"


def test_a_label_is_shown_and_the_name_is_kept_with_the_scene(panel):
    parameters = panel.widget.logic.getParameterNode()
    for name, label in (("core_set", "Core set"), ("fixed_interval", "Fixed interval")):
        parameters.strategy = name
        assert panel.ui.strategySelector.currentText == label
    panel.ui.fillMethodSelector.setCurrentText("Random walk")
    assert parameters.fillMethod == "random_walk"


def test_a_scene_with_a_choice_that_does_not_exist_here_opens_with_the_default(panel):
    parameters = panel.panel.session.parameters
    node = parameters.parameterNode
    panel.panel.disconnect_parameters()
    node.SetParameter("strategy", "late")
    node.SetParameter("network", "of_my_own")
    panel.panel.connect_parameters(parameters)
    assert (parameters.strategy, parameters.network) == ("staggered", "auto")
    assert panel.ui.strategySelector.currentText == "Staggered"
    assert "is not available here" in panel.ui.messageLabel.text
    assert "'of_my_own'" in panel.ui.messageLabel.text


def test_a_problem_with_own_parts_is_shown_when_the_panel_opens(panel, monkeypatch, tmp_path):
    monkeypatch.setenv("SPARSE_ANNOTATE_PARTS", str(tmp_path))
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    parameters = panel.panel.session.parameters
    panel.panel.disconnect_parameters()
    panel.panel.connect_parameters(parameters)
    assert "broken.py' cannot be imported" in panel.ui.messageLabel.text
