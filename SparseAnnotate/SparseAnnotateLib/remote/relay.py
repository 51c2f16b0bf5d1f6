"""The relay: a process on this computer that speaks the worker's protocol and has a host do what it can do better.

It keeps all that blocks away from the window: copying, waiting for a connection, watching a training. When it ends,
jobs on the host go on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from .. import client
from ..client.request_server import RequestServer, end_process, own_streams
from ..core import Watch
from ..core.slicer_python import worker_python
from .host_connection import HostConnection
from .host_requests import serve_hosts
from .hosts import host_named
from .learning_there import LearningThere, learns_while_drawing
from .requests_there import HostSession, answer_there, correct_there, opened
from .trainings import TrainingThere
from .where import AS_A_JOB, HERE, LEARNING_THERE, WHERE, where

_ANSWERED_IMMEDIATELY = ("environment", "slice")
_LOOK_SECONDS = 0.1


class Relay:
    """Answers the worker's requests: on a host, or by a worker on this computer; see `where`.

    Args:
        host: name of a host that was set up. is_allowed: the user allows copying the cohorts that are used.

    Raises BadInputError when the host was not set up.

    Example::

        relay = Relay("gpu", is_allowed=True)
        rows = relay.answer("predict", {"cohort": "livers", "run": "first"}, Watch())
        relay.close()
    """

    def __init__(self, host: str, is_allowed: bool = False):
        self._session = HostSession(host_named(host), is_allowed)
        self._here = HostConnection(client.worker_command, "", "worker")
        self._leaving = threading.Event()
        self._at_work = threading.Lock()  # of the cohort's copy there
        self._learning: dict[Path, LearningThere] = {}

    def answer(self, method: str, params: Any, watch: Watch, always_there: bool = False) -> Any:
        """The result of a request, as plain values; files that it names are here.

        `always_there`: do it on the host also where it could be done here, for requests that can be done there.

        Raises what the request raises, ConnectionLostError, CopyingNotAllowedError, BusyError, CancelledError.
        """
        watch.check()
        place = where(method, params)
        if place == LEARNING_THERE or (place == AS_A_JOB and learns_while_drawing(params)):
            return self._learned(params, watch)
        if place == AS_A_JOB:
            return TrainingThere(self._session, params, self._leaving.is_set).train(watch)
        if place == HERE and (method == "correct" or not always_there):
            return self._here.call(method, params, watch)
        learning = self._learning_run(params) if method == "slice" else None
        if learning is not None:
            return learning.slice(params, watch)
        if method == "environment":
            return answer_there(self._session, method, params, watch)
        while not self._at_work.acquire(timeout=_LOOK_SECONDS):
            watch.check()
        try:
            if method == "correct":
                return correct_there(self._session, params, lambda more: self._here.call(method, more), watch)
            return answer_there(self._session, method, params, watch)
        finally:
            self._at_work.release()

    def _learned(self, params: Any, watch: Watch) -> Any:
        learning = LearningThere(self._session, params)
        self._learning[learning.path] = learning
        try:
            return learning.train(watch)
        finally:
            self._learning.pop(learning.path, None)

    def _learning_run(self, params: Any) -> LearningThere | None:
        """The training of the run that a request names, if it is learning now."""
        if not self._learning:
            return None
        return self._learning.get(opened(params).run_folder(str(params.get("run", ""))))

    def leave(self) -> None:
        """From now on cancelling a training means that only this process leaves it."""
        self._leaving.set()

    def close(self) -> None:
        """End the connections and the worker here."""
        self._here.close()
        self._session.close()


def relay_command(host: str, allows_copying: bool = False) -> list[str]:
    """Command line of the relay to a host, to be run in LIBRARY_FOLDER in place of the worker's."""
    allowed = ["--allow-copying"] if allows_copying else []
    return [worker_python(), "-m", "SparseAnnotateLib.remote", "relay", host, *allowed]


def serve(host: str, is_allowed: bool, streams: tuple[IO[bytes], IO[bytes]]) -> None:
    """Answer requests from a stream until it ends."""
    relay = Relay(host, is_allowed)
    # Whether a training there was cancelled is known when the host says so.
    RequestServer(
        *streams, WHERE, relay.answer, immediate=_ANSWERED_IMMEDIATELY, on_end=relay.leave, patient=("train",)
    ).serve()
    relay.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m SparseAnnotateLib.remote relay HOST [--allow-copying]`, or `... hosts`; returns the exit code."""
    import argparse

    from ..core import SparseAnnotateError

    parser = argparse.ArgumentParser(prog="SparseAnnotateLib.remote")
    commands = parser.add_subparsers(dest="command", required=True)
    relay = commands.add_parser("relay")
    relay.add_argument("host")
    relay.add_argument("--allow-copying", action="store_true")
    commands.add_parser("hosts")
    options = parser.parse_args(arguments)
    streams = own_streams()
    try:
        if options.command == "hosts":
            serve_hosts(streams)
        else:
            serve(options.host, options.allow_copying, streams)
    except SparseAnnotateError as error:
        # The last line of the log is what the user is shown.
        print(error.message, file=sys.stderr, flush=True)
        return 1
    end_process()
    return 0
