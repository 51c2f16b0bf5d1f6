"""`slicer.app` where there are windows: settings, clipboard, palette, layouts."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from . import launcher_environment
from .embedded_slicer import EmbeddedApplication
from .plot_widgets import qMRMLPlotWidget
from .pythonqt_rules import as_pythonqt, show
from .slicer_facts import all_facts


class qSlicerLayoutManager(QtCore.QObject):
    """Which views are shown: `layout` is the arrangement's number in the scene's layout node."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self):
        super().__init__()
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._plots: dict = {}
        # As in Slicer, a view's widget is there from the beginning, not when somebody asks for it.
        slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, lambda *_: self._plot_widgets())

    def layoutLogic(self):
        return self._logic

    def _number(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, number: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(number)
        self.layoutChanged.emit(number)

    layout = QtCore.Property(int, _number, setLayout)

    def _plot_widgets(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
        self._plots = {node: widget for node, widget in self._plots.items() if node in nodes}
        for node in nodes:
            if node not in self._plots:
                self._plots[node] = as_pythonqt(qMRMLPlotWidget)()
                self._plots[node].setMRMLPlotViewNode(node)
        return [self._plots[node] for node in nodes]

    plotViewCount = QtCore.Property(int, lambda self: len(self._plot_widgets()))

    def plotWidget(self, number: int):
        return self._plot_widgets()[number]

    def sliceViewNames(self) -> list[str]:
        return [node.GetLayoutName() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]


class WindowedApplication(EmbeddedApplication):
    """What `slicer.app` has more with windows than without."""

    applicationName = mainApplicationName = "SlicerStandIn"

    def begin(self, application: QtWidgets.QApplication) -> None:
        """Take the place of an application without windows, which `slicer.app` was until now."""
        self._qt = application
        self._layout_manager = as_pythonqt(qSlicerLayoutManager)()
        self._connected: list[tuple] = []
        # Settings of tests must be separate from those of users.
        folder = Path(self.temporaryPath).parent / "settings"
        settings = QtCore.QSettings
        settings.setDefaultFormat(settings.Format.IniFormat)
        settings.setPath(settings.Format.IniFormat, settings.Scope.UserScope, str(folder))
        application.setOrganizationName("SlicerStandIn")
        application.setApplicationName("SlicerStandIn")

    def processEvents(self) -> None:
        self._qt.processEvents()

    def layoutManager(self):
        return self._layout_manager

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """The environment that Slicer's launcher was started in."""
        environment = QtCore.QProcessEnvironment()
        for name, value in (launcher_environment.BEFORE or os.environ).items():
            environment.insert(name, value)
        return environment

    def settings(self):
        return as_pythonqt(QtCore.QSettings)()

    userSettings = settings

    def clipboard(self):
        return show(self._qt.clipboard())

    def palette(self) -> QtGui.QPalette:
        return self._qt.palette()

    def font(self) -> QtGui.QFont:
        return self._qt.font()

    def setOverrideCursor(self, cursor) -> None:
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        self._qt.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Slicer's views wait; those of the stand-in are drawn later anyway."""

    def resumeRender(self) -> None:
        """See `pauseRender`."""

    def connect(self, signature: str, receiver) -> bool:
        """Store the receiver of a signal of the application; the stand-in emits none of them."""
        if not all_facts()["slicer.app"].allows_signal(signature):
            raise ValueError(f"slicer.app has no signal '{signature}' in Slicer.")
        self._connected.append((signature, receiver))
        return True


def main_window():
    """`slicer.util.mainWindow`: the main window, or None when the panel stands alone."""
    windows = (w for w in QtWidgets.QApplication.topLevelWidgets() if isinstance(w, QtWidgets.QMainWindow))
    return next((window for window in windows if window.isVisible()), None)


def install() -> QtWidgets.QApplication:
    """Give `slicer.app` an event loop and what comes with it; returns the Qt application."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["SlicerStandIn"])
    # Delete unreferenced windows now. Otherwise Python might delete them at any time, such as while one is painted.
    gc.collect()
    if not isinstance(slicer.app, WindowedApplication):
        slicer.app.__class__ = WindowedApplication
        slicer.app.begin(application)
    slicer.util.mainWindow = main_window
    return application
