"""Filling between drawn slices, putting results into what was drawn, and taking that back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import slicer

from .. import scene
from ..core import BadInputError, Progress
from ..core.images import read_labels
from ..core.strict_json import parse_json, to_text
from ..interpolation import FinishedFill, finished_fill, interpolator_descriptions, interpolator_named
from .changing import ChangingLogic

LEARNED_METHODS = ("propagation",)
"""Ways to fill that learn first: they run in the worker only."""


@dataclass(frozen=True)
class FillReport:
    """How good a fill is: a sentence for the user ('' when it was not measured), and what to look at."""

    summary: str = ""
    warnings: tuple[str, ...] = ()


class FillingLogic(ChangingLogic):
    """Fills as previews, and applying them as one step."""

    def __init__(self, newTransport: Callable, later: Callable | None = None):
        super().__init__(newTransport, later)
        self._applyReports: dict[str, tuple[str, ...]] = {}
        self._lastFills: dict[tuple, FinishedFill] = {}

    def fillBetweenSlices(
        self,
        volumeNode,
        method: str = "auto",
        beyond: int | None = None,
        device: str = "auto",
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """Fill between the drawn slices into a new segmentation node, which is returned: a preview to look at.

        `method` is one of `fillMethods`; 'auto' tries them on hidden drawn slices and keeps the best for each segment.
        `beyond` is how many slices beyond the outermost drawn ones are filled at most; None: as the shapes end.
        `device` is what a method that learns uses. `fillReport` says how good the fill is, `confidenceNode` gives its
        confidence as a volume, and `applyFill` puts it into the segmentation that was drawn in. When it waits, filling
        again by 'shape' or 'random_walk' after a slice was drawn fills only the gaps beside that slice.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        annotation = scene.annotation_of(volumeNode, segmentation)
        annotation.require_labels(volumeNode.GetName())
        drawn = annotation.label_values()
        own = scene.label_values(segmentation)
        origin = scene.origin_now(volumeNode, annotation, {value: name for name, value in own.items()})
        if waitForCompletion and method not in LEARNED_METHODS:
            values = {name: value for name, value in own.items() if value in drawn}
            names = {value: name for name, value in values.items()}
            # The image is part of what was filled: when its voxels have changed, nothing of the last fill holds.
            key = (volumeNode.GetID(), method, beyond, volumeNode.GetImageData().GetMTime())
            done = finished_fill(
                interpolator_named(method),
                annotation,
                lambda: scene.image_of(volumeNode),
                names,
                previous=self._lastFills.pop(key, None),
                beyond=beyond,
            )
            self._lastFills = {key: done}  # one, because of the memory it takes
            report = FillReport(done.summary, done.warnings)
            return self._newFill(
                volumeNode, segmentation, done.fill.labels, done.fill.confidence, values, report, origin
            )
        case, labelOf = scene.case_of(volumeNode), {}

        def prepare():
            stored = yield from self._exportingLabels([volumeNode])
            # Segments that are on no drawn slice are none of the fill's business.
            labelOf.update({name: value for name, value in stored.items() if own.get(name) in drawn})
            return {
                "cohort": str(self.cohortFolder),
                "cases": [case],
                "method": method,
                "beyond": beyond,
                "device": device,
            }

        def finish(results):
            cohort, geometry = self.cohort(), scene.geometry_of(volumeNode)
            labels = read_labels(cohort.fill_path(case), geometry)
            yield Progress(1.0, "showing the fill")
            confidence = read_labels(cohort.fill_confidence_path(case), geometry)
            report = FillReport(results[0]["summary"], tuple(results[0]["warnings"]))
            yield None
            return self._newFill(volumeNode, segmentation, labels, confidence, labelOf, report, origin)

        return self._do("fill", prepare(), finish, waitForCompletion, onDone, onProgress)

    @staticmethod
    def fillMethods() -> dict[str, str]:
        """Every way to fill, and what it does in one sentence."""
        return interpolator_descriptions()

    def fillReport(self, resultNode) -> FillReport:
        """How good a fill is, and what to look at; it is saved with the scene. Empty for a node that is no fill."""
        text = scene.noted_report(resultNode)
        return parse_json(text, FillReport, f"the report of '{resultNode.GetName()}'") if text else FillReport()

    def confidenceNode(self, resultNode):
        """The volume with a fill's confidence in percent; None when there is none."""
        return scene.confidence_of(resultNode)

    def isConfidence(self, volumeNode) -> bool:
        """True for the confidence of a fill: a volume, but nothing to draw on."""
        return scene.is_confidence(volumeNode)

    def showConfidence(
        self,
        resultNode,
        shown: bool = True,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
    ) -> None:
        """Show in the slice views where a result is not to be trusted, or take that away.

        It is shown near the boundaries of the result, where the confidence is low. Raises BadInputError when the result
        has no confidence.
        """
        confidence = scene.confidence_of(resultNode)
        if confidence is None:
            raise BadInputError(f"'{resultNode.GetName()}' has no confidence to show; fill between slices first.")
        if not shown:
            scene.show_confidence(confidence, False)
            return
        steps = scene.showing_confidence(confidence)
        # The overlay is there at once, so that it can be taken away; what it shows comes piece by piece.
        next(steps, None)
        self._do(None, steps, lambda _: None, waitForCompletion, onDone, None, "confidence")

    def _newFill(self, volumeNode, segmentation, labels, confidence, values, report: FillReport, origin):
        node = self._newResult(volumeNode, segmentation, scene.FILL, labels, values, origin)
        scene.new_confidence(node, volumeNode, confidence)
        scene.note_report(node, to_text(report))
        return node

    def applyFill(self, volumeNode, resultNode, structures: Sequence[str] | None = None) -> list[str]:
        """Put a fill, or a model's result, into the segmentation that was drawn in: one step that `undo` takes back.

        Drawn slices stay as they are, voxels outside the volume, and segments the result does not have. Nor is a
        structure touched that others have drawn on slices that are not marked, as a finished one of another tool is:
        name it in `structures` to replace it. `applyReport` says what was left as it is, and why.

        Returns the names of the result's segments that were left out.

        Raises:
            BadInputError: when nothing would be applied, slices are painted that nobody has marked, or the result was
                made from another image.
        """
        segmentation = scene.annotated_segmentation(volumeNode)
        if segmentation is None:
            raise BadInputError(f"'{volumeNode.GetName()}' has no segmentation that was drawn in, to apply this to.")
        if resultNode is segmentation:
            raise BadInputError(f"'{resultNode.GetName()}' is the drawing itself. Choose a fill or a model's result.")
        annotation = scene.annotation_of(volumeNode, segmentation)
        values = scene.label_values(segmentation)
        found = self._toApply(resultNode, segmentation, structures)
        scene.require_current(resultNode, volumeNode, segmentation, found)
        drawings = scene.unmarked_drawings(segmentation, volumeNode, annotation, found)
        kept = [d for d in drawings.values() if structures is None or not d.is_finished]
        applied = [name for name in found if name not in {d.structure for d in kept}]
        report = [drawing.sentence for drawing in kept]
        if not applied or (structures is not None and kept):
            raise BadInputError(" ".join(report))
        now = scene.origin_now(volumeNode, annotation, {value: name for name, value in values.items()})
        since = scene.drawn_since(resultNode, volumeNode, now)
        if since:
            report.append(f"Slices have been drawn or changed since '{resultNode.GetName()}' was made: {since}.")
        named = {name: values[name] for name in applied}
        labels = scene.labels_of(resultNode, volumeNode, named)
        annotation.restore_drawn(labels)
        identify = segmentation.GetSegmentation().GetSegmentIdBySegmentName
        identifiers = {values[name]: identify(name) for name in applied}
        self._change(volumeNode, segmentation, lambda _: scene.apply_labels(segmentation, labels, named, volumeNode))
        scene.remember_applied(segmentation, volumeNode, labels, identifiers)
        self._applyReports[segmentation.GetID()] = tuple(report)
        return [name for name in scene.segment_names(resultNode) if name not in applied]

    def applyReport(self, volumeNode) -> tuple[str, ...]:
        """What is to be known of the last `applyFill` on a volume, as sentences."""
        segmentation = scene.annotated_segmentation(volumeNode)
        return self._applyReports.get(segmentation.GetID(), ()) if segmentation is not None else ()

    @staticmethod
    def _toApply(resultNode, segmentation, structures: Sequence[str] | None) -> list[str]:
        """Names of the segments that the result and the segmentation share, or of those that are asked for."""
        offered, known = scene.segment_names(resultNode), scene.segment_names(segmentation)
        missing = [name for name in structures or () if name not in offered or name not in known]
        if missing:
            raise BadInputError(
                f"'{missing[0]}' is not a segment of both '{resultNode.GetName()}' and '{segmentation.GetName()}', "
                "so it cannot be applied."
            )
        found = [name for name in offered if name in known and (structures is None or name in structures)]
        if not found:
            raise BadInputError(
                f"'{resultNode.GetName()}' and '{segmentation.GetName()}' have no segment of the same name, so nothing "
                f"can be applied. The result has: {', '.join(offered)}. Name them alike."
            )
        return found

    def latestResult(self, volumeNode, ofRun: bool):
        """The newest fill of a volume (or, with `ofRun`, a model's newest result) in the scene; None without any."""
        found = [node for node in scene.results_of(volumeNode) if (scene.made_by(node) != scene.FILL) == ofRun]
        return found[-1] if found else None

    def showOnly(self, resultNode) -> None:
        """Show this result, and hide the other results of the same volume with their confidences."""
        for node in scene.results_of(scene.volume_of(resultNode)):
            node.GetDisplayNode().SetVisibility(node is resultNode)
            if node is not resultNode and scene.confidence_of(node) is not None:
                scene.show_confidence(scene.confidence_of(node), False)

    def discard(self, resultNode) -> None:
        """Remove a result that is not wanted, with its confidence; what was drawn is never removed."""
        if scene.made_by(resultNode) is None:
            raise BadInputError(f"'{resultNode.GetName()}' is no result of SparseAnnotate, so it is not removed here.")
        confidence = scene.confidence_of(resultNode)
        if confidence is not None:
            scene.show_confidence(confidence, False)
            slicer.mrmlScene.RemoveNode(confidence)
        slicer.mrmlScene.RemoveNode(resultNode)

    def forgetScene(self) -> None:
        """See `ChangingLogic.forgetScene`."""
        super().forgetScene()
        self._applyReports.clear()
        self._lastFills.clear()
