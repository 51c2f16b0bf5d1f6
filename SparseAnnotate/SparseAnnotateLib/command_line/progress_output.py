"""Progress on stderr: a bar on a terminal, occasional lines in a log file."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..core import Progress as Report
from ..core.progress import STEP

_SHORTEST_SECONDS, _LONGEST_SECONDS = 2.0, 30.0


def reported_progress(with_time: bool = False) -> AbstractContextManager[Callable[[Report], None]]:
    """Provides a function that shows reports on stderr: as a bar on a terminal, as lines elsewhere.

    `with_time`: lines begin with date and time.
    """
    return progress_bar() if sys.stderr.isatty() else progress_lines(with_time)


@contextmanager
def progress_bar() -> Iterator[Callable[[Report], None]]:
    """A bar that is removed at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")

        def report(progress: Report) -> None:
            left = "" if progress.seconds_left is None else f"{progress.seconds_left:.0f} s left"
            bar.update(task, completed=progress.fraction, description=_description(progress), left=left)

        yield report


@contextmanager
def progress_lines(with_time: bool = False) -> Iterator[Callable[[Report], None]]:
    """Plain lines: at the start, whenever another kind of work begins, and after every 10 % or 30 seconds."""
    seen: set[str] = set()
    last_time, last_tenth = -_LONGEST_SECONDS, 0

    def report(progress: Report) -> None:
        nonlocal last_time, last_tenth
        now = time.monotonic()
        # Names and numbers, as in 'case_07' or 'step 3 of 12', do not make another kind of work.
        kind = re.sub(r"'[^']*'|\d+", "", progress.message)
        tenth = int(progress.fraction * 10 + 1e-9)
        is_due = now - last_time >= _LONGEST_SECONDS or (tenth > last_tenth and now - last_time >= _SHORTEST_SECONDS)
        if kind in seen and not is_due:
            return
        seen.add(kind)
        last_time, last_tenth = now, tenth
        left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
        with suppress(OSError):
            when = f"{datetime.now():%Y-%m-%d %H:%M:%S} " if with_time else ""
            sys.stderr.write(f"{when}{progress.fraction:4.0%} {_description(progress)}{left}\n")
            sys.stderr.flush()

    yield report


def _description(progress: Report) -> str:
    # The message has the step.
    figures = "  ".join(f"{name} {value:.3f}" for name, value in progress.metrics.items() if name != STEP)
    return f"{progress.message}  {figures}".strip()
