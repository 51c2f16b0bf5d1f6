"""Training a 3D network on sparse annotation (Zheng et al. 2020, eq. 2; Cicek et al. 2016)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib import metadata

import numpy as np
import torch

from .. import __version__
from ..core import BadInputError, CancelledError, Cohort, RemainingTime, RunError, Watch
from ..core.folder_lock import FolderLock
from .augmentation import Augmentation
from .devices import (
    chosen_device,
    planned_network,
    planned_patch_and_batch,
    training_precision,
)
from .inference import autocast
from .losses import SparseDiceCELoss
from .networks import build_network
from .run_folder import RunCard, RunFolder, RunPlan
from .schedule import Schedule
from .settings import DIVISOR, TrainingSettings
from .training_data import PatchSampler, TrainingCase, training_cases
from .validation import affordable_slices, dice_on_slices
from .weights import load_checkpoint, save_checkpoint, save_weights

_REPORT_SECONDS = 0.25
_LOSS_WINDOW = 50
_BATCHES_AHEAD = 2
_UNUSABLE_STEPS_IN_A_ROW = 10
_LARGEST_GRADIENT = 12.0
_PREPARING_SHARE = 0.02


def train(
    cohort: Cohort,
    run_name: str,
    settings: TrainingSettings | None = None,
    cases: Sequence[str] | None = None,
    watch: Watch | None = None,
) -> RunCard:
    """Train a run, or go on with it exactly where its last checkpoint stands.

    Args:
        cohort: with drawn slices in at least one case.
        run_name: a new run, or one that was cancelled or killed.
        settings: how to train; of a run that goes on, its own settings count and these must not differ.
        cases: cases to learn from; all annotated ones by default.
        watch: progress (fraction, seconds left, loss) and cancel.

    Raises:
        BadInputError: nothing drawn, only empty slices, an unusable image.
        BusyError: another process trains this run.
        RunError: the run is finished, was begun otherwise, or its files do not fit.
        CancelledError: cancelled; a checkpoint of the last step has been kept.
    """
    watch = watch or Watch()
    run = RunFolder(cohort.run_folder(run_name))
    with FolderLock(run.path, f"training the run '{run_name}'"):
        if run.is_finished:
            raise RunError(f"The run '{run_name}' has finished already. Choose another name to train again.")
        if run.is_begun:
            plan = _continued_plan(cohort, run, settings, cases)
        else:
            plan = _new_plan(cohort, settings or TrainingSettings(), list(cases or cohort.annotated_cases()))
        training = _Training(cohort, run, plan, watch)
        # Not before the data has been found usable: a plan is what makes a run.
        run.write_plan(plan)
        return training.run()


class _Training:
    """One training from its first step, or its checkpoint, to its card."""

    def __init__(self, cohort: Cohort, run: RunFolder, plan: RunPlan, watch: Watch):
        self.run_folder, self.plan, self.watch = run, plan, watch
        self.settings = plan.settings
        self.precision = plan.precision
        torch.manual_seed(self.settings.seed)
        self.cases = training_cases(
            cohort,
            list(plan.cases),
            {value: index for index, value in enumerate(plan.classes, start=1)},
            self.settings.normalisation,
            self.settings.validation_share,
            self.settings.seed,
            run.labels_folder,
            Watch.part_of(watch, 0, round(1 / _PREPARING_SHARE)),
            self.settings.fill_weight,
        )
        self.model = build_network(plan.network, len(plan.classes) + 1, plan.settings.dropout).to(plan.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.scaler = torch.amp.GradScaler(enabled=self.precision == "fp16" and plan.device != "cpu")
        self.loss = SparseDiceCELoss()
        total = self.settings.iterations
        self.schedule = Schedule(
            total,
            max(1, round(self.settings.warm_up * total)),
            round(self.settings.cool_down * total),
            self.settings.patience,
        )
        self.iteration = 0
        self.seconds_before = 0.0
        self.losses: list[float] = []
        self.unusable_steps = 0
        self.validation_dice: float | None = None
        if run.checkpoint_path.is_file():
            self._restore()
        else:
            run.keep_metrics_until(0)
        self._started = time.monotonic()

    def run(self) -> RunCard:
        """Train to the end. Leaves a checkpoint when cancelled."""
        try:
            self._train()
        except CancelledError:
            self._save_checkpoint()
            raise
        card = self._card()
        save_weights(self.run_folder.weights_path, self.model)
        self.run_folder.write_card(card)
        shutil.rmtree(self.run_folder.labels_folder, ignore_errors=True)
        return card

    def _train(self) -> None:
        remaining = RemainingTime(self.schedule.end, self.iteration)
        reported = 0.0
        batches = _Batches(self.cases, self.plan, self.settings, self.iteration)
        try:
            while self.iteration < self.schedule.end:
                try:
                    loss = self._step(batches.take(self.iteration))
                except torch.OutOfMemoryError:
                    self._shrink()
                    batches.close()
                    batches = _Batches(self.cases, self.plan, self.settings, self.iteration)
                    continue
                self.iteration += 1
                self.losses = [*self.losses[1 - _LOSS_WINDOW :], loss]
                self.run_folder.add_metrics(self.iteration, loss=loss, rate=self.schedule.rate(self.iteration - 1))
                if self.iteration % self.settings.validate_every == 0 or self.iteration == self.schedule.end:
                    self._validate()
                if self.iteration % self.settings.checkpoint_every == 0:
                    self._save_checkpoint()
                now = time.monotonic()
                left = remaining.after(self.iteration)
                if now - reported > _REPORT_SECONDS or self.iteration == self.schedule.end:
                    reported = now
                    self._report(left)
                self.watch.check()
        finally:
            batches.close()

    def _step(self, batch: dict[str, torch.Tensor]) -> float:
        """One optimiser step; returns the loss. A step whose loss or gradient is not finite changes nothing."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self.schedule.rate(self.iteration)
        torch.manual_seed((self.settings.seed + 1) * 1_000_003 + self.iteration)
        self.model.train()
        batch = {key: tensor.to(self.plan.device, non_blocking=True) for key, tensor in batch.items()}
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.plan.device, self.precision):
            logits = self.model(batch["image"])
        loss = self.loss(logits, batch["label"], batch["supervised"])
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        size = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _LARGEST_GRADIENT)
        value = float(loss.detach())
        if np.isfinite(value) and bool(torch.isfinite(size)):
            self.unusable_steps = 0
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return value
        self._handle_unusable_step()
        return value if np.isfinite(value) else float("nan")

    def _handle_unusable_step(self) -> None:
        """fp16 overflows now and then by design: its scale goes down. Otherwise go on in fp32, and at last give up."""
        self.unusable_steps += 1
        if self.scaler.is_enabled():
            self.scaler.update(self.scaler.get_scale() / 2)
        elif self.precision != "fp32":
            self.precision = "fp32"
        if self.unusable_steps < _UNUSABLE_STEPS_IN_A_ROW:
            return
        if self.precision != "fp32":
            self.precision, self.unusable_steps = "fp32", 0
            self.scaler = torch.amp.GradScaler(enabled=False)
            return
        raise RunError(
            f"Training the run '{self.run_folder.name}' broke down at step {self.iteration}: the loss is no longer a "
            "number. Check the images for extreme values, or train again with a smaller learning rate."
        )

    def _shrink(self) -> None:
        """After 'out of memory': half the batch, then smaller patches; said in the plan."""
        patch, batch = list(self.plan.patch), self.plan.batch
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        if batch > 1:
            batch //= 2
        elif np.prod(patch) > 2 * DIVISOR**3:
            patch[int(np.argmax(patch))] -= DIVISOR
        else:
            raise RunError(
                f"The memory of '{self.plan.device}' does not hold a single small patch. "
                "Close other programs that use it, choose a smaller network, or train on the CPU."
            )
        self.plan = replace(self.plan, patch=tuple(patch), batch=batch)
        self.run_folder.write_plan(self.plan)

    def _validate(self) -> None:
        """Mean Dice over held-out drawn slices; without any, the training loss stands in for it."""
        held_out = affordable_slices(self.cases, self.plan.patch, self.settings.seed)
        if held_out:
            self.validation_dice = dice_on_slices(self.model, self.plan, held_out, Watch.quiet(self.watch))
            self.run_folder.add_metrics(self.iteration, validation_dice=self.validation_dice)
            self.schedule.look(self.iteration, self.validation_dice)
        elif np.isfinite(self._mean_loss()):
            self.schedule.look(self.iteration, -self._mean_loss())

    def _report(self, seconds_left: float | None) -> None:
        end = self.schedule.end
        figures = {"loss": self._mean_loss()}
        if self.validation_dice is not None:
            figures["validation_dice"] = self.validation_dice
        fraction = _PREPARING_SHARE + (1 - _PREPARING_SHARE) * self.iteration / end
        message = f"step {self.iteration} of {end} on {self.plan.device}"
        self.watch.step(fraction, message, seconds_left, **figures)

    def _save_checkpoint(self) -> None:
        state = {
            "iteration": self.iteration,
            "seconds": self._seconds(),
            "losses": self.losses,
            "validation_dice": self.validation_dice,
            "precision": self.precision,
            "scale": self.scaler.get_scale() if self.scaler.is_enabled() else 1.0,
            "schedule": self.schedule.state(),
        }
        save_checkpoint(self.run_folder.checkpoint_path, self.model, self.optimizer, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.run_folder.checkpoint_path, self.model, self.optimizer)
        try:
            self.iteration, self.seconds_before = state["iteration"], state["seconds"]
            self.losses, self.validation_dice = list(state["losses"]), state["validation_dice"]
            self.precision = state["precision"]
            self.schedule.restore(state["schedule"])
            if self.scaler.is_enabled():
                self.scaler.update(float(state["scale"]))
        except (KeyError, TypeError) as error:
            raise RunError(
                f"The checkpoint of the run '{self.run_folder.name}' was made by another version of SparseAnnotate. "
                "Train again under another name."
            ) from error
        self.run_folder.keep_metrics_until(self.iteration)

    def _mean_loss(self) -> float:
        """Mean of the last steps' losses; NaN before the first usable step."""
        finite = [loss for loss in self.losses if np.isfinite(loss)]
        return float(np.mean(finite)) if finite else float("nan")

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self._started

    def _card(self) -> RunCard:
        return RunCard(
            network=self.plan.network,
            patch=self.plan.patch,
            classes=self.plan.classes,
            label_names=self.plan.label_names,
            normalisation=self.settings.normalisation,
            iterations=self.iteration,
            stopped_early=self.schedule.stopped_early,
            seconds=round(self._seconds(), 1),
            loss=self._mean_loss(),
            validation_dice=self.validation_dice,
            slices=sum(len(case.slices) for case in self.cases),
            cases=tuple(self.plan.cases),
            seed=self.settings.seed,
            device=self.plan.device,
            precision=self.precision,
            versions=_versions(),
        )


