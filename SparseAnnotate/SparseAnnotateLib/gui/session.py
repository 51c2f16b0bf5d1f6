"""What the steps of the panel share: the logic, the choices, the volumes, messages, and the job at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, Progress, SparseAnnotateError
from .words import in_users_language

_PROGRESS_STEPS = 1000
_ERROR_STYLE = "color: #d64541;"


class PanelSession:
    """One for all steps.

    Args:
        ui: the widgets of the .ui file by name. logic: a SparseAnnotateLogic.
        refresh: shows the state of the scene in all steps.
        refresh_soon: refreshes once, after everything that changes now has changed.
        on_progress: called with the progress of a job; the steps show more of it than the bar does.
    """

    def __init__(
        self,
        ui,
        logic,
        refresh: Callable[[], None],
        refresh_soon: Callable[[], None],
        on_progress: Callable[[Progress], None],
    ):
        self.ui, self.logic, self.refresh, self.refresh_soon = ui, logic, refresh, refresh_soon
        self._on_progress = on_progress
        self.parameters: Any = None  # Slicer's parameter node wrapper has no types
        self._effort = self._cohort = None
        self._pending: list[Callable[[], None]] = []
        ui.progressBar.maximum = _PROGRESS_STEPS
        ui.jobFrame.visible = False

    # --- volumes --------------------------------------------------------------------------------------------------

    @property
    def volume(self):
        """The volume that is worked on; None when there is none."""
        node = self.parameters.volume if self.parameters is not None else None
        return node if node is not None and node.GetScene() is not None else None

    @property
    def volumes(self) -> list:
        """The volumes of the cohort: the checked ones, and always the one that is worked on."""
        if self.parameters is None:
            return []
        chosen = [node for node in self.parameters.volumes if node is not None and node.GetScene() is not None]
        if self.volume is not None and self.volume not in chosen:
            chosen.append(self.volume)
        return chosen

    @property
    def planes(self) -> list[str]:
        """The planes to draw in."""
        names = ("axial", "coronal", "sagittal")
        return [name for name in names if self.parameters is not None and getattr(self.parameters, name)]

    def invalidate_cache(self) -> None:
        """The scene may have changed: what is read from all its ledgers, once for all steps, is read again."""
        self._effort = self._cohort = None

    def cohort_worklist(self):
        """The worklist of the cohort, the volumes whose ledger can be read, and what is wrong with the others."""
        if self._cohort is None:
            self._cohort = self.logic.panel.readable_worklist(self.volumes)
        return self._cohort

    @property
    def problems(self) -> list[str]:
        """What is wrong with ledgers of the cohort that cannot be read, as sentences."""
        return self.cohort_worklist().problems

    @property
    def effort(self):
        """What drawing has cost so far."""
        if self._effort is None:
            self._effort = self.logic.panel.effort(self.cohort_worklist().volumes, (self.planes or ["axial"])[0])
        return self._effort

    @property
    def worklist(self) -> list:
        """The worklist of the cohort."""
        return self.cohort_worklist().items

    def latest_result(self, of_run: bool):
        """The newest fill, or model's result, of the volume that is worked on; None when there is none."""
        return self.logic.panel.latest_result(self.volume, of_run) if self.volume is not None else None

    # --- messages -------------------------------------------------------------------------------------------------

    def say(self, text: str, is_error: bool = False) -> None:
        """Show a sentence under the panel's head, and in Slicer's status bar."""
        text = in_users_language(text)
        self.ui.messageLabel.text = text
        self.ui.messageLabel.styleSheet = _ERROR_STYLE if is_error else ""
        self.ui.messageLabel.visible = bool(text)
        if text:
            slicer.util.showStatusMessage(text, 10000)

    def attempt(self, action: Callable[[], object], keep_message: bool = False) -> None:
        """Run an action; an error of ours becomes a sentence in the panel, any other one is shown by Slicer."""
        if not keep_message:
            self.say("")
        with slicer.util.tryWithErrorDisplay(_("Something unexpected went wrong in SparseAnnotate.")):
            try:
                action()
            except SparseAnnotateError as error:
                self.say(error.message, is_error=True)

    def on_click(self, button, action: Callable[[], None]) -> None:
        """Connect a button with an action that is attempted."""
        button.connect("clicked()", lambda: self.attempt(action))

    def enable(self, widget, why_not: str | None) -> None:
        """Enable a widget, or disable it and say why in its tooltip."""
        help_text = widget.property("helpText")
        if help_text is None:
            help_text = widget.toolTip
            widget.setProperty("helpText", help_text)
        widget.enabled = not why_not
        widget.toolTip = in_users_language(why_not or help_text)

    @property
    def why_busy(self) -> str | None:
        """Why nothing else can be begun, as a sentence; None when it can."""
        return _("Something is being worked on; wait for it or cancel it.") if self.logic.isBusy else None

    def require_idle(self) -> None:
        """Raise BadInputError when something is being worked on."""
        if self.logic.isBusy:
            raise BadInputError(self.why_busy)

    @property
    def why_no_volume(self) -> str | None:
        """Why nothing can be done with a volume; None when it can."""
        return _("Load a volume, or check one in the list, first.") if self.volume is None else None

    def why_nothing_drawn(self, volumes: list) -> str | None:
        """Why there is nothing to fill or learn from in the volumes; None when there is."""
        if any(item.state.is_decided and item.volumeNode in volumes for item in self.worklist):
            return None
        return _("Draw a slice and mark it as drawn first.")

    # --- the job at work ------------------------------------------------------------------------------------------

    def start(self, text: str, begin: Callable, done: Callable) -> None:
        """Begin a job of the logic and show how far it is.

        Args:
            begin: called with the keyword arguments that make a call of the logic return at once.
            done: called with the result when the job has ended well.
        """

        def ended(result, error) -> None:
            self._ended(error)
            self.refresh()
            if error is not None:
                return
            if self.parameters is None:
                # Another module is shown: what is to be done in the scene waits until this one is shown again.
                self._pending.append(lambda: done(result))
            else:
                self.attempt(lambda: done(result))

        self.require_idle()
        self.ui.progressBar.value = 0
        self.ui.jobLabel.text = text
        self.ui.jobFrame.visible = True
        try:
            begin(waitForCompletion=False, onDone=ended, onProgress=self._show)
        except Exception:
            # Whatever it was is told by whoever called; the bar must not stay.
            self.ui.jobFrame.visible = False
            raise
        self.refresh()

    def do_pending(self) -> None:
        """Do what has waited until the panel is shown."""
        pending, self._pending = self._pending, []
        for action in pending:
            self.attempt(action)

    def forget_scene(self) -> None:
        """The scene goes: nothing of it can be worked on any more."""
        self._pending = []
        self.say("")

    def _show(self, progress: Progress) -> None:
        self.ui.progressBar.value = int(progress.fraction * _PROGRESS_STEPS)
        text = in_users_language(progress.message)
        if progress.seconds_left is not None:
            text += ", " + _("about {time} left").format(time=duration(progress.seconds_left))
        if "loss" in progress.metrics:
            text += ", " + _("loss {loss:.3f}").format(loss=progress.metrics["loss"])
        self.ui.jobLabel.text = text
        self._on_progress(progress)

    def _ended(self, error) -> None:
        self.ui.jobFrame.visible = False
        if isinstance(error, CancelledError):
            self.say(_("Cancelled. What was finished is kept; Continue goes on with a training."))
        elif error is not None:
            self.say(error.message, is_error=True)


def duration(seconds: float) -> str:
    """Seconds as a person would say them: '40 s', '12 min', '2 h 5 min'."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 90:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)
