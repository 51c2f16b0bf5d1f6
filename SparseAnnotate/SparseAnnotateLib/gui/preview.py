"""A result that is shown before it is applied: Apply, Discard, and the overlay of its confidence."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import joined
from .session import PanelSession
from .structure_menu import StructureMenu
from .words import in_users_language


class Preview:
    """The latest fill, or the latest result of a model, of the active volume, with what is known of its quality.

    Args:
        of_run: True for results of models, False for fills. why_none: tells the user what to do first.
        before_apply: called before a result is applied.
    """

    def __init__(
        self,
        session: PanelSession,
        of_run: bool,
        apply_button,
        discard_button,
        overlay_box,
        structures_button,
        report_label,
        why_none: str,
        before_apply: Callable[[], None],
    ):
        self._report_label = report_label
        self._session, self._logic, self._of_run = session, session.logic, of_run
        self._apply_button, self._discard_button, self._overlay_box = apply_button, discard_button, overlay_box
        self._why_none, self._before_apply = why_none, before_apply
        self._structures = StructureMenu(session, structures_button)
        session.on_click(apply_button, self._apply)
        session.on_click(discard_button, self._discard)
        overlay_box.connect("toggled(bool)", lambda _on: session.attempt(self.show_overlay, keep_message=True))

    @property
    def node(self):
        """The segmentation with the result; None if there is none."""
        return self._session.latest_result(self._of_run)

    def refresh(self) -> None:
        why = None if self.node is not None else self._why_none
        for button in (self._apply_button, self._discard_button):
            self._session.enable(button, why)
        self._structures.offer(self._logic.panel.shared_structures(self._session.volume, self.node))
        has_overlay = self.node is not None and self._logic.confidenceNode(self.node) is not None
        self._session.enable(self._overlay_box, None if has_overlay else self._why_none)
        report = self._logic.fillReport(self.node) if self.node is not None else None
        sentences = [report.summary, *report.warnings] if report is not None else []
        self._report_label.text = "\n".join(in_users_language(sentence) for sentence in sentences if sentence)
        self._report_label.visible = any(sentences)

    def replace(self, node) -> None:
        """Show a new result with its overlay, and hide the others."""
        self._logic.panel.show_only(node)
        self.show_overlay()
        self._session.refresh()

    def show_overlay(self) -> None:
        """Overlay the confidence on the slice views, or remove it."""
        node = self.node
        if node is not None and self._logic.confidenceNode(node) is not None:
            self._logic.showConfidence(
                node, self._overlay_box.checked, waitForCompletion=False, onDone=self._overlay_shown
            )

    def _overlay_shown(self, _nothing, error) -> None:
        if error is not None:
            self._session.say(error.message, is_error=True)

    def _apply(self) -> None:
        node, volume = self.node, self._session.volume
        if node is None:
            raise BadInputError(self._why_none)
        self._before_apply()
        chosen = self._structures.chosen()
        left_out = self._logic.panel.apply(volume, node, chosen)
        self._session.refresh()
        text = [_("Applied to your segmentation; drawn slices are unchanged.")]
        own = self._logic.drawnIn(volume)
        unknown = [name for name in left_out if not self._logic.panel.segment_id(own, name)]
        if unknown:
            names = ", ".join(unknown)
            text.append(_("Left out, because your segmentation has no such segment: {names}.").format(names=names))
        self._session.say(joined(" ", [*text, *self._logic.applyReport(volume)]))

    def _discard(self) -> None:
        node = self.node
        if node is None:
            raise BadInputError(self._why_none)
        name = node.GetName()
        self._logic.panel.discard(node)
        if self.node is not None:
            self.replace(self.node)
        self._session.refresh()
        self._session.say(_("'{name}' was removed.").format(name=name))
