"""The requests on jobs: submit one, ask how far they are, read a log, cancel."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...core import BadInputError, Cohort, FileWriteError, Watch
from ...core.folder_lock import FolderLock
from ...core.messages import _, counted
from ...core.origin import run_fingerprint
from ...core.strict_json import from_plain, to_plain
from ...remote.run_on_host import require_here
from ...runs.job_states import EngineChoice, JobKind, JobState, SubmittedJob
from ...runs.plan import require_cases
from ...runs.run_folder import RunFolder
from ..train_request import chosen_settings
from . import slurm_queue
from .left_cases import left_cases
from .records import JobFolder, JobRecord, chosen_jobs, job_folders, jobs_folder, new_job_folder, now
from .signs_of_life import cluster_ids
from .states import ended_state, job_states, log_path, log_text
from .submission import ClusterOptions, chosen_engine, hand_over
from .submission_checks import check_request, refuse_cluster_options, refuse_path

if TYPE_CHECKING:
    from ..requests import PredictRequest, TrainRequest

CASES_PER_JOB = 50
MOST_PARTS = 1000
"""Of an array of jobs: Slurm's own limit is 1001 unless a cluster has raised it."""

LOG_LINES = 100
_LOCK_SECONDS = 60.0
_RECORD_SECONDS = 10.0


@dataclass(frozen=True)
class SubmitRequest:
    """Hand a training, or the prediction of cases, to Slurm or to this computer; it needs no process of ours.

    Attributes:
        state: see `Cohort.open`. request: the other fields of a TrainRequest or PredictRequest.
        engine: 'auto': Slurm where `sbatch` is found, otherwise this computer.
        gpus: of a training, or of each part of a prediction; 0: none in Slurm, on this computer what is there.
        hours: time limit of each start in Slurm; a job that reaches it saves a checkpoint and is queued again.
        cpus, memory_gb: of each part, in Slurm; None: what the cluster gives.
        partition, account, qos, slurm_options: see `ClusterOptions`.
        scratch: a folder on the disk of the node, such as '$TMPDIR', for caches and temporary files. Without it caches
            are in the state folder, where all parts find them, and temporary files where TMPDIR says.
        cases_per_job: of a prediction; None: CASES_PER_JOB, and more where this would make over MOST_PARTS parts.
    """

    cohort: str
    what: JobKind
    request: dict[str, Any]
    state: str | None = None
    engine: EngineChoice = "auto"
    gpus: int = 0
    hours: float = 4.0
    cpus: int | None = None
    memory_gb: float | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    slurm_options: dict[str, str] = field(default_factory=dict)
    cases_per_job: int | None = None
    scratch: str | None = None


@dataclass(frozen=True)
class JobsRequest:
    """How far jobs are: these, or all of a cohort, oldest first."""

    cohort: str
    state: str | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobLogRequest:
    """The last lines of a job's log; `part`: of this part, by default of the first that failed or is running.

    Raises BadInputError without any lines.
    """

    cohort: str
    id: str
    state: str | None = None
    lines: int = LOG_LINES
    part: int | None = None

    def __post_init__(self) -> None:
        if self.lines < 1:
            raise BadInputError(_("Ask for at least one line of the log."))


@dataclass(frozen=True)
class CancelJobsRequest:
    """Cancel these jobs; a training saves a checkpoint first."""

    cohort: str
    ids: tuple[str, ...]
    state: str | None = None


def submit(request: SubmitRequest, watch: Watch) -> SubmittedJob:
    """Submit a job, and return its id. A run that a job is training already is not submitted again.

    Raises:
        BadInputError: no engine, options that it does not take, nothing to learn from, images that are not those that
            were drawn on, nothing to predict, or what the engine says.
        RunError: a run to train that has finished, or one to predict with that has not. CohortError.
    """
    from .. import requests

    watch.check()
    check_request(request)
    engine = chosen_engine(request.engine)
    if engine == "local":
        refuse_cluster_options(request)
    cohort = Cohort.open(request.cohort, request.state)
    refuse_path(cohort.state_folder, engine)
    work = _work_of(request, cohort)
    run = RunFolder(cohort.run_folder(work.run))
    if request.what == "train":
        _require_trainable(cohort, run, work.cases, watch)
    with FolderLock(jobs_folder(cohort), _("submitting a job"), wait_seconds=_LOCK_SECONDS):
        if request.what == "train":
            run.require_unfinished()
            if states := _live_trainings(cohort, work.run, job_folders(cohort)):
                return _already_training(states[0])
            return _submitted(request, engine, cohort, work, ((),), 0, "")
        run.card()
        assert isinstance(work, requests.PredictRequest)
        return _submit_prediction(request, engine, cohort, work, run_fingerprint(run.path))


def jobs(request: JobsRequest, watch: Watch) -> list[JobState]:
    """How far the jobs are. Raises BadInputError when there is no such job."""
    watch.check()
    cohort = Cohort.open(request.cohort, request.state)
    return job_states(cohort, chosen_jobs(cohort, request.ids))


