"""SparseAnnotate: draw a few well-chosen slices and get the whole volume, and the whole cohort, segmented."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SparseAnnotateLib import scene
from SparseAnnotateLib.core import DEFAULT_DEVICE
from SparseAnnotateLib.core.cohort_file import COHORT_FILE
from SparseAnnotateLib.interpolation import DEFAULT_METHOD, INTERPOLATORS
from SparseAnnotateLib.logic import STARTS, ConsoleLogic
from SparseAnnotateLib.runs import AUTO, DEFAULT_PRESET, LOSSES, PRESETS, base_networks
from SparseAnnotateLib.selection import (
    DEFAULT_DENSITY,
    DEFAULT_FEATURES,
    DEFAULT_STRATEGY,
    FEATURES,
    STRATEGIES,
    PlanSettings,
    Scope,
    SelectionSettings,
)

BUDGETS = ["percent", "slices", "minutes"]
PANEL_SCOPES = [scope.value for scope in Scope]
PLAN_DIMENSIONS = ["3", "2"]
PLAN_TARGETS = ["unknown", "clear", "subtle"]
SHARE_FORMATS = ["dataset", "predictions", "bundle", "dicom"]

if TYPE_CHECKING:
    from SparseAnnotateLib.gui.panel import Panel


class SparseAnnotate(ScriptedLoadableModule):
    """The description of the module for Slicer."""

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
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Add the data of the tutorial to the Sample Data module."""
    scene.register_sample_data(Path(__file__).parent / "Resources" / "Icons" / "SparseAnnotateHead.png")


@parameterNodeWrapper
class SparseAnnotateParameterNode:
    """All settings of the panel; saved with the scene."""

    volume: vtkMRMLScalarVolumeNode  # the active volume
    volumes: list[vtkMRMLScalarVolumeNode]  # the cohort
    axial: bool = True
    coronal: bool = False
    sagittal: bool = False
    budget: Annotated[float, WithinRange(0.1, 100000.0)] = 100 * DEFAULT_DENSITY
    budgetKind: Annotated[str, Choice(BUDGETS)] = BUDGETS[0]
    strategy: Annotated[str, Choice(list(STRATEGIES))] = DEFAULT_STRATEGY
    scope: Annotated[str, Choice(PANEL_SCOPES)] = PANEL_SCOPES[0]
    minimumSlices: Annotated[int, WithinRange(0, 100000)] = 0  # of each volume, with the scope 'cohort'; 0: no minimum
    maximumSlices: Annotated[int, WithinRange(0, 100000)] = 0  # no maximum
    uncertaintyRuns: list[str]  # none: the selected run
    samples: Annotated[int, WithinRange(2, 1000)] = SelectionSettings.samples
    planDimensions: Annotated[str, Choice(PLAN_DIMENSIONS)] = str(PlanSettings.dimensions)
    planTarget: Annotated[str, Choice(PLAN_TARGETS)] = PLAN_TARGETS[0]
    features: Annotated[str, Choice(list(FEATURES))] = DEFAULT_FEATURES
    fromScratch: bool = False
    downloadWeights: bool = False
    wholeVolume: bool = False
    start: Annotated[str, Choice(STARTS)] = STARTS[1]
    markers: bool = True
    fillMethod: Annotated[str, Choice(list(INTERPOLATORS))] = DEFAULT_METHOD
    beyond: Annotated[int, WithinRange(-1, 100000)] = -1  # automatic taper
    fillRun: str = ""  # none
    confidence: bool = False
    preset: Annotated[str, Choice(list(PRESETS))] = DEFAULT_PRESET
    iterations: Annotated[int, WithinRange(0, 100000)] = 0  # from the preset
    network: Annotated[str, Choice([AUTO, *base_networks()])] = AUTO
    loss: Annotated[str, Choice([AUTO, *LOSSES])] = AUTO
    patch: str = ""  # planned
    fillWeight: Annotated[float, WithinRange(0.0, 1.0)] = 0.0
    meanTeacher: Annotated[float, WithinRange(0.0, 10.0)] = 0.0
    flips: bool = False
    largestComponent: bool = False
    smoothing: Annotated[float, WithinRange(0.0, 20.0)] = 0.0
    device: str = DEFAULT_DEVICE
    run: str = ""
    learningRun: str = ""  # that learns while slices are drawn
    learningFolder: str = ""  # the cohort folder that it is in
    keepStrayPieces: bool = False
    measured: vtkMRMLSegmentationNode
    reference: vtkMRMLSegmentationNode
    shareFormat: Annotated[str, Choice(SHARE_FORMATS)] = SHARE_FORMATS[0]
    shareFolder: str = ""
    sharePredictions: str = ""
    shareCohort: str = ""
    shareRun: str = ""  # the selected one
    shareName: str = ""  # the default one
    cohortFolder: str = ""
    unfolded: str = "data,recommend"


