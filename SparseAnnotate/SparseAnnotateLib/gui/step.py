"""A step of the panel: a section that can be folded, and then shows its state in one line."""

from __future__ import annotations

from .session import PanelSession


class Step:
    """Base of the steps.

    Attributes:
        section: the ctkCollapsibleButton that holds the step.
    """

    def __init__(self, session: PanelSession, section):
        self.session, self.ui, self.logic = session, session.ui, session.logic
        self.section = section
        self._title = section.text
        # ctk leaves a strip below the title of a folded section.
        section.collapsedHeight = 0
        section.connect("contentsCollapsed(bool)", lambda _folded: self.show_title())

    def summary(self) -> str:
        """The state of the step in a few words."""
        return ""

    def refresh(self) -> None:
        """Show the state of the scene."""

    def connect(self) -> None:
        """The panel has been given the choices of a scene."""

    def disconnect(self) -> None:
        """The panel lets go of the scene's choices, or another module is shown."""

    def show_title(self) -> None:
        """The title; with the state while the step is folded."""
        told = self.summary() if self.section.collapsed and self.session.parameters is not None else ""
        text = f"{self._title}: {told}" if told else self._title
        if self.section.text != text:
            self.section.text = text
