"""What Slurm says of jobs: `squeue` while it knows them, `sacct` afterwards where a cluster keeps accounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.messages import _

_SECONDS = 60
_FORMAT = "%i|%T|%r|%m"
WAITING_STATES = frozenset(
    ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
)
LIVE_STATES = WAITING_STATES | frozenset(
    ("RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED")
)
RETURNING_STATES = frozenset(("BOOT_FAIL", "NODE_FAIL", "PREEMPTED"))
"""A job that has ended so may be queued again by Slurm a moment later."""


@dataclass(frozen=True)
class QueueEntry:
    """One job, or task of an array: its state, Slurm's reason for it, and the memory asked for, as Slurm writes it."""

    state: str
    reason: str = ""
    memory: str = ""

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_STATES

    @property
    def may_return(self) -> bool:
        return self.state in RETURNING_STATES

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING_STATES


class SlurmUnavailable(Exception):
    """Slurm does not answer; the text is what it says."""


def queue_entries(ids: Sequence[str]) -> dict[str, QueueEntry]:
    """What Slurm says of the jobs with these ids; those that it no longer knows are missing.

    Raises SlurmUnavailable when it does not answer.
    """
    if not ids:
        return {}
    numbers = sorted({one.partition("_")[0] for one in ids})
    command = ["squeue", "--noheader", "--array", "--states=all", f"--format={_FORMAT}", f"--jobs={','.join(numbers)}"]
    found = {}
    for line in _lines(command):
        number, state, reason, memory = [*line.strip().split("|"), "", "", ""][:4]
        found[number] = QueueEntry(state, "" if reason == "None" else reason, memory)
    unknown = [one for one in ids if one not in found]
    if unknown and shutil.which("sacct"):
        found.update(_accounted(unknown))
    return {one: found[one] for one in ids if one in found}


def ids_of_scripts_in(folders: Sequence[Path]) -> list[tuple[str, ...]]:
    """The ids of this user's jobs whose batch script is in each folder, in the order of their tasks.

    Raises SlurmUnavailable when Slurm does not answer.
    """
    # Not `--me`: it is new in Slurm 20.02.
    user = f"--user={os.getuid()}" if sys.platform != "win32" else "--me"
    found: dict[str, list[tuple[str, int, str]]] = {}
    for line in _lines(["squeue", "--noheader", "--array", "--states=all", user, "--format=%i|%o"]):
        number, _bar, script = line.strip().partition("|")
        array, _line, task = number.partition("_")
        found.setdefault(os.path.dirname(script), []).append((array, int(task) if task.isdecimal() else 0, number))
    in_folder: dict[str, list[tuple[str, int, str]]] = {}
    for folder, jobs in found.items():
        # A cohort may have been reached through a link.
        in_folder.setdefault(os.path.realpath(folder), []).extend(jobs)
    wanted = [sorted(in_folder.get(os.path.realpath(folder), [])) for folder in folders]
    return [tuple(number for _array, _task, number in jobs) for jobs in wanted]


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are left alone. Raises SlurmUnavailable."""
    if ids:
        _lines(["scancel", *ids])


def _accounted(ids: Sequence[str]) -> dict[str, QueueEntry]:
    """What the cluster's accounts say of jobs that the queue has forgotten; {} where it keeps none."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State,ReqMem"]
    try:
        lines = _lines([*command, f"--jobs={','.join(ids)}"])
    except SlurmUnavailable:
        return {}
    fields = [line.split("|") for line in lines if line.count("|") == 2]
    # 'CANCELLED by 1000'
    return {number: QueueEntry(state.partition(" ")[0], "", memory) for number, state, memory in fields}


def _lines(command: Sequence[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmUnavailable(str(error)) from error
    if done.returncode and "Invalid job id" not in done.stderr:
        raise SlurmUnavailable(" ".join(done.stderr.split()) or f"{command[0]}: exit code {done.returncode}")
    return [line for line in done.stdout.splitlines() if line.strip()]


def ended_sentence(entry: QueueEntry | None, memory_gb: float | None) -> str:
    """Why a job ended that did not say so itself, from what Slurm says of it."""
    if entry is None:
        return _("It ended without a message, and Slurm no longer knows it. See its log.")
    memory = _("{memory:g} GB").format(memory=round(memory_gb, 2)) if memory_gb is not None else entry.memory
    sentences: Mapping[str, str] = {
        "OUT_OF_MEMORY": _("It was killed because it needed more memory than the {memory} it had."),
        "TIMEOUT": _("It was killed at its time limit."),
        "NODE_FAIL": _("The node it ran on has failed."),
        "BOOT_FAIL": _("The node it was to run on did not start."),
        "PREEMPTED": _("It was preempted, and Slurm does not queue such jobs again here."),
        "CANCELLED": _("It was cancelled in Slurm."),
        "DEADLINE": _("It was not done before its deadline."),
    }
    usual = _("It ended without a message; Slurm says {state} {reason}. See its log.")
    template = sentences.get(entry.state, usual)
    return template.format(memory=memory, state=entry.state, reason=f"({entry.reason})" if entry.reason else "")
