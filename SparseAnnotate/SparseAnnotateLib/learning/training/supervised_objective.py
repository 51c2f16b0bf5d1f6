"""What base models learn from: drawn voxels and, with a weight, filled ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.loss import LOSSES
from ...runs.plan import ModelPlan, RunPlan
from ..data.augmentation import Augmentation, mixed
from ..data.batches import Batch
from ..data.patches import PatchSampler, Placing
from ..data.training_cases import TrainingCase
from ..networks.outputs import Outputs, loss_of_outputs, main_logits
from ..prediction.trained_model import TrainedModel
from .distributed import Ranks
from .losses import SparseLoss, UnknownTable
from .objective import Forward, Objective
from .validation import affordable_slices, dice_on_slices, unpredicted_classes

_TEACHER_NOISE = 0.1
_RAMP = 5.0  # of the consistency: exp(-5 (1 - t)^2) over the first 40 % (Tarvainen 2017)
_RAMP_SHARE = 0.4


class SupervisedObjective(Objective):
    """A base model learns by a loss over drawn (and, with a weight, filled) voxels (Zheng 2020, eq. 1 and 2).

    Optionally agreement with a mean teacher on undrawn voxels, and mixup.
    """

    def __init__(self, plan: RunPlan, cases: Sequence[TrainingCase], ranks: Ranks):
        self.plan, self.cases, self.settings, self.ranks = plan, list(cases), plan.settings, ranks
        weights = self._class_weights() if LOSSES[self.settings.loss].needs_class_weights else None
        unknown = next((case.unknown_sets for case in self.cases if case.unknown_sets), ())
        self._unknown = UnknownTable(unknown)
        self._loss = SparseLoss(self.settings.loss, weights, ranks.total_of_several, unknown)

    def sampler(self, model: ModelPlan) -> PatchSampler:
        settings = self.settings
        by_value = {value: index for index, value in enumerate((0, *self.plan.classes))}
        shares = settings.class_shares and {by_value[v]: s for v, s in settings.class_shares.items() if v in by_value}
        placing = Placing(
            settings.foreground_share,
            shares,
            settings.undrawn_share,
            is_centered=settings.patch_placing == "on",
            is_undrawn_only=settings.undrawn_only,
        )
        planes = model.planes or (0, 1, 2)
        return PatchSampler(self.cases, model.patch, placing, settings.seed, planes)

    def augmentation(self, model: ModelPlan) -> Augmentation:
        settings = self.settings
        distances = self._loss.needs_distances
        plan = self.plan
        return Augmentation(settings.augmentation, plan.flip, model.patch, plan.spacing, settings.seed, distances)

    def loss(self, forward: Forward, batch: Batch, done: float, teacher: Forward | None) -> torch.Tensor:
        share = self.settings.augmentation.mixup
        image, partner, weight = mixed(batch["image"], share, self.settings.seed + 7919 * int(batch["iteration"]))
        outputs = forward(image)
        value = self._supervised_loss(outputs, batch, slice(None))
        if weight < 1.0:
            value = weight * value + (1.0 - weight) * self._supervised_loss(outputs, batch, partner)
        elif teacher is not None:
            disagreement = self._disagreement(main_logits(outputs), batch, teacher)
            value = value + self.settings.mean_teacher * _ramp(done) * disagreement
        return value

    def score(self, model: TrainedModel, watch: Watch) -> float | None:
        held_out = affordable_slices(self.cases, model.patch, self.settings.seed)
        return dice_on_slices(model, held_out, watch) if held_out else None

    def unpredicted(self, model: TrainedModel, watch: Watch) -> list[int]:
        return unpredicted_classes(model, self.cases, watch)

    def _supervised_loss(self, outputs: Outputs, batch: Batch, which) -> torch.Tensor:
        distances = batch["distances"][which] if "distances" in batch else None
        supervised = batch["supervised"][which]
        if supervised.ndim == 4:
            supervised = _equal_slice_weights(supervised)
        label = batch["label"][which]
        unknown = batch["unknown"][which] if "unknown" in batch else None
        return loss_of_outputs(
            outputs,
            self.settings.auxiliary_weight,
            lambda logits: self._loss(logits, label, supervised, distances, unknown),
        )

    def _disagreement(self, logits: torch.Tensor, batch: Batch, teacher: Forward) -> torch.Tensor:
        """Mean squared difference of the probabilities from a teacher's, over undrawn voxels."""
        image = batch["image"]
        noisy = image + _TEACHER_NOISE * torch.randn_like(image)
        with torch.no_grad():
            wanted = torch.softmax(main_logits(teacher(noisy)).float(), 1)
        undrawn = (batch["supervised"] == 0).float()
        squares = (torch.softmax(logits.float(), 1) - wanted).square().mean(1, keepdim=True) * undrawn
        return self.ranks.total(squares.sum()) / self.ranks.total(undrawn.sum()).clamp_min(1.0)

    def _class_weights(self) -> torch.Tensor:
        """As set, or inverse to the square root of each class's share of the drawn voxels, with a mean of 1."""
        if self.settings.class_weights is not None:
            return torch.tensor(self.settings.class_weights)
        counts = np.ones(self.plan.class_count)
        for case in self.cases:
            for axis, index in case.slices:
                known = case.decided_on(axis, index) & ~case.unknown_on(axis, index)
                labels = np.take(case.labels, index, axis)[known]
                counts += np.bincount(labels.ravel(), minlength=len(counts))[: len(counts)]
        weights = np.sqrt(counts.sum() / counts)
        return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def _equal_slice_weights(supervised: torch.Tensor) -> torch.Tensor:
    """Weights (N, 1, height, width) by which every slice counts the same (Zheng 2020, eq. 1 sums over slices).

    Slices in other planes than the drawn one have only a few drawn lines; by their pixels they would hardly count.
    """
    weights = supervised.float()
    return weights * weights[0].numel() / weights.sum((1, 2, 3), keepdim=True).clamp_min(1.0)


def _ramp(done: float) -> float:
    left = max(0.0, 1.0 - done / _RAMP_SHARE)
    return math.exp(-_RAMP * left * left)
