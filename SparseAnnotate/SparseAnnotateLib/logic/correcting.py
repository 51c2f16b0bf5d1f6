"""Corrections in the scene: a stroke in an answer is stored with the drawing, and the answer follows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from .. import scene
from ..core import BadInputError, SparseAnnotation
from ..core.added_corrections import with_correction
from ..core.corrections import Corrections, Stroke
from ..core.messages import _, joined, listed
from ..core.voxel_boxes import Box, bounding_box, enclosing_box
from ..interpolation.correcting import correct as spread
from ..interpolation.correcting import reachable
from .corrected_answer import (
    CorrectedAnswer,
    make_room,
    moved,
    read_answer,
    segments_of,
    step_of,
    store_strokes,
    what_is_known,
)
from .result_nodes import latest_result
from .undoable_changes import UndoableChanges


@dataclass(frozen=True)
class CorrectionReport:
    """What a correction did.

    Attributes:
        corrections: how many strokes the volume has now. voxels: of the new ones.
        changed: voxels of the result that have another label now, apart from those of the strokes.
        notes: sentences.
        place: (K, J, I) of a voxel in the middle of the new strokes; None without any.
    """

    corrections: int
    voxels: int = 0
    changed: int = 0
    notes: tuple[str, ...] = ()
    place: tuple[int, int, int] | None = None


class Correcting:
    """Takes corrections of answers, and undoes them.

    Args:
        changes: gives the editors that change the answers.
    """

    def __init__(self, changes: UndoableChanges):
        self._changes = changes
        # The answer in which everything that is painted is a correction, and the last other one.
        self._watched: CorrectedAnswer | None = None
        self._other: CorrectedAnswer | None = None

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._watched = self._other = None

    def corrections(self, volume_node) -> Corrections | None:
        """All corrections of a volume, with the label values of its drawing; None without any."""
        segmentation = scene.annotated_segmentation(volume_node)
        if segmentation is None or not scene.has_corrections(segmentation):
            return None
        return scene.corrections_of(segmentation, volume_node, scene.label_values(segmentation))

    def count(self, volume_node) -> int:
        """How many corrections a volume has."""
        found = self.corrections(volume_node)
        return len(found.strokes) if found is not None else 0

    def correct(
        self,
        volume_node,
        structure: str,
        at: Sequence[float],
        outside: bool = False,
        radius: float = 0.0,
        result_node=None,
        seconds: float = 0.0,
    ) -> CorrectionReport:
        """Say of the voxels around a point that they are a structure, or that they are not: see `ConsoleLogic`."""
        answer = self._answer_of(volume_node, _required_result(volume_node, result_node))
        if structure not in answer.segments.values():
            known = listed([f"'{name}'" for name in answer.segments.values()], 8)
            raise BadInputError(
                _("'{result}' has no segment '{structure}'. It has: {known}.").format(
                    result=answer.node.GetName(), structure=structure, known=known
                )
            )
        geometry = scene.geometry_of(volume_node)
        stroke = Stroke.ball(geometry, at, answer.values[structure], not outside, radius, seconds)
        report = self._add(answer, [stroke])
        if not report.voxels:
            raise BadInputError(joined(" ", report.notes))
        return report

    def begin(self, volume_node, result_node) -> None:
        """From now on, what is painted in a result are corrections of it."""
        answer = self._answer_of(volume_node, result_node)
        if answer.drawing is not None:
            what_is_known(answer)  # now, and not with the first stroke
            self._show(answer)
        self._watched, self._other = answer, None

    def end(self) -> None:
        """What is painted from now on are no corrections."""
        if self._watched is not None:
            self._watched, self._other = None, self._watched

    def take_strokes(self, volume_node, result_node, seconds: float = 0.0) -> CorrectionReport | None:
        """Take what has been painted or erased in a result since `begin` as corrections; None if nothing was.

        `seconds`: what the strokes took. Raises BadInputError when they cannot be corrections; they are put back then,
        where that is possible.
        """
        answer = self._watched
        if answer is None or not answer.is_of(volume_node, result_node):
            raise BadInputError(
                _(
                    "Another segmentation is drawn in since the correction of '{result}' began, so what was painted is "
                    "no correction. Switch 'Correct the answer' off and on again."
                ).format(result=result_node.GetName())
            )
        return self._take(answer, seconds)

    def clear(self, volume_node) -> bool:
        """Remove all corrections of a volume; True when the answer that took them in is as it was before them.

        Raises BadInputError if there are none.
        """
        segmentation = scene.annotated_segmentation(volume_node)
        if segmentation is None or not scene.has_corrections(segmentation):
            raise BadInputError(_("'{volume}' has no corrections.").format(volume=volume_node.GetName()))
        is_reverted = False
        latest = latest_result(volume_node)
        for answer in self._answers_of(volume_node):
            if answer.made and answer.is_current and answer.node is latest and not answer.steps[0].corrections[0]:
                while answer.made:
                    self._move(answer, back=True)
                is_reverted = True
            else:
                answer.is_current = False
            answer.steps, answer.made = [], 0
        # Without reading them: this is also the way out of damaged ones.
        scene.put_corrections_text(segmentation, "")
        return is_reverted

    def undo(self, volume_node) -> None:
        """Take back the last correction of a volume, and what followed from it.

        Raises BadInputError if there is none.
        """
        for answer in self._answers_of(volume_node):
            if answer.made and self._is_undoable(answer):
                self._move(answer, back=True)
                return
        raise BadInputError(_("There is no correction to undo on '{volume}'.").format(volume=volume_node.GetName()))

    def redo(self, volume_node) -> None:
        """Make the correction again that was undone last. Raises BadInputError if there is none."""
        for answer in self._answers_of(volume_node):
            if answer.made < len(answer.steps) and self._is_undoable(answer):
                self._move(answer, back=False)
                return
        raise BadInputError(_("There is no correction to redo on '{volume}'.").format(volume=volume_node.GetName()))

    def can_undo(self, volume_node) -> bool:
        """True if there is a correction to undo."""
        kept = [answer for answer in (self._watched, self._other) if answer is not None and answer.is_of(volume_node)]
        return any(answer.made > 0 and self._is_undoable(answer) for answer in kept)

    def is_watching(self, volume_node, result_node) -> bool:
        """True while what is painted in a result are corrections of it."""
        return self._watched is not None and self._watched.is_of(volume_node, result_node)

    def _is_undoable(self, answer: CorrectedAnswer) -> bool:
        """False for an older result: the latest one has taken in what would be undone."""
        return answer is self._watched or answer.node is latest_result(answer.volume)

    # --- the answer that is corrected -----------------------------------------------------------------------------

    def _answer_of(self, volume_node, result_node) -> CorrectedAnswer:
        """What is kept of a result, with all that was painted in it; read if it has changed since."""
        for answer in self._answers_of(volume_node):
            if answer.node is result_node:
                return answer
        self._other = read_answer(volume_node, result_node)
        return self._other

    def _answers_of(self, volume_node) -> list[CorrectedAnswer]:
        """What is kept of results of a volume, and shows what they show now; strokes in them are taken first."""
        found = []
        for answer in (self._watched, self._other):
            if answer is None or not answer.is_of(volume_node):
                continue
            if answer is self._watched:
                self._take(answer, 0.0)
            if answer.is_as_seen:
                found.append(answer)
        return found

    def _take(self, answer: CorrectedAnswer, seconds: float) -> CorrectionReport | None:
        """Take what has changed in the node since it was seen last."""
        if answer.is_as_seen:
            return None
        self._check_is_same(answer)
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        if found is None:
            answer.stamp = scene.voxel_stamp(answer.node)
            return None
        part, now = found
        try:
            return self._add(answer, _strokes(part, answer.labels[part], now, answer.labels.shape, seconds), part)
        except BaseException:
            if self._is_kept(answer):
                self._show(answer)
            raise

    def _check_is_same(self, answer: CorrectedAnswer) -> None:
        """Raise BadInputError, and forget the answer, when segments or voxels are not those that it was read with."""
        is_same = segments_of(answer.node) == answer.segments
        if answer.drawing is not None:
            now = segments_of(answer.drawing)
            is_same = is_same and all(now.get(s) == name for s, name in answer.drawn_segments.items())
        text = _(
            "Segments of '{result}', or of the drawing, were added, renamed or removed while the answer was corrected, "
            "so what was painted last is no correction. Switch 'Correct the answer' off and on again."
        )
        if is_same and scene.grid_of(answer.node, answer.volume) != answer.grid:
            is_same = False
            text = _(
                "The volume or '{result}' has been moved while the answer was corrected, so what was painted last is "
                "no correction. Switch 'Correct the answer' off and on again."
            )
        if is_same:
            return
        if answer is self._watched:
            self._watched = None
        if answer is self._other:
            self._other = None
        raise BadInputError(text.format(result=answer.node.GetName()))

    def _is_kept(self, answer: CorrectedAnswer) -> bool:
        return answer is self._watched or answer is self._other

    def _add(self, answer: CorrectedAnswer, strokes: Sequence[Stroke], painted: Box | None = None) -> CorrectionReport:
        """Add strokes, and let the answer follow. `painted`: where the node may show other labels than before."""
        self._check_is_same(answer)
        scene.require_current(answer.node, answer.volume, answer.drawing, list(answer.drawn_segments.values()))
        make_room(answer)
        annotation, is_read_again = what_is_known(answer)
        text_before, labels, sure = scene.corrections_text(answer.drawing), answer.labels, answer.confidence
        # Only the part that can change: copies of large volumes would take long.
        parts = [reachable(stroke, annotation) for stroke in strokes]
        place = enclosing_box([*parts, painted] if painted is not None else parts)
        assert place is not None
        before, sure_before = labels[place].copy(), sure[place].copy()
        try:
            image = answer.image()
            kept, notes, annotation = _spread(strokes, labels, sure, image, annotation)
            count = store_strokes(answer, kept)
        except BaseException:
            # All of it, or nothing.
            labels[place], sure[place] = before, sure_before
            scene.put_corrections_text(answer.drawing, text_before)
            raise
        after = labels[place].copy()
        if kept:
            answer.annotation, answer.known_text = annotation, scene.corrections_text(answer.drawing)
            texts = text_before, answer.known_text
            answer.add_step(step_of(place, (before, after), (sure_before, sure[place]), texts))
            self._leave_behind(answer)
        if is_read_again:
            self._show(answer)
        else:
            changes = [part for part in (_changed(place, before, after), painted) if part is not None]
            to_show = enclosing_box(changes)
            if to_show is not None:
                self._put(answer, to_show)
        self._finish(answer)
        followed = before != after
        for stroke in kept:
            followed[_places(stroke, place, labels.shape)] = False
        voxels = sum(len(stroke.voxels) for stroke in kept)
        changed = int(np.count_nonzero(followed))
        return CorrectionReport(count, voxels, changed, tuple(dict.fromkeys(notes)), _middle(kept, labels.shape))

    def _leave_behind(self, answer: CorrectedAnswer) -> None:
        """Another answer of the same drawing has not taken in what was corrected in this one."""
        for other in (self._watched, self._other):
            if other is not None and other is not answer and other.drawing is answer.drawing:
                other.steps, other.made, other.is_current = [], 0, False

    def _move(self, answer: CorrectedAnswer, back: bool) -> None:
        """Undo the last step, or make the next one again; drawn slices stay as they are drawn now."""
        self._check_is_same(answer)
        step = answer.steps[answer.made - 1 if back else answer.made]
        which = 0 if back else 1
        answer.labels[step.part] = step.labels[which]
        answer.confidence[step.part] = step.confidence[which]
        answer.made += -1 if back else 1
        scene.put_corrections_text(answer.drawing, step.corrections[which])
        annotation, _is_read_again = what_is_known(answer)
        annotation.restore_drawn(answer.labels)
        self._show(answer)
        self._finish(answer)

    def _show(self, answer: CorrectedAnswer) -> None:
        """Make the node show the labels everywhere."""
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        if found is not None:
            self._put(answer, found[0])
        answer.stamp = scene.voxel_stamp(answer.node)

    def _put(self, answer: CorrectedAnswer, part: Box) -> None:
        """Make the node show the labels in a part of the volume."""
        editor = self._changes.editor(answer.volume, answer.node)
        scene.put_labels(answer.node, answer.volume, part, answer.labels[part], answer.values, editor)

    def _finish(self, answer: CorrectedAnswer) -> None:
        """Note that the answer has taken the corrections in, and that it is as it was seen."""
        if answer.is_current:
            scene.note_corrections(answer.node, answer.volume)
        confidence = scene.confidence_of(answer.node)
        if confidence is not None:
            slicer.util.arrayFromVolumeModified(confidence)
        answer.stamp = scene.voxel_stamp(answer.node)


def _required_result(volume_node, result_node):
    node = result_node if result_node is not None else latest_result(volume_node)
    if node is None:
        raise BadInputError(
            _("'{volume}' has no result to correct. Fill between slices, or run a model on it, first.").format(
                volume=volume_node.GetName()
            )
        )
    return node


def _spread(
    strokes: Sequence[Stroke], labels: np.ndarray, sure: np.ndarray, image: np.ndarray, annotation: SparseAnnotation
) -> tuple[list[Stroke], list[str], SparseAnnotation]:
    """Spread strokes into labels and confidence, in place: what is left of them off the drawn slices, and notes."""
    notes: list[str] = []
    kept: list[Stroke] = []
    for stroke in strokes:
        try:
            added = with_correction(annotation, stroke)
        except BadInputError as error:
            notes.append(error.message)
            continue
        spread(labels, sure, image, added.annotation, added.stroke)
        annotation = added.annotation
        kept.append(added.stroke)
        notes += added.notes
    return kept, notes, annotation


def _strokes(part: Box, before: np.ndarray, now: np.ndarray, shape: tuple[int, ...], seconds: float) -> list[Stroke]:
    """What was painted in a part of the volume, by structure; and what was erased to nothing."""
    different = before != now
    found: list[tuple[int, bool, np.ndarray]] = []
    for value in np.unique(before[different & (now == 0)]).tolist():
        found.append((value, False, different & (now == 0) & (before == value)))
    for value in np.unique(now[different]).tolist():
        if value:
            found.append((value, True, different & (now == value)))
    strokes = []
    for value, is_in, mask in found:
        places = [axis + side.start for axis, side in zip(np.nonzero(mask), part, strict=True)]
        voxels = np.sort(np.ravel_multi_index(tuple(places), shape)).astype(np.int64)
        strokes.append(Stroke(voxels, value, is_in, seconds / len(found)))
    return strokes


def _places(stroke: Stroke, part: Box, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Where the voxels of a stroke lie in a part of the volume that holds them."""
    places = np.unravel_index(stroke.voxels, shape)
    return tuple(axis - side.start for axis, side in zip(places, part, strict=True))


def _changed(place: Box, before: np.ndarray, after: np.ndarray) -> Box | None:
    """The part of the volume in which labels of a place differ; None when they are the same."""
    box = bounding_box(before != after)
    return moved(box, place) if box is not None else None


def _middle(strokes: Sequence[Stroke], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(K, J, I) of a voxel in the middle of strokes; None without any."""
    if not strokes:
        return None
    voxels = strokes[0].voxels
    k, j, i = np.unravel_index(int(voxels[len(voxels) // 2]), shape)
    return int(k), int(j), int(i)
