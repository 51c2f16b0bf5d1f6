"""Requests to a worker as jobs: what must be prepared, the request itself, and what is made of its answer."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator
from typing import Any

from ..core import CancelledError, Progress, SparseAnnotateError, WorkerError
from .subprocess_transport import BlockingWorker, SubprocessTransport
from .worker_client import Call, Transport, WorkerClient

Steps = Generator[Progress | None, None, Any]
"""Work in small pieces: yields between them, with a Progress where there is something to tell, returns its result."""

_BESIDE_OTHERS = ("environment", "confidence")
_PIECES_SECONDS = 0.03


class Job:
    """Work that was started: cancelled through WorkerJobs, and done when its `on_done` has been called."""

    def __init__(
        self,
        method: str,
        on_done: Callable[[Any, SparseAnnotateError | None], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ):
        self.method = method
        self.is_done = False
        self.is_cancelled = False
        self.call: Call[Transport] | None = None
        self.on_done = on_done
        self.on_progress = on_progress


class WorkerJobs:
    """One job at a time, besides short questions; two ways to run it.

    `run` blocks, through a child process of its own. `start` returns at once, works through the given transport, and
    calls `on_done(result, error)` when the job has ended, from the event loop that drives the transport. What has to
    be done in this process is done piece by piece in between, so that the event loop never stands still for long.

    Args:
        new_transport: connects to a worker for jobs that are not waited for.
        while_waiting: called again and again while a job is waited for.
        later: calls a function from the event loop, soon; without it, started work is done at once.
    """

    def __init__(
        self,
        new_transport: Callable[[], Transport],
        while_waiting: Callable[[], None] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
    ):
        self._client = WorkerClient(new_transport)
        self._while_waiting = while_waiting
        self._later = later or (lambda action: action())
        self._blocking: BlockingWorker | None = None
        self._open: Job | None = None

    @property
    def is_busy(self) -> bool:
        """True while a started job has not ended."""
        return self._open is not None

    @property
    def at_work(self) -> str | None:
        """What the started job was asked for; None when there is none."""
        return self._open.method if self._open is not None else None

    @property
    def is_running(self) -> bool:
        """True while a worker process is there for started jobs."""
        return self._client.is_running

    @property
    def log(self) -> list[str]:
        """What the worker has written to stderr lately."""
        return list(self._client.log)

    @property
    def clients(self) -> list[WorkerClient[Transport] | WorkerClient[SubprocessTransport]]:
        """The clients of both ways, as far as they are in use."""
        return [self._client] if self._blocking is None else [self._client, self._blocking.client]

    def run(
        self,
        method: str | None,
        prepare: Steps | Any,
        finish: Callable[[Any], Steps | Any],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:
        """Do a job to its end and return its result; raises what went wrong. Arguments as for `start`."""
        answer = _through(prepare, on_progress)
        if method is not None:
            if self._blocking is None:
                self._blocking = BlockingWorker(while_waiting=self._while_waiting)
            answer = self._blocking.call(method, answer, on_progress)
        return _through(finish(answer), on_progress)

    def start(
        self,
        method: str | None,
        prepare: Steps | Any,
        finish: Callable[[Any], Steps | Any],
        on_done: Callable[[Any, SparseAnnotateError | None], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        name: str = "",
    ) -> Job:
        """Start a job.

        Args:
            method: the request to the worker; None for work that needs no worker, which then has a `name`.
            prepare: the request's parameters, or steps that return them.
            finish: makes the result from the worker's answer (without a request: from what `prepare` gave), at once or
                as steps.

        Raises WorkerError when another job is at work.
        """
        kind = method or name
        if self._open is not None and kind not in _BESIDE_OTHERS:
            raise WorkerError(
                f"The job '{self._open.method}' is being worked on. Wait until it has finished, or cancel it."
            )
        job = Job(kind, on_done, on_progress)
        if kind not in _BESIDE_OTHERS:
            self._open = job
        self._go_on(job, prepare, lambda params: self._ask(job, method, params, finish))
        return job

    def cancel(self) -> None:
        """Stop the started job; a training keeps its last checkpoint."""
        if self._open is not None:
            self._open.is_cancelled = True
            if self._open.call is not None:
                self._client.cancel(self._open.call)

    @property
    def is_asked(self) -> bool:
        """True while the worker is at the started job: nothing more is needed of this process."""
        return self._open is not None and self._open.call is not None

    def forget(self) -> None:
        """Tell nobody any more how the started job ends."""
        if self._open is not None:
            self._open.on_done = self._open.on_progress = None
            if self._open.call is not None:
                self._open.call.on_progress = None

    def close(self) -> None:
        """End the worker processes; a training at work saves its checkpoint."""
        if self._open is not None:
            self._open.is_cancelled = True
        self._client.close()
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None

    def _ask(self, job: Job, method: str | None, params: Any, finish: Callable[[Any], Any]) -> None:
        def answered(call: Call[Transport]) -> None:
            if call.error is not None:
                self._end(job, error=call.error)
            else:
                self._finish(job, finish, call.result)

        if method is None:
            self._finish(job, finish, params)
            return
        try:
            job.call = self._client.request(method, params, job.on_progress, answered)
        except Exception as problem:
            self._end(job, error=self._told(job, problem))

    def _finish(self, job: Job, finish: Callable[[Any], Any], answer: Any) -> None:
        job.call = None
        # What the worker has done is done: a wish to cancel that comes now would only throw it away.
        job.is_cancelled = False
        try:
            steps = finish(answer)
        except Exception as problem:
            self._end(job, error=self._told(job, problem))
            return
        self._go_on(job, steps, lambda result: self._end(job, result))

    def _go_on(self, job: Job, steps: Steps | Any, then: Callable[[Any], None]) -> None:
        """Do some pieces, and the others from the event loop; `then` takes what the steps return."""
        if not isinstance(steps, Generator):
            then(steps)
            return

        def some() -> None:
            until = time.monotonic() + _PIECES_SECONDS
            progress = None
            while time.monotonic() < until:
                if job.is_cancelled:
                    steps.close()
                    self._end(job, error=CancelledError("Cancelled."))
                    return
                try:
                    progress = next(steps) or progress
                except StopIteration as end:
                    then(end.value)
                    return
                except Exception as problem:
                    self._end(job, error=self._told(job, problem))
                    return
            if progress is not None and job.on_progress is not None:
                job.on_progress(progress)
            self._later(some)

        self._later(some)

    def _told(self, job: Job, problem: Exception) -> SparseAnnotateError:
        """An error as one of ours: whoever waits for the end must hear of it, whatever it was."""
        if isinstance(problem, SparseAnnotateError):
            return problem
        self._client.log.extend("".join(traceback.format_exception(problem)).splitlines())
        return WorkerError(f"The job '{job.method}' could not be done: {problem!r}. See the worker's log.")

    def _end(self, job: Job, result: Any = None, error: SparseAnnotateError | None = None) -> None:
        if self._open is job:
            self._open = None
        job.is_done = True
        if job.on_done is not None:
            job.on_done(result, error)


def _through(steps: Steps | Any, on_progress: Callable[[Progress], None] | None = None) -> Any:
    """What steps return, all of them done at once."""
    if not isinstance(steps, Generator):
        return steps
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None and on_progress is not None:
            on_progress(progress)
