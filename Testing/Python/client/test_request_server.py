"""The answering side of the worker's protocol."""

from __future__ import annotations

import os
import threading

from SparseAnnotateLib.client import jsonrpc, request_server
from SparseAnnotateLib.client.request_server import RequestServer
from SparseAnnotateLib.client.worker_client import _error_from
from SparseAnnotateLib.core import BusyError, WorkerError


def served(monkeypatch, says_alive: bool) -> tuple[threading.Event, threading.Event, int]:
    """A server at work on a request: whether it was cancelled, whether its process has ended, and its stdin."""
    monkeypatch.setattr(request_server, "SILENCE_SECONDS", 0.4)
    is_cancelled, has_ended, has_begun = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(request_server, "end_process", has_ended.set)
    (requests, client), (own, answers) = os.pipe(), os.pipe()

    def answer(_method, _params, watch):
        has_begun.set()
        while not watch.is_cancelled and not has_ended.is_set():
            threading.Event().wait(0.01)
        is_cancelled.set()

    server = RequestServer(os.fdopen(requests, "rb"), os.fdopen(answers, "wb"), ["work"], answer)
    threading.Thread(target=server.serve, daemon=True).start()
    lines = [jsonrpc.request_line(1, "work", {})]
    lines += [jsonrpc.notification_line(jsonrpc.ALIVE, {})] if says_alive else []
    os.write(client, "".join(lines).encode())
    assert has_begun.wait(10)
    del own
    return is_cancelled, has_ended, client


def test_a_client_that_said_it_is_alive_and_says_nothing_any_more_has_gone(monkeypatch):
    is_cancelled, has_ended, client = served(monkeypatch, says_alive=True)
    for _ in range(10):  # longer than it may be silent
        os.write(client, jsonrpc.notification_line(jsonrpc.ALIVE, {}).encode())
        assert not has_ended.wait(0.1)
    assert has_ended.wait(10)
    assert is_cancelled.is_set()


def test_a_client_that_never_said_so_may_be_silent(monkeypatch):
    is_cancelled, has_ended, client = served(monkeypatch, says_alive=False)
    assert not has_ended.wait(1.0)
    assert not is_cancelled.is_set()
    os.close(client)
    assert is_cancelled.wait(10)


def test_a_client_knows_that_files_are_in_use():
    answer = {"code": jsonrpc.REPORTED_ERROR, "message": "It is in use.", "data": {"type": "BusyError"}}
    assert isinstance(_error_from(answer), BusyError)
    assert type(_error_from({**answer, "data": {"type": "RunError"}})) is WorkerError
