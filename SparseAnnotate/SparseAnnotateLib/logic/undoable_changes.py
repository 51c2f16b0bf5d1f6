"""Changes of what is drawn: each is one step, which the Segment Editor's undo takes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import scene
from ..core import BadInputError


class UndoableChanges:
    """Changes that the module makes in segmentations that are drawn in, and taking them back.

    Attributes:
        segment_editor: a qMRMLSegmentEditorWidget that is on the screen: changes of its segmentation are steps of its
            undo. None when there is none.
    """

    def __init__(self):
        self.segment_editor: Any = None
        self._editors: dict[str, Any] = {}
        self._changed: dict[str, _Change] = {}

    def undo(self, volume_node) -> None:
        """Take back the last change in the segmentation of a volume.

        Raises BadInputError when there is none, something was drawn since, or the Segment Editor remembers it no more.
        """
        segmentation = scene.annotated_segmentation(volume_node)
        change = self._changed.get(segmentation.GetID()) if segmentation is not None else None
        if change is None:
            raise BadInputError(f"There is nothing to undo on '{volume_node.GetName()}'.")
        if scene.voxel_stamp(segmentation) != change.stamp:
            # Undo restores the whole segmentation as it was: what has been drawn since would be gone.
            raise BadInputError(
                f"The segmentation '{segmentation.GetName()}' has been changed since, so taking the last step back "
                "here would lose what was drawn since. Use Undo in the Segment Editor, step by step."
            )
        if change.widget is not None and change.widget.segmentationNode() is not segmentation:
            raise BadInputError(
                f"The Segment Editor works on another segmentation now, and remembers no steps of '"
                f"{segmentation.GetName()}' any more. Erase what you do not want."
            )
        del self._changed[segmentation.GetID()]
        change.take_back()

    def can_undo(self, volume_node) -> bool:
        """True when the module has changed the segmentation of this volume, and nobody has since."""
        segmentation = scene.annotated_segmentation(volume_node)
        change = self._changed.get(segmentation.GetID()) if segmentation is not None else None
        if change is None or scene.voxel_stamp(segmentation) != change.stamp:
            return False
        return change.widget is None or change.widget.segmentationNode() is segmentation

    def segment_editor_leaves(self) -> None:
        """Call it when the Segment Editor goes to another segmentation: it forgets the steps of the one before."""
        self._changed = {key: change for key, change in self._changed.items() if change.widget is None}

    def forget_scene(self) -> None:
        """Let go of everything that belongs to the scene."""
        self._editors.clear()
        self._changed.clear()

    def change(self, volume_node, segmentation_node, change: Callable[[Any], None]) -> None:
        """Make a change as one step of undo; `change` is given a vtkSlicerSegmentEditorLogic."""
        identifier = segmentation_node.GetID()
        editor = self._editors.get(identifier)
        # A scene that was closed may have had another segmentation of that ID.
        if editor is None or editor.GetSegmentationNode() is not segmentation_node:
            editor = self._editors[identifier] = scene.editor_for(segmentation_node, volume_node)
        widget = self.segment_editor
        if widget is not None and widget.segmentationNode() is segmentation_node:
            widget.saveStateForUndo()
            take_back = widget.undo
        else:
            widget = None
            editor.SaveStateForUndo()
            take_back = editor.Undo
        change(editor)
        self._changed[identifier] = _Change(scene.voxel_stamp(segmentation_node), take_back, widget)


@dataclass(frozen=True)
class _Change:
    """The stamp of a segmentation after a change, what takes the change back, and the Segment Editor that can."""

    stamp: tuple
    take_back: Callable[[], None]
    widget: Any
