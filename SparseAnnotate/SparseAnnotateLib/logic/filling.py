"""Filling between drawn slices, putting results into what was drawn, and taking that back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import scene
from ..core import BadInputError, Progress
from ..core.images import read_labels
from ..interpolation import interpolator_named
from .session import SessionLogic


class FillingLogic(SessionLogic):
    """Fills as previews, and applying them as one step."""

    def __init__(self, newTransport: Callable):
        super().__init__(newTransport)
        self._editors: dict[str, Any] = {}
        self._appliedAt: dict[str, tuple] = {}

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = "shape",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Fill between the drawn slices into a new segmentation node, which is returned: a preview to look at.

        `applyFill` puts it into the segmentation that was drawn in.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        annotation = scene.annotation_of(volumeNode, segmentation)
        annotation.require_labels(volumeNode.GetName())
        if waitForCompletion:
            image = scene.image_of(volumeNode)
            labels = interpolator_named(method).fill(annotation, image, annotation.geometry).labels
            return self._newResult(volumeNode, segmentation, "fill", labels, scene.label_values(segmentation))
        values = self._export([volumeNode])
        case = scene.case_of(volumeNode)

        def finish(_):
            labels = read_labels(self.cohort().fill_path(case), scene.geometry_of(volumeNode))
            return self._newResult(volumeNode, segmentation, "fill", labels, values)

        params = {"cohort": str(self.cohortFolder), "cases": [case], "method": method}
        return self._request("fill", params, finish, False, onDone, onProgress)

    def applyFill(self, volumeNode, resultNode) -> None:
        """Put a fill, or a model's result, into the segmentation that was drawn in: one step that `undo` takes back.

        Drawn slices stay as they are, and so do segments the result does not have.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        if segmentation is None:
            raise BadInputError(f"'{volumeNode.GetName()}' has no segmentation that was drawn in, to apply this to.")
        annotation = scene.annotation_of(volumeNode, segmentation)
        values = scene.label_values(segmentation)
        labels = scene.labels_of(resultNode, volumeNode, values)
        annotation.restore_drawn(labels)
        found = {name: values[name] for name in scene.segment_names(resultNode) if name in values}
        scene.apply_labels(segmentation, labels, found, volumeNode, self._editor(segmentation, volumeNode))
        self._appliedAt[segmentation.GetID()] = scene.voxel_stamp(segmentation)

    def undo(self, volumeNode) -> None:
        """Take back the last `applyFill` on this volume."""
        segmentation = scene.annotated_segmentation(volumeNode)
        editor = self._editors.get(segmentation.GetID()) if segmentation is not None else None
        if editor is None or not editor.CanUndo():
            raise BadInputError(f"There is nothing to take back on '{volumeNode.GetName()}'.")
        if scene.voxel_stamp(segmentation) != self._appliedAt.get(segmentation.GetID()):
            # Undo restores the whole segmentation as it was: what has been drawn since would be gone.
            raise BadInputError(
                f"The segmentation '{segmentation.GetName()}' has been changed since the last Apply, so taking it back "
                "would lose what was drawn since. Erase what you do not want in the Segment Editor."
            )
        editor.Undo()

    def _editor(self, segmentation, volumeNode):
        if segmentation.GetID() not in self._editors:
            self._editors[segmentation.GetID()] = scene.editor_for(segmentation, volumeNode)
        return self._editors[segmentation.GetID()]

    def forgetScene(self) -> None:
        """Let go of everything that belongs to the scene; call it when the scene is closed."""
        self._editors.clear()
        self._appliedAt.clear()
