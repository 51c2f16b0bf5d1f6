"""The stand-in for workers that tests start: it ends as a process of its own does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warm_worker import WarmWorkers

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can fork workers")


def children_of(process: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended since
            continue
    return [number for number, parent in parents.items() if parent == process]


def started(workers: WarmWorkers) -> subprocess.Popen:
    """A worker that has answered."""
    command = workers.worker_command()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "environment", "params": {}}\n')
    process.stdin.flush()
    while b'"result"' not in process.stdout.readline():
        pass
    return process


def test_nothing_is_left_of_a_killed_worker_when_the_next_one_starts(warm_workers, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    warm_workers.start()
    before = children_of(warm_workers._process.pid)
    first = started(warm_workers)
    (supervisor,) = set(children_of(warm_workers._process.pid)) - set(before)
    (fork,) = children_of(supervisor)
    os.kill(fork, signal.SIGSTOP)  # busy, so that it would not see for long that its program is gone
    first.kill()
    first.wait()
    second = started(warm_workers)
    assert not Path(f"/proc/{fork}").exists()
    second.stdin.close()
    assert second.wait() == 0


def test_a_worker_holds_no_connection_of_another_one(warm_workers, monkeypatch):
    """Otherwise a program whose worker has come to nothing would wait until the others have ended."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    warm_workers.start()
    before = set(children_of(warm_workers._process.pid))
    workers = [started(warm_workers), started(warm_workers)]
    supervisors = set(children_of(warm_workers._process.pid)) - before
    links = [[os.readlink(path) for path in Path(f"/proc/{number}/fd").iterdir()] for number in supervisors]
    assert [sum(link.startswith("socket:") for link in one) for one in links] == [1, 1]
    for worker in workers:
        worker.stdin.close()
        assert worker.wait() == 0
