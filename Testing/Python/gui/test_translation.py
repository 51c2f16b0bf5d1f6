"""The panel in another language: messages of the library, of the worker and from the scene are translated, too."""

from __future__ import annotations

import pytest

from SparseAnnotateLib.core.messages import _


@pytest.fixture
def foreign(panel, monkeypatch):
    """The panel, where everything that is translated comes out in «»."""
    from SparseAnnotateLib.gui import words

    monkeypatch.setattr(words, "translate", lambda _context, text: f"«{text}»")
    return panel


def is_translated(text: str) -> bool:
    return "«" in text


def test_the_translation_is_that_of_slicer(mrml):
    from slicer.i18n import translate

    from SparseAnnotateLib.gui import words

    assert words.translate is translate


def test_errors_of_the_logic_are_translated(foreign):
    foreign.add_ball()
    foreign.recommend()
    foreign.ui.drawnButton.click()
    assert is_translated(foreign.message)
    assert "has no segment" in foreign.message


def test_reasons_in_the_worklist_are_translated(foreign):
    foreign.add_ball()
    foreign.recommend()
    assert is_translated(foreign.ui.worklistTable.item(0, 4).text())
    # Also when it is read from the scene again.
    foreign.panel.draw.table._shown = [None] * len(foreign.items)
    foreign.panel.refresh()
    assert is_translated(foreign.ui.worklistTable.item(0, 4).text())


def test_warnings_of_a_fill_are_translated(foreign):
    volume = foreign.add_ball()
    foreign.recommend()
    foreign.add_segment(volume)
    item = foreign.items[2]
    foreign.panel.draw.table.choose(2)
    foreign.paint(item.index)
    foreign.ui.drawnButton.click()
    foreign.panel.session.parameters.fillMethod = "shape"
    foreign.ui.fillButton.click()
    foreign.idle()
    report = foreign.logic.fillReport(foreign.panel.result.node)
    assert report.warnings
    _name, *lines = foreign.ui.resultLabel.text.splitlines()  # the first line is the panel's own
    assert lines
    assert all(is_translated(line) for line in lines)


def test_the_worker_s_progress_advice_and_errors_are_translated(foreign):
    foreign.add_ball()
    progress = []
    foreign.panel.session._on_progress = lambda _progress: progress.append(foreign.job)
    foreign.ui.suggestPlanButton.click()
    foreign.idle()
    assert progress
    assert [text for text in progress if not is_translated(text)] == []
    assert is_translated(foreign.ui.planLabel.text)
    assert is_translated(foreign.ui.planLabel.toolTip)

    foreign.ui.budgetKindSelector.setCurrentText("minutes")
    foreign.ui.suggestPlanButton.click()
    foreign.idle()
    assert is_translated(foreign.message)
    assert "how long a slice takes" in foreign.message


def test_choices_and_their_descriptions_are_translated(foreign, monkeypatch):
    from SparseAnnotateLib.core.registry import Entry
    from SparseAnnotateLib.gui.choice_labels import explain, show_labels

    parts = {
        name: Entry(name=name, label=_("Label of a part"), description=_("What a part does."), make=str)
        for name in ("one", "two")
    }
    selector = foreign.ui.deviceSelector
    show_labels(selector, parts)
    explain(selector, parts)
    assert selector.itemText(0) == "«Label of a part»"
    assert selector.toolTip.splitlines() == ["«Label of a part»: «What a part does.»"] * 2
