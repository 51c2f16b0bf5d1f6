"""What the final model learns: from pseudo-labels and drawn voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.loss import DEFAULT_LOSS
from ...runs.network import NETWORKS
from ...runs.plan import ModelPlan, RunPlan
from ..data.batches import Batch
from ..data.patches import PatchSampler, Placing
from ..data.training_cases import TrainingCase
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import mean_pseudo_label
from .distributed import Ranks
from .losses import SparseLoss
from .objective import Forward
from .supervised_objective import SupervisedObjective
from .validation import affordable_slices, dice_on_slices


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
            self._loss = SparseLoss(DEFAULT_LOSS, None, ranks.total)  # pseudo-labels have no distances
        self._sees_prior = NETWORKS[plan.model("final").network].takes_pseudo_label

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
