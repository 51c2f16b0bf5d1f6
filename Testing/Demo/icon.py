"""Draws the extension's icon: `python -m Demo.icon`.

A block of a scan with a structure in it. On a few slices the structure is drawn (strong), between them it is filled.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter, QPainterPath, QPen, QTransform

PROJECT = Path(__file__).resolve().parents[2]
PLACES = (
    PROJECT / "Resources" / "SparseAnnotate.png",
    PROJECT / "SparseAnnotate" / "Resources" / "Icons" / "SparseAnnotate.png",
)
SIZE = 128
# Half the width and height of the upper face, and the height of the block.
_WIDTH, _DEPTH, _HEIGHT = 60.0, 30.0, 62.0
_DRAWN_AT, _THICKNESS = (32.0, 71.0), 15.0  # percent of the height, from above
_SLICE, _EDGE = QColor(255, 255, 255, 120), QColor(255, 255, 255, 110)


def icon(size: int = SIZE) -> QImage:
    """The icon on a transparent ground."""
    image = QImage(size, size, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / SIZE, size / SIZE)
    middle, upper = SIZE / 2, (SIZE - _HEIGHT) / 2
    # A face is a square of side 100, skewed; (0, 0) is its upper left corner.
    top = QTransform(_WIDTH, -_DEPTH, _WIDTH, _DEPTH, middle - _WIDTH, upper)
    left = QTransform(_WIDTH, _DEPTH, 0, _HEIGHT, middle - _WIDTH, upper)
    right = QTransform(_WIDTH, -_DEPTH, 0, _HEIGHT, middle, upper + _DEPTH)
    _draw_side(painter, left, scan="#3f7cc4", filled="#ffd9b3", drawn="#ff6a13")
    _draw_side(painter, right, scan="#28599a", filled="#f7b985", drawn="#e2540a")
    _draw_top(painter, top, scan="#6fa8e6", drawn="#ff6a13")
    painter.setPen(QPen(_EDGE, 1.5))
    corner = QPointF(middle, upper + _DEPTH)
    for end in (QPointF(middle - _WIDTH, upper), QPointF(middle + _WIDTH, upper), corner + QPointF(0, _HEIGHT)):
        painter.drawLine(corner, end)
    painter.end()
    return image


def _draw_top(painter: QPainter, face: QTransform, scan: str, drawn: str) -> None:
    with _OnFace(painter, face, scan):
        painter.setPen(QPen(QColor("white"), 5.5))
        painter.setBrush(QColor(drawn))
        painter.drawEllipse(QPointF(50, 50), 36, 36)


def _draw_side(painter: QPainter, face: QTransform, scan: str, filled: str, drawn: str) -> None:
    structure = QPainterPath()
    structure.addEllipse(QPointF(50, 50), 37, 42)
    slices = QPainterPath()
    for place in _DRAWN_AT:
        slices.addRect(QRectF(0, place - _THICKNESS / 2, 100, _THICKNESS))
    with _OnFace(painter, face, scan):
        painter.fillPath(slices, _SLICE)
        painter.fillPath(structure, QColor(filled))
        painter.fillPath(slices & structure, QColor(drawn))


class _OnFace:
    """Draws on a square of side 100 as if on a face of the block, which is filled first."""

    def __init__(self, painter: QPainter, face: QTransform, colour: str):
        self.painter, self.face, self.colour = painter, face, colour

    def __enter__(self) -> None:
        self.painter.save()
        self.painter.setTransform(self.face, True)
        self.painter.scale(0.01, 0.01)
        # Slightly beyond the edge, so that the background does not show between two faces.
        self.painter.fillRect(QRectF(-0.5, -0.5, 101, 101), QColor(self.colour))

    def __exit__(self, *error) -> None:
        self.painter.restore()


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QGuiApplication.instance() or QGuiApplication([])
    for place in PLACES:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not icon().save(str(place)):
            print(f"'{place}' could not be written.", file=sys.stderr)
            return 1
    application.quit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
