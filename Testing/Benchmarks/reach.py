"""What a host costs in interactive work: answers for a slice, and how soon a drawn slice is learned from.

A model learns while slices are drawn, first with the worker of this computer, then through OpenSSH with a worker on a
server that this benchmark starts on the loopback (it needs sshd, ssh, sftp and rsync). So the difference is what SSH,
the relay and the copying cost, without a network. *Slice* is from the question to the file of the answer; *learned
from*: from the saved slice to the first report that counts it; *round trip*: the shortest request to the program that
keeps the files there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark_report import PROJECT, options_parser, report
from SparseAnnotateLib import client
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.progress import STEP
from SparseAnnotateLib.remote.host_connection import HostConnection
from SparseAnnotateLib.remote.hosts import Host, keep_host
from SparseAnnotateLib.remote.relay import Relay

SHAPE, RUN = (64, 96, 96), "live"
SETTINGS = {"recipe": "2d", "patch_2d": [32, 32], "batch_2d": 1, "device": "cpu"}
_FIRST_STEPS = 5

Ask = Callable[[str, dict[str, Any], Watch], Any]


def parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, slices={"type": int, "default": 40}, drawn={"type": int, "default": 8})


def main() -> None:
    options = parser().parse_args()
    slices, drawn = (2, 1) if options.quick else (options.slices, options.drawn)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        here = HostConnection(client.worker_command, "", "worker")
        rows.append(("this computer", *_measured(here.call, Path(folder) / "here", slices, drawn), ""))
        here.close()
        server = _server(Path(folder))
        try:
            relay = Relay(server.host, is_allowed=True)
            measured = _measured(relay.answer, Path(folder) / "there", slices, drawn)
            rows.append(("through SSH", *measured, _round_trip(relay, slices)))
            relay.close()
        finally:
            server.stop()
    columns = (
        "worker",
        "slice, median s",
        "slice, worst s",
        "learned from, median s",
        "worst s",
        "round trip, median s",
    )
    report(
        "Answers and learning with a worker here, and through SSH on the loopback", columns, rows, options, seeds=[0]
    )


def _server(folder: Path) -> Any:
    """An SSH server, and a host on it that this Python's packages are used on, in a configuration of its own."""
    sys.path.insert(0, str(PROJECT / "Testing" / "Python"))
    from ssh_server import SshServer

    (folder / "ssh").mkdir()
    server = SshServer(folder / "ssh")
    os.environ["SPARSE_ANNOTATE_SSH_CONFIG"] = str(server.config)
    os.environ["XDG_CONFIG_HOME"] = str(folder / "configuration")
    keep_host(Host(server.host, python=sys.executable, folder=str(folder / "host"), as_is=True))
    threads = os.environ.get("OMP_NUM_THREADS")
    server.start(**({"SetEnv": f"OMP_NUM_THREADS={threads}"} if threads else {}))  # the same as here
    return server


def _measured(ask: Ask, folder: Path, slices: int, drawn: int) -> tuple[float, float, float, float]:
    """Median and worst seconds of answers for a slice, and until a drawn slice is learned from."""
    middle, radius = np.array(SHAPE) // 2, min(SHAPE) / 3
    places = np.indices(SHAPE) - middle[:, None, None, None]
    labels = (np.sum(places**2, axis=0) < radius**2).astype(np.uint8)
    image = (100.0 * labels + np.random.default_rng(0).normal(0, 20, SHAPE)).astype(np.float32)
    geometry = VolumeGeometry.from_spacing(SHAPE)
    cohort = Cohort.create(folder, "balls", {1: "ball"})
    cohort.add_case("a", image, geometry)
    indices = [int(middle[0])]

    def save() -> None:
        cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, indices))

    save()
    reported = {"message": "", "steps": 0.0}

    def look(progress: Any) -> None:
        reported["message"] = progress.message
        reported["steps"] = progress.metrics.get(STEP, reported["steps"])

    watch = Watch(look)
    asked = {"cohort": str(folder), "run": RUN, "live": True, "changes": SETTINGS}
    thread = threading.Thread(target=lambda: ask("train", asked, watch))
    thread.start()
    _until(lambda: float(reported["steps"]) >= _FIRST_STEPS, thread)
    learned, answered = [], []
    for number in range(drawn):
        indices.append(int(middle[0] - radius) + 1 + 2 * number)
        save()
        began = time.perf_counter()
        _until(lambda: f"from {len(indices)} drawn" in str(reported["message"]), thread)
        learned.append(time.perf_counter() - began)
    for number in range(slices):
        question = {"cohort": str(folder), "run": RUN, "case": "a", "plane": "axial", "index": number % SHAPE[0]}
        began = time.perf_counter()
        ask("slice", question, Watch())
        answered.append(time.perf_counter() - began)
    watch.cancel()
    thread.join()
    return statistics.median(answered), max(answered), statistics.median(learned), max(learned)


def _until(is_so: Callable[[], bool], thread: threading.Thread) -> None:
    while not is_so():
        if not thread.is_alive():
            raise RuntimeError("The training has ended.")
        time.sleep(0.01)


def _round_trip(relay: Relay, count: int) -> float:
    times = []
    for _number in range(5 * count):
        began = time.perf_counter()
        relay._session.files.ask("trainings")
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
