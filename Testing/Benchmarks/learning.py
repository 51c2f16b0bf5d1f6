"""Sparse against full annotation, with and without self-training (designed like Zheng et al. 2020, figure 5).

For each set, density and strategy the slices are recommended and drawn from the reference; a run of self-training is
trained on them, and each of its parts is evaluated: the sparse 3D model, the 2D and 3D models averaged, and the final
model. 'full' is the same 3D model on all slices. With --peer nnU-Net learns from the same slices by its ignore label
for the same wall time.

Hippocampus: 40 training and 20 other test volumes, as listed by the cohort. Pulmonary artery (one CT) and MS lesions
(two patients): trained on the drawn slices, measured on the voxels that were not drawn.

Every configuration is one line of JSON in --out; those already there are not trained again, and one that was
stopped resumes from its last checkpoint. The most important ones are measured first.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import venv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark_report import DATA, PROJECT, arguments, machine, report
from interpolation import labelled_sets
from SparseAnnotateLib.core import Cohort, Plane, Progress, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.exchange.nnunet import export_nnunet_dataset
from SparseAnnotateLib.learning.exchange.nnunet_predictions import import_nnunet_predictions
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.pseudo_labels import read_pseudo_labels
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests

TRAINING, TEST = 40, 20
ONE = 0.0  # the density that means one slice per volume
PARTS = {"sparse 3D": ("3d",), "2D + 3D": ("2d", "3d"), "self-training": ("2d", "3d", "final")}
NNUNET = (
    ["torch==2.13.0"],
    ["--no-deps", "nnunetv2==2.8.1", "dynamic-network-architectures==0.4.4", "acvl-utils==0.2.6"],
    ["--no-deps", "batchgenerators==0.25.5", "batchgeneratorsv2==0.3.6"],
    ["SimpleITK", "nibabel", "numpy", "scipy", "scikit-learn", "scikit-image", "pandas", "tqdm", "tifffile", "blosc2"],
    ["matplotlib", "seaborn", "connected-components-3d", "pillow", "threadpoolctl"],
)


@dataclass(frozen=True)
class Configuration:
    """One training: which slices of which set, with which seed."""

    set: str
    density: float
    strategy: str
    seed: int

    @property
    def name(self) -> str:
        density = "one slice" if self.density == ONE else f"{self.density:.0%}".replace("%", " percent")
        return f"{self.set} {density} {self.strategy} seed {self.seed}"


def configurations(seeds: list[int], sets: list[str]) -> list[Configuration]:
    """All configurations, the most important ones first."""
    found = []
    if "hippocampus" in sets:
        h = "hippocampus"
        for seed in seeds:
            found += [Configuration(h, d, s, seed) for d, s in ((1.0, "full"), (0.1, "staggered"), (ONE, "staggered"))]
        for seed in seeds:
            found.append(Configuration(h, 0.05, "staggered", seed))
        for seed in seeds:
            found.append(Configuration(h, 0.2, "staggered", seed))
            for density in (0.1, 0.05, 0.2):
                found += [Configuration(h, density, s, seed) for s in ("fixed_interval", "representative")]
    for name in sets:
        if name != "hippocampus":
            for seed in seeds:
                found += [Configuration(name, d, "staggered", seed) for d in (0.1, 0.05, 0.2)]
                found.append(Configuration(name, 1.0, "full", seed))
    return found


def read_options(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of this benchmark from `given`, by default from the command line."""
    return arguments(
        __doc__,
        given,
        data={"default": str(DATA)},
        sets={"nargs": "+", "default": ["hippocampus", "pulmonary artery"]},
        seeds={"type": int, "nargs": "+", "default": [0, 1, 2]},
        out={"default": "learning.jsonl", "help": "one line of JSON for each configuration"},
        work={"default": "learning_work", "help": "cohorts and runs in progress"},
        minutes={"type": float, "default": 1e9, "help": "start no further configuration after this time"},
        only={"default": "", "help": "only configurations whose name contains this text"},
        peer={"action": "store_true", "help": "train nnU-Net on the same slices as well, in an environment of its own"},
        iterations={"type": int, "default": 600},
        device={"default": "cpu"},
        final={"default": "auto", "help": "network of the final model"},
        threads={"type": int, "default": torch.get_num_threads()},
    )


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    out, start = Path(options.out), time.monotonic()
    wanted = [c for c in configurations(options.seeds, options.sets) if options.only in c.name]
    if options.quick:
        wanted = [Configuration("hippocampus", d, s, 0) for d, s in ((1.0, "full"), (0.1, "staggered"))]
    for configuration in wanted:
        lines = _lines(out)
        known = next((line for line in lines if line["name"] == configuration.name), None)
        if time.monotonic() - start > 60 * options.minutes:
            break
        if known is None:
            known = measure(configuration, options)
            _append(out, known)
        if (
            options.peer
            and configuration.strategy != "full"
            and f"nnU-Net {configuration.name}" not in {line["name"] for line in lines}
        ):
            _append(out, _peer(configuration, known, options))
    _table(_lines(out), options)


