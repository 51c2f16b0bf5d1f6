"""A button with a menu in which trained runs can be checked: the models whose uncertainty recommends slices."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import listed
from .session import PanelSession
from .words import in_users_language

_NAMED_AT_MOST = 3


class ModelMenu:
    """Check marks for the finished runs, in the menu of a QToolButton, whose text says what is checked.

    What is checked is kept with the scene. A run that has gone since stays in the menu, until it is unchecked. If no
    run is checked, the one selected in the table of runs counts.
    """

    def __init__(self, session: PanelSession, button):
        self._session, self._button = session, button
        # Kept here: PythonQt would delete a menu that nothing refers to.
        self._menu = qt.QMenu(button)
        button.setMenu(self._menu)
        self._shown: list[tuple[str, bool, bool]] = []
        self._actions: list[qt.QAction] = []

    def refresh(self) -> None:
        """Offer the finished runs, and those that are checked."""
        usable, checked = self._usable, self._checked
        names = list(dict.fromkeys([*usable, *checked]))
        rows = [(name, name in usable, name in checked) for name in names]
        if rows != self._shown:
            self._menu.clear()
            self._shown, self._actions = rows, []
            for name, is_usable, is_checked in rows:
                text = name if is_usable else _("{name} (missing)").format(name=name)
                # A single '&' would underline the next letter.
                action = self._menu.addAction(text.replace("&", "&&"))
                action.checkable = True
                action.checked = is_checked
                action.connect("toggled(bool)", lambda is_on, name=name: self._toggled(name, is_on))
                self._actions.append(action)
        self._show_choice()
        self._session.enable(self._button, None if rows else _("First train a model."))

    def chosen(self) -> list[str]:
        """The runs that count, as they are in the cohort folder now.

        Raises BadInputError when there is none, or one of them has gone or cannot be used.
        """
        self._session.invalidate_cache()
        names = self._checked or self._selected
        if not names:
            raise BadInputError(
                _("This strategy needs a trained model. Train one, or check one under Models, in Recommend.")
            )
        gone = [name for name in names if name not in self._usable]
        if gone:
            raise BadInputError(
                _(
                    "The model '{name}' is not in the cohort folder any more, is not finished, or cannot be used. "
                    "Choose others under Models, in Recommend."
                ).format(name=gone[0])
            )
        return names

    @property
    def _usable(self) -> list[str]:
        return [run.name for run in self._session.runs if run.is_finished and not run.problem]

    @property
    def _checked(self) -> list[str]:
        return list(self._session.parameters.uncertaintyRuns)

    @property
    def _selected(self) -> list[str]:
        """The run that is selected in the table of runs."""
        run = self._session.parameters.run
        return [run] if run else []

    def _toggled(self, name: str, is_on: bool) -> None:
        parameters = self._session.parameters
        if parameters is None:
            return
        others = [other for other in self._checked if other != name]
        parameters.uncertaintyRuns = [*others, name] if is_on else others
        self._session.refresh_soon()
        self._show_choice()

    def _show_choice(self) -> None:
        checked = self._checked
        if checked:
            text = listed(checked, _NAMED_AT_MOST)
        elif self._selected:
            text = _("{name} (selected under Train and run)").format(name=self._selected[0])
        else:
            text = _("none")
        self._button.text = in_users_language(text).replace("&", "&&")
