"""SparseAnnotate: draw a few well-chosen slices and get the whole volume, and the whole cohort, segmented."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import (
    BadInputError,
    CaseFigures,
    Cohort,
    Ledger,
    Plane,
    Progress,
    SliceState,
    compare_labels,
)
from SparseAnnotateLib.core.cohort import COHORT_FILE
from SparseAnnotateLib.core.images import read_labels
from SparseAnnotateLib.interpolation import interpolator_named
from SparseAnnotateLib.learning.run_folder import RunFolder
from SparseAnnotateLib.selection import DEFAULT_STRATEGY, Budget, Volume, recommend_slices, strategy_descriptions
from SparseAnnotateLib.worker import Call, WorkerJobs

PLANES = [plane.value for plane in Plane]
_TORCH_REQUIREMENT = ">=2.8"  # what MONAI 1.6.1 asks for; with less, pip would replace torch by another build
STRATEGIES = list(strategy_descriptions())


class SparseAnnotate(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SparseAnnotate")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Volumes"]
        parent.contributors = ["The SparseAnnotate developers"]
        parent.helpText = _(
            "Draw a few well-chosen slices of a 3D scan and get the whole volume, and the whole cohort, segmented."
        )
        parent.acknowledgementText = _(
            "Built on the methods of Zheng et al. 2020 (AAAI) and the findings of Zhang et al. 2025 (MIDL)."
        )


@parameterNodeWrapper
class SparseAnnotateParameterNode:
    """All choices of the panel; saved with the scene."""

    volume: vtkMRMLScalarVolumeNode
    allVolumes: bool = False
    plane: Annotated[str, Choice(PLANES)] = "axial"
    percent: Annotated[float, WithinRange(0.5, 100.0)] = 10.0
    strategy: Annotated[str, Choice(STRATEGIES)] = DEFAULT_STRATEGY
    iterations: Annotated[int, WithinRange(10, 100000)] = 600
    cohortFolder: str = ""


@dataclass(frozen=True)
class WorklistItem:
    """One slice of the worklist: its volume node, plane, index, state ('to do', 'drawn', ...), and why it is there."""

    volumeNode: Any
    plane: str
    index: int
    order: int
    state: str
    reason: str
    seconds: float


class SparseAnnotateLogic(ScriptedLoadableModuleLogic):
    """The scripting interface: everything the panel can do, from Slicer's Python console.

    Methods block until they are done, unless they are told `waitForCompletion=False`; then they return at once, and
    `onDone(result, error)` is called when the work has ended.

    Example::

        from SparseAnnotate import SparseAnnotateLogic

        logic = SparseAnnotateLogic()
        worklist = logic.recommendSlices([volumeNode], plane="coronal", density=0.1)
        # ... draw the slices in the Segment Editor ...
        for item in worklist:
            logic.markDrawn(item.volumeNode, item.plane, item.index)
        fillNode = logic.fillBetweenSlices(volumeNode)
        run = logic.train([volumeNode], settings={"iterations": 300})
        resultNode = logic.segment([volumeNode], run)[0]
    """

    def __init__(self, newTransport: Callable | None = None):
        """`newTransport` makes the connection to a worker for calls that do not wait; by default through QProcess."""
        ScriptedLoadableModuleLogic.__init__(self)
        self._cohortFolder: Path | None = None
        self._editors: dict[str, Any] = {}
        self._appliedAt: dict[str, tuple] = {}
        self._jobs = WorkerJobs(newTransport or _qprocessTransport, while_waiting=lambda: slicer.app.processEvents())

    def getParameterNode(self):
        return SparseAnnotateParameterNode(super().getParameterNode())

    # --- the cohort folder ----------------------------------------------------------------------------------------

    @property
    def cohortFolder(self) -> Path:
        """Folder that volumes, drawn slices and trained runs are written to for training."""
        return self._cohortFolder or Path(slicer.app.defaultScenePath) / "SparseAnnotate"

    @cohortFolder.setter
    def cohortFolder(self, folder: str | Path) -> None:
        # Absolute, because the worker has another working directory than Slicer.
        self._cohortFolder = Path(folder).expanduser().absolute() if str(folder).strip() else None

    def cohort(self) -> Cohort:
        """The cohort in `cohortFolder`; made when it is not there yet."""
        folder = self.cohortFolder
        return Cohort.open(folder) if (folder / COHORT_FILE).is_file() else Cohort.create(folder, folder.name)

    def runs(self) -> list[str]:
        """Names of the runs in the cohort folder, oldest first."""
        return self.cohort().runs() if (self.cohortFolder / COHORT_FILE).is_file() else []

    # --- slices and the ledger ------------------------------------------------------------------------------------

    def recommendSlices(
        self,
        volumeNodes: Sequence,
        plane: str | Sequence[str] = "axial",
        density: float | None = None,
        slicesPerVolume: int | None = None,
        total: int | None = None,
        strategy: str | None = None,
        seed: int = 0,
        wholeVolume: bool = False,
    ) -> list[WorklistItem]:
        """Recommend slices to draw and put them into the ledgers; returns the worklist.

        Give one of `density` (0.1 is every tenth slice), `slicesPerVolume` and `total`. The strategy is `staggered`
        for several volumes. Air around the body is left out unless `wholeVolume`.
        """
        planes = [Plane.named(name) for name in ([plane] if isinstance(plane, str) else plane)]
        volumes, segmentations = [], {}
        for node in volumeNodes:
            geometry = scene.geometry_of(node)
            segmentation = scene.annotated_segmentation(node, create=True)
            name = scene.case_of(node)
            segmentations[name] = segmentation
            ledger = scene.stored_ledger(segmentation)
            image, position = scene.image_of(node), scene.position_in_scene(node)
            volumes.append(Volume.of_image(name, image, geometry, ledger, wholeVolume, position))
        recommended = recommend_slices(volumes, planes, Budget(density, slicesPerVolume, total), strategy, seed)
        for name, entries in recommended.items():
            segmentation = segmentations[name]
            scene.store_ledger(segmentation, scene.stored_ledger(segmentation).with_recommended(entries))
        return [item for item in self.worklist(volumeNodes) if item.state == SliceState.TODO]

    def segmentationNode(self, volumeNode):
        """The segmentation in which slices of the volume are drawn; made when there is none."""
        return scene.annotated_segmentation(volumeNode, create=True)

    def drawnIn(self, volumeNode):
        """The segmentation in which slices of the volume are drawn, or None when there is none yet."""
        return scene.annotated_segmentation(volumeNode)

    def useSegmentation(self, volumeNode, segmentationNode) -> None:
        """Draw slices of the volume in this segmentation from now on; it must have the volume's voxel grid."""
        scene.use_segmentation(volumeNode, segmentationNode)

    def mendGeometry(self, volumeNode, segmentationNode) -> None:
        """Give a segmentation the volume's voxel grid, so that a slice painted in it is a slice of the volume."""
        scene.mend_geometry(segmentationNode, volumeNode)

    def ledger(self, volumeNode) -> Ledger:
        """What is recommended, drawn, empty and skipped in a volume."""
        segmentation = scene.annotated_segmentation(volumeNode)
        return scene.stored_ledger(segmentation) if segmentation is not None else Ledger()

    def worklist(self, volumeNodes: Sequence) -> list[WorklistItem]:
        """All slices in the ledgers of the volumes, in the order of the worklist."""
        items = [
            WorklistItem(node, e.plane.value, e.index, e.order, e.state.value, e.reason, e.seconds)
            for node in volumeNodes
            for e in self.ledger(node).entries
        ]
        return sorted(items, key=lambda item: (item.order == 0, item.order, item.index))

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

    def jumpToSlice(self, volumeNode, plane: str, index: int, sliceNode=None) -> None:
        """Show a slice in a slice view: `sliceNode`, or Slicer's red one."""
        sliceNode = sliceNode or slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        if sliceNode is None:
            raise BadInputError("There is no slice view to show the slice in.")
        scene.jump_to_slice(sliceNode, volumeNode, Plane.named(plane), index)

    # --- fill -----------------------------------------------------------------------------------------------------

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = "shape",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Fill between the drawn slices into a new segmentation node, which is returned: a preview to look at.

        `applyFill` puts it into the segmentation that was drawn in.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        annotation = scene.annotation_of(volumeNode, segmentation)
        annotation.require_labels(volumeNode.GetName())
        if waitForCompletion:
            image = scene.image_of(volumeNode)
            labels = interpolator_named(method).fill(annotation, image, annotation.geometry).labels
            return self._newResult(volumeNode, segmentation, "fill", labels, scene.label_values(segmentation))
        values = self._export([volumeNode])
        case = scene.case_of(volumeNode)

        def finish(_):
            labels = read_labels(self.cohort().fill_path(case), scene.geometry_of(volumeNode))
            return self._newResult(volumeNode, segmentation, "fill", labels, values)

        params = {"cohort": str(self.cohortFolder), "cases": [case], "method": method}
        return self._request("fill", params, finish, False, onDone, onProgress)

    def applyFill(self, volumeNode, resultNode) -> None:
        """Put a fill, or a model's result, into the segmentation that was drawn in: one step that `undo` takes back.

        Drawn slices stay as they are, and so do segments the result does not have.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        if segmentation is None:
            raise BadInputError(f"'{volumeNode.GetName()}' has no segmentation that was drawn in, to apply this to.")
        annotation = scene.annotation_of(volumeNode, segmentation)
        values = scene.label_values(segmentation)
        labels = scene.labels_of(resultNode, volumeNode, values)
        annotation.restore_drawn(labels)
        found = {name: values[name] for name in scene.segment_names(resultNode) if name in values}
        scene.apply_labels(segmentation, labels, found, volumeNode, self._editor(segmentation, volumeNode))
        self._appliedAt[segmentation.GetID()] = scene.voxel_stamp(segmentation)

    def undo(self, volumeNode) -> None:
        """Take back the last `applyFill` on this volume."""
        segmentation = scene.annotated_segmentation(volumeNode)
        editor = self._editors.get(segmentation.GetID()) if segmentation is not None else None
        if editor is None or not editor.CanUndo():
            raise BadInputError(f"There is nothing to take back on '{volumeNode.GetName()}'.")
        if scene.voxel_stamp(segmentation) != self._appliedAt.get(segmentation.GetID()):
            # Undo restores the whole segmentation as it was: what has been drawn since would be gone.
            raise BadInputError(
                f"The segmentation '{segmentation.GetName()}' has been changed since the last Apply, so taking it back "
                "would lose what was drawn since. Erase what you do not want in the Segment Editor."
            )
        editor.Undo()

    def _editor(self, segmentation, volumeNode):
        if segmentation.GetID() not in self._editors:
            self._editors[segmentation.GetID()] = scene.editor_for(segmentation, volumeNode)
        return self._editors[segmentation.GetID()]

    def forgetScene(self) -> None:
        """Let go of everything that belongs to the scene; call it when the scene is closed."""
        self._editors.clear()
        self._appliedAt.clear()

    # --- models ---------------------------------------------------------------------------------------------------

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

    def environment(self, waitForCompletion: bool = True, onDone: Callable | None = None) -> dict[str, Any] | Call:
        """What can be computed here: packages, devices (each tried with a real computation), and a sentence."""
        return self._request("environment", {}, lambda report: report, waitForCompletion, onDone, None)

    def installPackages(self) -> None:
        """Install what training needs into Slicer's Python: PyTorch by the PyTorch extension, then the rest by pip.

        Asks before it installs anything. Torch comes first, so that nothing brings another build of it.
        """
        import subprocess

        import slicer.packaging

        # A running worker holds the files that are to be replaced, and would not see new ones.
        self.close()
        try:
            if not _isInstalled("torch", _TORCH_REQUIREMENT):
                import PyTorchUtils

                logic = PyTorchUtils.PyTorchUtilsLogic()
                if logic.installTorch(askConfirmation=True, torchVersionRequirement=_TORCH_REQUIREMENT) is None:
                    raise BadInputError("PyTorch was not installed, so models cannot be trained.")
            requirements = Path(__file__).parent / "Resources" / "requirements.txt"
            slicer.packaging.pip_ensure(slicer.packaging.load_requirements(requirements), requester="SparseAnnotate")
        except ImportError as error:
            raise BadInputError(
                "The extension 'PyTorch' is not installed. Install it with the Extensions Manager, restart Slicer, "
                "and try again."
            ) from error
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise BadInputError(f"The packages that training needs were not installed: {error}") from error

    # --- the worker -----------------------------------------------------------------------------------------------

    @property
    def isBusy(self) -> bool:
        """True while a request that was not waited for is being worked on."""
        return self._jobs.is_busy

    @property
    def workerLog(self) -> list[str]:
        """The worker's last words on stderr."""
        return self._jobs.log

    def cancel(self) -> None:
        """Stop what is being worked on; a training keeps its last checkpoint."""
        self._jobs.cancel()

    def close(self) -> None:
        """End the worker process; a training at work saves its checkpoint."""
        self._jobs.close()

    def _request(self, method, params, finish, waitForCompletion, onDone, onProgress):
        if waitForCompletion:
            return finish(self._jobs.wait_for(method, params, onProgress))
        return self._jobs.start(method, params, finish, onDone, onProgress)

    def _export(self, volumeNodes: Sequence) -> dict[str, int]:
        """Write volumes and drawn slices into the cohort folder; returns the label value of each segment name."""
        cohort = self.cohort()
        segmentations = {node.GetID(): scene.annotated_segmentation(node) for node in volumeNodes}
        drawn = [s for s in segmentations.values() if s is not None and scene.stored_ledger(s).decided]
        values = cohort.add_labels([name for node in drawn for name in scene.segment_names(node)])
        for node in volumeNodes:
            segmentation = segmentations[node.GetID()]
            scene.export_case(cohort, node, segmentation if segmentation in drawn else None, values)
        return values

    def _newResult(self, volumeNode, segmentation, what: str, labels, values: dict[str, int]):
        if volumeNode.GetScene() is None:
            raise BadInputError(
                f"The volume '{volumeNode.GetName()}' was removed in the meantime; its result is kept in the folder."
            )
        name = slicer.mrmlScene.GenerateUniqueName(f"{volumeNode.GetName()} {what}")
        names = {value: segment for segment, value in values.items()}
        return scene.new_segmentation(name, labels, names, volumeNode, like=segmentation)


