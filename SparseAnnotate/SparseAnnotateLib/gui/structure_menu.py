"""A button with a menu in which some of a segmentation's structures can be chosen; all are chosen by default."""

from __future__ import annotations

from collections.abc import Sequence

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from .session import PanelSession


class StructureMenu:
    """Check marks for the names of structures, in the menu of a QToolButton, whose text says what is chosen.

    What has been unchecked stays so while the names change, until it is checked again.
    """

    def __init__(self, session: PanelSession, button):
        self._session, self._button = session, button
        # Kept here: PythonQt would delete a menu that nothing refers to.
        self._menu = qt.QMenu(button)
        button.setMenu(self._menu)
        self._actions: dict[str, qt.QAction] = {}
        self._left_out: set[str] = set()
        self.offer([])

    def offer(self, names: Sequence[str]) -> None:
        """Offer these structures."""
        if list(names) != list(self._actions):
            self._menu.clear()
            self._actions = {}
            for name in names:
                action = self._menu.addAction(name)
                action.checkable = True
                action.checked = name not in self._left_out
                action.connect("toggled(bool)", lambda is_on, name=name: self._toggled(name, is_on))
                self._actions[name] = action
        self._show_choice()
        is_choice = len(self._actions) > 1
        self._session.enable(
            self._button, None if is_choice else _("There is at most one structure, so there is nothing to choose.")
        )

    def chosen(self) -> list[str] | None:
        """The checked names; None when all are. Raises BadInputError when none is."""
        chosen = [name for name in self._actions if name not in self._left_out]
        if self._actions and not chosen:
            raise BadInputError(_("No structure is chosen. Check at least one in the menu 'no structure'."))
        return chosen if len(chosen) < len(self._actions) else None

    def _toggled(self, name: str, is_on: bool) -> None:
        if is_on:
            self._left_out.discard(name)
        else:
            self._left_out.add(name)
        self._show_choice()

    def _show_choice(self) -> None:
        chosen = sum(name not in self._left_out for name in self._actions)
        if chosen == len(self._actions):
            self._button.text = _("all structures")
        elif not chosen:
            self._button.text = _("no structure")
        else:
            self._button.text = _("{chosen} of {count} structures").format(chosen=chosen, count=len(self._actions))
