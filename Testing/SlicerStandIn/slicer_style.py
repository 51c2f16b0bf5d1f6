"""The look of Slicer's light and dark style: Fusion, with Slicer's colours."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

_LIGHT = {
    "Window": "white",
    "WindowText": "black",
    "Base": "white",
    "AlternateBase": "#e4e4fe",
    "ToolTipBase": "#ffffdc",
    "ToolTipText": "black",
    "Text": "black",
    "PlaceholderText": "#a9a9a9",
    "Button": "#fcfcfc",
    "ButtonText": "black",
    "BrightText": "red",
    "Light": "#c8c8c8",
    "Midlight": "#e6e6e6",
    "Dark": "#aaaaaa",
    "Mid": "#c8c8c8",
    "Shadow": "#5a5a5a",
    "Highlight": "#308cc6",
    "HighlightedText": "white",
    "Link": "#0000ff",
}
_DARK = {
    "Window": "#323232",
    "WindowText": "white",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "ToolTipBase": "white",
    "ToolTipText": "#323232",
    "Text": "white",
    "PlaceholderText": "#d3d3d3",
    "Button": "#323232",
    "ButtonText": "white",
    "BrightText": "#ff4444",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Dark": "#232323",
    "Mid": "#2b2b2b",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "white",
    "Link": "#3ca4ff",
}
_LIGHT_DISABLED = {
    "WindowText": "#bebebe",
    "Base": "white",
    "Text": "#bebebe",
    "ButtonText": "#bebebe",
    "Highlight": "#919191",
    "HighlightedText": "white",
}
_DARK_DISABLED = {
    "WindowText": "#6d6d6d",
    "Base": "#1e1e1e",
    "Text": "#6d6d6d",
    "ButtonText": "#b4b4b4",
    "Highlight": "#505050",
    "HighlightedText": "#6d6d6d",
}


def apply(application: QApplication, dark: bool = False) -> None:
    """Give an application the look of Slicer."""
    application.setStyle(QStyleFactory.create("Fusion"))
    application.setPalette(palette_of(dark))


def palette_of(dark: bool) -> QPalette:
    """The colours of Slicer's dark or light style."""
    palette = QPalette()
    for role, colour in (_DARK if dark else _LIGHT).items():
        palette.setColor(QPalette.ColorRole[role], QColor(colour))
    for role, colour in (_DARK_DISABLED if dark else _LIGHT_DISABLED).items():
        palette.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole[role], QColor(colour))
    return palette
