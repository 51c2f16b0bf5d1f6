"""A step of the panel: a section that can be collapsed, and then shows its state in its title."""

from __future__ import annotations

from .session import PanelSession


class Step:
    """Base of the steps.

    Attributes:
        section: the ctkCollapsibleButton that contains the step.
    """

    def __init__(self, session: PanelSession, section):
        self.session, self.ui, self.logic = session, session.ui, session.logic
        self.section = section
        self._title = section.text
        # By default, ctk leaves a strip below the title of a collapsed section.
        section.collapsedHeight = 0
        section.connect("contentsCollapsed(bool)", lambda _folded: self.show_title())

    def summary(self) -> str:
        """The state of the step in a few words."""
        return ""

    def refresh(self) -> None:
        """Show the state of the scene."""

    def connect(self) -> None:
        """Called when the panel has been bound to the parameters of a scene."""

    def disconnect(self) -> None:
        """Called when the panel is released from the parameters of the scene, or another module is shown."""

    def show_title(self) -> None:
        """Show the title, with the state while the section is collapsed."""
        summary = self.summary() if self.section.collapsed and self.session.parameters is not None else ""
        text = f"{self._title}: {summary}" if summary else self._title
        if self.section.text != text:
            self.section.text = text
