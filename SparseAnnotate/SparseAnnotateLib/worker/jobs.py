"""Requests to a worker as jobs: waited for, or started and reported when they have ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ..core import Progress, SparseAnnotateError, WorkerError
from .client import Call, Transport, WorkerClient
from .subprocess_transport import BlockingWorker

_BESIDE_OTHERS = ("environment",)


class WorkerJobs:
    """One job at a time, besides short questions; two ways to run it.

    `wait_for` blocks, through a child process of its own. `start` returns at once, through the given transport, and
    calls `on_done(result, error)` when the job has ended, from the event loop that drives the transport.

    Args:
        new_transport: connects to a worker for jobs that are not waited for.
        while_waiting: called again and again while a job is waited for.
    """

    def __init__(self, new_transport: Callable[[], Transport], while_waiting: Callable[[], None] | None = None):
        self._client = WorkerClient(new_transport)
        self._while_waiting = while_waiting
        self._blocking: BlockingWorker | None = None
        self._open: Call | None = None

    @property
    def is_busy(self) -> bool:
        """True while a started job has not ended."""
        return self._open is not None

    @property
    def log(self) -> list[str]:
        """What the worker has written to stderr lately."""
        return list(self._client.log)

    @property
    def clients(self) -> list[WorkerClient]:
        """The clients of both ways, as far as they are in use."""
        return [self._client] + ([self._blocking.client] if self._blocking is not None else [])

    def wait_for(self, method: str, params: Any, on_progress: Callable[[Progress], None] | None = None) -> Any:
        """Run a job to its end and return its result; raises what the worker answered."""
        if self._blocking is None:
            self._blocking = BlockingWorker(while_waiting=self._while_waiting)
        return self._blocking.call(method, params, on_progress)

    def start(
        self,
        method: str,
        params: Any,
        finish: Callable[[Any], Any],
        on_done: Callable[[Any, SparseAnnotateError | None], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Call:
        """Start a job; `finish` makes the final result from the worker's answer.

        Raises WorkerError when another job is at work or the worker cannot be started.
        """
        if self.is_busy and method not in _BESIDE_OTHERS:
            raise WorkerError(f"'{self._open.method}' is being worked on. Wait until it has finished, or cancel it.")

        def done(call: Call) -> None:
            if self._open is call:
                self._open = None
            result, error = None, call.error
            if error is None:
                try:
                    result = finish(call.result)
                except SparseAnnotateError as problem:
                    error = problem
                except Exception as problem:  # whoever waits for the end must hear of it, whatever it was
                    self._client.log.extend(traceback.format_exc().splitlines())
                    error = WorkerError(f"The result of '{method}' could not be used: {problem!r}. See the log.")
            if on_done is not None:
                on_done(result, error)

        call = self._client.request(method, params, on_progress, done)
        if method not in _BESIDE_OTHERS and not call.is_done:
            self._open = call
        return call

    def cancel(self) -> None:
        """Stop the started job; a training keeps its last checkpoint."""
        if self._open is not None:
            self._client.cancel(self._open)

    def close(self) -> None:
        """End the worker processes; a training at work saves its checkpoint."""
        self._client.close()
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None