def _isInstalled(package: str, requirement: str) -> bool:
    """True when a package is installed in a version that suffices; it is not imported."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    try:
        return SpecifierSet(requirement).contains(metadata.version(package), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _qprocessTransport():
    from SparseAnnotateLib.gui.qprocess_transport import QProcessTransport

    return QProcessTransport()


class SparseAnnotateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts are in SparseAnnotateLib.gui."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SparseAnnotateLogic | None = None
        self.panel = None

    def setup(self):
        from SparseAnnotateLib.gui.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = SparseAnnotateLogic()
        self.panel = Panel(self.resourcePath("UI/SparseAnnotate.ui"), self.logic)
        self.layout.addWidget(self.panel.widget)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndChange)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndChange)
        self.enter()

    def enter(self):
        if self.panel is not None:
            self.panel.connect_parameters(self.logic.getParameterNode())

    def exit(self):
        if self.panel is not None:
            self.panel.disconnect_parameters()

    def cleanup(self):
        self.exit()
        self.removeObservers()
        if self.logic is not None:
            self.logic.close()

    def onSceneStartClose(self, caller, event):
        self.logic.cancel()
        self.logic.forgetScene()
        self.panel.forget_results()
        self.exit()

    def onSceneStartImport(self, caller, event):
        self.exit()

    def onSceneEndChange(self, caller, event):
        if self.parent.isEntered:
            self.enter()

    def onReload(self):
        self.cleanup()
        # Slicer reloads this file only; the library must go, too, or its old code stays.
        for name in [n for n in sys.modules if n.split(".")[0] == "SparseAnnotateLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SparseAnnotateTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer, on data made here; the full test suite is in the repository's Testing folder."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_recommended_slices_are_drawn_and_filled()

    def test_recommended_slices_are_drawn_and_filled(self):
        """A ball of which every fourth slice is drawn is filled to more than Dice 0.9."""
        import numpy as np

        grid = np.indices((40, 48, 52)) - np.array([20, 24, 26])[:, None, None, None]
        ball = (np.linalg.norm(grid, axis=0) < 15).astype(np.uint8)
        volumeNode = slicer.util.addVolumeFromArray(100.0 * ball + 10.0, np.diag([-1.0, 1.0, 2.0, 1.0]), "ball")
        logic = SparseAnnotateLogic()
        worklist = logic.recommendSlices([volumeNode], density=0.25, wholeVolume=True)
        self.assertEqual(len(worklist), 10)
        segmentation = logic.segmentationNode(volumeNode)
        drawn = np.zeros_like(ball)
        for item in worklist:
            drawn[item.index] = ball[item.index]
        segmentId = segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        slicer.util.updateSegmentBinaryLabelmapFromArray(drawn, segmentation, segmentId, volumeNode)
        for item in worklist:
            logic.markDrawn(item.volumeNode, item.plane, item.index)
        fillNode = logic.fillBetweenSlices(volumeNode)
        filled = slicer.util.arrayFromSegmentBinaryLabelmap(fillNode, scene.segment_names(fillNode)[0], volumeNode)
        dice = 2 * (filled & ball).sum() / (filled.sum() + ball.sum())
        self.assertGreater(dice, 0.9)
        self.delayDisplay("Test passed")
