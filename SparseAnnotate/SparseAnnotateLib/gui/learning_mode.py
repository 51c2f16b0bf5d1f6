"""Learn while I draw: a model learns in the background, and suggests a drawing for the slice that the user goes to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, Progress, SparseAnnotateError
from ..core.messages import joined
from ..core.progress import STEP
from .session import PanelSession
from .words import in_users_language, translated

_FEWEST_STEPS = 100  # before them a model finds nothing, or everything
_ASK_EVERY = 3.0  # seconds, while the user looks at a slice: the model gets better meanwhile


class LearningMode:
    """The switch for learning while slices are drawn, and what the model suggests for the slice at hand.

    Args:
        is_open: whether a suggestion for this item of the worklist is of use: the user is there and has not painted.
        on_suggested: called when there is another suggestion, or none any more.
    """

    def __init__(self, session: PanelSession, is_open: Callable[[Any], bool], on_suggested: Callable[[], None]):
        self._session, self._logic, self._ui = session, session.logic, session.ui
        self._is_open, self._on_suggested = is_open, on_suggested
        self._item: Any = None
        self._suggestion: Any = None
        self._shown: Any = None  # the suggestion that the slice views show
        self._is_asking = self._is_switching = self._is_restarting = False
        self._asked_at = self._steps = 0.0
        self._problem = ""
        self._status = ""
        self._scene = 0  # counts scenes, so that answers for a closed one are recognised
        self._has_begun = False
        self._ui.learnCheckBox.connect("toggled(bool)", lambda _on: session.attempt(self._toggled))

    def refresh(self) -> None:
        """Begin with the first drawn slice, and hand on what has been drawn since."""
        session, ui = self._session, self._ui
        session.enable(ui.learnCheckBox, session.why_no_volume)
        if self._logic.panel.is_learning:
            self._logic.panel.hand_on_drawn_slices()
            if self._has_begun and not self._logic.panel.are_learned_from(session.volumes, session.volume):
                self._restart()
        elif ui.learnCheckBox.checked and session.volume is not None:
            if session.why_nothing_drawn(session.volumes):
                self._status = _("begins with the first drawn slice")
            else:
                self._start()
        self._show_status()

    def go_to(self, item) -> None:
        """The user has gone to a slice: ask what the model finds there."""
        self._item, self._suggestion, self._asked_at, self._problem = item, None, 0.0, ""
        self._ask()

    def suggestion(self):
        """What the model suggests for the slice at hand; None if there is nothing, or it is of no use any more."""
        found, item = self._suggestion, self._item
        if found is None or item is None or item.volumeNode.GetScene() is None or not self._is_open(item):
            return None
        if not self._logic.panel.is_suggestion_current(found):
            # Another image or frame: what was found on the other one is of no use here.
            self._suggestion, self._asked_at = None, 0.0
            return None
        return found

    def sentence(self, suggestion) -> str:
        """What to tell the user of a suggestion."""
        text = _("The model suggests a drawing for {plane} slice {index}.").format(
            plane=translated(suggestion.plane), index=suggestion.index
        )
        return joined(" ", [text, in_users_language(suggestion.summary)])

    def show(self, suggestion) -> None:
        """Show a suggestion over its slice in the slice views, unless that has been done; None: none any more."""
        if suggestion is self._shown:
            return
        if self._shown is not None:
            # First of all: showing the next one may fail.
            self._logic.showSuggestion(None)
            self._shown = None
        if suggestion is not None:
            self._logic.showSuggestion(suggestion)
            self._shown = suggestion

    def dismiss(self) -> None:
        """Suggest nothing more for the slice at hand."""
        self._item = self._suggestion = None
        self._on_suggested()

    def use(self) -> str:
        """Put the suggestion into the drawing; returns where it comes from."""
        found = self.suggestion()
        if found is None:
            raise BadInputError(_("There is no suggestion for this slice any more."))
        self._suggestion = None
        return self._logic.useSuggestion(found)

    def forget_scene(self) -> None:
        """The scene is being closed; the logic stops the learning."""
        self._scene += 1
        self._item = self._suggestion = self._shown = None
        self._status = ""
        self._check(False)

    # --- learning -------------------------------------------------------------------------------------------------

    def _toggled(self) -> None:
        if self._is_switching:
            return
        self._status = ""
        if self._logic.panel.is_learning:
            # Checked again before it has stopped: then it is continued.
            self._is_restarting = bool(self._ui.learnCheckBox.checked)
            self._status = _("stopping ...")
            self._logic.stopLearning()
        self.refresh()

    def _restart(self) -> None:
        """Learn from further volumes, too: the run is continued with them."""
        if self._ui.learnCheckBox.checked and not self._is_restarting:
            self._is_restarting = True
            self._logic.stopLearning()

    def _start(self) -> None:
        session, scene = self._session, self._scene
        if session.parameters.learningFolder != str(self._logic.cohortFolder):
            # A run of this name there is another one.
            session.parameters.learningFolder, session.parameters.learningRun = str(self._logic.cohortFolder), ""
        self._has_begun, self._steps = False, 0.0
        self._status = _("starting ...")
        try:
            session.parameters.learningRun = self._logic.learnWhileDrawing(
                session.volumes,
                session.parameters.learningRun,
                device=session.parameters.device,
                onDone=lambda result, error: self._ended(scene, result, error),
                onProgress=lambda progress: self._show_progress(scene, progress),
            )
        except Exception:
            self._status = ""
            self._check(False)
            raise

    def _show_progress(self, scene: int, progress: Progress) -> None:
        if scene != self._scene:
            return
        self._has_begun = self._has_begun or bool(progress.metrics)
        self._steps = progress.metrics.get(STEP, self._steps)
        if self._ui.learnCheckBox.checked:
            self._status = in_users_language(progress.message)
            self._show_status()
        if self._suggestion is not None and self.suggestion() is None and self._session.parameters is not None:
            # For example, a sequence shows another frame.
            self._on_suggested()
        self._ask()

    def _ended(self, scene: int, run: Any, error) -> None:
        is_restarting, self._is_restarting = self._is_restarting, False
        if scene != self._scene:
            # Another scene has been opened meanwhile; it may be waiting for this one to end.
            self._session.refresh_soon()
            return
        self._status, self._suggestion = "", None
        has_failed = error is not None and not isinstance(error, CancelledError)
        self._check(is_restarting and not has_failed)
        self._show_status()
        self._on_suggested()
        if self._session.parameters is None:
            return
        if self._ui.learnCheckBox.checked:
            self._session.refresh()
            return
        if not has_failed:
            self._session.refresh()
            text = _("'{run}' has stopped learning. Check 'Learn while I draw' to continue it.")
            self._session.say(text.format(run=self._session.parameters.learningRun))
            return
        if not self._has_begun:
            # It cannot be continued: the next time another one begins.
            self._session.parameters.learningRun = ""
        self._session.say(error.message, is_error=True)

    def _ask(self) -> None:
        """Ask for the slice at hand, unless an answer is awaited."""
        item, scene = self._item, self._scene
        is_due = time.monotonic() - self._asked_at > _ASK_EVERY
        is_shown = item is not None and self._session.parameters is not None
        if not is_shown or self._is_asking or not is_due or self._steps < _FEWEST_STEPS:
            return
        if item.volumeNode.GetScene() is None or not self._logic.panel.is_learning or not self._is_open(item):
            return
        self._asked_at = time.monotonic()

        def answered(suggestion, error) -> None:
            self._is_asking = False
            if scene != self._scene or self._session.parameters is None or self._item is None:
                return
            if item is not self._item:
                # The user has gone on.
                self._ask()
            elif error is not None:
                self._tell(error)
            else:
                self._suggestion = suggestion
                self._session.attempt(self._on_suggested, keep_message=True)

        self._is_asking = True
        try:
            self._logic.suggestSlice(
                item.volumeNode,
                item.plane,
                item.index,
                device=self._session.parameters.device,
                waitForCompletion=False,
                onDone=answered,
            )
        except SparseAnnotateError as error:
            self._is_asking = False
            self._tell(error)

    def _tell(self, error: SparseAnnotateError) -> None:
        """Say why there is no suggestion for the slice at hand, once."""
        if error.message != self._problem and not isinstance(error, CancelledError):
            self._problem = error.message
            self._session.say(error.message, is_error=True)

    def _show_status(self) -> None:
        self._ui.learningLabel.text = self._status if self._ui.learnCheckBox.checked or self._status else ""

    def _check(self, checked: bool) -> None:
        was, self._is_switching = self._is_switching, True
        self._ui.learnCheckBox.checked = checked
        self._is_switching = was
