"""The progress of a training in `learning`, on stderr."""

from __future__ import annotations

import sys
import time

from SparseAnnotateLib.core import Progress, Watch

_SECONDS_BETWEEN_REPORTS = 30.0


class LearningProgress:
    """Prints the progress of a training from time to time, and keeps what it said of the time left.

    `watch` cancels the training.
    """

    def __init__(self, title: str, watch: Watch):
        self._title, self._watch, self._start = title, watch, time.monotonic()
        self._printed = -_SECONDS_BETWEEN_REPORTS
        self._told: list[tuple[float, float]] = []

    def __call__(self, progress: Progress) -> None:
        self._watch.check()
        now = time.monotonic() - self._start
        if progress.seconds_left:
            self._told.append((now, progress.seconds_left))
        if now - self._printed >= _SECONDS_BETWEEN_REPORTS:
            left = f", {progress.seconds_left / 60:.0f} min left" if progress.seconds_left else ""
            self.note(f"{progress.message} ({progress.fraction:.0%}{left})")

    def note(self, text: str) -> None:
        self._printed = time.monotonic() - self._start
        print(f"{time.strftime('%H:%M:%S')} {self._title}: {text}", file=sys.stderr, flush=True)

    def time_left(self, end: float) -> float | None:
        """The remaining time that was shown after one minute, divided by the actual remaining time."""
        total = end - self._start
        return next((left / (total - at) for at, left in self._told if 60.0 <= at < total), None)
