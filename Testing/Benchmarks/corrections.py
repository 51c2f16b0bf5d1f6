"""Corrections by clicks, beside Slicer's 'Grow from seeds': Dice after each number of clicks, and clicks to a Dice.

A simulated person has drawn 5 % of the axial slices, and then clicks in the middle of the largest error, up to 20 times
for each structure: the voxel of the largest connected error that is deepest in it, with a ball of 2 voxels around it as
far as it is in the error. Ours starts from the fill (`auto`), and each click changes it (`correct`). Grow from seeds
(`vtkImageGrowCutSegment`) gets the same drawn slices, and the ball of each click, as seeds; its errors are its own, so
that its person clicks elsewhere. Structures are clicked one at a time, each from the same start. The errors, and so the
Dice, are over the whole volume.

With --with-run, ours starts from the answer, too, that the fill and a trained run give together. The run is one 3D
model, and has learned from the drawn slices of the set's first 20 volumes; which slices they are differs from volume to
volume.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from answer import RUN, drawn_cohort, train_run
from benchmark_report import DATA, options_parser, report
from grow_from_seeds import GrowFromSeeds
from interpolation import LabelledVolume, fixed_interval, labelled_sets
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, Watch
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.core.images import read_image, read_labels
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation.correcting import correct
from SparseAnnotateLib.worker import requests

SHOWN = (0, 1, 2, 5, 10, 20)
GOALS = (0.90, 0.95)
SETS = ("hippocampus", "spinal cord", "MS lesions", "pulmonary artery", "brain tumour", "EM interior")
VOLUMES = 6  # of a set with many
LEARNED_FROM = 20  # volumes, by a run
BALL = 2.0
GROW = "Grow from seeds"

Answerer = Callable[[Stroke | None], np.ndarray]


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA)},
        sets={"nargs": "+", "choices": SETS, "default": list(SETS)},
        clicks={"type": int, "default": 20},
        density={"type": float, "default": 0.05},
        recipe={"default": "3d", "help": "of the run"},
        iterations={"type": int, "default": 400, "help": "of the run"},
        seed={"type": int, "default": 5},
        **{"with-run": {"action": "store_true", "help": "start from the answer with a trained run, too"}},
    )


def main() -> None:
    options = parser().parse_args()
    clicks = 2 if options.quick else options.clicks
    rows = []
    for title, volumes in labelled_sets(Path(options.data)).items():
        volumes = [volume for volume in volumes if volume.image is not None]
        if title not in options.sets or not volumes:
            continue
        curves: dict[str, list[np.ndarray]] = {}
        seconds: dict[str, list[float]] = {}
        for image, truth, annotation, starts in _drawn_volumes(title, volumes, options):
            for value in annotation.label_values():
                ways: dict[str, Answerer] = {name: Ours(*start, image, annotation) for name, start in starts.items()}
                ways[GROW] = GrowFromSeeds(image, annotation)
                for name, way in ways.items():
                    curve = []
                    for dice, took in session(way, truth, value, clicks, annotation.geometry.spacing):
                        curve.append(dice)
                        seconds.setdefault(name, []).append(took)
                    curves.setdefault(name, []).append(np.array(curve))
        for name, found in curves.items():
            rows.append((title, len(found), name, *summary(np.array(found), clicks), *_times(seconds[name])))
            print(rows[-1], file=sys.stderr, flush=True)
    columns = ("set", "structures", "way", *(f"{n} clicks" for n in SHOWN if n <= clicks))
    columns += (*(f"clicks to {goal:.2f}" for goal in GOALS), "median s", "worst s")
    report("Mean Dice by clicks, and mean clicks to a Dice (not reached: all clicks)", columns, rows, options)


def _drawn_volumes(title: str, volumes: Sequence[LabelledVolume], options: argparse.Namespace) -> Iterator[tuple]:
    """Of each volume: image, reference and drawn slices, and by its name labels and confidence of each start."""
    count = 1 if options.quick else VOLUMES
    with tempfile.TemporaryDirectory() as folder:
        cohort = _cohort_with_run(Path(folder), title, volumes[:LEARNED_FROM], options) if options.with_run else None
        for number, volume in enumerate(volumes[:count]):
            image, geometry = read_image(volume.image)
            truth = read_labels(volume.labels, geometry)
            if cohort is None:
                indices = fixed_interval(Plane.AXIAL.slice_count(geometry), options.density)
                annotation = SparseAnnotation.from_slices(truth, geometry, Plane.AXIAL, indices)
            else:
                case = cohort.cases[number].name
                annotation = cohort.annotation(case)
            if not annotation.label_values():
                continue
            fill = finished_fill(AutoInterpolator(), annotation, lambda image=image: image, {}).fill
            starts = {"correct, from the fill": (fill.labels, fill.confidence)}
            if cohort is not None:
                requests.fill(requests.FillRequest(str(cohort.folder), cases=(case,), run=RUN), Watch())
                paths = cohort.fill_path(case), cohort.fill_confidence_path(case)
                labels, confidence = (read_labels(path, geometry) for path in paths)
                starts["correct, from the answer"] = labels, confidence.astype(np.uint8)
            yield image, truth, annotation, starts


def _cohort_with_run(
    folder: Path, title: str, volumes: Sequence[LabelledVolume], options: argparse.Namespace
) -> Cohort:
    cohort = drawn_cohort(folder / title, title, volumes[:2] if options.quick else volumes, options.density, True)
    train_run(cohort, options)
    return cohort


def summary(curves: np.ndarray, clicks: int) -> list[float]:
    """Mean Dice after some numbers of clicks, and mean clicks to reach each goal; curves: (structures, clicks + 1)."""
    reached = [np.where((curves >= goal).any(1), (curves >= goal).argmax(1), clicks).mean() for goal in GOALS]
    return [float(curves[:, n].mean()) for n in SHOWN if n <= clicks] + [float(n) for n in reached]


def _times(seconds: list[float]) -> tuple[float, float]:
    taken = np.array([s for s in seconds if s > 0] or [0.0])
    return float(np.median(taken)), float(taken.max())


def session(
    answerer: Answerer, truth: np.ndarray, value: int, clicks: int, spacing: tuple[float, ...]
) -> Iterator[tuple[float, float]]:
    """The Dice before and after each click, and the seconds it took; without an error left the Dice stays."""
    is_true = truth == value
    stroke: Stroke | None = None
    for _number in range(clicks + 1):
        before = time.perf_counter()
        found = answerer(stroke) == value
        took = time.perf_counter() - before if stroke is not None else 0.0
        both = np.count_nonzero(found & is_true)
        yield 2.0 * both / (np.count_nonzero(found) + np.count_nonzero(is_true)), took
        stroke = click(found, is_true, value, spacing)


def click(found: np.ndarray, is_true: np.ndarray, value: int, spacing: tuple[float, ...]) -> Stroke | None:
    """A ball in the middle of the largest error; None without any."""
    pieces, count = ndimage.label(found != is_true, ndimage.generate_binary_structure(3, 1))
    if not count:
        return None
    # An error is missing or too much, never both: where these touch they are two.
    sizes = np.zeros((2, count + 1), dtype=np.int64)
    for side in (0, 1):
        sizes[side] = np.bincount(pieces[is_true == bool(side)].ravel(), minlength=count + 1)
    sizes[:, 0] = 0
    side, piece = np.unravel_index(sizes.argmax(), sizes.shape)
    box = ndimage.find_objects(pieces)[piece - 1]
    error = np.pad((pieces[box] == piece) & (is_true[box] == bool(side)), 1)
    away = ndimage.distance_transform_edt(error, sampling=spacing)
    middle = np.array(np.unravel_index(away.argmax(), away.shape))
    steps = np.indices(error.shape, dtype=np.float32) - middle[:, None, None, None]
    ball = (steps**2).sum(0) <= BALL**2
    mask = np.zeros(is_true.shape, dtype=bool)
    mask[box] = (ball & error)[1:-1, 1:-1, 1:-1]
    return Stroke.of(mask, value, bool(side))


class Ours:
    """An answer, changed by each click."""

    def __init__(self, labels: np.ndarray, confidence: np.ndarray, image: np.ndarray, annotation: SparseAnnotation):
        self._labels, self._confidence, self._image = labels.copy(), confidence.copy(), image
        self._annotation = annotation

    def __call__(self, stroke: Stroke | None) -> np.ndarray:
        if stroke is not None:
            corrections = self._annotation.corrections or Corrections(self._labels.shape)
            self._annotation = replace(self._annotation, corrections=corrections.with_stroke(stroke))
            correct(self._labels, self._confidence, self._image, self._annotation, stroke)
        return self._labels


if __name__ == "__main__":
    main()
