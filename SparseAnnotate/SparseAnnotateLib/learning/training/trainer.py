"""The training loop: one model from its first step, or its checkpoint, to its weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from threading import Lock
from typing import Protocol

import numpy as np
import torch

from ...core import CancelledError, RemainingTime, RunError, Watch
from ...core.messages import _
from ...core.progress import STEP
from ...runs.cards import ModelCard
from ...runs.plan import ModelPlan, RunPlan
from ...runs.run_folder import RunFolder
from ..data.batches import Batch, Batches
from ..devices import explained, is_out_of_memory, release_cached_memory
from ..prediction.model_building import network_to_train, trained_model
from ..weights import load_checkpoint, save_checkpoint, save_weights, state_names
from .compilation import CompiledNetwork
from .cpu_bf16 import compute_thin_inputs_in_fp32
from .distributed import Ranks
from .gradient_step import forward_pass, gradient_step, use_memory_format
from .live_models import ModelNow
from .memory_reduction import check_can_be_reduced, moved, on_cpu, reduced
from .objective import Forward, Objective
from .optimizer import new_optimizer
from .schedule import new_schedule
from .step_timing import StepTimer, check_between_layers, fastest_format, memory_formats
from .training_precision import TrainingPrecision
from .unusable_steps import UnusableSteps
from .widening import widen, widen_optimizer

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

_REPORT_SECONDS = 0.25
_LOSS_WINDOW = 50
_TEACHER_DECAY = 0.99
_FIRST_AVERAGED = 10  # steps; until some times as many, fewer steps than the decay says are averaged
_UNPREDICTED_NOTES = 5


class Growth(Protocol):
    """What is being drawn while a model is trained."""

    def is_due(self) -> bool:
        """Whether something has been drawn that is not learned from yet."""

    def update(self, trainer: Trainer) -> None:
        """Let a training learn from it, see `Trainer.learn_from`. No patches are cut meanwhile."""

    def message(self, iteration: int) -> str:
        """What is being done, for the progress."""


class Trainer:
    """Trains one model of a run.

    Args:
        folder, plan: of the run. model: which of its models.
        objective: what it learns. ranks: the processes that train together. watch: progress and cancel.
        replan: called with a note for the user, and with the model and the device, which change when memory runs out.
        growth: of a run that is trained while slices are being drawn. Its model is a moving average of the one that
            takes the steps, and other threads may ask for it as it is, see `model_now`.
    """

    def __init__(
        self,
        folder: RunFolder,
        plan: RunPlan,
        model: ModelPlan,
        objective: Objective,
        ranks: Ranks,
        watch: Watch,
        replan: Callable[[ModelPlan, str, str], None],
        growth: Growth | None = None,
    ):
        self.folder, self.plan, self.model_plan = folder, plan, model
        self.objective, self.ranks, self.watch, self._replan = objective, ranks, watch, replan
        self._growth, self._averaging = growth, Lock()
        self.settings = plan.settings
        self.device = ranks.device(plan.device)
        self.seed = self.settings.seed * 3 + ("3d", "2d", "final").index(model.role)
        if not self._fits():
            self._leave_for_cpu()
        self.schedule = new_schedule(self.settings, model)
        self.iteration = 0
        self.seconds_before = 0.0
        self.losses: list[float] = []
        self._unusable = UnusableSteps(self._case_names)
        self.validated_at = 0
        self._validation_seconds = 0.0
        self.validation_dice: float | None = None
        if folder.checkpoint_path(model.role).is_file():
            self._restore()
        elif ranks.is_first:
            folder.keep_metrics_until(model.role, 0)
        self._started = time.monotonic()

    def run(self) -> ModelCard:
        """Train to the end; the weights are then written. Leaves a checkpoint when cancelled."""
        try:
            self._train()
            self._note_unpredicted()
        except CancelledError:
            self._save_checkpoint()
            raise
        card = self.card()
        if self.ranks.is_first:
            self.write_model(card)
            self.folder.checkpoint_path(self.model_plan.role).unlink(missing_ok=True)
        self.ranks.wait()
        return card

    def card(self) -> ModelCard:
        """What the model is now."""
        return ModelCard(
            plan=self.model_plan,
            iterations=self.iteration,
            stopped_early=self.schedule.stopped_early,
            seconds=round(self._seconds(), 1),
            loss=self._mean_loss(),
            validation_dice=self.validation_dice,
            precision=self.precision.value,
        )

    def write_model(self, card: ModelCard) -> None:
        """Write the model as it is now, with its card."""
        save_weights(self.folder.weights_path(self.model_plan.role), self._kept_model())
        self.folder.write_model_card(card)

    def _kept_model(self) -> torch.nn.Module:
        is_averaged = self._growth is not None and self.teacher is not None and self.iteration > 0
        return self.teacher.module if is_averaged and self.teacher is not None else self.model

    def model_now(self) -> ModelNow | None:
        """A copy of the model as it is now, for another thread; None before the first step."""
        with self._averaging:
            plan, model, precision, steps = self.plan, self.model_plan, self.precision.value, self.iteration
            if not steps:
                return None
            # A copy, and not a new network: making one draws random numbers, which the training has to have.
            network = copy.deepcopy(self._kept_model())
        for module in network.modules():
            module._forward_hooks.clear()  # they belong to the training
        return ModelNow(trained_model(model, plan, network, self.device, precision), plan, steps)

    def learn_from(self, objective: Objective, plan: RunPlan) -> None:
        """Go on with other data. Structures that the plan has added get outputs of their own."""
        with self._averaging:
            added = plan.class_count - self.plan.class_count
            self.objective, self.plan, self.model_plan = objective, plan, plan.model(self.model_plan.role)
            if added:
                self._widen()

    def _widen(self) -> None:
        before, average, optimizer = self.model.state_dict(), self.teacher, self.optimizer
        self._build()
        widen(self.model, before)
        widen_optimizer(self.optimizer, optimizer)
        if self.teacher is not None and average is not None:
            widen(self.teacher.module, average.module.state_dict())
            self.teacher.n_averaged.copy_(average.n_averaged)

    def _fits(self) -> bool:
        """Build network and optimizer; False where a GPU has no memory for them."""
        try:
            self._build()
        except (RuntimeError, MemoryError) as error:
            if self.device == "cpu" or not is_out_of_memory(error):
                raise
            return False
        return True

    def _leave_for_cpu(self) -> None:
        """Train on the CPU from the start."""
        check_can_be_reduced(self.model_plan, self.device, self.ranks.count)
        release_cached_memory()
        reduction = on_cpu(self.model_plan, self.plan.device)
        self._replan(self.model_plan, reduction.device, reduction.note)
        self.plan, self.device = moved(self.plan, reduction.device), reduction.device
        self._build()

    def _build(self) -> None:
        torch.manual_seed(self.seed)
        network = network_to_train(self.model_plan, self.plan)
        formats = self._formats()
        self._format, self._format_is_measured, self._measures_format = formats[0], False, True
        if self.device == "cpu":
            compute_thin_inputs_in_fp32(network)
        # torch takes it, but declares `to` without it.
        self.model = network.to(device=self.device, memory_format=self._format)  # type: ignore[call-overload]
        # Elsewhere steps are short, or several processes would have to stop in the same layer.
        self._stops_in_steps = self.device == "cpu" and self.ranks.count == 1 and not self.settings.compile
        if self._stops_in_steps:
            check_between_layers(self.model, self.watch.quiet())
        wrapped = self.ranks.wrapped(self.model, self.device)
        self.runner: Forward = CompiledNetwork(wrapped, self._note) if self.settings.compile else wrapped
        self.teacher = None
        if self._growth is not None:
            self.teacher = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=_average_of_last_steps)
        elif self.settings.mean_teacher > 0 and self.model_plan.role != "final":
            average = torch.optim.swa_utils.get_ema_multi_avg_fn(_TEACHER_DECAY)
            self.teacher = torch.optim.swa_utils.AveragedModel(self.model, multi_avg_fn=average)
        self.optimizer = new_optimizer(self.model.parameters(), self.settings)
        self.precision = TrainingPrecision(self.plan.precision, self.model_plan.role, self.device, self._note)

    def _choose_format(self) -> None:
        """The faster memory format on this GPU, measured once in a run, so that a resumed one has the same.

        Without memory for that, it is measured when patches have become smaller.
        """
        if self._format_is_measured or not self._measures_format or len(self._formats()) == 1:
            return
        self._measures_format, fastest = False, None
        if self.ranks.is_first:
            network = network_to_train(self.model_plan, self.plan)
            watch = self.watch.quiet() if self.ranks.count == 1 else Watch()
            of_model = (network, self.model_plan, self.plan, self.device, self.precision.value, watch)
            fastest = fastest_format(lambda: StepTimer(*of_model), self._formats())
        release_cached_memory()
        fastest = self.ranks.shared(fastest)
        if fastest is not None:
            self._use_format(fastest)

    def _formats(self) -> list[torch.memory_format]:
        return memory_formats(self.settings, self.model_plan, self.device)

    def _use_format(self, number: int) -> None:
        self._format, self._format_is_measured = self._formats()[number], True
        use_memory_format(self._format, self.model, self.optimizer)
        if self.teacher is not None:
            use_memory_format(self._format, self.teacher)

    def _train(self) -> None:
        with explained(self.device):
            self._take_steps()

    def _take_steps(self) -> None:
        self._remaining = RemainingTime(self.schedule.end, self.iteration)
        reported, first = 0.0, self.iteration + 1
        if self._growth is not None:
            self._growth.update(self)
        batches = self._batches()
        try:
            if self.validated_at != self.iteration and self._is_due():
                self._validate()  # training was cancelled during this validation
            while self.iteration < self.schedule.end:
                if self._growth is not None and self._growth.is_due():
                    batches.close()
                    self._growth.update(self)
                    # What was known until here can be resumed exactly.
                    self._save_checkpoint()
                    batches = self._batches()
                loss = self._step_within_memory(batches)
                if loss is None:
                    batches.close()
                    self._reduce_memory()
                    batches = self._batches()
                    continue
                self.iteration += 1
                if self.iteration == first:
                    # It takes much longer than others: it waits for patches, and tries bf16 or memory formats.
                    self._remaining = RemainingTime(self.schedule.end, first)
                self.losses = [*self.losses[1 - _LOSS_WINDOW :], loss]
                self._add_metrics(loss=loss, rate=self.schedule.rate(self.iteration - 1))
                if self._is_due():
                    self._validate()
                if self.iteration % self.settings.checkpoint_every == 0:
                    self._save_checkpoint()
                now = time.monotonic()
                left = self._seconds_left()
                if now - reported > _REPORT_SECONDS or self.iteration == self.schedule.end:
                    reported = now
                    self._report(left)
                self._check_cancelled()
        finally:
            batches.close()

    def _batches(self) -> Batches:
        model = self.model_plan
        sampler, augmentation = self.objective.sampler(model), self.objective.augmentation(model)
        is_for_gpu = self.device.startswith("cuda")
        # Several processes stop together, see `_check_cancelled`.
        watch = self.watch.quiet() if self.ranks.count == 1 else Watch()
        return Batches(sampler, augmentation, self._numbers(), self.iteration, is_for_gpu, watch)

    def _numbers(self) -> list[int]:
        """Which patches of a step this process works on."""
        return list(self.ranks.share(self.model_plan.batch))

    def _step_within_memory(self, batches: Batches) -> float | None:
        """The loss of the next step; None when memory has run out.

        The failed step's tensors are held by the error's traceback, so nothing else may happen before both are gone.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()] if self._stops_in_steps else []
        try:
            return self._step(batches.take(self.iteration))
        except CancelledError:
            # The forward pass may have changed running averages; the checkpoint is of the step before.
            for buffer, before in zip(self.model.buffers(), buffers, strict=False):
                buffer.copy_(before)
            raise
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _step(self, batch: Batch) -> float:
        """One optimiser step; returns the loss. A step whose loss or gradient is not finite changes nothing."""
        self._choose_format()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.schedule.rate(self.iteration)
        self.model.train()
        # The CPU need not wait for copies from pinned memory.
        is_pinned = self.device.startswith("cuda")
        batch = {key: tensor.to(self.device, non_blocking=is_pinned) for key, tensor in batch.items()}
        batch["iteration"] = torch.tensor(self.iteration)
        batch["number"] = torch.tensor(self._numbers())
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.try_bf16(lambda: self._loss(batch), self.model, self.ranks)
        loss, scaler = self._loss(batch), self.precision.scaler
        value, is_usable = gradient_step(loss, self.model, self.optimizer, scaler, self.settings.largest_gradient)
        self._unusable.add(is_usable)
        if is_usable:
            if self.teacher is not None:
                with self._averaging:
                    self.teacher.update_parameters(self.model)
            return value
        self._handle_unusable_step()
        return value if np.isfinite(value) else float("nan")

    def _loss(self, batch: Batch) -> torch.Tensor:
        torch.manual_seed((self.seed + 1) * 1_000_003 + self.iteration)
        is_taught = self.teacher is not None and self.settings.mean_teacher > 0
        teacher = self._forward(self.teacher) if is_taught and self.teacher is not None else None
        done = self.iteration / self.model_plan.iterations
        return self.objective.loss(self._forward(self.runner), batch, done, teacher)

    def _forward(self, network: Forward) -> Forward:
        return forward_pass(network, self.device, self.precision.value, self._format)

    def _handle_unusable_step(self) -> None:
        """A step that is not finite is left out. After some in a row continue in fp32, and finally give up."""
        precision, unusable = self.precision, self._unusable
        precision.lower_scale()
        useless = unusable.useless_cases()
        if useless and precision.value == "fp32":
            self._give_up(useless)
        if unusable.in_a_row < precision.unusable_steps_at_most:
            return
        if precision.value == "fp32":
            self._give_up(sorted(set(self._case_names())))
        count = unusable.in_a_row
        unusable.forget()
        precision.give_up_on_it(self.iteration, count)

    def _note(self, sentence: str) -> None:
        """Add a note to the run, and report it."""
        self._replan(self.model_plan, self.plan.device, sentence)
        with suppress(CancelledError):  # in the midst of a step; the request is seen after it
            self.watch.step(self.iteration / self.schedule.end, sentence)

    def _case_names(self) -> list[str]:
        sampler = self.objective.sampler(self.model_plan)
        return [patch.case for patch in sampler.patches(self.iteration, range(self.model_plan.batch))]

    def _give_up(self, names: list[str]) -> None:
        raise RunError(
            _(
                "Training of the run '{run}' failed at step {iteration}: the loss is no longer a number, "
                "last with patches of {cases}. The last good checkpoint is kept. Check these images for extreme "
                "values, or train again with a lower learning rate."
            ).format(run=self.folder.name, iteration=self.iteration, cases=", ".join(repr(name) for name in names))
        )

    def _reduce_memory(self) -> None:
        """After running out of memory: continue with a smaller plan, which is noted in the run."""
        check_can_be_reduced(self.model_plan, self.device, self.ranks.count)
        self._forget_step()
        self.precision.try_again()
        self._measures_format = True
        reduction = reduced(self.model_plan, self.plan.device, self.device)
        self.model_plan = reduction.model
        self._replan(reduction.model, reduction.device, reduction.note)
        if reduction.device != self.plan.device:
            self.plan = moved(self.plan, reduction.device)
            self._move_to_cpu()
            release_cached_memory()
        self.watch.step(self.iteration / self.schedule.end, reduction.note)

    def _forget_step(self) -> None:
        """Drop what a step that ran out of memory has left half done, and give its memory back."""
        self.optimizer.zero_grad(set_to_none=True)
        whole = set(state_names(self.optimizer))
        for parameter, state in list(self.optimizer.state.items()):
            if not whole <= set(state):
                del self.optimizer.state[parameter]
        self.precision.forget_step()
        release_cached_memory()

    def _move_to_cpu(self) -> None:
        state, weights = self.optimizer.state_dict(), self.model.state_dict()
        teacher = self.teacher.state_dict() if self.teacher is not None else None
        self.device = "cpu"
        self._build()
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state)
        use_memory_format(self._format, self.model, self.optimizer)
        if teacher is not None and self.teacher is not None:
            self.teacher.load_state_dict(teacher)

    def _seconds_left(self) -> float | None:
        """Seconds for the remaining steps at the recent pace, and for the remaining validations."""
        left, every = self._remaining.after(self.iteration), self.settings.validate_every
        validations = math.ceil(self.schedule.end / every) - self.iteration // every
        return None if left is None else left + validations * self._validation_seconds

    def _is_due(self) -> bool:
        """Whether it is time to validate on the held-out slices."""
        every = self.settings.validate_every
        return self.iteration > 0 and (self.iteration % every == 0 or self.iteration == self.schedule.end)

    def _validate(self) -> None:
        """Mean Dice over held-out drawn slices; without any, the training loss is used instead."""
        score, began = None, time.monotonic()
        if self.ranks.is_first:
            model = trained_model(self.model_plan, self.plan, self.model, self.device, self.precision.value)
            score = self.objective.score(model, self.watch.quiet())
        score = self.ranks.shared(score)
        self._validation_seconds = time.monotonic() - began
        self._remaining.pause(self._validation_seconds)
        self.validated_at = self.iteration
        if score is not None and math.isnan(score):
            # Neither the held-out slices nor the predictions show any structure: correct, but without information.
            self.schedule.validated(self.iteration, 1.0)
        elif score is not None:
            self.validation_dice = score
            self._add_metrics(validation_dice=score)
            self.schedule.validated(self.iteration, score)
        elif np.isfinite(self._mean_loss()):
            self.schedule.validated(self.iteration, -self._mean_loss())

    def _note_unpredicted(self) -> None:
        """Warn of structures that the model has not learned at all."""
        missing: list[int] = []
        if self.ranks.is_first:
            model = trained_model(self.model_plan, self.plan, self.model, self.device, self.precision.value)
            watch = self.watch.quiet() if self.ranks.count == 1 else Watch()
            missing = self.objective.unpredicted(model, watch)
        names = [self.plan.label_names[self.plan.classes[index - 1]] for index in self.ranks.shared(missing)]
        for name in names[:_UNPREDICTED_NOTES]:
            note = _(
                "The '{role}' model does not find '{structure}', not even on the drawn slice that shows most of it. "
                "Draw it on more slices, or train longer."
            ).format(role=self.model_plan.role, structure=name)
            self._replan(self.model_plan, self.plan.device, note)

    def _add_metrics(self, **figures: float) -> None:
        if self.ranks.is_first:
            self.folder.add_metrics(self.model_plan.role, self.iteration, **figures)

    def _report(self, seconds_left: float | None) -> None:
        end = self.schedule.end
        figures = {"loss": self._mean_loss()}
        if self.validation_dice is not None:
            figures["validation_dice"] = self.validation_dice
        message: str = _("step {step} of {count} on {device}").format(
            step=self.iteration, count=end, device=self.device
        )
        if self._growth is not None:
            message, seconds_left = self._growth.message(self.iteration), None
            figures[STEP] = self.iteration
        # Several processes stop together, see `_check_cancelled`.
        with suppress(CancelledError) if self.ranks.count > 1 else nullcontext():
            self.watch.step(self.iteration / end, message, seconds_left, **figures)

    def _check_cancelled(self) -> None:
        if self.ranks.count == 1:
            self.watch.check()
        elif self.ranks.shared(self.watch.is_cancelled):
            raise CancelledError(_("Cancelled."))

    def _save_checkpoint(self) -> None:
        if not self.ranks.is_first:
            return
        state = {
            "iteration": self.iteration,
            "seconds": self._seconds(),
            "losses": self.losses,
            "validation_dice": self.validation_dice,
            **self.precision.state(),
            "memory_format": self._formats().index(self._format) if self._format_is_measured else None,
            "looked_at": self.validated_at,  # as checkpoints of version 0.1 have it
            "unusable_steps": self._unusable.in_a_row,
            "schedule": self.schedule.state(),
            "classes": self.plan.class_count,
        }
        path = self.folder.checkpoint_path(self.model_plan.role)
        save_checkpoint(path, self.model, self.optimizer, state, self.teacher)

    def _restore(self) -> None:
        path = self.folder.checkpoint_path(self.model_plan.role)
        state = load_checkpoint(path, self.model, self.optimizer, self.teacher)
        try:
            self.iteration, self.seconds_before = state["iteration"], state["seconds"]
            self.losses, self.validation_dice = list(state["losses"]), state["validation_dice"]
            self.precision.restore(state)
            self.schedule.restore(state["schedule"])
            self.validated_at, self._unusable.in_a_row = state["looked_at"], state["unusable_steps"]
            if state.get("memory_format") is not None and len(self._formats()) > 1:
                self._use_format(state["memory_format"])
        except (KeyError, TypeError) as error:
            raise RunError(
                _(
                    "The checkpoint of the run '{run}' was made by another version of SparseAnnotate. Train "
                    "again under another name."
                ).format(run=self.folder.name)
            ) from error
        if self.ranks.is_first:
            self.folder.keep_metrics_until(self.model_plan.role, self.iteration)

    def _mean_loss(self) -> float:
        """Mean of the last steps' losses; NaN before the first usable step."""
        finite = [loss for loss in self.losses if np.isfinite(loss)]
        return float(np.mean(finite)) if finite else float("nan")

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started


def _average_of_last_steps(averaged: Tensors, current: Tensors, count: torch.Tensor | int) -> None:
    """The moving average that answers while training goes on: of the first steps, only the last ones count."""
    steps = int(count)
    decay = min(_TEACHER_DECAY, (1 + steps) / (_FIRST_AVERAGED + steps))
    torch._foreach_lerp_(averaged, current, 1.0 - decay)
