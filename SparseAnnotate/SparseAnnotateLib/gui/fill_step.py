"""Fill: a preview between the drawn slices."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.registry import Entry
from ..logic import FILL_METHODS
from .choice_labels import choose, chosen_part, show_labels
from .panel_choices import NO_RUN, runs_to_fill_with
from .result_step import ResultStep
from .session import PanelSession
from .step import Step
from .words import in_users_language


class FillStep(Step):
    """Fills the active volume; each fill is a new segmentation.

    Args:
        result: shows the fill.
    """

    def __init__(self, session: PanelSession, result: ResultStep):
        super().__init__(session, session.ui.fillSection)
        ui = self.ui
        self._result = result
        session.on_click(ui.fillButton, self.fill)
        self._runs: dict[str, Entry] = {}
        ui.fillRunSelector.connect("currentTextChanged(QString)", lambda _text: self._run_chosen())

    def summary(self) -> str:
        return in_users_language(FILL_METHODS[self.session.parameters.fillMethod].label)

    def refresh(self) -> None:
        session = self.session
        volume = session.volume
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.fillButton, why or session.why_nothing_drawn([volume]))
        self._show_runs()

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
        if self._result.show(node):
            text = _("'{name}' shows the fill. Click Apply to copy it into your segmentation.")
        else:
            text = _("'{name}' shows the fill. Select its volume to apply it.")
        self.session.say(text.format(name=node.GetName()))
