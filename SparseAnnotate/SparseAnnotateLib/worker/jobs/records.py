"""The files of a job: what was submitted, and what its parts have done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ...core import BadInputError, Cohort, FileWriteError
from ...core.atomic_files import append_line, why_not_written, write_text
from ...core.messages import _
from ...core.strict_json import read_json, to_text, write_json
from ...runs.job_states import JobEngine, JobKind


@dataclass(frozen=True)
class JobRecord:
    """What was submitted.

    Attributes:
        request: the fields of the TrainRequest or PredictRequest, with absolute paths.
        parts: cases of each part of a prediction; one empty part for a training.
        gpus: of each part. hours, memory_gb, cpus: asked for; None: what the engine gives.
        host: name of the computer that runs a local job.
        kept: cases that had been labeled before and were left out.
        run_content: fingerprint of the run that predicts; '' for a training.
        scratch: folder on the disk of the node for caches and temporary files; it may name environment variables.
        visible_gpus: what CUDA_VISIBLE_DEVICES was; None when it was not set.
    """

    id: str
    what: JobKind
    run: str
    engine: JobEngine
    request: dict[str, Any]
    parts: tuple[tuple[str, ...], ...]
    submitted: str
    cluster_ids: tuple[str, ...] = ()
    gpus: int = 0
    hours: float | None = None
    cpus: int | None = None
    memory_gb: float | None = None
    host: str = ""
    kept: int = 0
    run_content: str = ""
    scratch: str | None = None
    visible_gpus: str | None = None


@dataclass(frozen=True)
class PartStatus:
    """What the process of a part says of itself.

    Attributes:
        stage: 'waiting': interrupted, and waiting to be continued.
        starts: how often it has started.
        process, host: where it runs. cluster_id: Slurm's number.
        started, heartbeat (every 20 s), ended: ISO 8601, UTC.
        memory_gb: what the job may use; None when that is not known.
        message: why it failed.
    """

    stage: Literal["running", "waiting", "finished", "failed", "cancelled"]
    starts: int = 1
    process: int = 0
    host: str = ""
    cluster_id: str = ""
    started: str | None = None
    heartbeat: str | None = None
    ended: str | None = None
    exit_code: int | None = None
    memory_gb: float | None = None
    message: str = ""


@dataclass(frozen=True)
class PartProgress:
    """The last progress report of a part; of `metrics`, None for one that is no number any more."""

    fraction: float = 0.0
    message: str = ""
    seconds_left: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class PartOutcome:
    """How the work of a part has ended; 'stopped' when it was asked to, and can be continued."""

    end: Literal["finished", "failed", "stopped"]
    message: str = ""


@dataclass(frozen=True)
class CaseOutcome:
    """What has become of a case of a prediction.

    Attributes:
        problem: why it was not labeled; '' when it was. seconds: that it took.
        result_changed: when its result file was changed last, in ns: this tells it from that of another prediction.
        inputs: what the files of the case were like while it was labeled, see `left_cases.inputs_of`; '' when they
            changed meanwhile, or that is not known.
    """

    case: str
    problem: str = ""
    seconds: float = 0.0
    result_changed: int = 0
    inputs: str = ""


@dataclass(frozen=True)
class Submission:
    """What became of a submission: the engine's ids, or why it failed."""

    ids: tuple[str, ...] = ()
    problem: str = ""


