"""What Slicer does not do by itself, and what it takes long for: the stand-in must not be kinder."""

from __future__ import annotations

import os
import sys

import pytest

from project_code import as_project


@pytest.fixture
def table(qt, mrml):
    table = qt.QTableWidget()
    as_project("table.setColumnCount(7); table.setRowCount(20)", table=table)
    yield table
    table.close()


def seconds_to_fill(qt, table, monkeypatch) -> float:
    """How long Slicer would measure the table; nothing is waited for."""
    from SlicerStandIn import table_widget

    waits = []
    monkeypatch.setattr(table_widget.time, "sleep", waits.append)
    as_project(
        """
        for row in range(20):
            for column in range(7):
                table.setItem(row, column, qt.QTableWidgetItem("text"))
        """,
        qt=qt,
        table=table,
    )
    return sum(waits)


@pytest.mark.parametrize(
    ("mode", "is_shown", "is_slow"),
    [("ResizeToContents", True, True), ("ResizeToContents", False, False), ("Interactive", True, False)],
)
def test_a_header_that_fits_its_columns_takes_long_while_the_table_is_seen(
    qt, table, monkeypatch, mode, is_shown, is_slow
):
    as_project(
        "table.horizontalHeader().setSectionResizeMode(getattr(qt.QHeaderView, mode))", qt=qt, table=table, mode=mode
    )
    if is_shown:
        table.show()
    assert (seconds_to_fill(qt, table, monkeypatch) > 0.6) is is_slow


def test_a_folded_section_keeps_a_strip_below_its_title_until_it_is_set_otherwise(ctk):
    section = ctk.ctkCollapsibleButton()
    section.collapsed = True
    assert section.collapsedHeight == 14
    strip = section.maximumHeight
    section.collapsed = False
    as_project("section.collapsedHeight = 0", section=section)
    section.collapsed = True
    assert section.maximumHeight == strip - 14


def test_a_plot_view_fits_its_axes_when_a_chart_comes_and_never_by_itself_afterwards(facade, mrml):
    from SparseAnnotateLib.scene.training_curves import _fill_table

    scene = mrml.mrmlScene
    chart, series = (scene.AddNewNodeByClass(f"vtkMRMLPlot{kind}Node") for kind in ("Chart", "Series"))
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("step")
    series.SetYColumnName("loss")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    _fill_table(table, "loss", [(1, 0.5), (2, 0.25)])
    mrml.modules.plots.logic().ShowChartInLayout(chart)
    layout = mrml.app.layoutManager()
    assert layout.plotViewCount == 1
    view = layout.plotWidget(0).plotView()
    assert view.shown == [1.0, 2.0, 0.25, 0.5]
    _fill_table(table, "loss", [(1, 0.5), (20, 0.125)])
    assert view.shown == [1.0, 2.0, 0.25, 0.5]
    as_project("slicer.app.layoutManager().plotWidget(0).plotView().fitToContent()", slicer=mrml)
    assert view.shown == [1.0, 20.0, 0.125, 0.5]


def test_sample_data_takes_only_what_slicer_takes(facade):
    import SampleData

    with pytest.raises(TypeError, match="sampleDescription"):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="A", sampleDescription="a sample")


def test_a_segment_editor_without_its_nodes_says_so_in_the_console(facade, mrml):
    from SlicerStandIn.mrml_widgets import console_errors

    editor = mrml.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(mrml.mrmlScene)
    volume = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    editor.setSourceVolumeNode(volume)
    editor.setSegmentationNode(mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    editor.setSegmentationNode(None)
    assert [message.split(" failed")[0] for message in console_errors] == ["setSourceVolumeNode", "setSegmentationNode"]
    console_errors.clear()


def test_an_effect_stays_active_while_the_segment_editor_is_hidden(facade, mrml):
    editor = mrml.qMRMLSegmentEditorWidget()
    editor.setMRMLScene(mrml.mrmlScene)
    editor.setMRMLSegmentEditorNode(mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setActiveEffectByName("Paint")
    editor.hide()
    assert editor.activeEffect().name == "Paint"


def test_the_module_column_is_as_wide_as_its_panel_would_like_to_be(facade, mrml):
    from PySide6 import QtWidgets

    from SlicerStandIn.slicer_window import SlicerWindow

    panel = QtWidgets.QWidget()
    row = QtWidgets.QHBoxLayout(panel)
    for number in range(6):
        button = QtWidgets.QPushButton(f"button {number}")
        button.setMinimumWidth(10)
        row.addWidget(button)
    window = SlicerWindow(panel)
    assert window.column.minimumSizeHint().width() >= panel.sizeHint().width()
    window.close()


def test_slicer_s_launcher_sets_variables_that_suit_its_own_python_only(facade, mrml, tmp_path, monkeypatch):
    from SlicerStandIn.launcher_environment import launched

    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib")
    before = dict(os.environ)
    with launched(tmp_path / "Slicer"):
        assert os.environ["PYTHONHOME"] == sys.base_prefix
        assert os.environ["LD_LIBRARY_PATH"].endswith(os.pathsep + "/opt/cuda/lib")
        environment = mrml.util.startupEnvironment()
        assert "PYTHONHOME" not in environment
        assert environment["LD_LIBRARY_PATH"] == "/opt/cuda/lib"
    assert dict(os.environ) == before
