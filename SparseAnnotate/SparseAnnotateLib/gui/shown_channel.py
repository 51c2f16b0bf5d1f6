"""Which channel of the active volume the slice views show."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..core import BadInputError
from .session import PanelSession


class ShownChannel:
    """A combo box with the channels, and each of them faded over the first; hidden for a volume without channels."""

    def __init__(self, session: PanelSession):
        self._session, self._ui = session, session.ui
        self._panel = session.logic.panel
        self._choices: list[tuple[str, str]] = []
        self._before: tuple[Any, str] = (None, "")
        self._ui.shownChannelSelector.connect(
            "activated(int)", lambda number: session.attempt(lambda: self._show(*self._choices[number]))
        )
        session.on_click(self._ui.nextChannelButton, self._show_next)

    def refresh(self) -> None:
        """Offer the channels of the active volume."""
        ui, volume = self._ui, self._session.volume
        names = list(self._panel.channels.of(volume)) if volume is not None else []
        self._choices = [(name, "") for name in names] + [(names[0], name) for name in names[1:]]
        texts = [_("{one} and {other}").format(one=n, other=f) if f else n for n, f in self._choices]
        selector = ui.shownChannelSelector
        if texts != [selector.itemText(place) for place in range(selector.count)]:
            selector.clear()
            selector.addItems(texts)
        if names:
            shown = self._panel.channels.shown(volume)
            before, self._before = self._before, (volume, shown[0])
            if before[0] is volume and before[1] not in names:
                # The one that was shown has been removed, which leaves the slice views empty.
                self._panel.show_volume(volume)
            selector.setCurrentIndex(self._choices.index(shown) if shown in self._choices else 0)
        ui.shownChannelFrame.visible = len(names) > 1
        why = None if len(names) > 1 else _("This volume has no further channels to show.")
        for widget in (selector, ui.nextChannelButton):
            self._session.enable(widget, why)

    def _show(self, name: str, faded: str = "") -> None:
        try:
            self._panel.channels.show(self._session.volume, name, faded)
        finally:
            self.refresh()

    def _show_next(self) -> None:
        volume = self._session.volume
        names = list(self._panel.channels.of(volume)) if volume is not None else []
        if len(names) < 2:
            raise BadInputError(_("This volume has no further channels to show."))
        shown = self._panel.channels.shown(volume)[0]
        self._show(names[(names.index(shown) + 1) % len(names)])
