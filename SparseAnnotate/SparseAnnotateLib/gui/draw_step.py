"""Draw: the worklist, going to a slice, what to start from, and saying that it is drawn."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..core import BadInputError
from .drawing_clock import DrawingClock
from .session import PanelSession, duration
from .step import Step
from .worklist_table import WorklistTable

_STROKE_PAUSE_MS = 250


class DrawStep(Step):
    """Leads from slice to slice. A slice that has been painted is offered as drawn."""

    def __init__(self, session: PanelSession):
        super().__init__(session, session.ui.drawSection)
        self.table = WorklistTable(self.ui.worklistTable, lambda item: session.attempt(lambda: self._go_to(item), True))
        self.clock = DrawingClock()
        self._here = None
        self._mark_before = 0
        self._offered = None
        self._stop_watching = lambda: None
        # A stroke changes the segmentation many times; it is looked at when it has ended.
        self._stroke = qt.QTimer()
        self._stroke.setSingleShot(True)
        self._stroke.setInterval(_STROKE_PAUSE_MS)
        self._stroke.connect("timeout()", lambda: session.attempt(self._look, keep_message=True))
        session.on_click(self.ui.previousButton, lambda: self.table.choose_next(-1))
        session.on_click(self.ui.nextButton, lambda: self.table.choose_next(1))
        session.on_click(self.ui.drawnButton, self.mark_drawn)
        session.on_click(self.ui.emptyButton, lambda: self._mark(self.logic.markEmpty))
        session.on_click(self.ui.skipButton, lambda: self._mark(self.logic.markSkipped))
        session.on_click(self.ui.toDoButton, self._take_back)
        session.on_click(self.ui.startButton, self._start)
        session.on_click(self.ui.offerButton, self._accept)
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
        editor.setMRMLSegmentEditorNode(self.logic.segmentEditorNode())
        editor.setupViewObservations()
        editor.installKeyboardShortcuts()
        self.logic.segmentEditor = editor
        self.clock.go_on()

    def disconnect(self) -> None:
        self.clock.pause()
        self._stroke.stop()
        self._stop_watching()
        self._stop_watching = lambda: None
        self.logic.segmentEditor = None
        self.logic.hideMarkers()
        editor = self.ui.segmentEditorWidget
        # Otherwise a stroke in another module would paint here.
        editor.setActiveEffect(None)
        editor.uninstallKeyboardShortcuts()
        editor.removeViewObservations()

    def forget_scene(self) -> None:
        """The scene goes: no slice of it is worked on any more."""
        self._here = self._offered = None
        self.ui.segmentEditorWidget.setSegmentationNode(None)
        self.ui.segmentEditorWidget.setSourceVolumeNode(None)

    # --- what is shown --------------------------------------------------------------------------------------------

    def summary(self) -> str:
        return self.ui.drawnLabel.text

    def refresh(self) -> None:
        session = self.session
        session.attempt(lambda: self.table.show(self.logic.worklist(session.volumes)), keep_message=True)
        session.attempt(self._show_editor, keep_message=True)
        session.attempt(self._show_effort, keep_message=True)
        session.attempt(self.show_markers, keep_message=True)
        has_items = bool(self.table.items)
        why_none = None if has_items else _("Recommend slices first.")
        chosen = self.table.chosen()
        why_not_chosen = why_none or (None if chosen is not None else _("Choose a slice in the worklist first."))
        for button in (self.ui.previousButton, self.ui.nextButton):
            session.enable(button, why_none)
        for button in (self.ui.drawnButton, self.ui.emptyButton, self.ui.skipButton):
            session.enable(button, why_not_chosen)
        is_to_do = chosen is not None and chosen.state == "to do"
        session.enable(self.ui.toDoButton, why_not_chosen or (_("This slice is still to do.") if is_to_do else None))
        decided = chosen is not None and chosen.state in ("drawn", "empty")
        session.enable(
            self.ui.startButton,
            why_not_chosen or (_("This slice is decided already; mark it 'To do' first.") if decided else None),
        )
        self._show_offer()

    def _show_effort(self) -> None:
        effort = self.session.effort(anew=True)
        if effort.drawn + effort.to_do == 0:
            self.ui.drawnLabel.text = _("No slice has been recommended yet.")
            return
        text = _("{done} of {total} drawn").format(done=effort.drawn, total=effort.drawn + effort.to_do)
        if effort.minutes_left is not None and effort.to_do:
            text += _(", about {time} left").format(time=duration(60 * effort.minutes_left))
        self.ui.drawnLabel.text = text

    def _show_editor(self) -> None:
        """The Segment Editor works on the volume's segmentation; its voxels are watched."""
        volume = self.session.volume
        segmentation = self.logic.drawnIn(volume) if volume is not None else None
        editor = self.ui.segmentEditorWidget
        if editor.segmentationNode() is not segmentation:
            editor.setSegmentationNode(segmentation)
            self._stop_watching()
            self._stop_watching = lambda: None
        if segmentation is not None and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)
        if segmentation is not None:
            self._stop_watching()
            self._stop_watching = self.logic.watchDrawing(segmentation, self._stroke.start)
        self.session.enable(self.ui.editorFrame, None if segmentation is not None else _("Recommend slices first."))

    def show_markers(self) -> None:
        """Show or hide the lines of drawn and recommended slices in the slice views."""
        if self.session.parameters is None:
            return
        volume = self.session.volume
        if self.ui.markersCheckBox.checked and volume is not None:
            self.logic.showMarkers(volume)
        else:
            self.logic.hideMarkers()

    # --- going to slices ------------------------------------------------------------------------------------------

    def _go_to(self, item) -> None:
        self._offer_what_is_left()
        session = self.session
        if item.volumeNode.GetScene() is None:
            raise BadInputError(_("The volume of this slice is no longer in the scene."))
        if session.volume is not item.volumeNode:
            session.parameters.volume = item.volumeNode
        self.logic.jumpToSlice(item.volumeNode, item.plane, item.index)
        self._here = item
        self._mark_before = self.logic.sliceMark(item.volumeNode, item.plane, item.index)
        self.clock.start()
        session.refresh()

    def go_to_next(self) -> None:
        """Go to the next slice that is still to do."""
        if not self.table.choose_next_to_do():
            raise BadInputError(_("No slice is left to do. Recommend more, or fill between the drawn ones."))

    def is_here(self, item) -> bool:
        """True when this slice is the one that was gone to."""
        here = self._here
        return here is not None and (here.volumeNode, here.plane, here.index) == (
            item.volumeNode,
            item.plane,
            item.index,
        )

    def mark_drawn(self) -> None:
        """Say that the chosen slice is drawn, and go to the next one."""
        self._mark(self.logic.markDrawn)

    def _look(self) -> None:
        """After a stroke: offer a slice that has been painted as drawn."""
        self.clock.tick()
        self._offered = self._painted()
        self._show_offer()

    def _painted(self):
        """The slice that has been painted and is not marked: the chosen one, or another one in the slice views."""
        volume, here = self.session.volume, self._here
        # What the module itself has changed is no painting.
        if volume is None or self.logic.canUndo(volume):
            return None
        if here is not None and here.volumeNode is volume and not self._is_decided(here):
            mark = self.logic.sliceMark(volume, here.plane, here.index)
            if mark not in (self._mark_before, 0):
                return here
        for plane in self.session.planes:
            index = self.logic.sliceShown(volume, plane)
            if index is None or (here is not None and (plane, index) == (here.plane, here.index)):
                continue
            item = self.logic.worklistItem(volume, plane, index)
            if not self._is_decided(item) and self.logic.sliceMark(volume, plane, index):
                return item
        return None

    def _offer_what_is_left(self) -> None:
        """When a painted slice is left without a word, it is still offered from where one goes."""
        if self._here is not None and self._here.volumeNode.GetScene() is not None:
            mark = self.logic.sliceMark(self._here.volumeNode, self._here.plane, self._here.index)
            if mark not in (self._mark_before, 0) and not self._is_decided(self._here):
                self._offered = self._here

    def _is_decided(self, item) -> bool:
        return self.logic.sliceState(item.volumeNode, item.plane, item.index) in ("drawn", "empty")

    def _show_offer(self) -> None:
        item = self._offered
        if item is not None and (item.volumeNode.GetScene() is None or self._is_decided(item)):
            item = self._offered = None
        self.ui.offerFrame.visible = item is not None
        if item is not None:
            self.ui.offerLabel.text = _("{plane} slice {index} of '{name}' has been painted.").format(
                plane=item.plane.capitalize(), index=item.index, name=item.volumeNode.GetName()
            )

    def _accept(self) -> None:
        item = self._offered
        if item is None:
            return
        if self.is_here(item):
            self.mark_drawn()
            return
        self.logic.markDrawn(item.volumeNode, item.plane, item.index)
        self.session.refresh()

    # --- saying what a slice is -----------------------------------------------------------------------------------

    def _chosen(self):
        item = self.table.chosen()
        if item is None:
            raise BadInputError(_("Choose a slice in the worklist first."))
        if item.volumeNode.GetScene() is None:
            raise BadInputError(_("The volume of this slice is no longer in the scene."))
        return item

    def _mark(self, mark) -> None:
        item = self._chosen()
        seconds = self.clock.seconds if self.is_here(item) else None
        state = mark(item.volumeNode, item.plane, item.index, seconds)
        self._here = self._offered = None
        self.session.refresh()
        is_more = self.table.choose_next_to_do()
        text = _("{plane} slice {index}: {state}.").format(plane=item.plane.capitalize(), index=item.index, state=state)
        self.session.say(text if is_more else text + " " + _("That was the last one; fill between them, or train."))

    def _take_back(self) -> None:
        item = self._chosen()
        self.logic.markToDo(item.volumeNode, item.plane, item.index)
        self._here = item
        self._mark_before = self.logic.sliceMark(item.volumeNode, item.plane, item.index)
        self.session.refresh()
        self.session.say(
            _("{plane} slice {index} is to do again; what is drawn on it stays.").format(
                plane=item.plane.capitalize(), index=item.index
            )
        )

    def _start(self) -> None:
        item = self._chosen()
        source = self.logic.startSlice(item.volumeNode, item.plane, item.index, self.session.parameters.start)
        # What was put there is no painting yet: it is to be corrected first.
        self._here = item
        self._mark_before = self.logic.sliceMark(item.volumeNode, item.plane, item.index)
        self.session.refresh()
        told = _("Started from {what}: correct it, then press Drawn. Undo takes it back.").format(what=source)
        self.session.say(told if source else _("The slice is empty now. Undo takes it back."))
