"""What the models of a run learn: base models from drawn voxels, the final model from pseudo-labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.plan import ModelPlan, RunPlan
from ..data.augmentation import Augmentation, mixed
from ..data.batches import Batch
from ..data.patches import PatchSampler, Placing
from ..data.training_cases import TrainingCase
from ..networks.registry import Y_SHAPED
from ..prediction.volume_prediction import TrainedModel, mean_pseudo_label
from .distributed import Ranks
from .losses import SparseLoss
from .objective import Forward, Objective
from .validation import affordable_slices, dice_on_slices

_TEACHER_NOISE = 0.1
_RAMP = 5.0  # of the consistency: exp(-5 (1 - t)^2) over the first 40 % (Tarvainen 2017)
_RAMP_SHARE = 0.4


class SupervisedObjective(Objective):
    """A base model: a loss over drawn (and, weighted, filled) voxels (Zheng 2020, eq. 1 and 2).

    Optionally agreement with a mean teacher on undrawn voxels, and mixup.
    """

    def __init__(self, plan: RunPlan, cases: Sequence[TrainingCase], ranks: Ranks):
        self.plan, self.cases, self.settings, self.ranks = plan, list(cases), plan.settings, ranks
        weights = self._class_weights() if self.settings.loss == "weighted_ce" else None
        self._loss = SparseLoss(self.settings.loss, weights, ranks.total)

    def sampler(self, model: ModelPlan) -> PatchSampler:
        settings = self.settings
        by_value = {value: index for index, value in enumerate(self.plan.classes, start=1)}
        shares = settings.class_shares and {by_value[v]: s for v, s in settings.class_shares.items() if v in by_value}
        placing = Placing(settings.foreground_share, shares, settings.undrawn_share)
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
        logits = forward(image)
        value = self._of(logits, batch, slice(None))
        if weight < 1.0:
            value = weight * value + (1.0 - weight) * self._of(logits, batch, partner)
        elif teacher is not None:
            value = value + self.settings.mean_teacher * _ramp(done) * self._disagreement(logits, batch, teacher)
        return value

    def score(self, model: TrainedModel, watch: Watch) -> float | None:
        held_out = affordable_slices(self.cases, model.patch, self.settings.seed)
        return dice_on_slices(model, held_out, watch) if held_out else None

    def _of(self, logits: torch.Tensor, batch: Batch, which) -> torch.Tensor:
        distances = batch["distances"][which] if "distances" in batch else None
        supervised = batch["supervised"][which]
        if supervised.ndim == 4:
            supervised = _alike(supervised)
        return self._loss(logits, batch["label"][which], supervised, distances)

    def _disagreement(self, logits: torch.Tensor, batch: Batch, teacher: Forward) -> torch.Tensor:
        """Mean squared difference of the probabilities from a teacher's, over undrawn voxels."""
        image = batch["image"]
        with torch.no_grad():
            wanted = torch.softmax(teacher(image + _TEACHER_NOISE * torch.randn_like(image)).float(), 1)
        undrawn = (batch["supervised"] == 0).float()
        squares = (torch.softmax(logits.float(), 1) - wanted).square().mean(1, keepdim=True) * undrawn
        return self.ranks.total(squares.sum()) / self.ranks.total(undrawn.sum()).clamp_min(1.0)

    def _class_weights(self) -> torch.Tensor:
        """As asked for, or inverse to the square root of each class' share of the drawn voxels, mean 1."""
        if self.settings.class_weights is not None:
            return torch.tensor(self.settings.class_weights)
        counts = np.ones(self.plan.class_count)
        for case in self.cases:
            for axis, index in case.slices:
                labels = np.take(case.labels, index, axis)[case.decided_on(axis, index)]
                counts += np.bincount(labels.ravel(), minlength=len(counts))[: len(counts)]
        weights = np.sqrt(counts.sum() / counts)
        return torch.tensor(weights / weights.mean(), dtype=torch.float32)


