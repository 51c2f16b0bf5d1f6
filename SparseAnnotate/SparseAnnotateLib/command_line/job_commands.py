"""`submit`, `jobs`, `logs`, `cancel` and `job`: work that continues without the terminal, here or on a cluster."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ..core import BadInputError, CancelledError, Watch
from ..core.messages import _
from ..core.strict_json import to_plain
from ..runs.job_states import EngineChoice, JobState, SubmittedJob
from ..worker import requests
from ..worker.jobs.part_work import do_part
from ..worker.jobs.records import PartOutcome
from ..worker.jobs.requests import CASES_PER_JOB, LOG_LINES, SubmitRequest, part_log
from ..worker.jobs.states import start_of_last_lines
from .examples import example_text
from .predict_command import prediction_options
from .shared_options import cohort_command, of_options, output_options, request_of_options
from .terminal_output import show_line, show_table
from .training_commands import training_choice, training_options

_WATCH_SECONDS, _FOLLOW_SECONDS, _STATE_SECONDS = 5.0, 1.0, 15.0


def add_submit(commands) -> None:
    text = "train, or predict many cases, with Slurm or in the background of this computer"
    command = commands.add_parser("submit", help=text, description=text[:1].upper() + text[1:] + ".")
    kinds = command.add_subparsers(dest="what", required=True, metavar="{train,predict}")
    train = cohort_command(kinds, "train", "train on drawn slices, or resume a run", show_submitted, _submit_train)
    training_options(train)
    predict = cohort_command(kinds, "predict", "label cases of the cohort with a run", show_submitted, _submit_predict)
    predict.add_argument("--run", required=True, help="name of the run")
    prediction_options(predict)
    for kind in (train, predict):
        _engine_options(kind)
        kind.epilog = example_text("submit")
        kind.formatter_class = argparse.RawDescriptionHelpFormatter
    predict.add_argument(
        "--cases-per-job",
        type=int,
        metavar="N",
        help=f"cases that one job of the array labels one after another (default: {CASES_PER_JOB}, or more where there "
        "would be over 1000 jobs)",
    )


def _engine_options(command: argparse.ArgumentParser) -> None:
    defaults = SubmitRequest
    where = command.add_argument_group("where it runs")
    where.add_argument(
        "--engine",
        choices=get_args(EngineChoice),
        default=defaults.engine,
        help="slurm; local: this computer, in the background; auto: Slurm where 'sbatch' is found, otherwise local "
        f"(default: {defaults.engine})",
    )
    where.add_argument(
        "--gpus",
        type=int,
        default=defaults.gpus,
        metavar="N",
        help="GPUs of the training, or of each job of a prediction (default: none from Slurm; on this computer, those "
        "that there are)",
    )
    where.add_argument(
        "--hours",
        type=float,
        default=defaults.hours,
        metavar="H",
        help="time limit in hours of each start in Slurm; a job that reaches it saves a checkpoint, is queued again "
        f"and continues (default: {defaults.hours:g})",
    )
    where.add_argument("--cpus", type=int, metavar="N", help="CPU cores of each job in Slurm")
    where.add_argument("--memory", dest="memory_gb", type=float, metavar="GB", help="memory in GB of each job in Slurm")
    where.add_argument("--slurm-partition", dest="partition", metavar="NAME", help="partition of the cluster")
    where.add_argument("--slurm-account", dest="account", metavar="NAME", help="account that is charged")
    where.add_argument("--slurm-qos", dest="qos", metavar="NAME", help="quality of service")
    where.add_argument(
        "--slurm-option",
        dest="slurm_options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a further option of sbatch, without dashes before it, such as constraint=a100; KEY alone for one without "
        "a value; can be given several times",
    )
    where.add_argument(
        "--scratch",
        metavar="FOLDER",
        help="folder on the disk of the node for caches and temporary files, such as '$TMPDIR' in quotes (default: "
        "caches in the cohort, temporary files where TMPDIR says)",
    )


def add_jobs(commands) -> None:
    command = cohort_command(commands, "jobs", "show how far the submitted jobs of a cohort are", show_jobs, _jobs)
    command.add_argument("ids", nargs="*", metavar="JOB", help="only these jobs (default: all)")
    command.add_argument(
        "--watch", action="store_true", help="show them again until none waits or runs; or until Ctrl-C"
    )


def add_logs(commands) -> None:
    command = cohort_command(commands, "logs", "show the log of a job", show_log, _logs, request_name="job_log")
    command.add_argument("id", metavar="JOB", help="number of the job, as 'jobs' shows it")
    command.add_argument("--lines", type=int, default=LOG_LINES, metavar="N", help=f"last lines (default: {LOG_LINES})")
    command.add_argument(
        "--part",
        type=int,
        metavar="N",
        help="of a job of several parts: of this one, from 0 (default: the first that failed or is running)",
    )
    command.add_argument(
        "--follow", action="store_true", help="show new lines until the job has ended, or until Ctrl-C"
    )


def add_cancel(commands) -> None:
    text = "cancel submitted jobs; a training saves a checkpoint first"
    command = cohort_command(commands, "cancel", text, show_jobs, request_name="cancel_jobs")
    command.add_argument("ids", nargs="+", metavar="JOB", help="numbers of the jobs, as 'jobs' shows them")


def add_job(commands) -> None:
    text = "do a part of a submitted job in this process: what a job itself runs"
    command = commands.add_parser("job", help=text, description=text[:1].upper() + text[1:] + ".")
    command.add_argument("folder", metavar="FOLDER", help="folder of the job: COHORT/jobs/JOB")
    command.add_argument("--part", type=int, default=0, metavar="N", help="number of the part, from 0 (default: 0)")
    command.set_defaults(function=_job, show=show_outcome)
    output_options(command)


def show_submitted(job: SubmittedJob) -> None:
    show_line(job.message)
    if job.cluster_ids:
        ids = job.cluster_ids
        shown = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
        show_line(
            f"{'Slurm' if job.engine == 'slurm' else 'Process'}: {shown}. 'sparse-annotate jobs' shows how far it is."
        )


def show_jobs(states: Sequence[JobState]) -> None:
    """A table of the jobs, and what there is to say of each."""
    rows = [
        {
            "job": state.id,
            "what": state.what,
            "run": state.run,
            "state": state.state,
            "done": f"{state.fraction:.0%}",
            "progress": state.progress,
            "Slurm or process": ", ".join(state.cluster_ids[:1]) + (" ..." if len(state.cluster_ids) > 1 else ""),
            "submitted (UTC)": (state.submitted or "")[:16].replace("T", " "),
        }
        for state in states
    ]
    show_table(rows)
    for state in states:
        if state.message:
            show_line(f"- {state.id}: {state.message}")


def show_log(text: str) -> None:
    show_line(text or _("The job has not written anything yet."))


def show_outcome(outcome: PartOutcome) -> None:
    show_line(outcome.message or _("Done."))


def _submit_train(options: argparse.Namespace, watch: Watch) -> SubmittedJob:
    choice = training_choice(options)
    request = {name: value for name, value in choice.items() if name not in ("cohort", "state")}
    return _submit(options, watch, request)


def _submit_predict(options: argparse.Namespace, watch: Watch) -> SubmittedJob:
    request = to_plain(of_options(requests.PredictRequest, options))
    return _submit(options, watch, {k: v for k, v in request.items() if k not in ("cohort", "state")})


def _submit(options: argparse.Namespace, watch: Watch, request: dict[str, Any]) -> SubmittedJob:
    options.cases_per_job = getattr(options, "cases_per_job", None)
    given = dict(_pair(word) for word in options.slurm_options)
    return requests.submit(of_options(SubmitRequest, options, request=request, slurm_options=given), watch)


def _pair(word: str) -> tuple[str, str]:
    name, _sign, value = word.partition("=")
    return name, value


def _jobs(options: argparse.Namespace, watch: Watch) -> list[JobState]:
    """The states; with '--watch' once nothing waits or runs any more, after showing each change."""
    shown: list[JobState] | None = None
    while True:
        states: list[JobState] = request_of_options(options, watch)
        if not options.watch or not any(state.is_live for state in states):
            return states
        if states != shown and not options.json:
            show_jobs(states)
        shown = states
        if _interrupted(watch, _WATCH_SECONDS):
            return states


def _logs(options: argparse.Namespace, watch: Watch) -> str:
    if not options.follow:
        return request_of_options(options, watch)
    if options.json:
        raise BadInputError(_("Leave out '--follow' or '--json': JSON is written once, at the end."))
    shown, path = 0, ""
    of_log = of_options(requests.JobLogRequest, options)
    asked = requests.JobsRequest(options.cohort, options.state, (options.id,))
    while True:
        (state,) = requests.jobs(asked, watch)
        log = state.log if options.part is None else part_log(of_log)
        if path != log:
            # Of a job of several parts, the log of the next one.
            path, shown = log, start_of_last_lines(log, options.lines)
        # The log grows all the time; Slurm is asked rarely.
        until = time.monotonic() + _STATE_SECONDS
        while True:
            shown = _print_from(path, shown)
            if not state.is_live or _interrupted(watch, _FOLLOW_SECONDS):
                return state.message or state.state
            if time.monotonic() >= until:
                break


def _length(path: str) -> int:
    return Path(path).stat().st_size if path and Path(path).is_file() else 0


def _print_from(path: str, start: int) -> int:
    """Print what a log has from a byte on; returns where it ends."""
    if _length(path) <= start:
        return start
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read()
    show_line(content.decode("utf-8", errors="replace").rstrip("\n"))
    sys.stdout.flush()
    return start + len(content)


def _interrupted(watch: Watch, seconds: float) -> bool:
    """Wait; True when the user no longer wants to watch. The jobs go on."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            watch.check()
            time.sleep(0.1)
    except CancelledError:
        return True
    return False


def _job(options: argparse.Namespace, watch: Watch) -> PartOutcome:
    return do_part(options.folder, options.part, watch)
