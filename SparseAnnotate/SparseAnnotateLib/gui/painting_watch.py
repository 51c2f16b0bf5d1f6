"""Detects which slice the user has just painted."""

from __future__ import annotations

from collections.abc import Callable

import qt

from .session import PanelSession

_STROKE_PAUSE_MS = 250
_SCROLL_PAUSE_MS = 100


class PaintingWatch:
    """Compares the slices shown in the slice views before and after each stroke.

    A stroke changes many voxels of the painted slice, and one line of voxels of each slice that crosses it: the slice
    that changed most was painted. Changes made by the module itself do not count.

    Args:
        on_stroke: called when a stroke has ended, with the painted slice as an item of the worklist; None if no slice
            was painted, or the slice is already marked as drawn or empty.
    """

    def __init__(self, session: PanelSession, on_stroke: Callable):
        self._session, self._logic, self._on_stroke = session, session.logic, on_stroke
        self._seen: dict[tuple, dict] = {}
        self._stop_watching, self._watched = (lambda: None), None
        self._stop_following = lambda: None
        # A stroke changes the segmentation many times; the slices are compared when it has ended.
        self._stroke = self._timer(_STROKE_PAUSE_MS, self._check)
        # After scrolling: what is already on the slice is not new painting.
        self._scrolled = self._timer(_SCROLL_PAUSE_MS, lambda: self.remember(replace=False))

    @property
    def is_waiting(self) -> bool:
        """True while a change has not been checked yet."""
        return self._stroke.active or self._scrolled.active

    def connect(self) -> None:
        """Start following the slice views, when the panel is shown."""
        self._stop_following = self._logic.panel.watch_views(self._scrolled.start)

    def disconnect(self) -> None:
        """Stop watching, when the panel is left."""
        self._stroke.stop()
        self._scrolled.stop()
        self.watch(None)
        self._stop_following()
        self._stop_following = lambda: None

    def forget_scene(self) -> None:
        """The scene is being closed: forget its slices."""
        self._seen = {}

    def watch(self, segmentation) -> None:
        """Watch this segmentation from now on; None: watch none."""
        if segmentation is self._watched:
            return
        self._stop_watching()
        self._stop_watching, self._watched = (lambda: None), segmentation
        if segmentation is not None:
            self._stop_watching = self._logic.panel.watch_drawing(
                segmentation, self._stroke.start, self._session.refresh_soon
            )
            # What is already on its slices is not new painting.
            self.remember()

    def remember(self, replace: bool = True) -> None:
        """Store what is drawn on the visible slices, to find out what the next stroke changes.

        Without `replace`, slices that are stored already stay as stored: a stroke may just have been made.
        """
        volume = self._session.volume
        if volume is None or self._logic.drawnIn(volume) is None:
            return
        known, self._seen = self._seen, {}
        for plane, index in self._visible_slices():
            key = (volume.GetID(), plane, index)
            is_kept = key in known and not replace
            self._seen[key] = known[key] if is_kept else self._logic.panel.slice_masks(volume, plane, index)

    def _check(self) -> None:
        painted = self._painted()
        self.remember()
        self._on_stroke(painted)

    def _painted(self):
        volume, logic = self._session.volume, self._logic
        if volume is None or logic.panel.can_undo(volume):
            return None
        changed = {}
        for plane, index in self._visible_slices():
            before = self._seen.get((volume.GetID(), plane, index))
            if before is not None:
                changed[plane, index] = logic.panel.changed_voxels(volume, plane, index, before)
        if not any(changed.values()):
            return None
        plane, index = max(changed, key=lambda shown: changed[shown])
        item = logic.panel.worklist_item(volume, plane, index)
        return item if not item.state.is_decided and logic.panel.slice_mark(volume, plane, index) else None

    def _visible_slices(self) -> list[tuple[str, int]]:
        """The slices of the volume in the slice views, in the planes that are drawn in."""
        volume = self._session.volume
        planes = dict.fromkeys([*self._session.planes, *(item.plane for item in self._session.worklist)])
        shown = [(plane, self._logic.panel.slice_shown(volume, plane)) for plane in planes]
        return [(plane, index) for plane, index in shown if index is not None]

    def _timer(self, milliseconds: int, action: Callable[[], None]):
        timer = qt.QTimer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", lambda: self._session.attempt(action, keep_message=True))
        return timer
