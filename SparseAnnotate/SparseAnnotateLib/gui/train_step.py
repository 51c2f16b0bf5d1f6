"""Train and run: training, its curves, the list of runs, and running a model on volumes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from slicer.i18n import tr as _

from ..core import BadInputError, Progress, SparseAnnotateError
from ..core.messages import counted, joined, listed
from ..runs import AUTO, PRESETS
from ..runs.dice_in_words import dice_range
from .choice_labels import chosen_part
from .event_loop import later
from .result_step import ResultStep
from .run_table import RunTable
from .session import PanelSession, duration
from .step import Step
from .words import in_users_language

_CURVES_EVERY = 3.0
_NOTES_AT_MOST = 3
_LOOK_SECONDS = 0.02  # at images, in one turn


class TrainStep(Step):
    """Trains in the worker; meanwhile, the Train button becomes Cancel.

    Args:
        recommend_next: called with the name of a run, to recommend slices of which its model is uncertain.
        result: shows the results of models.
    """

    def __init__(self, session: PanelSession, recommend_next: Callable[[str], None], result: ResultStep):
        super().__init__(session, session.ui.trainSection)
        ui = self.ui
        self.recommend_next = recommend_next
        self.runs = RunTable(ui.runTable, self._run_chosen)
        self._training: str | None = None
        self._trained_in = None
        self._curves_at = 0.0
        self._estimated_for: tuple | None = None
        self._train_text, self._continue_text = ui.trainButton.text, ui.continueButton.text
        self._result = result
        self._is_looking = False
        self._own_difference = ""
        self._to_look: list[tuple[Any, str]] = []
        self._differing: list[str] = []
        session.on_click(ui.trainButton, self._train_or_cancel)
        session.on_click(ui.continueButton, self._continue)
        session.on_click(ui.estimateButton, self._estimate)
        session.on_click(ui.curvesButton, self._open_curves)
        session.on_click(ui.runButton, lambda: self.run([session.volume]))
        session.on_click(ui.runAllButton, lambda: self.run(session.volumes))
        session.on_click(ui.nextSlicesButton, self._recommend_next)
        ui.presetSelector.connect("currentTextChanged(QString)", lambda _text: self._show_options())

    def summary(self) -> str:
        if self._training is not None:
            return _("training '{run}'").format(run=self._training)
        finished = [run for run in self.session.runs if run.is_finished]
        if not finished:
            return _("no model yet")
        parts = [counted(len(finished), _("1 model"), _("{count} models"))]
        dice = dice_range(finished[-1].dice, finished[-1].corrected_dice)
        if dice:
            parts.append(_("last Dice {dice}").format(dice=in_users_language(dice)))
        return ", ".join(parts)

    def refresh(self) -> None:
        session, ui = self.session, self.ui
        self.runs.show(session.runs, session.parameters.run)
        chosen = self.runs.chosen
        busy, is_training = session.why_busy, self._training is not None
        nothing = session.why_no_volume or session.why_nothing_drawn(session.volumes)
        ui.trainButton.text = _("Cancel") if is_training else self._train_text
        session.enable(ui.trainButton, None if is_training else busy or nothing)
        session.enable(ui.estimateButton, busy or nothing)
        is_resumable = chosen is not None and not chosen.is_finished and not chosen.problem
        why_not = None if is_resumable else _("In the table, select a run that is not finished.")
        if chosen is not None and chosen.is_live:
            why_not = _("This run learns while you draw. To continue it, check 'Learn while I draw' in Draw.")
        session.enable(ui.continueButton, busy or nothing or why_not)
        is_there = chosen is not None and chosen.name in self.logic.panel.hosts.runs_there()
        ui.continueButton.text = _("Reconnect") if is_there else self._continue_text
        why_no_run = _("First train a model, or select one in the table.")
        finished = chosen is not None and chosen.is_finished and not chosen.problem
        session.enable(ui.curvesButton, None if is_training or chosen is not None else why_no_run)
        if self._estimated_for is not None and self._estimated_for != self._to_estimate():
            self._drop_estimate()
        why = busy or session.why_no_volume or (None if finished else why_no_run)
        for button in (ui.runButton, ui.runAllButton, ui.nextSlicesButton):
            session.enable(button, why)
        self._show_options()
        if not self._is_looking:
            self._is_looking = True
            later(self._look_at_image)  # a fresh image takes a moment

    def _show_options(self) -> None:
        preset = chosen_part(self.ui.presetSelector, PRESETS)
        has_3d = preset is None or preset.has_3d_model
        self.session.enable(self.ui.patchLineEdit, None if has_3d else _("Only for a preset with a 3D model."))

    def _look_at_image(self) -> None:
        """Report how the active volume differs from those that the chosen run has learned from; then the others."""
        self._is_looking, self._differing = False, []
        session, self._to_look = self.session, []
        if session.parameters is None:
            return  # another module is shown, or the panel is gone
        chosen = self.runs.chosen
        is_usable = chosen is not None and chosen.is_finished and not chosen.problem and session.volume is not None
        self._own_difference = ""
        if is_usable:
            session.attempt(lambda: self._compare(chosen.name), keep_message=True)
        self._show_differences()
        if self._to_look:
            later(self._look_further)

    def _compare(self, run: str) -> None:
        volume, volumes = self.session.volume, self.session.volumes
        self._own_difference = self.logic.panel.image_difference(volume, run)
        self._to_look = [(node, run) for node in volumes if node is not volume]

    def _look_further(self) -> None:
        """Look at other checked volumes for a moment, before a run on all of them."""
        began, panel = time.monotonic(), self.logic.panel
        while self._to_look and time.monotonic() - began < _LOOK_SECONDS:
            volume, run = self._to_look.pop(0)
            if self.session.parameters is None or volume.GetScene() is None or volume.GetImageData() is None:
                continue
            with suppress(SparseAnnotateError):  # the active one has reported what is wrong with the run
                if panel.image_difference(volume, run):
                    self._differing.append(volume.GetName())
        if self._to_look:
            later(self._look_further)
        elif self.session.parameters is not None:
            self._show_differences()

    def _show_differences(self) -> None:
        others = ""
        if self._differing:
            others = counted(
                len(self._differing),
                _("{names}, which is checked, too, differs from the images that the run has learned from."),
                _("{count} other checked volumes differ from the images that the run has learned from: {names}."),
                names=listed([f"'{name}'" for name in self._differing], _NOTES_AT_MOST),
            )
        text = joined(" ", [in_users_language(self._own_difference), others]).strip()
        self.ui.runDifferenceLabel.text, self.ui.runDifferenceLabel.visible = text, bool(text)

    # --- training -------------------------------------------------------------------------------------------------

    def _train_or_cancel(self) -> None:
        if self._training is not None:
            self.logic.cancel()
            return
        chosen = self.session.parameters
        self._begin(self.logic.panel.new_run_name(), self._changes(), chosen.preset)

    def _changes(self) -> dict:
        """The settings that differ from the preset."""
        chosen = self.session.parameters
        settings: dict[str, Any] = {"iterations": chosen.iterations} if chosen.iterations else {}
        has_3d = PRESETS[chosen.preset].has_3d_model
        if chosen.network != AUTO:
            settings["network" if has_3d else "network_2d"] = chosen.network
        if chosen.loss != AUTO:
            settings["loss"] = chosen.loss
        if has_3d and chosen.patch.strip():
            settings["patch"] = _sides(chosen.patch)
        if chosen.fillWeight:
            settings["fill_weight"] = chosen.fillWeight
        if chosen.meanTeacher:
            settings["mean_teacher"] = chosen.meanTeacher
        return settings

    def _continue(self) -> None:
        if self.runs.chosen is None:
            raise BadInputError(_("In the table, select a run that is not finished."))
        host = self.logic.panel.hosts.runs_there().get(self.runs.chosen.name, self.logic.host)
        if host != self.logic.host:
            # Its training goes on there, whatever is computed elsewhere.
            self.logic.useHost(host)
        self._begin(self.runs.chosen.name, {}, None)

    def _begin(self, run: str, settings: dict, preset: str | None) -> None:
        session = self.session
        session.require_idle()
        self._training, self._trained_in = run, self.logic.cohortFolder
        try:
            session.start(
                _("Starting the worker ..."),
                lambda onDone, **how: self.logic.train(
                    session.volumes,
                    run,
                    settings,
                    preset,
                    session.parameters.device,
                    onDone=lambda result, error: self._ended(onDone, result, error),
                    **how,
                ),
                self._trained,
                after_cancel=_("To resume training, select the run and click Continue."),
            )
        except Exception:
            # The caller reports the error.
            self._training = None
            raise

    def _ended(self, on_done, result, error) -> None:
        run, self._training = self._training, None
        if self.session.parameters is not None and run is not None and self._is_same_folder:
            self.session.parameters.run = run
        on_done(result, error)

    @property
    def _is_same_folder(self) -> bool:
        """False if another scene, with another cohort folder, has been opened since the training started."""
        return self.logic.cohortFolder == self._trained_in

    def _trained(self, run) -> None:
        if not self._is_same_folder:
            message = _("'{run}' is trained. It is in the folder '{folder}'.")
            self.session.say(message.format(run=run, folder=self._trained_in))
            return
        self.session.parameters.run = run
        self._show_curves(run)
        self.session.refresh()
        message = _("'{run}' is trained. Click Run to segment a volume with it.").format(run=run)
        self.session.say(message, notes=self.logic.panel.run_notes(run))

    def _estimate(self) -> None:
        session, chosen = self.session, self.session.parameters
        settings = self._changes()
        self._drop_estimate()
        asked = self._to_estimate()
        session.start(
            _("Timing a few steps ..."),
            lambda **how: self.logic.trainingPlan(session.volumes, "", settings, chosen.preset, chosen.device, **how),
            lambda plan: self._estimated(plan, asked),
        )

    def forget_scene(self) -> None:
        """The scene is being closed: drop the estimate that was made for it."""
        self._drop_estimate()

    def _to_estimate(self) -> tuple:
        """Everything an estimate depends on; when it changes, the estimate is outdated."""
        chosen, session = self.session.parameters, self.session
        drawn = [
            (item.volumeNode.GetID(), item.plane, item.index) for item in session.worklist if item.state.is_decided
        ]
        volumes = [node.GetID() for node in session.volumes]
        chosen_settings = (chosen.iterations, chosen.network, chosen.loss, chosen.patch, chosen.fillWeight)
        asked = (chosen.preset, chosen.device, *chosen_settings, chosen.meanTeacher)
        return (*asked, volumes, sorted(drawn), str(self.logic.cohortFolder))

    def _drop_estimate(self) -> None:
        self._estimated_for = None
        self.ui.estimateLabel.text = _("not estimated yet")

    def _estimated(self, plan, asked: tuple) -> None:
        self._estimated_for = asked
        models = ", ".join(model.role for model in plan.models)
        self.ui.estimateLabel.text = _("about {time} on {device} ({models})").format(
            time=duration(60 * plan.minutes), device=plan.device, models=models
        )
        self.session.refresh()
        self.session.say("", notes=plan.notes)

    def show_progress(self, progress: Progress) -> None:
        """Update the curves of the current training."""
        run = self._training
        if run is None or not progress.metrics or time.monotonic() - self._curves_at < _CURVES_EVERY:
            return
        self._curves_at = time.monotonic()
        if self.session.parameters is not None and self._is_same_folder:
            self.session.attempt(lambda: self._show_curves(run), keep_message=True)

    def _show_curves(self, run: str) -> None:
        """Plot the curves of a run without changing the layout."""
        if self.logic.panel.has_metrics(run):
            self.logic.showCurves(run)

    def _open_curves(self) -> None:
        run = self._training or self.session.parameters.run
        if not run:
            raise BadInputError(_("First train a model, or select one in the table."))
        self.logic.showCurves(run, inLayout=True)

    # --- running --------------------------------------------------------------------------------------------------

    def _run_chosen(self, name: str) -> None:
        if self.session.parameters is not None:
            self.session.parameters.run = name
            self.session.refresh()

    def run(self, volumes: list) -> None:
        """Run the selected model on volumes."""
        session, chosen = self.session, self.runs.chosen
        if chosen is None:
            raise BadInputError(_("First train a model, or select one in the table."))
        session.start(
            _("Starting the worker ..."),
            lambda **how: self.logic.segment(
                volumes,
                chosen.name,
                uncertainty=True,
                largestComponent=session.parameters.largestComponent,
                smoothing=session.parameters.smoothing,
                keepStrayPieces=session.parameters.keepStrayPieces,
                flips=session.parameters.flips,
                device=session.parameters.device,
                **how,
            ),
            self._segmented,
        )

    def _segmented(self, nodes) -> None:
        self._result.show(*nodes)
        names = in_users_language(listed([f"'{node.GetName()}'" for node in nodes], 3))
        made = counted(len(nodes), _("New segmentation: {names}."), _("New segmentations: {names}."), names=names)
        others = [node for node in nodes if node is not self._result.node]
        notes = [sentence for node in others for sentence in self.logic.fillReport(node).warnings]
        self.session.say(made, notes=notes[:_NOTES_AT_MOST])

    def _recommend_next(self) -> None:
        if self.runs.chosen is None:
            raise BadInputError(_("First train a model, or select one in the table."))
        self.recommend_next(self.runs.chosen.name)


def _sides(text: str) -> list[int]:
    """The sides of a patch. Raises BadInputError when the text is not three whole numbers."""
    sides = re.split(r"[\s,;x×]+", text.strip())
    if len(sides) != 3 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise BadInputError(
            _("The size of the patch is three whole numbers, such as 64 96 96, not '{text}'.").format(text=text)
        )
    return [int(side) for side in sides]
