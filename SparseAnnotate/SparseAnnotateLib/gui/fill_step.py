"""Fill: a preview between the drawn slices, its confidence, and applying it."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.registry import Entry
from ..logic import FILL_METHODS
from .choice_labels import choose, chosen_part, show_labels
from .panel_choices import NO_RUN, runs_to_fill_with
from .preview import Preview
from .session import PanelSession
from .step import Step
from .words import in_users_language


class FillStep(Step):
    """Fills the active volume; each fill is a new segmentation.

    Args:
        before_apply: called before a fill is applied.
    """

    def __init__(self, session: PanelSession, before_apply: Callable[[], None]):
        super().__init__(session, session.ui.fillSection)
        ui = self.ui
        self.preview = Preview(
            session,
            of_run=False,
            apply_button=ui.applyButton,
            discard_button=ui.discardButton,
            overlay_box=ui.confidenceCheckBox,
            structures_button=ui.fillStructuresButton,
            report_label=ui.fillLabel,
            why_none=_("Fill between slices first."),
            before_apply=before_apply,
        )
        session.on_click(ui.fillButton, self.fill)
        session.on_click(ui.undoButton, self._undo)
        self._runs: dict[str, Entry] = {}
        ui.fillRunSelector.connect("currentTextChanged(QString)", lambda _text: self._run_chosen())

    def summary(self) -> str:
        if self.preview.node is not None:
            return _("preview to apply or discard")
        return in_users_language(FILL_METHODS[self.session.parameters.fillMethod].label)

    def refresh(self) -> None:
        session = self.session
        volume = session.volume
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.fillButton, why or session.why_nothing_drawn([volume]))
        self.preview.refresh()
        self._show_runs()
        can_undo = volume is not None and self.logic.panel.can_undo(volume)
        session.enable(
            self.ui.undoButton,
            None if can_undo else _("There is nothing to undo, or the segmentation was changed since."),
        )

    def _show_runs(self) -> None:
        """Offer the finished runs to take part; one that has gone is no longer selected."""
        session, selector = self.session, self.ui.fillRunSelector
        names = [run.name for run in session.runs if run.is_finished and not run.problem]
        if list(self._runs) != [NO_RUN, *names]:
            self._runs = runs_to_fill_with(names)
            was = selector.blockSignals(True)
            selector.clear()
            selector.addItems(list(self._runs))
            show_labels(selector, self._runs)
            selector.blockSignals(was)
        wanted = session.parameters.fillRun
        was = selector.blockSignals(True)
        choose(selector, self._runs, wanted if wanted in self._runs else NO_RUN)
        selector.blockSignals(was)
        takes_runs = FILL_METHODS[session.parameters.fillMethod].chooses
        why = None if takes_runs else _("Only the method 'Automatic' combines the drawn slices with a model.")
        session.enable(selector, why or (None if names else _("First train a model.")))

    def _run_chosen(self) -> None:
        run = chosen_part(self.ui.fillRunSelector, self._runs)
        if self.session.parameters is not None and run is not None:
            self.session.parameters.fillRun = run.name

    def _run(self) -> str:
        """The run that takes part; '' for none."""
        chosen = self.session.parameters
        takes_part = chosen.fillRun in self._runs and FILL_METHODS[chosen.fillMethod].chooses
        return chosen.fillRun if takes_part else NO_RUN

    def fill(self) -> None:
        """Fill between the drawn slices, as a preview."""
        session, chosen = self.session, self.session.parameters
        volume, run = session.volume, self._run()
        if volume is None:
            raise BadInputError(_("Select a volume first."))
        session.start(
            _("Filling ..."),
            lambda **how: self.logic.fillBetweenSlices(
                volume,
                chosen.fillMethod,
                beyond=None if chosen.beyond < 0 else chosen.beyond,
                device=chosen.device,
                runName=run,
                **how,
            ),
            self._filled,
        )

    def _filled(self, node) -> None:
        self.preview.replace(node)
        self.session.say(
            _("'{name}' shows the fill. Click Apply to copy it into your segmentation.").format(name=node.GetName())
        )

    def _undo(self) -> None:
        self.logic.undo(self.session.volume)
        self.session.refresh()
        self.session.say(_("The last Apply or Initialize slice was undone."))
