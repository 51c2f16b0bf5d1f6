"""Jobs: preparation in this process, a request to the worker, and the processing of its answer."""

from __future__ import annotations

import inspect
import logging
import time
import traceback
from collections.abc import Callable, Generator
from typing import Any

from ..core import CancelledError, Progress, SparseAnnotateError, WorkerError
from ..core.failed_cases import PartlyDoneError
from ..core.messages import _
from ..core.pieces import Piece
from .subprocess_transport import BlockingWorker, SubprocessTransport
from .worker_client import Call, Transport, WorkerClient

Steps = Generator[Progress | Piece | None, None, Any]
"""Work in small pieces: yields after each, with a Progress if there is one to report, and returns its result.

Instead of that it may yield a `Piece`: after `NEXT_IS_LONG` the event loop runs before it continues, and after
`NEXT_IS_KEPT` it is not cancelled any more.
"""

EXPORT = "export"
"""The name of a job that writes what was drawn while another one is learning from it."""

CORRECTION = "correction"
"""The name of a job that finds what follows from a stroke, while any other one is running."""

_CONCURRENT = ("environment", "confidence", "provenance", "slice", "apply", EXPORT, CORRECTION)
_PIECES_SECONDS = 0.03
_LOG = logging.getLogger(__name__)


class Job:
    """Work that was started: it can be cancelled through WorkerJobs, and is done once `on_done` has been called.

    `is_kept`: True once a cancellation request comes too late, see `Piece.NEXT_IS_KEPT`.
    """

    def __init__(
        self,
        method: str,
        on_done: Callable[[Any, SparseAnnotateError | None], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ):
        self.method = method
        self.is_done = False
        self.is_cancelled = False
        self.is_kept = False
        self.call: Call[Transport] | None = None
        self.steps: Generator[Any, None, Any] | None = None
        self.on_done = on_done
        self.on_progress = on_progress


class WorkerJobs:
    """Runs one job at a time, apart from short requests, in one of two ways.

    `run` blocks, and uses its own child process. `start` returns immediately, works through the given transport, and
    calls `on_done(result, error)` when the job has ended, from the event loop that drives the transport. Work in this
    process is divided into small pieces, so that the event loop is never blocked for long.

    Args:
        new_transport: connects to a worker, for `start`.
        while_waiting: called repeatedly while `run` waits.
        later: schedules a function on the event loop; without it, started work is done immediately.
        command: the command line for `run`, when its process is started; None: the worker on this computer.

    Attributes:
        failed_cases: the cases that a request could not do, while `finish` is called with what it has done of others.
    """

    def __init__(
        self,
        new_transport: Callable[[], Transport],
        while_waiting: Callable[[], None] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
        command: Callable[[], list[str] | None] | None = None,
    ):
        self._command = command or (lambda: None)
        self._client = WorkerClient(new_transport)
        self._while_waiting = while_waiting
        self._later = later or (lambda action: action())
        self._blocking: BlockingWorker | None = None
        self._open: Job | None = None
        self._unfinished: set[Job] = set()
        self._is_abandoned = False
        self.failed_cases: tuple[str, ...] = ()

    @property
    def is_busy(self) -> bool:
        """True while a started job has not ended."""
        return self._open is not None

    @property
    def at_work(self) -> str | None:
        """The request of the started job; None when there is none."""
        return self._open.method if self._open is not None else None

    @property
    def is_running(self) -> bool:
        """True while the worker process of started jobs is running."""
        return self._client.is_running

    @property
    def log(self) -> list[str]:
        """The last lines that the worker has written to stderr."""
        return list(self._client.log)

    @property
    def clients(self) -> list[WorkerClient[Transport] | WorkerClient[SubprocessTransport]]:
        """The clients of `start` and `run` that are in use."""
        return [self._client] if self._blocking is None else [self._client, self._blocking.client]

    def run(
        self,
        method: str | None,
        prepare: Steps | Any,
        finish: Callable[[Any], Steps | Any],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Any:
        """Do a job and return its result; raises its error. Arguments as for `start`."""
        self.failed_cases = ()
        answer = _through(prepare, on_progress)
        if method is not None:
            if self._blocking is None:
                self._blocking = BlockingWorker(self._command(), while_waiting=self._while_waiting)
            try:
                answer = self._blocking.call(method, answer, on_progress)
            except PartlyDoneError as error:
                self.failed_cases = error.failed
                _through(finish(error.shown), on_progress)
                raise
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
            finish: makes the result from the worker's answer (without a request: from the result of `prepare`), or
                returns steps that do.

        Raises WorkerError when another job is running.
        """
        kind = method or name
        if self._open is not None and kind not in _CONCURRENT:
            raise WorkerError(
                _("The job '{job}' is still running. Wait until it has finished, or cancel it.").format(
                    job=self._open.method
                )
            )
        job = Job(kind, on_done, on_progress)
        self._unfinished.add(job)
        if kind not in _CONCURRENT:
            self._open = job
        self._continue(job, prepare, lambda params: self._ask(job, method, params, finish))
        return job

    def cancel(self) -> None:
        """Stop the started job; a training run keeps its last checkpoint."""
        if self._open is not None:
            self._open.is_cancelled = True
            if self._open.call is not None:
                self._client.cancel(self._open.call)

    @property
    def is_waiting_for_worker(self) -> bool:
        """True while the worker processes the started job: this process has nothing to do before the answer."""
        return self._open is not None and self._open.call is not None

    def forget(self) -> None:
        """Stop calling the callbacks of the started jobs, those of short requests, too."""
        for job in self._unfinished:
            job.on_done = job.on_progress = None
            if job.call is not None:
                job.call.on_progress = None

    def abandon(self) -> None:
        """Stop all work in this process where it is, and call nobody any more. No job has a result from now on."""
        self.forget()
        self._is_abandoned = True
        for job in self._unfinished:
            job.is_cancelled = True
            if job.steps is not None:
                self._close_steps(job, job.steps)

    def _close_steps(self, job: Job, steps: Generator[Any, None, Any]) -> None:
        if inspect.getgeneratorstate(steps) == inspect.GEN_RUNNING:
            return  # one of its steps has led here
        try:
            steps.close()
        except Exception:  # the other jobs are to be stopped, too
            _LOG.exception(f"The job '{job.method}' could not be stopped without an error.")

    def close(self) -> None:
        """End the worker processes; a running training saves its checkpoint."""
        if self._open is not None:
            self._open.is_cancelled = True
        self._client.close()
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None

    def _ask(self, job: Job, method: str | None, params: Any, finish: Callable[[Any], Any]) -> None:
        self.failed_cases = ()

        def answered(call: Call[Transport]) -> None:
            if isinstance(call.error, PartlyDoneError):
                self.failed_cases = call.error.failed
                self._finish(job, finish, call.error.shown, call.error)
            elif call.error is not None:
                self._end(job, error=call.error)
            else:
                self._finish(job, finish, call.result)

        if method is None:
            self._finish(job, finish, params)
            return
        try:
            job.call = self._client.request(method, params, job.on_progress, answered)
        except Exception as problem:
            self._end(job, error=self._expected_error(job, problem))

    def _finish(
        self, job: Job, finish: Callable[[Any], Any], answer: Any, error: SparseAnnotateError | None = None
    ) -> None:
        """Use an answer; `error`: reported afterwards, when it is that of a part of what was asked."""
        job.call = None
        # The worker has finished: a cancellation request that comes now would only discard its result.
        job.is_cancelled = self._is_abandoned
        if job.is_cancelled:
            self._end(job, error=CancelledError(_("Cancelled.")))
            return
        try:
            steps = finish(answer)
        except Exception as problem:
            self._end(job, error=self._expected_error(job, problem))
            return
        self._continue(job, steps, lambda result: self._end(job, result if error is None else None, error))

    def _continue(self, job: Job, steps: Steps | Any, then: Callable[[Any], None]) -> None:
        """Run the steps from the event loop, some at a time; `then` is called with their result."""
        if not isinstance(steps, Generator):
            then(steps)
            return
        job.steps = steps

        def run_some() -> None:
            until = time.monotonic() + _PIECES_SECONDS
            progress = found = None
            while time.monotonic() < until and found is not Piece.NEXT_IS_LONG:
                if self._is_abandoned or (job.is_cancelled and not job.is_kept):
                    steps.close()
                    self._end(job, error=CancelledError(_("Cancelled.")))
                    return
                try:
                    found = next(steps)
                    progress = found if isinstance(found, Progress) else progress
                    job.is_kept |= found is Piece.NEXT_IS_KEPT
                except StopIteration as end:
                    then(end.value)
                    return
                except Exception as problem:
                    self._end(job, error=self._expected_error(job, problem))
                    return
            if progress is not None and job.on_progress is not None:
                job.on_progress(progress)
            self._later(run_some)

        self._later(run_some)

    def _expected_error(self, job: Job, problem: Exception) -> SparseAnnotateError:
        """The error itself if it is one of the project's; any other as a WorkerError, with its traceback in the log."""
        if isinstance(problem, SparseAnnotateError):
            return problem
        self._client.log.extend("".join(traceback.format_exception(problem)).splitlines())
        return WorkerError(
            _("The job '{job}' failed: {error}. See the worker's log.").format(job=job.method, error=repr(problem))
        )

    def _end(self, job: Job, result: Any = None, error: SparseAnnotateError | None = None) -> None:
        if self._open is job:
            self._open = None
        self._unfinished.discard(job)
        job.is_done = True
        if job.on_done is not None:
            job.on_done(result, error)


def _through(steps: Steps | Any, on_progress: Callable[[Progress], None] | None = None) -> Any:
    """The result of steps, run to their end."""
    if not isinstance(steps, Generator):
        return steps
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            return end.value
        if isinstance(progress, Progress) and on_progress is not None:
            on_progress(progress)
