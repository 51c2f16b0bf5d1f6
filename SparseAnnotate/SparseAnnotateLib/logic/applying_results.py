"""Copying a fill, or a model's result, into the segmentation that was drawn in."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from .. import scene
from ..client import Steps
from ..core import BadInputError
from ..core.messages import _, joined
from ..core.pieces import Piece
from .result_stamp import result_stamp
from .session import Session, Waiting
from .undoable_changes import UndoableChanges

_ATTEMPTS = 3


class ApplyingResults:
    """Applies results so that each can be undone in one step, and keeps notes on the last one of each segmentation.

    Args:
        following: lets a result follow from all corrections, in pieces.

    Attributes:
        on_applied: called with the volume after a result was applied.
    """

    def __init__(self, session: Session, changes: UndoableChanges, following: Callable[[Any], Steps]):
        self._session, self._changes, self._following = session, changes, following
        self.on_applied: Callable[[Any], None] = lambda _volume_node: None
        self._reports: dict[str, tuple[str, ...]] = {}

    def apply(
        self,
        volume_node,
        result_node,
        structures: Sequence[str] | None,
        finished_too: bool = False,
        waiting: Waiting | None = None,
    ):
        """Copy a result into the segmentation that was drawn in: see `ConsoleLogic.applyFill`.

        Args:
            structures: to apply; None: all that the result would change.
            finished_too: replace structures that seem to be finished as well.
        """
        segmentation = _drawing_for(volume_node, result_node)
        steps = self._applying(volume_node, result_node, structures, finished_too, segmentation)

        def finish(left_out: list[str]) -> list[str]:
            self.on_applied(volume_node)
            return left_out

        return self._session.do(None, steps, finish, waiting or Waiting(), "apply")

    def _applying(
        self, volume_node, result_node, structures: Sequence[str] | None, finished_too: bool, drawing
    ) -> Steps:
        """Apply a result in pieces, of which only the last changes anything; begin again when a node was changed.

        `drawing`: the segmentation that was drawn in when it began.
        """
        for _attempt in range(_ATTEMPTS):
            # Of a correction made meanwhile, only what the slices at hand show would be applied.
            yield from self._following(result_node)
            if _drawing_for(volume_node, result_node) is not drawing:
                raise BadInputError(
                    _(
                        "Another segmentation or frame of '{volume}' was chosen, so '{result}' was not applied. Apply "
                        "it again."
                    ).format(result=result_node.GetName(), volume=volume_node.GetName())
                )
            left_out = yield from self._attempt(volume_node, result_node, structures, finished_too)
            if left_out is not None:
                return left_out
        raise BadInputError(
            _(
                "'{result}' was not applied, because the segmentation of '{volume}' was being changed. Finish drawing, "
                "then apply it again."
            ).format(result=result_node.GetName(), volume=volume_node.GetName())
        )

    def _attempt(
        self, volume_node, result_node, structures: Sequence[str] | None, finished_too: bool
    ) -> Generator[Piece | None, None, list[str] | None]:
        """The segments of the result that were not applied; None when a node was changed before all was ready."""
        segmentation = _drawing_for(volume_node, result_node)
        before = result_stamp(volume_node, result_node)
        annotation = yield from scene.reading_annotation(volume_node, segmentation)
        if result_stamp(volume_node, result_node) != before:
            return None
        values = scene.label_values(segmentation)
        found = _to_apply(result_node, segmentation, structures)
        scene.require_current(result_node, volume_node, segmentation, found)
        named = {name: values[name] for name in found}
        yield None
        labels = yield from scene.collecting_labels(result_node, volume_node, named)
        if labels is None:
            return None
        labels = labels.astype(np.promote_types(labels.dtype, annotation.labels.dtype), copy=False)
        yield from annotation.restoring_drawn(labels)
        unmarked = yield from scene.finding_unmarked(segmentation, volume_node, annotation, list(values))
        differing = yield from _differing(segmentation, volume_node, labels, named, {})
        if unmarked is None or result_stamp(volume_node, result_node) != before:
            return None
        finished = {} if finished_too else {n: d.sentence for n, d in unmarked.drawings.items() if d.is_finished}
        report = [sentence for name, sentence in finished.items() if name in differing]
        named = {name: value for name, value in named.items() if name not in finished or name not in differing}
        # Structures that were not chosen may be overlapped.
        kept = [name for name in finished if name in differing or (structures is None and name not in found)]
        report += yield from scene.leaving_room(segmentation, volume_node, labels, named, kept)
        painted = unmarked.painted_slices() if differing else {}
        report += [scene.painted_sentence(painted)] if painted else []
        without = scene.axes_of(painted, annotation)
        stored = yield from scene.entering_before(segmentation, labels, named, unmarked, painted, annotation)
        labels = stored.labels
        changing = yield from _differing(segmentation, volume_node, labels, named, without)
        if result_stamp(volume_node, result_node) != before:
            return None
        if report and differing and not changing:
            nothing = _("'{result}' was not applied.").format(result=result_node.GetName())
            raise BadInputError(joined(" ", [nothing, *report]))
        names = {value: name for name, value in values.items()}
        now = yield from scene.finding_origin(volume_node, annotation, names)
        report += _notes(volume_node, result_node, now, is_same=not differing)
        yield None
        identify = segmentation.GetSegmentation().GetSegmentIdBySegmentName
        to_change = {name: value for name, value in named.items() if name in changing}
        # What already was as in the result may have been painted.
        changed = [identify(name) for name in to_change]
        before_it = {identify(name): record for name, record in unmarked.before.items()}
        packed = yield from scene.packing_applied(segmentation, volume_node, stored, changed, before_it)
        written = segmentation, volume_node, labels, to_change, without
        made = (yield from scene.making_voxels(*written)) if to_change else []
        yield Piece.NEXT_IS_LONG  # all layers that were changed are copied, so that it can be undone
        # From here on without a break: this is one change.
        if made is None or result_stamp(volume_node, result_node) != before:
            return None
        if to_change:
            self._changes.change(
                volume_node,
                segmentation,
                lambda _editor: scene.apply_labels(segmentation, labels, to_change, volume_node, made, without),
            )
        source = scene.source_of_result(result_node)
        scene.store_applied(segmentation, volume_node, packed, dict.fromkeys(changed, source))
        for segment_id in changed:
            scene.note_source(segmentation, segment_id, source, *packed.other_sources(segment_id))
        self._reports[segmentation.GetID()] = tuple(report)
        return [name for name in scene.segment_names(result_node) if name not in named]

    def report(self, volume_node) -> tuple[str, ...]:
        """Notes on the last result applied to a volume, as sentences."""
        segmentation = scene.annotated_segmentation(volume_node)
        return self._reports.get(segmentation.GetID(), ()) if segmentation is not None else ()

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._reports.clear()


def _differing(
    segmentation, volume_node, labels: np.ndarray, values: dict[str, int], without: dict[int, list[int]]
) -> Generator[None, None, set[str]]:
    """In pieces: those of the named segments that differ from labels, outside some slices (array axis to indices).

    Without meaning when a voxel was changed meanwhile.
    """
    differing = yield from scene.comparing_labels(segmentation, volume_node, labels, values, without=without)
    if differing is None:
        differing = set(scene.differing_segments(segmentation, labels, values, volume_node, without))
    return differing


def _drawing_for(volume_node, result_node):
    """The segmentation that a result is applied to. Raises BadInputError when there is none, or a node was removed."""
    for node in (volume_node, result_node):
        if node.GetScene() is None:
            raise BadInputError(
                _("'{name}' was removed from the scene, so nothing was applied.").format(name=node.GetName())
            )
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
    return segmentation


def _notes(volume_node, result_node, now: scene.ResultOrigin, is_same: bool) -> list[str]:
    """Sentences on a result that is applied; `now`: the origin of one that is made now, `is_same`: nothing changes."""
    notes: list[str] = []
    result = {"result": result_node.GetName()}
    if is_same:
        notes.append(_("'{result}' and your segmentation show the same, so nothing was changed.").format(**result))
    since = scene.drawn_since(result_node, volume_node, now)
    if since:
        notes.append(
            _("Slices were drawn or changed after '{result}' was created: {slices}.").format(slices=since, **result)
        )
    if scene.corrected_since(result_node, volume_node):
        notes.append(
            _(
                "Corrections were made after '{result}' was created. The corrected voxels were applied, but not "
                "what follows from them: fill between slices or run the model again."
            ).format(**result)
        )
    return notes


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
