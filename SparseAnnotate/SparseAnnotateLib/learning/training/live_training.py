"""Training that goes on while slices are being drawn: each is learned from as soon as it has been marked."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...core import (
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    RunError,
    SparseAnnotateError,
    SparseAnnotation,
    Watch,
)
from ...core.messages import _, counted, joined, listed
from ...core.metrics import added_path_length
from ...core.planes import slice_layer
from ...runs.cards import RunCard
from ...runs.drawing_record import DrawingRecord, PredictedSlice
from ...runs.plan import ModelPlan, RunPlan
from ...runs.run_folder import RunFolder
from ..data.expected_classes import ExpectedClasses
from ..data.growing_cases import DrawnSlice, GrowingCases, new_values
from ..data.image_facts import learned_images
from ..prediction.slice_prediction import slice_classes
from ..weights import checkpoint_state
from .distributed import Ranks
from .live_models import LiveModel, ModelNow, published
from .memory_reduction import moved
from .run_card import new_run_card
from .supervised_objective import SupervisedObjective
from .trainer import Trainer
from .validation import Tally

_WAIT = 0.2  # seconds
_MOST_PREDICTED = 20  # slices that were drawn at once
_SLICES_COMPARED = 5  # of those, for which is found what other slices expect: as many as count in the record
_MOST_COMPARED = 8  # structures of a slice, of which is found that; those of the next slice are others


class LiveRun:
    """A run that is trained while slices are being drawn.

    What has been drawn is learned from within seconds: the cohort's files are looked at between two steps. Before a
    slice is learned from, the model predicts it, and how well it does so is kept in the run's `DrawingRecord`; the run
    is stored as it is then, so that it can be used at any time. To be cancelled is how the training ends.

    It is also the `Growth` of its `Trainer`.

    Args:
        cohort, folder, plan: of the run. names: of the cases to learn from; none: all with drawn slices.
        ranks: must be one process. watch: progress and cancel.

    Raises BadInputError with several processes.
    """

    def __init__(
        self, cohort: Cohort, folder: RunFolder, plan: RunPlan, names: Sequence[str], ranks: Ranks, watch: Watch
    ):
        if ranks.count > 1:
            raise BadInputError(
                _(
                    "Learning while you draw uses one process, but {count} were started. Start it without torchrun."
                ).format(count=ranks.count)
            )
        self._folder, self._ranks, self._watch = folder, ranks, watch
        self._plan = plan
        self._data = GrowingCases(
            cohort,
            names,
            plan.settings,
            folder.labels_folder,
            plan.images,
            plan.ct,
            plan.channels,
            plan.voxels,
            plan.grids,
        )
        self._learned_slices, self._has_learned = 0, False
        self.record = DrawingRecord(folder.path)
        self._is_first = True
        self._trainer: Trainer | None = None

    def train(self) -> RunCard:
        """Train until cancelled; what was learned is kept in the checkpoint, too, to go on from.

        Raises:
            CancelledError: cancelled before the first step.
            BadInputError: none of the cases can be used. Otherwise as `train`.
        """
        model = self._as_in_checkpoint()
        objective = SupervisedObjective(self._plan, [], self._ranks)
        trainer = Trainer(
            self._folder, self._plan, model, objective, self._ranks, self._watch, self._replan, growth=self
        )
        self._trainer = trainer
        with published(self._folder.path, LiveModel(trainer.model_now, self.record)):
            try:
                trainer.run()
            except CancelledError:
                if not trainer.iteration or not self._has_learned:
                    raise  # the run is as it was
            finally:
                shutil.rmtree(self._folder.labels_folder, ignore_errors=True)
        return self._store(trainer, self._plan)

    @property
    def iteration(self) -> int:
        """Steps that the model has taken."""
        return self._trainer.iteration if self._trainer is not None else 0

    # --- what the trainer asks for --------------------------------------------------------------------------------

    def is_due(self) -> bool:
        """See `Growth`."""
        return self._data.have_changed()

    def update(self, trainer: Trainer) -> None:
        """See `Growth`. Waits while nothing is drawn, because every slice was cleared again."""
        plan = replace(trainer.plan, models=(trainer.model_plan,))
        while True:
            annotations = self._data.read(self._watch)
            added = new_values(annotations, plan.classes)
            if added:
                plan = self._with_structures(plan, added)
                # On slices of all cases, the new structures may be unknown.
                annotations = self._data.read(self._watch, whole=True)
                plan = self._with_structures(plan, new_values(annotations, plan.classes))
            classes = {value: index for index, value in enumerate(plan.classes, start=1)}
            self._data.use(annotations, classes, self._watch, whole=bool(added))
            if self._data.cases:
                break
            if self._is_first and self._data.unreadable:
                raise BadInputError(next(iter(self._data.unreadable.values())))
            self._watch.step(0.0, joined(" ", [_("waiting for a drawn slice"), *self._problems()]))
            while not self._data.have_changed():
                time.sleep(_WAIT)
                self._watch.check()
        self._is_first = False
        plan = self._with_cases(self._with_planes(plan))
        if trainer.iteration and self._new_slices():
            self._store_if_possible(trainer)
        self._record_new(trainer, annotations)
        trainer.learn_from(SupervisedObjective(plan, self._data.cases, self._ranks), plan)
        self._learned_slices, self._has_learned = len(self._data.slices), True
        self._plan = plan
        self._folder.write_plan(plan)

    def message(self, iteration: int) -> str:
        """See `Growth`."""
        slices = counted(len(self._data.slices), _("{count} drawn slice"), _("{count} drawn slices"))
        text = _("learning from {slices}, step {step}").format(slices=slices, step=iteration)
        return joined(" ", [text, *self._problems()])

    def _problems(self) -> list[str]:
        return [f"({problem})" for problem in list(self._data.unreadable.values())[:1]]

    # --- the plan, as it grows ------------------------------------------------------------------------------------

    def _as_in_checkpoint(self) -> ModelPlan:
        """The model to train. A structure that was added just before the process was killed is added once more."""
        path = self._folder.checkpoint_path(self._plan.models[0].role)
        if path.is_file():
            count = checkpoint_state(path).get("classes", self._plan.class_count)
            self._plan = replace(self._plan, classes=self._plan.classes[: count - 1])
        return self._plan.models[0]

    def _with_structures(self, plan: RunPlan, values: Sequence[int]) -> RunPlan:
        labels = self._data.cohort.labels
        names = {value: labels.get(value, f"label {value}") for value in values}
        kept = {value: labels.get(value, name) for value, name in plan.label_names.items()}
        return replace(plan, classes=(*plan.classes, *values), label_names={**kept, **names})

    def _with_planes(self, plan: RunPlan) -> RunPlan:
        """A 2D model sees slices of the planes that are drawn on: others show a few supervised lines each."""
        (model,) = plan.models
        drawn = tuple(sorted({one.axis for one in self._data.slices}))
        return plan.with_model(replace(model, planes=drawn)) if model.role == "2d" else plan

    def _with_cases(self, plan: RunPlan) -> RunPlan:
        """The plan with the cases as they are now."""
        marks = {case.name: self._data.fingerprints[case.name] for case in self._data.cases}
        return replace(
            plan,
            cases=marks,
            images=dict(self._data.images),
            voxels=dict(self._data.voxels),
            grids=dict(self._data.grids),
        )

    def _replan(self, model: ModelPlan, device: str, note: str) -> None:
        plan = self._plan.with_model(model, note)
        self._plan = plan if device == plan.device else moved(plan, device)
        if self._trainer is not None:
            self._trainer.plan = replace(self._trainer.plan, notes=self._plan.notes)
        self._folder.write_plan(self._plan)

    # --- how good it is -------------------------------------------------------------------------------------------

    def _new_slices(self) -> list[DrawnSlice]:
        """Drawn slices that have not been learned from."""
        return [one for one in self._data.slices if not self.record.knows(one.case.name, one.plane, one.index)]

    def _record_new(self, trainer: Trainer, annotations: Mapping[str, SparseAnnotation]) -> None:
        """Record the slices that have been drawn since, and how well the model predicts them before it learns them.

        `annotations`: of the cases that have changed.
        """
        new = self._new_slices()
        expected: dict[str, ExpectedClasses] = {}
        now = trainer.model_now() if new else None
        for number, one in enumerate(new):
            predicted = None
            if now is not None and number >= len(new) - _MOST_PREDICTED:
                predicted = _predicted(now, one, self._watch)
            dice = _dice(now, one, predicted) if now is not None and predicted is not None else {}
            name, to_draw = one.case.name, {}
            if now is not None and predicted is not None and number >= len(new) - _SLICES_COMPARED:
                if name not in expected and name in annotations:
                    # Not kept for longer: with many cases, they take much memory, and each keeps a file open.
                    expected[name] = ExpectedClasses(annotations[name], list(now.plan.classes), one.case.image)
                to_draw = _to_draw(now, one, predicted, expected.get(name), len(self.record.slices), self._watch)
            self.record.add(PredictedSlice(one.case.name, one.plane, one.index, trainer.iteration, dice, to_draw))

    # --- the end --------------------------------------------------------------------------------------------------

    def _store_if_possible(self, trainer: Trainer) -> None:
        """Store the run as it was before the latest slices; where the files are in use, it is stored the next time."""
        try:
            self._store(trainer, replace(trainer.plan, models=(trainer.model_plan,)))
        except FileWriteError as error:
            logging.getLogger(__name__).warning(error.message)

    def _store(self, trainer: Trainer, plan: RunPlan) -> RunCard:
        """Write the model and the run's card, as they are now."""
        quality = self.record.quality()
        card = replace(trainer.card(), validation_dice=quality.dice if quality is not None else None)
        trainer.write_model(card)
        images = learned_images(self._data.cohort, plan.cases, plan.channels)
        run_card = new_run_card(plan, [card], slices=self._learned_slices, images=images)
        self._folder.write_card(run_card)
        return run_card


