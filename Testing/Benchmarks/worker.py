"""How soon the worker answers: about itself after a cold start, and to a cancel in the middle of a training."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmark_report import options_parser, report
from SparseAnnotateLib.client import BlockingWorker
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry


def parser() -> argparse.ArgumentParser:
    return options_parser(__doc__, size={"type": int, "default": 96}, repeats={"type": int, "default": 5})


def main() -> None:
    options = parser().parse_args()
    repeats = 2 if options.quick else options.repeats
    starts, cancels = [], []
    with tempfile.TemporaryDirectory() as folder:
        cohort = _cohort(Path(folder) / "cohort", options.size)
        for number in range(repeats):
            begin = time.perf_counter()
            with BlockingWorker() as worker:
                worker.call("environment", {})
                starts.append(time.perf_counter() - begin)
                cancels.append(_seconds_to_cancel(worker, cohort, f"run {number}"))
    rows = [
        ("environment after a cold start", float(np.median(starts)), max(starts), 5.0),
        ("cancel of a training", float(np.median(cancels)), max(cancels), 2.0),
    ]
    title = f"Worker, {repeats} times; training on {options.size}^3 voxels"
    report(title, ("what", "median s", "worst s", "promised s"), rows, options, seeds=[0])


def _seconds_to_cancel(worker: BlockingWorker, cohort: Cohort, run: str) -> float:
    progress = []
    params = {"cohort": str(cohort.folder), "run": run, "settings": {"iterations": 100000}}
    call = worker.client.request("train", params, progress.append)
    while not any(p.message.startswith("step") for p in progress):
        worker.client.transport.pump(0.05)
    begin = time.perf_counter()
    worker.client.cancel(call)
    while not call.is_done:
        worker.client.transport.pump(0.05)
    return time.perf_counter() - begin


def _cohort(folder: Path, size: int) -> Cohort:
    rng = np.random.default_rng(0)
    grid = np.indices((size, size, size)) - size / 2
    labels = (np.linalg.norm(grid, axis=0) < size / 4).astype(np.uint8)
    image = (100 * labels + rng.normal(0, 20, labels.shape)).astype(np.float32)
    geometry = VolumeGeometry.from_spacing(labels.shape)
    cohort = Cohort.create(folder, "ball", {1: "ball"})
    cohort.add_case("ball", image, geometry)
    cohort.save_annotation("ball", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(5, size, 10)))
    return cohort


if __name__ == "__main__":
    main()
