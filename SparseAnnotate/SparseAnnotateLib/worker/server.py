"""The worker process: reads requests from stdin, processes them one after another, answers on stdout.

What libraries print goes to stderr and can never be mistaken for a message. Closing stdin ends the process.
"""

from __future__ import annotations

import sys
from typing import IO, Any

from ..client.request_server import InvalidRequestError, RequestServer, end_process, own_streams
from ..core import BadInputError, Watch
from ..core.strict_json import from_plain
from .process_environment import complete_environment
from .requests import METHODS

# By a thread of their own, also while a run is being trained.
_ANSWERED_IMMEDIATELY = ("environment", "slice", "jobs", "job_log", "cancel_jobs")


class Server(RequestServer):
    """Answers the requests in METHODS."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]):
        super().__init__(
            requests, answers, METHODS, _answer, immediate=_ANSWERED_IMMEDIATELY, after_each=_release_memory
        )


def _answer(method: str, params: Any, watch: Watch) -> Any:
    request_class, function = METHODS[method]
    try:
        request = from_plain(params, request_class, f"the request '{method}'")
    except BadInputError as error:
        raise InvalidRequestError(error.message) from error
    watch.check()
    return function(request, watch)


def _release_memory() -> None:
    """Leave the GPUs' memory to the next job, and to other programs; without torch there is nothing to release."""
    if "torch" in sys.modules:
        from ..learning.devices import release_cached_memory

        release_cached_memory()


def main() -> None:
    """Serve stdin and stdout."""
    complete_environment()
    Server(*own_streams()).serve()
    end_process()
