"""Filling between drawn slices, putting results into what was drawn, and taking that back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import scene
from ..core import BadInputError, Progress
from ..core.images import read_labels
from ..interpolation import FinishedFill, finished_fill, interpolator_descriptions, interpolator_named
from .session import SessionLogic

LEARNED_METHODS = ("propagation",)
"""Ways to fill that learn first: they run in the worker only."""


@dataclass(frozen=True)
class FillReport:
    """How good a fill is: a sentence for the user ('' when it was not measured), and what to look at."""

    summary: str = ""
    warnings: tuple[str, ...] = ()


class FillingLogic(SessionLogic):
    """Fills as previews, and applying them as one step."""

    def __init__(self, newTransport: Callable):
        super().__init__(newTransport)
        self._editors: dict[str, Any] = {}
        self._appliedAt: dict[str, tuple] = {}
        self._fillReports: dict[str, FillReport] = {}
        self._lastFills: dict[tuple[str, str, int], FinishedFill] = {}

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Fill between the drawn slices into a new segmentation node, which is returned: a preview to look at.

        `method` is one of `fillMethods`; 'auto' tries them on hidden drawn slices and keeps the best for each segment.
        `fillReport` says how good the fill is, `confidenceNode` gives its confidence as a volume, and `applyFill` puts
        it into the segmentation that was drawn in. When it waits, filling again by 'shape' or 'random_walk' after a
        slice was drawn fills only the gaps beside that slice.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        annotation = scene.annotation_of(volumeNode, segmentation)
        annotation.require_labels(volumeNode.GetName())
        drawn = annotation.label_values()
        own = scene.label_values(segmentation)
        if waitForCompletion and method not in LEARNED_METHODS:
            values = {name: value for name, value in own.items() if value in drawn}
            names = {value: name for name, value in values.items()}
            # The image is part of what was filled: when its voxels have changed, nothing of the last fill holds.
            key = (volumeNode.GetID(), method, volumeNode.GetImageData().GetMTime())
            done = finished_fill(
                interpolator_named(method),
                annotation,
                lambda: scene.image_of(volumeNode),
                names,
                previous=self._lastFills.pop(key, None),
            )
            self._lastFills = {key: done}  # one, because of the memory it takes
            report = FillReport(done.summary, done.warnings)
            return self._newFill(volumeNode, segmentation, done.fill.labels, done.fill.confidence, values, report)
        stored = self._export([volumeNode])
        # Segments that are on no drawn slice are none of the fill's business.
        values = {name: value for name, value in stored.items() if own.get(name) in drawn}
        case = scene.case_of(volumeNode)

        def finish(results):
            cohort, geometry = self.cohort(), scene.geometry_of(volumeNode)
            labels = read_labels(cohort.fill_path(case), geometry)
            confidence = read_labels(cohort.fill_confidence_path(case), geometry)
            report = FillReport(results[0]["summary"], tuple(results[0]["warnings"]))
            return self._newFill(volumeNode, segmentation, labels, confidence, values, report)

        params = {"cohort": str(self.cohortFolder), "cases": [case], "method": method}
        return self._request("fill", params, finish, waitForCompletion, onDone, onProgress)

    @staticmethod
    def fillMethods() -> dict[str, str]:
        """Every way to fill, and what it does in one sentence."""
        return interpolator_descriptions()

    def fillReport(self, resultNode) -> FillReport:
        """How good a fill is, and what to look at; empty for a node that is no fill of this session."""
        return self._fillReports.get(resultNode.GetID(), FillReport())

    def confidenceNode(self, resultNode):
        """The volume with a fill's confidence in percent; None when there is none."""
        return scene.confidence_of(resultNode)

    def isConfidence(self, volumeNode) -> bool:
        """True for the confidence of a fill: a volume, but nothing to draw on."""
        return scene.is_confidence(volumeNode)

    def showConfidence(self, resultNode, shown: bool = True) -> None:
        """Lay a fill's confidence over the slice views, or take it away. Raises BadInputError when it has none."""
        confidence = scene.confidence_of(resultNode)
        if confidence is None:
            raise BadInputError(f"'{resultNode.GetName()}' has no confidence to show; fill between slices first.")
        scene.show_confidence(confidence, shown)

    def _newFill(self, volumeNode, segmentation, labels, confidence, values, report: FillReport):
        node = self._newResult(volumeNode, segmentation, "fill", labels, values)
        scene.new_confidence(node, volumeNode, confidence)
        self._fillReports[node.GetID()] = report
        return node

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
        self._fillReports.clear()
        self._lastFills.clear()
