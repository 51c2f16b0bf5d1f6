"""Qt's event loop, for what is done in small pieces so that the window goes on."""

from __future__ import annotations

from collections.abc import Callable

import qt


def later(action: Callable[[], None]) -> None:
    """Call a function from the event loop, as soon as what is waiting there has been looked after."""
    qt.QTimer.singleShot(0, action)