def measure(configuration: Configuration, options: argparse.Namespace, watch: Watch | None = None) -> dict[str, Any]:
    """Train and evaluate one configuration; `watch` cancels it, and the next call resumes it in the same `work`."""
    print(f"{configuration.name} ...", file=sys.stderr)
    work = Path(options.work) / configuration.name
    cohort, training, test = _cohort(configuration, work, options)
    slices = _draw(configuration, cohort, training)
    settings = _settings(configuration, options)
    common = {"cohort": str(cohort.folder), "state": str(cohort.state_folder), "cases": training}
    reported: list[tuple[float, float]] = []
    start = time.monotonic()

    def note_time_left(progress: Progress) -> None:
        if watch is not None:
            watch.check()
        if progress.seconds_left:
            reported.append((time.monotonic() - start, progress.seconds_left))

    timed = Watch(note_time_left)
    card = requests.train(requests.TrainRequest(**common, run="run", settings=settings), timed)
    end = time.monotonic() - start
    line = {
        "name": configuration.name,
        **asdict(configuration),
        "slices": slices,
        "seconds": {m["plan"]["role"]: m["seconds"] for m in card["models"]},
        "settings": {"iterations": settings.iterations, "iterations_2d": settings.iterations_2d},
        # The remaining time reported after a minute, divided by the actual remaining time.
        "time_left": next((left / (end - at) for at, left in reported if at >= 60.0), None),
        "view_dice": card["view_dice"],
        "dice": {},
        "labels": {},
    }
    roles = [m["plan"]["role"] for m in card["models"]]
    for part, needed in PARTS.items():
        if set(needed) <= set(roles):
            for flips in (False, True):
                predictor = Predictor(cohort, "run", options.device, flips=flips, roles=needed)
                dice = np.mean([_dice(cohort, name, predictor.labels(name, watch)) for name in test], axis=0)
                name = part + (" + flips" if flips else "")
                line["dice"][name], line["labels"][name] = float(dice.mean()), dice.tolist()
    if "final" in roles:
        line["pseudo_label_dice"] = _pseudo_label_dice(cohort, card, training)
    line["machine"], line["threads"] = machine(), options.threads
    if not options.peer:
        shutil.rmtree(work, ignore_errors=True)
    return line


def _settings(configuration: Configuration, options) -> TrainingSettings:
    n = min(20, options.iterations) if options.quick else options.iterations
    if configuration.set != "hippocampus":
        n //= 2  # of patches more than twice as large
    settings = TrainingSettings(
        recipe="3d" if configuration.strategy == "full" else "self_training",
        iterations=n,
        iterations_2d=n * 5 // 3,
        iterations_final=n,
        seed=configuration.seed,
        device=options.device,
        network_final=options.final,
    )
    if configuration.set == "hippocampus":
        return replace(settings, patch=(32, 48, 32))
    return settings


def _cohort(configuration: Configuration, work: Path, options) -> tuple[Cohort, tuple[str, ...], tuple[str, ...]]:
    """The cohort of a set, the cases to train on, and those to evaluate."""
    state = work / "state"
    if configuration.set == "hippocampus":
        cohort = Cohort.open(Path(options.data) / "msd_hippocampus", state)
        names = tuple(case.name for case in cohort.cases if case.reference)
        counts = (6, 3) if options.quick else (TRAINING, TEST)
        return cohort, names[: counts[0]], names[counts[0] : sum(counts)]
    folder = work / "cohort"
    volumes = labelled_sets(Path(options.data))[configuration.set]
    if not (folder / "cohort.json").is_file():
        cohort = Cohort.create(folder, configuration.set, {1: configuration.set})
        for volume in volumes:
            name = volume.image.parent.name
            cohort.add_case(name, volume.image, reference=volume.labels)
    cohort = Cohort.open(folder, state)
    names = tuple(case.name for case in cohort.cases)
    return cohort, names, names


def _draw(configuration: Configuration, cohort: Cohort, training: tuple[str, ...]) -> int:
    """Recommend and draw; returns how many slices are drawn."""
    common = {"cohort": str(cohort.folder), "state": str(cohort.state_folder), "cases": training}
    if not cohort.annotated_cases():
        budget = Budget(per_volume=1) if configuration.density == ONE else Budget(density=configuration.density)
        strategy = "fixed_interval" if configuration.strategy == "full" else configuration.strategy
        plane = Plane.CORONAL if configuration.set == "hippocampus" else Plane.AXIAL
        requests.recommend(
            requests.RecommendRequest(
                **common, budget=budget, planes=(plane,), strategy=strategy, seed=configuration.seed, whole=True
            ),
            Watch(),
        )
        requests.draw(requests.DrawRequest(**common), Watch())
    return sum(len(cohort.ledger(name).decided) for name in training)


