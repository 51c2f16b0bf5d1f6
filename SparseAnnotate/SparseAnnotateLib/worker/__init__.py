"""The process that runs the heavy work, its client, and the command line: one set of requests for all of them.

Exported here is the client's side, which needs only the standard library; `requests` and `server` run in the worker.
"""

from .client import Call, Transport, WorkerClient
from .jobs import Job, Steps, WorkerJobs
from .subprocess_transport import LIBRARY_FOLDER, BlockingWorker, SubprocessTransport, worker_command, worker_python

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