class _Batches:
    """Batches prepared a little ahead in other threads; what they hold depends on seed and iteration only."""

    def __init__(self, cases: list[TrainingCase], plan: RunPlan, settings: TrainingSettings, start: int):
        self._sampler = PatchSampler(cases, plan.patch, settings.foreground_share, settings.seed)
        self._augmentation = Augmentation(settings.flip, settings.seed)
        self._size = plan.batch
        self._pool = ThreadPoolExecutor(_BATCHES_AHEAD)
        self._waiting = {n: self._pool.submit(self._prepare, n) for n in range(start, start + _BATCHES_AHEAD)}

    def take(self, iteration: int) -> dict[str, torch.Tensor]:
        batch = self._waiting.pop(iteration).result()
        ahead = iteration + _BATCHES_AHEAD
        self._waiting[ahead] = self._pool.submit(self._prepare, ahead)
        return batch

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, iteration: int) -> dict[str, torch.Tensor]:
        return self._augmentation(self._sampler.batch(iteration, self._size), iteration)


def _new_plan(cohort: Cohort, settings: TrainingSettings, names: list[str]) -> RunPlan:
    if not names:
        raise BadInputError(
            f"No slice of the cohort '{cohort.name}' has been drawn yet, so there is nothing to learn from. "
            "Draw at least one slice and mark it as drawn."
        )
    fingerprints, values, shapes, spacings = {}, set(), [], []
    anything_drawn = False
    for name in names:
        annotation = cohort.annotation(name)
        annotation.require_drawn(name)
        fingerprints[name] = annotation.fingerprint()
        found = annotation.label_values()
        anything_drawn = anything_drawn or bool(found)
        values.update(found)
        shapes.append(annotation.geometry.standard_shape)
        spacings.append(annotation.geometry.standard_spacing)
    if not anything_drawn:
        raise BadInputError(
            "All drawn slices are empty, so there is no structure to learn. Draw the structure on at least one slice."
        )
    device = chosen_device(settings.device).device
    network = planned_network(settings.network, device)
    spacing = tuple(np.median(np.array(spacings), axis=0).tolist())
    patch, batch = planned_patch_and_batch(shapes, spacing, network, device)
    classes = tuple(sorted(values))
    return RunPlan(
        settings=settings,
        network=network,
        patch=settings.patch or patch,
        batch=settings.batch or batch,
        device=device,
        precision=training_precision(settings.precision, device),
        classes=classes,
        label_names={value: cohort.labels.get(value, f"label {value}") for value in classes},
        cases=fingerprints,
    )


def _continued_plan(
    cohort: Cohort, run: RunFolder, settings: TrainingSettings | None, names: Sequence[str] | None
) -> RunPlan:
    plan = run.plan()
    if settings is not None and settings != plan.settings:
        old, new = asdict(plan.settings), asdict(settings)
        differing = ", ".join(f"{key} {old[key]} instead of {new[key]}" for key in old if old[key] != new[key])
        raise RunError(
            f"The run '{run.name}' was begun with other settings ({differing}). "
            "Go on with its own settings, or train under another name."
        )
    changed = [n for n, mark in plan.cases.items() if cohort.annotation(n).fingerprint() != mark]
    if names and set(names) != set(plan.cases):
        raise RunError(
            f"The run '{run.name}' was begun with other cases ({', '.join(sorted(plan.cases)[:3])} ...). "
            "Go on with the same ones, or train under another name."
        )
    if changed:
        raise RunError(
            f"The drawn slices of {', '.join(changed[:3])} have changed since the run '{run.name}' was begun, so it "
            "cannot go on as it was. Train under another name."
        )
    chosen_device(plan.device)
    return plan


def _versions() -> dict[str, str]:
    return {"sparse-annotate": __version__, **{n: metadata.version(n) for n in ("torch", "monai", "numpy")}}
