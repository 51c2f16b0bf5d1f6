"""The main job on the hippocampus cohort: recommend, draw, fill, train, run; sparse against full annotation.

40 training and 20 other test volumes. For each configuration: Dice of the fill on the training volumes, and of the
same quick model on the test volumes, which it has never seen. Everything goes through the requests that the panel
and the command line use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmark_report import DATA, options_parser, report
from SparseAnnotateLib.core import Cohort, Plane, Watch, mean_of_known
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests

CONFIGURATIONS = (("full", 1.0, "fixed_interval"), ("sparse", 0.1, "staggered"), ("sparse", 0.1, "fixed_interval"))


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA / "msd_hippocampus"), "help": "cohort in the Decathlon format"},
        plane={"default": "coronal"},
        density={"type": float, "default": 0.1},
        seeds={"type": int, "nargs": "+", "default": [0]},
        iterations={"type": int, "default": 600},
    )


def main() -> None:
    options = parser().parse_args()
    train_count, test_count, iterations = (6, 3, 20) if options.quick else (40, 20, options.iterations)
    names = [case.name for case in Cohort.open(options.data).cases if case.reference]
    training, test = tuple(names[:train_count]), tuple(names[train_count : train_count + test_count])
    rows = []
    for seed in options.seeds:
        for kind, density, strategy in CONFIGURATIONS:
            density = options.density if kind == "sparse" else density
            rows.append(_one(options, training, test, density, strategy, seed, iterations))
            Console(stderr=True).print(rows[-1])
    full = np.mean([row[-3] for row in rows if row[0] == 1.0])
    notes = [
        f"{strategy} at {density:.0%}: model Dice {np.mean(dice):.3f}, {np.mean(dice) - full:+.3f} against full"
        for strategy, density, dice in _groups(rows)
    ]
    report(
        f"Main job: {train_count} training and {test_count} test volumes, {options.plane} slices, {iterations} steps",
        (
            "density",
            "strategy",
            "seed",
            "slices",
            "fill Dice",
            "label Dice of model",
            "model Dice",
            "train s",
            "fill s",
        ),
        rows,
        options,
        seeds=options.seeds,
        notes=notes,
    )


def _one(options, training, test, density, strategy, seed, iterations) -> tuple:
    watch = Watch()
    with tempfile.TemporaryDirectory() as state:
        common = {"cohort": options.data, "state": state}
        recommended = requests.recommend(
            requests.RecommendRequest(
                **common,
                cases=training,
                planes=(Plane.named(options.plane),),
                budget=Budget(density=density),
                strategy=strategy,
                seed=seed,
                whole=True,
            ),
            watch,
        )
        requests.draw(requests.DrawRequest(**common, cases=training), watch)
        start = time.monotonic()
        requests.fill(requests.FillRequest(**common), watch)
        fill_seconds = time.monotonic() - start
        filled = requests.evaluate(requests.EvaluateRequest(**common), watch)
        settings = TrainingSettings(iterations=iterations, seed=seed)
        card = requests.train(requests.TrainRequest(**common, run="quick", settings=settings), watch)
        requests.predict(requests.PredictRequest(**common, run="quick", cases=test), watch)
        predicted = requests.evaluate(requests.EvaluateRequest(**common, run="quick", cases=test), watch)
        assert not any(Path(state, "fills", f"{name}.nrrd").exists() for name in test)
    labels = np.array([[figures["dice"] for figures in case.labels] for case in predicted])
    return (
        density,
        strategy,
        seed,
        len(recommended),
        mean_of_known(case.dice for case in filled) or 0.0,
        " ".join(f"{value:.3f}" for value in labels.mean(axis=0)),
        float(labels.mean()),
        card["seconds"],
        fill_seconds,
    )


def _groups(rows):
    keys = sorted({(row[1], row[0]) for row in rows})
    return [(s, d, [row[-3] for row in rows if (row[1], row[0]) == (s, d)]) for s, d in keys]


if __name__ == "__main__":
    main()
