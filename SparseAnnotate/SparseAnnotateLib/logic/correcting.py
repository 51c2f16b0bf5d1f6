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
_MOST_STEPS = 50
_Part = tuple[Box, np.ndarray, np.ndarray]
"""A part of the volume, and the labels or confidences there before and after a correction."""


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


@dataclass
class _Step:
    """One correction of an answer, to be found again when the Segment Editor undoes or redoes it."""

    before: int
    after: int
    text_before: str
    text_after: str
    labels: _Part
    confidence: _Part


@dataclass
class _Answer:
    """An answer that is being corrected.

    Attributes:
        values: label of each segment name. labels: (K, J, I) of the node as it was seen last. stamp: of the node then.
        mark: changes with every voxel, the same for the same labels. confidence: (K, J, I) percent, in place.
        drawing: the segmentation that is drawn in. is_current: it has taken in all corrections that there are.
        is_watched: what is painted in the node are corrections.
        annotation, known_by: what is known of the volume, and what that was read from.
    """

    volume: Any
    node: Any
    values: dict[str, int]
    labels: np.ndarray
    confidence: np.ndarray
    stamp: tuple
    drawing: Any
    is_current: bool
    is_watched: bool = False
    mark: int = 0
    annotation: SparseAnnotation | None = None
    known_by: tuple = ()
    steps: list[_Step] = field(default_factory=list)
    _image: tuple[int, np.ndarray] | None = None

    def image(self) -> np.ndarray:
        """(K, J, I): the image, which is checked again only when it has changed."""
        now = self.volume.GetImageData().GetMTime()
        if self._image is None or self._image[0] != now:
            self._image = now, scene.image_of(self.volume)
        return self._image[1]

    def place_of(self, mark: int) -> int:
        """How many of the steps have been made when the labels have this mark."""
        return next((n for n, step in enumerate(self.steps) if step.before == mark), len(self.steps))

    @property
    def position(self) -> int:
        """How many of the steps have been made: the others have been undone."""
        return self.place_of(self.mark)


