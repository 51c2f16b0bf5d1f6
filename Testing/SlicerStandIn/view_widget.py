"""A view as a Qt widget: a coloured bar over a picture that is rendered off-screen."""

from __future__ import annotations

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Qt

from . import slice_pictures, slicer_style

# A new picture at most this often while something changes all the time, as a slider that is dragged.
_MILLISECONDS = 50
_BAR_HEIGHT = 24


class ViewWidget(QtWidgets.QWidget):
    """A bar and a picture under it, drawn again when what it shows changes."""

    maximiseRequested = QtCore.Signal()

    def __init__(self, name: str, colour: tuple[float, float, float], view):
        super().__init__()
        self.name = name
        self.view = view
        self.bar = QtWidgets.QWidget()
        self.bar.setFixedHeight(_BAR_HEIGHT)
        self.bar.setAutoFillBackground(True)
        # The bar's colour is the same in both styles, and so must be what is on it.
        palette = slicer_style.palette_of(dark=False)
        palette.setColor(QtGui.QPalette.ColorRole.Window, QtGui.QColor.fromRgbF(*colour))
        self.bar.setPalette(palette)
        self.bar_layout = QtWidgets.QHBoxLayout(self.bar)
        self.bar_layout.setContentsMargins(8, 0, 8, 0)
        title = QtWidgets.QLabel(name[0])
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        title.setMinimumWidth(title.fontMetrics().horizontalAdvance("XX"))
        self.bar_layout.addWidget(title)
        self.picture = QtWidgets.QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.picture.setWordWrap(True)
        self.picture.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Ignored)
        self.picture.setMinimumSize(160, 120)
        self.picture.setStyleSheet("background-color: black; color: #d0d0d0; padding: 0px;")
        if view is None:
            self.picture.setMargin(24)
            self.picture.setText(f"No picture: this machine has no OpenGL. Install {slice_pictures.GL_PACKAGES}.")
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addWidget(self.picture, 1)
        self._drawing = False
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_MILLISECONDS)
        self._timer.timeout.connect(self.draw)
        if view is not None:
            view.on_change(self.draw_soon)

    def draw_soon(self) -> None:
        if not self._drawing and not self._timer.isActive():
            self._timer.start()

    def draw(self) -> None:
        """Bring the bar and the picture up to date, now."""
        self._timer.stop()
        self._drawing = True  # drawing touches nodes, which is not a reason to draw again
        try:
            self.update_bar()
            if self.view is not None:
                ratio = self.devicePixelRatioF()
                self.view.resize(round(self.picture.width() * ratio), round(self.picture.height() * ratio))
                pixmap = _pixmap(self.view.picture())
                pixmap.setDevicePixelRatio(ratio)
                self.annotate(pixmap)
                self.picture.setPixmap(pixmap)
        finally:
            self._drawing = False

    def update_bar(self) -> None:
        """Show on the bar what the nodes say."""

    def annotate(self, pixmap: QtGui.QPixmap) -> None:
        """Write onto the picture what Slicer writes there."""

    def release(self) -> None:
        self._timer.stop()
        if self.view is not None:
            self.view.close()
            self.view = None

    def resizeEvent(self, event) -> None:
        super().resizeEvent(event)
        self.draw_soon()

    def mouseDoubleClickEvent(self, event) -> None:
        self.maximiseRequested.emit()

    def position_in_picture(self, event) -> QtCore.QPointF:
        """Where on the picture a mouse event was, in pixels from its upper left corner."""
        return self.picture.mapFrom(self, event.position())


def _pixmap(pixels: np.ndarray) -> QtGui.QPixmap:
    rows, columns, _ = pixels.shape
    image = QtGui.QImage(pixels.tobytes(), columns, rows, columns * 3, QtGui.QImage.Format.Format_RGB888)
    return QtGui.QPixmap.fromImage(image)
