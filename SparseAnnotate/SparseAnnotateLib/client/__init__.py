"""The worker's client: jobs, JSON-RPC and transports. Needs only the standard library."""

from ..core.slicer_python import worker_python
from .jobs import CORRECTION, EXPORT, Job, Steps, WorkerJobs
from .subprocess_transport import LIBRARY_FOLDER, BlockingWorker, SubprocessTransport, worker_command
from .worker_client import Call, Transport, WorkerClient

__all__ = [
    "CORRECTION",
    "EXPORT",
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
