"""What the steps of the panel share: the logic, the parameters, the volumes, messages, and the current job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, Progress, SparseAnnotateError
from ..core.failed_cases import PartlyDoneError
from ..core.messages import joined
from ..core.permissions import forbidden_files_named
from .words import in_users_language

_PROGRESS_STEPS = 1000
ERROR_STYLE, NOTE_STYLE = "color: #d64541;", "color: #b06f00;"


class PanelSession:
    """One instance shared by all steps.

    Args:
        ui: the widgets of the .ui file by name. logic: a SparseAnnotateLogic.
        refresh: shows the state of the scene in all steps.
        refresh_soon: refreshes once, after all pending changes.
        on_progress: called with the progress of a job, so that steps can show more than the progress bar does.
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
        self._effort = self._cohort = self._earlier = None
        self._runs: list | None = None
        self._answers: dict[tuple, Any] | None = None
        self._is_keeping_ledgers = self._is_error = False
        self._pending: list[Callable[[], None]] = []
        ui.progressBar.maximum = _PROGRESS_STEPS
        ui.jobFrame.visible = False

    # --- volumes --------------------------------------------------------------------------------------------------

    @property
    def volume(self):
        """The active volume; None if there is none."""
        node = self.parameters.volume if self.parameters is not None else None
        return node if node is not None and node.GetScene() is not None else None

    @property
    def volumes(self) -> list:
        """The volumes of the cohort: the checked ones, and always the active one."""
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
        """Read ledgers and runs again at the next access, because the scene or the cohort folder may have changed."""
        self._runs = None
        if not self._is_keeping_ledgers:
            self._effort = self._cohort = None

    @contextmanager
    def keeping_ledgers(self) -> Iterator[None]:
        """Context of what only goes to another slice, just after the ledgers were read: they are not read once more."""
        was, self._is_keeping_ledgers = self._is_keeping_ledgers, True
        try:
            yield
        finally:
            self._is_keeping_ledgers = was

    @property
    def runs(self) -> list:
        """The runs in the cohort folder, oldest first; none, with a message, when they cannot be read."""
        if self._runs is None:
            found: list = []
            self.attempt(lambda: found.extend(self.logic.panel.run_summaries()), keep_message=True)
            self._runs = found
        return self._runs

    def cohort_worklist(self):
        """The worklist of the cohort, the volumes with a readable ledger, and the problems of the others."""
        if self._cohort is None:
            self._cohort = self._earlier = self.logic.panel.readable_worklist(self.volumes, self._earlier)
        return self._cohort

    @property
    def problems(self) -> list[str]:
        """A sentence for each ledger of the cohort that cannot be read."""
        return self.cohort_worklist().problems

    @property
    def effort(self):
        """Slices and time spent on drawing so far."""
        if self._effort is None:
            cohort, plane = self.cohort_worklist(), (self.planes or ["axial"])[0]
            self._effort = self.logic.panel.effort(cohort, plane)
        return self._effort

    @property
    def worklist(self) -> list:
        """The worklist of the cohort."""
        return self.cohort_worklist().items

    def latest_result(self, of_run: bool | None = None):
        """The latest fill, or result of a model, of the active volume, or of either kind; None if there is none."""
        volume = self.volume
        if volume is None:
            return None
        return self._asked_once(("result", of_run), lambda: self.logic.panel.latest_result(volume, of_run))

    @property
    def all_volumes(self) -> list:
        """The volumes of the scene that can be drawn on, checked or not."""
        return list(self._asked_once(("volumes",), self.logic.panel.volumes))

    @contextmanager
    def asking_once(self) -> Iterator[None]:
        """Context of what only shows the scene: what several steps ask of all nodes is asked once."""
        self._answers = {}
        try:
            yield
        finally:
            self._answers = None

    def _asked_once(self, what: tuple, ask: Callable[[], Any]) -> Any:
        if self._answers is None:
            return ask()
        # While it is shown, another volume may be chosen, and an overlay be made.
        key = what, self.volume, slicer.mrmlScene.GetNumberOfNodes()
        if key not in self._answers:
            self._answers[key] = ask()
        return self._answers[key]

    # --- messages -------------------------------------------------------------------------------------------------

    def say(self, text: str, is_error: bool = False, notes: Sequence[str] = ()) -> None:
        """Show a message at the top of the panel and in Slicer's status bar.

        Args:
            is_error: nothing of what was asked for was done.
            notes: sentences to heed although it was done, perhaps not for all cases; shown after `text`, if any.
        """
        text = in_users_language(joined(" ", filter(None, [text, *notes])))
        self.ui.messageLabel.text = text
        self.ui.messageLabel.styleSheet = ERROR_STYLE if is_error else NOTE_STYLE if notes else ""
        self._is_error = is_error
        self.ui.messageLabel.visible = bool(text)
        if text:
            slicer.util.showStatusMessage(text, 10000)

    def say_error(self, error: SparseAnnotateError) -> None:
        """Show what went wrong; where it did so for some cases only, as a note on what was done."""
        if isinstance(error, PartlyDoneError):
            self.say("", notes=[error.message])
        else:
            self.say(error.message, is_error=True)

    def add_note(self, note: str) -> None:
        """Add a sentence to heed to the message that is shown; an error stays one."""
        self.say(self.ui.messageLabel.text, is_error=self._is_error, notes=[note])

    def attempt(self, action: Callable[[], object], keep_message: bool = False) -> None:
        """Run an action; expected errors are shown in the panel, all others by Slicer."""
        if not keep_message:
            self.say("")
        with slicer.util.tryWithErrorDisplay(_("An unexpected error occurred in SparseAnnotate.")):
            try:
                with forbidden_files_named():
                    action()
            except SparseAnnotateError as error:
                self.say_error(error)

    def on_click(self, button, action: Callable[[], None]) -> None:
        """Run an action through `attempt` when a button is clicked."""
        button.connect("clicked()", lambda: self.attempt(action))

    def enable(self, widget, why_not: str | None) -> None:
        """Enable a widget, or disable it and give the reason in its tooltip."""
        help_text = widget.property("helpText")
        if help_text is None:
            help_text = widget.toolTip
            widget.setProperty("helpText", help_text)
        widget.enabled = not why_not
        widget.toolTip = in_users_language(why_not or help_text)

    @property
    def why_busy(self) -> str | None:
        """A sentence on why no other job can be started now; None if one can."""
        return _("Another task is running. Wait until it has finished, or cancel it.") if self.logic.isBusy else None

    def require_idle(self) -> None:
        """Raise BadInputError if a job is running."""
        if self.logic.isBusy:
            raise BadInputError(self.why_busy)

    @property
    def why_no_volume(self) -> str | None:
        """A sentence on what to do if there is no active volume; None if there is one."""
        return _("First load a volume, or check one in the list.") if self.volume is None else None

    def why_nothing_drawn(self, volumes: list) -> str | None:
        """A sentence on what to do if the volumes have no drawn slices; None if they have some."""
        if any(item.state.is_decided and item.volumeNode in volumes for item in self.worklist):
            return None
        return _("Draw a slice and mark it as drawn first.")

    # --- the current job ------------------------------------------------------------------------------------------

    def start(
        self,
        text: str,
        begin: Callable,
        done: Callable,
        failed: Callable | None = None,
        shows_all: bool = False,
        after_cancel: str = "",
    ) -> None:
        """Start a job of the logic and show its progress.

        Args:
            begin: called with the keyword arguments that make a call of the logic return immediately.
            done: called with the result when the job has succeeded.
            failed: called with the error when it has failed, but was not cancelled; None: the error is shown.
            shows_all: `done` shows the state of the scene, so that it need not be shown before.
            after_cancel: what to do when it was cancelled.
        """

        def ended(result, error) -> None:
            self._ended(error, after_cancel)
            if error is not None or not shows_all:
                self.refresh()
            if error is not None and (failed is None or isinstance(error, CancelledError)):
                return

            def go_on() -> None:
                if error is None:
                    done(result)
                elif failed is not None:
                    failed(error)

            self.when_shown(go_on)

        self.require_idle()
        self.ui.progressBar.value = 0
        self.ui.jobLabel.text = text
        self.ui.jobFrame.visible = True
        try:
            begin(waitForCompletion=False, onDone=ended, onProgress=self._show)
        except SparseAnnotateError as error:
            self.ui.jobFrame.visible = False
            if failed is None:
                raise
            failed(error)
        except Exception:
            # The caller reports the error; only the progress bar must be hidden.
            self.ui.jobFrame.visible = False
            raise
        self.refresh()

    def when_shown(self, action: Callable[[], None]) -> None:
        """Perform an action, but not while another module is shown: then it waits until this one is shown again."""
        if self.parameters is None:
            self._pending.append(action)
        else:
            self.attempt(action)

    def do_pending(self) -> None:
        """Perform the actions that waited until the panel was shown."""
        pending, self._pending = self._pending, []
        for action in pending:
            self.attempt(action)

    def forget_scene(self) -> None:
        """The scene is being closed: forget everything that belongs to it."""
        self._pending = []
        self._cohort = self._earlier = self._effort = None
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

    def _ended(self, error, after_cancel: str) -> None:
        self.ui.jobFrame.visible = False
        if isinstance(error, CancelledError):
            what = [_("Cancelled. Finished work is kept."), after_cancel]
            self.say(joined(" ", [sentence for sentence in what if sentence]))
        elif error is not None:
            self.say_error(error)


def duration(seconds: float) -> str:
    """A duration as text: '40 s', '12 min', '2 h 5 min'."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 90:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)
