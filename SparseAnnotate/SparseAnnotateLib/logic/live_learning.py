"""Learning while slices are being drawn, in a worker of its own, so that nothing else ever waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from .. import scene
from ..client import EXPORT, Job, WorkerJobs
from ..core import BadInputError, Plane, Progress, SparseAnnotateError, WorkerError
from ..core.images import read_slice
from ..core.messages import _
from ..core.slow_imports import importing
from .cohort_export import CohortExport
from .session import Session, Waiting
from .slice_starts import put_start
from .undoable_changes import UndoableChanges

_RUN_NAME = "live {number}"
_TRY_AGAIN_AFTER = 5.0  # seconds, when what was drawn could not be written
_WAIT = 0.005  # seconds, while Slicer's event loop runs


@dataclass(frozen=True, eq=False)
class SliceSuggestion:
    """What a run finds on a slice that has not been drawn.

    Attributes:
        volumeNode, plane, index: the slice. run: the run.
        masks: segment name to (rows, columns) bool.
        steps: that the run had taken.
        dice: its mean Dice on the last slices of this plane, before it learned from them; None: not known yet.
        summary: the same as a sentence.
        image: what the image of the volume was; see `scene.image_stamp`.
        source: what a drawing that begins with it comes from, as the ledger keeps it; '': the run.
    """

    volumeNode: Any
    plane: str
    index: int
    run: str
    masks: dict[str, np.ndarray]
    steps: int
    dice: float | None
    summary: str
    image: str
    source: str = ""


class LiveLearning:
    """Starts and stops the learning, hands on what is drawn, and gets what it finds on single slices.

    Attributes:
        run: the run that is learning; '' while none is.
    """

    def __init__(self, session: Session, export: CohortExport, changes: UndoableChanges):
        self._session, self._export, self._changes = session, export, changes
        self.run = self._last_run = ""
        self._volumes: list = []
        self._cases: frozenset[str] = frozenset()
        self._identifiers: frozenset[str] = frozenset()
        self._folder: Path | None = None
        self._written = ""
        self._is_marked = False
        self._look_at = 0.0
        self._export_job: Job | None = None

    @property
    def _jobs(self) -> WorkerJobs:
        return self._session.learning_jobs

    @property
    def is_learning(self) -> bool:
        """True from the start until the run has been stored after a stop."""
        return self._jobs.is_busy

    def start(
        self,
        volume_nodes: Sequence,
        run_name: str,
        settings: dict[str, Any] | None,
        device: str,
        on_done: Callable[[Any, SparseAnnotateError | None], None] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> str:
        """See `ConsoleLogic.learnWhileDrawing`."""
        if self.is_learning:
            raise WorkerError(
                _("'{run}' is already learning while you draw. Stop it before you start another one.").format(
                    run=self.run
                )
            )
        volume_nodes = list(volume_nodes)
        if not any(scene.ledger_of(node).decided for node in volume_nodes):
            raise BadInputError(
                _(
                    "No slice has been drawn on any of the selected volumes, so there is nothing to learn from. Draw "
                    "a slice and mark it as drawn."
                )
            )
        run = run_name or self._new_name()
        # A run that is continued goes on with what it has learned from, also frames that are not shown now.
        before = self._cases if run == self._last_run and self._session.cohort_folder == self._folder else frozenset()
        self._cases, self._last_run = before.union(scene.cases_of(volume_nodes)), run
        self._identifiers = frozenset(node.GetID() for node in volume_nodes)
        self._volumes, self._folder = volume_nodes, self._session.cohort_folder
        written, self._look_at = self._mark(), 0.0

        def prepare():
            request = yield from self._export.request(volume_nodes)
            self._written = written
            return {
                **request,
                "cases": sorted(self._cases),
                "run": run,
                "live": True,
                "device": device,
                "changes": dict(settings or {}),
            }

        def done(result: Any, error: SparseAnnotateError | None) -> None:
            self.run = ""
            if on_done is not None:
                on_done(result, error)

        def progressed(progress: Progress) -> None:
            if time.monotonic() >= self._look_at and self._jobs.is_waiting_for_worker:
                # What was drawn while the first slices were being written, or could not be written before.
                self._look_at = math.inf
                self.update()
            if on_progress is not None:
                on_progress(progress)

        self.run = run
        try:
            self._jobs.start("train", prepare(), lambda card: card["run"], done, progressed)
        except Exception:
            self.run = ""
            raise
        return run

    def learns_from(self, volume_nodes: Sequence, active) -> bool:
        """Whether it learns from all drawn slices of these volumes, and of the frame that `active` shows."""
        if self._session.cohort_folder != self._folder:
            return True
        missing = [node for node in volume_nodes if node.GetID() not in self._identifiers]
        if active is not None and active not in missing and scene.case_of(active) not in self._cases:
            missing.append(active)
        return not any(scene.ledger_of(node).decided for node in missing)

    def stop(self) -> None:
        """Stop learning; the run is stored then."""
        self._jobs.cancel()

    def update(self, is_marked: bool = False) -> None:
        """Hand on what has been drawn or corrected since, if anything has been. Returns immediately.

        `is_marked`: a slice has just been marked, perhaps once more, after it was changed.
        """
        self._is_marked |= is_marked
        if not self._jobs.is_waiting_for_worker or self._export_job is not None:
            return
        self._volumes = [node for node in self._volumes if node.GetScene() is not None]
        try:
            mark = self._mark()
        except SparseAnnotateError:
            return  # a ledger that cannot be read; the panel says so
        # In another folder the worker would not find it.
        is_same = mark == self._written and not self._is_marked
        if is_same or self._session.cohort_folder != self._folder or not self._volumes:
            return
        self._is_marked = False

        def ended(_result: Any, error: SparseAnnotateError | None) -> None:
            self._export_job = None
            if error is not None:
                slicer.util.showStatusMessage(error.message, 10000)
                self._is_marked, self._look_at = True, time.monotonic() + _TRY_AGAIN_AFTER
                return
            self._written = mark
            # What was drawn meanwhile.
            self.update()

        job = self._jobs.start(None, self._export.labels(self._volumes), lambda _values: None, ended, name=EXPORT)
        self._export_job = None if job.is_done else job

    def suggest(self, volume_node, plane: Plane, index: int, run_name: str, device: str, waiting: Waiting):
        """What a run, by default the one that is learning, finds on a slice: see `ConsoleLogic.suggestSlice`."""
        run = run_name or self.run
        if not run:
            raise BadInputError(
                _("No model is learning while you draw. Start that, or name a run that is to label the slice.")
            )
        is_live = run == self.run
        if is_live and self._session.cohort_folder != self._folder:
            raise BadInputError(
                _("'{run}' learns in another cohort folder, '{folder}'. Choose that one, or stop it.").format(
                    run=run, folder=self._folder
                )
            )
        image = scene.image_stamp(volume_node)
        case = scene.case_of(volume_node)
        params = {
            "cohort": str(self._session.cohort_folder),
            "run": run,
            "case": case,
            "plane": plane.value,
            "index": int(index),
            "device": device,
        }
        axis = plane.array_axis(scene.geometry_of(volume_node))

        def finish(answer):
            yield from importing("SimpleITK")
            labels = read_slice(answer["path"], axis)
            masks = {label["name"]: labels == label["label"] for label in answer["labels"]}
            figures = answer["steps"], answer["dice"], answer["summary"]
            return SliceSuggestion(volume_node, plane.value, index, run, masks, *figures, image, answer["source"])

        def prepare():
            # The worker reads image and corrections from the cohort folder. While it learns, what is drawn and
            # corrected is handed on anyway.
            if not is_live or not scene.is_exported(self._session.cohort(), volume_node):
                yield from self._export.labels([volume_node])
            return params

        if is_live:
            return _through(self._jobs, "slice", prepare(), finish, waiting)
        return self._session.do("slice", prepare(), finish, waiting)

    def show(self, suggestion: SliceSuggestion | None) -> None:
        """Show a suggestion over its slice: see `ConsoleLogic.showSuggestion`."""
        if suggestion is None:
            scene.hide_suggestion()
            return
        self._check_is_of_its_volume(suggestion)
        plane = Plane.named(suggestion.plane)
        scene.show_suggestion(suggestion.volumeNode, plane, suggestion.index, suggestion.masks)

    def use(self, suggestion: SliceSuggestion) -> str:
        """Put a suggestion into the drawing: see `ConsoleLogic.useSuggestion`."""
        self._check_is_of_its_volume(suggestion)
        volume, plane = suggestion.volumeNode, Plane.named(suggestion.plane)
        scene.require_undecided(volume, plane, suggestion.index)
        drawn = scene.segment_names(scene.annotated_segmentation(volume))
        # Of structures that the run does not know it says nothing: they stay as they are.
        known = [name for name in drawn if name in suggestion.masks]
        source = suggestion.source or suggestion.run
        put_start(self._changes, volume, plane, suggestion.index, suggestion.masks, source, known)
        return source

    def is_current(self, suggestion: SliceSuggestion) -> bool:
        """Whether the volume of a suggestion is in the scene, and shows the image that it was made for."""
        volume = suggestion.volumeNode
        return volume.GetScene() is not None and bool(scene.image_stamp(volume) == suggestion.image)

    def _check_is_of_its_volume(self, suggestion: SliceSuggestion) -> None:
        """Raise BadInputError when the volume is gone, or its image has changed since."""
        volume = suggestion.volumeNode
        if volume.GetScene() is None:
            raise BadInputError(_("The volume of this slice is no longer in the scene."))
        if not self.is_current(suggestion):
            raise BadInputError(
                _("The image of '{volume}' has changed since this drawing was suggested. Ask for another one.").format(
                    volume=volume.GetName()
                )
            )

    def forget_scene(self) -> None:
        """The scene is being closed: what is learned from is no longer there."""
        self.stop()
        self._volumes = []

    def _mark(self) -> str:
        """A text that changes whenever slices of the volumes are marked, or something is corrected."""
        return "\n".join(scene.knowledge_mark(node) for node in self._volumes)

    def _new_name(self) -> str:
        taken, number = set(self._session.runs()), 1
        while (name := _RUN_NAME.format(number=number)) in taken:
            number += 1
        return name


def _through(jobs: WorkerJobs, method: str, params: Any, finish: Callable[[Any], Any], waiting: Waiting):
    """Ask the worker that is learning. To wait for its answer, Slicer's event loop has to run."""
    if not waiting.for_completion:
        return jobs.start(method, params, finish, waiting.on_done, waiting.on_progress)
    found: list[tuple[Any, SparseAnnotateError | None]] = []
    jobs.start(method, params, finish, lambda result, error: found.append((result, error)))
    while not found:
        slicer.app.processEvents()
        time.sleep(_WAIT)
    result, error = found[0]
    if error is not None:
        raise error
    return result
