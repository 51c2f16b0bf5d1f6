"""Copying a fill, or a model's result, into the segmentation that was drawn in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import scene
from ..core import BadInputError
from ..core.messages import _, joined
from .undoable_changes import UndoableChanges


class ApplyingResults:
    """Applies results so that each can be undone in one step, and keeps notes on the last one of each segmentation."""

    def __init__(self, changes: UndoableChanges):
        self._changes = changes
        self._reports: dict[str, tuple[str, ...]] = {}

    def apply(
        self, volume_node, result_node, structures: Sequence[str] | None, finished_too: bool = False
    ) -> list[str]:
        """Copy a result into the segmentation that was drawn in: see `ConsoleLogic.applyFill`.

        Args:
            structures: to apply; None: all that the result would change.
            finished_too: replace structures that seem to be finished as well, or raise what prevents it.
        """
        segmentation = scene.annotated_segmentation(volume_node)
        if segmentation is None:
            raise BadInputError(
                _("'{volume}' has no segmentation to apply this to. Recommend slices and draw them first.").format(
                    volume=volume_node.GetName()
                )
            )
        if result_node is segmentation:
            raise BadInputError(
                _("'{result}' is your drawing itself. Select a fill or a model's result.").format(
                    result=result_node.GetName()
                )
            )
        annotation = scene.annotation_of(volume_node, segmentation)
        values = scene.label_values(segmentation)
        found = _to_apply(result_node, segmentation, structures)
        scene.require_current(result_node, volume_node, segmentation, found)
        named = {name: values[name] for name in found}
        labels = scene.labels_of(result_node, volume_node, named)
        labels = labels.astype(np.promote_types(labels.dtype, annotation.labels.dtype), copy=False)
        annotation.restore_drawn(labels)
        changing = scene.differing_segments(segmentation, labels, named, volume_node)
        drawings = scene.unmarked_drawings(segmentation, volume_node, annotation, changing)
        kept = [d for d in drawings.values() if not (finished_too and d.is_finished)]
        applied = [name for name in found if name not in {d.structure for d in kept}]
        report = [drawing.sentence for drawing in kept]
        if kept and (finished_too or len(kept) == len(changing)):
            raise BadInputError(joined(" ", report))
        if not changing:
            report.append(
                _("'{result}' and your segmentation show the same, so nothing was changed.").format(
                    result=result_node.GetName()
                )
            )
        now = scene.origin_now(volume_node, annotation, {value: name for name, value in values.items()})
        since = scene.drawn_since(result_node, volume_node, now)
        if since:
            report.append(
                _("Slices were drawn or changed after '{result}' was created: {slices}.").format(
                    result=result_node.GetName(), slices=since
                )
            )
        if scene.corrected_since(result_node, volume_node):
            report.append(
                _(
                    "Corrections were made after '{result}' was created. The corrected voxels were applied, but not "
                    "what follows from them: fill between slices or run the model again."
                ).format(result=result_node.GetName())
            )
        identify = segmentation.GetSegmentation().GetSegmentIdBySegmentName
        identifiers = {values[name]: identify(name) for name in applied}
        to_change = {name: values[name] for name in applied if name in changing}
        if to_change:
            self._changes.change(
                volume_node,
                segmentation,
                lambda _editor: scene.apply_labels(segmentation, labels, to_change, volume_node),
            )
        # What already was as in the result may have been painted.
        changed = [identify(name) for name in to_change]
        source = scene.source_of_result(result_node)
        scene.remember_applied(segmentation, volume_node, labels, identifiers, dict.fromkeys(changed, source))
        for segment_id in changed:
            scene.note_source(segmentation, segment_id, source)
        self._reports[segmentation.GetID()] = tuple(report)
        return [name for name in scene.segment_names(result_node) if name not in applied]

    def report(self, volume_node) -> tuple[str, ...]:
        """Notes on the last result applied to a volume, as sentences."""
        segmentation = scene.annotated_segmentation(volume_node)
        return self._reports.get(segmentation.GetID(), ()) if segmentation is not None else ()

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._reports.clear()


def _to_apply(result_node, segmentation_node, structures: Sequence[str] | None) -> list[str]:
    """Names of the segments that result and segmentation share, or of the requested ones."""
    offered, known = scene.segment_names(result_node), scene.segment_names(segmentation_node)
    missing = [name for name in structures or () if name not in offered or name not in known]
    if missing:
        raise BadInputError(
            _(
                "'{name}' cannot be applied, because it is not a segment of both '{result}' and '{segmentation}'."
            ).format(name=missing[0], result=result_node.GetName(), segmentation=segmentation_node.GetName())
        )
    found = [name for name in offered if name in known and (structures is None or name in structures)]
    if not found:
        raise BadInputError(
            _(
                "'{result}' and '{segmentation}' have no segment of the same name, so nothing can be applied. The "
                "result has: {names}. Give the segments the same names."
            ).format(result=result_node.GetName(), segmentation=segmentation_node.GetName(), names=", ".join(offered))
        )
    return found
