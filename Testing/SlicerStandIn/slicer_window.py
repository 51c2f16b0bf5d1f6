"""A main window like Slicer's around a module's panel: the module column on the left, four views on the right."""

from __future__ import annotations

from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt

from . import embedded_slicer, slice_pictures, view_nodes
from .painting import EditorBrush
from .pythonqt_rules import as_pythonqt
from .slice_view_widget import SliceViewWidget
from .three_d_view_widget import ThreeDViewWidget

_COLUMN_WIDTH = 460  # to begin with
_ICON = embedded_slicer.PROJECT / "SparseAnnotate" / "Resources" / "Icons" / "SparseAnnotate.png"


class SlicerWindow(QtWidgets.QMainWindow):
    """A panel in Slicer's module column beside Slicer's four-up layout.

    `views` are the slice views by name (Red, Green, Yellow), `three_d` the 3D view. Where nothing can be rendered the
    views say what to install, and all else works.
    """

    def __init__(self, panel: QtWidgets.QWidget, title: str = "SparseAnnotate"):
        super().__init__()
        self.setWindowTitle(f"{title} - stand-in for 3D Slicer")
        self.setWindowIcon(QtGui.QIcon(str(_ICON)))
        view_nodes.add_slice_views()
        rendered = slice_pictures.can_render()
        self.views = {kind.name: SliceViewWidget(kind, rendered) for kind in view_nodes.SLICE_VIEWS}
        self.three_d = ThreeDViewWidget(rendered)
        self.column = _module_column(panel, title)
        self.all_views = [self.views["Red"], self.three_d, self.views["Green"], self.views["Yellow"]]
        grid_holder = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(grid_holder)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        for place, view in enumerate(self.all_views):
            grid.addWidget(view, place // 2, place % 2)
            view.maximiseRequested.connect(lambda view=view: self.maximise(view))
        splitter = QtWidgets.QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(self.column)
        splitter.addWidget(grid_holder)
        splitter.setStretchFactor(0, 0)
        splitter.setStretchFactor(1, 1)
        splitter.setCollapsible(0, False)
        splitter.setSizes([_COLUMN_WIDTH, 2 * _COLUMN_WIDTH])
        self.setCentralWidget(splitter)
        self._add_menu()
        self._observed = slicer.mrmlScene.AddObserver(
            slicer.mrmlScene.EndBatchProcessEvent, lambda *_: view_nodes.add_slice_views()
        )

    def draw(self) -> None:
        """Bring all views up to date now, surfaces included, instead of soon."""
        self.three_d.make_surfaces()
        for view in self.all_views:
            view.draw()

    def show_in_3d(self, shown: bool = True) -> None:
        """Give visible segmentations a surface in the 3D view, as 'Show 3D' of the Segment Editor does."""
        self.three_d.show_3d_box.setChecked(shown)

    def set_brush(self, brush: EditorBrush | None) -> None:
        """What draws when the left button is dragged over a slice view; without one, drags pan."""
        for view in self.views.values():
            view.brush = brush

    def maximise(self, view: QtWidgets.QWidget) -> None:
        """Show one view alone, or all of them again."""
        alone = any(not other.isHidden() for other in self.all_views if other is not view)
        for other in self.all_views:
            other.setVisible(other is view or not alone)

    def save_picture(self, path: str | Path) -> None:
        """Save the window with everything drawn as a picture."""
        for _ in range(3):  # one layout settles after the other
            QtWidgets.QApplication.processEvents()
        self.three_d.set_fine(True)
        self.draw()
        self.three_d.set_fine(False)
        Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        if not self.grab().save(str(path)):
            raise OSError(f"'{path}' could not be written.")

    def closeEvent(self, event) -> None:
        self.release()
        super().closeEvent(event)

    def release(self) -> None:
        """Release the scene. The window cannot be used afterwards."""
        if self._observed is not None:
            slicer.mrmlScene.RemoveObserver(self._observed)
            self._observed = None
            for view in self.all_views:
                view.release()

    def _add_menu(self) -> None:
        menu = self.menuBar().addMenu("&File")
        menu.addAction("&Open scene...", self._open_scene)
        menu.addAction("&Save scene as...", self._save_scene)
        menu.addAction("&Close scene", embedded_slicer.clear_scene)
        menu.addSeparator()
        menu.addAction("&Quit", self.close)

    def _open_scene(self) -> None:
        path, _ = QtWidgets.QFileDialog.getOpenFileName(self, "Open scene", "", "MRML bundle (*.mrb)")
        if path:
            embedded_slicer.load_scene(path)

    def _save_scene(self) -> None:
        path, _ = QtWidgets.QFileDialog.getSaveFileName(self, "Save scene as", "scene.mrb", "MRML bundle (*.mrb)")
        if path:
            embedded_slicer.save_scene(path)


class _ModuleScrollArea(QtWidgets.QScrollArea):
    """Scrolls downwards only and is at least as wide as what it holds would like to be, as Slicer's is.

    Slicer asks the size hint: what a .ui file gives as a minimum does not count.
    """

    def __init__(self, panel: QtWidgets.QWidget):
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        holder = as_pythonqt(QtWidgets.QWidget)()
        layout = QtWidgets.QVBoxLayout(holder)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(panel)
        layout.addStretch(1)
        self.setWidget(holder)
        holder.installEventFilter(self)
        self._fit()

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if watched is self.widget() and event.type() == QtCore.QEvent.Type.LayoutRequest:
            self._fit()
        return super().eventFilter(watched, event)

    def _fit(self) -> None:
        # By the class: to code of the project these are properties.
        bar = QtWidgets.QWidget.sizeHint(self.verticalScrollBar()).width()
        hint = QtWidgets.QWidget.sizeHint(self.widget()).width()
        self.setMinimumWidth(hint + bar + 2 * QtWidgets.QScrollArea.frameWidth(self))


def _module_column(panel: QtWidgets.QWidget, title: str) -> QtWidgets.QWidget:
    column = QtWidgets.QWidget()
    header = QtWidgets.QHBoxLayout()
    header.setContentsMargins(10, 6, 10, 6)
    icon = QtWidgets.QLabel()
    icon.setPixmap(QtGui.QIcon(str(_ICON)).pixmap(24, 24))
    label = QtWidgets.QLabel(title)
    font = label.font()
    font.setBold(True)
    font.setPointSizeF(font.pointSizeF() * 1.2)
    label.setFont(font)
    header.setSpacing(8)
    header.addWidget(icon)
    header.addWidget(label)
    header.addStretch(1)
    line = QtWidgets.QFrame()
    line.setFrameShape(QtWidgets.QFrame.Shape.HLine)
    line.setFrameShadow(QtWidgets.QFrame.Shadow.Sunken)
    layout = QtWidgets.QVBoxLayout(column)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addLayout(header)
    layout.addWidget(line)
    layout.addWidget(as_pythonqt(_ModuleScrollArea)(panel), 1)
    return column
