"""Fill: a preview between the drawn slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import counted
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
        session.on_click(ui.fillAllButton, self.fill_all)
        self._runs: dict[str, Entry] = {}
        ui.fillRunSelector.connect("currentTextChanged(QString)", lambda _text: self._run_chosen())

    def summary(self) -> str:
        return in_users_language(FILL_METHODS[self.session.parameters.fillMethod].label)

    def refresh(self) -> None:
        session = self.session
        volume = session.volume
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.fillButton, why or session.why_nothing_drawn([volume]))
        session.enable(self.ui.fillAllButton, why or session.why_nothing_drawn(session.volumes))
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

    def _chosen(self) -> dict[str, Any]:
        """What is chosen now, as arguments of `fillBetweenSlices`."""
        chosen = self.session.parameters
        beyond = None if chosen.beyond < 0 else chosen.beyond
        return {"method": chosen.fillMethod, "beyond": beyond, "device": chosen.device, "runName": self._run()}

    def fill(self) -> None:
        """Fill between the drawn slices, as a preview."""
        volume = self.session.volume
        if volume is None:
            raise BadInputError(_("Select a volume first."))
        self._start(volume, self._chosen(), _("Filling ..."), self._filled)

    def fill_all(self) -> None:
        """Fill all volumes of the cohort that have drawn slices, one after the other."""
        items = self.session.worklist
        drawn = {item.volumeNode.GetID() for item in items if item.state.is_decided}
        waiting = [node for node in self.session.volumes if node.GetID() in drawn]
        if not waiting:
            raise BadInputError(_("Draw a slice and mark it as drawn first."))
        self._fill_next(waiting, self._chosen(), [], [])

    def _fill_next(self, waiting: list, how: dict[str, Any], filled: list, problems: list[str]) -> None:
        """Fill the first of the waiting volumes, then the others, all alike, whatever is chosen meanwhile.

        One that cannot be filled does not stop them.
        """
        waiting = [node for node in waiting if node.GetScene() is not None]
        if not waiting:
            self._result.show(*filled)
            done = counted(len(filled), _("{count} volume was filled."), _("{count} volumes were filled."))
            self.session.say(done, is_error=not filled, notes=problems)
            return
        volume, *others = waiting
        text = _("Filling '{volume}' ({count} left) ...").format(volume=volume.GetName(), count=len(waiting))

        def failed(error) -> None:
            problem = _("'{volume}': {problem}").format(volume=volume.GetName(), problem=error.message)
            self._fill_next(others, how, filled, [*problems, problem])

        self._start(volume, how, text, lambda node: self._fill_next(others, how, [*filled, node], problems), failed)

    def _start(self, volume, how: dict[str, Any], text: str, done: Callable, failed: Callable | None = None) -> None:
        self.session.start(text, lambda **waiting: self.logic.fillBetweenSlices(volume, **how, **waiting), done, failed)

    def _filled(self, node) -> None:
        if self._result.show(node):
            text = _("'{name}' shows the fill. Click Apply to copy it into your segmentation.")
        else:
            text = _("'{name}' shows the fill. Select its volume to apply it.")
        self.session.say(text.format(name=node.GetName()))
