"""What a second channel gives: fill, answer and model from FLAIR, from T1, from both, and from FLAIR with noise.

Each patient of `ms_lesions` is a cohort of its own. Every n-th axial slice between the first and the last lesion is
drawn, the same ones with all channels. A 3D model is trained on them for the same steps. Dice and seconds of the voxels
that are not drawn: of the fill (`auto`), of the model alone, and of the answer from both.

Then what channels cost: seconds and memory of a fill and of training steps with one to four channels, each in a process
of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmark_report import DATA, options_parser, report
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_image, read_labels, write_image
from SparseAnnotateLib.learning.training.run_planning import plan_run
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests

PATIENTS = ("patient07", "patient19")
RUN = "run"
CHOICES = {
    "FLAIR": ("FLAIR",),
    "T1": ("T1",),
    "FLAIR + T1": ("FLAIR", "T1"),
    "FLAIR + noise": ("FLAIR", "noise"),
    "FLAIR + noise, used": ("FLAIR", "noise"),
}
USED = ("FLAIR + noise, used",)  # the model sees both, where it would leave the noise out
COST = {"shape": (96, 160, 160), "drawn": 10, "iterations": 20}


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA), "help": "folder with ms_lesions"},
        patients={"nargs": "+", "choices": PATIENTS, "default": list(PATIENTS)},
        every={"type": int, "nargs": "+", "default": [10], "help": "one of so many slices is drawn"},
        channels={"nargs": "+", "choices": list(CHOICES), "default": list(CHOICES)},
        iterations={"type": int, "default": 600, "help": "training steps; 0: no model"},
        seeds={"type": int, "nargs": "+", "default": [0], "help": "of the training and of the noise"},
        cost={"type": int, "help": argparse.SUPPRESS},
    )


def main() -> None:
    options = parser().parse_args()
    if options.cost:
        print(json.dumps(_measured_cost(options.cost, options.quick)))
        return
    rows = []
    for patient in options.patients[:1] if options.quick else options.patients:
        for every in options.every:
            for seed in options.seeds:
                for name in options.channels:
                    with tempfile.TemporaryDirectory() as folder:
                        found = _results(Path(folder), patient, every, seed, name, options)
                        rows.append((patient, every, seed, name, *found))
                        print(rows[-1], file=sys.stderr, flush=True)
    columns = ("patient", "every", "seed", "channels", "fill", "s", "model sees", "model", "training s", "answer")
    report("Channels: Dice of undrawn voxels", columns, rows, options, seeds=options.seeds)
    costs = [_cost(count, options.quick) for count in ((1, 2) if options.quick else (1, 2, 4))]
    for cost in costs:
        cost.update({f"{key}, ratio": cost[key] / costs[0][key] for key in ("fill s", "step s", "peak MiB")})
    print(json.dumps(costs, indent=1))


def _results(
    folder: Path, patient: str, every: int, seed: int, name: str, options: argparse.Namespace
) -> tuple[float | str, ...]:
    data = Path(options.data) / "ms_lesions" / patient
    image, geometry = read_image(data / "FLAIR.nii.gz")
    labels = (read_labels(data / "lesion_gold.nii.gz", geometry) > 0).astype(np.uint8)
    noise = folder / "noise.nrrd"
    write_image(noise, np.random.default_rng(1 + seed).normal(size=image.shape).astype(np.float32), geometry)
    paths = {"noise": noise, **{channel: data / f"{channel}.nii.gz" for channel in ("FLAIR", "T1")}}
    channels = CHOICES[name]
    cohort = Cohort.create(folder / "cohort", patient, {1: "lesion"}, channels=channels)
    cohort.add_case("case", paths[channels[0]], further={c: paths[c] for c in channels[1:]})
    axis = Plane.AXIAL.array_axis(geometry)
    shown = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
    indices = range(int(shown[0]) + every // 2, int(shown[-1]) + 1, every)
    annotation = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, indices)
    cohort.save_annotation("case", annotation)
    undrawn = ~annotation.supervised_mask()

    def dice(path: Path) -> float:
        found = read_labels(path, geometry) > 0
        both = np.count_nonzero(found & (labels > 0) & undrawn)
        sizes = np.count_nonzero(found & undrawn) + np.count_nonzero((labels > 0) & undrawn)
        return round(2.0 * both / max(sizes, 1), 4)

    common = {"cohort": str(cohort.folder), "cases": ("case",)}
    _filled, fill_seconds = _timed(lambda: requests.fill(requests.FillRequest(**common), Watch()))
    fill = dice(cohort.fill_path("case"))
    steps = 5 if options.quick else options.iterations
    used = channels if name in USED else None
    settings = TrainingSettings(recipe="3d", iterations=steps or 1, seed=seed, device="cpu", channels=used)
    seen = ", ".join(plan_run(cohort, None, settings).channels)
    if not steps:
        return fill, fill_seconds, seen, "", "", ""
    train = requests.TrainRequest(cohort=str(cohort.folder), run=RUN, settings=settings)
    _card, seconds = _timed(lambda: requests.train(train, Watch()))
    requests.predict(requests.PredictRequest(run=RUN, model_only=True, **common), Watch())
    model = dice(cohort.prediction_path(RUN, "case"))
    requests.fill(requests.FillRequest(run=RUN, **common), Watch())
    return fill, fill_seconds, seen, model, seconds, dice(cohort.fill_path("case"))


def _timed(work: Callable[[], object]) -> tuple[object, float]:
    began = time.perf_counter()
    found = work()
    return found, round(time.perf_counter() - began, 1)


def _cost(count: int, is_quick: bool) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), "--cost", str(count), *(["--quick"] if is_quick else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured_cost(count: int, is_quick: bool) -> dict[str, float]:
    """Seconds of a fill and of a training step, and the peak memory, with so many channels of the same volume."""
    shape = (32, 48, 48) if is_quick else COST["shape"]
    geometry = VolumeGeometry.from_spacing(shape)
    grid = np.indices(shape)
    labels = (np.hypot(grid[1] - shape[1] / 2 - 8 * np.sin(grid[0] / 7), grid[2] - shape[2] / 2) < 15).astype(np.uint8)
    rng = np.random.default_rng(0)
    names = tuple(f"channel {number}" for number in range(count))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:
            write_image(folder / f"{name}.nrrd", (100 * labels + rng.normal(size=shape)).astype(np.int16), geometry)
        cohort = Cohort.create(folder / "cohort", "cost", {1: "tube"}, channels=names if count > 1 else ())
        paths = {name: folder / f"{name}.nrrd" for name in names}
        cohort.add_case("case", paths[names[0]], further={name: paths[name] for name in names[1:]})
        drawn = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(5, shape[0], COST["drawn"]))
        cohort.save_annotation("case", drawn)
        common = {"cohort": str(cohort.folder), "cases": ("case",)}
        _done, fill = _timed(lambda: requests.fill(requests.FillRequest(method="random_walk", **common), Watch()))
        small = {"patch": (48, 48, 48), "batch": 2, "iterations": COST["iterations"]}
        settings = TrainingSettings(recipe="3d", device="cpu", **small)
        request = requests.TrainRequest(cohort=str(cohort.folder), run=RUN, settings=settings)
        card = requests.train(request, Watch())
        step = card["models"][0]["seconds"] / COST["iterations"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"channels": count, "fill s": fill, "step s": round(step, 3), "peak MiB": round(peak)}


if __name__ == "__main__":
    main()
