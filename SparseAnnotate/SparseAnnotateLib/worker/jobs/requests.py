"""The requests on jobs: submit one, ask how far they are, read a log, cancel."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...core import BadInputError, Cohort, Watch
from ...core.folder_lock import FolderLock
from ...core.messages import _, counted, joined
from ...core.origin import run_fingerprint
from ...core.strict_json import from_plain, to_plain
from ...runs.job_states import EngineChoice, JobKind, JobState, SubmittedJob
from ...runs.run_folder import RunFolder
from ..train_request import chosen_settings
from . import slurm_queue
from .left_cases import left_cases
from .records import JobFolder, JobRecord, chosen_jobs, jobs_folder, new_job_folder, now
from .states import job_states, log_path, log_text
from .submission import ClusterOptions, chosen_engine, hand_over

if TYPE_CHECKING:
    from ..requests import PredictRequest, TrainRequest

CASES_PER_JOB = 50
MOST_PARTS = 1000
"""Of an array of jobs: Slurm's own limit is 1001 unless a cluster has raised it."""

LOG_LINES = 100
_LOCK_SECONDS = 60.0
_OWN_OPTIONS = ("array", "error", "open-mode", "output", "signal")


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
    """The last lines of a job's log; `part`: of this part, by default of the first that failed or is running."""

    cohort: str
    id: str
    state: str | None = None
    lines: int = LOG_LINES
    part: int | None = None


@dataclass(frozen=True)
class CancelJobsRequest:
    """Cancel these jobs; a training saves a checkpoint first."""

    cohort: str
    ids: tuple[str, ...]
    state: str | None = None


def submit(request: SubmitRequest, watch: Watch) -> SubmittedJob:
    """Submit a job, and return its id. A run that a job is training already is not submitted again.

    Raises:
        BadInputError: no engine, options that it does not take, nothing to predict, or what the engine says.
        RunError: a run to train that has finished, or one to predict with that has not. CohortError.
    """
    from .. import requests

    watch.check()
    _check(request)
    engine = chosen_engine(request.engine)
    if engine == "local":
        _refuse_cluster_options(request)
    cohort = Cohort.open(request.cohort, request.state)
    work = _work_of(request, cohort)
    run = RunFolder(cohort.run_folder(work.run))
    with FolderLock(jobs_folder(cohort), _("submitting a job"), wait_seconds=_LOCK_SECONDS):
        if request.what == "train":
            run.require_unfinished()
            for job, state in _live_jobs(cohort, request.what, work.run):
                message = _("Job {id} is already training the run '{run}'.").format(id=state.id, run=work.run)
                return SubmittedJob(state.id, state.engine, job.record().cluster_ids, message)
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
    if request.lines < 1:
        raise BadInputError(_("Ask for at least one line of the log."))
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

    Raises BadInputError when there is no such job, none is named, or Slurm does not answer.
    """
    watch.check()
    cohort = Cohort.open(request.cohort, request.state)
    if not request.ids:
        raise BadInputError(_("Name the jobs to cancel."))
    chosen = chosen_jobs(cohort, request.ids)
    for job, state in zip(chosen, job_states(cohort, chosen), strict=True):
        if not state.is_live:
            continue
        job.cancel()
        # A local job looks for the file that this leaves.
        if state.engine == "slurm":
            try:
                slurm_queue.cancel(sorted({one.partition("_")[0] for one in state.cluster_ids}))
            except slurm_queue.SlurmUnavailable as error:
                raise BadInputError(
                    _("Job {id} will stop, but Slurm does not answer: {reason}.").format(id=state.id, reason=error)
                ) from error
    return job_states(cohort, chosen)


def _check(request: SubmitRequest) -> None:
    """Raise BadInputError for numbers and options that cannot be."""
    numbers: Mapping[str, tuple[float | None, float]] = {
        "gpus": (request.gpus, 0),
        "cpus": (request.cpus, 1),
        "cases_per_job": (request.cases_per_job, 1),
    }
    for name, (value, least) in numbers.items():
        if value is not None and value < least:
            raise BadInputError(
                _("'{name}' must be at least {least:g}, not {value}.").format(name=name, least=least, value=value)
            )
    for name, amount in (("hours", request.hours), ("memory_gb", request.memory_gb)):
        if amount is not None and not 0 < amount < 1e6:
            raise BadInputError(_("'{name}' must be more than 0, not {value:g}.").format(name=name, value=amount))
    if request.what == "predict" and request.gpus > 1:
        raise BadInputError(_("A prediction uses one GPU for each part. Ask for one GPU, and for fewer cases per job."))
    for name, text in request.slurm_options.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or "\n" in text:
            raise BadInputError(
                _("'{name}' is not an option of sbatch. Write it without dashes before it: 'constraint=a100'.").format(
                    name=name
                )
            )
        if name in _OWN_OPTIONS:
            raise BadInputError(
                _("The option '{name}' of sbatch is set by SparseAnnotate. Leave it out.").format(name=name)
            )


def _refuse_cluster_options(request: SubmitRequest) -> None:
    given = {
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
        "cpus": request.cpus,
        "memory_gb": request.memory_gb,
        "slurm_options": request.slurm_options,
    }
    names = [f"'{name}'" for name, value in given.items() if value]
    if names:
        raise BadInputError(
            _(
                "{names} is for Slurm, and this job would run on this computer. Leave it out, or submit where 'sbatch' "
                "is found: on a login node of the cluster."
            ).format(names=joined(", ", names))
        )


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
            raise BadInputError(
                _("A job cannot learn from slices while they are drawn: there is nobody to stop it. Leave out 'live'.")
            )
        # What is wrong with them must not be found out only when the job has waited in the queue.
        chosen_settings(work, device="cpu")
    else:
        work = from_plain(plain, requests.PredictRequest, source)
    cohort.select(work.cases)
    return work


def _live_jobs(cohort: Cohort, what: JobKind, run: str) -> list[tuple[JobFolder, JobState]]:
    """The jobs of a run that wait or run."""
    chosen = [job for job in chosen_jobs(cohort, ()) if (job.record().what, job.record().run) == (what, run)]
    states = job_states(cohort, chosen)
    return [(job, state) for job, state in zip(chosen, states, strict=True) if state.is_live and not job.is_cancelled]


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
        record = replace(record, cluster_ids=hand_over(job, options))
        job.write_record(record)
    except BaseException:
        job.remove()
        raise
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
