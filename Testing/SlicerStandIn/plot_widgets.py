"""Stand-ins for Slicer's plot views: what is shown of a chart, without a picture of it."""

from __future__ import annotations

import slicer
from PySide6 import QtWidgets

from .mrml_widgets import qMRMLWidget


class qMRMLPlotView(QtWidgets.QWidget):
    """Its axes are fitted to a chart when the chart comes into the view, or by `fitToContent`; never by themselves."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.node = None
        self._chart: str | None = None
        self.shown: list[float] = []

    def fitToContent(self) -> None:
        """Fit the axes to all series of the chart."""
        self.shown = _bounds(self.node)

    def follow(self) -> None:
        """The view's node may show another chart now."""
        chart = self.node.GetPlotChartNodeID() if self.node is not None else None
        if chart != self._chart:
            self._chart = chart
            self.fitToContent()


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view and its node."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._view = None

    def plotView(self):
        return self._view

    def mrmlPlotViewNode(self):
        return self._view.node

    def setMRMLPlotViewNode(self, node) -> None:
        from .pythonqt_rules import as_pythonqt

        if self._view is None:
            self._view = as_pythonqt(qMRMLPlotView)(self)
        self._view.node = node
        node.AddObserver("ModifiedEvent", lambda *_: self._view.follow())
        self._view.follow()


def _bounds(view_node) -> list[float]:
    """Lowest and highest x, lowest and highest y of a view's chart; empty without one."""
    chart = slicer.mrmlScene.GetNodeByID((view_node.GetPlotChartNodeID() if view_node is not None else None) or "")
    across, up = [], []
    for number in range(chart.GetNumberOfPlotSeriesNodes() if chart is not None else 0):
        series = chart.GetNthPlotSeriesNode(number)
        for values, name in ((across, series.GetXColumnName()), (up, series.GetYColumnName())):
            values.extend(slicer.util.arrayFromTableColumn(series.GetTableNode(), name).tolist())
    return [min(across), max(across), min(up), max(up)] if across else []
