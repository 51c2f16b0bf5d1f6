"""The client's side of the worker's protocol, for any transport: QProcess in Slicer, subprocess elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ..core import BusyError, CancelledError, Progress, SparseAnnotateError, WorkerError
from ..core.failed_cases import PartlyDoneError
from ..core.messages import _, joined
from . import jsonrpc

_LOG_LINES = 2000


class Transport(Protocol):
    """Starts the worker process and exchanges lines with it. Callbacks run in the thread that owns the client.

    Each transport decides what runs them: Qt's event loop, or the caller (`SubprocessTransport.pump`).
    """

    def start(
        self, on_line: Callable[[bytes], None], on_log: Callable[[str], None], on_end: Callable[[str], None]
    ) -> None:
        """Start the process; `on_end` gets a phrase on how it ended. Raises WorkerError when it cannot be started."""

    def send(self, line: str) -> None:
        """Write one line to the process."""

    def close(self) -> None:
        """Close the process's stdin, which ends it."""

    @property
    def is_running(self) -> bool: ...


AnyTransport = TypeVar("AnyTransport", bound=Transport)


@dataclass
class Call(Generic[AnyTransport]):
    """A request that was sent.

    Attributes:
        method: name of the request.
        transport: what carries the request and its answer.
        result, error: the answer once `is_done`.
    """

    method: str
    identifier: int
    transport: AnyTransport
    on_progress: Callable[[Progress], None] | None = None
    on_done: Callable[[Call[AnyTransport]], None] | None = None
    result: Any = None
    error: SparseAnnotateError | None = None
    is_done: bool = False

    def value(self) -> Any:
        """The result; raises the error that the worker reported."""
        if self.error is not None:
            raise self.error
        return self.result


class WorkerClient(Generic[AnyTransport]):
    """Sends requests to a worker process and distributes its answers. The process starts with the first request and
    keeps running between requests; if it ended, the next request starts another one.

    Example::

        client = WorkerClient(lambda: SubprocessTransport(worker_command()))
        call = client.request("environment", {}, on_done=lambda call: print(call.value()["message"]))
    """

    def __init__(self, new_transport: Callable[[], AnyTransport]):
        self._new_transport = new_transport
        self._transport: AnyTransport | None = None
        self._calls: dict[int, Call[AnyTransport]] = {}
        self._next = 1
        self.log: deque[str] = deque(maxlen=_LOG_LINES)

    @property
    def transport(self) -> AnyTransport | None:
        return self._transport

    @property
    def is_running(self) -> bool:
        return self._transport is not None and self._transport.is_running

    def request(
        self,
        method: str,
        params: Any,
        on_progress: Callable[[Progress], None] | None = None,
        on_done: Callable[[Call[AnyTransport]], None] | None = None,
    ) -> Call[AnyTransport]:
        """Send a request. Raises WorkerError when the process cannot be started."""
        transport = self._running_transport()
        call = Call(method, self._next, transport, on_progress, on_done)
        self._next += 1
        self._calls[call.identifier] = call
        transport.send(jsonrpc.request_line(call.identifier, method, params))
        return call

    def cancel(self, call: Call[AnyTransport]) -> None:
        """Ask the worker to stop a request; its answer is then a CancelledError."""
        transport = self._transport
        if not call.is_done and transport is not None and transport.is_running:
            transport.send(jsonrpc.notification_line(jsonrpc.CANCEL, {"id": call.identifier}))

    def close(self) -> None:
        """End the worker; a running training saves its checkpoint. The next request starts another worker."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _running_transport(self) -> AnyTransport:
        """The transport in use, or a new one. Raises WorkerError when its process cannot be started."""
        if self._transport is not None and self._transport.is_running:
            return self._transport
        transport = self._new_transport()
        transport.start(self._receive, self._add_log, lambda how: self._ended(transport, how))
        self._transport = transport
        return transport

    def _receive(self, line: bytes) -> None:
        try:
            message = jsonrpc.parsed(line)
        except ValueError:
            self._add_log(f"Unreadable message from the worker: {line[:200]!r}")
            return
        if message.get("method") == jsonrpc.PROGRESS:
            about, progress = jsonrpc.progress_from(message["params"])
            call = self._calls.get(about)
            if call is not None and call.on_progress is not None:
                call.on_progress(progress)
            return
        identifier = message.get("id")
        call = self._calls.pop(identifier, None) if isinstance(identifier, int) else None
        if call is None:
            self._add_log(f"Answer to no open request: {line[:200]!r}")
            return
        if "error" in message:
            self._finish(call, error=_error_from(message["error"]))
        else:
            self._finish(call, result=jsonrpc.result_of(message))

    def _ended(self, transport: AnyTransport, how: str) -> None:
        if transport is self._transport:
            self._transport = None
        calls = [call for call in self._calls.values() if call.transport is transport]
        for call in calls:
            del self._calls[call.identifier]
            sentences = [
                _("The worker process ended during '{job}' ({reason}).").format(job=call.method, reason=how),
                _("To resume the run from its last checkpoint, train it again under the same name.")
                if call.method == "train"
                else _("Try again; this starts a new worker process."),
            ]
            if self.log:
                sentences.append(_("Last log line: {line}").format(line=self.log[-1]))
            self._finish(call, error=WorkerError(joined(" ", sentences)))

    def _finish(self, call: Call[AnyTransport], result: Any = None, error: SparseAnnotateError | None = None) -> None:
        call.result, call.error, call.is_done = result, error, True
        if call.on_done is not None:
            call.on_done(call)

    def _add_log(self, line: str) -> None:
        self.log.append(line)


def _error_from(error: dict[str, Any]) -> SparseAnnotateError:
    message, data = jsonrpc.error_message(error), error.get("data")
    if error.get("code") == jsonrpc.REQUEST_CANCELLED:
        return CancelledError(message)
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(data, dict) and "shown" in data:
        return PartlyDoneError(message, data["shown"], data.get("failed", ()))
    return BusyError(message) if kind == BusyError.__name__ else WorkerError(message)