class Correcting:
    """Takes corrections of answers, and undoes them.

    Args:
        changes: gives the editors that change the answers.
    """

    def __init__(self, changes: UndoableChanges):
        self._changes = changes
        self._answer: _Answer | None = None

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._answer = None

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
        names = [name for name in answer.values if name == structure]
        if not names:
            known = listed([f"'{name}'" for name in answer.values], 8)
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
            _known(answer, answer.drawing)  # now, and not with the first stroke
            self._show(answer)
            answer.stamp = scene.voxel_stamp(result_node)
        answer.is_watched = True

    def end(self) -> None:
        """What is painted from now on are no corrections."""
        if self._answer is not None:
            self._answer.is_watched = False

    def take_strokes(self, volume_node, result_node, seconds: float = 0.0) -> CorrectionReport | None:
        """Take what has been painted or erased in a result since `begin` as corrections; None if nothing was.

        What the Segment Editor has undone is taken back. `seconds`: what the strokes took.
        """
        answer = self._answer
        if answer is None or not answer.is_watched or not _is_of(answer, volume_node, result_node):
            return None
        return self._take(answer, seconds)

    def clear(self, volume_node) -> None:
        """Remove all corrections of a volume; the answer that took them in becomes what it was before them.

        Raises BadInputError if there are none.
        """
        segmentation = scene.annotated_segmentation(volume_node)
        if segmentation is None or not scene.has_corrections(segmentation):
            raise BadInputError(_("'{volume}' has no corrections.").format(volume=volume_node.GetName()))
        answer = self._answer
        if answer is not None and self._is_seen(answer, volume_node):
            steps = answer.steps[: answer.position]
            if steps and answer.mark == steps[-1].after and not steps[0].text_before:
                for step in reversed(steps):
                    self._go_back(answer, step)
            answer.steps = []
        # Without reading them: this is also the way out of damaged ones.
        scene.put_corrections_text(segmentation, "")

    def undo(self, volume_node) -> None:
        """Take back the last correction of a volume, and what followed from it.

        Raises BadInputError if there is none.
        """
        answer = self._answer
        position = answer.position if answer is not None and self._is_seen(answer, volume_node) else 0
        if answer is None or not position or answer.steps[position - 1].after != answer.mark:
            raise BadInputError(_("There is no correction to undo on '{volume}'.").format(volume=volume_node.GetName()))
        self._go_back(answer, answer.steps[position - 1])

    # --- the answer that is corrected -----------------------------------------------------------------------------

    def _answer_of(self, volume_node, result_node) -> _Answer:
        answer = self._answer
        if answer is None or not _is_of(answer, volume_node, result_node) or not self._is_seen(answer, volume_node):
            self._answer = answer = _read(volume_node, result_node)
        return answer

    def _is_seen(self, answer: _Answer, volume_node) -> bool:
        """Whether the answer is still there, and as it was seen last; strokes that were not taken are taken first."""
        if answer.volume is not volume_node or answer.node.GetScene() is None:
            return False
        if answer.is_watched:
            self._take(answer, 0.0)
        return bool(answer.stamp == scene.voxel_stamp(answer.node))

    def _take(self, answer: _Answer, seconds: float) -> CorrectionReport | None:
        """Take what has changed in the node since it was seen last."""
        stamp = scene.voxel_stamp(answer.node)
        if stamp == answer.stamp:
            return None
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        answer.stamp = stamp
        if found is None:
            return None
        part, now = found
        mark = answer.mark + _difference(part, answer.labels[part], now, answer.labels.shape)
        if self._is_undone(answer, mark % _MODULUS, part, now):
            return CorrectionReport(self.count(answer.volume))
        return self._add(answer, _strokes(part, answer.labels[part], now, answer.labels.shape, seconds), (part, now))

    def _is_undone(self, answer: _Answer, mark: int, part: Box, now: np.ndarray) -> bool:
        """Whether the labels are those before or after an earlier correction; then the corrections follow."""
        if not any(mark in (step.before, step.after) for step in answer.steps):
            return False
        here, there = answer.position, answer.place_of(mark)
        for step in reversed(answer.steps[there:here]):
            answer.confidence[step.confidence[0]] = step.confidence[1]
        for step in answer.steps[here:there]:
            answer.confidence[step.confidence[0]] = step.confidence[2]
        text = answer.steps[there].text_before if there < len(answer.steps) else answer.steps[-1].text_after
        answer.labels[part] = now
        answer.mark = mark
        self._finish(answer, text)
        return True

    def _add(
        self, answer: _Answer, strokes: Sequence[Stroke], painted: tuple[Box, np.ndarray] | None = None
    ) -> CorrectionReport:
        """Add strokes, and let the answer follow.

        `painted`: the part of the volume in which the node shows other labels than before, and these labels.
        """
        drawn = scene.annotated_segmentation(answer.volume)
        if drawn is not None:
            shared = [name for name in answer.values if name in scene.structure_names(drawn)]
            scene.require_current(answer.node, answer.volume, drawn, shared)
        segmentation = _drawing_with(answer)
        annotation, is_read_again = _known(answer, segmentation)
        text_before, labels, sure = scene.corrections_text(segmentation), answer.labels, answer.confidence
        # Only the part that can change: copies of large volumes would take long.
        parts = [reachable(stroke, annotation) for stroke in strokes]
        place = enclosing_box([*parts, painted[0]] if painted is not None else parts)
        assert place is not None
        before, sure_before = labels[place].copy(), sure[place].copy()
        notes: list[str] = []
        kept: list[Stroke] = []
        image = answer.image()
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
        if kept:
            scene.store_corrections(segmentation, answer.volume, annotation.corrections, answer.values)
            answer.annotation = annotation
        after = labels[place].copy()
        mark = (answer.mark + _difference(place, before, after, labels.shape)) % _MODULUS
        text = scene.corrections_text(segmentation)
        step = _Step(
            answer.mark, mark, text_before, text, (place, before, after), (place, sure_before, sure[place].copy())
        )
        if mark != answer.mark or text != text_before:
            answer.steps = [*answer.steps[: answer.position], step][-_MOST_STEPS:]
        answer.mark = mark
        if is_read_again:
            self._show(answer)
        else:
            shown = before.copy()
            if painted is not None:
                part, now = painted
                shown[_within(part, place)] = now
            self._put(answer, place, shown)
        self._finish(answer, text)
        count = len(annotation.corrections.strokes) if annotation.corrections is not None else 0
        voxels = sum(len(stroke.voxels) for stroke in kept)
        changed = max(int(np.count_nonzero(before != after)) - voxels, 0)
        return CorrectionReport(count, voxels, changed, tuple(dict.fromkeys(notes)), _middle(kept, labels.shape))

    def _show(self, answer: _Answer) -> None:
        """Make the node show the labels everywhere."""
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        if found is not None:
            self._put(answer, *found)

    def _put(self, answer: _Answer, part: Box, now: np.ndarray) -> None:
        """Make the node show the labels in a part of the volume, where it shows `now`."""
        editor = self._changes.editor(answer.volume, answer.node)
        scene.put_labels(answer.node, answer.volume, part, now, answer.labels[part], answer.values, editor)

    def _go_back(self, answer: _Answer, step: _Step) -> None:
        for array, (part, before, _after) in ((answer.labels, step.labels), (answer.confidence, step.confidence)):
            array[part] = before
        answer.mark = step.before
        self._show(answer)
        self._finish(answer, step.text_before)

    def _finish(self, answer: _Answer, text: str) -> None:
        """Store the corrections, and note that the answer has taken them in."""
        segmentation = scene.annotated_segmentation(answer.volume)
        if scene.corrections_text(segmentation) != text:
            scene.put_corrections_text(segmentation, text)
        if answer.is_current:
            scene.note_corrections(answer.node, answer.volume)
        confidence = scene.confidence_of(answer.node)
        if confidence is not None:
            slicer.util.arrayFromVolumeModified(confidence)
        answer.stamp = scene.voxel_stamp(answer.node)


