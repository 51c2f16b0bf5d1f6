"""How far jobs are: from the files that they write, the processes of this computer, and what Slurm says."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...core import BadInputError, Cohort, SparseAnnotateError
from ...core.messages import _, counted, joined, listed
from ...core.strict_json import read_json, write_json
from ...runs.job_states import LIVE_STAGES, JobEngine, JobKind, JobStage, JobState
from ...runs.run_folder import RunFolder
from .records import CaseOutcome, JobFolder, JobRecord, PartFiles, PartProgress, PartStatus, Submission
from .signs_of_life import (
    cluster_ids,
    is_alive,
    is_being_submitted,
    is_elsewhere,
    seconds_since_change,
    submission_problem,
    was_heard_of,
)
from .slurm_queue import QueueEntry, SlurmUnavailable, ended_sentence, ids_of_scripts_in, queue_entries

_NAMED = 3
_LINE_BYTES = 400
_ARRIVAL_SECONDS = 120.0
# Not any 'oom': a node may be named 'classroom3'.
_OUT_OF_MEMORY = re.compile(r"memory limit|\boom[-_ ]?kill|out of memory")
_RESUME = _("What was done is kept: start it again to continue.")


@dataclass(frozen=True)
class PartState:
    """How far a part is, after everybody was asked; not certain when a file is damaged or nobody could be asked."""

    number: int
    cases: tuple[str, ...]
    stage: JobStage
    message: str = ""
    status: PartStatus | None = None
    progress: PartProgress = field(default_factory=PartProgress)
    outcomes: Mapping[str, CaseOutcome] | None = None
    is_certain: bool = True

    @property
    def is_live(self) -> bool:
        return self.stage in LIVE_STAGES

    @property
    def done(self) -> list[str]:
        return [name for name, found in (self.outcomes or {}).items() if not found.problem]

    @property
    def problems(self) -> dict[str, str]:
        return {name: found.problem for name, found in (self.outcomes or {}).items() if found.problem}


@dataclass(frozen=True)
class SlurmAnswer:
    """What Slurm says of jobs and tasks by their ids; None when it does not answer, for the reason `problem`."""

    queue: Mapping[str, QueueEntry] | None
    problem: str = ""


@dataclass(frozen=True)
class _Known:
    """Of a whole job: the engine's ids, and whether one on another computer was heard of; None for all others."""

    ids: tuple[str, ...]
    is_heard_of: bool | None


def job_states(cohort: Cohort, jobs: Sequence[JobFolder]) -> list[JobState]:
    """The states of these jobs of a cohort; Slurm is asked once for all that have not ended.

    A job whose files are damaged has failed, and says so.
    """
    found: dict[str, JobState] = {}
    records: list[tuple[JobFolder, JobRecord]] = []
    for job in jobs:
        ended = ended_state(job)
        try:
            if ended is None:
                records.append((job, job.record()))
        except BadInputError as error:
            ended = _unreadable(job, error)
        if ended is not None:
            found[job.path.name] = ended
    for (job, record), slurm in zip(records, slurm_says(records), strict=True):
        parts = part_states(job, record, slurm.queue)
        state = _job_state(cohort, job, record, parts, slurm.problem)
        if not state.is_live and all(part.is_certain for part in parts):
            # On a disk that is full or can only be read, everybody asks again.
            with suppress(SparseAnnotateError):
                write_json(job.ended_path, state)
        found[job.path.name] = state
    return [found[job.path.name] for job in jobs]


def slurm_says(records: Sequence[tuple[JobFolder, JobRecord]]) -> list[SlurmAnswer]:
    """What Slurm says of the parts of each of these jobs that have not ended; it is asked once for all."""
    in_slurm = [(job, record) for job, record in records if record.engine == "slurm"]
    lost = [(job, record) for job, record in in_slurm if not _known_ids(job, record) and not submission_problem(job)]
    unfound = _find_ids(lost)
    try:
        found = SlurmAnswer(queue_entries([one for job, record in in_slurm for one in _unended_ids(job, record)]))
    except SlurmUnavailable as error:
        found = _no_answer(error)
    said = {job.path: found for job, _record in in_slurm}
    if unfound is not None:
        said |= {job.path: unfound for job, _record in lost}
    return [said.get(job.path, SlurmAnswer({})) for job, _record in records]


def _no_answer(error: SlurmUnavailable) -> SlurmAnswer:
    return SlurmAnswer(None, _("Slurm does not answer: {reason}.").format(reason=str(error).rstrip(".")))


