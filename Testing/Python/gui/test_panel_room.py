"""The panel in Slicer's module column: how wide, how high, where it is scrolled to, and when it is measured."""

from __future__ import annotations

import sys

import numpy as np
import pytest

LONG = "a volume with a name that is as long as names of series from a scanner are, 1.3.6.1.4.1"


@pytest.fixture
def window(panel, tmp_path):
    """The panel in a window like Slicer's, 700 pixels high."""
    from SlicerStandIn.slicer_window import SlicerWindow

    window = SlicerWindow(panel.widget.parent)
    window.resize(1000, 700)
    window.show()
    panel.application.processEvents()
    yield window
    # The panel is the fixture's, not the window's.
    panel.widget.parent.setParent(None)
    window.close()
    window.deleteLater()


def settle(panel) -> None:
    panel.until(lambda: not panel.panel._scrolling.active)
    for _ in range(3):
        panel.application.processEvents()


def scroll_area(window):
    from PySide6 import QtWidgets

    return window.column.findChildren(QtWidgets.QScrollArea)[0]


def scroll_to(window, place: int | None = None) -> int:
    """Scroll the column; returns where it is."""
    from PySide6 import QtWidgets

    bar = scroll_area(window).verticalScrollBar()
    if place is not None:
        bar.setValue(place)
    return QtWidgets.QScrollBar.value(bar)


def place_of(step, window) -> tuple[int, int]:
    """Upper and lower end of a step in the column, in pixels from the column's upper end."""
    from PySide6.QtCore import QPoint

    top = step.section.mapTo(scroll_area(window).viewport(), QPoint(0, 0)).y()
    return top, top + step.section.height


def test_a_column_of_360_pixels_is_enough_whatever_is_open(panel, window):
    volume = panel.add_ball(LONG)
    panel.recommend()
    panel.add_segment(volume)
    second = panel.add_ball(LONG)
    panel.logic.setChannels(volume, {LONG: volume, "T1": second})
    panel.idle()
    for name in ("resultLabel", "planLabel", "messageLabel", "offerLabel"):
        getattr(panel.ui, name).text = LONG
        getattr(panel.ui, name).visible = True
    panel.ui.offerFrame.visible = panel.ui.geometryFrame.visible = panel.ui.jobFrame.visible = True
    panel.ui.geometryLabel.text = panel.ui.jobLabel.text = LONG
    for group in (
        panel.ui.channelsGroup,
        panel.ui.moreChoicesGroup,
        panel.ui.advancedTrainingGroup,
        panel.ui.advancedRunGroup,
    ):
        group.collapsed = False
    panel.ui.strategySelector.setCurrentText("Uncertainty")
    for step in panel.panel.steps.values():
        panel.panel.open(step)
        settle(panel)
        assert window.column.minimumSizeHint().width() <= 360, step.section.text
    for step in panel.panel.steps.values():
        step.section.collapsed = False
    settle(panel)
    assert window.column.minimumSizeHint().width() <= 360


def test_a_folded_step_takes_no_more_than_its_title(panel, window):
    panel.panel.open(panel.panel.fill)
    settle(panel)
    section = panel.panel.measure.section
    assert section.height <= section.fontMetrics().height() + 10


def test_a_step_that_is_opened_is_scrolled_into_view(panel, window):
    panel.add_ball()
    for step in panel.panel.steps.values():
        step.section.collapsed = False
    settle(panel)
    scroll_to(window, 0)
    for step in (panel.panel.environment, panel.panel.data, panel.panel.train):
        panel.panel.open(step)
        settle(panel)
        top, bottom = place_of(step, window)
        height = scroll_area(window).viewport().height
        if bottom - top <= height:
            assert top >= 0
            assert bottom <= height
        else:
            assert top == 0


def test_a_click_on_a_title_brings_the_step_into_view(panel, window):
    panel.add_ball()
    for step in panel.panel.steps.values():
        step.section.collapsed = step is panel.panel.environment
    settle(panel)
    assert place_of(panel.panel.environment, window)[1] > scroll_area(window).viewport().height
    panel.panel.environment.section.click()
    settle(panel)
    top, bottom = place_of(panel.panel.environment, window)
    assert top >= 0
    assert bottom <= scroll_area(window).viewport().height
    assert panel.ui.logText.visible


def test_after_a_reload_the_panel_is_seen_from_its_beginning(panel, window, monkeypatch):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget

    for step in panel.panel.steps.values():
        step.section.collapsed = False
    settle(panel)
    assert scroll_to(window, 10000) > 0
    library = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "SparseAnnotateLib"}
    seen = []
    monkeypatch.setattr(ScriptedLoadableModuleWidget, "onReload", lambda self: seen.append(scroll_to(window)))
    try:
        panel.widget.onReload()
    finally:
        sys.modules.update(library)
    assert seen == [0]


def test_a_table_that_is_seen_is_not_measured_while_a_long_worklist_is_put_into_it(panel, window, monkeypatch):
    from SlicerStandIn import table_widget

    ui = panel.ui
    volumes = [panel.mrml.util.addVolumeFromArray(panel_voxels(), name=f"scan {n}") for n in range(60)]
    panel.idle()
    panel.panel.session.parameters.volumes = volumes
    panel.panel.open(panel.panel.draw)
    panel.panel.refresh()
    settle(panel)
    # With each cell that makes it measure, Slicer's table takes 6 ms: 13 s in all.
    waits = []
    monkeypatch.setattr(table_widget.time, "sleep", waits.append)
    panel.recommend(50.0)
    panel.until(lambda: panel.panel.draw.table._shown[-1:] != [None] and not panel.panel.draw.table._is_filling)
    assert ui.worklistTable.rowCount == 300
    assert waits == []
    widths = [ui.worklistTable.columnWidth(column) for column in range(7)]
    assert widths[1] >= ui.worklistTable.fontMetrics().horizontalAdvance("scan 59")


def panel_voxels():
    return np.random.default_rng(0).integers(0, 100, (10, 8, 8)).astype(np.int16)


def test_every_column_of_the_figures_is_seen_in_a_narrow_column(panel, window, qt):
    from SparseAnnotateLib.gui.plain_table import fit_columns

    panel.panel.open(panel.panel.measure)
    table = panel.ui.figuresTable
    table.setRowCount(1)
    for column, text in enumerate(("left ventricle", "0.923", "12.34", "1234.56", "1234.56")):
        table.setItem(0, column, qt.QTableWidgetItem(text))
    table.visible = True
    table.setFixedWidth(310)
    fit_columns(table)
    settle(panel)
    widths = [table.columnWidth(column) for column in range(5)]
    assert sum(widths) <= 310
    assert widths[0] >= 60
    assert all(
        width >= table.fontMetrics().horizontalAdvance(text)
        for width, text in zip(widths[1:], ("0.923", "12.34", "1234.56", "1234.56"), strict=True)
    )


@pytest.mark.parametrize("leave", ["fold", "open another"])
def test_nothing_is_painted_with_a_brush_that_is_out_of_sight(panel, leave):
    ui = panel.ui
    volume = panel.add_ball()
    panel.recommend()
    panel.add_segment(volume)
    editor = ui.segmentEditorWidget
    editor.setActiveEffectByName("Paint")
    if leave == "fold":
        ui.drawSection.collapsed = True
    else:
        panel.panel.open(panel.panel.fill)
    assert editor.activeEffect() is None
    assert editor._shortcuts == [], "a key would activate it again"
    ui.drawSection.collapsed = False
    assert editor.activeEffect() is None
    assert editor._shortcuts
