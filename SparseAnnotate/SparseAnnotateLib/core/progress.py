"""Progress reports of long computations, and cancelling them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .errors import CancelledError
from .messages import _

STEP = "step"
"""The figure that says how many steps a model has taken that learns while slices are being drawn."""

_SLOWEST_PACE = 5.0
_SURE_UNTIL = 0.98


@dataclass(frozen=True)
class Progress:
    """One report: fraction done (0-1), what is being done, seconds left (None: not known yet), and figures."""

    fraction: float
    message: str
    seconds_left: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Watch:
    """Passes progress reports out of a long computation, and cancellation requests into it.

    `report` is called with a Progress, from the thread that does the work. `cancel` may be called from any thread;
    the work raises CancelledError at its next `step` or `check`.
    """

    def __init__(self, report: Callable[[Progress], None] | None = None):
        self._report = report
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise CancelledError if the work was asked to stop."""
        if self._cancelled.is_set():
            raise CancelledError(_("Cancelled."))

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        """Report progress, then raise CancelledError if the work was asked to stop."""
        if self._report is not None:
            self._report(Progress(min(max(float(fraction), 0.0), 1.0), message, seconds_left, metrics))
        self.check()

    def part(self, number: int, count: int, prefix: str = "") -> Watch:
        """A watch for part `number` of `count` equal parts of this work; it reports the seconds left for all parts."""
        return _PartWatch(self, number / count, 1 / count, prefix)

    def stage(
        self,
        seconds: Sequence[float],
        number: int,
        prefix: str = "",
        taken: dict[int, float] | None = None,
    ) -> Watch:
        """A watch for stage `number` of this work, whose stages were expected to take `seconds` each.

        The time left for later stages is their expected time, scaled by the ratio of actual to expected time of this
        stage and those before it. `taken` keeps the actual times and is shared by all stages of one computation.
        """
        return _StageWatch(self, seconds, number, prefix, {} if taken is None else taken)

    def quiet(self) -> Watch:
        """A watch that passes on cancellation requests but reports no progress."""
        return _QuietWatch(self)

    def saying(self, change: Callable[[str], str]) -> Watch:
        """A watch that passes on cancellation requests, and reports whose messages are changed."""
        return _SayingWatch(self, change)


class _QuietWatch(Watch):
    def __init__(self, whole: Watch):
        super().__init__()
        self._whole = whole

    @property
    def is_cancelled(self) -> bool:
        return self._whole.is_cancelled

    def check(self) -> None:
        self._whole.check()


class _SayingWatch(_QuietWatch):
    def __init__(self, whole: Watch, change: Callable[[str], str]):
        super().__init__(whole)
        self._change = change

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        self._whole.step(fraction, self._change(message), seconds_left, **metrics)


class _PartWatch(Watch):
    def __init__(self, whole: Watch, start: float, share: float, prefix: str):
        super().__init__()
        self._whole, self._start, self._share, self._prefix = whole, start, share, prefix
        self._began = time.monotonic()

    @property
    def is_cancelled(self) -> bool:
        return self._whole.is_cancelled

    def check(self) -> None:
        self._whole.check()

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        if seconds_left is not None:
            rest = (1 - self._start - self._share) / self._share
            seconds_left += rest * (time.monotonic() - self._began + seconds_left)
        self._whole.step(self._start + fraction * self._share, self._prefix + message, seconds_left, **metrics)


class _StageWatch(_PartWatch):
    def __init__(self, whole: Watch, seconds: Sequence[float], number: int, prefix: str, taken: dict[int, float]):
        total = max(sum(seconds), 1e-9)
        super().__init__(whole, sum(seconds[:number]) / total, seconds[number] / total, prefix)
        self._seconds, self._number, self._taken = seconds, number, taken

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        if seconds_left is not None:
            if fraction < _SURE_UNTIL:
                self._taken[self._number] = seconds_left / (1.0 - fraction)
            expected = sum(self._seconds[number] for number in self._taken)
            pace = sum(self._taken.values()) / expected if expected > 0 else 1.0
            pace = min(max(pace, 1 / _SLOWEST_PACE), _SLOWEST_PACE)
            seconds_left += sum(self._seconds[self._number + 1 :]) * pace
        self._whole.step(self._start + fraction * self._share, self._prefix + message, seconds_left, **metrics)


class RemainingTime:
    """Seconds left, from the pace of the most recent part of the work, because the start is often slower."""

    def __init__(self, total: int, start: int = 0, window: int = 50):
        self._total = total
        self._marks = [(time.monotonic(), start)]
        self._window = window

    def pause(self, seconds: float) -> None:
        """Exclude time that was spent on something other than this work."""
        self._marks = [(at + seconds, done) for at, done in self._marks]

    def after(self, done: int) -> float | None:
        """Seconds left when `done` of the total are done; None until two marks exist."""
        self._marks.append((time.monotonic(), done))
        self._marks = self._marks[-self._window :]
        (t0, n0), (t1, n1) = self._marks[0], self._marks[-1]
        if n1 <= n0:
            return None
        return (t1 - t0) / (n1 - n0) * max(self._total - done, 0)
