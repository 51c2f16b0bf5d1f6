"""Several requests that wait for one process, which waits in the queue of a scheduler; no host is needed."""

from __future__ import annotations

import sys
import threading

import pytest

from SparseAnnotateLib.core import CancelledError, Watch
from SparseAnnotateLib.remote.host_connection import HostConnection

PROGRAM = """
import json, os, sys, time
print("srun: job 7 queued and waiting for resources", file=sys.stderr, flush=True)
print("Welcome to the cluster", file=sys.stderr, flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": asked["method"]}), flush=True)
"""


def test_cancelling_a_request_while_the_process_waits_leaves_the_others_alone(tmp_path):
    start = tmp_path / "start"
    connection = HostConnection(lambda: [sys.executable, "-c", PROGRAM, str(start)], "host", "worker", may_wait=True)
    answers, reports, is_waiting = [], [], threading.Event()

    def heard(progress):
        reports.append(progress.message)
        is_waiting.set()

    other = threading.Thread(target=lambda: answers.append(connection.call("other", {}, Watch(heard))), daemon=True)
    other.start()
    assert is_waiting.wait(30)
    watch = Watch(lambda _progress: watch.cancel())
    with pytest.raises(CancelledError):
        connection.call("one", {}, watch)
    assert connection.is_running
    start.touch()
    other.join(30)
    assert (answers, connection.starts) == (["other"], 1)
    assert reports == ["waiting for 'host': srun: job 7 queued and waiting for resources"]
    connection.close()


def test_the_last_request_that_is_cancelled_ends_the_process_that_waits(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "never")]
    connection = HostConnection(lambda: command, "host", "worker", may_wait=True)
    watch = Watch(lambda _progress: watch.cancel())
    with pytest.raises(CancelledError):
        connection.call("one", {}, watch)
    assert not connection.is_running
