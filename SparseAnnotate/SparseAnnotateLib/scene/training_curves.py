"""Loss and Dice of a training run in Slicer's plot view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer
import vtk

from .node_names import savable

_CHART_ATTRIBUTE = "SparseAnnotate.Chart"
_COLOURS = {
    "2d": (0.2, 0.5, 0.85),
    "3d": (0.9, 0.45, 0.2),
    "final": (0.3, 0.65, 0.35),
}
_OTHER_COLOUR = (0.45, 0.45, 0.5)
_LINE_WIDTH = 2
_MAX_POINTS = 500


def show_curves(run: str, metrics: Sequence[Mapping], in_layout: bool = False):
    """Plot the loss and the Dice on held-out drawn slices of each model over its steps; returns the chart node.

    All runs use the same chart. To follow a run while it trains, call this again with more metrics.

    Args:
        metrics: lines of a run's metrics: 'model', 'iteration', 'loss', and 'validation_dice' where it was measured.
        in_layout: change Slicer's layout to one with a plot view.
    """
    chart = _chart()
    chart.SetTitle(run)
    chart.SetXAxisTitle("step")
    chart.SetYAxisTitle("loss, Dice")
    kept = []
    for model in dict.fromkeys(line["model"] for line in metrics):
        for figure, title in (("loss", "loss"), ("validation_dice", "Dice")):
            points = [
                (line["iteration"], line[figure])
                for line in metrics
                if line["model"] == model and line.get(figure) is not None
            ]
            if points:
                series = _series(chart, f"{model} {title}", points, model, is_loss=figure == "loss")
                kept.append(series.GetID())
    for series_id in _series_ids(chart):
        if series_id not in kept:
            _remove(chart, series_id)
    if in_layout:
        slicer.modules.plots.logic().ShowChartInLayout(chart)
    _fit_views(chart)
    return chart


def _fit_views(chart) -> None:
    """A plot view does not fit its axes when its tables change, so that new points would lie outside."""
    layout = slicer.app.layoutManager()
    for number in range(layout.plotViewCount if layout is not None else 0):
        widget = layout.plotWidget(number)
        node = widget.mrmlPlotViewNode()
        if node is not None and node.GetPlotChartNodeID() == chart.GetID():
            widget.plotView().fitToContent()


def _chart():
    for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode"):
        if node.GetAttribute(_CHART_ATTRIBUTE):
            return node
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Training")
    chart.SetAttribute(_CHART_ATTRIBUTE, "1")
    return chart


def _series_ids(chart) -> list[str]:
    return [chart.GetNthPlotSeriesNodeID(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]


def _series(chart, name: str, points, model: str, is_loss: bool):
    found = (slicer.mrmlScene.GetNodeByID(series_id) for series_id in _series_ids(chart))
    series = next((node for node in found if node is not None and node.GetName() == name), None)
    if series is None:
        table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", savable(f"Training {name}"))
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName(name)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    # Also for a series loaded with a scene. The loss is a line; Dice is measured less often: points, connected.
    series.SetPlotType(series.PlotTypeScatter)
    series.SetLineStyle(series.LineStyleSolid if is_loss else series.LineStyleDash)
    series.SetLineWidth(_LINE_WIDTH)
    series.SetMarkerStyle(series.MarkerStyleNone if is_loss else series.MarkerStyleCircle)
    series.SetColor(*_COLOURS.get(model, _OTHER_COLOUR))
    _fill_table(series.GetTableNode(), name, points[:: max(1, len(points) // _MAX_POINTS)])
    return series


def _fill_table(node, name: str, points) -> None:
    table = vtk.vtkTable()
    for column_name, values in (("step", [p[0] for p in points]), (name, [p[1] for p in points])):
        column = vtk.vtkDoubleArray()
        column.SetName(column_name)
        for value in values:
            column.InsertNextValue(float(value))
        table.AddColumn(column)
    node.SetAndObserveTable(table)


def _remove(chart, series_id: str) -> None:
    series = slicer.mrmlScene.GetNodeByID(series_id)
    chart.RemovePlotSeriesNodeID(series_id)
    if series is not None:
        if series.GetTableNode() is not None:
            slicer.mrmlScene.RemoveNode(series.GetTableNode())
        slicer.mrmlScene.RemoveNode(series)
