"""Keyboard shortcuts for the actions on each slice; active while the panel is shown, and listed in the tooltips."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

KEYS = {
    "nextButton": "N",
    "previousButton": "P",
    "drawnButton": "D",
    "emptyButton": "E",
    "startButton": "C",
}
"""Buttons and their keys. None is used by the Segment Editor (q w z y i, space, digits, arrows, Esc) or the slice
views (f b v g r t o s)."""


class Shortcuts:
    """Each key clicks its button if the button is enabled.

    Args:
        ui: the widgets by name. widget: used as the parent window if there is no main window.
    """

    def __init__(self, ui, widget):
        self._ui, self._widget = ui, widget
        self._installed: list = []
        for name, key in KEYS.items():
            button = getattr(ui, name)
            button.toolTip += "\n" + _("Key: {key}").format(key=key)

    def install(self) -> None:
        """Activate the shortcuts, unless they are active."""
        if self._installed:
            return
        window = slicer.util.mainWindow() or self._widget
        for name, key in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            # Clicking a disabled button has no effect.
            shortcut.connect("activated()", lambda name=name: getattr(self._ui, name).click())
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Deactivate the shortcuts."""
        for shortcut in self._installed:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []
