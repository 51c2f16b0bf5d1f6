"""A slice view as a Qt widget."""

from __future__ import annotations

import math

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt

from . import slice_pictures, view_nodes
from .painting import EditorBrush
from .view_widget import ViewWidget


class OffsetBox(QtWidgets.QDoubleSpinBox):
    """The slice offset as text, as in 'S: 12.5mm'."""

    def __init__(self):
        super().__init__()
        self.setDecimals(3)
        self.setRange(-1e6, 1e6)
        self.setSuffix("mm")
        self.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setFrame(False)
        self.setKeyboardTracking(False)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setStyleSheet("color: black; background: transparent;")
        self.setFixedWidth(self.fontMetrics().horizontalAdvance("S: -000.000mm") + 12)

    def textFromValue(self, value: float) -> str:
        whole, _, decimals = f"{value:.3f}".rstrip("0").partition(".")
        return f"{whole}.{decimals or 0}"


class SliceViewWidget(ViewWidget):
    """A slice view: bar with the offset; wheel, slider and drags move, pan and zoom it, or draw into it."""

    def __init__(self, kind: view_nodes.SliceViewKind, rendered: bool):
        super().__init__(kind.name, kind.colour, slice_pictures.SliceView(kind.name) if rendered else None)
        self.logic = view_nodes.slice_logic(kind.name)
        self.brush: EditorBrush | None = None
        self.slider = QtWidgets.QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._take_slider)
        self.offset_box = OffsetBox()
        self.offset_box.valueChanged.connect(lambda value: self.logic.SetSliceOffset(value))
        self.bar_layout.addWidget(self.slider, 1)
        self.bar_layout.addWidget(self.offset_box)
        self._lowest, self._step = 0.0, 1.0
        self._dragged_from: QtCore.QPointF | None = None
        self._observed = self.logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.draw_soon())
        self.draw_soon()

    @property
    def node(self):
        return self.logic.GetSliceNode()

    def update_bar(self) -> None:
        limits, step = [-1.0, 1.0], vtk.reference(1.0)
        self.logic.GetSliceOffsetRangeResolution(limits, step)
        self._lowest, self._step = limits[0], float(step)
        offset = self.logic.GetSliceOffset()
        matrix = self.node.GetSliceToRAS()
        direction = self.node.GetDirectionLabel([matrix.GetElement(row, 2) for row in range(3)], True)
        blockers = [QtCore.QSignalBlocker(self.slider), QtCore.QSignalBlocker(self.offset_box)]
        self.slider.setRange(0, max(0, round((limits[1] - limits[0]) / self._step)))
        self.slider.setValue(round((offset - self._lowest) / self._step))
        self.offset_box.setPrefix(f"{direction}: ")
        self.offset_box.setSingleStep(self._step)
        self.offset_box.setValue(offset)
        for blocker in blockers:
            blocker.unblock()

    def annotate(self, pixmap: QtGui.QPixmap) -> None:
        layers = self.logic.GetSliceCompositeNode()
        scene = slicer.mrmlScene
        background = scene.GetNodeByID(layers.GetBackgroundVolumeID() or "")
        foreground = scene.GetNodeByID(layers.GetForegroundVolumeID() or "")
        lines = [f"B: {background.GetName()}"] if background else []
        if foreground:
            lines.insert(0, f"F: {foreground.GetName()} ({layers.GetForegroundOpacity():.0%})")
        painter = QtGui.QPainter(pixmap)
        height = painter.fontMetrics().height()
        for number, line in enumerate(reversed(lines)):
            place = QtCore.QPointF(6, pixmap.deviceIndependentSize().height() - 7 - number * height)
            painter.setPen(QtGui.QColor("black"))
            painter.drawText(place + QtCore.QPointF(1, 1), line)
            painter.setPen(QtGui.QColor("#f0f0f0"))
            painter.drawText(place, line)
        painter.end()

    def release(self) -> None:
        self.logic.RemoveObserver(self._observed)
        super().release()

    def move_by_slices(self, count: int) -> None:
        lowest, highest = self._lowest, self._lowest + self.slider.maximum() * self._step
        offset = self.logic.GetSliceOffset() + count * self._step
        self.logic.SetSliceOffset(min(max(offset, lowest), highest))

    def ras_of(self, position: QtCore.QPointF) -> np.ndarray:
        """The world position (mm) under a position in the picture."""
        ratio = self.devicePixelRatioF()
        xy = (position.x() * ratio, self.node.GetDimensions()[1] - position.y() * ratio, 0.0, 1.0)
        return np.array(self.node.GetXYToRAS().MultiplyPoint(xy)[:3])

    def wheelEvent(self, event) -> None:
        notches = event.angleDelta().y() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._zoom(0.9**notches)
        else:
            self.move_by_slices(round(math.copysign(max(1, abs(notches)), notches)) if notches else 0)
        event.accept()

    def mousePressEvent(self, event) -> None:
        self._dragged_from = self.position_in_picture(event)
        if self._draws(event):
            self.brush(self.node, [self.ras_of(self._dragged_from)], True)

    def mouseMoveEvent(self, event) -> None:
        if self._dragged_from is None:
            return
        position = self.position_in_picture(event)
        moved = position - self._dragged_from
        if self._draws(event):
            # The mouse is seen every few pixels only: no gaps between.
            steps = max(1, math.ceil(math.hypot(moved.x(), moved.y()) / 2))
            between = [self._dragged_from + moved * ((n + 1) / steps) for n in range(steps)]
            self.brush(self.node, [self.ras_of(place) for place in between], False)
        elif event.buttons() & Qt.MouseButton.RightButton:
            self._zoom(1.01 ** moved.y())
        else:
            self._pan(moved)
        self._dragged_from = position

    def mouseReleaseEvent(self, event) -> None:
        self._dragged_from = None

    def mouseDoubleClickEvent(self, event) -> None:
        if self._draws(event):
            self.mousePressEvent(event)
        else:
            super().mouseDoubleClickEvent(event)

    def _draws(self, event) -> bool:
        left = event.buttons() & Qt.MouseButton.LeftButton
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        return bool(left) and plain and self.brush is not None and self.brush.is_active

    def _take_slider(self, position: int) -> None:
        self.logic.SetSliceOffset(self._lowest + position * self._step)

    def _zoom(self, factor: float) -> None:
        width, height, depth = self.node.GetFieldOfView()
        self.node.SetFieldOfView(width * factor, height * factor, depth)

    def _pan(self, moved: QtCore.QPointF) -> None:
        origin, size = self.node.GetXYZOrigin(), self.node.GetFieldOfView()
        scale = size[0] / max(1, self.picture.width())
        self.node.SetXYZOrigin(origin[0] - moved.x() * scale, origin[1] + moved.y() * scale, origin[2])
