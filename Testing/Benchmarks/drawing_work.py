"""How much a person has to draw on each slice, by what the slice is initialized from: added path length.

A session draws 20 slices of a volume from the reference. The first is the middle one, and each further one is in the
middle of the widest gap that is left. Before each slice is drawn, its added path length is measured from nothing, from
the nearest drawn slice, from the fill of what is drawn so far, and from the suggestion of a model that learns while
the slices are drawn. The fill is updated after each slice, as in the panel, and the model takes so many steps between
two slices (a person needs about a minute). The added path length is the number of contour pixels that are missing, over
all structures; it is given as a share of all contour pixels on these slices, so 'from nothing' is 1. The last three
columns leave out what is at most one pixel away from a contour that was there, which nobody would draw again.

With --rest-drawn there is no session: all slices but its last ten are drawn, and the suggestion is the model's after
all steps. What is missing then, drawing more slices would not bring.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmark_report import DATA, options_parser, report
from interpolation import labelled_sets
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, Watch
from SparseAnnotateLib.core.images import read_image, read_labels, read_slice
from SparseAnnotateLib.core.metrics import added_path_length
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation import AutoInterpolator, FinishedFill, finished_fill
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.live_training import LiveRun
from SparseAnnotateLib.learning.training.run_planning import plan_to_train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.live_settings import LIVE_RECIPES, live_settings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.slice_request import SliceRequest, label_slice

LAST_PART = "11 to 20"
PARTS = {"2 to 5": slice(1, 5), "6 to 10": slice(5, 10), LAST_PART: slice(10, 20)}
SETS = ("spinal cord", "MS lesions", "pulmonary artery", "EM interior")
CASE, RUN = "volume", "live"


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        data={"default": str(DATA)},
        slices={"type": int, "default": 20},
        plane={"default": "axial"},
        steps={"type": int, "default": 200, "help": "that the model takes between two slices"},
        recipe={"default": "2d", "choices": LIVE_RECIPES, "help": "what the model is"},
        sets={"nargs": "+", "default": SETS, "help": "only these sets"},
        volumes={"type": int, "nargs": "+", "help": "only these volumes of each set, from 1"},
        **{"rest-drawn": {"action": "store_true", "help": "all slices but the last ten are drawn from the beginning"}},
    )


def main() -> None:
    options = parser().parse_args()
    plane, slices = Plane.named(options.plane), 4 if options.quick else options.slices
    steps = min(options.steps, 10) if options.quick else options.steps
    rows = []
    for title, volumes in labelled_sets(Path(options.data)).items():
        if title not in options.sets:
            continue
        for number, volume in enumerate(volumes[:1] if options.quick else volumes, start=1):
            if volume.image is None or number not in (options.volumes or [number]):
                continue
            image, geometry = read_image(volume.image)
            labels = read_labels(volume.labels, geometry)
            session = Session(labels, image, geometry, plane, slices)
            path = session.path(steps, options.recipe, options.rest_drawn)
            name = title if len(volumes) == 1 else f"{title}, volume {number}"
            for part, places in PARTS.items():
                of_part = path[places].sum(axis=0)
                if of_part[0]:
                    rows.append((name, part, int(of_part[0]), *(of_part[1:] / of_part[0]).tolist()))
    exact = ("from the nearest slice", "from the fill", "from the suggestion")
    columns = ("volume", "slices", "contour pixels", *exact, *(f"{title}, beyond a pixel" for title in exact))
    report(f"Added path length as a share of 'from nothing', {plane.value} slices", columns, rows, options)


class Session:
    """A person who draws slices of one volume, and needs a minute for each."""

    def __init__(self, labels: np.ndarray, image: np.ndarray, geometry, plane: Plane, slices: int):
        self._labels, self._image, self._geometry, self._plane = labels, image, geometry, plane
        self._axis = plane.array_axis(geometry)
        self._order = _order(labels, self._axis, slices)
        self._path = np.zeros((slices, 7), dtype=np.int64)
        self._drawn: list[int] = []
        self._fill: FinishedFill | None = None

    def path(self, steps: int, recipe: str, rest_is_drawn: bool = False) -> np.ndarray:
        """(slices, 7) int: added path length of each slice from nothing; from nearest slice, fill and suggestion; and
        from these three beyond a pixel.

        `rest_is_drawn`: only the slices of the last part are measured, and the model learns once, from all others.
        """
        last = self._order[PARTS[LAST_PART]] if rest_is_drawn else []
        with tempfile.TemporaryDirectory() as folder:
            names = {int(value): f"structure {value}" for value in np.unique(self._labels[self._labels > 0])}
            self._cohort = Cohort.create(Path(folder) / "cohort", "cohort", names)
            self._cohort.add_case(CASE, self._image, self._geometry)
            if rest_is_drawn:
                self._drawn = sorted(set(range(self._labels.shape[self._axis])).difference(last))
                self._cohort.save_annotation(CASE, self._annotation())
            else:
                self._draw(None)
            settings = live_settings(TrainingSettings(recipe=recipe))
            run, watch = RunFolder(self._cohort.run_folder(RUN)), Watch()
            plan = plan_to_train(self._cohort, run, settings, None, (), watch, is_live=True)

            def suggested(index: int) -> np.ndarray:
                request = SliceRequest(str(self._cohort.folder), RUN, CASE, self._plane.value, index)
                return read_slice(label_slice(request, Watch()).path, self._axis)

            def pause() -> bool:
                """After so many steps the next slice is drawn; whether there was one."""
                for index in last:
                    self._measure(index, suggested(index))
                if last or len(self._drawn) == len(self._order):
                    watch.cancel()
                    return False
                self._draw(suggested(self._order[len(self._drawn)]))
                return True

            PacedRun(self._cohort, run, plan, watch, steps, pause).train()
        return self._path

    def _draw(self, suggested: np.ndarray | None) -> None:
        """Measure the next slice, and draw it."""
        index = self._order[len(self._drawn)]
        self._measure(index, suggested)
        self._drawn.append(index)
        self._cohort.save_annotation(CASE, self._annotation())

    def _measure(self, index: int, suggested: np.ndarray | None) -> None:
        """What is missing on a slice before it is drawn."""
        number, truth = self._order.index(index), self._labels[slice_layer(self._axis, index)]
        nearest, filled = np.zeros_like(truth), np.zeros_like(truth)
        if self._drawn:
            place = min(self._drawn, key=lambda other: abs(other - index))
            nearest = self._labels[slice_layer(self._axis, place)]
            self._fill = finished_fill(
                AutoInterpolator(), self._annotation(), lambda: self._image, {}, previous=self._fill
            )
            filled = self._fill.fill.labels[slice_layer(self._axis, index)].copy()
        suggested = np.zeros_like(truth) if suggested is None else suggested
        for value in np.unique(truth[truth > 0]).tolist():
            befores, drawn = [before == value for before in (nearest, filled, suggested)], truth == value
            self._path[number] += [
                added_path_length(np.zeros_like(drawn), drawn),
                *(added_path_length(before, drawn) for before in befores),
                *(added_path_length(before, drawn, tolerance=1) for before in befores),
            ]

    def _annotation(self) -> SparseAnnotation:
        return SparseAnnotation.from_slices(self._labels, self._geometry, self._plane, self._drawn)


class PacedRun(LiveRun):
    """Learns as ever, but time is counted in steps: `pause` is called after so many, and says whether to look again."""

    def __init__(self, cohort, folder, plan, watch: Watch, steps: int, pause):
        super().__init__(cohort, folder, plan, (), Ranks(), watch)
        self._steps, self._pause = steps, pause

    def is_due(self) -> bool:
        iteration = self.iteration
        if not iteration or iteration % self._steps:
            return False
        # Called again after the update, before the step.
        is_due, self._paused_at = iteration != self._paused_at and self._pause(), iteration
        return is_due

    _paused_at = 0


def _order(labels: np.ndarray, axis: int, slices: int) -> list[int]:
    """The slices that show a structure, from the middle of the widest gap that is left."""
    shown = np.flatnonzero(labels.any(axis=tuple(a for a in range(3) if a != axis)))
    first, last = int(shown[0]), int(shown[-1])
    order = [(first + last) // 2]
    while len(order) < min(slices, last - first + 1):
        places = sorted({first - 1, *order, last + 1})
        gaps = [(after - before, -before) for before, after in pairwise(places)]
        width, start = max(gaps)
        order.append(-start + width // 2)
    return order


if __name__ == "__main__":
    main()
