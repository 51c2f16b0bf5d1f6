"""Corrections in the scene: a stroke in an answer is stored with the drawing, and the answer follows at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import slicer

from .. import scene
from ..core import BadInputError, SparseAnnotation
from ..core.added_corrections import with_correction
from ..core.corrections import Corrections, Stroke
from ..core.messages import _, joined, listed
from ..core.voxel_boxes import Box, along_axes, bounding_box, enclosing_box
from ..interpolation.correcting import correct as spread
from ..interpolation.correcting import reachable
from .result_nodes import latest_result
from .undoable_changes import UndoableChanges

_CONFIDENCE = 90  # percent, of a result without one
_MOST_STEPS, _MOST_BYTES = 50, 1 << 29  # to undo


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


@dataclass(frozen=True, eq=False)
class _Step:
    """One correction of an answer: the part of the volume that it changed, and what was there before and after."""

    part: Box
    labels: tuple[np.ndarray, np.ndarray]
    confidence: tuple[np.ndarray, np.ndarray]
    corrections: tuple[str, str]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(array.nbytes for array in (*self.labels, *self.confidence))


@dataclass
class _Answer:
    """An answer that is being corrected.

    Attributes:
        drawing: the segmentation that is drawn in; None before there is one.
        values: label of each segment name. segments: IDs and names of the result's segments when it was read.
        drawn_segments: the same of the drawing.
        labels: (K, J, I) of the node as it was seen last. stamp: of its voxels then.
        confidence: (K, J, I) percent, changed in place.
        is_current: it has taken in all corrections that there are.
        steps: corrections. made: how many of them; the others have been undone.
        grid: where its voxels lie, see `scene.grid_of`.
        annotation, known_by, known_text: what is known of the volume, and what that was read from.
    """

    volume: Any
    node: Any
    drawing: Any
    values: dict[str, int]
    segments: dict[str, str]
    drawn_segments: dict[str, str]
    labels: np.ndarray
    confidence: np.ndarray
    stamp: tuple
    grid: tuple
    is_current: bool
    annotation: SparseAnnotation | None = None
    known_by: tuple = ()
    known_text: str = ""
    steps: list[_Step] = field(default_factory=list)
    made: int = 0
    _image: tuple[int, np.ndarray] | None = None

    def is_of(self, volume_node, result_node=None) -> bool:
        """Whether this is what is kept of a result; None: of any. Another frame of a sequence has another drawing."""
        if self.volume is not volume_node or self.node.GetScene() is None or result_node not in (None, self.node):
            return False
        return self.drawing in (None, scene.annotated_segmentation(volume_node))

    @property
    def is_as_seen(self) -> bool:
        """Whether nothing has changed in the node since it was seen last."""
        return bool(self.stamp == scene.voxel_stamp(self.node))

    def add_step(self, step: _Step) -> None:
        """Keep a step, instead of those that were undone; of many, or large ones, only the last."""
        steps = [*self.steps[: self.made], step][-_MOST_STEPS:]
        while len(steps) > 1 and sum(one.size for one in steps) > _MOST_BYTES:
            del steps[0]
        self.steps, self.made = steps, len(steps)

    def image(self) -> np.ndarray:
        """(K, J, I): the image, which is checked again only when it has changed."""
        now = self.volume.GetImageData().GetMTime()
        if self._image is None or self._image[0] != now:
            self._image = now, scene.image_of(self.volume)
        return self._image[1]


class Correcting:
    """Takes corrections of answers, and undoes them.

    Args:
        changes: gives the editors that change the answers.
    """

    def __init__(self, changes: UndoableChanges):
        self._changes = changes
        # The answer in which everything that is painted is a correction, and the last other one.
        self._watched: _Answer | None = None
        self._other: _Answer | None = None

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
            _known(answer)  # now, and not with the first stroke
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

    def _is_undoable(self, answer: _Answer) -> bool:
        """False for an older result: the latest one has taken in what would be undone."""
        return answer is self._watched or answer.node is latest_result(answer.volume)

    # --- the answer that is corrected -----------------------------------------------------------------------------

    def _answer_of(self, volume_node, result_node) -> _Answer:
        """What is kept of a result, with all that was painted in it; read if it has changed since."""
        for answer in self._answers_of(volume_node):
            if answer.node is result_node:
                return answer
        self._other = _read(volume_node, result_node)
        return self._other

    def _answers_of(self, volume_node) -> list[_Answer]:
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

    def _take(self, answer: _Answer, seconds: float) -> CorrectionReport | None:
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

    def _check_is_same(self, answer: _Answer) -> None:
        """Raise BadInputError, and forget the answer, when segments or voxels are not those that it was read with."""
        is_same = _segments(answer.node) == answer.segments
        if answer.drawing is not None:
            now = _segments(answer.drawing)
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

    def _is_kept(self, answer: _Answer) -> bool:
        return answer is self._watched or answer is self._other

    def _add(self, answer: _Answer, strokes: Sequence[Stroke], painted: Box | None = None) -> CorrectionReport:
        """Add strokes, and let the answer follow. `painted`: where the node may show other labels than before."""
        self._check_is_same(answer)
        scene.require_current(answer.node, answer.volume, answer.drawing, list(answer.drawn_segments.values()))
        _make_room(answer)
        annotation, is_read_again = _known(answer)
        text_before, labels, sure = scene.corrections_text(answer.drawing), answer.labels, answer.confidence
        # Only the part that can change: copies of large volumes would take long.
        parts = [reachable(stroke, annotation) for stroke in strokes]
        place = enclosing_box([*parts, painted] if painted is not None else parts)
        assert place is not None
        before, sure_before = labels[place].copy(), sure[place].copy()
        try:
            image = answer.image()
            kept, notes, annotation = _spread(strokes, labels, sure, image, annotation)
            count = _store(answer, kept)
        except BaseException:
            # All of it, or nothing.
            labels[place], sure[place] = before, sure_before
            scene.put_corrections_text(answer.drawing, text_before)
            raise
        after = labels[place].copy()
        if kept:
            answer.annotation, answer.known_text = annotation, scene.corrections_text(answer.drawing)
            texts = text_before, answer.known_text
            answer.add_step(_step_of(place, (before, after), (sure_before, sure[place]), texts))
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

    def _leave_behind(self, answer: _Answer) -> None:
        """Another answer of the same drawing has not taken in what was corrected in this one."""
        for other in (self._watched, self._other):
            if other is not None and other is not answer and other.drawing is answer.drawing:
                other.steps, other.made, other.is_current = [], 0, False

    def _move(self, answer: _Answer, back: bool) -> None:
        """Undo the last step, or make the next one again; drawn slices stay as they are drawn now."""
        self._check_is_same(answer)
        step = answer.steps[answer.made - 1 if back else answer.made]
        which = 0 if back else 1
        answer.labels[step.part] = step.labels[which]
        answer.confidence[step.part] = step.confidence[which]
        answer.made += -1 if back else 1
        scene.put_corrections_text(answer.drawing, step.corrections[which])
        annotation, _is_read_again = _known(answer)
        annotation.restore_drawn(answer.labels)
        self._show(answer)
        self._finish(answer)

    def _show(self, answer: _Answer) -> None:
        """Make the node show the labels everywhere."""
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        if found is not None:
            self._put(answer, found[0])
        answer.stamp = scene.voxel_stamp(answer.node)

    def _put(self, answer: _Answer, part: Box) -> None:
        """Make the node show the labels in a part of the volume."""
        editor = self._changes.editor(answer.volume, answer.node)
        scene.put_labels(answer.node, answer.volume, part, answer.labels[part], answer.values, editor)

    def _finish(self, answer: _Answer) -> None:
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


def _read(volume_node, result_node) -> _Answer:
    """Read an answer to be corrected. Raises BadInputError when it is out of date, or no result."""
    if scene.made_by(result_node) is None or scene.volume_of(result_node) is not volume_node:
        raise BadInputError(
            _("'{result}' is not a result of '{volume}'. Correct a fill, or a model's result, of this volume.").format(
                result=result_node.GetName(), volume=volume_node.GetName()
            )
        )
    drawing = scene.annotated_segmentation(volume_node)
    own = scene.label_values(drawing) if drawing is not None else {}
    names = scene.segment_names(result_node)
    scene.require_current(result_node, volume_node, drawing, [name for name in names if name in own])
    values = dict(own)
    for name in names:
        values.setdefault(name, len(values) + 1)
    labels = scene.labels_of(result_node, volume_node, {name: values[name] for name in names})
    confidence_node, confidence = scene.confidence_of(result_node), None
    if confidence_node is not None:
        # Slicer may store it in another orientation than the volume when a scene is opened.
        array, grid = slicer.util.arrayFromVolume(confidence_node), scene.geometry_of(confidence_node)
        confidence = scene.geometry_of(volume_node).with_same_voxels(array, grid)
    if confidence is None:
        confidence = np.full(labels.shape, _CONFIDENCE, dtype=np.uint8)
    return _Answer(
        volume_node,
        result_node,
        drawing,
        values,
        _segments(result_node),
        _segments(drawing) if drawing is not None else {},
        labels,
        confidence,
        scene.voxel_stamp(result_node),
        scene.grid_of(result_node, volume_node),
        not scene.corrected_since(result_node, volume_node),
    )


def _segments(segmentation_node) -> dict[str, str]:
    """ID and name of each segment."""
    segmentation = segmentation_node.GetSegmentation()
    return {s: segmentation.GetSegment(s).GetName() for s in scene.segment_ids(segmentation_node)}


def _make_room(answer: _Answer) -> None:
    """Create the drawing if there is none, with all segments of the answer: corrections are stored in it."""
    if answer.drawing is None:
        answer.drawing = scene.annotated_segmentation(answer.volume, create=True)
    known = set(scene.structure_names(answer.drawing))
    if not known.issuperset(answer.segments.values()):
        scene.add_segments_like(answer.drawing, answer.node)
    answer.drawn_segments = {s: name for s, name in _segments(answer.drawing).items() if name in answer.values}


def _known(answer: _Answer) -> tuple[SparseAnnotation, bool]:
    """What is known of the volume, and whether drawn slices were read again: when something was drawn or marked."""
    known_by = (scene.voxel_stamp(answer.drawing), scene.stored_ledger(answer.drawing, answer.volume))
    if answer.annotation is None or known_by != answer.known_by:
        answer.annotation = scene.annotation_of(answer.volume, answer.drawing, answer.values)
        answer.known_by, answer.known_text = known_by, scene.corrections_text(answer.drawing)
        answer.annotation.restore_drawn(answer.labels)
        return answer.annotation, True
    if scene.corrections_text(answer.drawing) != answer.known_text:
        stored = scene.corrections_of(answer.drawing, answer.volume, answer.values)
        answer.annotation = replace(answer.annotation, corrections=stored)
        answer.known_text = scene.corrections_text(answer.drawing)
    return answer.annotation, False


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


def _store(answer: _Answer, strokes: Sequence[Stroke]) -> int:
    """Store strokes after those that there are, on slices that have been drawn since, too; how many there are now."""
    stored = scene.corrections_of(answer.drawing, answer.volume, answer.values)
    if stored is None:
        stored = Corrections(scene.geometry_of(answer.volume).shape)
    for stroke in strokes:
        stored = stored.with_stroke(stroke)
    if strokes:
        scene.store_corrections(answer.drawing, answer.volume, stored, answer.values)
    return len(stored.strokes)


def _step_of(
    place: Box,
    labels: tuple[np.ndarray, np.ndarray],
    confidence: tuple[np.ndarray, np.ndarray],
    corrections: tuple[str, str],
) -> _Step:
    """A step of the part of a place in which something changed."""
    box = bounding_box((labels[0] != labels[1]) | (confidence[0] != confidence[1])) or (slice(0, 0),) * 3
    part = _moved(box, place)
    return _Step(
        part,
        (labels[0][box].copy(), labels[1][box].copy()),
        (confidence[0][box].copy(), confidence[1][box].copy()),
        corrections,
    )


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
    return _moved(box, place) if box is not None else None


def _moved(box: Box, place: Box) -> Box:
    """A part of a place, as part of the volume."""
    return along_axes(slice(p.start + b.start, p.start + b.stop) for p, b in zip(place, box, strict=True))


def _middle(strokes: Sequence[Stroke], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(K, J, I) of a voxel in the middle of strokes; None without any."""
    if not strokes:
        return None
    voxels = strokes[0].voxels
    k, j, i = np.unravel_index(int(voxels[len(voxels) // 2]), shape)
    return int(k), int(j), int(i)
