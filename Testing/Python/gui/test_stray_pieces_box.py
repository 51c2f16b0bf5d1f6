"""The check box that keeps what clean-up would leave out of a model's result."""

from __future__ import annotations

from datetime import UTC, datetime

from SparseAnnotateLib.runs.run_list import RunSummary


def test_stray_pieces_are_left_out_unless_the_box_is_checked(panel, monkeypatch):
    asked = []
    monkeypatch.setattr(panel.logic, "segment", lambda volumes, run, **how: asked.append(how["keepStrayPieces"]))
    volume = panel.add_ball()
    step = panel.panel.steps["train"]
    monkeypatch.setattr(type(step.runs), "chosen", RunSummary("first", True, datetime.now(UTC)))
    for checked in (False, True):
        panel.ui.keepStrayPiecesCheckBox.checked = checked
        panel.application.processEvents()
        step.run([volume])
    assert asked == [False, True]
