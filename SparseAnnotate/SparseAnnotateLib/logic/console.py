"""The methods for Slicer's Python console: everything that the panel can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .. import scene
from ..client import Job, Steps
from ..core import (
    DEFAULT_DEVICE,
    NNUNET_RUN,
    CaseFigures,
    Cohort,
    Exchanged,
    Ledger,
    Plane,
    Progress,
    Provenance,
    SliceState,
)
from ..core.corrections import Corrections
from ..core.drawn_on import AcceptedImage
from ..interpolation import DEFAULT_METHOD, INTERPOLATORS
from ..selection import AnnotationPlan, Budget, FeatureSettings, Per, PlanSettings, Scope, SelectionSettings
from . import result_nodes
from .applying_results import ApplyingResults
from .case_channels import CaseChannels
from .cohort_export import CohortExport
from .console_arguments import checks_arguments
from .correcting import Correcting
from .correction_report import CorrectionReport
from .dicom_export import DicomExport
from .environment import Environment
from .exchange import Exchange
from .fills import FillReport, Fills, report_of
from .hosts import Hosts
from .live_learning import LiveLearning, SliceSuggestion
from .measuring import Measuring, evaluate
from .modelling import Modelling
from .opened_cohort import AT_FIRST, CohortCase, OpenedCohort
from .panel import PanelLogic
from .recommending import Recommending
from .session import Session, Waiting
from .slice_starts import start_slice, starts_from_result
from .sources_of_voxels import SourcesOfVoxels
from .undoable_changes import UndoableChanges


@checks_arguments
class ConsoleLogic(ScriptedLoadableModuleLogic):
    """The scripting interface; each method calls the object that is responsible for the task.

    Args:
        newTransport: makes the connection to a worker for calls that do not wait.
        newLearningTransport: the same for the worker that learns while slices are being drawn.
        later: calls a function from the event loop; without it, work in this process is done immediately.

    Attributes:
        session: the cohort folder and the jobs of the worker.
        panel: functions that only the panel needs.
    """

    def __init__(self, newTransport: Callable, newLearningTransport: Callable, later: Callable | None = None):
        super().__init__()
        self.session = Session(newTransport, newLearningTransport, later)
        self._export = CohortExport(self.session)
        self._changes = UndoableChanges()
        self._recommending = Recommending(self.session, self._export)
        self._fills = Fills(self.session, self._export)
        self._correcting = Correcting(self._changes, self.session.jobs)
        self._applying = ApplyingResults(self.session, self._changes, self._correcting.following)
        self._modelling = Modelling(self.session, self._export)
        self._learning = LiveLearning(self.session, self._export, self._changes)
        self._opened = OpenedCohort(self.session, self._export)
        self._applying.on_applied = self._opened.note_applied
        self._opened.why_unchanged = self._applying.report
        self._sources = SourcesOfVoxels(self.session)
        self._dicom = DicomExport(self.session, self._sources, self._correcting.following)
        self._environment = Environment(self.session)
        self._hosts = Hosts(self.session)
        self._channels = CaseChannels(self.session)
        self._exchange = Exchange(self.session, self._export)
        self.panel = PanelLogic(
            self.session,
            self._changes,
            self._applying,
            self._correcting,
            self._recommending,
            self._modelling,
            self._learning,
            self._opened,
            self._sources,
            Measuring(self.session),
            self._environment,
            self._channels,
            self._dicom,
            self._hosts,
        )

    # --- the cohort folder and the worker -------------------------------------------------------------------------

    @property
    def cohortFolder(self) -> Path:
        """The folder for exported volumes, drawn slices and training runs."""
        return self.session.cohort_folder

    @cohortFolder.setter
    def cohortFolder(self, folder: str | Path) -> None:
        self.session.use_cohort_folder(folder)

    def cohort(self) -> Cohort:
        """The cohort in `cohortFolder`; created if it does not exist."""
        return self.session.cohort()

    def openCohort(
        self,
        folder: str | Path,
        cases: Sequence[str] | None = None,
        count: int | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list | Job:
        """Open a cohort folder: it becomes `cohortFolder`, and some of its cases are opened; returns their volumes.

        `cases` are names of cases; None: the first ones that can be opened, until `count` are open, by default five.
        Those that somebody else has open are left out. `openCase` opens the others. A case
        comes with its drawn slices, worklist, corrections, reference, and the fills and predictions that are up to
        date. What is marked or corrected is written into the folder at once, so that the command line and other people
        find it there. While a case is open, nobody else can open it. `openingNotes` says what was not opened.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._opened.open(folder, cases, AT_FIRST if count is None else count, waiting)

    def openCase(
        self,
        name: str,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Open a case of the cohort in `cohortFolder`, if it is not open; returns its volume. See `openCohort`.

        Raises BusyError if somebody else has it open.
        """
        return self._opened.open_case(name, Waiting(waitForCompletion, onDone, onProgress))

    def acceptImages(
        self,
        cases: Sequence[str] | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[AcceptedImage] | Job:
        """Let what was drawn on cases of the cohort in `cohortFolder` belong to the images that are there now.

        As `sparse-annotate accept-image`: returns the cases whose image has changed since it was drawn on, how, and
        when its file was written. `cases` are names of cases; None: all whose image has changed. Look at the images
        first. A volume that was opened before its image was replaced still shows the earlier one: remove it and open
        the case again.

        Raises BadInputError when an image cannot be read, or lies on another grid, after the others have been accepted.
        """
        return self._opened.accept_images(cases, Waiting(waitForCompletion, onDone, onProgress))

    def cohortCases(self) -> list[CohortCase]:
        """All cases of the cohort in `cohortFolder`, opened or not, with the numbers of their slices."""
        return self._opened.cases()

    def openingNotes(self) -> tuple[str, ...]:
        """What the last `openCohort` or `openCase` did not open, as sentences."""
        return tuple(self._opened.notes)

    def environment(self, waitForCompletion: bool = True, onDone: Callable | None = None) -> dict[str, Any] | Job:
        """Installed packages, usable devices (each runs a test computation), and a summary in one sentence."""
        return self._environment.report(Waiting(waitForCompletion, onDone))

    def hosts(self) -> list[str]:
        """Names of the computers that were set up to compute on; see `addHost`."""
        return self._hosts.names()

    @property
    def host(self) -> str:
        """The host that is used; '' for this computer."""
        return self.session.host

    def useHost(self, name: str, allowCopying: bool = False) -> None:
        """Train (also while drawing), run, and fill with models on a host that was set up; '' for this computer.

        `allowCopying`: images and labels of the cohort in `cohortFolder` may be copied there, without names of people
        and without DICOM headers; needed once for each cohort and host.

        Raises BadInputError when the host was not set up, a call is running, or a model is learning while you draw.
        """
        self._hosts.use(name, allowCopying)

    def addHost(
        self,
        name: str,
        prefix: str = "",
        python: str = "",
        folder: str = "",
        asIs: bool | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any] | Job:
        """Set a host of your OpenSSH configuration up, or again after an update; returns what was found there.

        An environment with the packages is made there, unless `asIs`: then those of `python` are used. `prefix` is put
        before the worker's command, for example 'srun --gres=gpu:1 --time=2:00:00'. What is not given stays as it was.
        """
        return self._hosts.add(name, prefix, python, folder, asIs, Waiting(waitForCompletion, onDone, onProgress))

    def checkHost(
        self,
        name: str,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> dict[str, Any] | Job:
        """Connection, packages, devices and used disk of a host."""
        return self._hosts.check(name, Waiting(waitForCompletion, onDone, onProgress))

    def cleanHost(
        self, name: str, everything: bool = False, waitForCompletion: bool = True, onDone: Callable | None = None
    ) -> str | Job:
        """Remove the copies of cohorts from a host; returns a sentence on what was freed.

        `everything`: also the packages, and trainings whose runs are not here yet.
        """
        return self._hosts.clean(name, everything, Waiting(waitForCompletion, onDone))

    def cancelHost(self) -> None:
        """Stop the running `addHost`, `checkHost` or `cleanHost`; packages that were installed there stay."""
        self._hosts.cancel()

    @property
    def isBusy(self) -> bool:
        """True while a call with `waitForCompletion=False` is running; learning while you draw does not count."""
        return self.session.jobs.is_busy

    def cancel(self) -> None:
        """Cancel the running call; a training run keeps its last checkpoint.

        If there is none, cancel what still follows from corrections: the result gets their own voxels only.
        """
        if self.isBusy:
            self.session.jobs.cancel()
        else:
            self._correcting.stop_following()

    def close(self) -> None:
        """Stop the worker processes; a running training saves a checkpoint first."""
        self.session.jobs.close()
        self.session.learning_jobs.close()
        self.session.host_jobs.close()

    def forgetScene(self) -> None:
        """Forget everything that belongs to the scene; call this when the scene is closed."""
        parts = (
            self._changes,
            self._fills,
            self._applying,
            self._correcting,
            self._learning,
            self._opened,
            self._sources,
        )
        for part in parts:
            part.forget_scene()

    def _drawing_changed(self, marked_volume=None) -> None:
        """Hand on what has been drawn; `marked_volume`: a slice of it has just been marked, perhaps once more.

        Raises SparseAnnotateError when it cannot be written into the cohort folder that the volume was opened from.
        """
        self._learning.update(is_marked=marked_volume is not None)
        self._opened.update(marked_volume, is_waiting=True)
        if marked_volume is not None:
            self._correcting.slice_marked(marked_volume)

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
        per: str | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[scene.WorklistItem] | Job | None:
        """Recommend slices to draw and add them to the ledgers; returns the worklist.

        Give one of `density` (0.1 is every tenth slice), `every` (10 is every tenth slice), `slicesPerVolume`, `total`,
        `minutes` and `more`. Slices already drawn count towards the budget, except with the last two: minutes are
        counted from now on, and `more` slices are recommended in addition to those drawn. `minutes` and `more` are for
        all volumes together, or with `per` "volume" for each; `density` and `every` are for each volume and plane, or
        with `per` "cohort" for all together, which are spread evenly. The strategy is `staggered`
        by default, or with None. Background slices around the body are left out unless `wholeVolume` is True. With
        `scope` "volume", the planes of a volume share the budget; with "cohort", all volumes share it, each with at
        least `minimum` and at most `maximum` slices.

        The strategies `representative` and `core_set` compare slices by `features`; `uncertainty` uses the models of
        the `runs`. The worker computes features and uncertainties, and stores them in the cohort folder. The features
        `autoencoder` need the weights of VGG-19 (548 MB), which are downloaded only with `downloadWeights`; with
        `fromScratch` a small network without these weights is trained instead.

        Raises BadInputError when the images of some cases are not those that were drawn on: it names them, and the
        others have their slices.
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
            per=cast(Per | None, per),
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
        found = self._recommending.recommend(volumeNodes, settings, Waiting(waitForCompletion, onDone, onProgress))
        if waitForCompletion:
            self._drawing_changed()
        return found

    def planAnnotation(
        self,
        volumeNodes: Sequence,
        slices: int | None = None,
        minutes: float | None = None,
        secondsPerSlice: float | None = None,
        dimensions: int = PlanSettings.dimensions,
        target: str | None = PlanSettings.target,
        planes: Sequence[str] = PlanSettings.planes,
        density: float | None = None,
        every: int | None = None,
        per: str | None = None,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> AnnotationPlan | Job:
        """A plan for a budget of slices or minutes: plane, volumes and slices of each, with reasons and their sources.

        Give one of `slices`, `minutes`, `density` and `every`. The first two are for all volumes together, or with
        `per` "volume" for each; the others are for each volume, or with `per` "cohort" for all together.
        `dimensions` (2 or 3) are those of the model to train; `target` is "clear" or "subtle", depending on how well
        the structure stands out. The plan also states what it could not determine.
        """
        settings = PlanSettings(
            budget=Budget(
                total=None if per == "volume" else slices,
                per_volume=slices if per == "volume" else None,
                density=density,
                every=every,
                minutes=minutes,
                per=cast(Per | None, per),
                seconds_per_slice=secondsPerSlice,
            ),
            planes=tuple(Plane.named(name) for name in planes),
            dimensions=cast(Literal[2, 3], dimensions),
            target=cast(Literal["clear", "subtle"] | None, target),
        )
        return self._recommending.plan(volumeNodes, settings, Waiting(waitForCompletion, onDone, onProgress))

    def agreement(
        self, runNames: Sequence[str], waitForCompletion: bool = True, onDone: Callable | None = None
    ) -> dict[str, Any] | Job:
        """How well the predictions of these runs, in the order of the rounds, agree, and whether to keep drawing.

        Each run must have been run (`segment`) on the same volumes. The result has the keys "dice", "stop" and
        "sentence".
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
        device: str = FeatureSettings.device,
    ) -> str | Job:
        """Write a PNG map of all slices that marks the drawn and recommended ones and shows their coverage.

        `device` is used by features that train a network.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._recommending.write_picture(volumeNodes, path, features, waiting, device)

    # --- channels -------------------------------------------------------------------------------------------------

    def setChannels(self, volumeNode, channels: dict[str, Any], names: Sequence[str] = ()) -> list[str]:
        """Make several volumes one case, for example {"FLAIR": volumeNode, "T1": otherNode}; returns what to know.

        The first one is `volumeNode`, in which slices are drawn. All must show the same patient in the same position; a
        volume on another grid is resampled to the first one's, as a new volume, and a sentence says so. Fills and
        models then see all channels. All cases of a cohort folder have the same channels in the same order; if this
        case lacks some, `names` are those of all. With {} the volume is a case without channels again.
        """
        return self._channels.set(volumeNode, channels, names)

    def addChannels(
        self,
        volumeNode,
        channels: dict[str, Any],
        firstChannel: str = "",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[str] | Job:
        """Add channels to a case, also to one of a cohort folder that has cases: name to volume; returns sentences.

        Drawn slices stay as they are. If the images of the cohort have no names yet, `firstChannel` is that of the
        image that is drawn on. The other cases of the folder lack the new channels; runs continue to use those that
        they have learned from. For a case that was opened from the folder, the images are written into it.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._channels.add(volumeNode, channels, firstChannel, waiting)

    def setModality(self, volumeNode, modality: str) -> None:
        """Say what a volume is, as DICOM abbreviates it: CT, MR, PT ...

        CT is in Hounsfield units, so all cases of the cohort folder are scaled alike. Of volumes from
        DICOM it is known already; others count as what the cohort folder has, and a volume that is known to be
        something else is not written there. If the cohort folder has cases, this holds for the same channel of all
        of them. Runs keep the scale that they were trained with. With "" it
        is as DICOM says.
        """
        self._channels.set_modality(volumeNode, modality)

    def modality(self, volumeNode) -> str:
        """What a volume is, such as CT; "" when that is not known."""
        return self._channels.modality(volumeNode)

    def channels(self, volumeNode) -> dict[str, Any]:
        """The volumes of a case's channels by name, the one that is drawn in first; none without channels."""
        return self._channels.of(volumeNode)

    # --- drawing --------------------------------------------------------------------------------------------------

    def segmentationNode(self, volumeNode):
        """The segmentation in which slices of the volume are drawn; created if there is none."""
        return scene.annotated_segmentation(volumeNode, create=True)

    def drawnIn(self, volumeNode):
        """The segmentation in which slices of the volume are drawn, or None."""
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
        """The recommended, drawn, empty and skipped slices of a volume."""
        return scene.ledger_of(volumeNode)

    def worklist(self, volumeNodes: Sequence) -> list[scene.WorklistItem]:
        """All slices in the ledgers of the volumes, in the order of the worklist."""
        return scene.worklist_of(volumeNodes)

    def markDrawn(
        self,
        volumeNode,
        plane: str,
        index: int,
        seconds: float | None = None,
        structures: Sequence[str] | None = None,
    ) -> str:
        """Mark a slice as completely drawn; a slice without any label counts as empty. Returns its state.

        `structures` are the names of the segments that the slice decides, by default all that exist now. The others,
        and segments that are added later, are unknown on it: neither filled nor trained there as absent, nor scored.
        To change the list, mark the slice again.
        """
        state = scene.mark_decided(volumeNode, Plane.named(plane), index, seconds, structures)
        self._drawing_changed(volumeNode)
        return state.value

    def markEmpty(
        self,
        volumeNode,
        plane: str,
        index: int,
        seconds: float | None = None,
        structures: Sequence[str] | None = None,
    ) -> str:
        """Mark a slice as empty, without any structure, or any of `structures` (see `markDrawn`). Returns its state.

        Raises BadInputError if one of them is drawn on it.
        """
        state = scene.mark_empty(volumeNode, Plane.named(plane), index, seconds, structures)
        self._drawing_changed(volumeNode)
        return state.value

    def markSkipped(self, volumeNode, plane: str, index: int, seconds: float | None = None) -> str:
        """Skip a slice: it stays out of the worklist's slices to do until slices are recommended again."""
        state = scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.SKIPPED, seconds)
        self._drawing_changed()
        return state.value

    def markToDo(self, volumeNode, plane: str, index: int) -> str:
        """Clear the status of a slice: reset it to 'to do'. The drawing on it is kept."""
        state = scene.mark_slice(volumeNode, Plane.named(plane), index, SliceState.TODO)
        self._drawing_changed()
        return state.value

    def startSlice(self, volumeNode, plane: str, index: int, start: str) -> str:
        """Initialize a slice with outlines that only need to be corrected; `undo` reverts this.

        `start` is one of STARTS: "nearest drawn slice", "fill" (the latest fill) or "prediction" (the latest result of
        a model), for all segments that are drawn in; or "nothing", which clears the slice. Voxels where a drawn or
        empty slice of another plane crosses it are not changed. The source is recorded in the ledger, and returned.
        """
        if starts_from_result(start):
            self._correcting.finish_following(volumeNode)
        return start_slice(self._changes, volumeNode, Plane.named(plane), index, scene.Start.named(start))

    def jumpToSlice(self, volumeNode, plane: str, index: int, sliceNode=None) -> None:
        """Show a slice in a slice view: `sliceNode`, or the view for its plane. The other views are centered on it."""
        plane = Plane.named(plane)
        scene.jump_to_slice(sliceNode or scene.slice_view_for(plane), volumeNode, plane, index)

    def showMarkers(self, volumeNode) -> None:
        """Show thin lines in the slice views where drawn (green) and recommended (orange) slices cross them."""
        scene.show_markers(volumeNode, scene.ledger_of(volumeNode))

    # --- filling, and applying results ----------------------------------------------------------------------------

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = DEFAULT_METHOD,
        beyond: int | None = None,
        device: str = DEFAULT_DEVICE,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
        runName: str = "",
        earlier: Sequence[str] = (),
    ):
        """Fill between the drawn slices in a new segmentation node, which is returned: a preview.

        `method` is one of `fillMethods`; 'auto' mixes several of them, for each segment with the shares that predict
        hidden drawn slices best. `beyond` is the maximum number of slices to fill beyond the outermost drawn ones;
        None: automatic taper, as the shapes suggest. `device` is used by methods that train a network. `fillReport`
        returns the quality of the fill, `confidenceNode` its confidence as a volume, and `applyFill` copies it into the
        segmentation that was drawn in. With `waitForCompletion`, filling again after drawing another slice only fills
        the gaps beside that slice ('auto', 'shape' and 'random_walk').

        `runName` is a finished run that takes part in 'auto': the more, the farther from drawn slices. It also adds the
        structures that it knows and no drawn slice shows. `earlier` names results in the cohort folder that take part,
        too: 'fill', or runs and imported predictions. Slices drawn since tell how good they are.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._fills.fill(volumeNode, method, beyond, device, waiting, runName, tuple(earlier))

    @staticmethod
    def fillMethods() -> dict[str, str]:
        """The fill methods, each with a description in one sentence."""
        return {name: entry.description for name, entry in INTERPOLATORS.items()}

    def fillReport(self, resultNode) -> FillReport:
        """The quality of a fill, and warnings; or what was left out of a model's result. Saved with the scene."""
        return report_of(resultNode)

    def confidenceNode(self, resultNode):
        """The volume with a result's confidence in percent; None if there is none."""
        return scene.confidence_of(resultNode)

    def showConfidence(
        self,
        resultNode,
        shown: bool = True,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
    ) -> None:
        """Overlay the confidence of a result on the slice views, or remove the overlay.

        It is shown near the boundaries of the result, where the confidence is low. Raises BadInputError if the result
        has no confidence.
        """
        result_nodes.show_confidence(self.session, resultNode, shown, Waiting(waitForCompletion, onDone))

    def correct(
        self,
        volumeNode,
        structure: str,
        at: Sequence[float],
        outside: bool = False,
        radius: float = 0.0,
        resultNode=None,
        seconds: float = 0.0,
    ) -> CorrectionReport:
        """Say of the voxels around a point that they are a structure, or with `outside` that they are not.

        The result changes around the point at once; drawn slices and earlier corrections stay. The correction is stored
        with the drawing, goes into later fills, and is learned from, as if these voxels had been drawn.
        `undoCorrection` takes back the correction and what followed from it.

        `at` is the point in mm (R, A, S) in the volume's own coordinates, before any transform; `radius` in mm, 0: two
        in-plane pixels. `resultNode` is the fill, or the model's result, that is corrected; None: the latest one.

        Raises BadInputError if there is no result or no such segment, the point is outside the volume or on a drawn
        slice, or the image has changed since the result was created.
        """
        report = self._correcting.correct(volumeNode, structure, at, outside, radius, resultNode, seconds)
        self._drawing_changed()
        return report

    def corrections(self, volumeNode) -> Corrections | None:
        """All corrections of a volume, in order; None without any. Labels: 1, 2, ... in the order of the segments."""
        return self._correcting.corrections(volumeNode)

    def clearCorrections(self, volumeNode) -> bool:
        """Remove all corrections of a volume.

        The result that was corrected last becomes what it was before them, if that is known; then this returns True.
        """
        is_known = self._correcting.clear(volumeNode)
        self._drawing_changed()
        return is_known

    def undoCorrection(self, volumeNode) -> None:
        """Take back the last correction of a volume, and what followed from it."""
        self._correcting.undo(volumeNode)
        self._drawing_changed()

    def redoCorrection(self, volumeNode) -> None:
        """Make the correction again that was undone last."""
        self._correcting.redo(volumeNode)
        self._drawing_changed()

    def applyFill(self, volumeNode, resultNode, structures: Sequence[str] | None = None) -> list[str]:
        """Copy a fill, or a model's result, into the segmentation that was drawn in; `undo` reverts this in one step.

        By default all segments that the result would change are replaced; `structures` names some of them. Not changed
        are drawn slices, slices that were painted and not marked, voxels outside the volume, and segments that the
        result does not have. Also unchanged are structures that seem to be finished, with voxels on slices that were
        never marked, such as the result of another tool: name them in `structures` to replace them. `applyReport` lists
        what was not changed, and why.

        Returns the names of the result's segments that were left out.

        Raises:
            BadInputError: nothing would be applied, or the result was created from another image.
        """
        left_out = self._applying.apply(volumeNode, resultNode, structures, finished_too=structures is not None)
        self._drawing_changed(volumeNode)
        return left_out

    def applyReport(self, volumeNode) -> tuple[str, ...]:
        """Notes on the last `applyFill` on a volume, as sentences."""
        return self._applying.report(volumeNode)

    def provenance(
        self, volumeNode, waitForCompletion: bool = True, onDone: Callable | None = None
    ) -> Provenance | Job:
        """Where each voxel of the segmentation that is drawn in comes from: a Provenance.

        Its `sources` is a (K, J, I) array, `names` names its values: 'drawn', 'corrected', 'filled (METHOD)',
        'predicted (RUN)', or 'painted, not marked'; `counts()` counts the voxels. `applyFill` replaces only voxels
        that were filled, predicted or painted.
        """
        return self._sources.of(volumeNode, Waiting(waitForCompletion, onDone))

    def showProvenance(
        self, volumeNode, shown: bool = True, waitForCompletion: bool = True, onDone: Callable | None = None
    ):
        """Color the slice views by where the voxels come from; returns the label volume's node. Or remove that."""
        return self._sources.show(volumeNode, shown, Waiting(waitForCompletion, onDone))

    def writeSegmentation(
        self,
        volumeNode,
        path: str | Path,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Path | Job:
        """Write the segmentation that is drawn in as a label file (NRRD, NIfTI or MetaImage), with label values 1, 2,
        ... in the order of the segments.

        Where its voxels come from is written beside it, to NAME.provenance.nrrd, whose path is returned;
        `readProvenance` reads that.
        """
        return self._sources.write(volumeNode, Path(path), Waiting(waitForCompletion, onDone, onProgress))

    def exportDicomSegmentation(
        self,
        segmentationNode,
        volumeNode,
        folder: str | Path,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Path | Job:
        """Write a segmentation of a volume that was loaded from DICOM as a DICOM SEG file, NAME.dcm; returns its path.

        It refers to the volume's series and copies patient and study from it. Voxels, places and overlaps are as they
        are. What the segments are is taken from Slicer's terminology; how they were made (manual, semiautomatic,
        automatic) from where their voxels come from. The worker writes it, so the window stays responsive.

        Raises BadInputError when the segmentation is a result that is out of date, or cannot refer to a series.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._dicom.export(segmentationNode, volumeNode, folder, waiting, lambda found: Path(found.path))

    @staticmethod
    def readProvenance(volumeNode, path: str | Path) -> Provenance:
        """What `writeSegmentation` has written about where the voxels of a volume come from."""
        return Provenance.read(path, scene.geometry_of(volumeNode))

    def undo(self, volumeNode) -> None:
        """Undo the last change of the module in the segmentation of this volume."""
        self.panel.undo(volumeNode)
        self._drawing_changed()

    # --- models ---------------------------------------------------------------------------------------------------

    def train(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        device: str = DEFAULT_DEVICE,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Train a model on the drawn slices of the volumes; returns the run's name.

        `preset` is 'quick' (the default), 'quick_2d', 'balanced', 'best' or that of a publication; `settings` are
        fields of TrainingSettings that differ from it, for example {"iterations": 300}. With the name of a run that was
        planned, cancelled or killed, that run is resumed.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.train(volumeNodes, runName, settings, preset, device, waiting)

    def learnWhileDrawing(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        device: str = DEFAULT_DEVICE,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> str:
        """Learn from the drawn slices, and from each further one within seconds after it has been marked.

        Returns the run's name immediately. A worker of its own learns in the background, until `stopLearning`: it keeps
        no other call waiting, and `isBusy` does not count it. `suggestSlice` gives what it finds on a slice. When it
        has been stopped, `onDone` gets the run's name; the run can be used as any other, and continued by its name.

        `settings` are fields of TrainingSettings, for example {"recipe": "3d"}; by default a 2D model is trained.

        Raises BadInputError when no slice has been drawn, WorkerError when another run is learning.
        """
        return self._learning.start(volumeNodes, runName, settings, device, onDone, onProgress)

    def stopLearning(self) -> None:
        """Stop learning while drawing, and store the run."""
        self._learning.stop()

    @property
    def learningRun(self) -> str:
        """The run that is learning while you draw; '' while none is."""
        return self._learning.run

    def suggestSlice(
        self,
        volumeNode,
        plane: str,
        index: int,
        runName: str = "",
        device: str = DEFAULT_DEVICE,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
    ) -> SliceSuggestion | Job:
        """What a run of one model, by default the one that is learning, finds on a slice; nothing is changed.

        The result has a mask for each segment name, and in its `summary` how good the run has been on the slices that
        were drawn since it began. `useSuggestion` puts it into the drawing.
        """
        waiting = Waiting(waitForCompletion, onDone)
        return self._learning.suggest(volumeNode, Plane.named(plane), index, runName, device, waiting)

    def showSuggestion(self, suggestion: SliceSuggestion | None) -> None:
        """Show a suggestion half-transparent over its slice, in a segmentation of its own; None: take that away.

        It is neither saved nor part of the drawing. Raises BadInputError when the image of the volume has changed.
        """
        self._learning.show(suggestion)

    def useSuggestion(self, suggestion: SliceSuggestion) -> str:
        """Initialize a slice with a suggestion; `undo` reverts this. Returns what it is from, as the ledger keeps it.

        Raises BadInputError when the slice has been marked as drawn or empty.
        """
        return self._learning.use(suggestion)

    def trainingPlan(
        self,
        volumeNodes: Sequence,
        runName: str = "",
        settings: dict[str, Any] | None = None,
        preset: str | None = None,
        device: str = DEFAULT_DEVICE,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """What `train` would do with the same arguments, and how many minutes it would take: a TrainingEstimate.

        With a run's name, the plan is written to the run's plan.json, which can be edited before `train` follows it.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.plan_training(volumeNodes, runName, settings, preset, device, waiting)

    def runs(self) -> list[str]:
        """Names of the runs in the cohort folder, oldest first."""
        return self.session.runs()

    def unfinishedRuns(self) -> list[str]:
        """Names of the runs that were cancelled or killed, oldest first; `train` with such a name resumes the run."""
        return [run.name for run in self._modelling.run_summaries() if not run.is_finished]

    def showCurves(self, runName: str, inLayout: bool = False):
        """Plot loss and Dice of a run, finished or not, in a chart node, which is returned.

        Call it again during training to update the curves. With `inLayout`, Slicer's layout is changed to one with a
        plot view if it has none. Raises BadInputError if there are no curves to show yet.
        """
        return self._modelling.show_curves(runName, inLayout)

    def segment(
        self,
        volumeNodes: Sequence,
        runName: str,
        uncertainty: bool = False,
        largestComponent: bool = False,
        smoothing: float = 0.0,
        device: str = DEFAULT_DEVICE,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
        keepStrayPieces: bool = False,
        modelOnly: bool = False,
        flips: bool = False,
    ):
        """Run a trained model on volumes; returns a new segmentation node for each. Drawn slices are kept as drawn.

        A volume with drawn slices gets an answer from all that is known of it: the drawn slices, the fill methods, and
        the model, as `fillBetweenSlices` with `runName`. `modelOnly` gives the model's result between the drawn slices.
        The answer's `fillReport` has the shares, and it always has a confidence.

        Pieces far from anything drawn and in the empty surroundings of an image are left out, which `fillReport` of the
        node says, unless `keepStrayPieces`.

        With `uncertainty`, each result has a confidence (of a model alone: 100 percent minus the entropy), which
        `showConfidence` shows.
        `largestComponent` keeps the largest connected component of each segment; `smoothing` is in mm. With `flips`,
        the model's result is an average over mirrored volumes: slower but better.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._modelling.segment(
            volumeNodes,
            runName,
            uncertainty,
            largestComponent,
            smoothing,
            not keepStrayPieces,
            device,
            waiting,
            modelOnly,
            flips,
        )

    def evaluate(self, resultNode, referenceNode, volumeNode) -> CaseFigures:
        """Compare segments of the same name in two segmentations of a volume: Dice, IoU, distances (mm), volumes.

        The figures also have the scores `hvsmr_score` (HVSMR 2016 challenge) and `rand_f_score` (adapted Rand F-score
        of the segments' connected pieces).
        """
        return evaluate(resultNode, referenceNode, volumeNode)

    # --- exchange with nnU-Net and MONAI --------------------------------------------------------------------------

    def exportNnunet(
        self,
        volumeNodes: Sequence,
        folder: str | Path,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Exchanged | Job:
        """Write volumes and their drawn slices as a raw nnU-Net v2 dataset; undrawn voxels get its ignore label.

        `folder` has a name like "Dataset501_Liver", and contains no dataset yet. The result has the `path`, the `cases`
        and `warnings`.
        """
        return self._exchange.export_nnunet(volumeNodes, folder, Waiting(waitForCompletion, onDone, onProgress))

    def importNnunet(
        self,
        folder: str | Path,
        cohortFolder: str | Path,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Exchanged | Job:
        """Make a cohort of a raw nnU-Net dataset in a new folder, which `openCohort` opens; images stay where they are.

        With an ignore label, the labeled slices become drawn slices; without one, the labels become references.
        """
        return self._exchange.import_nnunet(folder, cohortFolder, Waiting(waitForCompletion, onDone, onProgress))

    def importNnunetPredictions(
        self,
        volumeNodes: Sequence,
        folder: str | Path,
        predictionsFolder: str | Path,
        runName: str = NNUNET_RUN,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list | Job:
        """Show nnU-Net's predictions of volumes; returns a new segmentation node for each volume that has one.

        `folder` is the dataset that nnU-Net was trained on: structures are matched by the names there. Drawn slices
        stay as drawn. The predictions are kept in the cohort folder as those of `runName`, which `fillBetweenSlices`
        takes as one of its `earlier` results.
        """
        waiting = Waiting(waitForCompletion, onDone, onProgress)
        return self._exchange.import_nnunet_predictions(volumeNodes, folder, predictionsFolder, runName, waiting)

    def exportBundle(
        self,
        runName: str,
        folder: str | Path,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Exchanged | Job:
        """Write the 3D model of a finished run as a MONAI bundle, which MONAI's own runner executes."""
        return self._exchange.export_bundle(runName, folder, Waiting(waitForCompletion, onDone, onProgress))

    def importBundle(
        self,
        folder: str | Path,
        runName: str = "",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> str | Job:
        """Import a MONAI bundle that `exportBundle` wrote, as a finished run; returns the run's name.

        By default it is named like the folder.
        """
        return self._exchange.import_bundle(folder, runName, Waiting(waitForCompletion, onDone, onProgress))

    # --- for scripts that write the cohort folder themselves ------------------------------------------------------

    def _exportingLabels(self, volumeNodes: Sequence) -> Steps:
        """See `CohortExport.labels`."""
        return self._export.labels(volumeNodes)
