"""Training models on drawn slices, running them, and measuring what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import scene
from ..core import BadInputError, CaseFigures, Progress, compare_labels
from ..core.cohort import COHORT_FILE
from ..core.images import read_labels
from ..learning.run_folder import RunFolder
from .session import SessionLogic


class ModellingLogic(SessionLogic):
    """Runs and their results."""

    def train(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Train a model on the drawn slices of the volumes; returns the run's name.

        `settings` are fields of TrainingSettings, for example {"iterations": 300}. Under the name of a run that was
        cancelled or killed it goes on from its last checkpoint.
        """
        drawn = [node for node in volumeNodes if self.ledger(node).decided]
        if not drawn:
            raise BadInputError(
                "No slice has been drawn on any of the chosen volumes, so there is nothing to learn from. "
                "Draw at least one slice and mark it as drawn."
            )
        self._export(drawn)
        name = runName or self.newRunName()
        params = {"cohort": str(self.cohortFolder), "run": name, "cases": [scene.case_of(node) for node in drawn]}
        if settings is not None:
            params["settings"] = dict(settings)
        return self._request("train", params, lambda card: card["run"], waitForCompletion, onDone, onProgress)

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
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Run a trained model on volumes; returns a new segmentation node for each. Drawn slices stay as drawn."""
        volumeNodes = list(volumeNodes)
        self._export(volumeNodes)
        cases = [scene.case_of(node) for node in volumeNodes]

        def finish(_):
            cohort, results = self.cohort(), []
            # The run's own names: segments it has never learned must not come out empty.
            values = {name: value for value, name in RunFolder(cohort.run_folder(runName)).card().label_names.items()}
            for node, case in zip(volumeNodes, cases, strict=True):
                labels = read_labels(cohort.prediction_path(runName, case), scene.geometry_of(node))
                source = scene.annotated_segmentation(node)
                results.append(self._newResult(node, source, runName, labels, values))
            return results

        params = {"cohort": str(self.cohortFolder), "run": runName, "cases": cases}
        return self._request("predict", params, finish, waitForCompletion, onDone, onProgress)

    def evaluate(self, resultNode, referenceNode, volumeNode) -> CaseFigures:
        """Compare two segmentations of a volume, segment by segment of the same name: Dice, distances (mm), volumes."""
        values = scene.label_values(referenceNode)
        result = scene.labels_of(resultNode, volumeNode, values)
        reference = scene.labels_of(referenceNode, volumeNode, values)
        geometry = scene.geometry_of(volumeNode)
        return compare_labels(volumeNode.GetName(), result, reference, geometry, list(values.values()))
