"""Which cases of a prediction are left to be labeled, after earlier jobs with the same run and options."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core import BadInputError, BusyError, Cohort
from ...core.images import read_facts
from ...core.messages import _
from ...core.origin import Origin
from ...core.strict_json import to_plain
from . import slurm_queue
from .records import JobFolder, JobRecord, job_folders
from .states import part_states

if TYPE_CHECKING:
    from ..requests import PredictRequest

_NOT_COMPARED = ("cohort", "state", "cases", "device")


@dataclass(frozen=True)
class LeftCases:
    """The cases of a prediction.

    Attributes:
        left: to be labeled. labeled: with a result that such a job has made from the present image and drawn slices.
        being_done: those that such a job waits to label or labels, with its id.
    """

    left: tuple[str, ...]
    labeled: tuple[str, ...]
    being_done: dict[str, str]


def left_cases(cohort: Cohort, work: PredictRequest, run_content: str) -> LeftCases:
    """What earlier jobs have left of a prediction; `run_content`: fingerprint of the run.

    Raises BusyError when Slurm does not answer, CohortError.
    """
    names = [case.name for case in cohort.select(work.cases)]
    alike = [
        job for job in job_folders(cohort) if job.record_path.is_file() and _is_alike(job.record(), work, run_content)
    ]
    being_done = _being_done(alike)
    results = _results(alike)
    labeled = tuple(name for name in names if is_up_to_date(cohort, work.run, run_content, name, results.get(name, ())))
    left = tuple(name for name in names if name not in being_done and name not in set(labeled))
    return LeftCases(left, labeled, {name: being_done[name] for name in names if name in being_done})


def _is_alike(record: JobRecord, work: PredictRequest, run_content: str) -> bool:
    """Whether an earlier job predicts, or has predicted, with the same run and options."""
    if record.what != "predict" or record.run_content != run_content:
        return False

    def compared(request: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in request.items() if name not in _NOT_COMPARED}

    return compared(record.request) == compared(to_plain(work))


def _being_done(alike: Sequence[JobFolder]) -> dict[str, str]:
    """Cases that a job which waits or runs will label, with its id."""
    found = {}
    for job in alike:
        record = job.record()
        try:
            queue = slurm_queue.queue_entries(record.cluster_ids) if record.engine == "slurm" else None
        except slurm_queue.SlurmUnavailable as error:
            raise BusyError(_("Slurm does not answer: {reason}.").format(reason=error)) from error
        for part in part_states(job, record, queue):
            if part.is_live and not job.is_cancelled:
                found.update({name: record.id for name in part.cases if name not in part.done + list(part.problems)})
    return found


def _results(alike: Sequence[JobFolder]) -> dict[str, set[int]]:
    """When the result files of each case were last changed by these jobs, in ns."""
    found: dict[str, set[int]] = {}
    for job in alike:
        for number in range(len(job.record().parts)):
            for name, outcome in job.part(number).cases().items():
                if not outcome.problem:
                    found.setdefault(name, set()).add(outcome.result_changed)
    return found


def is_up_to_date(cohort: Cohort, run: str, run_content: str, name: str, results: Collection[int]) -> bool:
    """Whether the result of a case is one of these, and made from the present image, drawn slices and run.

    `results`: when the result files of jobs were last changed, in ns. `run_content`: fingerprint of the run.
    """
    path = cohort.prediction_path(run, name)
    try:
        if not results or path.stat().st_mtime_ns not in results:
            return False
        made, present = Origin.from_facts(read_facts(path)), cohort.origin(name)
    except (OSError, BadInputError):
        return False  # the job says what is wrong with the case
    wanted = (present.annotation, present.image, run_content)
    return (made.annotation, made.image, made.run_content) == wanted
