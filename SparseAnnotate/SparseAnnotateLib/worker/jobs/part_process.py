"""What submitit runs in a job: it starts the work as a child process, passes signals on to it, and keeps its status.

Signals that end a job come from Slurm (preemption, time limit, `scancel`), from `cancel`, or from the system. All mean
the same to the work: save a checkpoint and end. Afterwards a part that got SIGUSR1 or submitit's SIGUSR2 is queued
again by submitit; after SIGTERM, Slurm itself decides whether the job starts again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.atomic_files import why_not_written
from ...core.cohort_layout import CACHE_VARIABLE
from ...core.errors import BadInputError, FileWriteError, SparseAnnotateError
from ...core.messages import _
from ..process_environment import complete_environment
from .part_work import WATCHER_VARIABLE
from .records import JobFolder, JobRecord, PartStatus, continued, now

_ASK_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_HEARTBEAT_SECONDS = 20.0
# Slurm kills a job about 30 s after its SIGTERM (KillWait); torchrun waits as long for its processes.
_KILL_SECONDS = 600.0
_OUTCOME_SECONDS = 30.0
_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2")
_KILLED = -9


class JobParts:
    """The parts of a job that one process of submitit does, one after another. submitit pickles it.

    Args:
        folder: of the job. numbers: of the parts.
    """

    def __init__(self, folder: str, numbers: Sequence[int]):
        self.folder = folder
        self.numbers = tuple(numbers)

    def __call__(self) -> None:
        if os.environ.get("SLURM_PROCID", "0") != "0":
            return  # Slurm has started the job several times: one process does it
        complete_environment()
        # The handler of submitit queues the job again; here it is called once the work has ended.
        queue_again = signal.getsignal(signal.SIGUSR2)
        asked: list[int] = []
        for name in _SIGNALS:
            signal.signal(getattr(signal, name), lambda number, _frame: asked.append(number))
        job = JobFolder(Path(self.folder))
        record = job.record()
        parts = [_Part(job, record, number, asked, queue_again) for number in self.numbers]
        codes = [part.run(not_again=len(parts) > 1) for part in parts]
        if any(codes):
            sys.exit(1)

    def checkpoint(self) -> Any:
        """What submitit queues again: the same parts, which continue from their files."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Part:
    def __init__(self, job: JobFolder, record: JobRecord, number: int, asked: list[int], queue_again: Any):
        self._job, self._record, self._number = job, record, number
        self._asked, self._queue_again = asked, queue_again
        self._files = job.part(number)
        self._status: PartStatus | None = None
        with suppress(BadInputError):  # a damaged file is written again
            self._status = self._files.status()

    def run(self, not_again: bool = False) -> int:
        """Do this part; returns the exit code, 0 also for one that was done before.

        `not_again`: leave it when it has failed, because it is another part that continues.
        """
        stage = self._status.stage if self._status is not None else ""
        if stage == "finished" or (not_again and stage == "failed"):
            return int(stage == "failed")
        if self._stops:
            stopped = replace(self._begun(), stage="cancelled" if self._job.is_cancelled else "waiting")
            self._write(replace(stopped, ended=now()))
            return 1
        for path in (self._files.outcome_path, self._job.ended_path):
            path.unlink(missing_ok=True)
        self._write(self._begun())
        try:
            with _scratch_folder(self._record, self._number) as scratch:
                child = subprocess.Popen(
                    self._command(),
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                    env=child_environment(self._record, scratch),
                    preexec_fn=_ignore_user_signals,  # torchrun would end without its processes
                )
                try:
                    code = self._wait(child)
                finally:
                    if child.poll() is None:
                        child.terminate()  # nobody would look after it
        except SparseAnnotateError as error:
            self._write(self._over("failed", 1, error.message))
            return 1
        return self._ended(code)

    @property
    def _is_torchrun(self) -> bool:
        return self._record.gpus > 1

    @property
    def _stops(self) -> bool:
        """Whether the part has been asked to stop."""
        return bool(self._asked) or self._job.is_cancelled

    def _begun(self) -> PartStatus:
        return continued(
            self._status,
            process=os.getpid(),
            host=socket.gethostname(),
            cluster_id=cluster_id(),
            memory_gb=granted_memory_gb(),
        )

    def _command(self) -> list[str]:
        program = ["-m", "SparseAnnotateLib.command_line", "job", str(self._job.path), "--part", str(self._number)]
        if not self._is_torchrun:
            return [sys.executable, *program]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(self._record.gpus)]
        return [sys.executable, *launch, *program]

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for the work to end, ask it to stop when this process was asked to, and show that it is alive."""
        beaten = looked = time.monotonic()
        stop_at: float | None = None
        while child.poll() is None:
            time.sleep(_ASK_SECONDS)
            is_due = time.monotonic() - looked > _LOOK_SECONDS
            looked = time.monotonic() if is_due else looked
            # Hundreds of jobs that look for a file all the time would be a load on a shared file system.
            if stop_at is None and (self._asked or (is_due and self._job.is_cancelled)):
                stop_at = time.monotonic() + _KILL_SECONDS
                # Slurm signals all processes of a job, and torchrun must not be interrupted while it ends its own.
                if not (self._is_torchrun and self._record.engine == "slurm" and signal.SIGTERM in self._asked):
                    child.terminate()
            elif stop_at is not None and time.monotonic() > stop_at:
                child.kill()
            if time.monotonic() - beaten > _HEARTBEAT_SECONDS:
                beaten = time.monotonic()
                with suppress(SparseAnnotateError):  # the disk may be full for a while
                    self._write(replace(self._current(), heartbeat=now()))
        return child.returncode

    def _ended(self, code: int) -> int:
        outcome = self._files.outcome()
        until = time.monotonic() + _OUTCOME_SECONDS
        while outcome is None and self._is_torchrun and self._stops and time.monotonic() < until:
            # Its processes may still be saving what they have.
            time.sleep(_ASK_SECONDS)
            outcome = self._files.outcome()
        if outcome is not None and outcome.end == "finished":
            self._write(self._over("finished", code))
            return 0
        if outcome is not None and outcome.end == "failed":
            self._write(self._over("failed", code, outcome.message))
            return 1
        if self._job.is_cancelled:
            self._write(self._over("cancelled", code))
            return 1
        if self._asked:
            return self._interrupted(code)
        self._write(self._over("failed", code, ended_without_answer(code, self._current().memory_gb)))
        return 1

    def _interrupted(self, code: int) -> int:
        """The system has asked the part to stop: it waits to be continued."""
        self._write(self._over("waiting", code))
        queued = [number for number in self._asked if number != signal.SIGTERM]
        if queued and callable(self._queue_again):
            # Ends this process when the job has been queued again.
            try:
                self._queue_again(signal.SIGUSR2, None)
            except Exception as error:
                problem = _("It reached its time limit and was not queued again ({reason}).").format(reason=error)
                self._write(self._over("failed", code, problem))
        return 1

    def _current(self) -> PartStatus:
        assert self._status is not None
        return self._status

    def _over(self, stage: Any, code: int, message: str = "") -> PartStatus:
        return replace(self._current(), stage=stage, heartbeat=now(), ended=now(), exit_code=code, message=message)

    def _write(self, status: PartStatus) -> None:
        self._status = status
        self._files.write_status(status)


def ended_without_answer(code: int, memory_gb: float | None) -> str:
    """Why the work ended without saying so itself, as far as its exit code tells."""
    if code in (_KILLED, 128 - _KILLED):
        if memory_gb is not None:
            return _("It was killed, probably because it needed more than the {memory:g} GB of memory it had.").format(
                memory=round(memory_gb, 2)
            )
        return _("It was killed, probably because the computer ran out of memory.")
    if code < 0:
        return _("It was ended by the signal {number}. See its log.").format(number=-code)
    return _("It ended with the exit code {code}. See its log.").format(code=code)


@contextmanager
def _scratch_folder(record: JobRecord, number: int) -> Iterator[Path | None]:
    """A folder on the disk of the node for a part, removed at its end; None when none is wanted.

    Raises FileWriteError, BadInputError.
    """
    if not record.scratch:
        yield None
        return
    place = os.path.expanduser(os.path.expandvars(record.scratch))
    if "$" in place or not os.path.isabs(place):
        raise BadInputError(
            _("The scratch folder '{folder}' is not a whole path on this node: '{place}'.").format(
                folder=record.scratch, place=place
            )
        )
    try:
        os.makedirs(place, exist_ok=True)
        folder = tempfile.TemporaryDirectory(
            prefix=f"sparse-annotate-{record.id}-{number}-", dir=place, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise FileWriteError(why_not_written(Path(place), error)) from error
    with folder as path:
        yield Path(path)


def child_environment(record: JobRecord, scratch: Path | None = None) -> dict[str, str]:
    """The environment of the work: as many threads as cores, and on this computer the GPUs that the user may use.

    `scratch`: folder for caches and temporary files.
    """
    environment = dict(os.environ)
    if scratch is not None:
        environment[CACHE_VARIABLE] = environment["TMPDIR"] = str(scratch)
    environment["PYTHONUNBUFFERED"] = "1"
    environment[WATCHER_VARIABLE] = str(os.getpid())
    if record.cpus:
        # Not every cluster binds a job to its cores.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, record.cpus // max(1, record.gpus))))
    if record.engine == "local" and not record.gpus:
        # submitit shows a local job no GPU unless it asks for some.
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if record.visible_gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = record.visible_gpus
    return environment


def cluster_id() -> str:
    """Slurm's number of this job, such as '4711_3'; '' in a local job."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def granted_memory_gb() -> float | None:
    """The memory in GB that Slurm gives this job; None when it does not say."""
    megabytes = os.environ.get("SLURM_MEM_PER_NODE", "")
    if not megabytes.isdecimal() and os.environ.get("SLURM_MEM_PER_CPU", "").isdecimal():
        cpus = os.environ.get("SLURM_CPUS_ON_NODE", "1")
        megabytes = str(int(os.environ["SLURM_MEM_PER_CPU"]) * int(cpus if cpus.isdecimal() else 1))
    return int(megabytes) / 1024 if megabytes.isdecimal() and int(megabytes) > 0 else None


def _ignore_user_signals() -> None:
    for name in _SIGNALS[1:]:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
