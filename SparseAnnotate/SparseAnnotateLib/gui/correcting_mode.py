"""Correcting the answer: what is painted or erased in a result says what these voxels are, and the result follows."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, SparseAnnotateError
from ..core.messages import counted, joined
from .drawing_clock import DrawingClock
from .session import PanelSession
from .shortcuts import KeyActions

_STROKE_PAUSE_MS = 30
_LONG_MS = 500  # what takes longer than that shows that it can be cancelled
_CONFIRM_KEY = "K"
_UNDO_KEYS, _REDO_KEYS = ("Z", "Ctrl+Z"), ("Y", "Ctrl+Y")


class CorrectingMode:
    """The switch between drawing slices and correcting the answer; while it is on, the result is edited.

    The undo of the Segment Editor would restore the result, but not what is known by the corrections. So it is hidden,
    and its keys undo corrections.

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
        self._is_switching = False
        self._wanted: tuple | None = None  # volume and result that are being read
        self._outlined = ""
        self._clock = DrawingClock()
        self._stop_watching = self._put_brush_back = lambda: None
        actions = {
            **dict.fromkeys(_UNDO_KEYS, lambda: session.attempt(self._undo)),
            **dict.fromkeys(_REDO_KEYS, lambda: session.attempt(self._redo)),
            _CONFIRM_KEY: lambda: session.attempt(self._confirm),
        }
        self._keys = KeyActions(actions, self._ui.correctCheckBox)
        # A stroke changes the segmentation several times; it is taken when it has ended.
        self._brush = None
        self._stroke = qt.QTimer()
        self._stroke.setSingleShot(True)
        self._stroke.setInterval(_STROKE_PAUSE_MS)
        self._stroke.connect("timeout()", lambda: session.attempt(self.take, keep_message=True))
        self._ui.correctCheckBox.connect("toggled(bool)", lambda _on: session.attempt(self._toggled))
        self._long = qt.QTimer()
        self._long.setSingleShot(True)
        self._long.setInterval(_LONG_MS)
        self._long.connect("timeout()", self._show_following)
        session.on_click(self._ui.undoCorrectionButton, self._undo)
        session.on_click(self._ui.clearCorrectionsButton, self._clear)

    @property
    def node(self):
        """The result that is being corrected; None while slices are drawn."""
        return self._node if self._node is not None and self._node.GetScene() is not None else None

    @property
    def is_waiting(self) -> bool:
        """True while a result is being read, a stroke has not been taken, or the result has not followed from it."""
        return bool(self._stroke.active) or self._wanted is not None or self.is_following

    @property
    def is_reading(self) -> bool:
        """True while a result is being read, which is corrected then."""
        return self._wanted is not None

    @property
    def is_following(self) -> bool:
        """True while the result of the active volume has not followed from all corrections."""
        volume = self._session.volume
        return volume is not None and self._logic.panel.is_following(volume)

    def refresh(self) -> None:
        """Show the state of the scene; when another result has come, or another volume is active, correct that."""
        if self._is_switching:
            return
        session, ui = self._session, self._ui
        volume, result = session.volume, session.latest_result()
        why = None if result is not None else _("Fill between slices, or run a model on this volume, first.")
        now = self._wanted or (self._volume, self._node)
        if ui.correctCheckBox.checked and (result is not now[1] or volume is not now[0]):
            self._switch(volume, result)
        session.enable(ui.correctCheckBox, why)
        count = self._logic.panel.correction_count(volume) if volume is not None else 0
        ui.correctionsLabel.text = counted(count, _("{count} correction"), _("{count} corrections")) if count else ""
        session.enable(
            ui.clearCorrectionsButton, None if count else _("There are no corrections of this volume to remove.")
        )
        can_undo = volume is not None and self._logic.panel.can_undo_correction(volume)
        session.enable(ui.undoCorrectionButton, None if can_undo else _("There is no correction to undo."))
        self._outline()

    def switch_off(self) -> None:
        """Draw slices again."""
        if self._node is not None or self._wanted is not None:
            self._switch(None, None)

    def cancel_reading(self) -> bool:
        """Draw slices again instead of reading a result; False when none is being read."""
        if self._wanted is None:
            return False
        self._switch(None, None)
        self._session.say(_("Cancelled. Slices are drawn, as before."))
        return True

    def forget_scene(self) -> None:
        """The scene is being closed."""
        if self._wanted is not None:
            self._wanted = None
            self._show_rest()
        self._stroke.stop()
        self._long.stop()
        self._stop_watching()
        self._stop_watching = self._put_brush_back = lambda: None
        self._node = self._volume = self._brush = self._wanted = None
        self._outlined = ""
        self._give_editor_back()
        self._uncheck()

    def take(self) -> None:
        """Take what has been painted since the last time as corrections."""
        self._stroke.stop()
        volume, brush, self._brush = self._volume, self._brush, None
        if self.node is None:
            return
        try:
            report = self._logic.panel.take_strokes(volume, self._node, self._clock.seconds, brush)
        except Exception:
            # What was painted is no correction, and the next stroke might be none, either.
            self._give_up()
            raise
        self._clock.start()
        if report is None or volume is not self._session.volume:
            return
        if report.is_following:
            self._long.start()
        self._tell(report)

    def _confirm(self) -> None:
        """What the result shows under the mouse is right."""
        if self.node is None:
            return
        brush = self._logic.panel.brush_over(self._node)
        if brush is None:
            raise BadInputError(
                _(
                    "Choose Paint to confirm that the selected structure is under the mouse, or Erase to confirm that "
                    "it is not, and put the mouse over a slice view."
                )
            )
        self.take()
        if self.node is None:
            return
        report = self._logic.panel.confirm_under_brush(self._volume, self._node, brush, self._clock.seconds)
        self._clock.start()
        if report.is_following:
            self._long.start()
        self._tell(report)

    def _painted(self) -> None:
        """Something has changed in the result: if that is a stroke, where it was made."""
        self._brush = self._logic.panel.brush_over(self._node) or self._brush
        self._stroke.start()

    def _tell(self, report) -> None:
        """Say what a correction has done so far, and show it."""
        if report.voxels:
            text, new = [], report.voxels - report.confirmed
            if new:
                text.append(counted(new, _("{count} voxel was corrected."), _("{count} voxels were corrected.")))
            if report.confirmed:
                text.append(
                    counted(
                        report.confirmed,
                        _("{count} voxel was right and is confirmed."),
                        _("{count} voxels were right and are confirmed."),
                    )
                )
            if report.is_following:
                text.append(_("The result follows ..."))
            else:
                text.append(
                    counted(
                        report.changed,
                        _("{count} more voxel of the result followed."),
                        _("{count} more voxels of the result followed."),
                    )
                )
            self._session.say(joined(" ", text), notes=report.notes)
        elif report.notes:
            self._session.say(joined(" ", report.notes), is_error=True)
        self.refresh()
        place = report.place
        self._on_corrected(self._logic.panel.slices_through(self._volume, place) if place is not None else {})

    def _followed(self, volume, report, error) -> None:
        """All of the result has followed from a correction, or it was cancelled or has failed."""
        if self._session.parameters is None or volume is not self._session.volume:
            return
        if not self.is_following:
            self._long.stop()
        self._show_rest()
        if isinstance(error, CancelledError):
            self._session.say(
                _("Cancelled. The result has the voxels of the correction, but nothing else that follows from it.")
            )
        elif error is not None:
            if self.node is not None and not self._logic.panel.is_correcting(self._volume, self._node):
                self._give_up()
            self._session.say(error.message, is_error=True)
            self.refresh()
            return
        elif volume is self._volume:
            self._tell(report)
            return
        self.refresh()
        self._on_corrected({})

    def _when_followed(self, volume) -> Callable[..., None]:
        def followed(report, error) -> None:
            self._session.attempt(lambda: self._followed(volume, report, error), keep_message=True)

        return followed

    def _show_following(self) -> None:
        """Offer to cancel what takes longer than a moment."""
        if self.is_following:
            self._show_working(_("The result follows from the correction"))

    def show_work(self) -> None:
        """Offer again to cancel the reading or what follows, where a job that ran beside it has hidden that."""
        if self.is_reading:
            self._show_working(_("Reading the result"))
        elif not self._long.active:
            self._show_following()

    def _show_working(self, text: str) -> None:
        if not self._logic.isBusy and self._session.parameters is not None:
            self._ui.progressBar.value = 0
            self._ui.jobLabel.text = text
            self._ui.jobFrame.visible = True
            self._session.enable(self._ui.cancelButton, None)

    def _show_rest(self) -> None:
        """Hide what `_show_working` has shown, unless something else is being worked on."""
        if not self._logic.isBusy and not self.is_following and not self.is_reading:
            self._ui.jobFrame.visible = False

    # --- undo -----------------------------------------------------------------------------------------------------

    def _undo(self) -> None:
        self._attempt(lambda: self._logic.undoCorrection(self._session.volume))
        self._moved(_("The correction and what followed from it were undone."))

    def _redo(self) -> None:
        self._attempt(lambda: self._logic.redoCorrection(self._session.volume))
        self._moved(_("The correction was made again."))

    def _clear(self) -> None:
        if self._attempt(lambda: self._logic.clearCorrections(self._session.volume)):
            text = _("The corrections were removed, and what followed from them in the result.")
        else:
            text = _(
                "The corrections were removed. Results that were made with them stay as they are: fill or run again."
            )
        self._moved(text)

    def _attempt(self, action: Callable[[], object]) -> object:
        """Change the corrections of the active volume; where that ends the correcting, slices are drawn again."""
        if self._session.volume is None:
            raise BadInputError(self._session.why_no_volume)
        try:
            return action()
        except SparseAnnotateError:
            if self.node is not None and not self._logic.panel.is_correcting(self._volume, self._node):
                self._give_up()
            raise

    def _give_up(self) -> None:
        self._leave()
        self._uncheck()
        self._on_switched()

    def use_keys(self, used: bool) -> None:
        """Whether the keys undo corrections; not while the Segment Editor is out of sight."""
        if used and self.node is not None:
            self._keys.install()
        else:
            self._keys.remove()

    def _moved(self, text: str) -> None:
        self._stroke.stop()
        self._brush = None
        self._clock.start()
        self.refresh()
        self._on_corrected({})
        self._session.say(text)

    # --- switching ------------------------------------------------------------------------------------------------

    def _toggled(self) -> None:
        if not self._is_switching:
            is_on = self._ui.correctCheckBox.checked
            self._switch(*((self._session.volume, self._session.latest_result()) if is_on else (None, None)))
            self.refresh()

    def _switch(self, volume, result) -> None:
        """Correct a result from now on; without one, draw slices."""
        if self._is_switching:
            return
        self._is_switching = True
        try:
            if self._node is not None:
                if self.node is not None:
                    self.take()
                self._leave()
            if self._wanted is not None:
                self._wanted = None
                self._show_rest()
            if result is not None:
                self._read(volume, result)
        finally:
            self._ui.correctCheckBox.checked = self._node is not None or self._wanted is not None
            self._is_switching = False
            self._outline()
        self._on_switched()

    def _read(self, volume, result) -> None:
        """Read a result, and correct it when that is done, unless something else is wanted by then."""
        wanted = self._wanted = volume, result
        is_later = False
        problems: list[SparseAnnotateError] = []

        def on_read(error) -> None:
            if self._wanted is not wanted:
                return
            if is_later:
                self._session.attempt(lambda: self._begin_later(volume, result, error), keep_message=True)
            elif error is not None:
                problems.append(error)
            else:
                self._begin(volume, result)

        try:
            self._logic.panel.read_for_correcting(volume, result, on_read, lambda: self._wanted is wanted)
            if problems:
                raise problems[0]
        except Exception:
            self._wanted = None
            raise
        is_later = True
        if self._wanted is not None:
            self._session.say(_("Reading '{name}' ...").format(name=result.GetName()))
            self.show_work()

    def _begin(self, volume, result) -> None:
        self._wanted = None
        self._logic.panel.begin_correcting(volume, result, self._when_followed(volume), self.take)
        self._enter(volume, result)

    def _begin_later(self, volume, result, error) -> None:
        """A result has been read from the event loop; on an error, slices are drawn."""
        self._is_switching = True
        try:
            self._wanted = None
            self._show_rest()
            if error is not None:
                raise error
            if volume.GetScene() is None or result.GetScene() is None:
                self._session.say("")
                return
            self._begin(volume, result)
            self._session.say("")
        finally:
            self._ui.correctCheckBox.checked = self._node is not None
            self._is_switching = False
            self._outline()
            self._on_switched()

    def _enter(self, volume, result) -> None:
        self._volume, self._node = volume, result
        self._stop_watching = self._logic.panel.watch_drawing(result, self._painted, self._stroke.start)
        self._put_brush_back = self._logic.panel.brush_for_correcting()
        editor = self._ui.segmentEditorWidget
        # Neither segments nor masks are changed while correcting.
        editor.undoEnabled = editor.addRemoveSegmentButtonsVisible = editor.maskingSectionVisible = False
        self._keys.install()
        self._clock.start()

    def _leave(self) -> None:
        self._stroke.stop()
        self._stop_watching()
        self._put_brush_back()
        self._stop_watching = self._put_brush_back = lambda: None
        self._node = self._volume = self._brush = None
        self._give_editor_back()
        self._logic.panel.end_correcting()

    def _give_editor_back(self) -> None:
        self._keys.remove()
        editor = self._ui.segmentEditorWidget
        editor.undoEnabled = editor.addRemoveSegmentButtonsVisible = editor.maskingSectionVisible = True

    def _uncheck(self) -> None:
        was, self._is_switching = self._is_switching, True
        self._ui.correctCheckBox.checked = False
        self._is_switching = was
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