def job_log(request: JobLogRequest, watch: Watch) -> str:
    """The text; '' when the job has written nothing yet. Raises BadInputError when there is no such job or part."""
    watch.check()
    return log_text(part_log(request), request.lines)


def part_log(request: JobLogRequest) -> str:
    """Path of the log that is asked for; '' before the job has been submitted. Raises as `job_log`."""
    cohort = Cohort.open(request.cohort, request.state)
    (job,) = chosen_jobs(cohort, (request.id,))
    record = job.record()
    if request.part is None:
        (state,) = job_states(cohort, [job])
        return state.log
    if not 0 <= request.part < len(record.parts):
        raise BadInputError(
            _("Job {id} has no part {part}; its parts are 0 to {last}.").format(
                id=request.id, part=request.part, last=len(record.parts) - 1
            )
        )
    return str(log_path(job, record, request.part) or "")


def cancel_jobs(request: CancelJobsRequest, watch: Watch) -> list[JobState]:
    """Ask jobs to stop, and return their states; those that have ended stay as they are.

    Raises BadInputError when there is no such job, none is named, or Slurm does not answer; FileWriteError.
    """
    watch.check()
    cohort = Cohort.open(request.cohort, request.state)
    if not request.ids:
        raise BadInputError(_("Name the jobs to cancel."))
    chosen = chosen_jobs(cohort, request.ids)
    states = job_states(cohort, chosen)
    # All are told before Slurm is asked, also those that only seem to have ended: they look for the file of this.
    problem: FileWriteError | None = None
    for job in chosen:
        try:
            if ended_state(job) is None:
                job.cancel()
        except FileWriteError as error:
            problem = error  # the disk may be full; Slurm can be asked all the same
    for job, state in zip(chosen, states, strict=True):
        if state.engine == "slurm" and state.cluster_ids:
            _cancel_in_slurm(job, state)
    if problem is not None:
        raise problem
    return job_states(cohort, chosen)


def _cancel_in_slurm(job: JobFolder, state: JobState) -> None:
    """Also where the files of a job say that it has ended: what Slurm still runs of it must not go on."""
    try:
        known = slurm_queue.queue_entries(state.cluster_ids)
        slurm_queue.cancel(_whole_jobs([one for one, entry in known.items() if entry.is_live]))
    except slurm_queue.SlurmUnavailable as error:
        raise BadInputError(
            _("Job {id} will stop, but Slurm does not answer: {reason}.").format(id=job.path.name, reason=error)
        ) from error


def _work_of(request: SubmitRequest, cohort: Cohort) -> TrainRequest | PredictRequest:
    """The request that the job is to answer, with absolute paths. Raises BadInputError, CohortError."""
    from .. import requests

    source = _("the request '{method}'").format(method=request.what)
    places = {"cohort": str(cohort.folder), "state": str(cohort.state_folder)}
    plain = {**to_plain(request.request), **places}
    work: TrainRequest | PredictRequest
    if request.what == "train":
        work = from_plain(plain, requests.TrainRequest, source)
        assert isinstance(work, requests.TrainRequest)
        if work.live:
            raise _no_live_job()
        # What is wrong with them must not be found out only when the job has waited in the queue.
        chosen_settings(work, device="cpu")
    else:
        work = from_plain(plain, requests.PredictRequest, source)
    if request.what == "train":
        cohort.select(work.cases)
    else:
        cohort.chosen(work.cases)  # its job names each case that cannot be labeled
    return work


def _no_live_job() -> BadInputError:
    return BadInputError(
        _(
            "A job cannot learn from slices while they are drawn: there is nobody to stop it. Use 'train --live', or "
            "submit a training under another name, without '--live'."
        )
    )


def _require_trainable(cohort: Cohort, run: RunFolder, chosen: Sequence[str], watch: Watch) -> None:
    """What a training requires of its cases must not be found out only when the job has waited in the queue."""
    require_here(cohort, run.name)
    if run.is_started:
        plan = run.plan()
        if plan.is_live:
            raise _no_live_job()
        run.require_unfinished()
        cohort.select(list(plan.cases))
        cohort.require_images_drawn_on(plan.cases, watch)
        return
    names = list(chosen) or cohort.annotated_cases()
    require_cases(names, cohort.name)
    cohort.require_images_drawn_on(names, watch)
    for name in chosen:
        cohort.annotation(name).require_drawn(name)


def _live_trainings(cohort: Cohort, run: str, jobs: Sequence[JobFolder]) -> list[JobState]:
    """The states of those jobs that train this run, and wait or run."""
    states = job_states(cohort, [job for job in jobs if job.record_path.is_file() and not job.is_cancelled])
    return [state for state in states if (state.what, state.run) == ("train", run) and state.is_live]


def _already_training(state: JobState) -> SubmittedJob:
    message = _("Job {id} is already training the run '{run}'.").format(id=state.id, run=state.run)
    return SubmittedJob(state.id, state.engine, state.cluster_ids, message)


