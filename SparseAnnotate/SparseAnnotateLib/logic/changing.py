"""Changes of what is drawn: each is one step, which the Segment Editor's undo takes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import scene
from ..core import BadInputError
from .session import SessionLogic


class ChangingLogic(SessionLogic):
    """Undo of changes that the module makes in segmentations that are drawn in."""

    def __init__(self, newTransport: Callable, later: Callable | None = None):
        super().__init__(newTransport, later)
        self.segmentEditor: Any = None
        """A qMRMLSegmentEditorWidget that is on the screen: changes of its segmentation are steps of its undo."""
        self._editors: dict[str, Any] = {}
        self._changed: dict[str, tuple[tuple, Callable[[], None]]] = {}

    def undo(self, volumeNode) -> None:
        """Take back the last change that the module has made in the segmentation of this volume."""
        segmentation = scene.annotated_segmentation(volumeNode)
        stamp, takeBack = self._changed.get(segmentation.GetID() if segmentation is not None else "", (None, None))
        if takeBack is None:
            raise BadInputError(f"There is nothing to take back on '{volumeNode.GetName()}'.")
        if scene.voxel_stamp(segmentation) != stamp:
            # Undo restores the whole segmentation as it was: what has been drawn since would be gone.
            raise BadInputError(
                f"The segmentation '{segmentation.GetName()}' has been changed since, so taking the last step back "
                "here would lose what was drawn since. Use Undo in the Segment Editor, step by step."
            )
        takeBack()
        del self._changed[segmentation.GetID()]

    def canUndo(self, volumeNode) -> bool:
        """True when the module has changed the segmentation of this volume, and nobody has since."""
        segmentation = scene.annotated_segmentation(volumeNode)
        stamp = self._changed.get(segmentation.GetID(), (None, None))[0] if segmentation is not None else None
        return stamp is not None and scene.voxel_stamp(segmentation) == stamp

    def forgetScene(self) -> None:
        """Let go of everything that belongs to the scene; call it when the scene is closed."""
        self._editors.clear()
        self._changed.clear()

    def _change(self, volumeNode, segmentation, change: Callable[[Any], None]) -> None:
        """Make a change as one step of undo; `change` is given a vtkSlicerSegmentEditorLogic."""
        identifier = segmentation.GetID()
        if identifier not in self._editors:
            self._editors[identifier] = scene.editor_for(segmentation, volumeNode)
        editor, widget = self._editors[identifier], self.segmentEditor
        if widget is not None and widget.segmentationNode() is segmentation:
            widget.saveStateForUndo()
            takeBack = widget.undo
        else:
            editor.SaveStateForUndo()
            takeBack = editor.Undo
        change(editor)
        self._changed[identifier] = (scene.voxel_stamp(segmentation), takeBack)
