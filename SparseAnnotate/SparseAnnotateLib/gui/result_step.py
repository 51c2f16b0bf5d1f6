"""Result: the latest fill or result of a model, shown before it is applied, with what is known of its quality."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import counted
from .event_loop import later
from .provenance_box import ProvenanceBox
from .session import PanelSession
from .step import Step
from .structure_menu import StructureMenu
from .words import in_users_language


class ResultStep(Step):
    """Shows the latest result of the active volume, whether it is a fill or comes from a model; applies or removes it.

    Args:
        before_apply: called before a result is applied.

    Attributes:
        is_applying: a result is being applied, in pieces; it can be neither applied again nor removed meanwhile.
    """

    def __init__(self, session: PanelSession, before_apply: Callable[[], None]):
        super().__init__(session, session.ui.resultSection)
        ui = self.ui
        self._why_none = _("Fill between slices first, or run a model on this volume.")
        self._before_apply = before_apply
        self.is_applying = False
        self._asked_for = ""  # ID of the result that the check box for finished structures is about
        self._structures = StructureMenu(session, ui.resultStructuresButton)
        self._provenance = ProvenanceBox(session)
        session.on_click(ui.applyButton, self._apply)
        session.on_click(ui.discardButton, self._discard)
        session.on_click(ui.undoButton, self._undo)
        ui.confidenceCheckBox.connect(
            "toggled(bool)", lambda _on: session.attempt(self.show_overlay, keep_message=True)
        )

    @property
    def node(self):
        """The segmentation with the result; None if there is none."""
        return self.session.latest_result()

    def summary(self) -> str:
        return _("none yet") if self.node is None else _("to apply or discard")

    def refresh(self) -> None:
        session, ui, node = self.session, self.ui, self.node
        why = None if node is not None else self._why_none
        shown = node.GetID() if node is not None else ""
        if shown != self._asked_for:  # what was allowed for another result, or volume, is not allowed for this one
            self._asked_for, ui.finishedTooCheckBox.checked = shown, False
        if self.is_applying:
            why = _("The result is being applied.")
        for button in (ui.applyButton, ui.discardButton):
            session.enable(button, why)
        self._structures.offer(self.logic.panel.shared_structures(session.volume, node))
        session.attempt(self._provenance.refresh, keep_message=True)
        has_overlay = node is not None and self.logic.confidenceNode(node) is not None
        session.enable(ui.confidenceCheckBox, why or (None if has_overlay else _("This result has no confidence.")))
        can_undo = session.volume is not None and self.logic.panel.can_undo(session.volume) and not self.is_applying
        session.enable(
            ui.undoButton,
            None if can_undo else _("There is nothing to undo, or the segmentation was changed since."),
        )
        ui.resultLabel.text = "\n".join(in_users_language(sentence) for sentence in self._sentences(node) if sentence)

    def _sentences(self, node) -> list[str]:
        """What is known of a result, or what to do to get one."""
        if node is None:
            return [self._why_none]
        report = self.logic.fillReport(node)
        count = self.logic.panel.correction_count(self.session.volume)
        corrected = counted(count, _("{count} correction."), _("{count} corrections.")) if count else ""
        return [_("Shown: '{name}'.").format(name=node.GetName()), corrected, report.summary, *report.warnings]

    def show(self, *nodes) -> bool:
        """Show the new result of the active volume alone; True if there is one.

        Then the section is opened, and the confidence overlaid if that is wanted. Results of other volumes are hidden
        until these become active: the scans of a cohort overlap in space.
        """
        is_here = self.node in nodes
        if any(node is not self.node for node in nodes):
            self.logic.panel.show_only_volume(self.session.volume, self.session.all_volumes)
        if is_here:
            self.logic.panel.show_only(self.node)
            self.show_overlay()
            self.section.collapsed = False
        self.session.refresh()
        return is_here

    def show_overlay(self) -> None:
        """Overlay the confidence on the slice views, or remove it."""
        node = self.node
        if node is not None and self.logic.confidenceNode(node) is not None:
            self.logic.showConfidence(
                node, self.ui.confidenceCheckBox.checked, waitForCompletion=False, onDone=self._overlay_shown
            )

    def _overlay_shown(self, _nothing, error) -> None:
        if error is not None:
            self.session.say(error.message, is_error=True)

    def _apply(self) -> None:
        node, volume = self.node, self.session.volume
        if node is None:
            raise BadInputError(self._why_none)
        self._before_apply()
        self.is_applying = True
        try:
            self.logic.panel.apply(
                volume,
                node,
                self._structures.chosen(),
                self.ui.finishedTooCheckBox.checked,
                waitForCompletion=False,
                onDone=lambda left_out, error: self._ended(volume, left_out, error),
            )
        except Exception:
            self.is_applying = False
            raise
        self.session.refresh()

    def _ended(self, volume, left_out: list[str], error) -> None:
        def tell() -> None:
            self.session.refresh()
            if error is not None:
                self.session.say(error.message, is_error=True)
                return
            self.ui.finishedTooCheckBox.checked = False  # for one Apply only
            if volume.GetScene() is not None:
                self.session.attempt(lambda: self._say_applied(volume, left_out), keep_message=True)

        def end() -> None:
            self.is_applying = False
            self.session.when_shown(tell)

        later(end)  # a large change has just been made

    def _say_applied(self, volume, left_out: list[str]) -> None:
        notes: list[str] = []
        own = self.logic.drawnIn(volume)
        unknown = [name for name in left_out if not self.logic.panel.segment_id(own, name)]
        if unknown:
            names = ", ".join(unknown)
            notes.append(_("Left out, because your segmentation has no such segment: {names}.").format(names=names))
        done = _("Applied to your segmentation; drawn slices are unchanged.")
        self.session.say(done, notes=[*notes, *self.logic.applyReport(volume)])

    def _discard(self) -> None:
        node = self.node
        if node is None:
            raise BadInputError(self._why_none)
        name = node.GetName()
        self.logic.panel.discard(node)
        self.show(*([self.node] if self.node is not None else []))
        self.session.say(_("'{name}' was removed.").format(name=name))

    def _undo(self) -> None:
        self.logic.panel.undo(self.session.volume)
        self.session.refresh()
        self.session.say(_("The last Apply or Initialize slice was undone."))
