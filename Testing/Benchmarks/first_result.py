"""The first model of a newcomer: what `quick` gives after some minutes on MNI152, of which every tenth slice is drawn.

For each number of minutes a training of its own, of as many steps as fit into them on this machine, with the proper
cool-down at its end. Measured on the whole volume, drawn slices included, with what clean-up leaves out counted before
it (`outside`): Dice and 95 % Hausdorff distance, mean of grey and white matter; labelled voxels outside the brain;
flicker, the share of labelled voxels that differ from both neighbours across the drawn plane, as a multiple of the
reference's.

`--network basic_unet_small --precision fp32` is what earlier versions trained.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmark_report import options_parser, report
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch, compare_labels
from SparseAnnotateLib.learning.prediction.clean_up import CleanUp
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.estimate import stage_seconds
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests

CASE, PLANE, DENSITY = "MNI152", Plane.CORONAL, 0.1


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        minutes={"type": float, "nargs": "+", "default": [1.0, 2.0, 5.0, 10.0]},
        network={"default": "auto"},
        precision={"default": "auto"},
        recipe={"default": "3d"},
        seed={"type": int, "default": 0},
    )


def main() -> None:
    options = parser().parse_args()
    minutes = [0.1] if options.quick else options.minutes
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cohort, reference = mni152_cohort(Path(folder), 2 if options.quick else 1)
        wanted = TrainingSettings(
            recipe=options.recipe, network=options.network, precision=options.precision, seed=options.seed
        )
        for number, value in enumerate(minutes):
            rows.append(_measured(cohort, reference, wanted, value, f"run_{number}"))
    report(
        f"First result on MNI152: {options.recipe}, network {options.network}, precision {options.precision}",
        ("minutes", "steps", "train s", "network", "precision", "Dice", "HD95 mm", "outside", "flicker"),
        rows,
        options,
        seeds=[options.seed],
    )


def mni152_cohort(folder: Path, resolution_mm: int) -> tuple[Cohort, np.ndarray]:
    """A cohort with the MNI152 template, every tenth coronal slice drawn, and its reference (K, J, I) uint8."""
    from nilearn import datasets

    def loaded(load):
        image = load(resolution=resolution_mm)
        return np.ascontiguousarray(np.asarray(image.dataobj).transpose(2, 1, 0)), image.affine

    image, affine = loaded(datasets.load_mni152_template)
    grey, white = (loaded(f)[0] for f in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template))
    reference = np.zeros(grey.shape, dtype=np.uint8)
    reference[(grey > 0.5) & (grey >= white)] = 1
    reference[(white > 0.5) & (white > grey)] = 2
    geometry = VolumeGeometry.from_matrix(image.shape, affine)
    cohort = Cohort.create(folder / "cohort", "MNI152", {1: "grey matter", 2: "white matter"})
    cohort.add_case(CASE, image.astype(np.float32), geometry)
    request = requests.RecommendRequest(str(cohort.folder), planes=(PLANE,), budget=Budget(density=DENSITY), whole=True)
    slices = [item.index for item in requests.recommend(request, Watch())]
    cohort.save_annotation(CASE, SparseAnnotation.from_slices(reference, geometry, PLANE, slices))
    return cohort, reference


def flicker(labels: np.ndarray, axis: int) -> float:
    """Share of the labelled voxels of (K, J, I) labels that differ from both neighbours along an axis."""
    slices = np.moveaxis(labels, axis, 0)
    differs = slices[1:] != slices[:-1]
    return float(np.count_nonzero(differs[1:] & differs[:-1]) / max(1, np.count_nonzero(labels)))


def _measured(cohort: Cohort, reference: np.ndarray, wanted: TrainingSettings, minutes: float, run: str) -> tuple:
    plan = new_plan(cohort, replace(wanted, iterations=1000), [CASE])
    geometry = cohort.geometry(CASE)
    seconds = sum(stage_seconds(plan, [geometry.standard_shape], held_out=True).values())
    steps = max(5, round(1000 * 60 * minutes / seconds))
    settings = replace(wanted, iterations=steps)
    start = time.monotonic()
    card = requests.train(requests.TrainRequest(cohort=str(cohort.folder), run=run, settings=settings), Watch())
    trained = time.monotonic() - start
    predictor = Predictor(cohort, run)
    labels = predictor.labels(CASE)
    raw = predictor.labels(CASE, clean_up=CleanUp(stray_pieces=False))
    image = cohort.image(CASE)[0]
    figures = compare_labels(CASE, labels, reference, geometry)
    axis = PLANE.array_axis(geometry)
    return (
        minutes,
        steps,
        trained,
        card["models"][-1]["plan"]["network"],
        card["precision"],
        figures.dice,
        figures.hd95_mm,
        int(np.count_nonzero((raw > 0) & (image == image.flat[0]))),
        flicker(labels, axis) / flicker(reference, axis),
    )


if __name__ == "__main__":
    main()
