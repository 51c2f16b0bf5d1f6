"""Changes of the drawing; the Segment Editor can undo each in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import scene
from ..core import BadInputError
from ..core.messages import _


class UndoableChanges:
    """Makes and undoes changes of the module in segmentations that are drawn in.

    Attributes:
        segment_editor: a visible qMRMLSegmentEditorWidget: changes of its segmentation are recorded in its undo
            history. None if there is none.
    """

    def __init__(self):
        self.segment_editor: Any = None
        self._editors: dict[str, Any] = {}
        self._changed: dict[str, _Change] = {}

    def undo(self, volume_node) -> None:
        """Undo the last change in the segmentation of a volume.

        Raises BadInputError if there is none, something was drawn since, or the Segment Editor has lost its history.
        """
        segmentation = scene.annotated_segmentation(volume_node)
        change = self._changed.get(segmentation.GetID()) if segmentation is not None else None
        if change is None:
            raise BadInputError(_("There is nothing to undo on '{volume}'.").format(volume=volume_node.GetName()))
        if scene.voxel_stamp(segmentation) != change.stamp:
            # Undo restores the whole segmentation: anything drawn since would be lost.
            raise BadInputError(
                _(
                    "The segmentation '{segmentation}' has been changed since, so this undo would lose what was drawn "
                    "since. Use Undo in the Segment Editor, step by step."
                ).format(segmentation=segmentation.GetName())
            )
        if change.widget is not None and change.widget.segmentationNode() is not segmentation:
            raise BadInputError(
                _(
                    "The Segment Editor now shows another segmentation and no longer has the undo history of "
                    "'{segmentation}'. Erase the unwanted parts instead."
                ).format(segmentation=segmentation.GetName())
            )
        del self._changed[segmentation.GetID()]
        change.undo()

    def can_undo(self, volume_node) -> bool:
        """True if the last change in the segmentation of this volume was made by the module."""
        segmentation = scene.annotated_segmentation(volume_node)
        change = self._changed.get(segmentation.GetID()) if segmentation is not None else None
        if change is None or scene.voxel_stamp(segmentation) != change.stamp:
            return False
        return change.widget is None or change.widget.segmentationNode() is segmentation

    def segment_editor_leaves(self) -> None:
        """Call this when the Segment Editor shows another segmentation, which clears its undo history."""
        self._changed = {key: change for key, change in self._changed.items() if change.widget is None}

    def editor(self, volume_node, segmentation_node):
        """A vtkSlicerSegmentEditorLogic on a segmentation, for changes that something else makes undoable."""
        identifier = segmentation_node.GetID()
        editor = self._editors.get(identifier)
        # A closed scene may have had another segmentation with this ID.
        if editor is None or editor.GetSegmentationNode() is not segmentation_node:
            editor = self._editors[identifier] = scene.editor_for(segmentation_node, volume_node)
        return editor

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._editors.clear()
        self._changed.clear()

    def change(self, volume_node, segmentation_node, change: Callable[[Any], None]) -> None:
        """Make a change that can be undone in one step; `change` gets a vtkSlicerSegmentEditorLogic."""
        identifier = segmentation_node.GetID()
        editor = self.editor(volume_node, segmentation_node)
        widget = self.segment_editor
        if widget is not None and widget.segmentationNode() is segmentation_node:
            widget.saveStateForUndo()
            undo = widget.undo
        else:
            widget = None
            editor.SaveStateForUndo()
            undo = editor.Undo
        change(editor)
        self._changed[identifier] = _Change(scene.voxel_stamp(segmentation_node), undo, widget)


@dataclass(frozen=True)
class _Change:
    """The stamp of a segmentation after a change, the function that undoes it, and the Segment Editor it belongs to."""

    stamp: tuple
    undo: Callable[[], None]
    widget: Any