def _find_ids(lost: Sequence[tuple[JobFolder, JobRecord]]) -> SlurmAnswer | None:
    """Look in Slurm's queue for jobs of which nobody knows: their submitter has ended just after Slurm had taken them.

    Returns the answer for them when Slurm gives none: other jobs may still be known.
    """
    if not lost:
        return None
    try:
        found = ids_of_scripts_in([job.log_folder for job, _record in lost])
    except SlurmUnavailable as error:
        return _no_answer(error)
    for (job, record), ids in zip(lost, found, strict=True):
        if len(ids) == len(record.parts):
            with suppress(SparseAnnotateError):  # on a disk that can only be read, everybody looks again
                write_json(job.submission_path, Submission(ids))
    return None


def ended_state(job: JobFolder) -> JobState | None:
    """The state that was kept when the job had ended; None when it has not, or nobody has looked since."""
    try:
        state = read_json(job.ended_path, JobState) if job.ended_path.is_file() else None
    except BadInputError:
        return None
    if state is None or not state.log:
        return state
    return replace(state, log=str(job.log_folder / Path(state.log).name))


def part_states(job: JobFolder, record: JobRecord, queue: Mapping[str, QueueEntry] | None) -> list[PartState]:
    """The state of each part; `queue`: what Slurm says, None when it does not answer."""
    ids = _known_ids(job, record)
    is_far = record.engine == "local" and is_elsewhere(record)
    known = _Known(ids, was_heard_of(job, record) if is_far else None)
    return [_part_state(job, record, number, known, queue) for number in range(len(record.parts))]


def log_path(job: JobFolder, record: JobRecord, number: int) -> Path | None:
    """The log of a part; None before the job has been submitted."""
    found = _cluster_id(_known_ids(job, record), len(record.parts), number)
    return job.log_folder / f"{found}_0_log.out" if found else None


def _unreadable(job: JobFolder, error: BadInputError) -> JobState:
    """The state of a job whose record is damaged, with what can still be read of it."""
    facts: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        read = json.loads(job.record_path.read_text(encoding="utf-8"))
        facts = read if isinstance(read, dict) else {}
    what: JobKind = "predict" if facts.get("what") == "predict" else "train"
    engine: JobEngine = "slurm" if facts.get("engine") == "slurm" else "local"
    run = facts.get("run")
    return JobState(job.path.name, what, run if isinstance(run, str) else "", engine, "failed", message=error.message)


def _known_ids(job: JobFolder, record: JobRecord) -> tuple[str, ...]:
    try:
        return cluster_ids(job, record)
    except BadInputError:
        return ()


def _unended_ids(job: JobFolder, record: JobRecord) -> list[str]:
    """The ids of which Slurm must be asked."""
    ids = _known_ids(job, record)
    if len(ids) != len(record.parts):
        return list(ids)
    return [one for number, one in enumerate(ids) if not _has_ended(job.part(number))]


def _has_ended(files: PartFiles) -> bool:
    try:
        status = files.status()
    except BadInputError:
        return False
    return status is not None and status.stage in ("finished", "failed", "cancelled")


def _cluster_id(ids: Sequence[str], parts: int, number: int) -> str:
    return ids[number] if len(ids) == parts else ids[0] if ids else ""


def _part_state(
    job: JobFolder, record: JobRecord, number: int, known: _Known, queue: Mapping[str, QueueEntry] | None
) -> PartState:
    files, cases = job.part(number), record.parts[number]
    outcomes = files.cases() if record.what == "predict" else None
    try:
        status = files.status()
        stage, message = _stage(job, record, number, known, status, queue)
        if stage in LIVE_STAGES and status is not None:
            # It may have ended between the two looks.
            again = files.status()
            if again is not None and again.stage != status.stage:
                status = again
                stage, message = _stage(job, record, number, known, status, queue)
    except BadInputError as error:
        return PartState(number, cases, "failed", error.message, outcomes=outcomes, is_certain=False)
    if stage == "finished" and outcomes is not None and (missing := [name for name in cases if name not in outcomes]):
        one, many = _("{count} case has no result: {cases}."), _("{count} cases have no result: {cases}.")
        each: list[str] = [f"'{name}'" for name in missing]
        stage, message = "failed", counted(len(missing), one, many, cases=listed(each, _NAMED))
    has_said = status is not None and status.stage in ("finished", "failed", "cancelled")
    if record.engine == "local":
        is_certain = has_said or known.is_heard_of is None
    else:
        entry = (queue or {}).get(_cluster_id(known.ids, len(record.parts), number))
        is_certain = has_said or entry is None or not entry.may_return
    return PartState(number, cases, stage, message, status, _progress(files), outcomes, is_certain)


