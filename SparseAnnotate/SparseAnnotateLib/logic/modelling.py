"""Training models on drawn slices, running them, and listing the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import scene
from ..client import Steps
from ..core import BadInputError, Progress
from ..core.messages import _, counted
from ..core.pieces import slabs
from ..core.slab_reading import reading_labels, reading_percent
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from ..runs.learned_images import ImageFacts
from ..runs.plan import TrainingEstimate
from ..runs.run_folder import RunFolder
from ..runs.run_list import RunSummary, difference_from_learned, run_summaries
from .cohort_export import CohortExport
from .fills import FillReport, store_report, values_of
from .result_nodes import noting_origin, showing_result
from .session import Session, Waiting


class Modelling:
    """The runs in the session's cohort folder, and their results in the scene."""

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export
        self._facts: dict[tuple[str, str], tuple[str, ImageFacts]] = {}

    def train(
        self,
        volume_nodes: Sequence,
        run_name: str,
        settings: dict[str, Any] | None,
        preset: str | None,
        device: str,
        waiting: Waiting,
    ):
        """Train a model on the drawn slices; returns the run's name: see `ConsoleLogic.train`."""
        prepare = self._exporting_drawn(
            volume_nodes,
            run=run_name or self.new_run_name(),
            preset=preset,
            changes=dict(settings or {}),
            device=device,
        )
        return self._session.do("train", prepare, lambda card: card["run"], waiting)

    def plan_training(
        self,
        volume_nodes: Sequence,
        run_name: str,
        settings: dict[str, Any] | None,
        preset: str | None,
        device: str,
        waiting: Waiting,
    ):
        """What `train` would do, a TrainingEstimate: see `ConsoleLogic.trainingPlan`."""
        prepare = self._exporting_drawn(
            volume_nodes, run=run_name or None, preset=preset, changes=dict(settings or {}), device=device
        )

        def finish(found) -> TrainingEstimate:
            return from_plain(found, TrainingEstimate, _("the worker's answer"))

        return self._session.do("plan_training", prepare, finish, waiting)

    def segment(
        self,
        volume_nodes: Sequence,
        run_name: str,
        uncertainty: bool,
        largest_component: bool,
        smoothing: float,
        stray_pieces: bool,
        device: str,
        waiting: Waiting,
        model_only: bool = False,
        flips: bool = False,
    ):
        """Run a trained model; returns a new segmentation node for each volume: see `ConsoleLogic.segment`."""
        volume_nodes = list(volume_nodes)
        cases = scene.cases_of(volume_nodes)
        origins: dict[str, scene.ResultOrigin] = {}
        prepare = self._export.request(
            volume_nodes,
            before_each=lambda node: noting_origin(node, origins),
            run=run_name,
            uncertainty=uncertainty,
            largest_component=largest_component,
            smoothing=float(smoothing),
            stray_pieces=bool(stray_pieces),
            device=device,
            model_only=bool(model_only),
            flips=bool(flips),
        )

        def finish(answer):
            rows = {row["case"]: row for row in answer or ()}
            cohort, results, gone = self._session.cohort(), [], []
            yield from importing("SimpleITK")
            # The names of the run: segments it was not trained on must not be added as empty ones.
            of_run = {name: value for value, name in RunFolder(cohort.run_folder(run_name)).card().label_names.items()}
            for node, case in zip(volume_nodes, cases, strict=True):
                if rows and case not in rows:
                    continue  # it could not be labeled, which is reported; what an earlier run left is no result
                if node.GetScene() is None:
                    gone.append(node.GetName())
                    continue
                yield Progress(1.0, _("showing the result of '{volume}'").format(volume=node.GetName()))
                geometry = scene.geometry_of(node)
                labels = yield from reading_labels(cohort.prediction_path(run_name, case), geometry)
                source, row = scene.annotated_segmentation(node), rows.get(case, {})
                values = values_of(row) or of_run
                is_answer, percent = bool(row.get("confidence_path")), None
                if uncertainty or is_answer:
                    kind = "confidence" if is_answer else "entropy"
                    percent = yield from reading_percent(cohort.uncertainty_path(run_name, case, kind), geometry)
                    if not is_answer:
                        for slab in slabs(percent.shape, percent.itemsize):
                            np.subtract(100, percent[slab], out=percent[slab])
                            yield None
                made = labels, values, origins[node.GetID()], percent
                results.append((yield from showing_result(node, source, run_name, *made)))
                store_report(results[-1], FillReport(row.get("summary", ""), tuple(row.get("notes", ()))))
                yield None
            if not results:
                raise BadInputError(
                    counted(
                        len(gone),
                        _("The volume {names} was removed from the scene; its result is kept in the cohort folder."),
                        _("The volumes {names} were removed from the scene; the cohort folder keeps their results."),
                        names=", ".join(gone),
                    )
                )
            return results

        return self._session.do("predict", prepare, finish, waiting)

    def show_curves(self, run_name: str, in_layout: bool):
        """Plot loss and Dice of a run in a chart node, which is returned: see `ConsoleLogic.showCurves`."""
        metrics = self._run_folder(run_name).metrics()
        if not metrics:
            raise BadInputError(
                _("The run '{run}' has not completed a training step yet, so there are no curves to show.").format(
                    run=run_name
                )
            )
        return scene.show_curves(run_name, metrics, in_layout)

    def run_notes(self, run_name: str) -> tuple[str, ...]:
        """Notes for the user on a trained run, as sentences."""
        return self._run_folder(run_name).card().notes

    def image_difference(self, volume_node, run_name: str) -> str:
        """How a volume differs from those that a run has learned from, as a sentence; '' when it is like them.

        As the worker reports it after the run. Raises BadInputError when the run cannot be read.
        """

        def facts(channel: str) -> ImageFacts | None:
            is_first = channel not in scene.channel_names(volume_node)[1:]
            if volume_node.GetImageData() is None or not (is_first or channel in scene.further_channels(volume_node)):
                return None
            stamp, place = scene.image_stamp(volume_node), (volume_node.GetID(), channel)
            known = self._facts.get(place)
            if known is None or known[0] != stamp:
                image = scene.image_of(volume_node) if is_first else scene.channel_image_of(volume_node, channel)
                known = self._facts[place] = stamp, ImageFacts.of(image, scene.geometry_of(volume_node))
            return known[1]

        return difference_from_learned(self._session.cohort(), run_name, facts)

    def run_summaries(self) -> list[RunSummary]:
        """The runs in the cohort folder with date, cases and Dice, oldest first."""
        return run_summaries(self._session.cohort()) if self._session.has_cohort else []

    def has_metrics(self, run_name: str) -> bool:
        """True if a run has completed a step, so that `show_curves` has something to show."""
        return self._run_folder(run_name).metrics_path.is_file()

    def new_run_name(self) -> str:
        """An unused name for a run: 'run 1', 'run 2', ..."""
        taken, number = set(self._session.runs()), 1
        while f"run {number}" in taken:
            number += 1
        return f"run {number}"

    def _run_folder(self, run_name: str) -> RunFolder:
        return RunFolder(self._session.cohort().run_folder(run_name))

    def _exporting_drawn(self, volume_nodes: Sequence, **parameters: Any) -> Steps:
        """The request to train on volumes: those with drawn slices, and the others for unsupervised parts.

        Raises BadInputError immediately if no slice has been drawn.
        """
        drawn = [node for node in volume_nodes if scene.ledger_of(node).decided]
        if not drawn:
            raise BadInputError(
                _(
                    "No slice has been drawn on any of the selected volumes, so there is nothing to train on. Draw at "
                    "least one slice and mark it as drawn."
                )
            )
        others = [node for node in volume_nodes if node not in drawn]

        def steps():
            undrawn = yield from self._export.request(others)
            request = yield from self._export.request(drawn, undrawn_cases=undrawn["cases"], **parameters)
            if parameters.get("changes", {}).get("fill_weight"):
                yield from self._export.fills(drawn)
            return request

        return steps()
