"""What all parts of the logic share: the cohort folder and the jobs of the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from ..client import Job, Steps, WorkerJobs
from ..core import Cohort, Progress
from ..core.cohort_file import COHORT_FILE
from ..core.decathlon import DATASET_FILE
from ..remote.host_requests import hosts_command
from ..remote.relay import relay_command


@dataclass(frozen=True)
class Waiting:
    """Whether the caller waits for the end of a job, and the callbacks for its end and its progress.

    Attributes:
        for_completion: block until the job has ended, and return its result or raise its error.
        on_done: called with result and error when a job that the caller does not wait for has ended.
        on_progress: called with the progress of the job.
    """

    for_completion: bool = True
    on_done: Callable | None = None
    on_progress: Callable[[Progress], None] | None = None


class Session:
    """The cohort folder that volumes, drawn slices and runs are written to, and the worker that works on it.

    Args:
        new_transport: makes the connection to a worker for calls that do not wait; with a command line, to the process
            that it starts.
        new_learning_transport: the same for the worker that learns while slices are being drawn.
        later: calls a function from the event loop; without it, work in this process is done immediately.

    Attributes:
        jobs: the jobs of the worker. learning_jobs: those of the worker that learns while slices are being drawn.
        host_jobs: those of the process that sets hosts up. host: the host to compute on; '' for this computer.
    """

    def __init__(self, new_transport: Callable, new_learning_transport: Callable, later: Callable | None = None):
        self._cohort_folder: Path | None = None
        self.host = ""

        def through_relay(connect: Callable) -> Callable:
            def connected():
                command = self._relay()
                return connect() if command is None else connect(command)

            return connected

        self.learning_jobs = WorkerJobs(through_relay(new_learning_transport), later=later, command=self._relay)

        def wait() -> None:
            slicer.app.processEvents()

        self.jobs = WorkerJobs(through_relay(new_transport), while_waiting=wait, later=later, command=self._relay)
        self.host_jobs = WorkerJobs(
            lambda: new_transport(hosts_command()), while_waiting=wait, later=later, command=hosts_command
        )

    @property
    def cohort_folder(self) -> Path:
        """The selected folder, or the default one beside Slicer's scenes."""
        return self._cohort_folder or Path(slicer.app.defaultScenePath) / "SparseAnnotate"

    def use_cohort_folder(self, folder: str | Path | None) -> None:
        """Set the cohort folder; an empty text or None restores the default."""
        # Absolute, because the worker's working directory differs from Slicer's.
        text = str(folder or "").strip()
        self._cohort_folder = Path(folder or "").expanduser().absolute() if text else None

    @property
    def has_cohort(self) -> bool:
        """True if the folder contains a cohort, or a dataset in the Decathlon format."""
        return any((self.cohort_folder / name).is_file() for name in (COHORT_FILE, DATASET_FILE))

    def cohort(self) -> Cohort:
        """The cohort in the folder; created if it does not exist."""
        folder = self.cohort_folder
        return Cohort.open(folder) if self.has_cohort else Cohort.create(folder, folder.name)

    def runs(self) -> list[str]:
        """Names of the runs in the cohort folder, oldest first."""
        return self.cohort().runs() if self.has_cohort else []

    def use_host(self, name: str) -> None:
        """Compute on a host that was set up, '' for this computer; ends the workers that were used before."""
        if name != self.host:
            self.jobs.close()
            self.learning_jobs.close()
            self.host = name

    def _relay(self) -> list[str] | None:
        """The command line in place of the worker's; None for this computer."""
        return relay_command(self.host) if self.host else None

    def do_on_hosts(self, method: str, params: dict[str, Any], waiting: Waiting) -> Any | Job:
        """`do` for a request about hosts."""
        if waiting.for_completion:
            return self.host_jobs.run(method, params, lambda answer: answer, waiting.on_progress)
        return self.host_jobs.start(method, params, lambda answer: answer, waiting.on_done, waiting.on_progress)

    def do(
        self, method: str | None, prepare: Steps | Any, finish: Callable[[Any], Any], waiting: Waiting, name: str = ""
    ) -> Any | Job:
        """Do a job and return its result, or start it; the arguments are those of `WorkerJobs.start`."""
        if waiting.for_completion:
            return self.jobs.run(method, prepare, finish, waiting.on_progress)
        return self.jobs.start(method, prepare, finish, waiting.on_done, waiting.on_progress, name)