def drawn_among(cohort: Cohort, names: Sequence[str], is_resumed: bool = False) -> list[str]:
    """The cases of these names that have a drawn slice. Raises BadInputError when none has, CohortError.

    `is_resumed`: some of the cases may have left the cohort since.
    """
    if is_resumed:
        names = [name for name in names if cohort.has_case(name)] or names
    annotated = set(cohort.annotated_cases())
    found = [case.name for case in cohort.select(names) if case.name in annotated]
    if not found:
        raise BadInputError(
            _("No slice of the cases {names} has been drawn yet. Draw at least one slice and mark it as drawn.").format(
                names=listed([f"'{name}'" for name in names], 3)
            )
        )
    return found


def _predicted(now: ModelNow, one: DrawnSlice, watch: Watch) -> np.ndarray | None:
    """(rows, columns) classes of a slice by the model; None when it cannot predict."""
    try:
        return slice_classes(now.model, one.case.image, one.axis, one.standard_index, watch)
    except RunError as error:
        # Learning may go on: the slice is recorded without a figure.
        logging.getLogger(__name__).warning(error.message)
        return None


def _dice(now: ModelNow, one: DrawnSlice, predicted: np.ndarray) -> dict[str, float]:
    """Dice of each structure that the model knows, and that it or the slice shows."""
    tally = Tally(now.model.class_count)
    tally.add(predicted, one.case, one.axis, one.standard_index)
    names = [now.plan.label_names[value] for value in now.plan.classes]
    return {
        name: round(float(both / size), 4)
        for name, (both, size) in zip(names, tally.counts.tolist(), strict=False)
        if size
    }


