"""The worker as a QProcess: Slicer's window stays responsive, because nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..client import LIBRARY_FOLDER, worker_command
from ..core import WorkerError
from ..core.messages import _
from ..core.slicer_python import environment_for

# Processes that are still saving their checkpoint before they end: Qt kills a process when its object is deleted.
_ending: list = []


class QProcessTransport:
    """See `client.Transport`. Callbacks come from Qt's event loop."""

    def __init__(self, command: list[str] | None = None):
        self._command = command
        self._process: Any = None  # Slicer's qt has no types
        self._on_end: Callable[[str], None] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.state() != qt.QProcess.NotRunning

    @property
    def process(self):
        return self._process

    def start(
        self, on_line: Callable[[bytes], None], on_log: Callable[[str], None], on_end: Callable[[str], None]
    ) -> None:
        """See `Transport.start`. If a program cannot be started, `on_end` is called."""
        program, *arguments = self._command or worker_command()
        self._on_end = on_end
        process = qt.QProcess()
        process.setWorkingDirectory(str(LIBRARY_FOLDER))
        environment = qt.QProcessEnvironment()
        for name, value in environment_for(program).items():
            environment.insert(name, value)
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", lambda: self._read_lines(on_line))
        process.connect("readyReadStandardError()", lambda: self._read_log(on_log))
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process = process
        process.start(program, arguments)
        if process.state() == qt.QProcess.NotRunning:
            self._process = None
            raise WorkerError(
                _("The worker process '{program}' cannot be started ({reason}).").format(
                    program=program, reason=process.errorString()
                )
            )

    def send(self, line: str) -> None:
        """See `Transport.send`."""
        if self._process is not None:
            self._process.write(line.encode("utf-8"))

    def close(self) -> None:
        """See `Transport.close`."""
        if self.is_running:
            _ending.append(self._process)
            self._process.closeWriteChannel()

    def _read_lines(self, on_line) -> None:
        while self._process is not None and self._process.canReadLine():
            on_line(bytes(self._process.readLine().data()))

    def _read_log(self, on_log) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", errors="replace")
        for line in text.splitlines():
            on_log(line)

    def _finished(self, code, status) -> None:
        self._end(
            _("crashed or was killed") if status == qt.QProcess.CrashExit else _("exit code {code}").format(code=code)
        )

    def _failed(self, error) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(_("it could not be started: {reason}").format(reason=self._process.errorString()))

    def _end(self, how: str) -> None:
        if self._process in _ending:
            _ending.remove(self._process)
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(how)
