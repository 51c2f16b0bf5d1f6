"""The work of one part of a job, in the process that the command `job` starts; its outcome is left in files."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from ...core import BadInputError, BusyError, CancelledError, Cohort, Progress, RunError, SparseAnnotateError, Watch
from ...core.folder_lock import FolderLock
from ...core.messages import _, counted
from ...core.origin import run_fingerprint
from ...core.strict_json import from_plain
from .left_cases import inputs_of, is_up_to_date
from .records import CaseOutcome, JobFolder, JobRecord, PartFiles, PartOutcome, PartProgress
from .signs_of_life import is_job_process

WATCHER_VARIABLE = "SPARSE_ANNOTATE_WATCHER"
"""Names the process that watches over the work of a part."""

_REPORT_SECONDS = 2.0
_LOOK_SECONDS = 2.0
_BUSY_SECONDS = 600.0
_BUSY_LOOK_SECONDS = 1.0


def do_part(folder: str | Path, number: int, watch: Watch) -> PartOutcome:
    """Do a part of a job, and leave its outcome in the job's folder; a part that was stopped is continued.

    Under torchrun all processes call this, and the first one writes.

    Raises:
        BadInputError: when the folder is not that of a job, or it has no such part.
        SparseAnnotateError: what the request has raised. CancelledError: stopped by a signal.
    """
    job = JobFolder(Path(folder))
    record = job.record()
    if not 0 <= number < len(record.parts):
        raise BadInputError(_("The job '{folder}' has no part {number}.").format(folder=folder, number=number))
    files = job.part(number)
    told = _SavedProgress(watch, files)
    _stop_on_signals(told)
    try:
        with _stopped_when_left_alone(job, told):
            message = _work(record, number, files, told)
    except CancelledError:
        _leave(files, PartOutcome("stopped"))
        raise
    except SparseAnnotateError as error:
        _leave(files, PartOutcome("failed", str(error)))
        raise
    except MemoryError:
        _leave(files, PartOutcome("failed", _("Not enough memory. Ask for more, or use smaller patches.")))
        raise
    except Exception as error:
        problem = _("Unexpected error: {error}. See its log.").format(error=f"{type(error).__name__}: {error}")
        _leave(files, PartOutcome("failed", problem))
        raise
    outcome = PartOutcome("finished", message)
    _leave(files, outcome)
    return outcome


class _SavedProgress(Watch):
    """Passes reports on, and keeps the last one in the part's folder, for `jobs`."""

    def __init__(self, whole: Watch, files: PartFiles):
        super().__init__()
        self._whole, self._files = whole, files
        self._written = 0.0

    @property
    def is_cancelled(self) -> bool:
        return super().is_cancelled or self._whole.is_cancelled

    def check(self) -> None:
        super().check()
        self._whole.check()

    def step(self, fraction: float, message: str, seconds_left: float | None = None, **metrics: float) -> None:
        if time.monotonic() - self._written > _REPORT_SECONDS and _is_first():
            self._written = time.monotonic()
            seen = Progress(min(max(float(fraction), 0.0), 1.0), message, seconds_left, metrics)
            with suppress(SparseAnnotateError):  # the disk may be full for a while
                self._files.write_progress(PartProgress(seen.fraction, str(message), seconds_left, dict(metrics)))
        self._whole.step(fraction, message, seconds_left, **metrics)
        self.check()


def _stop_on_signals(watch: Watch) -> None:
    """However often and by which signal it is asked: the work saves what it has, and ends."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        watch.cancel()

    for name in ("SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)


@contextmanager
def _stopped_when_left_alone(job: JobFolder, watch: Watch) -> Iterator[None]:
    """Stop, too, when the job is cancelled, or the process that watches over this one is gone: nobody else could."""
    watcher, is_over = os.environ.get(WATCHER_VARIABLE, ""), threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            with suppress(OSError):  # a disk of another computer that is away for a while
                if job.is_cancelled or (watcher.isdecimal() and not _watches(int(watcher))):
                    watch.cancel()

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _watches(process: int) -> bool:
    return process == os.getppid() or is_job_process(process)


def _is_torchrun() -> bool:
    """Whether torchrun has started this process, which is then no child of the one that watches over it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _train(request: Any, watch: Watch) -> None:
    """Train, once a process that has been asked to stop, or whose node has failed, has let go of the run.

    Raises BusyError when another one trains it all the time, and what the training raises.
    """
    from .. import requests

    run = Cohort.open(request.cohort, request.state).run_folder(request.run)
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            if _is_torchrun() and _is_first():
                # The others wait for this process, and cannot begin again.
                with FolderLock(run, f"training the run '{request.run}'"):
                    pass
            requests.train(request, watch)
            return
        except BusyError as error:
            if time.monotonic() > until:
                raise
            watch.step(0.0, error.message)
            time.sleep(_BUSY_LOOK_SECONDS)


def _work(record: JobRecord, number: int, files: PartFiles, watch: Watch) -> str:
    from .. import requests

    source = _("the job '{id}'").format(id=record.id)
    if record.what == "train":
        request = from_plain(record.request, requests.TrainRequest, source)
        if _is_trained(request):
            return ""
        _train(request, watch)
        return ""
    request = from_plain(record.request, requests.PredictRequest, source)
    cohort, before = Cohort.open(request.cohort, request.state), files.cases()
    content = run_fingerprint(cohort.run_folder(request.run))
    if record.run_content and content != record.run_content:
        # Its results would be of two runs.
        raise RunError(
            _(
                "The run '{run}' is no longer the one that the job was submitted with: it has been trained again. "
                "Submit the prediction again."
            ).format(run=request.run)
        )

    def is_done(case: str) -> bool:
        found = before.get(case)
        return (
            found is not None
            and not found.problem
            and is_up_to_date(cohort, request.run, content, case, {found.result_changed: found.inputs})
        )

    cases = tuple(name for name in record.parts[number] if not is_done(name))
    if not cases:
        return ""

    inputs = {name: inputs_of(cohort, name) for name in cases}

    def keep(case: str, seconds: float, problem: str) -> None:
        changed = 0 if problem else cohort.prediction_path(request.run, case).stat().st_mtime_ns
        is_same = inputs[case] == inputs_of(cohort, case)
        files.add_case(CaseOutcome(case, problem, seconds, changed, inputs[case] if is_same else ""))

    _results, failed = requests.predict_each(replace(request, cases=cases), watch, keep)
    sentences = _("{count} case was not labeled."), _("{count} cases were not labeled.")
    return counted(len(failed), *sentences) if failed else ""


def _is_trained(request: Any) -> bool:
    """A job that was interrupted right after its run was finished has nothing left to do."""
    from ...runs.run_folder import RunFolder

    folder = RunFolder(Cohort.open(request.cohort, request.state).run_folder(request.run))
    return folder.is_finished and not request.live


def _leave(files: PartFiles, outcome: PartOutcome) -> None:
    if _is_first():
        files.write_outcome(outcome)


def _is_first() -> bool:
    """Whether this is the first of the processes that train together, or the only one."""
    return os.environ.get("RANK", "0") == "0"
