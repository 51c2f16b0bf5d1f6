"""An answer that is being corrected: what it shows, what is known of its volume, and the steps to undo."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import slicer

from .. import scene
from ..core import BadInputError, SparseAnnotateError, SparseAnnotation
from ..core.annotation import DecidedSlices
from ..core.corrections import Corrections, Stroke
from ..core.messages import _
from ..core.pieces import result_of, slabs
from ..core.voxel_boxes import Box, along_axes, bounding_box
from ..interpolation.seen_channels import StructureImage, finding_image_of_structure
from .correction_report import CorrectionReport
from .pending_steps import PendingStep, without_pending
from .result_stamp import result_stamp

_CONFIDENCE = 90  # percent, of a result without one
_MOST_STEPS, _MOST_BYTES = 50, 1 << 29  # to undo

_ChosenImages = tuple[tuple, list[np.ndarray], dict[int, StructureImage]]
"""What images are chosen by, the channels, and the image of each label that has been chosen."""


@dataclass(frozen=True, eq=False)
class Step:
    """One correction of an answer: the part of the volume that it changed, and what was there before and after.

    Attributes:
        is_current: whether the answer had taken in all corrections before, and after.
    """

    part: Box
    labels: tuple[np.ndarray, np.ndarray]
    confidence: tuple[np.ndarray, np.ndarray]
    corrections: tuple[str, str]
    is_current: tuple[bool, bool]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(array.nbytes for array in (*self.labels, *self.confidence))


@dataclass
class CorrectedAnswer:
    """An answer that is being corrected.

    Attributes:
        drawing: the segmentation that is drawn in; None before there is one.
        values: label of each segment name. segments: IDs and names of the result's segments when it was read.
        drawn_segments: the same of the drawing.
        labels: (K, J, I) of the node as it was seen last. stamp: of its voxels then.
        confidence: (K, J, I) percent, changed in place.
        frame: of a sequence, that the volume showed; None: it does not belong to one.
        is_current: it has taken in all corrections that there are.
        steps: corrections. made: how many of them; the others have been undone.
        pending: further ones of which it is being found out what follows; `labels` show them, `confidence` does not.
        undone: strokes of pending ones that have been undone, the last one last.
        work: finds out what follows from the first of the pending ones; None: not begun.
        is_followed: a job does that from the event loop.
        stopped_by: why it has not followed from the last steps that it was stopped with; None: it never was.
        on_followed: called with a CorrectionReport, or None and an error, when all is known that follows from a step;
            None: it is found out at once.
        on_painted: takes, as the user is shown, what has been painted in it meanwhile; None: that is taken as it is.
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
    frame: scene.Frame | None = None
    annotation: SparseAnnotation | None = None
    known_by: tuple = ()
    known_text: str = ""
    steps: list[Step] = field(default_factory=list)
    made: int = 0
    pending: list[PendingStep] = field(default_factory=list)
    undone: list[Sequence[Stroke]] = field(default_factory=list)
    work: Generator[None, None, None] | None = None
    is_followed: bool = False
    stopped_by: SparseAnnotateError | None = None
    on_followed: Callable[[CorrectionReport | None, SparseAnnotateError | None], None] | None = None
    on_painted: Callable[[], None] | None = None
    _images: _ChosenImages | None = None
    _ahead: _ChosenImages | None = None

    def is_of(self, volume_node, result_node=None) -> bool:
        """Whether this is what is kept of a result; None: of any. Another frame of a sequence has another drawing."""
        if self.volume is not volume_node or self.node.GetScene() is None or result_node not in (None, self.node):
            return False
        if self.frame != scene.frame_of(volume_node):
            return False
        return self.drawing in (None, scene.annotated_segmentation(volume_node))

    @property
    def is_as_seen(self) -> bool:
        """Whether nothing has changed in the node since it was seen last, and its voxels are where they were."""
        if self.stamp != scene.voxel_stamp(self.node) or self.volume.GetImageData() is None:
            return False
        try:
            return bool(scene.grid_of(self.node, self.volume) == self.grid)
        except BadInputError:  # a transform is not linear
            return False

    @property
    def size(self) -> int:
        """Bytes of what cannot be read again."""
        return self.labels.nbytes + self.confidence.nbytes + sum(step.size for step in self.steps)

    def forget_read(self) -> None:
        """Forget what can be read again, because it takes memory."""
        if not self.pending:
            self.annotation, self._images, self._ahead = None, None, None

    def forget_steps(self) -> None:
        """Nothing can be undone or made again any more."""
        self.steps, self.made, self.undone = [], 0, []

    def forget_undone(self) -> None:
        """What was undone cannot be made again any more."""
        self.steps, self.undone = self.steps[: self.made], []

    def add_step(self, step: Step) -> None:
        """Keep a step, instead of those that were undone; of many, or large ones, only the last."""
        steps = [*self.steps[: self.made], step][-_MOST_STEPS:]
        while len(steps) > 1 and sum(one.size for one in steps) > _MOST_BYTES:
            del steps[0]
        self.steps, self.made = steps, len(steps)

    def image(self, value: int) -> StructureImage:
        """(K, J, I): the image, or of several channels what shows a structure best on the drawn slices.

        It is checked and chosen again only when images or drawn slices have changed.
        """
        return result_of(self.choosing_image(value))

    def choosing_image(self, value: int) -> Generator[None, None, StructureImage]:
        """`image` in pieces."""
        now = self._chosen_by(self.known_by)
        if self._images is None or self._images[0] != now:
            is_chosen = self._ahead is not None and self._ahead[0] == now
            self._images = self._ahead if is_chosen else (now, scene.images_of_channels(self.volume), {})
        assert self._images is not None
        return (yield from _choosing(self._images, self.annotation, value))

    def choosing_ahead(self) -> Generator[None, None, None]:
        """In pieces: choose each structure's image by the slices that are drawn by now, before a stroke needs it.

        Nothing else of the answer changes, and nothing is used when the drawing changes meanwhile.
        """
        known_by = _known_by(self)
        annotation = yield from scene.reading_annotation(self.volume, self.drawing, self.values)
        if not self.is_of(self.volume) or _known_by(self) != known_by:
            return
        self._ahead = self._chosen_by(known_by), scene.images_of_channels(self.volume), {}
        ahead = self._ahead
        for name in self.segments.values():
            yield from _choosing(ahead, annotation, self.values[name])

    def _chosen_by(self, known_by: tuple) -> tuple:
        """What images are chosen by: the images and, of several channels, what is drawn."""
        further = scene.channels_stamp(self.volume)
        return self.volume.GetImageData().GetMTime(), further, known_by if further else ()


