"""Which cases of a prediction are left to be labeled, after earlier jobs with the same run and options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core import BadInputError, BusyError, Cohort, CohortError
from ...core.file_stamp import is_settled, stamp_of
from ...core.image_fingerprint import image_files
from ...core.images import read_facts
from ...core.origin import Origin
from ...core.strict_json import to_plain
from .records import JobFolder, JobRecord, job_folders
from .states import ended_state, part_states, slurm_says

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
    names = [case.name for case in cohort.chosen(work.cases)]
    alike = [(job, record) for job, record in _readable(job_folders(cohort)) if _is_alike(record, work, run_content)]
    being_done = _being_done(alike)
    results = _results(alike)
    labeled = tuple(name for name in names if is_up_to_date(cohort, work.run, run_content, name, results.get(name, {})))
    done = {*labeled, *being_done}
    left = tuple(name for name in names if name not in done)
    return LeftCases(left, labeled, {name: being_done[name] for name in names if name in being_done})


def _is_alike(record: JobRecord, work: PredictRequest, run_content: str) -> bool:
    """Whether an earlier job predicts, or has predicted, with the same run and options."""
    if record.what != "predict" or record.run_content != run_content:
        return False

    def compared(request: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in request.items() if name not in _NOT_COMPARED}

    return compared(record.request) == compared(to_plain(work))


def _readable(jobs: Sequence[JobFolder]) -> Iterator[tuple[JobFolder, JobRecord]]:
    """The jobs with their records; those with a damaged one are shown by `jobs`."""
    for job in jobs:
        with suppress(BadInputError):
            yield job, job.record()


def _being_done(alike: Sequence[tuple[JobFolder, JobRecord]]) -> dict[str, str]:
    """Cases that a job which waits or runs will label, with its id."""
    found = {}
    unended = [(job, record) for job, record in alike if ended_state(job) is None]
    for (job, record), slurm in zip(unended, slurm_says(unended), strict=True):
        if slurm.queue is None:
            raise BusyError(slurm.problem)
        for part in part_states(job, record, slurm.queue):
            if part.is_live and not job.is_cancelled:
                found.update({name: record.id for name in part.cases if name not in part.done + list(part.problems)})
    return found


def _results(alike: Sequence[tuple[JobFolder, JobRecord]]) -> dict[str, dict[int, str]]:
    """When the result files of each case were last changed by these jobs, in ns, with what its files were like."""
    found: dict[str, dict[int, str]] = {}
    for job, record in alike:
        for number in range(len(record.parts)):
            for name, outcome in job.part(number).cases().items():
                if not outcome.problem:
                    found.setdefault(name, {})[outcome.result_changed] = outcome.inputs
    return found


def is_up_to_date(cohort: Cohort, run: str, run_content: str, name: str, results: Mapping[int, str]) -> bool:
    """Whether the result of a case is one of these, and made from the present image, drawn slices and run.

    `results`: when the result files of jobs with this run were last changed, in ns, with their `inputs_of` the case.
    `run_content`: fingerprint of the run.
    """
    path = cohort.prediction_path(run, name)
    try:
        inputs = results.get(path.stat().st_mtime_ns)
        if inputs is None:
            return False
        if inputs and inputs == inputs_of(cohort, name):
            return True  # nothing need be read: with thousands of cases, that takes minutes
        made, present = Origin.from_facts(read_facts(path)), cohort.origin(name, since=path)
    except (OSError, BadInputError):
        return False  # the job says what is wrong with the case
    wanted = (present.annotation, present.image, run_content)
    return (made.annotation, made.image, made.run_content) == wanted


def inputs_of(cohort: Cohort, name: str) -> str:
    """A fingerprint of the sizes, times and places of the files that a result of a case is made from.

    Of these only headers are read, which name the files of voxels. '' when a file has been changed a moment ago, or
    cannot be found.
    """
    try:
        channels = cohort.channel_paths(name)
        if not all(path.is_file() for path in channels.values()):
            return ""
        images = [file for path in channels.values() for file in image_files(path)]
        stamps: list[Any] = [sorted(cohort.labels.items()), list(channels)]
        for path in [*images, *cohort.annotation_files(name)]:
            stamp = stamp_of(path) if path.is_file() else None
            if stamp is not None and not is_settled(stamp):
                return ""
            stamps.append(stamp)
    except (OSError, BadInputError, CohortError):
        return ""  # the job says what is wrong with the case
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:32]
