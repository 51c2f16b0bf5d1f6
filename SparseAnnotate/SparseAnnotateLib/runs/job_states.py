"""Submitted jobs as others see them: what was submitted, and how far it is. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

JobKind = Literal["train", "predict"]
JobEngine = Literal["slurm", "local"]
EngineChoice = Literal["auto", "slurm", "local"]
JobStage = Literal["waiting", "running", "finished", "failed", "cancelled"]
LIVE_STAGES = ("waiting", "running")


@dataclass(frozen=True)
class SubmittedJob:
    """The answer to a submission.

    Attributes:
        id: of the job in its cohort: '1', '2', ... ; '' when there was nothing to do.
        engine: 'slurm' or 'local'. cluster_ids: Slurm's numbers, such as '4711_0'; of a local job its process.
        message: a sentence on what was submitted, or why nothing was.
    """

    id: str
    engine: JobEngine
    cluster_ids: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Attributes:
        id, engine, cluster_ids: see `SubmittedJob`. what: 'train' or 'predict'. run: name of the run.
        state: 'cancelled' only once nothing of it runs any more.
        message: a sentence: why it failed, which cases failed, how often it was interrupted.
        submitted, started, ended: ISO 8601, UTC; None when that has not happened. A job that was interrupted and
            continued has started when it first did.
        fraction: done, 0 to 1. progress: what is being done. seconds_left: None when that is not known.
        metrics: the last line of the run's metrics.jsonl; None for predictions, and before there is one.
        log: path of the log; of a job of several parts that of the first part that failed or is running.
        parts: of how many parts it consists; parts_ended: how many of them have ended.
    """

    id: str
    what: JobKind
    run: str
    engine: JobEngine
    state: JobStage
    cluster_ids: tuple[str, ...] = ()
    message: str = ""
    submitted: str | None = None
    started: str | None = None
    ended: str | None = None
    fraction: float = 0.0
    progress: str = ""
    seconds_left: float | None = None
    metrics: dict[str, Any] | None = None
    log: str = ""
    parts: int = 1
    parts_ended: int = 0

    @property
    def is_live(self) -> bool:
        """True while it waits or runs."""
        return self.state in LIVE_STAGES
