"""The worker as a child process through the standard library, for scripts and the command line."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from ..core import Progress, WorkerError
from ..core.messages import _
from ..core.slicer_python import environment_for, worker_python
from .worker_client import Call, WorkerClient

IN_BACKGROUND = "--in-background"
LIBRARY_FOLDER = Path(__file__).resolve().parents[2]


def worker_command(python: str | None = None, in_background: bool = False) -> list[str]:
    """Command line of the worker, to be run in LIBRARY_FOLDER; `in_background`: it leaves the CPU to other programs."""
    options = [IN_BACKGROUND] if in_background else []
    return [python or worker_python(), "-m", "SparseAnnotateLib.worker", *options]


class SubprocessTransport:
    """Reads from the process in threads; callbacks run only inside `pump`, in the caller's thread."""

    def __init__(self, command: list[str]):
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.Queue[Callable[[], None]] = queue.Queue()
        self._is_running = False

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        return self._process

    @property
    def is_running(self) -> bool:
        return self._is_running

    def start(
        self, on_line: Callable[[bytes], None], on_log: Callable[[str], None], on_end: Callable[[str], None]
    ) -> None:
        """See `Transport.start`."""
        try:
            process = subprocess.Popen(
                self._command,
                cwd=LIBRARY_FOLDER,
                env=environment_for(self._command[0]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=os.name != "nt",
                # On Windows: no console window.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise WorkerError(
                _("The worker process '{command}' cannot be started ({reason}).").format(
                    command=self._command[0], reason=error.strerror
                )
            ) from error
        self._process, self._is_running = process, True
        readers = [
            threading.Thread(target=self._read, args=(stream, callback), daemon=True)
            for stream, callback in ((process.stdout, on_line), (process.stderr, lambda raw: on_log(_text(raw))))
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._await_end, args=(process, readers, on_end), daemon=True).start()

    def send(self, line: str) -> None:
        """See `Transport.send`. A process that has just ended is reported through `on_end`, not here."""
        if self._process is None or self._process.stdin is None:
            raise WorkerError(_("The worker process has not been started."))
        try:
            self._process.stdin.write(line.encode("utf-8"))
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            return

    def close(self) -> None:
        """See `Transport.close`."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for output of the process, and run the callbacks of everything received."""
        try:
            event = self._events.get(timeout=seconds)
            while True:
                event()
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _read(self, stream: IO[bytes], callback: Callable[[bytes], None]) -> None:
        for line in stream:
            self._events.put(partial(callback, line))

    def _await_end(
        self, process: subprocess.Popen[bytes], readers: list[threading.Thread], on_end: Callable[[str], None]
    ) -> None:
        code = process.wait()
        for reader in readers:
            reader.join()
        self._events.put(partial(self._end, on_end, code))

    def _end(self, on_end: Callable[[str], None], code: int) -> None:
        self._is_running = False
        on_end(_how_it_ended(code))


class BlockingWorker:
    """A worker for scripts: every call waits for its answer. Close it, or use it as a context manager.

    Example::

        with BlockingWorker() as worker:
            print(worker.call("environment", {})["message"])
    """

    def __init__(self, command: list[str] | None = None, while_waiting: Callable[[], None] | None = None):
        self.client = WorkerClient(lambda: SubprocessTransport(command or worker_command()))
        self._while_waiting = while_waiting

    def __enter__(self) -> BlockingWorker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, method: str, params: Any, on_progress: Callable[[Progress], None] | None = None) -> Any:
        """Send a request and return its result; raises the error that the worker reports. Ctrl-C cancels it."""
        call = self.client.request(method, params, on_progress)
        try:
            self._wait(call)
        except KeyboardInterrupt:
            self.client.cancel(call)
            self._wait(call)
        return call.value()

    def close(self) -> None:
        """End the process and wait until it has ended."""
        transport = self.client.transport
        self.client.close()
        while transport is not None and transport.is_running:
            transport.pump(0.1)

    def _wait(self, call: Call[SubprocessTransport]) -> None:
        while not call.is_done:
            # The call's own transport: the client drops it when it is closed, for example by `on_progress`.
            call.transport.pump(0.05)
            if self._while_waiting is not None:
                self._while_waiting()


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return _("killed by {signal}").format(signal=signal.Signals(-code).name)
        except ValueError:
            return _("killed by signal {number}").format(number=-code)
    return _("exit code {code}").format(code=code)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").rstrip()