def _dice(cohort: Cohort, name: str, labels: np.ndarray) -> list[float]:
    """Dice of each label over the voxels that were not drawn (over all voxels if all slices were drawn)."""
    annotation = cohort.annotation(name)
    counted = ~annotation.supervised_mask()
    if not counted.any():
        counted[:] = True
    reference = cohort.reference(name)
    found = []
    for value in cohort.labels:
        p, t = (labels == value)[counted], (reference == value)[counted]
        found.append(float(2 * (p & t).sum() / max(1, p.sum() + t.sum())))
    return found


def _pseudo_label_dice(cohort: Cohort, card: dict, training: tuple[str, ...]) -> dict[str, float]:
    """Dice of each set of pseudo-labels on the training volumes, outside the drawn slices."""
    run, found = RunFolder(cohort.run_folder("run")), defaultdict(list)
    table = np.array([0, *card["classes"]])
    for name in training:
        sets, _, views = read_pseudo_labels(run, name)
        geometry = cohort.geometry(name)
        for classes, view in zip(sets, views, strict=True):
            found[view].append(np.mean(_dice(cohort, name, geometry.from_standard_order(table[classes]))))
    return {view: float(np.mean(values)) for view, values in found.items()}


def _peer(configuration: Configuration, ours: dict, options) -> dict:
    """nnU-Net on the same slices, trained for as long as all our own models together."""
    name = f"nnU-Net {configuration.name}"
    print(f"{name} ...", file=sys.stderr)
    python = _nnunet_environment(Path(options.work).absolute() / "nnunet_environment")
    work = (Path(options.work) / configuration.name).absolute()
    cohort, training, test = _cohort(configuration, work, options)
    _draw(configuration, cohort, training)
    folder = work / "nnunet" / "Dataset501_Peer"
    shutil.rmtree(folder.parent, ignore_errors=True)
    export_nnunet_dataset(cohort, folder, training, Watch())
    images = folder.parent / "test_images"
    for case in test:
        image, geometry = cohort.image(case)
        write_image(images / f"{case}_0000.nii.gz", image, geometry)
    out, seconds = folder.parent / "predictions", sum(ours["seconds"].values())
    program = Path(__file__).with_name("peers") / "nnunet_peer.py"
    command = [python, program, folder, images, out, "--seconds", seconds, "--seed", configuration.seed]
    subprocess.run([*map(str, command), "--threads", str(options.threads)], check=True, stdout=sys.stderr)
    import_nnunet_predictions(cohort, out, folder, "nnunet", Watch())
    from SparseAnnotateLib.core.images import read_labels

    labels = {c: read_labels(cohort.prediction_path("nnunet", c), cohort.geometry(c)) for c in test}
    dice = np.mean([_dice(cohort, c, labels[c]) for c in test], axis=0)
    figures = json.loads((out / "run.json").read_text())
    return {
        "name": name,
        **asdict(configuration),
        "slices": ours["slices"],
        "seconds": {"nnU-Net": figures["seconds"]},
        "dice": {"nnU-Net": float(dice.mean())},
        "labels": {"nnU-Net": dice.tolist()},
        "nnU-Net": figures,
        "threads": options.threads,
    }


def _nnunet_environment(folder: Path) -> Path:
    """The Python of an environment with nnU-Net and without torchvision, created when it does not exist."""
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        for packages in NNUNET:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        (folder / "installed").touch()
    return python


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _append(path: Path, line: dict) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")
    print({k: line[k] for k in ("name", "dice", "seconds")}, file=sys.stderr)


def _table(lines: list[dict], options) -> None:
    groups = defaultdict(list)
    for line in lines:
        for part, value in line["dice"].items():
            groups[line["set"], line["density"], line["strategy"], part].append(value)
    full = {key[0]: np.mean(values) for key, values in groups.items() if key[2] == "full" and key[3] == "sparse 3D"}
    rows = []
    for (name, density, strategy, part), values in groups.items():
        shown = "one slice" if density == ONE else f"{density:.0%}"
        mean = float(np.mean(values))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
        gap = mean - full[name] if name in full else float("nan")
        rows.append((name, shown, strategy, part, len(values), mean, spread, gap))
    report(
        f"Learning from sparse slices, {PROJECT.name}",
        ("set", "density", "strategy", "model", "seeds", "Dice", "standard deviation", "against full"),
        rows,
        options,
        seeds=options.seeds,
    )


if __name__ == "__main__":
    main()
