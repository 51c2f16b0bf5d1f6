"""A process on a host, or here, that answers requests; calls may come from several threads."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from ..client import Call, SubprocessTransport, WorkerClient, jsonrpc
from ..core import CancelledError, Progress, SparseAnnotateError, Watch, WorkerError
from ..core.messages import _
from .ssh import Ssh
from .ssh_errors import SSH_FAILED, ConnectionLostError, not_started, ssh_problem

_LOG_LINES = 40
_CANCEL_LOOK_SECONDS = 0.1
_FIRST_ANSWER_SECONDS = 45.0
_FROM_SCHEDULER = re.compile(r"(srun|salloc|sbatch|qsub|qrsh|bsub): ")
_ALIVE_SECONDS = 5.0
_ALIVE = jsonrpc.notification_line(jsonrpc.ALIVE, {})


class HostConnection:
    """Requests to one process; it starts with the first, and again when it has ended.

    Args:
        command: its command line, made again for each start. host: '' for a process on this computer.
        what: the program as messages name it.
        first: sent to the process before the first request.
        cancels: the process knows how to cancel a request; one on a host that does not is ended, and one
            that is only starting when no other request waits for it.
        is_prompt: the process starts at once: it waits in no queue.
        may_wait: it may wait in a queue before it starts. What the scheduler writes then is reported, such as 'srun:
            job 7 queued and waiting for resources'.

    Raises ConnectionLostError when the connection cannot be made or breaks; WorkerError when the process ends.
    """

    def __init__(
        self,
        command: Callable[[], Sequence[str]],
        host: str,
        what: str,
        first: str = "",
        cancels: bool = True,
        is_prompt: bool = False,
        may_wait: bool = False,
    ):
        self._command, self._host, self._what, self._first = command, host, what, first
        self._cancels, self._is_prompt, self._may_wait = cancels, is_prompt, may_wait
        self._lock = threading.RLock()
        self._lines: deque[str] = deque(maxlen=_LOG_LINES)
        self._client = WorkerClient(self._new_transport)
        self._open: set[int] = set()
        self._has_answered = False
        self._starts = 0

    @property
    def starts(self) -> int:
        """How many times the process has been started."""
        return self._starts

    @property
    def is_running(self) -> bool:
        with self._lock:
            return self._client.is_running

    @property
    def has_answered(self) -> bool:
        """Whether the process has said anything since it was started; before, it may wait in a queue."""
        return self._has_answered

    def call(self, method: str, params: Any, watch: Watch | None = None) -> Any:
        """Send a request and wait for its answer; raises the error that it reports. Cancelling `watch` cancels it."""
        done = threading.Event()
        watch = watch or Watch()

        def on_progress(progress: Progress) -> None:
            self._has_answered = True
            with suppress(CancelledError):
                watch.step(progress.fraction, progress.message, progress.seconds_left, **progress.metrics)
            cancel_once()

        has_ended, is_asked = False, False

        def cancel_once() -> None:
            nonlocal is_asked
            if watch.is_cancelled and self._cancels and not is_asked:
                is_asked = True
                with self._lock:
                    self._client.cancel(call)

        def on_done(call: Call[_LockedTransport]) -> None:
            nonlocal has_ended
            has_ended = call.transport.is_ending
            done.set()

        with self._lock:
            call = self._client.request(method, params, on_progress, on_done)
            self._open.add(call.identifier)
        latest = time.monotonic() + _FIRST_ANSWER_SECONDS
        shown = ""
        try:
            while not done.wait(_CANCEL_LOOK_SECONDS):
                is_starting = bool(self._host) and not self._has_answered
                if watch.is_cancelled and (is_starting or not self._cancels):
                    self._leave(call)
                    watch.check()
                if is_starting and self._may_wait and (line := self._last_of_scheduler()) not in ("", shown):
                    shown = line
                    with suppress(CancelledError):
                        watch.step(0.0, _("waiting for '{host}': {line}").format(host=self._host, line=line))
                if self._is_prompt and not self._has_answered and time.monotonic() > latest:
                    self.kill()
                    raise self._does_not_start()
                cancel_once()
        finally:
            with self._lock:
                self._open.discard(call.identifier)
        if has_ended:
            raise self._ended(call.transport.code)
        self._has_answered = True
        return call.value()

    def _leave(self, call: Call[_LockedTransport]) -> None:
        """Wait no longer for a request; the process that is to answer it ends unless it is to answer others, too."""
        with self._lock:
            self._open.discard(call.identifier)
            if self._open and self._cancels:
                self._client.cancel(call)
            else:
                self.kill()

    def _last_of_scheduler(self) -> str:
        """The last line that a scheduler wrote; not what a shell or a library says."""
        with self._lock:
            return next((line for line in reversed(self._lines) if _FROM_SCHEDULER.match(line)), "")

    def close(self) -> None:
        """End the process by closing its stdin."""
        with self._lock:
            self._client.close()
            self._has_answered = False

    def kill(self) -> None:
        """End the connection at once."""
        with self._lock:
            transport = self._client.transport
            self._client.close()
        if transport is not None and transport.process is not None:
            transport.process.kill()

    def _new_transport(self) -> _LockedTransport:
        self._lines.clear()
        self._has_answered = False
        self._starts += 1
        # What is on a host ends when it hears nothing for a while: a connection that is cut off may stay open there.
        return _LockedTransport(list(self._command()), self._lock, self._keep_line, self._first, bool(self._host))

    def _does_not_start(self) -> ConnectionLostError:
        return ConnectionLostError(
            _(
                "The host '{host}' accepts the connection, but '{program}' did not answer there within {seconds:.0f} "
                "s. Try 'ssh {host} {program} --version' in a terminal: it must end by itself, without a question."
            ).format(host=self._host, program=self._what, seconds=_FIRST_ANSWER_SECONDS),
            may_return=True,
        )

    def _keep_line(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
        print(line, file=sys.stderr, flush=True)

    def _ended(self, code: int) -> SparseAnnotateError:
        with self._lock:
            lines, was_connected = list(self._lines), self._has_answered
        if not self._host:
            return WorkerError(_("The worker process ended (exit code {code}). Try again.").format(code=code))
        if code == SSH_FAILED or code < 0:
            return ssh_problem(self._host, lines, was_connected)
        if was_connected:
            return WorkerError(
                _(
                    "The process on the host '{host}' ended (exit code {code}): it may have been killed, or its time "
                    "may be over. Last line of its log: {line}. Try again; this starts another one."
                ).format(host=self._host, code=code, line=lines[-1] if lines else _("none"))
            )
        return not_started(self._host, self._what, code, lines)


class _LockedTransport(SubprocessTransport):
    """Runs its callbacks in a thread of its own, one at a time with the requests.

    Attributes:
        is_ending: while those who wait are told that the process has ended. code: its exit code then.
    """

    def __init__(
        self,
        command: list[str],
        lock: AbstractContextManager[Any],
        keep: Callable[[str], None],
        first: str,
        says_alive: bool,
    ):
        super().__init__(command)
        self._lock, self._keep, self._first, self._says_alive = lock, keep, first, says_alive
        self.is_ending = False
        self.code = 0

    def start(
        self, on_line: Callable[[bytes], None], on_log: Callable[[str], None], on_end: Callable[[str], None]
    ) -> None:
        """See `Transport.start`."""

        def locked_line(line: bytes) -> None:
            with self._lock:
                on_line(line)

        def logged(line: str) -> None:
            self._keep(line)
            on_log(line)

        def ended(how: str) -> None:
            with self._lock:
                self.is_ending, self.code = True, (self.process.returncode if self.process is not None else 0)
                on_end(how)

        super().start(locked_line, logged, ended)
        if self._first:
            self.send(self._first)
        threading.Thread(target=self._pump, daemon=True).start()

    def _pump(self) -> None:
        said = time.monotonic()
        while self.is_running:
            self.pump(1.0)
            if self._says_alive and time.monotonic() - said > _ALIVE_SECONDS:
                said = time.monotonic()
                with self._lock, suppress(ValueError):  # closed meanwhile
                    self.send(_ALIVE)


def keeper_connection(ssh: Ssh, python: str) -> HostConnection:
    """The program that keeps the files on a host; see `on_host`."""
    source = (Path(__file__).parent / "on_host.py").read_text(encoding="utf-8")
    length = len(source.encode("utf-8"))
    # Read to the byte: what follows on the same stream are requests.
    start = f"import sys;exec(compile(sys.stdin.buffer.read({length}),'on_host.py','exec'))"
    return HostConnection(
        lambda: ssh.command([python, "-c", start]), ssh.host, python, first=source, cancels=False, is_prompt=True
    )
