"""The answering side of the worker's protocol: reads requests from a stream and processes them one after another.

The thread that calls `serve` only reads, so that a cancellation request arrives while another thread is working.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from typing import IO, Any

from ..core import BadInputError, CancelledError, Progress, SparseAnnotateError, Watch
from ..core.failed_cases import PartlyDoneError
from ..core.messages import _
from ..core.permissions import forbidden_files_named
from ..core.strict_json import to_plain
from . import jsonrpc

CANCEL_ANSWER_SECONDS = 1.5
SILENCE_SECONDS = 30.0
_LAST_SECONDS = 20.0
_LOOKS = 20


class InvalidRequestError(BadInputError):
    """A request whose parameters cannot be read."""


class RequestServer:
    """Reads requests from one stream and writes answers to another.

    Args:
        methods: names of the requests that it knows.
        answer: called with a method, its parameters and a watch; returns the result, or raises. InvalidRequestError
            for parameters that cannot be read.
        immediate: methods that get a thread of their own, also while another request is being processed.
        after_each: called after each other request.
        patient: methods whose cancellation is only answered once they have ended.
        on_end: called when the stream of requests has ended, before the open requests are cancelled.
    """

    def __init__(
        self,
        requests: IO[bytes],
        answers: IO[bytes],
        methods: Collection[str],
        answer: Callable[[str, Any, Watch], Any],
        immediate: Collection[str] = (),
        after_each: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
        patient: Collection[str] = (),
    ):
        self._requests = requests
        self._answers = answers
        self._methods = methods
        self._answer_to = answer
        self._immediate = immediate
        self._after_each = after_each
        self._on_end = on_end
        self._patient = patient
        self._writing = threading.Lock()
        self._jobs: queue.Queue[tuple[int, str, Any, Watch] | None] = queue.Queue()
        self._open: dict[int, Watch] = {}
        self._waited_for: set[int] = set()
        self._open_lock = threading.Lock()
        self._quick: list[threading.Thread] = []
        self._worker = threading.Thread(target=self._process_jobs, name="requests", daemon=True)
        self._heard = threading.Event()
        self._watcher: threading.Thread | None = None

    def serve(self) -> None:
        """Answer until the request stream ends; then cancel the running request and let it save its checkpoint.

        The process ends in the same way when a client that has said that it is alive says nothing for half a minute: a
        connection that is cut off does not always end.
        """
        self._worker.start()
        for line in self._requests:
            self._heard.set()
            if line.strip():
                self._receive(line)
        self._end()

    def _end(self) -> None:
        if self._on_end is not None:
            self._on_end()
        with self._open_lock:
            for watch in self._open.values():
                watch.cancel()
        self._jobs.put(None)
        for thread in self._quick:
            thread.join(_LAST_SECONDS)
        self._worker.join(_LAST_SECONDS)

    def _await_silence(self) -> None:
        # Counted in steps: time in which this process stood still is not silence.
        looks = 0
        while looks < _LOOKS:
            time.sleep(SILENCE_SECONDS / _LOOKS)
            looks = 0 if self._heard.is_set() else looks + 1
            self._heard.clear()
        print("Nothing was heard of the client for a while, so this process ends.", file=sys.stderr, flush=True)
        self._end()
        end_process()

    def _receive(self, line: bytes) -> None:
        try:
            message = jsonrpc.parsed(line)
        except ValueError as error:
            self._send(jsonrpc.error_line(None, jsonrpc.PARSE_ERROR, f"Not a JSON-RPC message: {error}."))
            return
        method, identifier, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method == jsonrpc.ALIVE:
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._await_silence, name="silence", daemon=True)
                self._watcher.start()
        elif method == jsonrpc.CANCEL:
            self._cancel(params.get("id") if isinstance(params, dict) else None)
        elif not isinstance(method, str) or not isinstance(identifier, int):
            problem = "A request needs the name of a method and a whole number as its id."
            self._send(jsonrpc.error_line(None, jsonrpc.INVALID_REQUEST, problem))
        elif method not in self._methods:
            self._send(jsonrpc.error_line(identifier, jsonrpc.METHOD_NOT_FOUND, f"Unknown request: '{method}'."))
        else:
            watch = Watch(lambda progress: self._send_progress(identifier, progress))
            with self._open_lock:
                self._open[identifier] = watch
                if method in self._patient:
                    self._waited_for.add(identifier)
            if method in self._immediate:
                thread = threading.Thread(target=self._answer, args=(identifier, method, params, watch), daemon=True)
                self._quick = [*(t for t in self._quick if t.is_alive()), thread]
                thread.start()
            else:
                self._jobs.put((identifier, method, params, watch))

    def _process_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._answer(*job)
            if self._after_each is not None:
                self._after_each()

    def _answer(self, identifier: int, method: str, params: Any, watch: Watch) -> None:
        try:
            with forbidden_files_named():
                result = self._answer_to(method, params, watch)
            self._finish(identifier, jsonrpc.result_line(identifier, result))
        except InvalidRequestError as error:
            self._finish(identifier, jsonrpc.error_line(identifier, jsonrpc.INVALID_PARAMS, error.message))
        except CancelledError as error:
            self._finish(identifier, jsonrpc.error_line(identifier, jsonrpc.REQUEST_CANCELLED, error.message))
        except SparseAnnotateError as error:
            kind: dict[str, Any] = {"type": type(error).__name__}
            if isinstance(error, PartlyDoneError):
                kind |= {"shown": to_plain(error.shown), "failed": list(error.failed)}
            self._finish(identifier, jsonrpc.error_line(identifier, jsonrpc.REPORTED_ERROR, error.message, kind))
        except MemoryError:
            message = _("Not enough memory. Close other programs, or use smaller patches.")
            self._finish(identifier, jsonrpc.error_line(identifier, jsonrpc.REPORTED_ERROR, message))
        except Exception as error:  # every error must reach the user, and must not end the process
            traceback.print_exc()
            message = _("Unexpected error in '{method}': {error}. See the worker's log for details.").format(
                method=method, error=f"{type(error).__name__}: {error}"
            )
            data = {"traceback": traceback.format_exc()}
            self._finish(identifier, jsonrpc.error_line(identifier, jsonrpc.INTERNAL_ERROR, message, data))

    def _cancel(self, identifier: int | None) -> None:
        with self._open_lock:
            watch = self._open.get(identifier) if identifier is not None else None
        if identifier is None or watch is None:
            return
        watch.cancel()
        if identifier in self._waited_for:
            return
        # A single slow step cannot be interrupted: it ends by itself, after the user has been answered.
        message = _("Cancelled. The current step is still finishing.")
        line = jsonrpc.error_line(identifier, jsonrpc.REQUEST_CANCELLED, message)
        timer = threading.Timer(CANCEL_ANSWER_SECONDS, self._finish, (identifier, line))
        timer.daemon = True
        timer.start()

    def _finish(self, identifier: int, line: str) -> None:
        """Send the answer unless one has been sent."""
        with self._open_lock:
            self._waited_for.discard(identifier)
            if self._open.pop(identifier, None) is None:
                return
        self._send(line)

    def _send_progress(self, identifier: int, progress: Progress) -> None:
        with self._open_lock:
            if identifier not in self._open:
                return
        self._send(jsonrpc.progress_line(identifier, progress))

    def _send(self, line: str) -> None:
        with self._writing:
            try:
                self._answers.write(line.encode("utf-8"))
                self._answers.flush()
            except (BrokenPipeError, ValueError):
                # The client's end of stdin follows and ends the process.
                print("The answer could not be sent: the client has disconnected.", file=sys.stderr)


def own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """stdin for requests and stdout for answers, kept from all else in this process: what libraries print goes to
    stderr, and a process started from here finds an empty stdin.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # On Windows a child that inherits stdin would hang.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def end_process() -> None:
    """End the process; a request that does not end must not keep it alive."""
    sys.stderr.flush()
    os._exit(0)
