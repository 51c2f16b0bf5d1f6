"""Selection strategies compared at equal budgets: coverage, Dice of the fill, Dice of a quick model.

The hippocampus cohort: each seed selects 40 training and 20 other test volumes, and is also the seed of the training.
Then the larger volumes, one by one: coverage and fill. Coverage is F / N of Zheng et al. 2020 (eq. 7), the mean
similarity of a slice to the most similar chosen one, over the whole cohort and within its own volume.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmark_report import DATA, options_parser, report
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, Watch, mean_of_known
from SparseAnnotateLib.core.metrics import dice
from SparseAnnotateLib.interpolation import interpolator_named
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.selection import Budget, FeatureSettings, Scope, coverage, unit_rows
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.recommend_request import cohort_features

STRATEGIES = {
    "fixed_interval": {},
    "staggered": {},
    "random": {},
    "representative": {},
    "representative, cohort": {"scope": Scope.COHORT},
    "core_set": {},
    "core_set, cohort": {"scope": Scope.COHORT},
    "representative, autoencoder": {"features": "autoencoder", "from_scratch": True},
    "representative, mae": {"features": "mae"},
}
USUAL = [name for name in STRATEGIES if "autoencoder" not in name and "mae" not in name]  # the others take minutes
BUDGETS = {"one": {"per_volume": 1}, "5 %": {"density": 0.05}, "10 %": {"density": 0.1}, "20 %": {"density": 0.2}}
COLUMNS = (
    "data",
    "budget",
    "strategy",
    "seed",
    "slices",
    "F cohort",
    "F volume",
    "fill Dice",
    "model Dice",
    "s to choose",
)
VOLUMES = {
    "pulmonary artery": ("ct_heart/heart_ct.nii.gz", "ct_heart/heart_pulmonary_artery.nii.gz"),
    "MS lesions 07": ("ms_lesions/patient07/FLAIR.nii.gz", "ms_lesions/patient07/lesion_gold.nii.gz"),
    "MS lesions 19": ("ms_lesions/patient19/FLAIR.nii.gz", "ms_lesions/patient19/lesion_gold.nii.gz"),
    "spinal cord": ("spinal_cord/t2_image.nii.gz", "spinal_cord/t2_seg.nii.gz"),
    "brain tumour": ("brain_tumour/brain1_image.nrrd", "brain_tumour/brain1_label.nrrd"),
    "EM interior": ("em_fib25/image.nii.gz", "em_fib25/label_interior.nii.gz"),
}


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA), "help": "folder with msd_hippocampus and the larger volumes"},
        plane={"default": "coronal"},
        seeds={"type": int, "nargs": "+", "default": [0, 1, 2, 3, 4]},
        iterations={"type": int, "default": 200, "help": "training steps of the quick model; 0: no model"},
        budgets={"nargs": "+", "default": list(BUDGETS), "choices": list(BUDGETS)},
        strategies={"nargs": "+", "default": USUAL, "choices": list(STRATEGIES)},
    )


def main() -> None:
    options = parser().parse_args()
    train_count, test_count, iterations = 40, 20, options.iterations
    seeds = options.seeds
    if options.quick:
        train_count, test_count, iterations, seeds = 6, 3, min(20, iterations), seeds[:1]
    cohort = Cohort.open(Path(options.data) / "msd_hippocampus")
    names = [case.name for case in cohort.cases if case.reference]
    rows = []
    for seed in seeds:
        order = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
        training, test = tuple(order[:train_count]), tuple(order[train_count : train_count + test_count])
        for budget, strategy in product(options.budgets, options.strategies):
            figures = _cohort_figures(cohort, training, test, budget, strategy, seed, iterations, options.plane)
            rows.append(("hippocampus", budget, strategy, seed, *figures))
            Console(stderr=True, width=160).print(rows[-1], highlight=False)
    rows += _volume_rows(options, seeds)
    report(
        f"Selection: {train_count} training and {test_count} test volumes, {options.plane}, {iterations} steps",
        COLUMNS,
        rows,
        options,
        seeds=seeds,
        notes=_summary(rows),
    )


def _cohort_figures(cohort, training, test, budget, strategy, seed, iterations, plane) -> tuple:
    with tempfile.TemporaryDirectory() as state:
        cohort = Cohort.open(cohort.folder, state)
        chosen, seconds = _recommended(cohort, training, budget, strategy, seed, plane)
        covered = _coverage(cohort, training, chosen, plane)
        common = {"cohort": str(cohort.folder), "state": state}
        requests.draw(requests.DrawRequest(**common, cases=training), Watch())
        filled = float(np.mean([fill_dice(cohort.annotation(name), cohort.reference(name)) for name in training]))
        model = _model_dice(common, test, seed, iterations) if iterations else math.nan
        return len(chosen), *covered, filled, model, seconds


def _model_dice(common: dict[str, str], test, seed: int, iterations: int) -> float:
    settings = TrainingSettings(iterations=iterations, seed=seed, patch=(32, 48, 32), batch=2, validation_share=0.0)
    requests.train(requests.TrainRequest(**common, run="quick", settings=settings), Watch())
    requests.predict(requests.PredictRequest(**common, run="quick", cases=test), Watch())
    figures = requests.evaluate(requests.EvaluateRequest(**common, run="quick", cases=test), Watch())
    return mean_of_known(case.dice for case in figures) or 0.0


def _recommended(cohort: Cohort, names, budget: str, strategy: str, seed: int, plane: str):
    settings = dict(STRATEGIES[strategy])
    scope = settings.pop("scope", Budget.scope)
    request = requests.RecommendRequest(
        cohort=str(cohort.folder),
        state=str(cohort.state_folder),
        cases=tuple(names),
        planes=(Plane.named(plane),),
        budget=Budget(scope=scope, **BUDGETS[budget]),
        strategy=strategy.split(",")[0],
        seed=seed,
        whole=True,
        **settings,
    )
    start = time.monotonic()
    chosen = requests.recommend(request, Watch())
    return chosen, time.monotonic() - start


def _coverage(cohort: Cohort, names, chosen, plane: str) -> tuple[float, float]:
    plane = Plane.named(plane)
    features = cohort_features(cohort, names, [plane], FeatureSettings(), Watch())
    units = unit_rows(np.concatenate([features[name][plane] for name in names]))
    starts = np.cumsum([0] + [len(features[name][plane]) for name in names])
    picked = {name: [c.index for c in chosen if c.case == name] for name in names}
    everywhere = [int(start) + i for start, name in zip(starts, names, strict=False) for i in picked[name]]
    within = []
    for start, stop, name in zip(starts, starts[1:], names, strict=False):
        within.append(coverage(units[start:stop], np.array(picked[name], dtype=int)).mean())
    return float(coverage(units, np.array(everywhere, dtype=int)).mean()), float(np.mean(within))


def fill_dice(annotation: SparseAnnotation, reference: np.ndarray) -> float:
    """Mean Dice of the labels; a structure that no drawn slice shows counts 0."""
    labels = annotation.drawn_labels()
    if annotation.label_values():
        labels = interpolator_named("shape").fill(annotation, None).labels
    return float(np.mean([dice(labels == v, reference == v) for v in np.unique(reference) if v]))


def _volume_rows(options, seeds) -> list[tuple]:
    rows = []
    for title, (image, label) in VOLUMES.items():
        image, label = Path(options.data) / image, Path(options.data) / label
        if not image.is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            cohort = Cohort.create(Path(folder) / "c", "c")
            cohort.add_case("volume", image, reference=label)
            reference, geometry = cohort.reference("volume"), cohort.geometry("volume")
            for budget, strategy in product(options.budgets, options.strategies):
                if "cohort" in strategy or strategy == "staggered":
                    continue  # for one volume the same as another row
                for seed in seeds if strategy == "random" else seeds[:1]:
                    chosen, seconds = _recommended(cohort, ("volume",), budget, strategy, seed, "axial")
                    covered = _coverage(cohort, ("volume",), chosen, "axial")
                    indices = sorted(c.index for c in chosen)
                    drawn = SparseAnnotation.from_slices(reference, geometry, Plane.AXIAL, indices)
                    figures = (len(chosen), *covered, fill_dice(drawn, reference), math.nan, seconds)
                    rows.append((title, budget, strategy, seed, *figures))
    return rows


def _summary(rows) -> list[str]:
    notes = []
    for data, budget, strategy in dict.fromkeys(row[:3] for row in rows):
        same = np.array([row[4:9] for row in rows if row[:3] == (data, budget, strategy)], dtype=float)
        mean, spread = same.mean(axis=0), same.std(axis=0)
        names = ("slices", "F cohort", "F volume", "fill", "model")
        known = zip(names, mean, spread, strict=True)
        figures = "; ".join(f"{name} {m:.3f} ± {s:.3f}" for name, m, s in known if math.isfinite(m))
        notes.append(f"{data}, {budget}, {strategy}: {figures}")
    return notes


if __name__ == "__main__":
    main()
