"""Correcting the answer: what is painted or erased in a result says what these voxels are, and the result follows."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from ..core.messages import counted, joined
from .drawing_clock import DrawingClock
from .session import PanelSession

_STROKE_PAUSE_MS = 30


class CorrectingMode:
    """The switch between drawing slices and correcting the answer; while it is on, the result is edited.

    Args:
        on_switched: called when another segmentation is to be edited.
        on_corrected: called after each correction with the slices through it, plane to index; none after an undo.
    """

    def __init__(
        self,
        session: PanelSession,
        on_switched: Callable[[], None],
        on_corrected: Callable[[dict[str, int]], None],
    ):
        self._session, self._logic, self._ui = session, session.logic, session.ui
        self._on_switched, self._on_corrected = on_switched, on_corrected
        self._volume = self._node = None
        self._outlined = ""
        self._clock = DrawingClock()
        self._stop_watching = self._put_brush_back = lambda: None
        # A stroke changes the segmentation several times; it is taken when it has ended.
        self._stroke = qt.QTimer()
        self._stroke.setSingleShot(True)
        self._stroke.setInterval(_STROKE_PAUSE_MS)
        self._stroke.connect("timeout()", lambda: session.attempt(self.take, keep_message=True))
        self._ui.correctCheckBox.connect("toggled(bool)", lambda _on: session.attempt(self._switch))
        session.on_click(self._ui.clearCorrectionsButton, self._clear)

    @property
    def node(self):
        """The result that is being corrected; None while slices are drawn."""
        return self._node if self._node is not None and self._node.GetScene() is not None else None

    @property
    def is_waiting(self) -> bool:
        """True while a stroke has not been taken yet."""
        return bool(self._stroke.active)

    def refresh(self) -> None:
        """Show the state of the scene; when another result has come, or another volume is active, correct that."""
        session, ui = self._session, self._ui
        volume, result = session.volume, session.latest_result()
        why = None if result is not None else _("Fill between slices, or run a model on this volume, first.")
        if ui.correctCheckBox.checked and (result is not self._node or volume is not self._volume):
            if result is None:
                self.switch_off()
            else:
                self._begin(volume, result)
        session.enable(ui.correctCheckBox, why)
        count = self._logic.panel.correction_count(volume) if volume is not None else 0
        ui.correctionsLabel.text = counted(count, _("{count} correction"), _("{count} corrections")) if count else ""
        session.enable(
            ui.clearCorrectionsButton, None if count else _("There are no corrections of this volume to remove.")
        )
        self._outline()

    def _outline(self) -> None:
        """Outline the corrections, unless that has been done."""
        mark = self._logic.panel.corrections_mark(self._volume) if self.node is not None else ""
        if mark != self._outlined:
            if mark:
                self._logic.panel.show_corrections(self._volume)
            else:
                self._logic.panel.hide_corrections()
            self._outlined = mark

    def switch_off(self) -> None:
        """Draw slices again."""
        self._end()
        self._ui.correctCheckBox.checked = False

    def forget_scene(self) -> None:
        """The scene is being closed."""
        self._stroke.stop()
        self._stop_watching()
        self._stop_watching = self._put_brush_back = lambda: None
        self._node = self._volume = None
        self._outlined = ""
        self._ui.correctCheckBox.checked = False

    def take(self) -> None:
        """Take what has been painted since the last time as corrections."""
        self._stroke.stop()
        if self.node is None or self._volume is not self._session.volume:
            return
        report = self._logic.panel.take_strokes(self._volume, self._node, self._clock.seconds)
        self._clock.start()
        if report is None:
            return
        if report.voxels:
            text = [
                counted(report.voxels, _("{count} voxel was corrected."), _("{count} voxels were corrected.")),
                counted(
                    report.changed,
                    _("{count} more voxel of the result followed."),
                    _("{count} more voxels of the result followed."),
                ),
            ]
            self._session.say(joined(" ", [*text, *report.notes]))
        elif report.notes:
            self._session.say(joined(" ", report.notes), is_error=True)
        else:
            self._session.say(_("The correction and what followed from it were undone."))
        self.refresh()
        place = report.place
        self._on_corrected(self._logic.panel.slices_through(self._volume, place) if place is not None else {})

    # --- switching ------------------------------------------------------------------------------------------------

    def _switch(self) -> None:
        if self._ui.correctCheckBox.checked:
            self.refresh()
        else:
            self._end()
            self.refresh()

    def _begin(self, volume, result) -> None:
        self._end()
        try:
            self._logic.panel.begin_correcting(volume, result)
        except Exception:
            # The caller reports the error; slices are drawn as before.
            self._ui.correctCheckBox.checked = False
            raise
        self._volume, self._node = volume, result
        # Undo may replace whole segments.
        self._stop_watching = self._logic.panel.watch_drawing(result, self._stroke.start, self._stroke.start)
        self._put_brush_back = self._logic.panel.brush_for_correcting()
        self._clock.start()
        self._on_switched()

    def _end(self) -> None:
        if self._node is None:
            return
        if self.node is not None:
            self.take()
        self._stroke.stop()
        self._stop_watching()
        self._put_brush_back()
        self._stop_watching = self._put_brush_back = lambda: None
        self._node = self._volume = None
        self._logic.panel.end_correcting()
        self._outline()
        self._on_switched()

    def _clear(self) -> None:
        self.take()
        self._logic.clearCorrections(self._session.volume)
        self._session.refresh()
        self._on_corrected({})
        self._session.say(
            _("The corrections were removed. Results that were made with them stay as they are: fill or run again.")
        )
