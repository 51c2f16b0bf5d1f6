"""The module's panel: the whole job in one column, from volumes to results."""

from __future__ import annotations

import time

import ctk
import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, Progress, SparseAnnotateError
from .worklist_table import WorklistTable

_PROGRESS_STEPS = 1000


class Panel:
    """Connects the widgets of the .ui file with the logic; what is computed, and how, is the logic's matter.

    Args:
        ui_path: the .ui file. logic: a SparseAnnotateLogic.
    """

    def __init__(self, ui_path: str, logic):
        self.logic = logic
        self.widget = slicer.util.loadUI(ui_path)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._parameters = None
        self._connection = None
        self._started: float | None = None
        self._result = None
        self._applied_to = None
        self._unfinished: list[str] = []
        self.table = WorklistTable(self.ui.worklistTable, self._jump)
        self.ui.volumeSelector.setMRMLScene(slicer.mrmlScene)
        self.ui.segmentationSelector.setMRMLScene(slicer.mrmlScene)
        self.ui.progressBar.maximum = _PROGRESS_STEPS
        self.ui.cohortFolderSelector.filters = ctk.ctkPathLineEdit.Dirs
        actions = {
            self.ui.recommendButton: self._recommend,
            self.ui.planButton: self._plan,
            self.ui.previousButton: lambda: self.table.choose_next(-1),
            self.ui.nextButton: lambda: self.table.choose_next(1),
            self.ui.drawnButton: lambda: self._mark(self.logic.markDrawn),
            self.ui.emptyButton: lambda: self._mark(self.logic.markEmpty),
            self.ui.skipButton: lambda: self._mark(self.logic.markSkipped),
            self.ui.fillButton: self._fill,
            self.ui.applyButton: self._apply,
            self.ui.undoButton: self._undo,
            self.ui.trainButton: self._train,
            self.ui.continueButton: self._continue,
            self.ui.runButton: self._run,
            self.ui.cancelButton: self.logic.cancel,
            self.ui.environmentButton: self._environment,
            self.ui.installButton: self._install,
            self.ui.confidenceCheckBox: self._show_confidence,
        }
        for button, action in actions.items():
            button.connect("clicked()", lambda action=action: self._try(action))
        self.ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda *_: self.refresh())
        # Activated, not changed: when a node goes, the box shows another one, which nobody has chosen.
        self.ui.segmentationSelector.connect("nodeActivated(vtkMRMLNode*)", self._use_segmentation)
        self.ui.allVolumesCheckBox.connect("toggled(bool)", lambda *_: self.refresh())
        self.ui.cohortFolderSelector.connect("currentPathChanged(QString)", self._set_cohort_folder)

    # --- parameters -----------------------------------------------------------------------------------------------

    def connect_parameters(self, parameters) -> None:
        """Bind the widgets to the parameter node of the scene."""
        self.disconnect_parameters()
        self._parameters = parameters
        if parameters.volume is None:
            usable = self._loaded_volumes()
            parameters.volume = usable[0] if usable else None
        self._connection = parameters.connectParametersToGui(
            {
                "volume": self.ui.volumeSelector,
                "allVolumes": self.ui.allVolumesCheckBox,
                "plane": self.ui.planeSelector,
                "percent": self.ui.percentSpinBox,
                "strategy": self.ui.strategySelector,
                "scope": self.ui.scopeSelector,
                "features": self.ui.featuresSelector,
                "fromScratch": self.ui.fromScratchCheckBox,
                "planAmount": self.ui.planAmountSpinBox,
                "planKind": self.ui.planKindSelector,
                "fillMethod": self.ui.fillMethodSelector,
                "preset": self.ui.presetSelector,
                "iterations": self.ui.iterationsSpinBox,
            }
        )
        # By hand: a path of its own type would show an empty folder as '.'.
        self.ui.cohortFolderSelector.currentPath = parameters.cohortFolder
        self.logic.cohortFolder = parameters.cohortFolder
        self.refresh()

    def disconnect_parameters(self) -> None:
        """Let go of the parameter node."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._connection)
            self._parameters = None

    def forget_results(self) -> None:
        """The scene goes: nothing of it can be applied or undone any more."""
        self._result = None
        self._applied_to = None

    def _set_cohort_folder(self, path: str) -> None:
        if self._parameters is None:
            return
        self._parameters.cohortFolder = path
        self.logic.cohortFolder = path
        self._show_runs()

    def _use_segmentation(self, node) -> None:
        volume = self.ui.volumeSelector.currentNode()
        if node is None or volume is None:
            return
        self._try(lambda: self.logic.useSegmentation(volume, node))
        self.refresh()

    def _follow_segmentation(self) -> None:
        """Show the segmentation that belongs to the chosen volume."""
        volume = self.ui.volumeSelector.currentNode()
        self.ui.segmentationSelector.setCurrentNode(self.logic.drawnIn(volume) if volume is not None else None)

    # --- what is shown --------------------------------------------------------------------------------------------

    def volumes(self) -> list:
        """The volumes the panel works on: the chosen one, or all that are loaded."""
        if self.ui.allVolumesCheckBox.checked:
            return self._loaded_volumes()
        node = self.ui.volumeSelector.currentNode()
        return [node] if node is not None and not self.logic.isConfidence(node) else []

    def _loaded_volumes(self) -> list:
        """Volumes that can be drawn on; vector, tensor and label volumes are kinds of scalar volumes in MRML."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        nodes = [node for node in nodes if not self.logic.isConfidence(node)]
        plain = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
        return [node for node in plain if not node.GetHideFromEditors() and node.GetImageData() is not None]

    def _show_runs(self) -> None:
        chosen = self.ui.runSelector.currentText
        runs = []
        self._unfinished = []
        self._try(lambda: self._unfinished.extend(self.logic.unfinishedRuns()), keep_message=True)
        self._try(lambda: runs.extend(r for r in self.logic.runs() if r not in self._unfinished), keep_message=True)
        self.ui.runSelector.clear()
        self.ui.runSelector.addItems(runs)
        if runs:
            self.ui.runSelector.setCurrentText(chosen if chosen in runs else runs[-1])

    def refresh(self) -> None:
        """Show the state of the scene: worklist, runs, and what can be done next."""
        volumes = self.volumes()
        self._try(self._follow_segmentation, keep_message=True)
        self._try(lambda: self.table.show(self.logic.worklist(volumes)), keep_message=True)
        items = self.table.items
        decided = [item for item in items if item.state in ("drawn", "empty")]
        left = [item for item in items if item.state == "to do"]
        self.ui.drawnLabel.text = self._drawn_text(decided, left)
        self._show_runs()
        runs = self.ui.runSelector.count
        busy = self.logic.isBusy
        no_volume = _("Choose a volume first.")
        none_drawn = _("Draw a slice and mark it as drawn first.")
        at_work = _("Something is being worked on; wait for it or cancel it.")
        self._enable(self.ui.recommendButton, bool(volumes) and not busy, at_work if busy else no_volume)
        self._enable(self.ui.planButton, bool(volumes) and not busy, at_work if busy else no_volume)
        for button in (self.ui.drawnButton, self.ui.emptyButton, self.ui.skipButton):
            self._enable(button, bool(items), _("Recommend slices first."))
        for button in (self.ui.previousButton, self.ui.nextButton):
            self._enable(button, bool(items), _("Recommend slices first."))
        self._enable(self.ui.fillButton, bool(decided) and not busy, at_work if busy else none_drawn)
        self._enable(self.ui.trainButton, bool(decided) and not busy, at_work if busy else none_drawn)
        self._enable(
            self.ui.runButton, bool(runs and volumes) and not busy, at_work if busy else _("Train a model first.")
        )
        can_continue = bool(self._unfinished and decided) and not busy
        self._enable(self.ui.continueButton, can_continue, at_work if busy else _("No training was broken off."))
        self._enable(self.ui.cancelButton, busy, _("Nothing is being worked on."))
        self._enable(self.ui.confidenceCheckBox, self._has_confidence(), _("Fill between slices first."))
        self._enable(self.ui.applyButton, self._result is not None, _("Fill between slices, or run a model, first."))
        self._enable(self.ui.undoButton, self._applied_to is not None, _("Nothing has been applied."))

    def _drawn_text(self, decided: list, left: list) -> str:
        if not decided and not left:
            return _("No slice has been recommended yet.")
        text = _("{done} of {total} drawn").format(done=len(decided), total=len(decided) + len(left))
        timed = [item.seconds for item in decided if item.seconds]
        if timed and left:
            minutes = len(left) * sum(timed) / len(timed) / 60
            text += _(", about {minutes:.0f} min left").format(minutes=minutes)
        return text

    @staticmethod
    def _enable(button, enabled: bool, why_not: str) -> None:
        help_text = button.property("helpText")
        if help_text is None:
            help_text = button.toolTip
            button.setProperty("helpText", help_text)
        button.enabled = enabled
        button.toolTip = help_text if enabled or not why_not else why_not

    def say(self, text: str, is_error: bool = False) -> None:
        """Show a sentence at the panel's foot."""
        self.ui.messageLabel.text = text
        self.ui.messageLabel.styleSheet = "color: #c0392b;" if is_error else ""

    # --- actions --------------------------------------------------------------------------------------------------

    def _try(self, action, keep_message: bool = False) -> None:
        """Run an action; an error of ours becomes a sentence in the panel, any other one is shown by Slicer."""
        if not keep_message:
            self.say("")
        with slicer.util.tryWithErrorDisplay(_("Something unexpected went wrong in SparseAnnotate.")):
            try:
                action()
            except SparseAnnotateError as error:
                self.ui.progressLabel.text = ""
                self.say(str(error), is_error=True)

    def _recommend(self) -> None:
        parameters, run = self._parameters, self.ui.runSelector.currentText
        self._begin(_("Choosing slices ..."))
        self.logic.recommendSlices(
            self.volumes(),
            parameters.plane,
            density=parameters.percent / 100.0,
            strategy=parameters.strategy,
            scope=parameters.scope,
            features=parameters.features,
            fromScratch=parameters.fromScratch,
            runs=[run] if run else [],
            waitForCompletion=False,
            onDone=self._recommended,
            onProgress=self._show_progress,
        )
        self.refresh()

    def _recommended(self, worklist, error) -> None:
        self._finish(error)
        if worklist is not None:
            self._take_result(None)
        self.refresh()
        if worklist is not None:
            self.table.choose(0)
            if worklist:
                self.say(_("{count} slices are to be drawn.").format(count=len(worklist)))
            else:
                self.say(_("Nothing more to draw: the drawn slices already use up the budget."))

    def _plan(self) -> None:
        self._begin(_("Planning ..."))
        budget = {self._parameters.planKind: self._parameters.planAmount}
        self.logic.planAnnotation(self.volumes(), **budget, waitForCompletion=False, onDone=self._planned)
        self.refresh()

    def _planned(self, plan, error) -> None:
        self._finish(error)
        if plan is not None:
            self.ui.planeSelector.setCurrentText(plan.plane.value)
            self.ui.percentSpinBox.value = 100.0 * plan.density
            self.ui.strategySelector.setCurrentText(plan.strategy)
            reasons = [f"{item.sentence} ({item.source})" for item in plan.advice]
            self.ui.adviceLabel.text = "\n".join([*reasons, *(f"? {sentence}" for sentence in plan.unknown)])
            self.say(self._plan_text(plan))
        self.refresh()

    @staticmethod
    def _plan_text(plan) -> str:
        text = _("{slices} {plane} slices: {each} in each of {count} volume(s)").format(
            slices=plan.slices, plane=plan.plane.value, each=plan.slices_per_volume, count=len(plan.cases)
        )
        if plan.minutes is not None:
            text += _(", about {minutes:.0f} minutes").format(minutes=plan.minutes)
        if plan.volume_share < 1.0:
            text += _("; draw in these volumes only: {names}").format(names=", ".join(plan.cases))
        return text + "."

    def _jump(self, item) -> None:
        self._started = time.monotonic()
        self._try(lambda: self.logic.jumpToSlice(item.volumeNode, item.plane, item.index), keep_message=True)

    def _mark(self, mark) -> None:
        item = self.table.chosen()
        if item is None:
            self.say(_("Choose a slice in the worklist first."), is_error=True)
            return
        seconds = time.monotonic() - self._started if self._started is not None else None
        arguments = (item.volumeNode, item.plane, item.index)
        state = mark(*arguments, seconds)
        self._started = None
        self.refresh()
        self.table.choose_next_to_do()
        self.say(_("{plane} slice {index}: {state}.").format(plane=item.plane, index=item.index, state=state))

    def _fill(self) -> None:
        drawn = [node for node in self.volumes() if self.logic.ledger(node).decided]
        item = self.table.chosen()
        volume = item.volumeNode if item is not None and item.volumeNode in drawn else drawn[0]
        self._begin(_("Filling ..."))
        self.ui.fillLabel.text = ""
        self.logic.fillBetweenSlices(
            volume,
            self._parameters.fillMethod,
            waitForCompletion=False,
            onDone=self._filled,
            onProgress=self._show_progress,
        )
        self.refresh()

    def _filled(self, node, error) -> None:
        self._finish(error)
        if node is not None:
            self._take_result(node)
            report = self.logic.fillReport(node)
            self.ui.fillLabel.text = "\n".join(sentence for sentence in (report.summary, *report.warnings) if sentence)
            self.say(_("'{name}' shows the fill. Apply puts it into your segmentation.").format(name=node.GetName()))
        self.refresh()

    def _take_result(self, node) -> None:
        """Another result is to be applied from now on, or none; the confidence shown is that of the result, if any."""
        if self._has_confidence():
            self.logic.showConfidence(self._result, False)
        self._result = node
        self._show_confidence()

    def _has_confidence(self) -> bool:
        shown = self._result is not None and self._result.GetScene() is not None
        return shown and self.logic.confidenceNode(self._result) is not None

    def _show_confidence(self) -> None:
        if self._has_confidence():
            self.logic.showConfidence(self._result, self.ui.confidenceCheckBox.checked)

    def _apply(self) -> None:
        volume = next((v for v in self._loaded_volumes() if self._belongs_to(v)), None)
        if volume is None:
            raise BadInputError(_("The volume of this result is no longer in the scene."))
        self.logic.applyFill(volume, self._result)
        self._applied_to = volume
        self.refresh()
        self.say(_("Applied to your segmentation; drawn slices are as they were."))

    def _belongs_to(self, volume) -> bool:
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        return self._result.GetNodeReferenceID(role) == volume.GetID()

    def _undo(self) -> None:
        if self._applied_to is not None:
            self.logic.undo(self._applied_to)
            self.say(_("The last Apply has been taken back."))

    def _train(self) -> None:
        steps = self._parameters.iterations
        self._start_training("", {"iterations": steps} if steps else {}, self._parameters.preset)

    def _continue(self) -> None:
        self._start_training(self._unfinished[-1], {}, None)

    def _start_training(self, run: str, settings: dict, preset: str | None) -> None:
        self._begin(_("Starting the worker ..."))
        self.logic.train(
            self.volumes(),
            run,
            settings,
            preset,
            waitForCompletion=False,
            onDone=self._trained,
            onProgress=self._show_progress,
        )
        self.refresh()

    def _trained(self, run, error) -> None:
        self._finish(error)
        if run is not None:
            said = _("'{run}' is trained. Run puts its result into a new segmentation.").format(run=run)
            self.say(" ".join([said, *self.logic.runNotes(run)]))
        self.refresh()
        if run is not None:
            self.ui.runSelector.setCurrentText(run)

    def _run(self) -> None:
        self._begin(_("Starting the worker ..."))
        self.logic.segment(
            self.volumes(),
            self.ui.runSelector.currentText,
            waitForCompletion=False,
            onDone=self._segmented,
            onProgress=self._show_progress,
        )
        self.refresh()

    def _segmented(self, nodes, error) -> None:
        self._finish(error)
        if nodes:
            self._take_result(nodes[0])
            names = ", ".join(node.GetName() for node in nodes)
            self.say(_("New segmentations: {names}.").format(names=names))
        self.refresh()

    def _environment(self) -> None:
        self.say(_("Looking at this computer ..."))
        self.logic.environment(waitForCompletion=False, onDone=self._show_environment)

    def _install(self) -> None:
        self.logic.installPackages()
        self._environment()

    def _show_environment(self, report, error) -> None:
        self.say(str(error) if error is not None else report["message"], is_error=error is not None)

    # --- progress -------------------------------------------------------------------------------------------------

    def _begin(self, text: str) -> None:
        self.ui.progressBar.value = 0
        self.ui.progressLabel.text = text

    def _show_progress(self, progress: Progress) -> None:
        self.ui.progressBar.value = int(progress.fraction * _PROGRESS_STEPS)
        text = progress.message
        if progress.seconds_left is not None:
            text += _(", about {seconds:.0f} s left").format(seconds=progress.seconds_left)
        if "loss" in progress.metrics:
            text += _(", loss {loss:.3f}").format(loss=progress.metrics["loss"])
        self.ui.progressLabel.text = text

    def _finish(self, error) -> None:
        self.ui.progressBar.value = 0 if error is not None else _PROGRESS_STEPS
        self.ui.progressLabel.text = ""
        if isinstance(error, CancelledError):
            self.say(_("Cancelled. What was finished is kept; Continue goes on with a training."))
        elif error is not None:
            self.say(str(error), is_error=True)
