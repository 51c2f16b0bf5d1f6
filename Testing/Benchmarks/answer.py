"""The fill, a trained run, and both together: batched IoU and Dice of the completed annotation.

The run is one 3D model, unless --recipe says otherwise.

Hippocampi: a run is trained on 10 % of the coronal slices of 30 volumes. Then 20 other volumes, and 20 of those it
was trained on, are filled from coronal slices at fixed intervals: by `auto`, by the run alone (drawn slices as drawn),
and by `auto` with the run. The slices of the trained volumes differ from those that the run has learned from, except
where they coincide; the run's score on them is not used. MNI152: the same on one volume, of which every tenth coronal
slice is drawn.

The other sets with images (--sets): axial slices at fixed intervals, which the run is trained on, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmark_report import DATA, options_parser, report
from first_result import CASE, mni152_cohort
from interpolation import DENSITIES, LabelledVolume, Score, fixed_interval, labelled_sets
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, Watch, compare_labels
from SparseAnnotateLib.core.images import read_geometry, read_labels
from SparseAnnotateLib.runs import RECIPES, TrainingSettings
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests

PLANE, RUN = Plane.CORONAL, "run"
HIPPOCAMPI, MNI152 = "hippocampi", "MNI152"
# Head and neck has no images.
FURTHER = ("spinal cord", "MS lesions", "pulmonary artery", "brain tumour", "EM interior", "EM bodies")


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA)},
        sets={"nargs": "+", "choices": [HIPPOCAMPI, MNI152, *FURTHER], "default": [HIPPOCAMPI, MNI152]},
        densities={"type": float, "nargs": "+", "default": list(DENSITIES)},
        recipe={"choices": list(RECIPES), "default": "3d"},
        iterations={"type": int, "default": 400},
        seed={"type": int, "default": 5},
        work={"help": "keep the cohorts of the other sets there, and do not train the runs again that are there"},
    )


def main() -> None:
    options = parser().parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        hippocampi = Path(options.data) / "msd_hippocampus"
        if HIPPOCAMPI in options.sets and hippocampi.is_dir():
            rows += _hippocampi(hippocampi, Path(folder), options)
        if MNI152 in options.sets:
            rows += _mni152(Path(folder), options)
        for name, volumes in labelled_sets(Path(options.data)).items():
            if name in options.sets and name in FURTHER and volumes:
                rows += _trained_on_itself(name, volumes, Path(options.work or folder), options)
    columns = ("set", "drawn", "fill", "run", "fill with run", "share of the run")
    title = "Answer: IoU (hippocampi, mean over labels), Dice and HD95 in mm (MNI152)"
    report(title, columns, rows, options, seeds=[options.seed])


def _hippocampi(data: Path, folder: Path, options: argparse.Namespace) -> list[tuple]:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").glob("*.nii.gz"))
    np.random.default_rng(options.seed).shuffle(names)
    count, tested = (4, 2) if options.quick else (30, 20)
    trained, others = names[:count], names[count : count + tested]
    cohort = Cohort.create(folder / "hippocampi", "hippocampi", {1: "anterior", 2: "posterior"})
    for name in (*trained, *others):
        image, labels = (data / part / f"{name}.nii.gz" for part in ("imagesTr", "labelsTr"))
        cohort.add_case(name, image, reference=labels)
    budget = Budget(density=0.1)
    recommend = requests.RecommendRequest(
        str(cohort.folder), cases=tuple(trained), planes=(PLANE,), budget=budget, whole=True
    )
    requests.recommend(recommend, Watch())
    requests.draw(requests.DrawRequest(str(cohort.folder), cases=tuple(trained)), Watch())
    train_run(cohort, options)
    rows = []
    for title, cases in (("hippocampi, others", others), ("hippocampi, trained on", trained[:tested])):
        for density in options.densities[:1] if options.quick else options.densities:
            _draw(cohort, cases, PLANE, density)
            rows.append((title, f"{density:.0%}", *_compared(cohort, cases, partial(_iou, cohort, cases))))
    return rows


def _mni152(folder: Path, options: argparse.Namespace) -> list[tuple]:
    cohort, reference = mni152_cohort(folder, 2 if options.quick else 1)
    train_run(cohort, options)

    def figures(path: Callable[[str], Path]) -> str:
        geometry = cohort.geometry(CASE)
        found = compare_labels(CASE, read_labels(path(CASE), geometry), reference, geometry)
        return f"{found.dice:.4f}, {found.hd95_mm:.2f}"

    return [("MNI152", "10%", *_compared(cohort, [CASE], figures))]


def _trained_on_itself(
    name: str, volumes: Sequence[LabelledVolume], folder: Path, options: argparse.Namespace
) -> list[tuple]:
    """A set whose volumes are filled from the slices that the run has learned from."""
    rows = []
    for density in options.densities[:1] if options.quick else options.densities:
        place = folder / f"{name} {density}"
        cohort = Cohort.open(place) if place.is_dir() else drawn_cohort(place, name, volumes, density)
        cases = [case.name for case in cohort.cases]
        try:
            if RUN not in cohort.runs():
                train_run(cohort, options)
        except BadInputError as error:  # such as: no drawn slice shows the structure
            print(f"{name}, {density:.0%}: {error}", file=sys.stderr, flush=True)
            continue
        rows.append((name, f"{density:.0%}", *_compared(cohort, cases, partial(_iou, cohort, cases))))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def drawn_cohort(
    folder: Path, name: str, volumes: Sequence[LabelledVolume], density: float, are_staggered: bool = False
) -> Cohort:
    """The volumes of a set, with axial slices drawn at fixed intervals; staggered, they differ between volumes."""
    shown = [np.unique(read_labels(volume.labels, read_geometry(volume.labels))) for volume in volumes]
    kinds = sorted({int(value) for values in shown for value in values if value})
    cohort = Cohort.create(folder, name, {value: f"{name} {value}" for value in kinds})
    cases = [f"case {number}" for number, _volume in enumerate(volumes, start=1)]
    for case, volume in zip(cases, volumes, strict=True):
        cohort.add_case(case, volume.image, reference=volume.labels)
    for number, case in enumerate(cases):
        # By golden ratios, so that any number of volumes from the first has evenly distributed positions.
        _draw(cohort, [case], Plane.AXIAL, density, (0.5 + number * 0.618) % 1.0 - 0.5 if are_staggered else 0.0)
    return cohort


def _draw(cohort: Cohort, cases: Sequence[str], plane: Plane, density: float, shift: float = 0.0) -> None:
    """Draw slices at fixed intervals, moved by a part of their distance, from the reference."""
    for name in cases:
        geometry = cohort.geometry(name)
        indices = fixed_interval(plane.slice_count(geometry), density, shift)
        cohort.save_annotation(name, SparseAnnotation.from_slices(cohort.reference(name), geometry, plane, indices))


def train_run(cohort: Cohort, options: argparse.Namespace) -> None:
    """Train the run on what is drawn, with the options `recipe`, `iterations`, `seed` and `quick`."""
    steps = 5 if options.quick else options.iterations
    settings = TrainingSettings(recipe=options.recipe, iterations=steps, seed=options.seed)
    requests.train(requests.TrainRequest(cohort=str(cohort.folder), run=RUN, settings=settings), Watch())


def _compared(cohort: Cohort, cases: Sequence[str], figures: Callable[[Callable[[str], Path]], object]) -> tuple:
    """The figures of the fill, of the run and of both, and the largest share of the run."""
    common = {"cohort": str(cohort.folder), "cases": tuple(cases)}
    requests.fill(requests.FillRequest(**common), Watch())
    alone = figures(cohort.fill_path)
    requests.predict(requests.PredictRequest(run=RUN, model_only=True, **common), Watch())
    by_run = figures(lambda name: cohort.prediction_path(RUN, name))
    filled = requests.fill(requests.FillRequest(run=RUN, **common), Watch())
    share = max(label["shares"][f"run '{RUN}'"] for result in filled for label in result.labels)
    return alone, by_run, figures(cohort.fill_path), share


def _iou(cohort: Cohort, cases: Sequence[str], path: Callable[[str], Path]) -> float:
    score = Score()
    for name in cases:
        score.add(read_labels(path(name), cohort.geometry(name)), cohort.reference(name), 0.0)
    return score.mean_iou()


if __name__ == "__main__":
    main()