def _choosing(
    images: _ChosenImages, annotation: SparseAnnotation | None, value: int
) -> Generator[None, None, StructureImage]:
    """The image of a structure in pieces, which is kept with the others.

    When images or slices change meanwhile, what is found is kept with the old ones, and not used.
    """
    _stamp, channels, chosen = images
    if len(channels) == 1 or annotation is None:
        return channels[0]
    if value not in chosen:
        chosen[value], _weights = yield from finding_image_of_structure(channels, annotation, value)
    return chosen[value]


def read_answer(volume_node, result_node) -> CorrectedAnswer:
    """Read an answer to be corrected. Raises BadInputError when it is out of date, or no result."""
    return result_of(_reading_labels(volume_node, result_node))


def reading_answer(volume_node, result_node) -> Generator[None, None, CorrectedAnswer | None]:
    """`read_answer` in pieces; None when something was changed between two of them."""
    unchanged = _unchanged(volume_node, result_node)
    return (yield from _while(unchanged, _reading_labels(volume_node, result_node)))


def reading_known(answer: CorrectedAnswer) -> Generator[None, None, bool]:
    """`what_is_known` in pieces, of an answer without pending steps; False when something was changed meanwhile.

    The node may then still show others than the labels on drawn slices.
    """
    if answer.drawing is None or (answer.annotation is not None and answer.known_by == _known_by(answer)):
        return True
    unchanged = _unchanged(answer.volume, answer.node)
    known_by, known_text = _known_by(answer), scene.corrections_text(answer.drawing)

    # Giving up loses nothing: the next use of the answer reads and restores all of this again.
    def is_same() -> bool:
        return not answer.pending and unchanged()

    reading = scene.reading_annotation(answer.volume, answer.drawing, answer.values)
    annotation = yield from _while(is_same, reading)
    if annotation is None:
        return False
    yield from _while(is_same, (None for _step in annotation.restoring_drawn(answer.labels)))
    if not is_same():
        return False
    answer.annotation, answer.known_by, answer.known_text = annotation, known_by, known_text
    return True


