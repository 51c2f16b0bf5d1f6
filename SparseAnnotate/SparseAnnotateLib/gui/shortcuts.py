"""Keyboard shortcuts for the actions on each slice; active while the panel is shown, and listed in the tooltips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import qt
import slicer
from slicer.i18n import tr as _

KEYS = {
    "nextButton": "N",
    "previousButton": "P",
    "drawnButton": "D",
    "emptyButton": "E",
    "startButton": "C",
    "nextChannelButton": "X",
}
"""Buttons and their keys. None is used by the Segment Editor (q w z y i, space, digits, arrows, Esc) or the slice
views (f b v g r t o s)."""


class KeyActions:
    """Keys that do something while they are installed.

    Args:
        actions: by key. widget: used as the parent window if there is no main window.
    """

    def __init__(self, actions: Mapping[str, Callable[[], object]], widget):
        self._actions, self._widget = dict(actions), widget
        self._installed: list = []

    def install(self) -> None:
        """Activate the keys, unless they are active."""
        if self._installed:
            return
        window = slicer.util.mainWindow() or self._widget
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", action)
            self._installed.append(shortcut)

    def remove(self) -> None:
        """Deactivate the keys."""
        for shortcut in self._installed:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._installed = []


class Shortcuts(KeyActions):
    """Each key clicks its button if the button is enabled.

    Args:
        ui: the widgets by name. widget: used as the parent window if there is no main window.
    """

    def __init__(self, ui, widget):
        # Clicking a disabled button has no effect.
        super().__init__({key: partial(_click, ui, name) for name, key in KEYS.items()}, widget)
        for name, key in KEYS.items():
            getattr(ui, name).toolTip += "\n" + _("Key: {key}").format(key=key)


def _click(ui, name: str) -> None:
    getattr(ui, name).click()
