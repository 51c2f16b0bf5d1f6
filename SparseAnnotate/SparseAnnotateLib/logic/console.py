"""The console's methods: everything that the panel can do, from Slicer's Python console."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .. import scene
from ..client import Job, Steps
from ..core import CaseFigures, Cohort, Ledger, Plane, Progress, SliceState
from ..interpolation import INTERPOLATORS
from ..selection import DEFAULT_DIMENSIONS, AnnotationPlan, Budget, FeatureSettings, Scope, SelectionSettings
from . import result_nodes
from .applying_results import ApplyingResults
from .cohort_export import CohortExport
from .environment import Environment
from .fills import FillReport, Fills, report_of
from .measuring import Measuring, evaluate
from .modelling import Modelling
from .panel import PanelLogic
from .recommending import Recommending
from .session import Session, Waiting
from .slice_starts import start_slice
from .undoable_changes import UndoableChanges


class ConsoleLogic(ScriptedLoadableModuleLogic):
    """Offers the methods of the parts it is made of, one for each task, under the names of the console.

    Args:
        newTransport: makes the connection to a worker for calls that do not wait.
        later: calls a function from the event loop, soon; without it, what is done in this process is done at once.

    Attributes:
        session: the cohort folder and the worker's jobs.
        panel: what only the panel needs.
    """

    def __init__(self, newTransport: Callable, later: Callable | None = None):
        super().__init__()
        self.session = Session(newTransport, later)
        self._export = CohortExport(self.session)
        self._changes = UndoableChanges()
        self._recommending = Recommending(self.session, self._export)
        self._fills = Fills(self.session, self._export)
        self._applying = ApplyingResults(self._changes)
        self._modelling = Modelling(self.session, self._export)
        self._environment = Environment(self.session)
        self.panel = PanelLogic(
            self.session,
            self._changes,
            self._recommending,
            self._modelling,
            Measuring(self.session),
            self._environment,
        )

    # --- the cohort folder and the worker -------------------------------------------------------------------------

    @property
    def cohortFolder(self) -> Path:
        """Folder that volumes, drawn slices and trained runs are written to for training."""
        return self.session.cohort_folder

    @cohortFolder.setter
    def cohortFolder(self, folder: str | Path) -> None:
        self.session.use_cohort_folder(folder)

    def cohort(self) -> Cohort:
        """The cohort in `cohortFolder`; made when it is not there yet."""
        return self.session.cohort()

    def environment(self, waitForCompletion: bool = True, onDone: Callable | None = None) -> dict[str, Any] | Job:
        """What can be computed here: packages, devices (each tried with a real computation), and a sentence."""
        return self._environment.report(Waiting(waitForCompletion, onDone))

    @property
    def isBusy(self) -> bool:
        """True while a call that was not waited for is being worked on."""
        return self.session.jobs.is_busy

    def cancel(self) -> None:
        """Stop what is being worked on; a training keeps its last checkpoint."""
        self.session.jobs.cancel()

    def close(self) -> None:
        """End the worker process; a training at work saves its checkpoint."""
        self.session.jobs.close()

    def forgetScene(self) -> None:
        """Let go of everything that belongs to the scene; call it when the scene is closed."""
        for part in (self._changes, self._fills, self._applying):
            part.forget_scene()

    # --- recommending ---------------------------------------------------------------------------------------------

    def recommendSlices(
        self,
        volumeNodes: Sequence,
        plane: str | Sequence[str] = SelectionSettings.planes,
        density: float | None = None,
        slicesPerVolume: int | None = None,
        total: int | None = None,
        strategy: str | None = SelectionSettings.strategy,
        seed: int = SelectionSettings.seed,
        wholeVolume: bool = SelectionSettings.whole,
        *,
        every: int | None = None,
        minutes: float | None = None,
        more: int | None = None,
        secondsPerSlice: float | None = None,
        scope: str = Budget.scope,
        minimum: int | None = None,
        maximum: int | None = None,
        features: str = SelectionSettings.features,
        fromScratch: bool = SelectionSettings.from_scratch,
        downloadWeights: bool = SelectionSettings.download_weights,
        featureSteps: int = SelectionSettings.feature_steps,
        runs: Sequence[str] = SelectionSettings.runs,
        samples: int = SelectionSettings.samples,
        device: str = SelectionSettings.device,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[scene.WorklistItem] | Job | None:
        """Recommend slices to draw and put them into the ledgers; returns the worklist.

        Give one of `density` (0.1 is every tenth slice), `every` (one of every so many), `slicesPerVolume`, `total`,
        `minutes` and `more`. Slices drawn already count towards it, except with the last two: minutes are counted from
        now on, and `more` slices come in addition to those drawn. The strategy is `staggered` by default, or with
        None. Background slices around the body are left out unless `wholeVolume`. With `scope` "volume" the planes of a
        volume share the budget, with "cohort" all volumes do, each with at least `minimum` and at most `maximum`
        slices.

        The strategies `representative` and `core_set` compare slices by `features`, `uncertainty` asks the models
        named in `runs`: the worker looks at the images for them, and what it finds is kept in the cohort folder.
        The features `autoencoder` need VGG-19's weights (548 MB), which are downloaded only with `downloadWeights`, or
        are made `fromScratch`.
        """
        budget = Budget(
            density=density,
            every=every,
            per_volume=slicesPerVolume,
            total=total,
            minutes=minutes,
            more=more,
            seconds_per_slice=secondsPerSlice,
            scope=Scope.named(scope),
            minimum=minimum,
            maximum=maximum,
        )
        settings = SelectionSettings(
            budget=budget,
            planes=tuple(Plane.named(name) for name in ([plane] if isinstance(plane, str) else plane)),
            strategy=strategy or SelectionSettings.strategy,
            features=features,
            from_scratch=fromScratch,
            download_weights=downloadWeights,
            feature_steps=featureSteps,
            runs=tuple(runs),
            samples=samples,
            device=device,
            seed=seed,
            whole=wholeVolume,
        )
        return self._recommending.recommend(volumeNodes, settings, Waiting(waitForCompletion, onDone, onProgress))

    def planAnnotation(
        self,
        volumeNodes: Sequence,
        slices: int | None = None,
        minutes: float | None = None,
        secondsPerSlice: float | None = None,
        dimensions: int = DEFAULT_DIMENSIONS,
        target: str | None = None,
        planes: Sequence[str] = tuple(map(str, Plane)),
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> AnnotationPlan | Job:
        """How to spend so many slices or minutes: plane, volumes and slices of each, with reasons and their sources.

        `dimensions` (2 or 3) is that of the model to train; `target` says whether the structure is "clear" or
        "subtle". The plan also says what it does not know.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._recommending.plan(
            volumeNodes, slices, minutes, secondsPerSlice, dimensions, target, planes, waiting
        )

    def agreement(
        self, runNames: Sequence[str], waitForCompletion: bool = True, onDone: Callable | None = None
    ) -> dict[str, Any] | Job:
        """How much the predictions of these runs, in the order of the rounds, agree, and whether to go on drawing.

        Each run must have been run (`segment`) on the same volumes. The answer holds "dice", "stop", "sentence".
        """
        return self._recommending.agreement(runNames, Waiting(waitForCompletion, onDone))

    def writeSlicePicture(
        self,
        volumeNodes: Sequence,
        path: str | Path,
        features: str = FeatureSettings.features,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> str | Job:
        """Write a map of all slices, with the drawn and recommended ones marked, and how much they cover, as PNG."""
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._recommending.write_picture(volumeNodes, path, features, waiting)

    # --- drawing --------------------------------------------------------------------------------------------------

    def segmentationNode(self, volumeNode):
        """The segmentation in which slices of the volume are drawn; made when there is none."""
        return scene.annotated_segmentation(volumeNode, create=True)

    def drawnIn(self, volumeNode):
        """The segmentation in which slices of the volume are drawn, or None when there is none yet."""
        return scene.annotated_segmentation(volumeNode)

    def useSegmentation(self, volumeNode, segmentationNode) -> None:
        """Draw slices of the volume in this segmentation from now on; it must have the volume's voxel grid."""
        scene.use_segmentation(volumeNode, segmentationNode)

    def mendGeometry(self, volumeNode, segmentationNode):
        """Match to volume grid: returns a copy of a segmentation on the volume's voxels, so that their slices agree.

        The copy keeps the position, the segments' properties and the marked slices; see `scene.copy_on_volume_grid`.
        Details finer than the volume's voxels, what lies outside the volume, and marked slices that are not slices of
        the volume are lost in the copy. The original segmentation is not changed.
        """
        return scene.copy_on_volume_grid(segmentationNode, volumeNode)

    def ledger(self, volumeNode) -> Ledger:
        """What is recommended, drawn, empty and skipped in a volume."""
        return scene.ledger_of(volumeNode)

    def worklist(self, volumeNodes: Sequence) -> list[scene.WorklistItem]:
        """All slices in the ledgers of the volumes, in the order of the worklist."""
        return scene.worklist_of(volumeNodes)

    def markDrawn(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Say that a slice is completely drawn; without any label on it, it counts as empty. Returns its state."""
        return scene.mark_decided(volumeNode, Plane.named(plane), index, seconds).value

    def markEmpty(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Say that no structure is on a slice. It must not hold any label."""
        return scene.mark_empty(volumeNode, Plane.named(plane), index, seconds).value

    def markSkipped(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Put a slice aside: it is neither drawn nor asked for again until slices are recommended anew."""
        return scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.SKIPPED, seconds).value

    def markToDo(self, volumeNode, plane: str, index: int) -> str:
        """Take back what was said of a slice."""
        return scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.TODO).value

    def startSlice(self, volumeNode, plane: str, index: int, start: str) -> str:
        """Put something onto a slice that is to be drawn, so that it need only be corrected; `undo` takes it back.

        `start` is one of STARTS: the nearest drawn slice, the last fill, or the last result of a model, for each
        segment that is drawn in; or nothing, which empties the slice. Where a decided slice of another plane crosses
        it, everything stays. What it was started from is noted in the ledger, and returned.
        """
        return start_slice(self._changes, volumeNode, Plane.named(plane), index, scene.Start(start))

    def jumpToSlice(self, volumeNode, plane: str, index: int, sliceNode=None) -> None:
        """Show a slice in a slice view: `sliceNode`, or the one for its plane. The other views cut through it."""
        plane = Plane.named(plane)
        scene.jump_to_slice(sliceNode or scene.slice_view_for(plane), volumeNode, plane, index)

    def showMarkers(self, volumeNode) -> None:
        """Show thin lines in the slice views where drawn (green) and recommended (orange) slices cross them."""
        scene.show_markers(volumeNode, scene.ledger_of(volumeNode))

    # --- filling, and applying results ----------------------------------------------------------------------------

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = "auto",
        beyond: int | None = None,
        device: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Fill between the drawn slices into a new segmentation node, which is returned: a preview to look at.

        `method` is one of `fillMethods`; 'auto' tries them on hidden drawn slices and keeps the best for each segment.
        `beyond` is how many slices beyond the outermost drawn ones are filled at most; None: as the shapes end.
        `device` is what a method that learns uses. `fillReport` says how good the fill is, `confidenceNode` gives its
        confidence as a volume, and `applyFill` puts it into the segmentation that was drawn in. When it waits, filling
        again by 'shape' or 'random_walk' after a slice was drawn fills only the gaps beside that slice.
        """
        return self._fills.fill(volumeNode, method, beyond, device, Waiting(waitForCompletion, onDone, onProgress))

    @staticmethod
    def fillMethods() -> dict[str, str]:
        """Every way to fill, and what it does in one sentence."""
        return {name: entry.description for name, entry in INTERPOLATORS.items()}

    def fillReport(self, resultNode) -> FillReport:
        """How good a fill is, and what to look at; it is saved with the scene. Empty for a node that is no fill."""
        return report_of(resultNode)

    def confidenceNode(self, resultNode):
        """The volume with a result's confidence in percent; None when there is none."""
        return scene.confidence_of(resultNode)

    def showConfidence(
        self,
        resultNode,
        shown: bool = True,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
    ) -> None:
        """Show in the slice views where a result is not to be trusted, or take that away.

        It is shown near the boundaries of the result, where the confidence is low. Raises BadInputError when the result
        has no confidence.
        """
        result_nodes.show_confidence(self.session, resultNode, shown, Waiting(waitForCompletion, onDone))

    def applyFill(self, volumeNode, resultNode, structures: Sequence[str] | None = None) -> list[str]:
        """Put a fill, or a model's result, into the segmentation that was drawn in: one step that `undo` takes back.

        Drawn slices stay as they are, voxels outside the volume, and segments the result does not have. Nor is a
        structure touched that others have drawn on slices that are not marked, as a finished one of another tool is:
        name it in `structures` to replace it. `applyReport` says what was left as it is, and why.

        Returns the names of the result's segments that were left out.

        Raises:
            BadInputError: when nothing would be applied, slices are painted that nobody has marked, or the result was
                made from another image.
        """
        return self._applying.apply(volumeNode, resultNode, structures)

    def applyReport(self, volumeNode) -> tuple[str, ...]:
        """What is to be known of the last `applyFill` on a volume, as sentences."""
        return self._applying.report(volumeNode)

    def undo(self, volumeNode) -> None:
        """Take back the last change that the module has made in the segmentation of this volume."""
        self._changes.undo(volumeNode)

    # --- models ---------------------------------------------------------------------------------------------------

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
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.train(volumeNodes, runName, settings, preset, device, waiting)

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
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.plan_training(volumeNodes, runName, settings, preset, device, waiting)

    def runs(self) -> list[str]:
        """Names of the runs in the cohort folder, oldest first."""
        return self.session.runs()

    def unfinishedRuns(self) -> list[str]:
        """Names of the runs that were cancelled or killed, oldest first; `train` under their name goes on with them."""
        return [run.name for run in self._modelling.run_summaries() if not run.is_finished]

    def showCurves(self, runName: str, inLayout: bool = False):
        """Draw loss and Dice of a run, finished or not, into a chart node, which is returned.

        Called again while the run is trained, the curves go on. With `inLayout` Slicer's layout is changed to one with
        a plot view, where there is none. Raises BadInputError when there is nothing to show yet.
        """
        return self._modelling.show_curves(runName, inLayout)

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
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.segment(volumeNodes, runName, uncertainty, largestComponent, smoothing, device, waiting)

    def evaluate(self, resultNode, referenceNode, volumeNode) -> CaseFigures:
        """Compare two segmentations of a volume, segment by segment of the same name: Dice, distances (mm), volumes."""
        return evaluate(resultNode, referenceNode, volumeNode)

    # --- for scripts that write the cohort folder themselves ------------------------------------------------------

    def _exportingLabels(self, volumeNodes: Sequence) -> Steps:
        """See `CohortExport.labels`."""
        return self._export.labels(volumeNodes)