def _stage(
    job: JobFolder,
    record: JobRecord,
    number: int,
    known: _Known,
    status: PartStatus | None,
    queue: Mapping[str, QueueEntry] | None,
) -> tuple[JobStage, str]:
    """Where a part stands, and a sentence on it. Raises BadInputError when a file is damaged."""
    if status is not None and status.stage in ("finished", "failed", "cancelled"):
        return status.stage, status.message
    is_running = status is not None and status.stage == "running"
    live: JobStage = "running" if is_running else "waiting"
    if not known.ids and status is None:
        return _stage_without_ids(job, is_known=queue is not None)
    if record.engine == "local":
        if is_alive(record, known.ids, status) if known.is_heard_of is None else known.is_heard_of:
            return live, ""
        return _last_word(job, number) or _ended_here(job, status)
    if queue is None:
        return live, ""
    entry = queue.get(_cluster_id(known.ids, len(record.parts), number))
    if entry is not None and entry.is_waiting:
        return "waiting", _("It waits in Slurm ({reason}).").format(reason=entry.reason) if entry.reason else ""
    if entry is not None and entry.is_live:
        return live, ""
    if is_running and (said := _last_word(job, number)) is not None:
        return said
    is_over = is_running and entry is not None and entry.state == "COMPLETED"
    if is_over and seconds_since_change(job, job.part(number).status_path) < _ARRIVAL_SECONDS:
        return live, ""  # what it wrote last may not have reached this computer yet
    is_memory = _is_memory(job, record, number)
    if job.is_cancelled or (entry is not None and entry.state == "CANCELLED" and not is_memory):
        return "cancelled", ""
    if is_memory:
        entry = QueueEntry("OUT_OF_MEMORY", "", entry.memory if entry else "")
    return "failed", ended_sentence(entry, status.memory_gb if status is not None else record.memory_gb)


def _stage_without_ids(job: JobFolder, is_known: bool) -> tuple[JobStage, str]:
    """Of a job that has not been submitted, as far as is known; Slurm may have it when it does not answer."""
    if problem := submission_problem(job):
        return "failed", _("The job was not submitted. {problem}").format(problem=problem)
    if is_being_submitted(job):
        return "waiting", _("It is being submitted.")
    if not is_known:
        return "waiting", ""
    if job.is_cancelled:
        return "cancelled", ""
    return "failed", _("It was not submitted: the process that was to do so has ended.")


def _ended_here(job: JobFolder, status: PartStatus | None) -> tuple[JobStage, str]:
    if job.is_cancelled:
        return "cancelled", ""
    if status is not None and status.stage == "waiting":
        return "failed", _("It was asked to stop by the system.")
    return "failed", _("Its process has ended without a message: it was killed, or the computer was restarted.")


def _last_word(job: JobFolder, number: int) -> tuple[JobStage, str] | None:
    """How the work has ended by its own account, where the process that looked after it did not live to say so."""
    outcome = job.part(number).outcome()
    if outcome is None or outcome.end == "stopped":
        return None
    return outcome.end, outcome.message if outcome.end == "failed" else ""


def _is_memory(job: JobFolder, record: JobRecord, number: int) -> bool:
    """Whether Slurm's own process has written into the log that it killed the job for its memory."""
    path = log_path(job, record, number)
    text = log_text(path, 50).lower() if path is not None else ""
    said = [line for line in text.splitlines() if line.startswith(("slurmstepd", "srun: error"))]
    return any(map(_OUT_OF_MEMORY.search, said))


def log_text(path: str | Path, lines: int) -> str:
    """The last lines of a log; '' when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(start_of_last_lines(path, lines))
            return file.read().decode("utf-8", errors="replace").rstrip("\n")
    except OSError:
        return ""


def start_of_last_lines(path: str | Path, lines: int) -> int:
    """The byte at which the last lines of a log begin; 0 when there is no log."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LINE_BYTES * lines))
            found = file.read().splitlines(keepends=True)[-lines:]
    except OSError:
        return 0
    return size - sum(map(len, found))


def _progress(files: PartFiles) -> PartProgress:
    try:
        return files.progress()
    except SparseAnnotateError:
        return PartProgress()


def _job_state(cohort: Cohort, job: JobFolder, record: JobRecord, parts: Sequence[PartState], problem: str) -> JobState:
    stage = _stage_of_all(parts)
    shown = next((p for p in parts if p.stage == "failed"), next((p for p in parts if p.stage == "running"), parts[0]))
    log = log_path(job, record, shown.number)
    sentences = _sentences(job, record, parts, stage)
    started = [p.status.started for p in parts if p.status is not None and p.status.started]
    ended = [p.status.ended for p in parts if p.status is not None and p.status.ended]
    is_training = record.what == "train"
    return JobState(
        id=record.id,
        what=record.what,
        run=record.run,
        engine=record.engine,
        state=stage,
        cluster_ids=_known_ids(job, record),
        message=joined(" ", [*sentences, *([problem] if problem and stage in LIVE_STAGES else [])]),
        submitted=record.submitted,
        started=min(started, default=None),
        ended=max(ended, default=None) if stage not in LIVE_STAGES else None,
        fraction=_fraction(parts, stage, is_training),
        progress=shown.progress.message if stage in LIVE_STAGES else "",
        seconds_left=shown.progress.seconds_left if stage == "running" and is_training else None,
        metrics=RunFolder(cohort.run_folder(record.run)).last_metrics() if is_training else None,
        log=str(log or ""),
        parts=len(parts),
        parts_ended=sum(not part.is_live for part in parts),
    )


def _stage_of_all(parts: Sequence[PartState]) -> JobStage:
    stages = [part.stage for part in parts]
    if any(part.is_live for part in parts):
        return "waiting" if set(stages) == {"waiting"} else "running"
    if "cancelled" in stages:
        return "cancelled"
    return "failed" if "failed" in stages or any(part.problems for part in parts) else "finished"


def _fraction(parts: Sequence[PartState], stage: JobStage, is_training: bool) -> float:
    if stage == "finished":
        return 1.0
    if is_training:
        return parts[0].progress.fraction
    return sum(len(part.outcomes or ()) for part in parts) / max(1, sum(len(part.cases) for part in parts))


def _sentences(job: JobFolder, record: JobRecord, parts: Sequence[PartState], stage: JobStage) -> list[str]:
    found: list[str] = []
    if record.what == "predict":
        found += _of_cases(record, parts)
    if len(parts) == 1:
        found += [parts[0].message] if parts[0].message else []
    elif failed := [part for part in parts if part.stage == "failed"]:
        found.append(_of_parts(parts, failed))
    if stage in LIVE_STAGES and job.is_cancelled:
        found.append(_("It is being cancelled, and saves what it has."))
    restarts = sum(part.status.starts - 1 for part in parts if part.status is not None)
    if restarts:
        found.append(
            counted(
                restarts,
                _("It was interrupted once and continued."),
                _("It was interrupted {count} times and continued."),
            )
        )
    if stage in ("failed", "cancelled"):
        found.append(_RESUME)
    return found


def _of_cases(record: JobRecord, parts: Sequence[PartState]) -> list[str]:
    problems = {name: problem for part in parts for name, problem in part.problems.items()}
    done, count = sum(len(part.done) for part in parts), sum(len(part.cases) for part in parts)
    sentences: list[str] = [_("{done} of {count} cases are labeled.").format(done=done, count=count)]
    if record.kept:
        before = _("{count} case had been labeled before."), _("{count} cases had been labeled before.")
        sentences.append(counted(record.kept, *before))
    if problems:
        each = [f"'{name}': {problem.rstrip('.')}" for name, problem in problems.items()]
        not_done = _("{count} case was not labeled: {cases}."), _("{count} cases were not labeled: {cases}.")
        sentences.append(counted(len(problems), *not_done, cases=listed(each, _NAMED)))
    return sentences


def _of_parts(parts: Sequence[PartState], failed: Sequence[PartState]) -> str:
    each = [
        _("part {number} ('{first}' to '{last}'): {problem}").format(
            number=part.number, first=part.cases[0], last=part.cases[-1], problem=part.message
        )
        for part in failed
    ]
    return counted(
        len(failed),
        _("{count} of {all} parts has failed: {each}"),
        _("{count} of {all} parts have failed: {each}"),
        all=len(parts),
        each=listed(each, _NAMED),
    )