_MODULUS = 2**64


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
    segmentation = scene.annotated_segmentation(volume_node)
    own = scene.label_values(segmentation) if segmentation is not None else {}
    names = scene.segment_names(result_node)
    scene.require_current(result_node, volume_node, segmentation, [n for n in names if n in own])
    values = dict(own)
    for name in names:
        values.setdefault(name, len(values) + 1)
    labels = scene.labels_of(result_node, volume_node, {name: values[name] for name in names})
    confidence_node = scene.confidence_of(result_node)
    confidence = None
    if confidence_node is not None:
        # Slicer may store it in another orientation than the volume when a scene is opened.
        array, grid = slicer.util.arrayFromVolume(confidence_node), scene.geometry_of(confidence_node)
        confidence = scene.geometry_of(volume_node).with_same_voxels(array, grid)
    if confidence is None:
        confidence = np.full(labels.shape, _CONFIDENCE, dtype=np.uint8)
    stamp, is_current = scene.voxel_stamp(result_node), not scene.corrected_since(result_node, volume_node)
    return _Answer(volume_node, result_node, values, labels, confidence, stamp, segmentation, is_current)


def _is_of(answer: _Answer, volume_node, result_node) -> bool:
    """Whether this is what is kept of a result. Another frame of a sequence has another drawing."""
    is_same = answer.node is result_node and answer.volume is volume_node
    return is_same and answer.drawing in (None, scene.annotated_segmentation(volume_node))


def _drawing_with(answer: _Answer):
    """The segmentation that is drawn in, with all segments of the answer: corrections are stored in it."""
    segmentation = scene.annotated_segmentation(answer.volume, create=True)
    known = scene.structure_names(segmentation)
    if any(name not in known for name in scene.segment_names(answer.node)):
        scene.add_segments_like(segmentation, answer.node)
    return segmentation


def _within(part: Box, whole: Box) -> Box:
    """Where a part of the volume lies in a larger part."""
    return along_axes(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True))


def _known(answer: _Answer, segmentation) -> tuple[SparseAnnotation, bool]:
    """What is known of the volume, and whether drawn slices were read again: when something was drawn or marked."""
    known_by = (scene.voxel_stamp(segmentation), scene.stored_ledger(segmentation, answer.volume))
    if answer.annotation is None or known_by != answer.known_by:
        answer.annotation = scene.annotation_of(answer.volume, segmentation, answer.values)
        answer.known_by = known_by
        labels = answer.labels.copy()
        answer.annotation.restore_drawn(answer.labels)
        whole = bounding_box(labels != answer.labels)
        if whole is not None:
            answer.mark += _difference(whole, labels[whole], answer.labels[whole], labels.shape)
            answer.mark %= _MODULUS
        return answer.annotation, True
    stored = scene.corrections_of(segmentation, answer.volume, answer.values)
    before = answer.annotation.corrections
    if (stored.strokes if stored is not None else ()) != (before.strokes if before is not None else ()):
        answer.annotation = replace(answer.annotation, corrections=stored)
    return answer.annotation, False


def _middle(strokes: Sequence[Stroke], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(K, J, I) of a voxel in the middle of strokes; None without any."""
    if not strokes:
        return None
    voxels = strokes[0].voxels
    k, j, i = np.unravel_index(int(voxels[len(voxels) // 2]), shape)
    return int(k), int(j), int(i)


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


def _difference(part: Box, before: np.ndarray, after: np.ndarray, shape: tuple[int, ...]) -> int:
    """What the change of some voxels adds to a sum over all voxels that tells label arrays apart."""
    places = np.nonzero(before != after)
    voxels = np.ravel_multi_index(tuple(p + s.start for p, s in zip(places, part, strict=True)), shape)
    sums = [int(_mixed(voxels, labels[places]).sum(dtype=np.uint64)) for labels in (after, before)]
    return sums[0] - sums[1]


def _mixed(voxels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) uint64: a number for each voxel with its label, like a random one; 0 for label 0."""
    key = voxels.astype(np.uint64) * np.uint64(65536) + labels.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = np.where(labels > 0, key ^ (key >> np.uint64(31)), np.uint64(0))
    return mixed
