"""The 3D view as a Qt widget."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Qt

from . import three_d_picture, view_nodes
from .view_widget import ViewWidget

_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
# Surfaces take long to make: only when nothing has changed for so long.
_SURFACE_MILLISECONDS = 400
_DEGREES_PER_PIXEL = 0.5


class ThreeDViewWidget(ViewWidget):
    """The 3D view: drags turn it, the wheel zooms; 'Show 3D' gives visible segmentations a surface."""

    def __init__(self, rendered: bool):
        colour = slicer.vtkMRMLSliceNode.GetThreeDViewBlueColor()
        name = view_nodes.THREE_D_VIEW
        super().__init__(name, colour, three_d_picture.ThreeDView(name) if rendered else None)
        self.show_3d_box = QtWidgets.QCheckBox("Show 3D")
        self.show_3d_box.setToolTip("Give the visible segmentations a surface, as Show 3D in the Segment Editor does")
        self.show_3d_box.toggled.connect(self._toggle_surfaces)
        centre = QtWidgets.QToolButton()
        centre.setText("Centre")
        centre.setAutoRaise(True)
        centre.setToolTip("Look at everything that is shown")
        centre.clicked.connect(self.fit)
        self.bar_layout.addStretch()
        self.bar_layout.addWidget(self.show_3d_box)
        self.bar_layout.addWidget(centre)
        self._was_empty = True
        self._surface_timer = QtCore.QTimer(self)
        self._surface_timer.setSingleShot(True)
        self._surface_timer.setInterval(_SURFACE_MILLISECONDS)
        self._surface_timer.timeout.connect(self.make_surfaces)
        self._dragged_from: QtCore.QPointF | None = None
        self.draw_soon()

    def draw_soon(self) -> None:
        super().draw_soon()
        if not self._drawing and self.show_3d_box.isChecked():
            self._surface_timer.start()

    def draw(self) -> None:
        super().draw()
        if self.view is None:
            return
        empty = not self.view.shows_something()
        if self._was_empty and not empty:
            self.fit()
        self._was_empty = empty

    def set_fine(self, fine: bool) -> None:
        """Smoother edges from the next drawing on, which takes longer."""
        if self.view is not None:
            self.view.set_fine(fine)

    def fit(self) -> None:
        """Look at everything that is shown."""
        if self.view is not None:
            self.view.fit()
            super().draw()

    def make_surfaces(self) -> None:
        """Make the surfaces that visible segmentations lack, when they are to be shown."""
        self._surface_timer.stop()
        if self.show_3d_box.isChecked():
            for node in _visible_segmentations():
                if not node.GetSegmentation().ContainsRepresentation(_CLOSED_SURFACE):
                    node.CreateClosedSurfaceRepresentation()

    def _toggle_surfaces(self, shown: bool) -> None:
        if not shown:
            for node in _visible_segmentations():
                node.RemoveClosedSurfaceRepresentation()
        self.draw_soon()

    def release(self) -> None:
        self._surface_timer.stop()
        super().release()

    def wheelEvent(self, event) -> None:
        self._move_camera(lambda camera: camera.Dolly(1.1 ** (event.angleDelta().y() / 120)))
        event.accept()

    def mousePressEvent(self, event) -> None:
        self._dragged_from = self.position_in_picture(event)

    def mouseMoveEvent(self, event) -> None:
        if self._dragged_from is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        moved = self.position_in_picture(event) - self._dragged_from
        self._dragged_from += moved

        def turn(camera) -> None:
            camera.Azimuth(-moved.x() * _DEGREES_PER_PIXEL)
            camera.Elevation(moved.y() * _DEGREES_PER_PIXEL)
            camera.OrthogonalizeViewUp()

        self._move_camera(turn)

    def mouseReleaseEvent(self, event) -> None:
        self._dragged_from = None

    def _move_camera(self, move: Callable) -> None:
        if self.view is not None:
            node = self.view.camera_node
            move(node.GetCamera())
            node.ResetClippingRange()
            self.draw_soon()


def _visible_segmentations() -> list:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    shown = [node for node in nodes if node.GetDisplayNode() is not None and node.GetDisplayNode().GetVisibility()]
    return [node for node in shown if node.GetSegmentation().GetNumberOfSegments()]
