"""Keys for what is done once for every slice; installed while the panel is shown, and told in the tooltips."""

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
"""Button and its key. None of them is used by the Segment Editor (q w z y i, space, digits, arrows, Esc) or the slice
views (f b v g r t o s)."""


class Shortcuts:
    """Each key clicks its button, when that can be clicked.

    Args:
        ui: the widgets by name. widget: stands for the window where there is no main window.
    """

    def __init__(self, ui, widget):
        self._ui, self._widget = ui, widget
        self._installed: list = []
        for name, key in KEYS.items():
            button = getattr(ui, name)
            button.toolTip += "\n" + _("Key: {key}").format(key=key)

    def install(self) -> None:
        """Make the keys work; does nothing when they do."""
        if self._installed:
            return
        window = slicer.util.mainWindow() or self._widget
        for name, key in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            # A disabled button does nothing when it is clicked.
            shortcut.connect("activated()", lambda name=name: getattr(self._ui, name).click())
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Leave the keys to others."""
        for shortcut in self._installed:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []
