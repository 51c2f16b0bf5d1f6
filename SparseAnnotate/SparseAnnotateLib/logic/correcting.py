"""Corrections in the scene: a stroke in an answer is stored with the drawing, and the answer follows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import scene
from ..client import CORRECTION, Steps, WorkerJobs
from ..core import BadInputError, SparseAnnotateError, SparseAnnotation
from ..core.added_corrections import with_correction
from ..core.corrections import Corrections, Stroke
from ..core.messages import _, joined, listed
from ..core.pieces import result_of, while_wanted
from ..core.voxel_boxes import Box, enclosing_box
from .corrected_answer import (
    CorrectedAnswer,
    make_room,
    read_answer,
    reading_answer,
    reading_known,
    segments_of,
    store_strokes,
    what_is_known,
)
from .correction_report import CorrectionReport, middle_of
from .following_strokes import FollowingStrokes
from .painted_strokes import confirmed_by, painted_strokes, with_confirmed
from .pending_steps import PendingStep, without_pending
from .result_nodes import latest_result
from .shown_answers import ShownAnswers
from .undoable_changes import UndoableChanges

_MOST_OTHERS, _MOST_BYTES = 8, 1 << 30  # answers that are kept for undo
_READ_AT_ONCE = 1 << 22  # voxels


class Correcting:
    """Takes corrections of answers, and undoes them.

    Args:
        changes: gives the editors that change the answers.
        jobs: find out from the event loop what follows from strokes.
    """

    def __init__(self, changes: UndoableChanges, jobs: WorkerJobs):
        self._jobs = jobs
        self._shown = ShownAnswers(changes)
        self._following = FollowingStrokes(jobs, self._shown, self._take_in_between, self._is_kept)
        # The answer in which everything that is painted is a correction, and others, the last one first.
        self._watched: CorrectedAnswer | None = None
        self._others: list[CorrectedAnswer] = []

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        for answer in self._kept():
            self._following.forget(answer)
        self._watched, self._others = None, []

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
                _(
                    "'{result}' has no segment '{structure}'. It has: {known}. Choose one of these, or draw the "
                    "structure on a slice, mark the slice, and fill again."
                ).format(result=answer.node.GetName(), structure=structure, known=known)
            )
        geometry = scene.geometry_of(volume_node)
        stroke = Stroke.ball(geometry, at, answer.values[structure], not outside, radius, seconds)
        report = self._add(answer, [stroke], at_once=True)
        if not report.voxels:
            raise BadInputError(joined(" ", report.notes))
        return report

    def begin(
        self,
        volume_node,
        result_node,
        on_followed: Callable[[CorrectionReport | None, SparseAnnotateError | None], None] | None = None,
        on_painted: Callable[[], None] | None = None,
    ) -> None:
        """From now on, what is painted in a result are corrections of it.

        `on_followed`: called with the report of a correction, or None and an error, when all of the result has
        followed from it, which then happens from the event loop; None: it follows before `take_strokes` returns.
        `on_painted`: calls `take_strokes`, with what is known of the strokes; asked for when something was painted
        before the result has followed from earlier ones. None: they are taken as they are.
        """
        answer = self._answer_of(volume_node, result_node)
        # Now, and not with the first stroke; but not again what has been read in pieces.
        if answer.drawing is not None and what_is_known(answer)[1]:
            self._shown.show(answer)
        if on_followed is None and answer.pending:
            self._finish(answer)
        answer.on_followed, answer.on_painted = on_followed, on_painted
        self._keep(answer, self._others)
        if on_followed is not None:
            self._following.prepare(answer)

    def read(
        self,
        volume_node,
        result_node,
        on_read: Callable[[SparseAnnotateError | None], None],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Read a result in pieces, from the event loop, so that `begin` then takes only a moment.

        `on_read`: called with an error, or None, when it has been read; for a small volume that happens before this
        returns, and its error is raised.
        `is_wanted`: asked before each piece; once it is False, no more is read, and `on_read` is called.
        """
        image = volume_node.GetImageData()
        if image is not None and image.GetNumberOfPoints() <= _READ_AT_ONCE:
            result_of(self._reading(volume_node, result_node, is_wanted))
            on_read(None)
            return
        steps = self._reading(volume_node, result_node, is_wanted)
        self._jobs.start(None, steps, lambda _nothing: None, lambda _none, error: on_read(error), name=CORRECTION)

    def _reading(self, volume_node, result_node, is_wanted: Callable[[], bool]) -> Steps:
        """In pieces: read a result and what is known of its volume; nothing is kept when that is changed meanwhile."""

        def kept() -> CorrectedAnswer | None:
            found = (answer for answer in self._kept() if answer.is_of(volume_node, result_node))
            return next((answer for answer in found if answer.is_as_seen), None)

        answer = kept() or (yield from while_wanted(reading_answer(volume_node, result_node), is_wanted))
        if answer is None or answer.pending or not (yield from while_wanted(reading_known(answer), is_wanted)):
            return
        if not (yield from self._shown.showing(answer)):
            # The labels have what was drawn, but the node does not show it: the next stroke reads and shows it again.
            answer.known_by = ()
        elif kept() is None:
            self._keep(self._watched, [answer, *self._others])

    def end(self) -> None:
        """What is painted from now on are no corrections; what still follows from earlier ones goes on."""
        if self._watched is not None:
            self._keep(None, [self._watched, *self._others])

    def slice_marked(self, volume_node) -> None:
        """A slice of a volume was marked: what the next stroke needs of several channels is chosen by it, too."""
        answer = self._watched
        if answer is None or answer.on_followed is None or answer.drawing is None or not answer.is_of(volume_node):
            return
        if scene.further_channels(volume_node):
            self._following.choose_ahead(answer)

    def is_following(self, volume_node) -> bool:
        """True while a result of a volume has not followed from all corrections."""
        return any(answer.pending for answer in self._kept() if answer.volume is volume_node)

    def following(self, result_node) -> Steps:
        """In pieces: let a result follow from all corrections, because it is about to be used; strokes are taken first.

        Raises BadInputError when the result was changed otherwise, or cannot be corrected any more.
        """
        for answer in self._kept():
            if answer.node is not result_node or answer.node.GetScene() is None:
                continue
            if answer is self._watched and answer.is_of(answer.volume):
                self._take_in_between(answer)
            try:
                yield from self._following.pieces(answer)
            except SparseAnnotateError as error:
                if not self._is_kept(answer):
                    raise
                self._following.stop(answer, error)

    def finish_following(self, volume_node) -> None:
        """Let results of a volume follow from all corrections now, because they are about to be used."""
        for answer in self._kept():
            if answer.volume is volume_node:
                result_of(self.following(answer.node))

    def when_followed(self, volume_node, done: Callable[[SparseAnnotateError | None], None]) -> None:
        """Call `done`, from the event loop, when results of a volume have followed.

        `done`: called with None, or with an error when one of them has not followed from all corrections.
        """
        before = [(answer, answer.stopped_by) for answer in self._kept() if answer.volume is volume_node]

        def steps() -> Steps:
            for answer, stopped_by in before:
                yield from self.following(answer.node)
                # By whom ever: it then has only the voxels of the corrections.
                if answer.stopped_by is not None and answer.stopped_by is not stopped_by:
                    raise answer.stopped_by

        self._jobs.start(None, steps(), lambda _nothing: None, lambda _none, error: done(error), name=CORRECTION)

    def stop_following(self) -> None:
        """Cancel what still follows from corrections: of these, the result gets their own voxels only."""
        problems: list[SparseAnnotateError] = []
        for answer in self._kept():
            if not answer.pending:
                continue
            try:
                self._check_is_same(answer)
                self._following.stop(answer)
            except SparseAnnotateError as problem:
                problems.append(problem)
        if problems:
            raise problems[0]

    def take_strokes(
        self, volume_node, result_node, seconds: float = 0.0, brush: scene.BrushPlace | None = None
    ) -> CorrectionReport | None:
        """Take what has been painted or erased in a result since `begin` as corrections; None if nothing was.

        Args:
            seconds: what the strokes took.
            brush: where the last of them ended: voxels under it that were right already are known, too.

        Raises BadInputError when they cannot be corrections; they are put back then, where that is possible.
        """
        answer = self._watched
        if answer is None or not answer.is_of(volume_node, result_node):
            raise BadInputError(
                _(
                    "Another segmentation is drawn in since the correction of '{result}' began, so what was painted is "
                    "no correction. Switch 'Correct the answer' off and on again."
                ).format(result=result_node.GetName())
            )
        return self._take(answer, seconds, brush)

    def confirm(self, volume_node, result_node, brush: scene.BrushPlace, seconds: float = 0.0) -> CorrectionReport:
        """Say that what a result shows under a brush is right: that it is the structure, or that it is not.

        Raises BadInputError as `take_strokes`, and when nothing under the brush is what it says.
        """
        self.take_strokes(volume_node, result_node)
        answer = self._answer_of(volume_node, result_node)
        strokes = with_confirmed([], answer, brush, seconds)
        if not strokes:
            what = _("'{structure}'") if brush.is_in else _("anything but '{structure}'")
            raise BadInputError(
                _(
                    "'{result}' does not show {what} under the brush, so nothing was confirmed. Paint or erase it."
                ).format(result=result_node.GetName(), what=what.format(structure=brush.structure))
            )
        return self._add(answer, strokes)

    @property
    def is_writing(self) -> bool:
        """True while an answer is made to show what follows: what changes in it then was not painted."""
        return self._shown.is_writing

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
            if answer.node is latest and _is_from_the_first(answer):
                while answer.pending:
                    self._following.drop(answer)
                while answer.made:
                    self._move(answer, back=True)
                is_reverted = True
            else:
                self._finish(answer)
                answer.is_current = False
            answer.forget_steps()
        # Without reading them: this is also the way out of damaged ones.
        scene.put_corrections_text(segmentation, "")
        return is_reverted

    def undo(self, volume_node) -> None:
        """Take back the last correction of a volume, and what followed from it.

        Raises BadInputError if there is none.
        """
        for answer in self._answers_of(volume_node):
            if not self._is_undoable(answer):
                continue
            if answer.pending:
                self._check_is_same(answer)
                self._following.drop(answer)
                return
            if answer.made:
                self._move(answer, back=True)
                return
        raise BadInputError(_("There is no correction to undo on '{volume}'.").format(volume=volume_node.GetName()))

    def redo(self, volume_node) -> None:
        """Make the correction again that was undone last. Raises BadInputError if there is none."""
        for answer in self._answers_of(volume_node):
            if not self._is_undoable(answer):
                continue
            if answer.made < len(answer.steps):
                self._move(answer, back=False)
                return
            if answer.undone:
                *others, strokes = answer.undone
                report = self._add(answer, strokes)
                answer.undone = others
                if not report.voxels:
                    raise BadInputError(joined(" ", report.notes))
                return
        raise BadInputError(_("There is no correction to redo on '{volume}'.").format(volume=volume_node.GetName()))

    def can_undo(self, volume_node) -> bool:
        """True if there is a correction to undo."""
        kept = [answer for answer in self._kept() if answer.is_of(volume_node)]
        return any((answer.made > 0 or answer.pending) and self._is_undoable(answer) for answer in kept)

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
        answer = read_answer(volume_node, result_node)
        self._keep(self._watched, [answer, *self._others])
        return answer

    def _kept(self) -> list[CorrectedAnswer]:
        return [answer for answer in (self._watched, *self._others) if answer is not None]

    def _keep(self, watched: CorrectedAnswer | None, others: Sequence[CorrectedAnswer]) -> None:
        """Keep these, as far as memory allows, for undo in another volume or frame; of others, all follows before."""
        kept: list[CorrectedAnswer] = []
        size = 0
        for answer in others:
            size += answer.size
            is_in_use = answer.node.GetScene() is not None and answer not in (watched, *kept)
            if is_in_use and len(kept) < _MOST_OTHERS and (size <= _MOST_BYTES or not kept):
                kept.append(answer)
        for answer in self._kept():
            if answer is not watched and answer not in kept and answer.node.GetScene() is not None:
                self._finish(answer)
        for answer in kept[1:]:
            answer.forget_read()
        self._watched, self._others = watched, kept

    def _finish(self, answer: CorrectedAnswer) -> None:
        """Let all follow now, or only the voxels of the strokes when that fails."""
        try:
            self._following.finish(answer)
        except SparseAnnotateError as error:
            self._following.stop(answer, error)

    def _answers_of(self, volume_node) -> list[CorrectedAnswer]:
        """What is kept of results of a volume, and shows what they show now; strokes in them are taken first."""
        found = []
        for answer in self._kept():
            if not answer.is_of(volume_node):
                continue
            if answer is self._watched:
                self._take(answer, 0.0)
            if answer.is_as_seen:
                found.append(answer)
        return found

    def _take(
        self, answer: CorrectedAnswer, seconds: float, brush: scene.BrushPlace | None = None
    ) -> CorrectionReport | None:
        """Take what has changed in the node since it was seen last."""
        if answer.is_as_seen:
            return None
        self._check_is_same(answer)
        found = scene.changed_part(answer.node, answer.volume, answer.values, answer.labels)
        answer.stamp = scene.voxel_stamp(answer.node)
        strokes, part = [], None
        if found is not None:
            part, now = found
            strokes = painted_strokes(part, answer.labels[part], now, answer.labels.shape, seconds)
        if brush is not None:
            strokes = with_confirmed(strokes, answer, brush, seconds)
        if not strokes:
            return None
        try:
            return self._add(answer, strokes, part)
        except BaseException:
            if self._is_kept(answer):
                self._shown.show(answer)
            raise

    def _take_in_between(self, answer: CorrectedAnswer) -> None:
        """Take what has been painted while it was being found out what follows from earlier strokes."""
        self._check_is_same(answer)
        if answer.is_as_seen:
            return
        if answer is self._watched:
            if answer.on_painted is not None:
                answer.on_painted()
            if self._is_kept(answer):
                self._take(answer, 0.0)
            return
        error = BadInputError(
            _(
                "'{result}' was changed while it followed from a correction, so it has not taken the correction in. "
                "Fill again, or run the model again."
            ).format(result=answer.node.GetName())
        )
        self._forget(answer, error)
        raise error

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
        grid = scene.grid_of(answer.node, answer.volume)
        if is_same and scene.is_other_order(answer.grid, grid):
            is_same = False
            text = _(
                "The slices of the volume are now in the order in which its file has them, because it was written into "
                "its cohort folder while '{result}' was corrected. So what was painted last is no correction. Switch "
                "'Correct the answer' off and on again."
            )
        elif is_same and grid != answer.grid:
            is_same = False
            text = _(
                "The volume or '{result}' has been moved while the answer was corrected, so what was painted last is "
                "no correction. Switch 'Correct the answer' off and on again."
            )
        if is_same:
            return
        error = BadInputError(text.format(result=answer.node.GetName()))
        self._forget(answer, error)
        raise error

    def _forget(self, answer: CorrectedAnswer, error: SparseAnnotateError) -> None:
        if answer is self._watched:
            self._watched = None
        self._others = [other for other in self._others if other is not answer]
        answer.pending, answer.stopped_by = [], error

    def _is_kept(self, answer: CorrectedAnswer) -> bool:
        return any(answer is kept for kept in self._kept())

    def _add(
        self,
        answer: CorrectedAnswer,
        strokes: Sequence[Stroke],
        painted: Box | None = None,
        at_once: bool = False,
    ) -> CorrectionReport:
        """Add strokes, and let the answer follow.

        Args:
            painted: where the node may show other labels than before.
            at_once: find out now what follows, even if that is otherwise left to the event loop.
        """
        self._check_is_same(answer)
        scene.require_current(answer.node, answer.volume, answer.drawing, list(answer.drawn_segments.values()))
        make_room(answer)
        annotation, is_read_again = what_is_known(answer)
        for stroke in strokes:
            answer.image(stroke.value)  # which may be unusable: before anything changes
        kept, annotations, notes = _added(strokes, annotation)
        text_before = scene.corrections_text(answer.drawing)
        # First of all: whatever happens to the result, the correction stays.
        count = store_strokes(answer, kept)
        voxels, place = sum(len(stroke.voxels) for stroke in kept), middle_of(kept, answer.labels.shape)
        report = CorrectionReport(count, voxels, 0, notes, place, confirmed_by(kept, answer.labels))
        if kept:
            texts = text_before, scene.corrections_text(answer.drawing)
            answer.annotation, answer.known_text = annotations[-1], texts[1]
            step = PendingStep(kept, annotations, texts, report, answer.known_by)
            report = self._follow(answer, step, at_once or answer.on_followed is None, painted)
        elif painted is not None:
            self._shown.put(answer, painted)
        if is_read_again:
            self._shown.show(answer)
        self._shown.note_taken_in(answer)
        return report

    def _follow(
        self, answer: CorrectedAnswer, step: PendingStep, at_once: bool, painted: Box | None
    ) -> CorrectionReport:
        """Let the answer follow from another step."""
        answer.pending.append(step)
        try:
            if at_once:
                self._following.finish(answer)
            else:
                self._following.show_slices(answer, step)
        except BaseException:
            # All of it, or nothing.
            if step in answer.pending:
                with without_pending(answer.labels, answer.pending):
                    answer.pending.remove(step)
            scene.put_corrections_text(answer.drawing, step.corrections[0])
            raise
        answer.undone = []
        self._leave_behind(answer)
        shown = [part for part in (step.shown_in(answer.labels.shape), painted) if part is not None]
        self._shown.put(answer, enclosing_box(shown))
        if answer.pending:
            answer.forget_undone()
            self._following.start(answer)
        return step.report

    def _leave_behind(self, answer: CorrectedAnswer) -> None:
        """Another answer of the same drawing has not taken in what was corrected in this one."""
        for other in self._kept():
            if other is not answer and other.drawing is answer.drawing:
                self._finish(other)
                other.forget_steps()
                other.is_current = False

    def _move(self, answer: CorrectedAnswer, back: bool) -> None:
        """Undo the last step, or make the next one again; drawn slices stay as they are drawn now."""
        self._check_is_same(answer)
        step = answer.steps[answer.made - 1 if back else answer.made]
        which = 0 if back else 1
        answer.labels[step.part] = step.labels[which]
        answer.confidence[step.part] = step.confidence[which]
        answer.made += -1 if back else 1
        answer.is_current = step.is_current[which]
        scene.put_corrections_text(answer.drawing, step.corrections[which])
        annotation, _is_read_again = what_is_known(answer)
        annotation.restore_drawn(answer.labels)
        self._shown.show(answer)
        self._shown.note_taken_in(answer)


def _required_result(volume_node, result_node):
    node = result_node if result_node is not None else latest_result(volume_node)
    if node is None:
        raise BadInputError(
            _("'{volume}' has no result to correct. Fill between slices, or run a model on it, first.").format(
                volume=volume_node.GetName()
            )
        )
    return node


def _is_from_the_first(answer: CorrectedAnswer) -> bool:
    """Whether all corrections of a volume were made in an answer, and can be undone there."""
    if answer.made:
        return answer.steps[0].is_current[0] and not answer.steps[0].corrections[0]
    return bool(answer.pending) and answer.is_current and not answer.pending[0].corrections[0]


def _added(
    strokes: Sequence[Stroke], annotation: SparseAnnotation
) -> tuple[list[Stroke], list[SparseAnnotation], tuple[str, ...]]:
    """What is left of strokes off the drawn slices, what is known with each of these, and notes."""
    kept: list[Stroke] = []
    annotations: list[SparseAnnotation] = []
    notes: list[str] = []
    for stroke in strokes:
        try:
            added = with_correction(annotation, stroke)
        except BadInputError as error:
            notes.append(error.message)
            continue
        annotation = added.annotation
        kept.append(added.stroke)
        annotations.append(annotation)
        notes += added.notes
    return kept, annotations, tuple(dict.fromkeys(notes))
