"""Opening a cohort folder, and its cases when they are gone to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.messages import listed
from .event_loop import later
from .session import PanelSession
from .words import in_users_language

_MOST_NAMED = 4


class CohortCases:
    """The button that opens a cohort folder, and the list of its cases that are not open.

    Args:
        on_opened: called with a volume that was opened and has slices to do.

    Attributes:
        unopened: the cases that are not open. slices: those that are to do on them, as items of the worklist.
    """

    def __init__(self, session: PanelSession, on_opened: Callable[[Any], None]):
        self._on_opened = on_opened
        self._session, self._ui, self._logic = session, session.ui, session.logic
        self._shown: list[str] = []
        self._problem = self._codes_problem = ""
        self.unopened: list = []
        self.slices: list = []
        self._logic.panel.watch_cohort(session.refresh_soon)
        session.on_click(self._ui.openCohortButton, self._open_cohort)
        session.on_click(self._ui.openCaseButton, self._open_case)

    def refresh(self) -> None:
        """Show the cases that are not open, and write what has been drawn into the folder."""
        session, ui = self._session, self._ui
        cases = self._logic.panel.unopened_cases()
        if cases != self.unopened:
            self.unopened, self.slices = cases, self._logic.panel.unopened_slices(cases)
        rows = [self._row(case) for case in cases]
        if rows != self._shown:
            chosen = ui.casesSelector.currentText
            self._shown = rows
            ui.casesSelector.clear()
            ui.casesSelector.addItems(rows)
            if chosen in rows:
                ui.casesSelector.setCurrentIndex(rows.index(chosen))
        for widget in (ui.casesSelector, ui.openCaseButton):
            widget.visible = bool(rows)
        for widget in (ui.openCohortButton, ui.openCaseButton):
            session.enable(widget, session.why_busy)
        problem, of_codes = self._logic.panel.keep_cohort(), self._logic.panel.codes_problem()
        if problem and problem != self._problem:
            session.say(problem, is_error=True)
        if of_codes and of_codes != self._codes_problem:
            later(lambda: self._add_to_message(of_codes))  # a job that has just ended shows its own message first
        self._problem, self._codes_problem = problem, of_codes

    def _add_to_message(self, text: str) -> None:
        if self._session.parameters is None:  # another module is shown: then when this one is shown again
            self._codes_problem = ""
            return
        self._session.add_note(text)

    def held_elsewhere(self) -> dict[str, str]:
        """The cases with slices to do that others have open, each with who draws there."""
        return self._logic.panel.held_elsewhere()

    def held_sentence(self, held: Mapping[str, str]) -> str:
        """That the slices left to draw are on cases that others have open, and who."""
        cases = [
            _("'{case}' ({holder})").format(case=case, holder=in_users_language(who)) for case, who in held.items()
        ]
        text = _("The slices that are left to draw are on cases that are open elsewhere: {cases}.")
        return text.format(cases=in_users_language(listed(cases, _MOST_NAMED)))

    def _row(self, case) -> str:
        if not case.toDo:
            return case.name
        return _("{case} ({count} to do)").format(case=case.name, count=case.toDo)

    def _open_cohort(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            None, _("Open a cohort folder"), str(self._logic.cohortFolder.parent)
        )
        if folder:
            self.open(folder)

    def open(self, folder: str) -> None:
        """Open a cohort folder."""
        self._session.start(
            _("Opening the cohort"),
            lambda **how: self._logic.openCohort(folder, **how),
            self.show_opened,
            shows_all=True,
        )

    def show_opened(self, nodes: list) -> None:
        """Show the volumes of a cohort that has just been opened."""
        # It also becomes the cohort folder of the scene.
        self._ui.cohortFolderSelector.currentPath = str(self._logic.cohortFolder)
        self._show(nodes)

    def _open_case(self) -> None:
        index = self._ui.casesSelector.currentIndex
        if 0 <= index < len(self.unopened):
            self.open_case(self.unopened[index].name)

    def open_case(self, name: str, go_on: Callable[[Any], None] | None = None) -> None:
        """Open a case of the cohort folder, and go on with its slices.

        `go_on`: called with the volume that was opened, instead of `on_opened`.
        """
        self._session.start(
            _("Opening '{case}'").format(case=name),
            lambda **how: self._logic.openCase(name, **how),
            lambda node: self._show([node], active=node, go_on=go_on),
            shows_all=True,
        )

    def _show(self, nodes: list, active=None, go_on: Callable[[Any], None] | None = None) -> None:
        """Check the volumes that were opened, and show one of them."""
        parameters = self._session.parameters
        parameters.volumes = [*parameters.volumes, *(node for node in nodes if node not in parameters.volumes)]
        if active is not None or parameters.volume not in nodes:
            parameters.volume = active if active is not None else (nodes or [parameters.volume])[0]
        self._session.refresh()
        if parameters.volume is not None:
            self._logic.panel.show_volume(parameters.volume)
            if any(
                not item.state.is_decided and item.volumeNode is parameters.volume for item in self._session.worklist
            ):
                (go_on or self._on_opened)(parameters.volume)
        notes = self._logic.openingNotes()
        if notes:
            more = len(notes) - 1
            text = in_users_language(notes[0])
            if more:
                text += " " + _("({count} more notes: see logic.openingNotes() in the Python console)").format(
                    count=more
                )
            self._session.say("", is_error=not nodes, notes=[text])
