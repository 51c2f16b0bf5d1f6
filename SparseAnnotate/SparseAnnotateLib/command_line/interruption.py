"""Ctrl-C and SIGTERM on the command line: the first stops cleanly, the second immediately, both with a sentence."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal has interrupted the program.

    This is not a KeyboardInterrupt: if one passes through `exec` of a string, as when a dataclass is made, Python ends
    the process by SIGINT, regardless of the exit code that the program returns.
    """


class Interruption:
    """Handles the signals that end the program, from its start to its end.

    While the program is loading, a signal ends the process. After `begin`, the first signal raises Interrupted. Once
    `cancel` is set, because there are results to keep, the first signal calls `cancel` and the second raises
    Interrupted. One further signal ends the process. So does a signal that comes while a module is imported: an
    exception would have to pass through C++ code that loads it, and that may abort the process.

    Example::

        with Interruption() as interruption:
            interruption.begin()
            interruption.cancel = watch.cancel
            ...
    """

    def __init__(self):
        self.cancel: Callable[[], None] | None = None
        self.number = 0
        self._times = 0
        self._before: dict[int, signal._HANDLER] = {}
        self._process = os.getpid()
        self._has_begun = False

    @staticmethod
    def is_program(name: str) -> bool:
        """True when the process was started as the program `name`."""
        return os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0] == name

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def begin(self) -> None:
        """The program is loaded: from now on signals raise exceptions."""
        self._has_begun = True

    def install(self) -> None:
        """Catch the signals from now on."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}

    def __enter__(self) -> Interruption:
        self.number, self._times = 0, 0
        self.install()
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before, self.cancel, self._has_begun = {}, None, False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            os._exit(128 + number)  # in a process forked from this one, for example to load data
        self.number = self.number or number
        self._times += 1
        patience = 0 if not self._has_begun else 1 if self.cancel is None else 2
        is_raised = self._times == patience or self.cancel is None
        if self._times > patience or (is_raised and _is_importing(frame)):
            with suppress(OSError):  # stderr may be closed
                os.write(2, b"Cancelled.\n")
            os._exit(128 + number)
        if self.cancel is None or is_raised:
            raise Interrupted
        self.cancel()


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that called it, imports a module."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


INTERRUPTION = Interruption()
"""The instance of this process."""