def _earlier_training(cohort: Cohort, run: str, job: JobFolder) -> JobState | None:
    """Another job that has begun to train this run at the same time, where the file system has no locks.

    Of two jobs the one with the lower number goes on: each looks once its own record is written.
    """
    earlier = [one for one in job_folders(cohort) if int(one.path.name) < int(job.path.name)]
    until = time.monotonic() + _RECORD_SECONDS
    while any(_is_being_written(one, job) for one in earlier) and time.monotonic() < until:
        time.sleep(0.1)
    states = _live_trainings(cohort, run, earlier)
    return states[0] if states else None


def _is_being_written(job: JobFolder, later: JobFolder) -> bool:
    """Whether the record of a job may still come: its folder was made a moment before the record of a later one."""
    try:
        return not job.record_path.is_file() and (
            later.record_path.stat().st_mtime - job.path.stat().st_mtime < _RECORD_SECONDS
        )
    except OSError:
        return False  # it has been withdrawn


def _submitted(
    request: SubmitRequest,
    engine: Any,
    cohort: Cohort,
    work: TrainRequest | PredictRequest,
    parts: tuple[tuple[str, ...], ...],
    kept: int,
    run_content: str,
) -> SubmittedJob:
    job = new_job_folder(cohort)
    record = JobRecord(
        id=job.path.name,
        what=request.what,
        run=work.run,
        engine=engine,
        request=to_plain(work),
        parts=parts,
        submitted=now(),
        gpus=request.gpus,
        hours=request.hours if engine == "slurm" else None,
        cpus=request.cpus,
        memory_gb=request.memory_gb,
        host=socket.gethostname(),
        kept=kept,
        run_content=run_content,
        scratch=request.scratch,
        visible_gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )
    options = ClusterOptions(
        partition=request.partition,
        account=request.account,
        qos=request.qos,
        hours=request.hours,
        cpus=request.cpus,
        memory_gb=request.memory_gb,
        gpus=request.gpus,
        slurm_options=request.slurm_options,
    )
    try:
        job.write_record(record)
        if request.what == "train" and (earlier := _earlier_training(cohort, work.run, job)) is not None:
            job.remove()
            return _already_training(earlier)
    except BaseException:
        job.remove()
        raise
    try:
        record = replace(record, cluster_ids=hand_over(job, options))
        job.write_record(record)
    except BadInputError:
        job.remove()  # the engine has refused it
        raise
    except BaseException:
        _withdraw(job, record)
        raise
    if job.is_cancelled:
        _withdraw(job, record)  # while it was being submitted
    place = _("Slurm") if engine == "slurm" else _("this computer")
    if request.what == "train":
        message = _("Job {id} trains the run '{run}' on {place}.").format(id=record.id, run=work.run, place=place)
    else:
        count = sum(map(len, parts))
        cases = counted(count, _("{count} case"), _("{count} cases"))
        in_parts = counted(len(parts), _("{count} part"), _("{count} parts"))
        message = _("Job {id} labels {cases} with the run '{run}' on {place}, in {parts}.").format(
            id=record.id, cases=cases, run=work.run, place=place, parts=in_parts
        )
    return SubmittedJob(record.id, engine, record.cluster_ids, message)


def _withdraw(job: JobFolder, record: JobRecord) -> None:
    """Stop a job that the engine may have taken although its submission has failed: it must not run unseen."""
    with suppress(FileWriteError):
        job.cancel()
    ids: tuple[str, ...] = ()
    with suppress(BadInputError):
        ids = cluster_ids(job, record)
    if record.engine == "slurm":
        with suppress(slurm_queue.SlurmUnavailable):
            if not ids:  # sbatch may have taken it all the same
                (ids,) = slurm_queue.ids_of_scripts_in([job.log_folder])
            slurm_queue.cancel(_whole_jobs(ids))
        return
    for one in ids:
        with suppress(OSError, ValueError):
            os.kill(int(one), signal.SIGTERM)


def _whole_jobs(ids: Sequence[str]) -> list[str]:
    """The numbers of jobs without those of the tasks of an array."""
    return sorted({one.partition("_")[0] for one in ids})


def _submit_prediction(
    request: SubmitRequest, engine: Any, cohort: Cohort, work: PredictRequest, run_content: str
) -> SubmittedJob:
    found = left_cases(cohort, work, run_content)
    if not found.left and found.being_done:
        job = JobFolder(jobs_folder(cohort) / next(iter(found.being_done.values()))).record()
        message = _("Job {id} is already labeling these cases.").format(id=", ".join({*found.being_done.values()}))
        return SubmittedJob(job.id, job.engine, job.cluster_ids, message)
    if not found.left:
        message = _("All {count} cases have been labeled before.").format(count=len(found.labeled))
        return SubmittedJob("", engine, (), message)
    size = request.cases_per_job or max(CASES_PER_JOB, -(-len(found.left) // MOST_PARTS))
    parts = tuple(tuple(found.left[start : start + size]) for start in range(0, len(found.left), size))
    if len(parts) > MOST_PARTS:
        raise BadInputError(
            _("{count} parts are more than a cluster takes at once ({most}). Ask for more cases per job.").format(
                count=len(parts), most=MOST_PARTS
            )
        )
    return _submitted(request, engine, cohort, work, parts, len(found.labeled), run_content)
