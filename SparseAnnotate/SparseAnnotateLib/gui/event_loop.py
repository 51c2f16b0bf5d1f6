"""Qt's event loop, for work that is done in small pieces so that the window stays responsive."""

from __future__ import annotations

from collections.abc import Callable

import qt


def later(action: Callable[[], None]) -> None:
    """Call a function from the event loop, after the events that are pending now."""
    qt.QTimer.singleShot(0, action)
