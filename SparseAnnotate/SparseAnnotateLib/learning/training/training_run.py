"""Training a run on sparse annotation: base models, their pseudo-labels, and the final model (Zheng et al. 2020)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from ...core import CancelledError, Cohort, Watch
from ...core.channels import MOST_CHANNELS
from ...core.folder_lock import FolderLock
from ...core.messages import _, listed
from ...runs.cards import ModelCard, RunCard
from ...runs.loss import LOSSES
from ...runs.plan import ModelPlan, RunPlan
from ...runs.run_folder import RunFolder
from ...runs.settings import TrainingSettings
from ..data.image_facts import learned_images
from ..data.surroundings import structures_keep_out
from ..data.training_cases import TrainingCase, training_cases
from ..devices import prediction_precision
from ..prediction.model_building import built_network, models_within_memory, trained_model
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import set_weights
from ..weights import load_weights
from .beyond_drawn_range import LabelledBeyond, labelled_beyond
from .distributed import Ranks
from .estimate import stage_seconds
from .live_training import LiveRun, drawn_among
from .memory_reduction import moved
from .objective import Objective
from .pseudo_labels import with_pseudo_labels, write_pseudo_labels
from .run_card import new_run_card
from .run_planning import plan_to_train
from .self_training_objective import SelfTrainingObjective
from .supervised_objective import SupervisedObjective
from .trainer import Trainer
from .validation import affordable_slices
from .view_scores import ViewScores, view_scores


def train(
    cohort: Cohort,
    run_name: str,
    settings: TrainingSettings | None = None,
    cases: Sequence[str] | None = None,
    watch: Watch | None = None,
    undrawn_cases: Sequence[str] = (),
    device: str | None = None,
    is_live: bool = False,
) -> RunCard:
    """Train a run, or resume it exactly from its last checkpoint.

    Under torchrun all processes call this, and train together.

    Args:
        cohort: with drawn slices in at least one case.
        run_name: a new run, one that was only planned, or one that was cancelled or killed.
        settings: how to train; a resumed run keeps its own settings, and these must not differ from them, except in
            the device.
        cases: cases to learn from; all annotated ones by default, and then self-training uses the pseudo-labels of
            all others, too.
        watch: progress (fraction, seconds left, loss) and cancel.
        undrawn_cases: with `cases`, others without drawn slices whose pseudo-labels self-training uses.
        device: where to continue a run that is resumed, or to train a new one without `settings`; None or 'auto': on
            the run's own device or, where that cannot be used, on the best one.
        is_live: go on while slices are being drawn, until cancelled; see `LiveRun`. `settings` are `live_settings`.

    Raises:
        BadInputError: nothing drawn, only empty slices, an unusable image, a device that cannot be used.
        BusyError: another process trains this run.
        RunError: the run is finished or was started otherwise, its files do not fit, or the loss is no longer a number.
        FileWriteError: the disk is full; the last checkpoint is kept.
        CancelledError: cancelled; a checkpoint of the last step has been kept.
    """
    watch, ranks = watch or Watch(), Ranks()
    run = RunFolder(cohort.run_folder(run_name))
    # One of the processes that train together holds the lock for all.
    lock = FolderLock(run.path, f"training the run '{run_name}'") if ranks.is_first else nullcontext()
    with lock:
        plan = None
        if ranks.is_first:
            # Processes that train together are cancelled together, which is possible only once all have the plan.
            alone = watch if ranks.count == 1 else Watch()
            # A run that learns while slices are being drawn may be asked to look at cases without any yet.
            drawn = drawn_among(cohort, cases, run.is_started) if is_live and cases else cases
            plan = plan_to_train(cohort, run, settings, drawn, undrawn_cases, alone, device, is_live)
        plan = ranks.shared(plan)
        if plan.is_live:
            return LiveRun(cohort, run, plan, cases or (), ranks, watch).train()
        return _Run(cohort, run, plan, ranks, watch).train()


class _Run:
    """One run from its plan to its card; models that are already trained are skipped."""

    def __init__(self, cohort: Cohort, folder: RunFolder, plan: RunPlan, ranks: Ranks, watch: Watch):
        self.cohort, self.folder, self.plan, self.ranks, self.watch = cohort, folder, plan, ranks, watch
        self._scores: ViewScores | None = None
        self._clear_surroundings = False
        self._taken: dict[int, float] = {}

    def train(self) -> RunCard:
        self._share_patches()
        cases = self._cases()
        # Processes that train together are cancelled together.
        alone = self.watch if self.ranks.count == 1 else Watch()
        self._clear_surroundings = self.ranks.is_first and structures_keep_out(cases, alone)
        # Only after the data has proved usable: a folder with a plan counts as a run.
        if self.ranks.is_first:
            self.folder.write_plan(self.plan)
        self._name_channels()
        shapes, held_out = [case.shape for case in cases], any(case.held_out for case in cases)
        seconds = self._stage_seconds(shapes, held_out)
        total = sum(seconds.values())
        self.watch.step(
            0.0, _("about {minutes:.0f} min on {device}").format(minutes=total / 60, device=self.plan.device), total
        )
        cards: list[ModelCard] = []
        for model in self.plan.models:
            if model.role == "final":
                self._weigh_views(cases, cards)
                cases = self._with_pseudo_labels(cases, cards, self._stage(seconds, "pseudo-labels"))
            card = self.ranks.shared(self.folder.model_card(model.role) if self.ranks.is_first else None)
            cards.append(card or self._trainer(model, cases, self._stage(seconds, model.role)).run())
        if self.plan.models[-1].role != "final":
            self._weigh_views(cases, cards)
        card = new_run_card(
            self.plan,
            cards,
            slices=sum(len(case.slices) for case in cases),
            beyond=self._labelled_beyond(cases, cards[-1]),
            view_dice=self._scores.dice if self._scores is not None else {},
            view_weights=self._view_weights() or {},
            average_dice=self._scores.average_dice if self._scores is not None else None,
            clear_surroundings=self._clear_surroundings,
            images=self.ranks.shared(
                learned_images(self.cohort, self.plan.cases, self.plan.channels) if self.ranks.is_first else None
            ),
        )
        if self.ranks.is_first:
            self.folder.write_card(card)
            shutil.rmtree(self.folder.labels_folder, ignore_errors=True)
        self.ranks.wait()
        return card

    def _name_channels(self) -> None:
        """Report at once which channels are left out, while the training can still be stopped."""
        left = [channel for channel in self.cohort.channels if channel not in self.plan.channels]
        if self.plan.channels and left:
            self.watch.step(
                0.0,
                _("learning from {channels}, without {left}").format(
                    channels=listed([f"'{channel}'" for channel in self.plan.channels], MOST_CHANNELS),
                    left=listed([f"'{channel}'" for channel in left], MOST_CHANNELS),
                ),
            )

    def _stage_seconds(self, shapes: list[tuple[int, int, int]], held_out: bool) -> dict[str, float]:
        """How long each stage will take. The processes that train together are cancelled together."""
        found = None
        if self.ranks.is_first:
            try:
                found = stage_seconds(self.plan, shapes, held_out, self.watch.quiet())
            except CancelledError:
                if self.ranks.count == 1:
                    raise
        found = self.ranks.shared(found)
        if found is None:
            raise CancelledError(_("Cancelled."))
        return found

    def _share_patches(self) -> None:
        """Round batches up to multiples of the number of processes: each works on its own patches."""
        for model in self.plan.models:
            shared = math.ceil(model.batch / self.ranks.count) * self.ranks.count
            if shared != model.batch:
                note = _(
                    "With {process_count} processes the '{role}' model is trained with {patch_count} patches per step."
                ).format(process_count=self.ranks.count, role=model.role, patch_count=shared)
                self.plan = self.plan.with_model(replace(model, batch=shared), note)

    def _cases(self) -> list[TrainingCase]:
        plan, settings = self.plan, self.plan.settings
        found = None
        if self.ranks.is_first:
            found = training_cases(
                self.cohort,
                list(plan.cases),
                {value: index for index, value in enumerate(plan.classes, start=1)},
                normalisation=settings.normalisation,
                ct=plan.ct,
                channels=plan.channels,
                validation_share=settings.validation_share,
                seed=settings.seed,
                folder=self.folder.labels_folder,
                # Its share of the total time is not known yet, so the progress bar does not move.
                watch=Watch(lambda progress: self.watch.step(0.0, progress.message)),
                fill_weight=settings.fill_weight,
                with_distances=LOSSES[settings.loss].needs_distances,
            )
        return self.ranks.shared(found)

    def _stage(self, seconds: dict[str, float], name: str) -> Watch:
        prefixes = {"2d": _("2D model, "), "3d": _("3D model, "), "final": _("final model, ")}
        prefix = prefixes.get(name, "") if len(seconds) > 1 else ""
        return self.watch.stage(list(seconds.values()), list(seconds).index(name), prefix, self._taken)

    def _trainer(self, model: ModelPlan, cases: list[TrainingCase], watch: Watch) -> Trainer:
        if model.role == "final":
            objective: Objective = SelfTrainingObjective(self.plan, cases, self.ranks, self._set_weights())
        else:
            objective = SupervisedObjective(self.plan, cases, self.ranks)
        return Trainer(self.folder, self.plan, model, objective, self.ranks, watch, self._replan)

    def _weigh_views(self, cases: list[TrainingCase], cards: list[ModelCard]) -> None:
        """Measure the Dice of each view, and of all together, on held-out drawn slices, if there are several views."""
        found = None
        if self.ranks.is_first and sum(len(card.plan.view_names) for card in cards) > 1:
            models = self._trained(cards)
            patch = next((m.patch for m in models if m.role == "3d"), (models[0].patch[0],) * 3)
            held_out = affordable_slices(cases, patch, self.plan.settings.seed)
            found = view_scores(models, held_out, self.watch) if held_out else None
        self._scores = self.ranks.shared(found)

    def _view_weights(self) -> dict[str, float] | None:
        return self._scores.weights() if self._scores is not None else None

    def _set_weights(self) -> tuple[float, ...]:
        names = [name for m in self.plan.models for name in m.view_names]
        return set_weights(names, self._view_weights())

    def _labelled_beyond(self, cases: list[TrainingCase], card: ModelCard) -> LabelledBeyond | None:
        """What the last model labels beyond the drawn range of its cases."""
        found = None
        if self.ranks.is_first:
            # Processes that train together are cancelled together.
            watch = self.watch if self.ranks.count == 1 else Watch()
            watch.step(1.0, _("checking beyond the drawn slices"), 0.0)
            seed, weights = self.plan.settings.seed, self._set_weights()
            found = labelled_beyond(self._trained([card])[0], cases, self.plan.spacing, seed, watch, weights)
        return self.ranks.shared(found)

    def _replan(self, model: ModelPlan, device: str, note: str) -> None:
        plan = self.plan.with_model(model, note)
        if device != plan.device:
            plan = moved(plan, device)
        self.plan = plan
        if self.ranks.is_first:
            self.folder.write_plan(plan)

    def _with_pseudo_labels(self, cases: list[TrainingCase], cards: list[ModelCard], watch: Watch):
        models = self._trained(cards)
        write_pseudo_labels(self.cohort, self.folder, self.plan, models, self.ranks, watch)
        return with_pseudo_labels(self.cohort, self.folder, self.plan, cases, self.ranks)

    def _trained(self, cards: Sequence[ModelCard]) -> list[TrainedModel]:
        """Models of this run, ready to predict: all on its device, or all on the CPU."""

        def load(device: str) -> list[TrainedModel]:
            found = []
            for card in cards:
                network = built_network(card.plan, self.plan)
                load_weights(self.folder.weights_path(card.plan.role), network)
                precision = prediction_precision(device)
                found.append(trained_model(card.plan, self.plan, network.to(device), device, precision))
            return found

        return models_within_memory(load, self.ranks.device(self.plan.device), self.folder.name)
