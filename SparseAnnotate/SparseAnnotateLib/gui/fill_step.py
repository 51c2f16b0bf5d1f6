"""Fill: a preview between the drawn slices, its confidence, and applying it."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ..core import BadInputError
from ..logic import FILL_METHODS
from .preview import Preview
from .session import PanelSession
from .step import Step
from .words import in_users_language


class FillStep(Step):
    """Fills the active volume; each fill is a new segmentation.

    Args:
        before_apply: called before a fill is applied.
    """

    def __init__(self, session: PanelSession, before_apply: Callable[[], None]):
        super().__init__(session, session.ui.fillSection)
        ui = self.ui
        self.preview = Preview(
            session,
            of_run=False,
            apply_button=ui.applyButton,
            discard_button=ui.discardButton,
            overlay_box=ui.confidenceCheckBox,
            structures_button=ui.fillStructuresButton,
            why_none=_("Fill between slices first."),
            before_apply=before_apply,
        )
        session.on_click(ui.fillButton, self.fill)
        session.on_click(ui.undoButton, self._undo)

    def summary(self) -> str:
        if self.preview.node is not None:
            return _("preview to apply or discard")
        return in_users_language(FILL_METHODS[self.session.parameters.fillMethod].label)

    def refresh(self) -> None:
        session = self.session
        volume = session.volume
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.fillButton, why or session.why_nothing_drawn([volume]))
        self.preview.refresh()
        report = self.logic.fillReport(self.preview.node) if self.preview.node is not None else None
        sentences = [report.summary, *report.warnings] if report is not None else []
        self.ui.fillLabel.text = "\n".join(in_users_language(sentence) for sentence in sentences if sentence)
        self.ui.fillLabel.visible = any(sentences)
        can_undo = volume is not None and self.logic.panel.can_undo(volume)
        session.enable(
            self.ui.undoButton,
            None if can_undo else _("There is nothing to undo, or the segmentation was changed since."),
        )

    def fill(self) -> None:
        """Fill between the drawn slices, as a preview."""
        session, chosen = self.session, self.session.parameters
        volume = session.volume
        if volume is None:
            raise BadInputError(_("Select a volume first."))
        session.start(
            _("Filling ..."),
            lambda **how: self.logic.fillBetweenSlices(
                volume,
                chosen.fillMethod,
                beyond=None if chosen.beyond < 0 else chosen.beyond,
                device=chosen.device,
                **how,
            ),
            self._filled,
        )

    def _filled(self, node) -> None:
        self.preview.replace(node)
        self.session.say(
            _("'{name}' shows the fill. Click Apply to copy it into your segmentation.").format(name=node.GetName())
        )

    def _undo(self) -> None:
        self.logic.undo(self.session.volume)
        self.session.refresh()
        self.session.say(_("The last Apply or Initialize slice was undone."))
