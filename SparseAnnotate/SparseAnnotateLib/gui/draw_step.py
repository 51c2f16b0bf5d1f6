"""Draw: the worklist, going to a slice, initializing it, and marking it as drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, CancelledError, SliceState
from .cohort_cases import CohortCases
from .correcting_mode import CorrectingMode
from .drawing_clock import DrawingClock
from .event_loop import later
from .learning_mode import LearningMode
from .painting_watch import PaintingWatch
from .session import PanelSession, duration
from .shown_channel import ShownChannel
from .step import Step
from .structure_menu import StructureMenu
from .words import in_users_language, translated
from .worklist_table import WorklistTable


class DrawStep(Step):
    """Leads from slice to slice. For a slice that has been painted, it offers to mark it as drawn.

    Args:
        cases: the cases of the cohort folder, which are opened when one goes to their slices.
    """

    def __init__(self, session: PanelSession, cases: CohortCases):
        super().__init__(session, session.ui.drawSection)
        self._cases = cases
        self._on_result_changed = lambda: None
        self._corrected: Any = None
        self.table = WorklistTable(self.ui.worklistTable, lambda item: session.attempt(lambda: self._go_to(item), True))
        self.marked_for = StructureMenu(session, self.ui.markedForButton)
        self.shown_channel = ShownChannel(session)
        self.clock = DrawingClock()
        self._here = None
        self._mark_before = 0
        self._offered = None
        self._volume_shown = self._frame_shown = None
        self.painting = PaintingWatch(session, self._stroke_ended)
        self.correcting = CorrectingMode(session, self._switched, self._result_corrected)
        self.learning = LearningMode(session, self._is_untouched, self._show_offer)
        self._mark_text = self.ui.offerButton.text, self.ui.offerButton.toolTip
        self._has_keys = False
        self._stop_following_layers = lambda: None
        self.section.connect("contentsCollapsed(bool)", lambda _folded: self._update_mouse_and_keys())
        session.on_click(self.ui.previousButton, lambda: self.table.choose_next(-1))
        session.on_click(self.ui.nextButton, lambda: self.table.choose_next(1))
        session.on_click(self.ui.drawnButton, self.mark_drawn)
        session.on_click(self.ui.emptyButton, lambda: self._mark(SliceState.EMPTY))
        session.on_click(self.ui.skipButton, lambda: self._mark(SliceState.SKIPPED))
        session.on_click(self.ui.toDoButton, self._clear_status)
        session.on_click(self.ui.startButton, self._start)
        session.on_click(self.ui.offerButton, self._accept)
        session.on_click(self.ui.dismissButton, self.learning.dismiss)
        self.ui.markersCheckBox.connect("toggled(bool)", lambda _on: session.attempt(self.show_markers, True))
        editor = self.ui.segmentEditorWidget
        for name in ("segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible"):
            setattr(editor, name, False)
        editor.switchToSegmentationsButtonVisible = False
        editor.autoShowSourceVolumeNode = False
        editor.undoEnabled = True
        editor.setMaximumNumberOfUndoStates(10)

    # --- entering and leaving -------------------------------------------------------------------------------------

    def connect(self) -> None:
        editor = self.ui.segmentEditorWidget
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setMRMLSegmentEditorNode(self.logic.panel.segment_editor_node())
        editor.setupViewObservations()
        self._update_mouse_and_keys()
        self._stop_following_layers = self.logic.panel.watch_layers(self._place_markers)
        self.logic.panel.use_segment_editor(editor)
        self.painting.connect()
        self.clock.resume()

    def disconnect(self) -> None:
        self.clock.pause()
        self.correcting.switch_off()
        self.session.attempt(lambda: self.learning.show(None), keep_message=True)
        self.painting.disconnect()
        self.logic.panel.use_segment_editor(None)
        self.logic.panel.hide_markers()
        self._stop_following_layers()
        self._stop_following_layers = lambda: None
        self._release_mouse_and_keys()
        self.ui.segmentEditorWidget.removeViewObservations()

    def _update_mouse_and_keys(self) -> None:
        """A Segment Editor that is not visible must neither paint nor react to keys."""
        is_shown = not self.section.collapsed and self.session.parameters is not None
        self.correcting.use_keys(is_shown)
        if not is_shown:
            self._release_mouse_and_keys()
        elif self.correcting.node is not None:
            # Its keys would undo in the editor alone.
            self._release_keys()
        elif not self._has_keys:
            self.ui.segmentEditorWidget.installKeyboardShortcuts()
            self._has_keys = True

    def _release_mouse_and_keys(self) -> None:
        editor = self.ui.segmentEditorWidget
        # An effect stays active when its widget is hidden: the next click in a slice view would paint.
        if editor.activeEffect() is not None:
            editor.setActiveEffect(None)
        self._release_keys()

    def _release_keys(self) -> None:
        if self._has_keys:
            self.ui.segmentEditorWidget.uninstallKeyboardShortcuts()
            self._has_keys = False

    def forget_scene(self) -> None:
        """The scene is being closed: forget its slices."""
        self._here = self._offered = self._corrected = self._volume_shown = self._frame_shown = None
        self.correcting.forget_scene()
        self.learning.forget_scene()
        self.painting.watch(None)
        self.painting.forget_scene()
        self._release_mouse_and_keys()
        # Without a node, the editor does not react to each of the nodes that are removed now.
        self.ui.segmentEditorWidget.setMRMLSegmentEditorNode(None)

    # --- what is shown --------------------------------------------------------------------------------------------

    def summary(self) -> str:
        return self.ui.drawnLabel.text

    def refresh(self) -> None:
        session = self.session
        session.attempt(self._show_worklist, keep_message=True)
        session.attempt(self.correcting.refresh, keep_message=True)
        session.attempt(self.learning.refresh, keep_message=True)
        session.attempt(self._show_editor, keep_message=True)
        session.attempt(self._show_effort, keep_message=True)
        session.attempt(self.show_markers, keep_message=True)
        session.attempt(self.shown_channel.refresh, keep_message=True)
        self.marked_for.offer(self.logic.panel.structures(session.volume))
        has_items = bool(self.table.items)
        why_none = None if has_items else _("Recommend slices first.")
        chosen = self.table.chosen()
        why_not_chosen = why_none or _why_not_chosen(chosen)
        for button in (self.ui.previousButton, self.ui.nextButton):
            session.enable(button, why_none)
        why_correcting = None
        if self.correcting.node is not None:
            # They mark what is drawn, which the editor does not show now.
            why_correcting = _("Switch off 'Correct the answer' to draw slices and mark them.")
        for button in (self.ui.drawnButton, self.ui.emptyButton):
            session.enable(button, why_not_chosen or why_correcting)
        is_to_do = chosen is not None and chosen.state is SliceState.TODO
        session.enable(self.ui.toDoButton, why_not_chosen or (_("This slice is still 'to do'.") if is_to_do else None))
        decided = chosen is not None and chosen.state.is_decided
        for button in (self.ui.skipButton, self.ui.startButton):
            session.enable(
                button,
                why_not_chosen
                or why_correcting
                or (_("This slice is already marked as drawn or empty; click 'To do' first.") if decided else None),
            )
        self._show_offer()

    def _show_worklist(self) -> None:
        """The slices of the volumes, and those to do on cases of the cohort folder that have not been opened."""
        further = self._cases.slices
        items = self.session.worklist
        self.table.show(self.logic.panel.in_order([*items, *further]) if further else items)

    def _show_effort(self) -> None:
        effort = self.session.effort
        if effort.drawn + effort.to_do == 0:
            self.ui.drawnLabel.text = _("No slice has been recommended yet.")
            return
        parts = [_("{done} of {total} drawn").format(done=effort.drawn, total=effort.drawn + effort.to_do)]
        if effort.minutes_left is not None and effort.to_do:
            parts.append(_("about {time} left").format(time=duration(60 * effort.minutes_left)))
        self.ui.drawnLabel.text = ", ".join(parts)

    def _show_editor(self) -> None:
        """Show the volume's segmentation in the Segment Editor, and watch its voxels."""
        volume = self.session.volume
        drawing = self.logic.drawnIn(volume) if volume is not None else None
        segmentation = self.correcting.node or drawing
        editor = self.ui.segmentEditorWidget
        # Let the panel become as narrow as the editor's minimum size, not its preferred size.
        self.ui.editorFrame.minimumWidth = editor.minimumSizeHint.width()
        if editor.segmentationNode() is not segmentation:
            effect = editor.activeEffect()
            effect_name = effect.name if effect is not None else ""
            segment_name = self.logic.panel.segment_name(editor.segmentationNode(), editor.currentSegmentID())
            editor.setSegmentationNode(segmentation)
            self.logic.panel.segment_editor_leaves()
            # The editor accepts no source volume before it has a segmentation.
            if segmentation is not None and editor.segmentationNode() is segmentation:
                editor.setSourceVolumeNode(volume)
                # Keep the same effect and segment when the user moves on to another volume.
                segment_id = self.logic.panel.segment_id(segmentation, segment_name)
                if segment_id:
                    editor.setCurrentSegmentID(segment_id)
                if effect_name and not self.section.collapsed:
                    editor.setActiveEffectByName(effect_name)
        is_ready = segmentation is not None and editor.segmentationNode() is segmentation
        if is_ready and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)
        self.painting.watch(drawing if segmentation is drawing else None)
        frame = self.logic.panel.frame_shown(volume) if volume is not None else None
        if volume is not self._volume_shown:
            self._volume_shown, self._frame_shown = volume, frame
            self.logic.panel.show_only_volume(volume, self.session.all_volumes)
            self.show_volume()
        elif frame != self._frame_shown:
            self._frame_shown = frame
            self._leave_frame(volume, frame)
        self.session.enable(self.ui.editorFrame, None if segmentation is not None else _("Recommend slices first."))

    def follow_frame(self) -> None:
        """The active volume shows another frame: show the drawing of that one, so that strokes belong to it."""
        self.correcting.refresh()
        self._show_editor()

    def _leave_frame(self, volume, frame) -> None:
        """The active volume has come to show another frame, which is another case: show nothing of the last one."""
        self._here = self._offered = self._corrected = None
        self.logic.panel.show_only_volume(volume, self.session.all_volumes)
        problem = self.logic.panel.why_no_case(volume)
        if problem is not None:
            self.session.say(problem, is_error=True)
        elif frame is not None:
            text = _("'{volume}' now shows the {frame}. Each frame is a case with a worklist and a drawing of its own.")
            self.session.say(text.format(volume=volume.GetName(), frame=in_users_language(str(frame))))
        else:
            text = _("'{volume}' no longer shows a frame of a sequence. Its worklist and drawing are its own again.")
            self.session.say(text.format(volume=volume.GetName()))

    def show_volume(self) -> None:
        """Show the active volume in the slice views."""
        if self.session.volume is not None:
            self.logic.panel.show_volume(self.session.volume)

    def _place_markers(self) -> None:
        """Update the markers after a slice view has changed its volume."""
        if self.session.volume is not None:
            self.session.attempt(lambda: self.logic.panel.place_markers(self.session.volume), keep_message=True)

    def show_markers(self) -> None:
        """Show or hide the lines of drawn and recommended slices in the slice views that show the volume."""
        if self.session.parameters is None:
            return
        volume = self.session.volume
        if self.ui.markersCheckBox.checked and volume is not None:
            self.logic.showMarkers(volume)
        else:
            self.logic.panel.hide_markers()

    # --- going to slices ------------------------------------------------------------------------------------------

    def _go_to(self, item) -> None:
        self.session.attempt(self.offer_what_is_left, keep_message=True)
        session = self.session
        if item.case:
            self._cases.open_case(item.case, lambda volume: self._go_on_with(volume, item))
            return
        self._require_current(item)
        outdated = [in_users_language(why(item)) for why in (self._grid_message, self._frame_message)]
        if self.ui.messageLabel.text in outdated:
            session.say("")
        if session.volume is not item.volumeNode:
            session.parameters.volume = item.volumeNode
        self.logic.jumpToSlice(item.volumeNode, item.plane, item.index)
        self._here = item
        self._mark_before = self.logic.panel.slice_mark(item.volumeNode, item.plane, item.index)
        self.painting.remember()
        self.clock.start()
        self.learning.go_to(item)
        session.refresh()

    def _go_on_with(self, volume, item) -> None:
        """Go to a slice of a case that has just been opened; elsewhere, it may have been drawn meanwhile."""
        if not self.table.choose_slice(volume, item.plane, item.index):
            self.table.choose_first_to_do(volume)

    def go_to_first(self, volume=None) -> None:
        """Show the worklist; then, from the event loop, go to its first slice to do, of `volume` if it has one."""
        # The table first: going to the slice shows everything else, and with hundreds of volumes each takes a moment.
        self.session.invalidate_cache()
        self.session.attempt(self._show_worklist, keep_message=True)
        later(lambda: self._go_to_first(volume))

    def _go_to_first(self, volume) -> None:
        if self.session.parameters is None:
            return  # another module is shown, or the scene was closed
        before = self._here
        self.table.choose_first_to_do(volume)
        if self._here is before:
            self.session.refresh()

    def go_to_next(self) -> None:
        """Go to the next slice that is still to do."""
        held = self._cases.held_elsewhere()
        if not self.table.choose_next_to_do(held):
            if held:
                raise BadInputError(self._cases.held_sentence(held))
            raise BadInputError(_("No slices are left to draw. Recommend more, or fill between the drawn ones."))

    def is_here(self, item) -> bool:
        """True if this is the slice that the user went to last."""
        return self._here is not None and _is_same(self._here, item)

    def mark_drawn(self) -> None:
        """Mark the selected slice as drawn, and go to the next one."""
        self._mark(SliceState.DRAWN)

    def _stroke_ended(self, painted) -> None:
        """Offer to mark a slice as drawn after it has been painted."""
        self.clock.tick()
        self._offered = painted or self._offered
        self._show_offer()

    def _switched(self) -> None:
        self._update_mouse_and_keys()
        self.refresh()

    def follow_results(self, on_result_changed: Callable[[], None]) -> None:
        """Call `on_result_changed` whenever a correction has changed the result."""
        self._on_result_changed = on_result_changed

    def _result_corrected(self, slices: dict[str, int]) -> None:
        """Offer to mark a corrected slice as drawn."""
        volume = self.session.volume
        planes = self.session.planes or list(slices)
        shown = [plane for plane in planes if slices.get(plane) == self.logic.panel.slice_shown(volume, plane)]
        plane = next(iter([*shown, *planes]), None)
        self._corrected = None
        if plane is not None and plane in slices:
            item = self.logic.panel.worklist_item(volume, plane, slices[plane])
            self._corrected = None if item.state.is_decided else item
        self._on_result_changed()
        self._show_offer()

    def offer_what_is_left(self) -> None:
        """When the user leaves a painted slice without marking it, keep offering to mark it."""
        if self._here is not None and self._here.isCurrent:
            if self._is_painted(self._here) and not self._is_decided(self._here):
                self._offered = self._here
            self._show_offer()

    def _is_painted(self, item) -> bool:
        """False if the slice is empty, or as it was when the user went to it (painting was undone)."""
        before = self._mark_before if self.is_here(item) else 0
        return self.logic.panel.slice_mark(item.volumeNode, item.plane, item.index) not in (before, 0)

    def _is_untouched(self, item) -> bool:
        """True while the user is at a slice that is not decided, and has not changed it since."""
        if not self.is_here(item) or self.correcting.node is not None or self._is_decided(item):
            return False
        return self.logic.panel.slice_mark(item.volumeNode, item.plane, item.index) == self._mark_before

    def _is_decided(self, item) -> bool:
        state = self.logic.panel.slice_state(item.volumeNode, item.plane, item.index)
        return state is not None and state.is_decided

    def _show_offer(self) -> None:
        self.ui.offerButton.text, self.ui.offerButton.toolTip = self._mark_text
        corrected = self._corrected
        is_elsewhere = corrected is not None and corrected.volumeNode is not self.session.volume
        if self.correcting.node is None or is_elsewhere or (corrected is not None and not corrected.isCurrent):
            corrected = self._corrected = None
        if corrected is not None:
            self._show_suggestion(None)
            self.ui.offerFrame.visible = True
            self.ui.offerLabel.text = _("{plane} slice {index} has been corrected. Is all of it right now?").format(
                plane=translated(corrected.plane).capitalize(), index=corrected.index
            )
            return
        item = self._offered
        if item is not None and (not item.isCurrent or self._is_decided(item) or not self._is_painted(item)):
            item = self._offered = None
        suggestion = self.learning.suggestion() if item is None else None
        self._show_suggestion(suggestion)
        self.ui.offerFrame.visible = item is not None or suggestion is not None
        if suggestion is not None:
            self.ui.offerLabel.text = self.learning.sentence(suggestion)
            self.ui.offerButton.text = _("Use it")
            self.ui.offerButton.toolTip = _(
                "Put the suggestion into the drawing, to be corrected there. Undo reverts it."
            )
        if item is not None:
            self.ui.offerLabel.text = _("{plane} slice {index} of '{name}' has been painted.").format(
                plane=translated(item.plane).capitalize(), index=item.index, name=item.volumeNode.GetName()
            )

    def _show_suggestion(self, suggestion) -> None:
        """Show a suggestion in the slice views before it is used, or none."""
        self.ui.dismissButton.visible = suggestion is not None
        if self.session.parameters is not None:
            self.session.attempt(lambda: self.learning.show(suggestion), keep_message=True)

    def _accept(self) -> None:
        if self._corrected is not None:
            self._mark_corrected()
            return
        item = self._offered
        if item is None:
            if self.learning.suggestion() is not None:
                self._initialized(self._here, self.learning.use())
            return
        if self.is_here(item):
            self.mark_drawn()
            return
        self._require_current(item)
        self._mark_as_drawn(item)
        self.session.refresh()

    def _mark_as_drawn(self, item) -> None:
        chosen = self.marked_for.chosen()
        self.logic.panel.mark(item.volumeNode, item.plane, item.index, SliceState.DRAWN, None, chosen)

    def _mark_corrected(self) -> None:
        """Copy a corrected slice into the drawing, and mark it as drawn."""
        item, node = self._corrected, self.correcting.node
        self._require_current(item)
        self.correcting.take()
        self.logic.panel.draw_as_corrected(item.volumeNode, node, item.plane, item.index)
        self._mark_as_drawn(item)
        self._corrected = None
        self.session.refresh()
        self.session.say(
            _("{plane} slice {index}: drawn, as the answer shows it.").format(
                plane=translated(item.plane).capitalize(), index=item.index
            )
        )

    # --- marking slices ------------------------------------------------------------------------------------------

    def _chosen(self):
        item = self.table.chosen()
        why_not = _why_not_chosen(item)
        if why_not is not None:
            raise BadInputError(why_not)
        self._require_current(item)
        return item

    def _require_current(self, item) -> None:
        """Raise BadInputError, and show the slices as they are now, when the item may name another slice by now."""
        if item.isCurrent:
            return
        if item.volumeNode.GetScene() is None:
            raise BadInputError(_("The volume of this slice is no longer in the scene."))
        is_of_other_frame = item.isOfOtherFrame
        self.session.refresh()
        raise BadInputError(self._frame_message(item) if is_of_other_frame else self._grid_message(item))

    @staticmethod
    def _frame_message(item) -> str:
        return _(
            "'{volume}' shows another frame now than the one of this slice, so nothing was changed. Each frame is a "
            "case of its own. The worklist is up to date again: select a slice of this frame, or go back to the other "
            "frame."
        ).format(volume=item.volumeNode.GetName())

    @staticmethod
    def _grid_message(item) -> str:
        return _(
            "'{volume}' has another voxel grid now, so its slices may be numbered differently. Nothing was "
            "changed. The worklist is up to date again: select the slice once more."
        ).format(volume=item.volumeNode.GetName())

    def _mark(self, wanted: SliceState) -> None:
        item = self._chosen()
        shown = self.logic.panel.slice_shown(item.volumeNode, item.plane)
        if shown not in (None, item.index) and wanted is not SliceState.SKIPPED:
            raise BadInputError(
                _(
                    "The slice view shows {plane} slice {shown}, but slice {index} is selected in the worklist, so "
                    "nothing was marked. Click the slice in the worklist to go back to it."
                ).format(plane=translated(item.plane), shown=shown, index=item.index)
            )
        seconds = self.clock.seconds if self.is_here(item) else None
        state = self.logic.panel.mark(
            item.volumeNode, item.plane, item.index, wanted, seconds, self.marked_for.chosen()
        )
        self.clock.start()
        if self._offered is not None and _is_same(self._offered, item):
            self._offered = None
        self._here = None
        # The table first: going to the next slice shows everything else.
        self.session.invalidate_cache()
        self.session.attempt(self._show_worklist, keep_message=True)
        with self.session.keeping_ledgers():
            held = self._cases.held_elsewhere()
            is_more = self.table.choose_next_to_do(held)
            if self._here is None:
                self.session.refresh()
        text = _("{plane} slice {index}: {state}.").format(
            plane=translated(item.plane).capitalize(), index=item.index, state=translated(state)
        )
        last = _("That was the last one. Fill between the drawn slices, or train a model.")
        self.session.say(text if is_more else text + " " + (self._cases.held_sentence(held) if held else last))

    def _clear_status(self) -> None:
        item = self._chosen()
        self.logic.panel.mark(item.volumeNode, item.plane, item.index, SliceState.TODO, None)
        self._here = item
        self._mark_before = self.logic.panel.slice_mark(item.volumeNode, item.plane, item.index)
        self.clock.start()
        self.session.refresh()
        self.session.say(
            _("{plane} slice {index}: reset to 'to do'; your drawing is kept.").format(
                plane=translated(item.plane).capitalize(), index=item.index
            )
        )

    def _start(self) -> None:
        item, start = self._chosen(), self.session.parameters.start
        if self.logic.panel.starts_from_result(start) and self.logic.panel.is_following(item.volumeNode):
            # The window must not wait for it.
            self.session.say(_("The slice is initialized when the result has followed from the correction ..."))
            before = self._place_and_mark(item)
            self.logic.panel.when_followed(
                item.volumeNode,
                lambda error: self.session.attempt(lambda: self._start_followed(item, start, before, error), True),
            )
            return
        self._initialized(item, self.logic.startSlice(item.volumeNode, item.plane, item.index, start))

    def _place_and_mark(self, item) -> tuple:
        """Where the slices of a volume lie, and a checksum of what is drawn on one of them."""
        volume = item.volumeNode
        return self.logic.panel.grid(volume), self.logic.panel.slice_mark(volume, item.plane, item.index)

    def _start_followed(self, item, start: str, before: tuple, error) -> None:
        """The result has followed: initialize the slice, unless the user has gone on to another one, or drawn on it.

        `before`: `_place_and_mark` of the slice when this was asked for.
        """
        if isinstance(error, CancelledError):
            return  # which has been said
        if error is not None:
            raise error
        if self.session.parameters is None or item.volumeNode.GetScene() is None:
            return
        chosen = self.table.chosen()
        if chosen is None or not _is_same(chosen, item):
            why = _("{plane} slice {index} was not initialized, because another slice was selected meanwhile.")
        else:
            why = self._why_not_as_before(item, before)
        if why:
            self.session.say(why.format(plane=translated(item.plane).capitalize(), index=item.index))
            return
        self._initialized(item, self.logic.startSlice(item.volumeNode, item.plane, item.index, start))

    def _why_not_as_before(self, item, before: tuple) -> str:
        """Why a slice is not the one of before, or has other contents; '' if it is the same."""
        if item.isOfOtherFrame:
            return _("{plane} slice {index} was not initialized, because the volume shows another frame now.")
        grid, mark = self._place_and_mark(item)
        if grid != before[0]:
            return _(
                "{plane} slice {index} was not initialized, because the volume has got another grid meanwhile, so that "
                "this may be another slice. Select the slice again."
            )
        if mark != before[1]:
            return _(
                "{plane} slice {index} was not initialized, because it was drawn on meanwhile. Click 'Initialize "
                "slice' again to replace what is drawn on it."
            )
        return ""

    def _initialized(self, item, source: str) -> None:
        # This does not count as painting yet: the user corrects it first.
        self._here = item
        self._mark_before = self.logic.panel.slice_mark(item.volumeNode, item.plane, item.index)
        self.session.refresh()
        message = _("Initialized from {source}. Correct it, then click Drawn. Undo reverts it.")
        if source:
            self.session.say(message.format(source=translated(source)))
        else:
            self.session.say(_("The slice is empty now. Undo reverts it."))


def _why_not_chosen(item) -> str | None:
    """Why the selected row of the worklist is no slice to work on, as a message; None if it is one."""
    if item is None:
        return _("Select a slice in the worklist first.")
    if item.case:
        return _("The case '{case}' is not open. Click its row again to open it.").format(case=item.case)
    return None


def _is_same(one, other) -> bool:
    """True when two items of the worklist are the same slice."""
    places = [(item.volumeNode, item.plane, item.index, item.grid, item.frame) for item in (one, other)]
    return places[0] == places[1]