def _to_draw(
    now: ModelNow, one: DrawnSlice, predicted: np.ndarray, others: ExpectedClasses | None, number: int, watch: Watch
) -> dict[str, tuple[int, int]]:
    """What had to be drawn of each structure, see `PredictedSlice`; only of those that the slice decides and shows.

    `others`: what other slices expect. `number`: of slices before this one, after which the first structure is chosen.
    """
    case, place = one.case, (one.axis, one.standard_index)
    if others is None:
        return {}
    drawn, decided = np.asarray(case.labels[slice_layer(*place)]), case.decided_on(*place)
    shown = [c for c in np.unique(drawn[decided]).tolist() if 0 < c <= len(now.plan.classes)]
    first = number * _MOST_COMPARED % max(len(shown), 1) if len(shown) > _MOST_COMPARED else 0
    try:
        expected, known = others.on(*place, [*shown[first:], *shown[:first]][:_MOST_COMPARED], watch)
    except CancelledError:
        raise
    except (SparseAnnotateError, MemoryError) as error:
        # The slice is recorded without these figures.
        logging.getLogger(__name__).warning(str(error))
        return {}
    return {
        now.plan.label_names[now.plan.classes[c - 1]]: (
            added_path_length(decided & (predicted == c), decided & (drawn == c)),
            added_path_length(decided & (expected == c), decided & (drawn == c)),
        )
        for c in known
    }
