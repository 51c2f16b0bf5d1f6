"""Whether a job is still there: the engine's ids, the processes of this computer, and the age of its files."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from ...core import BadInputError
from ...core.strict_json import read_json
from .records import JobFolder, JobRecord, PartStatus, Submission

SILENT_SECONDS = 900.0
"""Of a job on another computer: it shows that it is alive every 20 s."""

SUBMISSION_SECONDS = 300
_LATE_SECONDS = 60.0


def cluster_ids(job: JobFolder, record: JobRecord) -> tuple[str, ...]:
    """The engine's ids, also when the process that submitted the job has not lived to write them into its record.

    Raises BadInputError when a file is damaged.
    """
    if record.cluster_ids:
        return record.cluster_ids
    if (answer := _submission(job)) is not None:
        return answer.ids
    statuses = [job.part(number).status() for number in range(len(record.parts))]
    found = next((status.cluster_id for status in statuses if status is not None and status.cluster_id), "")
    array, is_array, _task = found.partition("_")
    if is_array:
        return tuple(f"{array}_{number}" for number in range(len(statuses)))
    return (found,) if found else ()


def submission_problem(job: JobFolder) -> str:
    """Why the engine refused the job; '' when it did not."""
    answer = _submission(job)
    return answer.problem if answer is not None else ""


def is_being_submitted(job: JobFolder) -> bool:
    """Whether a job without ids may still get some: its record has been written only a while ago."""
    return seconds_since_change(job, job.record_path) < SUBMISSION_SECONDS + _LATE_SECONDS


def is_alive(record: JobRecord, ids: tuple[str, ...], status: PartStatus | None) -> bool:
    """Whether the process of a local job of this computer is still there."""
    numbers = [int(one) for one in ids if one.isdecimal()]
    if status is not None and status.host == record.host:
        numbers.append(status.process)
    return any(map(is_job_process, numbers))


def was_heard_of(job: JobFolder, record: JobRecord) -> bool:
    """Whether a local job of another computer has shown of late that it is alive.

    One process does all parts, so one that waits is alive as long as another one is.
    """
    paths = [job.record_path, *(job.part(number).status_path for number in range(len(record.parts)))]
    changed = [path.stat().st_mtime for path in paths if path.is_file()]
    return bool(changed) and _present(job.path) - max(changed) < SILENT_SECONDS


def is_elsewhere(record: JobRecord) -> bool:
    """Whether a local job runs on another computer than this one."""
    return record.host != socket.gethostname()


def seconds_since_change(job: JobFolder, path: Path) -> float:
    """How long ago a file of a job was changed, by the clock of the computer whose disk it is on; infinite without it.

    Clocks of two computers differ.
    """
    try:
        changed = path.stat().st_mtime
    except OSError:
        return float("inf")
    return _present(job.path) - changed


def _present(folder: Path) -> float:
    """The time by the clock of the computer whose disk a folder is on, in seconds."""
    probe = folder / f".clock-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.write_bytes(b"")
        return probe.stat().st_mtime
    except OSError:  # a folder that can only be read
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _submission(job: JobFolder) -> Submission | None:
    try:
        return read_json(job.submission_path, Submission) if job.submission_path.is_file() else None
    except BadInputError:
        return None


def is_job_process(number: int) -> bool:
    """Whether this is a process of submitit on this computer."""
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
