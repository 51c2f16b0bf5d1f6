"""What is refused before a job is submitted: a sentence now, not a failure when the job has waited in the queue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import BadInputError
from ...core.messages import _, joined
from ...runs.job_states import JobEngine

if TYPE_CHECKING:
    from .requests import SubmitRequest

# More than any computer has: larger numbers are typing errors, and a process would be started for each GPU.
_MOST_GPUS, _MOST_CPUS, _MOST = 64, 10_000, 1_000_000
_OWN_OPTIONS = (
    "array",
    "chdir",
    "error",
    "nodes",
    "open-mode",
    "output",
    "parsable",
    "signal",
    "test-only",
    "wait",
    "wrap",
)


def check_request(request: SubmitRequest) -> None:
    """Raise BadInputError for numbers and options that cannot be."""
    numbers: Mapping[str, tuple[int | None, int, int]] = {
        "gpus": (request.gpus, 0, _MOST_GPUS),
        "cpus": (request.cpus, 1, _MOST_CPUS),
        "cases_per_job": (request.cases_per_job, 1, _MOST),
    }
    for name, (value, least, most) in numbers.items():
        if value is not None and not least <= value <= most:
            raise BadInputError(
                _("'{name}' must be from {least} to {most}, not {value}.").format(
                    name=name, least=least, most=most, value=value
                )
            )
    for name, amount in (("hours", request.hours), ("memory_gb", request.memory_gb)):
        if amount is not None and not 0 < amount <= _MOST:
            raise BadInputError(
                _("'{name}' must be more than 0 and at most {most}, not {value:g}.").format(
                    name=name, most=_MOST, value=amount
                )
            )
    if request.what == "predict" and request.gpus > 1:
        raise BadInputError(_("A prediction uses one GPU for each part. Ask for one GPU, and for fewer cases per job."))
    for name, text in {"partition": request.partition, "account": request.account, "qos": request.qos}.items():
        if text is not None and (not text.strip() or _has_control_characters(text)):
            raise BadInputError(
                _("'{name}' must be a name that Slurm knows, in one line, not {text!r}.").format(name=name, text=text)
            )
    for name, text in request.slurm_options.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or _has_control_characters(text):
            raise BadInputError(
                _("'{name}' is not an option of sbatch. Write it without dashes before it: 'constraint=a100'.").format(
                    name=name
                )
            )
        # A part is one process on one node: others would do the same work on the same files.
        if name in _OWN_OPTIONS or name.startswith("ntasks"):
            raise BadInputError(
                _("The option '{name}' of sbatch is set by SparseAnnotate. Leave it out.").format(name=name)
            )


def _has_control_characters(text: str) -> bool:
    return any(not character.isprintable() for character in text)


def refuse_path(folder: Path, engine: JobEngine) -> None:
    """Raise BadInputError where the engine would write its logs elsewhere than in this folder."""
    marks = ("%", "\\") if engine == "slurm" else ("%j", "%t", "%A", "%a")
    found = [f"'{mark}'" for mark in marks if mark in str(folder)]
    if found or _has_control_characters(str(folder)):
        raise BadInputError(
            _(
                "A job cannot write its logs in '{folder}': {engine} replaces {marks} in the names of folders. Rename "
                "the folder, or keep the state of the cohort elsewhere."
            ).format(
                folder=folder,
                engine=_("Slurm") if engine == "slurm" else "submitit",
                marks=joined(", ", found) or _("line breaks"),
            )
        )


def refuse_cluster_options(request: SubmitRequest) -> None:
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
