"""Training models on drawn slices, running them, and measuring what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import scene
from ..client import Steps
from ..core import BadInputError, Progress
from ..core.cohort import COHORT_FILE
from ..core.images import read_labels
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from ..runs.plan import TrainingEstimate
from ..runs.run_folder import RunFolder
from ..runs.run_list import RunSummary, run_summaries
from .session import SessionLogic


class ModellingLogic(SessionLogic):
    """Runs and their results."""

    def train(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        device: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Train a model on the drawn slices of the volumes; returns the run's name.

        `preset` is 'quick', 'balanced' or 'best'; `settings` are fields of TrainingSettings that differ from it, for
        example {"iterations": 300}. Under the name of a run that was planned, cancelled or killed it goes on.
        """
        name = runName or self.newRunName()
        prepare = self._exportingDrawn(
            volumeNodes, run=name, preset=preset, changes=dict(settings or {}), device=device
        )
        return self._do("train", prepare, lambda card: card["run"], waitForCompletion, onDone, onProgress)

    def trainingPlan(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        device: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `train` would do with the same arguments, and how many minutes it would take here: a TrainingEstimate.

        With a run's name the plan is written to the run's plan.json, to be edited before `train` goes on with it.
        """
        prepare = self._exportingDrawn(
            volumeNodes, run=runName or None, preset=preset, changes=dict(settings or {}), device=device
        )

        def finish(found) -> TrainingEstimate:
            return from_plain(found, TrainingEstimate, "the worker's answer")

        return self._do("plan_training", prepare, finish, waitForCompletion, onDone, onProgress)

    def _exportingDrawn(self, volumeNodes: Sequence, **parameters: Any) -> Steps:
        """The request to learn from volumes: those with drawn slices are learned from, the others looked at.

        Raises BadInputError, at once, when nothing has been drawn.
        """
        drawn = [node for node in volumeNodes if self.ledger(node).decided]
        if not drawn:
            raise BadInputError(
                "No slice has been drawn on any of the chosen volumes, so there is nothing to learn from. "
                "Draw at least one slice and mark it as drawn."
            )
        others = [node for node in volumeNodes if node not in drawn]

        def steps():
            undrawn = yield from self._exporting(others)
            request = yield from self._exporting(drawn, undrawn_cases=undrawn["cases"], **parameters)
            if parameters.get("changes", {}).get("fill_weight"):
                yield from self._exportingFills(drawn)
            return request

        return steps()

    def runNotes(self, runName: str) -> tuple[str, ...]:
        """What the user should know about a trained run, as sentences."""
        return RunFolder(self.cohort().run_folder(runName)).card().notes

    def runSummaries(self) -> list[RunSummary]:
        """The runs in the cohort folder with date, cases and Dice, oldest first."""
        return run_summaries(self.cohort()) if (self.cohortFolder / COHORT_FILE).is_file() else []

    def unfinishedRuns(self) -> list[str]:
        """Names of the runs that were cancelled or killed, oldest first; `train` under their name goes on with them."""
        return [run.name for run in self.runSummaries() if not run.is_finished]

    def hasMetrics(self, runName: str) -> bool:
        """True when a run has made a step, so that `showCurves` has something to show."""
        return RunFolder(self.cohort().run_folder(runName)).metrics_path.is_file()

    def showCurves(self, runName: str, inLayout: bool = False):
        """Draw loss and Dice of a run, finished or not, into a chart node, which is returned.

        Called again while the run is trained, the curves go on. With `inLayout` Slicer's layout is changed to one with
        a plot view, where there is none. Raises BadInputError when there is nothing to show yet.
        """
        metrics = RunFolder(self.cohort().run_folder(runName)).metrics()
        if not metrics:
            raise BadInputError(f"The run '{runName}' has not made a step yet, so there is no curve to show.")
        return scene.show_curves(runName, metrics, inLayout)

    def newRunName(self) -> str:
        """A name that no run has yet: 'run 1', 'run 2', ..."""
        taken, number = set(self.runs()), 1
        while f"run {number}" in taken:
            number += 1
        return f"run {number}"

    def segment(
        self,
        volumeNodes: Sequence,
        runName: str,
        uncertainty: bool = False,
        largestComponent: bool = False,
        smoothing: float = 0.0,
        device: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Run a trained model on volumes; returns a new segmentation node for each. Drawn slices stay as drawn.

        With `uncertainty` each comes with a confidence (100 percent less the entropy), which `showConfidence` shows.
        `largestComponent` keeps the largest piece of each segment; `smoothing` is in mm.
        """
        volumeNodes = list(volumeNodes)
        cases = [scene.case_of(node) for node in volumeNodes]
        origins = {}

        def prepare():
            parameters = yield from self._exporting(
                volumeNodes,
                run=runName,
                uncertainty=uncertainty,
                largest_component=largestComponent,
                smoothing=float(smoothing),
                device=device,
            )
            origins.update({node.GetID(): self._originNow(node) for node in volumeNodes})
            return parameters

        def finish(_):
            cohort, results, gone = self.cohort(), [], []
            yield from importing("SimpleITK")
            # The run's own names: segments it has never learned must not come out empty.
            values = {name: value for value, name in RunFolder(cohort.run_folder(runName)).card().label_names.items()}
            for node, case in zip(volumeNodes, cases, strict=True):
                if node.GetScene() is None:
                    gone.append(node.GetName())
                    continue
                yield Progress(1.0, f"showing the result of '{node.GetName()}'")
                geometry = scene.geometry_of(node)
                labels = read_labels(cohort.prediction_path(runName, case), geometry)
                yield None
                source = scene.annotated_segmentation(node)
                results.append(self._newResult(node, source, runName, labels, values, origins[node.GetID()]))
                yield None
                if uncertainty:
                    percent = read_labels(cohort.uncertainty_path(runName, case, "entropy"), geometry)
                    yield None
                    np.subtract(100, percent, out=percent)
                    scene.new_confidence(results[-1], node, percent)
                    yield None
            if not results:
                raise BadInputError(
                    f"The volumes {', '.join(gone)} were removed in the meantime; their results are kept in the folder."
                )
            return results

        return self._do("predict", prepare(), finish, waitForCompletion, onDone, onProgress)
