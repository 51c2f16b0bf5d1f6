"""How far jobs are: from the files that they write, the processes of this computer, and what Slurm says."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ...core import Cohort, SparseAnnotateError
from ...core.messages import _, counted, joined, listed
from ...runs.job_states import LIVE_STAGES, JobStage, JobState
from ...runs.run_folder import RunFolder
from .records import CaseOutcome, JobFolder, JobRecord, PartFiles, PartProgress, PartStatus
from .slurm_queue import QueueEntry, SlurmUnavailable, ended_sentence, queue_entries

_NAMED = 3
_LINE_BYTES = 400
_SILENT_SECONDS = 900.0  # clocks of computers differ, too
_RESUME = _("What was done is kept: submit it again to continue.")


@dataclass(frozen=True)
class PartState:
    """How far a part is, after everybody was asked."""

    number: int
    cases: tuple[str, ...]
    stage: JobStage
    message: str = ""
    status: PartStatus | None = None
    progress: PartProgress = field(default_factory=PartProgress)
    outcomes: Mapping[str, CaseOutcome] | None = None

    @property
    def is_live(self) -> bool:
        return self.stage in LIVE_STAGES

    @property
    def done(self) -> list[str]:
        return [name for name, found in (self.outcomes or {}).items() if not found.problem]

    @property
    def problems(self) -> dict[str, str]:
        return {name: found.problem for name, found in (self.outcomes or {}).items() if found.problem}


def job_states(cohort: Cohort, jobs: Sequence[JobFolder]) -> list[JobState]:
    """The states of these jobs of a cohort; Slurm is asked once for all."""
    records = [(job, job.record()) for job in jobs]
    asked = [one for _job, record in records if record.engine == "slurm" for one in record.cluster_ids]
    ended = {one for job, record in records for one in _ended_ids(job, record)}
    queue: dict[str, QueueEntry] | None
    problem = ""
    try:
        queue = queue_entries([one for one in asked if one not in ended])
    except SlurmUnavailable as error:
        queue, problem = None, _("Slurm does not answer: {reason}.").format(reason=str(error).rstrip("."))
    return [_job_state(cohort, job, record, part_states(job, record, queue), problem) for job, record in records]


def part_states(job: JobFolder, record: JobRecord, queue: Mapping[str, QueueEntry] | None) -> list[PartState]:
    """The state of each part; `queue`: what Slurm says, None when it does not answer."""
    return [_part_state(job, record, number, queue) for number in range(len(record.parts))]


def log_path(job: JobFolder, record: JobRecord, number: int) -> Path | None:
    """The log of a part; None before the job has been submitted."""
    found = _cluster_id(record, number)
    return job.log_folder / f"{found}_0_log.out" if found else None


def _ended_ids(job: JobFolder, record: JobRecord) -> list[str]:
    """Of which Slurm need not be asked any more."""
    if len(record.cluster_ids) != len(record.parts):
        return []
    stages = [status.stage if (status := job.part(n).status()) else "" for n in range(len(record.parts))]
    return [one for one, stage in zip(record.cluster_ids, stages, strict=True) if stage in ("finished", "failed")]


def _cluster_id(record: JobRecord, number: int) -> str:
    if len(record.cluster_ids) == len(record.parts):
        return record.cluster_ids[number]
    return record.cluster_ids[0] if record.cluster_ids else ""


def _part_state(job: JobFolder, record: JobRecord, number: int, queue: Mapping[str, QueueEntry] | None) -> PartState:
    files = job.part(number)
    status = files.status()
    stage, message = _stage(job, record, number, status, queue)
    if stage in LIVE_STAGES and status is not None:
        # It may have ended between the two looks.
        again = files.status()
        if again is not None and again.stage != status.stage:
            status = again
            stage, message = _stage(job, record, number, status, queue)
    cases, outcomes = record.parts[number], files.cases() if record.what == "predict" else None
    return PartState(number, cases, stage, message, status, _progress(files), outcomes)


def _stage(
    job: JobFolder,
    record: JobRecord,
    number: int,
    status: PartStatus | None,
    queue: Mapping[str, QueueEntry] | None,
) -> tuple[JobStage, str]:
    """Where a part stands, and a sentence on it."""
    if status is not None and status.stage in ("finished", "failed", "cancelled"):
        return status.stage, status.message
    is_running = status is not None and status.stage == "running"
    live: JobStage = "running" if is_running else "waiting"
    if record.engine == "local":
        if _is_alive(record, status):
            return live, ""
        if job.is_cancelled:
            return "cancelled", ""
        if status is not None and status.stage == "waiting":
            return "failed", _("It was asked to stop by the system.")
        return "failed", _("Its process has ended without a word: it was killed, or the computer was restarted.")
    if queue is None:
        return live, ""
    entry = queue.get(_cluster_id(record, number))
    if entry is not None and entry.is_waiting:
        return "waiting", _("It waits in Slurm ({reason}).").format(reason=entry.reason) if entry.reason else ""
    if entry is not None and entry.is_live:
        return live, ""
    if job.is_cancelled or (entry is not None and entry.state == "CANCELLED" and not _is_memory(job, record, number)):
        return "cancelled", ""
    if _is_memory(job, record, number):
        entry = QueueEntry("OUT_OF_MEMORY", "", entry.memory if entry else "")
    return "failed", ended_sentence(entry, status.memory_gb if status is not None else record.memory_gb)


def _is_memory(job: JobFolder, record: JobRecord, number: int) -> bool:
    """Whether Slurm's own process has written into the log that it killed the job for its memory."""
    path = log_path(job, record, number)
    text = log_text(path, 50).lower() if path is not None else ""
    said = [line for line in text.splitlines() if line.startswith(("slurmstepd", "srun: error"))]
    return any("memory limit" in line or "oom" in line or "out of memory" in line for line in said)


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


def _is_alive(record: JobRecord, status: PartStatus | None) -> bool:
    """Whether the process of a local job is still there; on another computer, whether it was heard of of late."""
    if record.host != socket.gethostname():
        heard = (status.heartbeat if status is not None else None) or record.submitted
        return (datetime.now(UTC) - datetime.fromisoformat(heard)).total_seconds() < _SILENT_SECONDS
    numbers = [int(one) for one in record.cluster_ids if one.isdecimal()]
    if status is not None and status.host == record.host:
        numbers.append(status.process)
    return any(map(_is_job_process, numbers))


def _is_job_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # of another user: the number has been given away again
    with suppress(OSError):
        # Linux: neither a process that has ended and was not waited for, nor another one with the same number.
        return b"submitit" in Path(f"/proc/{number}/cmdline").read_bytes()
    return True


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
        cluster_ids=record.cluster_ids,
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
        each = [f"'{name}': {problem}" for name, problem in problems.items()]
        not_done = _("{count} case was not labeled: {cases}"), _("{count} cases were not labeled: {cases}")
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
