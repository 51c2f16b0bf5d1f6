"""The seconds a person actually spends on a slice."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_PAUSE = 60.0


class DrawingClock:
    """Counts the time since `start`; a pause of more than a minute counts as one minute.

    Args:
        now: returns the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._seconds = 0.0
        self._last: float | None = None

    def start(self) -> None:
        """Start timing another slice."""
        self._seconds, self._last = 0.0, self._now()

    def tick(self) -> None:
        """Note activity, such as a stroke or a click."""
        if self._last is not None:
            moment = self._now()
            self._seconds += min(moment - self._last, _LONGEST_PAUSE)
            self._last = moment

    def pause(self) -> None:
        """Stop while another module is shown: time spent there is not drawing time."""
        self.tick()
        self._last = None

    def resume(self) -> None:
        """Continue when the panel is shown again."""
        self._last = self._now()

    @property
    def seconds(self) -> float:
        """The seconds counted so far."""
        self.tick()
        return self._seconds