class SparseAnnotateLogic(ConsoleLogic):
    """The scripting interface: everything the panel can do, from Slicer's Python console.

    Methods block until they are done. With `waitForCompletion=False` they return immediately, and
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
        """`newTransport` creates the connection to a worker for calls that do not wait; by default with QProcess."""
        super().__init__(newTransport or _qprocessTransport, newTransport or _learningTransport, _later)

    def getParameterNode(self):
        # Its decorator gives the class this constructor.
        return SparseAnnotateParameterNode(super().getParameterNode())  # type: ignore[call-arg]


def _later(action: Callable[[], None]) -> None:
    from SparseAnnotateLib.gui.event_loop import later

    later(action)


def _qprocessTransport(command: list[str] | None = None):
    from SparseAnnotateLib.gui.qprocess_transport import QProcessTransport

    return QProcessTransport(command)


def _learningTransport(command: list[str] | None = None):
    from SparseAnnotateLib.client import worker_command
    from SparseAnnotateLib.gui.qprocess_transport import QProcessTransport

    return QProcessTransport(command or worker_command(in_background=True))


class SparseAnnotateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts are in SparseAnnotateLib.gui."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SparseAnnotateLogic | None = None
        self.panel: Panel | None = None

    def setup(self):
        from SparseAnnotateLib.gui.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = SparseAnnotateLogic()
        self.panel = Panel(self.resourcePath("UI/SparseAnnotate.ui"), self.logic)
        self.layout.addWidget(self.panel.widget)
        scene_ = slicer.mrmlScene
        # Before all others: the panel must stop following nodes before the first one is removed.
        self.addObserver(scene_, scene_.StartCloseEvent, self.onSceneStartClose, priority=1.0)
        self.addObserver(scene_, scene_.EndCloseEvent, self.onSceneEndChange)
        self.addObserver(scene_, scene_.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene_, scene_.EndImportEvent, self.onSceneEndChange)
        for event in (scene_.NodeAddedEvent, scene_.NodeRemovedEvent):
            self.addObserver(scene_, event, self.onNodesChanged)
        # Slicer's own widgets select nodes again at the end of a batch, after the loaded data has been shown.
        self.addObserver(scene_, scene_.EndBatchProcessEvent, self.onNodesChanged)
        if self.parent.isEntered:  # after a reload, Slicer does not call enter()
            self.enter()

    def enter(self):
        if self.panel is not None and self.logic is not None:
            self.panel.connect_parameters(self.logic.getParameterNode())

    def exit(self):
        if self.panel is not None:
            self.panel.disconnect_parameters()

    def cleanup(self):
        self.exit()
        self.removeObservers()
        if self.panel is not None:
            self.panel.data.forget_scene()
        if self.logic is not None:
            self.logic.panel.forget_calls()
            self.logic.close()

    def onSceneStartClose(self, caller, event):
        if self.panel is None or self.logic is None:
            return
        if not self.panel.may_continue_after_closing():
            self.logic.cancel()
        self.panel.forget_scene()
        self.logic.forgetScene()
        self.exit()

    def onSceneStartImport(self, caller, event):
        self.exit()

    def onSceneEndChange(self, caller, event):
        if self.parent.isEntered:
            self.enter()

    def onNodesChanged(self, caller, event):
        if self.panel is not None:
            self.panel.scene_changed()

    def openCohort(self, folder: str | Path) -> list:
        """Open a cohort folder, in the panel, too; returns the volumes of its cases that were opened."""
        assert self.logic is not None
        assert self.panel is not None
        nodes = self.logic.openCohort(folder)
        assert isinstance(nodes, list)
        parameters = self.logic.getParameterNode()
        parameters.cohortFolder = str(self.logic.cohortFolder)
        if self.panel.session.parameters is not None:
            self.panel.data.cases.show_opened(nodes)
        else:  # another module is shown
            parameters.volumes = [*parameters.volumes, *(node for node in nodes if node not in parameters.volumes)]
            parameters.volume = nodes[0] if nodes else parameters.volume
        return nodes

    def onReload(self):
        # The new panel starts at the top: if the column stayed scrolled down, it would not be visible.
        if self.panel is not None:  # None if the setup has failed
            self.panel.scroll_to_top()
        self.cleanup()
        # Slicer only reloads this file; the library must be removed from memory, too, or its old code would be used.
        for name in [n for n in sys.modules if n.split(".")[0] == "SparseAnnotateLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SparseAnnotateFileReader:
    """Lets Slicer open the file `cohort.json` of a cohort folder: with 'Add data', or dropped on the window."""

    def __init__(self, parent):
        self.parent = parent

    def description(self) -> str:
        return _("SparseAnnotate cohort")

    def fileType(self) -> str:
        return "SparseAnnotateCohort"

    def extensions(self) -> list[str]:
        return [_("SparseAnnotate cohort") + " (cohort.json)", _("SparseAnnotate cohort") + " (*.json)"]

    def canLoadFileConfidence(self, filePath: str) -> float:
        """Above the confidence of Slicer's own readers of .json files, but only for a cohort."""
        return 0.9 if Path(filePath).name == COHORT_FILE else 0.0

    def load(self, properties) -> bool:
        with slicer.util.tryWithErrorDisplay(_("The cohort could not be opened."), waitCursor=True):
            widget = slicer.util.getModuleWidget("SparseAnnotate")
            nodes = widget.openCohort(Path(properties["fileName"]).parent)
            self.parent.loadedNodes = [node.GetID() for node in nodes]
            return True
        return False


class SparseAnnotateTest(ScriptedLoadableModuleTest):
    """Self-test inside Slicer, on synthetic data; the full test suite is in the Testing folder of the repository."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_recommended_slices_are_drawn_and_filled()

    def test_recommended_slices_are_drawn_and_filled(self):
        """When every fourth slice of a ball is drawn, the fill has a Dice above 0.9."""
        import numpy as np

        grid = np.indices((40, 48, 52)) - np.array([20, 24, 26])[:, None, None, None]
        ball = (np.linalg.norm(grid, axis=0) < 15).astype(np.uint8)
        volumeNode = slicer.util.addVolumeFromArray(100.0 * ball + 10.0, np.diag([-1.0, 1.0, 2.0, 1.0]), "ball")
        logic = SparseAnnotateLogic()
        worklist = logic.recommendSlices([volumeNode], density=0.25, wholeVolume=True)
        assert isinstance(worklist, list)
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
