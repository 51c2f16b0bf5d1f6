"""Hand a job to submitit, in a process of its own: a local job outlives it, and this process keeps its environment.

`python -m SparseAnnotateLib.worker.jobs.submission FOLDER OPTIONS` leaves what became of it in `submission.json`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...client import LIBRARY_FOLDER
from ...core import BadInputError, BusyError
from ...core.messages import _
from ...core.strict_json import parse_json, read_json, to_text, write_json
from ...runs.job_states import EngineChoice, JobEngine
from ..packages import require_packages
from .part_process import JobParts
from .records import JobFolder, JobRecord, Submission
from .signs_of_life import SUBMISSION_SECONDS

_LOCAL_MINUTES = 60 * 24 * 365  # of a local job, which has no time limit
_SIGNAL_SECONDS = 90  # before the time limit: to save a checkpoint and to queue the job again
_TIME_LIMITS = 100


@dataclass(frozen=True)
class ClusterOptions:
    """What is asked of Slurm.

    Attributes:
        partition, account, qos: names, as Slurm knows them. hours: time limit of each start of a part.
        cpus: cores of each part. memory_gb: of each part. gpus: of each part.
        slurm_options: further options of sbatch, without the two dashes, such as {'constraint': 'a100'}.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    hours: float = 4.0
    cpus: int | None = None
    memory_gb: float | None = None
    gpus: int = 0
    slurm_options: dict[str, str] = field(default_factory=dict)


def chosen_engine(engine: EngineChoice) -> JobEngine:
    """The engine to use: with 'auto', Slurm where `sbatch` is found. Raises BadInputError when there is none."""
    if sys.platform == "win32":
        raise BadInputError(_("Jobs need Linux or macOS: submitit, which starts them, does not run on Windows."))
    require_packages(("submitit",), _("submitting jobs"))
    has_slurm = shutil.which("sbatch") is not None and shutil.which("srun") is not None
    if engine == "slurm" and not has_slurm:
        raise BadInputError(
            _(
                "There is no Slurm on this computer: 'sbatch' is not found. Submit on a login node of the cluster, or "
                "choose the engine 'local' to run the job on this computer."
            )
        )
    return "slurm" if has_slurm and engine != "local" else "local"


def hand_over(job: JobFolder, options: ClusterOptions) -> tuple[str, ...]:
    """Submit the job; returns the engine's ids. Raises BadInputError with what the engine says."""
    job.submission_path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "SparseAnnotateLib.worker.jobs.submission", str(job.path), to_text(options)]
    log_path = job.path / "submission.log"
    with open(log_path, "wb") as log:
        done = _finished(
            command,
            stdin=subprocess.DEVNULL,
            # Never a pipe: a local job, which goes on, would keep it open.
            stdout=log,
            stderr=log,
            env=_environment(os.environ),
            start_new_session=True,
            timeout=SUBMISSION_SECONDS,
        )
    if job.submission_path.is_file():
        answer = read_json(job.submission_path, Submission)
        if not answer.problem:
            return answer.ids
        raise BadInputError(_("The job was not submitted. {problem}").format(problem=answer.problem))
    said = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise BadInputError(
        _("The job was not submitted (exit code {code}). {problem}").format(
            code=done.returncode, problem=said[-1] if said else ""
        )
    )


def _finished(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, **options)
    except subprocess.TimeoutExpired:
        raise BusyError(
            _("The job was not submitted: Slurm has not answered for {minutes} minutes.").format(
                minutes=SUBMISSION_SECONDS // 60
            )
        ) from None


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment to submit from: a job submitted from within a job of Slurm must not inherit that one's limits."""
    kept = {name: value for name, value in own.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    # Another signal than the one that `part_process` passes on to submitit.
    kept.pop("SUBMITIT_PREEMPT_SIGNAL", None)
    if str(LIBRARY_FOLDER) not in map(os.path.abspath, site.getsitepackages()):
        places = [str(LIBRARY_FOLDER), *kept.get("PYTHONPATH", "").split(os.pathsep)]
        kept["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, places)))
    return kept


def submit_to_engine(job: JobFolder, record: JobRecord, options: ClusterOptions) -> tuple[str, ...]:
    """Submit through submitit, in this process."""
    import submitit

    # A cluster may not hand the environment on (`--export=NONE`).
    found = [f"{name}={os.environ[name]}" for name in ("PYTHONPATH",) if os.environ.get(name)]
    python = shlex.join(["env", *found, sys.executable])
    given = {"slurm_max_num_timeout": _TIME_LIMITS, "slurm_python": python, "local_python": python}
    executor = submitit.AutoExecutor(job.log_folder, cluster=record.engine, **given)
    executor.update_parameters(**_parameters(record, options))
    if record.engine == "local":
        # One after another: this computer is used by people, too.
        work = [JobParts(str(job.path), range(len(record.parts)))]
    else:
        work = [JobParts(str(job.path), [number]) for number in range(len(record.parts))]
    if len(work) == 1:
        return (executor.submit(work[0]).job_id,)
    with executor.batch():
        submitted = [executor.submit(parts) for parts in work]
    return tuple(one.job_id for one in submitted)


def _parameters(record: JobRecord, options: ClusterOptions) -> dict[str, Any]:
    shared = {"name": f"{record.what}-{record.run}", "stderr_to_stdout": True, "gpus_per_node": options.gpus or None}
    if record.engine == "local":
        return {**shared, "timeout_min": _LOCAL_MINUTES}
    minutes = max(1, round(options.hours * 60))
    further: dict[str, Any] = {"requeue": True}
    further |= {name: value or True for name, value in options.slurm_options.items()}
    return {
        **shared,
        "timeout_min": minutes,
        "cpus_per_task": options.cpus,
        "mem_gb": options.memory_gb,
        # Since Slurm 22.05 `srun`, which submitit starts the job with, no longer takes it from the job.
        "slurm_srun_args": [f"--cpus-per-task={options.cpus}"] if options.cpus else None,
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_qos": options.qos,
        "slurm_signal_delay_s": min(_SIGNAL_SECONDS, minutes * 30),
        "slurm_additional_parameters": further,
    }


def main(arguments: list[str]) -> None:
    """Submit the job of a folder with these options, and leave the answer in it."""
    job = JobFolder(Path(arguments[0]))
    options = parse_json(arguments[1], ClusterOptions, _("the options of a job"))
    try:
        answer = Submission(submit_to_engine(job, job.record(), options))
    except Exception as error:
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        said = "; ".join([*lines[:1], *(line.removeprefix("sbatch: error: ") for line in lines[1:])])
        answer = Submission(problem=f"{said.rstrip('.') or type(error).__name__}.")
    write_json(job.submission_path, answer)


if __name__ == "__main__":
    main(sys.argv[1:])
