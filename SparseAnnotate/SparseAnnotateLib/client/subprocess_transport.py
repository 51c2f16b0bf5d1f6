"""The worker as a child process through the standard library, for scripts and the command line."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..core import Progress, WorkerError
from ..core.slicer_python import environment_for, worker_python
from .worker_client import Call, WorkerClient

LIBRARY_FOLDER = Path(__file__).resolve().parents[2]


def worker_command(python: str | None = None) -> list[str]:
    """Command line of the worker; to be started in LIBRARY_FOLDER."""
    return [python or worker_python(), "-m", "SparseAnnotateLib.worker"]


class SubprocessTransport:
    """Reads the process in threads; callbacks run only inside `pump`, in the caller's thread."""

    def __init__(self, command: list[str]):
        self._command = command
        self._process: subprocess.Popen | None = None
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._callbacks: dict[str, Callable] = {}

    @property
    def process(self) -> subprocess.Popen | None:
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and "end" in self._callbacks

    def start(self, on_line, on_log, on_end) -> None:
        """See `Transport.start`."""
        try:
            self._process = subprocess.Popen(
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
                f"The worker process '{self._command[0]}' cannot be started ({error.strerror})."
            ) from error
        self._callbacks = {"line": on_line, "log": lambda raw: on_log(_text(raw)), "end": on_end}
        readers = [
            threading.Thread(target=self._read, args=(stream, kind), daemon=True)
            for stream, kind in ((self._process.stdout, "line"), (self._process.stderr, "log"))
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._await_end, args=(readers,), daemon=True).start()

    def send(self, line: str) -> None:
        """See `Transport.send`. A process that has just died is reported by its end, not here."""
        try:
            self._process.stdin.write(line.encode("utf-8"))
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            return

    def close(self) -> None:
        """See `Transport.close`."""
        if self._process is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for something from the process, and run the callbacks of all there is."""
        try:
            event = self._events.get(timeout=seconds)
            while True:
                self._handle(*event)
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _handle(self, kind: str, content: bytes) -> None:
        callback = self._callbacks[kind]
        if kind == "end":
            self._callbacks = {}
            callback(_how_it_ended(self._process.returncode))
        else:
            callback(content)

    def _read(self, stream: IO[bytes], kind: str) -> None:
        for line in stream:
            self._events.put((kind, line))

    def _await_end(self, readers: list[threading.Thread]) -> None:
        self._process.wait()
        for reader in readers:
            reader.join()
        self._events.put(("end", b""))


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

    def __exit__(self, *_) -> None:
        self.close()

    def call(self, method: str, params, on_progress: Callable[[Progress], None] | None = None):
        """Send a request and return its result; raises what the worker answered. Ctrl-C cancels the request."""
        call = self.client.request(method, params, on_progress)
        try:
            self._wait(call)
        except KeyboardInterrupt:
            self.client.cancel(call)
            self._wait(call)
        return call.value()

    def close(self) -> None:
        """End the process and wait until it has gone."""
        transport = self.client.transport
        self.client.close()
        while transport is not None and transport.is_running:
            transport.pump(0.1)

    def _wait(self, call: Call) -> None:
        while not call.is_done:
            self.client.transport.pump(0.05)
            if self._while_waiting is not None:
                self._while_waiting()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").rstrip()
