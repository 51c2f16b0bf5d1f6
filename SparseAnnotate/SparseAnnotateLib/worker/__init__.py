"""The process that runs the heavy work, its client, and the command line: one set of requests for all of them.

Exported here is the client's side, which needs only the standard library; `requests` and `server` run in the worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Call, Transport, WorkerClient
    from .jobs import Job, Steps, WorkerJobs
    from .subprocess_transport import LIBRARY_FOLDER, BlockingWorker, SubprocessTransport, worker_command, worker_python

# Imported when they are asked for: the command line must catch signals before anything large is loaded.
_MODULES = {
    "LIBRARY_FOLDER": "subprocess_transport",
    "BlockingWorker": "subprocess_transport",
    "Call": "client",
    "Job": "jobs",
    "Steps": "jobs",
    "SubprocessTransport": "subprocess_transport",
    "Transport": "client",
    "WorkerClient": "client",
    "WorkerJobs": "jobs",
    "worker_command": "subprocess_transport",
    "worker_python": "subprocess_transport",
}

__all__ = [
    "LIBRARY_FOLDER",
    "BlockingWorker",
    "Call",
    "Job",
    "Steps",
    "SubprocessTransport",
    "Transport",
    "WorkerClient",
    "WorkerJobs",
    "worker_command",
    "worker_python",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
