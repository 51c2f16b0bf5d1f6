"""Shows where the voxels come from in the slice views, and saves it with the segmentation."""

from __future__ import annotations

from pathlib import Path

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from .session import PanelSession

_MOST_SHOWN = 4
_KINDS = "NRRD (*.nrrd);;NIfTI (*.nii.gz);;MetaImage (*.mha)"


class ProvenanceBox:
    """Shows the provenance of the active volume's drawing while the box is checked, and keeps it up to date."""

    def __init__(self, session: PanelSession):
        self._session, self._box, self._logic = session, session.ui.provenanceCheckBox, session.logic
        self._is_computing = False
        self._shown_of = None
        session.on_click(session.ui.saveSegmentationButton, self._save)
        self._box.connect("toggled(bool)", lambda _on: session.attempt(self._toggled))

    def refresh(self) -> None:
        """Show it again after the drawing has changed, or another volume has become active."""
        session, volume = self._session, self._session.volume
        session.enable(self._box, session.why_no_volume)
        why = session.why_busy or session.why_no_volume
        if why is None and self._logic.drawnIn(volume) is None:
            why = _("Nothing has been drawn on this volume yet.")
        session.enable(session.ui.saveSegmentationButton, why)
        if not self._box.checked or volume is None or self._is_computing:
            return
        if self._shown_of is not volume or not self._logic.panel.provenance_is_current(volume):
            self._show(volume)

    def _toggled(self) -> None:
        if not self._box.checked:
            self._shown_of = None
            self._logic.showProvenance(self._session.volume, False)
        else:
            self.refresh()

    def _show(self, volume) -> None:
        def shown(_node, error) -> None:
            self._is_computing = False
            if self._session.parameters is None:
                return  # another module is shown, or the panel is gone
            if error is not None:
                self._box.checked = False
                self._session.say(error.message, is_error=True)
                return
            if not self._box.checked:  # unchecked meanwhile
                self._logic.showProvenance(volume, False)
                return
            self._session.attempt(lambda: self._say(volume), keep_message=True)

        if self._logic.isBusy:
            return
        if self._shown_of is not volume:
            self._logic.showProvenance(volume, False)
        self._is_computing, self._shown_of = True, volume
        try:
            self._logic.showProvenance(volume, waitForCompletion=False, onDone=shown)
        except Exception:
            self._is_computing = False
            raise

    def _say(self, volume) -> None:
        shares = self._logic.panel.share_of_each_source(self._logic.provenance(volume))
        texts = [f"{name} {share:.0%}" for name, share in list(shares.items())[:_MOST_SHOWN]]
        if texts:
            self._session.say(_("Of the labeled voxels and drawn slices: {shares}.").format(shares=", ".join(texts)))

    def _save(self) -> None:
        session, volume = self._session, self._session.volume
        if volume is None:
            raise BadInputError(session.why_no_volume or "")
        title, kinds = (
            _("Save the segmentation with its provenance"),
            "NRRD (*.nrrd);;NIfTI (*.nii.gz);;MetaImage (*.mha)",
        )
        path = qt.QFileDialog.getSaveFileName(None, title, f"{volume.GetName()}.nrrd", kinds)
        if path:
            session.start(
                _("Writing the segmentation ..."),
                lambda **how: self._logic.writeSegmentation(volume, path, **how),
                lambda beside: session.say(
                    _("Written: '{path}', and where its voxels come from: '{beside}'.").format(
                        path=path, beside=Path(beside).name
                    )
                ),
            )
