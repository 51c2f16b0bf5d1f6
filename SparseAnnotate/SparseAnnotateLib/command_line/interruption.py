"""What Ctrl-C and SIGTERM do to the command line: the first stops cleanly, the second at once, in a sentence."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal has ended what the program was doing.

    Not a KeyboardInterrupt: when one passes through `exec` of a string, as in the making of a dataclass, Python ends
    the process by SIGINT in the end, whatever exit code the program returns.
    """


class Interruption:
    """The signals that end the program, from its first moment to its last.

    Before the program has begun, while it is loaded, a signal ends the process. From then on the first one raises
    Interrupted, until `cancel` is set, because there is something to be kept: then the first calls `cancel` and the
    second raises Interrupted. When even that does not help, the next ends the process.

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
        """128 and the number of the signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def begin(self) -> None:
        """From now on the program has begun: what it is doing is ended by exceptions."""
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

    def _on_signal(self, number: int, _) -> None:
        if os.getpid() != self._process:
            os._exit(128 + number)  # in a process that was forked from this one, to load data say
        self.number = self.number or number
        self._times += 1
        patience = 0 if not self._has_begun else 1 if self.cancel is None else 2
        if self._times > patience:
            with suppress(OSError):  # nobody may be there to read it
                os.write(2, b"Cancelled.\n")
            os._exit(128 + number)
        if self._times == patience or self.cancel is None:
            raise Interrupted
        self.cancel()


INTERRUPTION = Interruption()
"""The one of this process."""
