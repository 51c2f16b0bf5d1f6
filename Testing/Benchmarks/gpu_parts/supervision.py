"""Runs the measuring in a process of its own: one that hangs, crashes or loses the GPU costs only what it was at.

Needs no package.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from .record import COULD_NOT_BEGIN, FAILED, GPU_LOST, SKIPPED, Record

_TRIES_AT_MOST = 20
_LAST_SECONDS = 3.0  # for ending the process


class Supervisor:
    """Starts the measuring process, again when it has died, until all is measured, the time is over, or it is stopped.

    Args:
        command: gives the command of the process for the seconds that are left.
        environment: of the process. record: the file it writes. end: on `time.monotonic`'s clock.
    """

    def __init__(
        self,
        command: Callable[[float], Sequence[str]],
        environment: dict[str, str],
        record: Path,
        end: float,
    ):
        self._command, self._environment, self._path, self._end = command, environment, record, end
        self._process: subprocess.Popen[bytes] | None = None
        self._signal = 0

    def run(self) -> int:
        """Returns the exit status: 0, 1 when something failed or differs, COULD_NOT_BEGIN, or 128 + a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        status = self._supervise()
        if status == COULD_NOT_BEGIN:
            return status
        record = Record(self._path)
        if record.content["running"] is not None:
            self._keep_unfinished(record, SKIPPED, reason=f"stopped in the middle: {record.content['stopped']}")
        return 128 + self._signal if self._signal else max(status, int(bool(record.problems())))

    def _supervise(self) -> int:
        """0, 1 when the process ended for an unknown reason, or COULD_NOT_BEGIN."""
        for _ in range(_TRIES_AT_MOST):
            left = self._end - time.monotonic()
            if left < 2 * _LAST_SECONDS:
                Record(self._path).note(stopped="the time was over")
                return 0
            self._process = subprocess.Popen(
                list(self._command(left - _LAST_SECONDS)), env=self._environment, start_new_session=True
            )
            if self._signal:  # it came before there was a process to end
                self._kill()
            try:
                status = self._process.wait(left)
            except subprocess.TimeoutExpired:
                self._kill()
                self._process.wait()
                Record(self._path).note(stopped="the time was over")
                return 0
            self._kill()  # what it may have left behind
            record = Record(self._path)
            if self._signal:
                record.note(stopped=signal.Signals(self._signal).name)
                return 0
            if status in (0, COULD_NOT_BEGIN):
                return status
            if record.content["running"] is not None:
                self._keep_unfinished(record, FAILED, traceback=f"the process ended with status {status}")
            elif status != GPU_LOST:
                record.note(stopped=f"the measuring process ended with status {status}")
                return 1
        return 1

    def _keep_unfinished(self, record: Record, result: str, **why: str) -> None:
        part, name = record.content["running"]
        record.add(part, name, result, **why)

    def _stop(self, number: int, frame: object) -> None:
        self._signal = number
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError, AttributeError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(OSError):
                self._process.kill()
