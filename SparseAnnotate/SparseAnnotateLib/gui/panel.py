"""The module's panel: the whole workflow in one column, from volumes to results."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core import Progress
from ..core.registry import own_parts_problem
from ..logic import FILL_METHODS
from ..runs import AUTO, LOSSES, PRESETS, base_networks
from ..selection import FEATURES, NEXT_ROUND_STRATEGY, STRATEGIES
from .choice_labels import explain, show_labels
from .data_step import PLANE_BOXES, DataStep
from .draw_step import DrawStep
from .environment_step import EnvironmentStep
from .fill_step import FillStep
from .measure_step import MeasureStep
from .module_column import scroll_to, scroll_to_top
from .next_step import NextStep, next_step
from .panel_choices import budget_units, from_preset, panel_scopes, plan_dimensions, plan_targets, share_formats, starts
from .recommend_step import RecommendStep
from .result_step import ResultStep
from .session import PanelSession
from .share_step import ShareStep
from .shortcuts import Shortcuts
from .step import Step
from .train_step import TrainStep
from .words import in_users_language

_SOON_MS = 100
_LAYOUT_MS = 50  # until an opened section has its final position


class Panel:
    """Puts the steps together; all computation is done by the logic.

    Created once; `connect_parameters` is called when the module is entered or a scene has been opened, and
    `disconnect_parameters` when it is left or a scene is closed.

    Args:
        ui_path: the .ui file. logic: a SparseAnnotateLogic.
    """

    def __init__(self, ui_path: str, logic):
        self.logic = logic
        self.widget = slicer.util.loadUI(ui_path)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._connection = None
        self._is_refreshing = False
        self.session = PanelSession(self.ui, logic, self.refresh, self.scene_changed, self._show_progress)
        selectors = ("segmentationSelector", "measuredSelector", "referenceSelector")
        for name in selectors:
            getattr(self.ui, name).setMRMLScene(slicer.mrmlScene)
        self._choices = (
            ("budgetKind", self.ui.budgetKindSelector, budget_units()),
            ("strategy", self.ui.strategySelector, STRATEGIES),
            ("scope", self.ui.scopeSelector, panel_scopes()),
            ("features", self.ui.featuresSelector, FEATURES),
            ("planDimensions", self.ui.planDimensionsSelector, plan_dimensions()),
            ("planTarget", self.ui.planTargetSelector, plan_targets()),
            ("start", self.ui.startSelector, starts()),
            ("fillMethod", self.ui.fillMethodSelector, FILL_METHODS),
            ("preset", self.ui.presetSelector, PRESETS),
            ("network", self.ui.networkSelector, {AUTO: from_preset(), **base_networks()}),
            ("loss", self.ui.lossSelector, {AUTO: from_preset(), **LOSSES}),
            ("shareFormat", self.ui.shareFormatSelector, share_formats()),
        )
        for _field, selector, parts in self._choices:
            explain(selector, parts)
        self.data = DataStep(self.session, self._continue_with_drawing, self._frame_changed)
        self.recommend = RecommendStep(self.session, self._continue_with_drawing)
        self.draw = DrawStep(self.session, self.data.cases)
        self.result = ResultStep(self.session, self.draw.offer_what_is_left)
        self.draw.follow_results(self._result_corrected)
        self.fill = FillStep(self.session, self.result)
        self.train = TrainStep(self.session, self._recommend_next, self.result)
        self.measure = MeasureStep(self.session)
        self.share = ShareStep(self.session, self.data.cases, self.result)
        self.environment = EnvironmentStep(self.session)
        self.steps: dict[str, Step] = {
            "data": self.data,
            "recommend": self.recommend,
            "draw": self.draw,
            "fill": self.fill,
            "train": self.train,
            "result": self.result,
            "measure": self.measure,
            "share": self.share,
            "environment": self.environment,
        }
        self.shortcuts = Shortcuts(self.ui, self.widget)
        self.session.on_click(self.ui.nextStepButton, self._do_next)
        self.session.on_click(self.ui.cancelButton, self._cancel)
        for step in self.steps.values():
            step.section.connect("contentsCollapsed(bool)", lambda folded, step=step: self._folded(step, folded))
        # Loading volumes adds and removes many nodes: the panel is refreshed once, afterwards.
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.connect("timeout()", self.refresh)
        self._unfolded: Any = None  # a section that was unfolded, to be scrolled to
        self._scrolling = qt.QTimer()
        self._scrolling.setSingleShot(True)
        self._scrolling.setInterval(_LAYOUT_MS)
        self._scrolling.connect("timeout()", self._scroll)

    # --- the choices of the scene ---------------------------------------------------------------------------------

    def connect_parameters(self, parameters) -> None:
        """Bind the widgets to the parameter node of the scene, and show the state of the scene."""
        self.disconnect_parameters()
        ui = self.ui
        for name, step in self.steps.items():
            step.section.collapsed = name not in parameters.unfolded.split(",")
        self.session.parameters = parameters
        bound = {
            **PLANE_BOXES,
            "budgetKind": "budgetKindSelector",  # first: it sets the range of the amount
            "budget": "budgetSpinBox",
            "strategy": "strategySelector",
            "scope": "scopeSelector",
            "minimumSlices": "minimumSpinBox",
            "maximumSlices": "maximumSpinBox",
            "samples": "samplesSpinBox",
            "planDimensions": "planDimensionsSelector",
            "planTarget": "planTargetSelector",
            "features": "featuresSelector",
            "fromScratch": "fromScratchCheckBox",
            "downloadWeights": "downloadWeightsCheckBox",
            "wholeVolume": "wholeVolumeCheckBox",
            "start": "startSelector",
            "markers": "markersCheckBox",
            "fillMethod": "fillMethodSelector",
            "beyond": "beyondSpinBox",
            "confidence": "confidenceCheckBox",
            "preset": "presetSelector",
            "iterations": "iterationsSpinBox",
            "network": "networkSelector",
            "loss": "lossSelector",
            "keepStrayPieces": "keepStrayPiecesCheckBox",
            "patch": "patchLineEdit",
            "fillWeight": "fillWeightSpinBox",
            "meanTeacher": "meanTeacherSpinBox",
            "flips": "flipsCheckBox",
            "largestComponent": "largestComponentCheckBox",
            "smoothing": "smoothingSpinBox",
            "shareFormat": "shareFormatSelector",
            "shareName": "shareNameLineEdit",
            "measured": "measuredSelector",
            "reference": "referenceSelector",
        }
        unavailable = self._reset_unavailable(parameters)
        budget = parameters.budget
        self._connection = parameters.connectParametersToGui(
            {name: getattr(ui, widget) for name, widget in bound.items()}
        )
        for _field, selector, parts in self._choices:
            show_labels(selector, parts)
        for step in self.steps.values():
            self.session.attempt(step.connect, keep_message=True)
        ui.budgetSpinBox.value = budget
        self.shortcuts.install()
        self.refresh()
        self.session.do_pending()
        problem = own_parts_problem() or unavailable
        if problem:
            self.session.say(problem, is_error=True)

    def _reset_unavailable(self, parameters) -> str:
        """Reset choices of the scene that do not exist here to their defaults; returns a sentence about the last one.

        Such a scene was saved with a part of the user's own, or by a later version.
        """
        sentence = ""
        for field, _selector, parts in self._choices:
            name, default = getattr(parameters, field), parameters.default(field)
            if name not in parts:
                setattr(parameters, field, default)
                sentence = _("'{name}', which this scene uses, is not available here. {label} is used instead.").format(
                    name=name, label=in_users_language(parts[default].label)
                )
        return sentence

    def disconnect_parameters(self) -> None:
        """Release the parameter node, keyboard shortcuts and everything else outside the panel."""
        self._soon.stop()
        self._scrolling.stop()
        self.shortcuts.remove()
        if self.session.parameters is not None:
            for step in self.steps.values():
                step.disconnect()
            self.session.parameters.disconnectGui(self._connection)
            self.session.parameters = None

    def forget_scene(self) -> None:
        """The scene is being closed: forget everything that belongs to it."""
        self.data.forget_scene()
        self.draw.forget_scene()
        self.train.forget_scene()
        self.session.forget_scene()

    def may_continue_after_closing(self) -> bool:
        """Ask whether training should continue when the scene is closed; True if so.

        All other jobs are cancelled, because their result belongs to the scene.
        """
        if self.logic.panel.at_work != "train" or not self.logic.panel.worker_is_asked:
            return False
        return slicer.util.confirmYesNoDisplay(
            _(
                "Training is in progress. Continue it in the background? It does not need the scene, and its run will "
                "be in the list. If you choose 'No', it is stopped; click Continue to resume it from its last "
                "checkpoint."
            ),
            windowTitle=_("SparseAnnotate"),
        )

    def scene_changed(self) -> None:
        """Nodes were added or removed."""
        if self.session.parameters is not None:
            self._soon.start()

    def _frame_changed(self) -> None:
        """A volume shows another frame: until the panel is refreshed, nothing is drawn on the last one."""
        if self.session.parameters is not None:
            self.session.attempt(self.draw.follow_frame, keep_message=True)
            self._soon.start()

    # --- what is shown --------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the state of the scene in all steps, and the next step."""
        if self._is_refreshing or self.session.parameters is None:
            return
        self._soon.stop()
        self._is_refreshing = True
        self.session.invalidate_cache()
        try:
            with self.session.asking_once():
                self._show_all()
        finally:
            self._is_refreshing = False

    def _show_all(self) -> None:
        for step in self.steps.values():
            # An unusable volume is reported, but must not keep the other steps from being shown.
            self.session.attempt(step.refresh, keep_message=True)
            self.session.attempt(step.show_title, keep_message=True)
        if self.session.problems:
            self.session.say(self.session.problems[0], is_error=True)
        self.session.attempt(self.logic.panel.hide_orphaned_overlays, keep_message=True)
        self.session.attempt(self._show_next, keep_message=True)
        correcting = self.draw.correcting
        can_cancel = self.logic.isBusy or correcting.is_following or correcting.is_reading
        self.session.enable(self.ui.cancelButton, None if can_cancel else _("Nothing is running."))
        correcting.show_work()

    def _show_progress(self, progress: Progress) -> None:
        self.train.show_progress(progress)
        self.environment.show_worker()

    def _show_next(self) -> NextStep:
        found = next_step(self)
        self.ui.nextStepLabel.text = found.sentence
        self.ui.nextStepButton.text = found.button
        self.ui.nextStepButton.visible = bool(found.button)
        return found

    def _do_next(self) -> None:
        done = self._show_next()
        if done.step is not None:
            self.open(done.step)
        if done.action is not None:
            done.action()

    def _cancel(self) -> None:
        # A job that runs beside the reading is cancelled first.
        if self.logic.isBusy or not self.draw.correcting.cancel_reading():
            self.logic.cancel()

    def open(self, step: Step) -> None:
        """Open the section of a step and collapse the others."""
        for other in self.steps.values():
            other.section.collapsed = other is not step
        self._scroll_soon(step)

    def scroll_to_top(self) -> None:
        """Scroll the panel to its top."""
        scroll_to_top(self.widget)

    def _scroll_soon(self, step: Step) -> None:
        self._unfolded = step.section
        self._scrolling.start()

    def _scroll(self) -> None:
        if not self._unfolded.collapsed:
            scroll_to(self._unfolded)

    def _folded(self, step: Step, folded: bool) -> None:
        if self.session.parameters is not None:
            if not folded:
                self._scroll_soon(step)
            unfolded = [name for name, step in self.steps.items() if not step.section.collapsed]
            self.session.parameters.unfolded = ",".join(unfolded)

    def _result_corrected(self) -> None:
        self.result.refresh()
        self.result.show_overlay()

    def _recommend_next(self, run: str) -> None:
        self.recommend.recommend(NEXT_ROUND_STRATEGY, [run], is_next=True)

    def _continue_with_drawing(self, volume) -> None:
        self.open(self.draw)
        # The first slice shows all that has changed: not before that, too.
        self._soon.stop()
        self.draw.go_to_first(volume)
