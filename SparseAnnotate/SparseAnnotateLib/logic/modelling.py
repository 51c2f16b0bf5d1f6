"""Training models on drawn slices, running them, and measuring what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import scene
from ..core import BadInputError, CaseFigures, Progress, compare_labels
from ..core.cohort import COHORT_FILE
from ..core.images import read_labels
from ..core.strict_json import from_plain
from ..learning.run_folder import RunFolder, TrainingPlan
from .session import SessionLogic


class ModellingLogic(SessionLogic):
    """Runs and their results."""

    def train(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Train a model on the drawn slices of the volumes; returns the run's name.

        `preset` is 'quick', 'balanced' or 'best'; `settings` are fields of TrainingSettings that differ from it, for
        example {"iterations": 300}. Under the name of a run that was planned, cancelled or killed it goes on.
        """
        name = runName or self.newRunName()
        params = {**self._drawnOf(volumeNodes), "run": name, "preset": preset, "changes": dict(settings or {})}
        return self._request("train", params, lambda card: card["run"], waitForCompletion, onDone, onProgress)

    def trainingPlan(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `train` would do with the same arguments, and how many minutes it would take here: a TrainingPlan.

        With a run's name the plan is written to the run's settings.json, to be edited before `train` goes on with it.
        """
        params = {**self._drawnOf(volumeNodes), "run": runName or None, "preset": preset, "changes": settings or {}}

        def finish(found) -> TrainingPlan:
            return from_plain(found, TrainingPlan, "the worker's answer")

        return self._request("plan_training", params, finish, waitForCompletion, onDone, onProgress)

    def _drawnOf(self, volumeNodes: Sequence) -> dict[str, Any]:
        """The volumes with drawn slices, written into the cohort folder, as the beginning of a request."""
        drawn = [node for node in volumeNodes if self.ledger(node).decided]
        if not drawn:
            raise BadInputError(
                "No slice has been drawn on any of the chosen volumes, so there is nothing to learn from. "
                "Draw at least one slice and mark it as drawn."
            )
        others = [node for node in volumeNodes if node not in drawn]
        return {**self._exported(drawn), "undrawn_cases": self._exported(others)["cases"] if others else []}

    def runNotes(self, runName: str) -> tuple[str, ...]:
        """What the user should know about a trained run, as sentences."""
        return RunFolder(self.cohort().run_folder(runName)).card().notes

    def unfinishedRuns(self) -> list[str]:
        """Names of the runs that were cancelled or killed, oldest first; `train` under their name goes on with them."""
        if not (self.cohortFolder / COHORT_FILE).is_file():
            return []
        cohort = self.cohort()
        return [name for name in cohort.runs() if not RunFolder(cohort.run_folder(name)).is_finished]

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
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Run a trained model on volumes; returns a new segmentation node for each. Drawn slices stay as drawn.

        With `uncertainty` each comes with a confidence (100 percent less the entropy), which `showConfidence` shows.
        `largestComponent` keeps the largest piece of each segment; `smoothing` is in mm.
        """
        volumeNodes = list(volumeNodes)
        params = self._exported(volumeNodes)

        def finish(_):
            cohort, results = self.cohort(), []
            # The run's own names: segments it has never learned must not come out empty.
            values = {name: value for value, name in RunFolder(cohort.run_folder(runName)).card().label_names.items()}
            for node, case in zip(volumeNodes, params["cases"], strict=True):
                geometry = scene.geometry_of(node)
                labels = read_labels(cohort.prediction_path(runName, case), geometry)
                source = scene.annotated_segmentation(node)
                results.append(self._newResult(node, source, runName, labels, values))
                if uncertainty:
                    entropy = read_labels(cohort.uncertainty_path(runName, case, "entropy"), geometry)
                    scene.new_confidence(results[-1], node, 100 - entropy)
            return results

        params |= {"run": runName, "uncertainty": uncertainty}
        params |= {"largest_component": largestComponent, "smoothing": float(smoothing)}
        return self._request("predict", params, finish, waitForCompletion, onDone, onProgress)

    def evaluate(self, resultNode, referenceNode, volumeNode) -> CaseFigures:
        """Compare two segmentations of a volume, segment by segment of the same name: Dice, distances (mm), volumes."""
        values = scene.label_values(referenceNode)
        result = scene.labels_of(resultNode, volumeNode, values)
        reference = scene.labels_of(referenceNode, volumeNode, values)
        geometry = scene.geometry_of(volumeNode)
        return compare_labels(volumeNode.GetName(), result, reference, geometry, list(values.values()))