class PartFiles:
    """The files of one part of a job."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.status_path = folder / "status.json"
        self.progress_path = folder / "progress.json"
        self.outcome_path = folder / "outcome.json"
        self.cases_path = folder / "cases.jsonl"

    def status(self) -> PartStatus | None:
        return read_json(self.status_path, PartStatus) if self.status_path.is_file() else None

    def progress(self) -> PartProgress:
        return read_json(self.progress_path, PartProgress) if self.progress_path.is_file() else PartProgress()

    def outcome(self) -> PartOutcome | None:
        return read_json(self.outcome_path, PartOutcome) if self.outcome_path.is_file() else None

    def write_status(self, status: PartStatus) -> None:
        write_json(self.status_path, status)

    def write_progress(self, progress: PartProgress) -> None:
        write_json(self.progress_path, progress)

    def write_outcome(self, outcome: PartOutcome) -> None:
        write_json(self.outcome_path, outcome)

    def add_case(self, outcome: CaseOutcome) -> None:
        """Add a line, also after one that was cut off. Raises FileWriteError."""
        append_line(self.cases_path, ("" if _ends_in_a_whole_line(self.cases_path) else "\n") + to_text(outcome))

    def cases(self) -> dict[str, CaseOutcome]:
        """The last outcome of each case; a line that was cut off by a full disk or a killed process is left out."""
        found = {}
        text = self.cases_path.read_text(encoding="utf-8", errors="replace") if self.cases_path.is_file() else ""
        for line in text.splitlines():
            try:
                outcome = CaseOutcome(**json.loads(line))
            except (ValueError, TypeError):
                continue
            found[outcome.case] = outcome
        return found


class JobFolder:
    """The folder of a job, `jobs/<id>` in the state folder of its cohort."""

    def __init__(self, path: Path):
        self.path = path
        self.record_path = path / "job.json"
        self.cancel_path = path / "cancel"
        self.submission_path = path / "submission.json"
        self.ended_path = path / "ended.json"
        """The state of a job that has ended: of such a job nothing else is read or asked."""
        self.log_folder = path / "log"

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked for it to be cancelled."""
        return self.cancel_path.exists()

    def record(self) -> JobRecord:
        """Raises BadInputError when the file is missing or damaged."""
        return read_json(self.record_path, JobRecord)

    def write_record(self, record: JobRecord) -> None:
        write_json(self.record_path, record)

    def part(self, number: int) -> PartFiles:
        return PartFiles(self.path / "parts" / str(number))

    def cancel(self) -> None:
        """Ask every part to stop, also those that have not started."""
        write_text(self.cancel_path, now() + "\n")

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def jobs_folder(cohort: Cohort) -> Path:
    return cohort.state_folder / "jobs"


def new_job_folder(cohort: Cohort) -> JobFolder:
    """A folder for a new job, with the next number. Raises FileWriteError."""
    folder = jobs_folder(cohort)
    number = max((int(job.path.name) for job in job_folders(cohort)), default=0) + 1
    while True:
        path = folder / str(number)
        try:
            path.mkdir(parents=True)
            return JobFolder(path)
        except FileExistsError:
            number += 1  # another process has just taken it
        except OSError as error:
            raise FileWriteError(why_not_written(path, error)) from error


def job_folders(cohort: Cohort) -> list[JobFolder]:
    """The folders of all jobs, oldest first."""
    folder = jobs_folder(cohort)
    names = [path.name for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []
    return [JobFolder(folder / name) for name in sorted(names, key=int)]


def chosen_jobs(cohort: Cohort, ids: Sequence[str]) -> list[JobFolder]:
    """The jobs with these ids, or all. Raises BadInputError when there is no such job."""
    found = {job.path.name: job for job in job_folders(cohort) if job.record_path.is_file()}
    for name in ids:
        if name not in found:
            known = ", ".join(found) or _("none")
            raise BadInputError(
                _("There is no job '{id}' in this cohort. Known: {known}.").format(id=name, known=known)
            )
    return [found[name] for name in dict.fromkeys(ids)] if ids else list(found.values())


def _ends_in_a_whole_line(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.seek(0, os.SEEK_END) == 0 or (file.seek(-1, os.SEEK_END) >= 0 and file.read(1) == b"\n")
    except OSError:
        return True


def continued(status: PartStatus | None, **facts: Any) -> PartStatus:
    """The status of a part that starts, again or for the first time."""
    if status is None:
        return PartStatus("running", started=now(), heartbeat=now(), **facts)
    again = replace(status, stage="running", starts=status.starts + 1, heartbeat=now(), ended=None, exit_code=None)
    return replace(again, message="", **facts)


def now() -> str:
    """The present time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
