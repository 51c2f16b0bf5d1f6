"""The seconds that somebody really spends on a slice."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_PAUSE = 60.0


class DrawingClock:
    """Counts from `start`, as long as something happens: a longer pause than a minute counts as a minute.

    Args:
        now: tells the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._seconds = 0.0
        self._last: float | None = None

    def start(self) -> None:
        """Begin with another slice."""
        self._seconds, self._last = 0.0, self._now()

    def tick(self) -> None:
        """Something has happened: a stroke, a click."""
        if self._last is not None:
            moment = self._now()
            self._seconds += min(moment - self._last, _LONGEST_PAUSE)
            self._last = moment

    def pause(self) -> None:
        """Another module is shown: what is done there is not drawing."""
        self.tick()
        self._last = None

    def go_on(self) -> None:
        """The panel is shown again."""
        self._last = self._now()

    @property
    def seconds(self) -> float:
        """Spent so far."""
        self.tick()
        return self._seconds