class SelfTrainingObjective(SupervisedObjective):
    """The final model: image and mean pseudo-label to what the base models say (Zheng 2020, eq. 9).

    A network without a second arm sees the image alone and learns from the same.

    First a random set of pseudo-labels for each patch and step, then the one nearest to what the model says, by
    cross-entropy (NN-fit). A drawn voxel keeps its truth and counts `drawn_weight`. The mean pseudo-label that the
    model is shown is what the base models say on drawn voxels, too: there the model learns how they err, and a volume
    without drawn slices looks the same to it. Other than in Zheng 2020 a set is drawn, and counts in the mean, by how
    well it did on held-out drawn slices, where there are any.

    Args: as of SupervisedObjective; set_weights: of the sets of pseudo-labels, summing to 1.
    """

    def __init__(self, plan: RunPlan, cases: Sequence[TrainingCase], ranks: Ranks, set_weights: Sequence[float]):
        super().__init__(plan, cases, ranks)
        self._set_weights = tuple(set_weights)
        if self._loss.needs_distances:
            self._loss = SparseLoss("dice_ce", None, ranks.total)  # pseudo-labels have no distances
        self._sees_prior = plan.model("final").network in Y_SHAPED

    def sampler(self, model: ModelPlan) -> PatchSampler:
        settings = self.settings
        # Half of the other patches lie anywhere: what the base models see far off must be unlearned, too.
        placing = Placing(settings.foreground_share, None, (1.0 - settings.foreground_share) / 2)
        return PatchSampler(self.cases, model.patch, placing, settings.seed)

    def loss(self, forward: Forward, batch: Batch, done: float, teacher: Forward | None) -> torch.Tensor:
        sets = batch["sets"].long()  # 0 outside the volume, else class index + 1
        inside, sets = sets[:, :1] > 0, (sets - 1).clamp_min(0)
        both = sets.transpose(0, 1), batch["sure"].transpose(0, 1)
        prior = mean_pseudo_label(*both, self.plan.class_count, self._set_weights)
        prior = prior.transpose(0, 1) * inside
        logits = forward(torch.cat([batch["image"], prior], 1) if self._sees_prior else batch["image"])
        drawn = batch["supervised"] > 0
        if done < self.settings.random_share:
            chosen = torch.tensor([self._random_set(batch, n) for n in batch["number"].tolist()], device=sets.device)
        else:
            chosen = self._nearest(logits.detach(), sets, inside & ~drawn)
        pseudo = sets[torch.arange(len(sets), device=sets.device), chosen][:, None]
        target = torch.where(drawn, batch["label"].long(), pseudo)
        weights = torch.where(drawn, self.settings.drawn_weight, 1.0) * inside
        return self._loss(logits, target, weights)

    def score(self, model: TrainedModel, watch: Watch) -> float | None:
        held_out = affordable_slices(self.cases, model.patch, self.settings.seed)
        return dice_on_slices(model, held_out, watch, self._set_weights) if held_out else None

    def _random_set(self, batch: Batch, number: int) -> int:
        """For a patch of an iteration by its number, the same in however many processes."""
        rng = np.random.default_rng([self.settings.seed, int(batch["iteration"]), number, 0x9])
        return int(rng.choice(len(self._set_weights), p=self._set_weights))

    def _nearest(self, logits: torch.Tensor, sets: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """(N,) places of the sets with the smallest cross-entropy to what the model says."""
        logarithm = torch.log_softmax(logits.float(), 1)
        likelihoods = [(logarithm.gather(1, one[:, None]) * inside).flatten(1).sum(1) for one in sets.unbind(1)]
        return torch.stack(likelihoods, 1).argmax(1)


def _alike(supervised: torch.Tensor) -> torch.Tensor:
    """Weights (N, 1, height, width) by which every slice counts the same (Zheng 2020, eq. 1 sums over slices).

    Slices across the drawn plane show a few drawn lines only; by their pixels they would count next to nothing.
    """
    weights = supervised.float()
    return weights * weights[0].numel() / weights.sum((1, 2, 3), keepdim=True).clamp_min(1.0)


def _ramp(done: float) -> float:
    left = max(0.0, 1.0 - done / _RAMP_SHARE)
    return math.exp(-_RAMP * left * left)
