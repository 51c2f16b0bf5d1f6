"""What follows from strokes: in the slices at hand at once, in the region around them from the event loop."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np

from .. import scene
from ..client import CORRECTION, WorkerJobs
from ..core import BadInputError, CancelledError, Plane, SparseAnnotateError, SparseAnnotation
from ..core.corrections import Stroke
from ..core.messages import _
from ..core.pieces import Piece, result_of
from ..core.slow_imports import importing
from ..core.voxel_boxes import Box, along_axes, bounding_box, enclosing_box
from ..interpolation.correcting import PartAnswer, correcting, slice_answer, slice_at_hand
from .corrected_answer import CorrectedAnswer, moved, restore_known, step_of, what_is_known
from .pending_steps import PendingStep, without_pending
from .shown_answers import ShownAnswers


class FollowingStrokes:
    """Lets answers follow from strokes, one step after the other, in the order in which they were made.

    The result does not depend on when that is done: each step is computed from the answer without the later ones.

    Args:
        jobs: run the pieces from the event loop. shown: writes into the nodes.
        take_painted: takes what has been painted in an answer since it was seen last, and raises BadInputError when it
            is not the same any more.
        is_kept: whether an answer is still being corrected.
    """

    def __init__(
        self,
        jobs: WorkerJobs,
        shown: ShownAnswers,
        take_painted: Callable[[CorrectedAnswer], Any],
        is_kept: Callable[[CorrectedAnswer], bool],
    ):
        self._jobs, self._shown = jobs, shown
        self._take_painted, self._is_kept = take_painted, is_kept

    def prepare(self, answer: CorrectedAnswer) -> None:
        """Do from the event loop what the first stroke would otherwise wait for."""
        self._jobs.start(None, _prepared(answer), lambda _nothing: None, name=CORRECTION)

    def choose_ahead(self, answer: CorrectedAnswer) -> None:
        """Choose from the event loop what shows each structure to the next stroke because a slice was marked."""
        self._jobs.start(None, _chosen_ahead(answer), lambda _nothing: None, name=CORRECTION)

    def show_slices(self, answer: CorrectedAnswer, step: PendingStep) -> None:
        """Show the last step in the labels, with what follows in the slices at hand."""
        for stroke, annotation in zip(step.strokes, step.annotations, strict=True):
            given = answer.labels, answer.confidence, answer.image(stroke.value), annotation, stroke
            slices = [slice_answer(*given, *place) for place in _slices_at_hand(answer, stroke, annotation)]
            for part in (_painted(answer, stroke), *slices):
                with without_pending(answer.labels, [step]):
                    step.add(answer.labels, part)
        painted = np.concatenate([stroke.voxels for stroke in step.strokes])
        apart = int(np.count_nonzero(~np.isin(step.voxels, painted)))
        step.report = replace(step.report, changed=apart, is_following=True)

    def start(self, answer: CorrectedAnswer) -> None:
        """Find out what follows from the pending steps, from the event loop."""
        if answer.is_followed:
            return

        def ended(_result: Any, error: SparseAnnotateError | None) -> None:
            answer.is_followed = False
            if error is None:
                return
            try:
                if self._is_kept(answer):
                    self.stop(answer, error)
                    return
            except SparseAnnotateError as problem:
                error = problem
                self.forget(answer)
            if answer.on_followed is not None:
                answer.on_followed(None, error)

        answer.is_followed = True
        self._jobs.start(None, self.pieces(answer), lambda _nothing: None, ended, name=CORRECTION)

    def finish(self, answer: CorrectedAnswer) -> None:
        """Find out now what follows from the pending steps."""
        result_of(self.pieces(answer))

    def pieces(self, answer: CorrectedAnswer) -> Generator[None, None, None]:
        """In pieces: what follows from the pending steps, those that come meanwhile, too."""
        while answer.pending:
            if answer.work is None:
                answer.work = self._from_step(answer, answer.pending[0])
            try:
                next(answer.work)
            except StopIteration:
                answer.work = None
            yield

    def forget(self, answer: CorrectedAnswer) -> None:
        """The scene is being closed: no more follows, and nothing is shown."""
        if answer.work is not None:
            answer.work.close()
        answer.work, answer.pending = None, []

    def stop(self, answer: CorrectedAnswer, error: SparseAnnotateError | None = None) -> None:
        """Leave it at the voxels of the strokes: what is shown meanwhile is taken back, and no more will follow."""
        self._interrupt(answer)
        problem = error or CancelledError(_("Cancelled."))
        answer.stopped_by = problem
        while answer.pending:
            step = answer.pending[0]
            place = step.place
            with without_pending(answer.labels, answer.pending):
                before = answer.labels[place].copy(), answer.confidence[place].copy()
                step.annotations[-1].restore_known(answer.labels, answer.confidence, place)
            self._settle(answer, step, place, before, is_current=False, known_by=())
            if answer.on_followed is not None:
                answer.on_followed(None, problem)

    def drop(self, answer: CorrectedAnswer) -> None:
        """Undo the last of the pending steps."""
        step = answer.pending[-1]
        if len(answer.pending) == 1:
            self._interrupt(answer)
        with without_pending(answer.labels, answer.pending):
            answer.pending.remove(step)
        answer.undone.append(step.strokes)
        scene.put_corrections_text(answer.drawing, step.corrections[0])
        what_is_known(answer)
        self._shown.show(answer)
        self._shown.note_taken_in(answer)

    def _interrupt(self, answer: CorrectedAnswer) -> None:
        if answer.work is not None:
            answer.work.close()
            answer.work = None
            # Of several strokes, some may have been shown already.
            self._shown.put(answer, answer.pending[0].place)

    def _from_step(self, answer: CorrectedAnswer, step: PendingStep) -> Generator[None, None, None]:
        """In pieces: what follows from the first of the pending steps. Closed before the end, it takes all back."""
        place, known_by = step.place, step.known_by
        with without_pending(answer.labels, answer.pending):
            before = answer.labels[place].copy(), answer.confidence[place].copy()
        try:
            for stroke, annotation in zip(step.strokes, step.annotations, strict=True):
                given = answer.labels, answer.confidence, answer.image(stroke.value), annotation, stroke
                yield from self._pieces(answer, step, correcting(*given))
        except BaseException:
            with without_pending(answer.labels, answer.pending):
                answer.labels[place], answer.confidence[place] = before
            raise
        self._settle(answer, step, place, before, answer.is_current, known_by)
        if answer.on_followed is not None:
            answer.on_followed(step.report, None)

    def _pieces(
        self, answer: CorrectedAnswer, step: PendingStep, pieces: Generator[PartAnswer | None, None, Any]
    ) -> Generator[None, None, None]:
        """The pieces of one stroke, computed from the answer without all that is pending."""
        while True:
            if not answer.is_of(answer.volume):
                raise BadInputError(
                    _(
                        "'{volume}' shows another frame, or is drawn on in another segmentation, before '{result}' had "
                        "followed from a correction: it has the corrected voxels only. Fill again, or run the model "
                        "again."
                    ).format(volume=answer.volume.GetName(), result=answer.node.GetName())
                )
            # What has been painted meanwhile must not be written over.
            self._take_painted(answer)
            try:
                with without_pending(answer.labels, answer.pending):
                    part = next(pieces)
                    if part is not None:
                        step.add(answer.labels, part)
            except StopIteration as end:
                self._shown.put(answer, end.value.region if end.value.changed else None)
                return
            if part is not None:
                self._shown.put(answer, part.region)
            yield

    def _settle(
        self,
        answer: CorrectedAnswer,
        step: PendingStep,
        place: Box,
        before: tuple[np.ndarray, np.ndarray],
        is_current: bool,
        known_by: tuple,
    ) -> None:
        """The first of the pending steps is as it stays: keep it, to be undone, and show it.

        `known_by`: what the drawn slices were read from that it has followed with.
        """
        shown = step.shown_in(answer.labels.shape)
        with without_pending(answer.labels, answer.pending):
            answer.pending.remove(step)
        _annotation, is_read_again = what_is_known(answer)
        # Whoever has read it again: this step did not know of what has been drawn since it began.
        is_drawn_since = answer.known_by != known_by
        with without_pending(answer.labels, answer.pending):
            if is_drawn_since:
                restore_known(answer)
            labels, sure = (before[0], answer.labels[place]), (before[1], answer.confidence[place])
            answer.add_step(step_of(place, labels, sure, step.corrections, (answer.is_current, is_current)))
            different = before[0] != labels[1]
            box = bounding_box(different)
        step.report = replace(step.report, changed=step.counted_apart(place, different), is_following=False)
        answer.is_current = is_current
        if is_drawn_since or is_read_again:
            self._shown.show(answer)
        else:
            parts = [part for part in (shown, moved(box, place) if box is not None else None) if part is not None]
            self._shown.put(answer, enclosing_box(parts))
        self._shown.note_taken_in(answer)


def _prepared(answer: CorrectedAnswer) -> Generator[Piece | None, None, None]:
    yield from importing("scipy.ndimage", "scipy.sparse")
    # Of several channels, choosing the one of a structure takes .4 s with 40 drawn slices of 512 x 512.
    for name in answer.segments.values() if answer.drawing is not None else ():
        if not scene.further_channels(answer.volume) or not answer.is_of(answer.volume):
            return
        try:
            yield from answer.choosing_image(answer.values[name])
        except BadInputError:
            return  # the stroke says it
        yield None


def _chosen_ahead(answer: CorrectedAnswer) -> Generator[None, None, None]:
    yield
    try:
        yield from answer.choosing_ahead()
    except BadInputError:
        return  # the stroke says it


def _slices_at_hand(answer: CorrectedAnswer, stroke: Stroke, annotation: SparseAnnotation) -> list[tuple[int, int]]:
    """Array axis and index of the slice that was painted in, and of those through the stroke that views show."""
    found = [slice_at_hand(stroke, annotation)]
    places = np.unravel_index(stroke.voxels, answer.labels.shape)
    for plane in Plane:
        axis = plane.array_axis(annotation.geometry)
        try:
            index = scene.slice_shown(answer.volume, plane)
        except BadInputError:
            continue  # no slice views
        if index is not None and (axis, index) not in found and (places[axis] == index).any():
            found.append((axis, index))
    return found


def _painted(answer: CorrectedAnswer, stroke: Stroke) -> PartAnswer:
    """The answer with just the voxels of a stroke."""
    places = np.stack(np.unravel_index(stroke.voxels, answer.labels.shape))
    low, high = places.min(axis=1), places.max(axis=1) + 1
    region = along_axes(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    labels = answer.labels[region].copy()
    inside = tuple(places - low[:, None])
    if stroke.is_in:
        labels[inside] = stroke.value
    else:
        labels[inside] = np.where(labels[inside] == stroke.value, 0, labels[inside])
    return PartAnswer(region, labels)