def _unchanged(volume_node, result_node) -> Callable[[], bool]:
    """Tells whether the nodes are in the scene, and nothing has changed in them from now on."""
    before = result_stamp(volume_node, result_node)
    return lambda: bool(before) and result_stamp(volume_node, result_node) == before


def _while(is_same: Callable[[], bool], pieces: Iterator[None]) -> Generator[None, None, Any]:
    """Pieces of work, none of which is begun when something has changed before it; the result is None then."""
    while is_same():
        try:
            next(pieces)
        except StopIteration as end:
            return end.value if is_same() else None
        yield
    return None


def _reading_labels(volume_node, result_node) -> Generator[None, None, CorrectedAnswer]:
    """The answer in pieces; without meaning when something was changed between two of them."""
    if scene.made_by(result_node) is None or scene.volume_of(result_node) is not volume_node:
        raise BadInputError(
            _("'{result}' is not a result of '{volume}'. Correct a fill, or a model's result, of this volume.").format(
                result=result_node.GetName(), volume=volume_node.GetName()
            )
        )
    drawing = scene.annotated_segmentation(volume_node)
    own, frame = scene.label_values(drawing) if drawing is not None else {}, scene.frame_of(volume_node)
    names = scene.segment_names(result_node)
    scene.require_current(result_node, volume_node, drawing, [name for name in names if name in own])
    values = dict(own)
    for name in names:
        values.setdefault(name, len(values) + 1)
    stamp, is_current = scene.voxel_stamp(result_node), not scene.corrected_since(result_node, volume_node)
    segments, grid = segments_of(result_node), scene.grid_of(result_node, volume_node)
    drawn_segments = segments_of(drawing) if drawing is not None else {}
    named = {name: values[name] for name in names}
    labels = yield from scene.collecting_labels(result_node, volume_node, named)
    if labels is None:
        labels = scene.labels_of(result_node, volume_node, named)
    confidence_node, confidence = scene.confidence_of(result_node), None
    if confidence_node is not None:
        # Slicer may store it in another orientation than the volume when a scene is opened.
        array, stored = slicer.util.arrayFromVolume(confidence_node), scene.geometry_of(confidence_node)
        confidence = scene.geometry_of(volume_node).with_same_voxels(array, stored)
    if confidence is None:
        confidence = np.empty(labels.shape, dtype=np.uint8)
        for slab in slabs(labels.shape, 1):
            confidence[slab] = _CONFIDENCE
            yield
    return CorrectedAnswer(
        volume_node,
        result_node,
        drawing,
        values,
        segments,
        drawn_segments,
        labels,
        confidence,
        stamp,
        grid,
        is_current,
        frame,
    )


def segments_of(segmentation_node) -> dict[str, str]:
    """ID and name of each segment."""
    segmentation = segmentation_node.GetSegmentation()
    return {s: segmentation.GetSegment(s).GetName() for s in scene.segment_ids(segmentation_node)}


def make_room(answer: CorrectedAnswer) -> None:
    """Create the drawing if there is none, with all segments of the answer: corrections are stored in it."""
    if answer.drawing is None:
        answer.drawing = scene.annotated_segmentation(answer.volume, create=True)
    known = set(scene.structure_names(answer.drawing))
    if not known.issuperset(answer.segments.values()):
        scene.add_segments_like(answer.drawing, answer.node)
    answer.drawn_segments = {s: name for s, name in segments_of(answer.drawing).items() if name in answer.values}


