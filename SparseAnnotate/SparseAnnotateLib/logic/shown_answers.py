"""Makes the nodes of answers show what corrections have made of them."""

from __future__ import annotations

from collections.abc import Generator

import slicer

from .. import scene
from ..core.voxel_boxes import Box
from .corrected_answer import CorrectedAnswer
from .undoable_changes import UndoableChanges


class ShownAnswers:
    """Writes labels of answers into their nodes.

    Args:
        changes: gives the editors that change the answers.

    Attributes:
        is_writing: True while a node is being changed.
    """

    def __init__(self, changes: UndoableChanges):
        self._changes = changes
        self.is_writing = False

    def show(self, answer: CorrectedAnswer) -> None:
        """Make the node show the labels everywhere."""
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        if found is not None:
            self.put(answer, found[0])
        answer.stamp = scene.voxel_stamp(answer.node)

    def showing(self, answer: CorrectedAnswer) -> Generator[None, None, bool]:
        """`show` in pieces, of an answer without pending steps; False when it was changed meanwhile."""
        found = yield from scene.finding_changed(answer.node, answer.volume, answer.values, answer.labels)
        if answer.node.GetScene() is None or not answer.is_as_seen or answer.pending:
            return False
        if found is not None:
            self.put(answer, found)
        return True

    def put(self, answer: CorrectedAnswer, part: Box | None) -> None:
        """Make the node show the labels in a part of the volume; None: nowhere."""
        if part is not None:
            editor = self._changes.editor(answer.volume, answer.node)
            was_writing, self.is_writing = self.is_writing, True
            try:
                scene.put_labels(answer.node, answer.volume, part, answer.labels[part], answer.values, editor)
            finally:
                self.is_writing = was_writing
        answer.stamp = scene.voxel_stamp(answer.node)

    def note_taken_in(self, answer: CorrectedAnswer) -> None:
        """Note that the answer has taken the corrections in, and that it is as it was seen."""
        if answer.is_current and not answer.pending:
            scene.note_corrections(answer.node, answer.volume)
        confidence = scene.confidence_of(answer.node)
        if confidence is not None:
            slicer.util.arrayFromVolumeModified(confidence)
        answer.stamp = scene.voxel_stamp(answer.node)
