"""The client's half of the worker's protocol, for any transport: QProcess in Slicer, subprocess elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ..core import CancelledError, Progress, SparseAnnotateError, WorkerError
from . import jsonrpc

_LOG_LINES = 2000


class Transport(Protocol):
    """Starts the worker process and carries lines to it and from it. Calls back in the thread that owns the client.

    What makes it call back is its own matter: Qt's event loop, or whoever holds it (`SubprocessTransport.pump`).
    """

    def start(
        self, on_line: Callable[[bytes], None], on_log: Callable[[str], None], on_end: Callable[[str], None]
    ) -> None:
        """Start the process; WorkerError when it cannot be started. `on_end` is told how it ended, in words."""

    def send(self, line: str) -> None:
        """Write one line to the process."""

    def close(self) -> None:
        """Close the process's stdin, which ends it."""

    @property
    def is_running(self) -> bool: ...


AnyTransport = TypeVar("AnyTransport", bound=Transport)


@dataclass
class Call(Generic[AnyTransport]):
    """A request on its way.

    Attributes:
        method: what was asked.
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
        """The result; raises the error the worker answered with."""
        if self.error is not None:
            raise self.error
        return self.result


class WorkerClient(Generic[AnyTransport]):
    """Sends requests to a worker process and hands out answers. The process starts with the first request, stays
    between requests, and is started again by the next request if it died.

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
        """Ask the worker to stop a request; its answer, a CancelledError, comes as any other."""
        transport = self._transport
        if not call.is_done and transport is not None and transport.is_running:
            transport.send(jsonrpc.notification_line(jsonrpc.CANCEL, {"id": call.identifier}))

    def close(self) -> None:
        """End the worker: it saves the checkpoint of what it is at, and goes. The next request starts another."""
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
            self._add_log(f"Not understood: {line[:200]!r}")
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
            self._add_log(f"An answer nobody waits for: {line[:200]!r}")
            return
        if "error" in message:
            self._finish(call, error=_error_from(message["error"]))
        else:
            self._finish(call, result=message.get("result"))

    def _ended(self, transport: AnyTransport, how: str) -> None:
        if transport is self._transport:
            self._transport = None
        calls = [call for call in self._calls.values() if call.transport is transport]
        for call in calls:
            del self._calls[call.identifier]
            again = (
                " The run goes on from its last checkpoint when you train it again under the same name."
                if call.method == "train"
                else " Try again; the worker starts anew."
            )
            last = f" Its last words were: {self.log[-1]}" if self.log else ""
            self._finish(
                call, error=WorkerError(f"The worker process ended during '{call.method}' ({how}).{again}{last}")
            )

    def _finish(self, call: Call[AnyTransport], result: Any = None, error: SparseAnnotateError | None = None) -> None:
        call.result, call.error, call.is_done = result, error, True
        if call.on_done is not None:
            call.on_done(call)

    def _add_log(self, line: str) -> None:
        self.log.append(line)


def _error_from(error: dict[str, Any]) -> SparseAnnotateError:
    message = jsonrpc.error_message(error)
    return CancelledError(message) if error.get("code") == jsonrpc.REQUEST_CANCELLED else WorkerError(message)