def what_is_known(answer: CorrectedAnswer) -> tuple[SparseAnnotation, bool]:
    """What is known of the volume, and whether drawn slices were read again: when something was drawn or marked.

    The labels agree then with the drawn slices, and with the corrections whose steps are not pending.
    """
    known_by = _known_by(answer)
    if answer.annotation is None or known_by != answer.known_by:
        answer.annotation = scene.annotation_of(answer.volume, answer.drawing, answer.values)
        answer.known_by, answer.known_text = known_by, scene.corrections_text(answer.drawing)
        with without_pending(answer.labels, answer.pending):
            restore_known(answer)
            _know_anew(answer)
        return answer.annotation, True
    if scene.corrections_text(answer.drawing) != answer.known_text:
        stored = scene.corrections_of(answer.drawing, answer.volume, answer.values)
        answer.annotation = replace(answer.annotation, corrections=stored)
        answer.known_text = scene.corrections_text(answer.drawing)
    return answer.annotation, False


def _known_by(answer: CorrectedAnswer) -> tuple:
    return scene.voxel_stamp(answer.drawing), scene.stored_ledger(answer.drawing, answer.volume)


def restore_known(answer: CorrectedAnswer) -> None:
    """Make labels that do not show what is pending agree with drawn slices, and corrections that are not pending."""
    annotation = answer.annotation
    assert annotation is not None
    if answer.pending:
        annotation = replace(annotation, corrections=_first_corrections(answer, answer.pending[0].before))
    annotation.restore_drawn(answer.labels)


def _know_anew(answer: CorrectedAnswer) -> None:
    """Let pending steps know of slices that were drawn after them, and not show anything else there.

    What lies on such a slice itself still is to follow, from what was known before: the slice does not show that it was
    a correction.
    """
    assert answer.annotation is not None
    decided = DecidedSlices(answer.annotation.ledger, answer.annotation.geometry)
    for step in answer.pending:
        step.show_only(~decided.at(step.voxels))
        if not any(decided.at(stroke.voxels).any() for stroke in step.strokes):
            step.annotations = [
                replace(answer.annotation, corrections=_first_corrections(answer, step.before + number))
                for number in range(1, len(step.strokes) + 1)
            ]
            step.known_by = answer.known_by


def _first_corrections(answer: CorrectedAnswer, count: int) -> Corrections | None:
    stored = scene.corrections_of(answer.drawing, answer.volume, answer.values)
    return replace(stored, strokes=stored.strokes[:count]) if stored is not None and count else None


def store_strokes(answer: CorrectedAnswer, strokes: Sequence[Stroke]) -> int:
    """Store strokes after those that there are, on slices that have been drawn since, too; how many there are now."""
    stored = scene.corrections_of(answer.drawing, answer.volume, answer.values)
    if stored is None:
        stored = Corrections(scene.geometry_of(answer.volume).shape)
    for stroke in strokes:
        stored = stored.with_stroke(stroke)
    if strokes:
        scene.store_corrections(answer.drawing, answer.volume, stored, answer.values)
    return len(stored.strokes)


def step_of(
    place: Box,
    labels: tuple[np.ndarray, np.ndarray],
    confidence: tuple[np.ndarray, np.ndarray],
    corrections: tuple[str, str],
    is_current: tuple[bool, bool],
) -> Step:
    """A step of the part of a place in which something changed."""
    box = bounding_box((labels[0] != labels[1]) | (confidence[0] != confidence[1])) or (slice(0, 0),) * 3
    part = moved(box, place)
    return Step(
        part,
        (labels[0][box].copy(), labels[1][box].copy()),
        (confidence[0][box].copy(), confidence[1][box].copy()),
        corrections,
        is_current,
    )


def moved(box: Box, place: Box) -> Box:
    """A part of a place, as part of the volume."""
    return along_axes(slice(p.start + b.start, p.start + b.stop) for p, b in zip(place, box, strict=True))
