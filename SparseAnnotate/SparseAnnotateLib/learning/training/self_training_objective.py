"""What the final model learns from: pseudo-labels and drawn voxels."""

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
from ..networks.outputs import Outputs, loss_of_outputs, main_logits
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import mean_pseudo_label
from .distributed import Ranks
from .losses import SparseLoss
from .objective import Forward
from .supervised_objective import SupervisedObjective
from .validation import affordable_slices, dice_on_slices, unpredicted_classes

_RULED_OUT = 1e-3


class SelfTrainingObjective(SupervisedObjective):
    """The final model learns the base models' pseudo-labels, from the image and, with a second arm, from their mean.

    A network with a second arm (Zheng 2020, eq. 9) learns one set of pseudo-labels for each patch and step: first one
    chosen at random, later the set nearest to its own prediction by cross-entropy (NN-fit). Its mean would be no more
    than what it sees. A network that sees the image alone learns the mean of all sets: each single one is worse, and
    with few drawn slices much worse. `pseudo_label_target` asks for the other.

    A drawn voxel keeps its true label and has the weight `drawn_weight`. The mean pseudo-label that the model gets as
    input is the base models' prediction on drawn voxels, too: from these the model learns to correct it, and volumes
    without drawn slices have the same kind of input. Unlike in Zheng 2020, sets are chosen, and weighted in the mean,
    as their views are in the average of the base models (`ViewScores.weights`), where slices are held out.

    Args: as of SupervisedObjective; set_weights: of the sets of pseudo-labels, summing to 1.
    """

    def __init__(self, plan: RunPlan, cases: Sequence[TrainingCase], ranks: Ranks, set_weights: Sequence[float]):
        super().__init__(plan, cases, ranks)
        self._set_weights = tuple(set_weights)
        if self._loss.needs_distances:
            self._loss = SparseLoss(DEFAULT_LOSS, None, ranks.total_of_several)  # pseudo-labels have no distances
        self._sees_prior = NETWORKS[plan.model("final").network].takes_pseudo_label
        wanted = plan.settings.pseudo_label_target
        self._learns_mean = wanted == "mean" or (wanted == "auto" and not self._sees_prior)

    def sampler(self, model: ModelPlan) -> PatchSampler:
        settings = self.settings
        # Half of the other patches lie anywhere, so that false positives far from the structures are unlearned, too.
        placing = Placing(
            settings.foreground_share,
            undrawn_share=(1.0 - settings.foreground_share) / 2,
            is_centered=settings.patch_placing == "on",
        )
        return PatchSampler(self.cases, model.patch, placing, settings.seed)

    def loss(self, forward: Forward, batch: Batch, done: float, teacher: Forward | None) -> torch.Tensor:
        sets = batch["sets"].long()  # 0 outside the volume, else class index + 1
        inside, sets = sets[:, :1] > 0, (sets - 1).clamp_min(0)
        both = sets.transpose(0, 1), batch["sure"].transpose(0, 1)
        prior = mean_pseudo_label(*both, self.plan.class_count, self._set_weights)
        prior = prior.transpose(0, 1) * inside
        outputs = forward(torch.cat([batch["image"], prior], 1) if self._sees_prior else batch["image"])
        drawn = batch["supervised"] > 0
        if "unknown" in batch:
            prior, sets = self._possible(batch, drawn, prior, sets)
            drawn = drawn & (batch["unknown"] == 0)
        if self._learns_mean:
            truth = torch.zeros_like(prior).scatter_(1, batch["label"].long(), 1.0)
            target = torch.where(drawn, truth, prior)
        else:
            chosen = self._chosen_sets(batch, done, outputs, sets, inside & ~drawn)
            pseudo = sets[torch.arange(len(sets), device=sets.device), chosen][:, None]
            target = torch.where(drawn, batch["label"].long(), pseudo)
        weights = torch.where(drawn, self.settings.drawn_weight, 1.0) * inside
        return loss_of_outputs(
            outputs, self.settings.auxiliary_weight, lambda logits: self._loss(logits, target, weights)
        )

    def _possible(
        self, batch: Batch, drawn: torch.Tensor, prior: torch.Tensor, sets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and sets of pseudo-labels, with nothing but unknown structures where a slice decides some of them.

        Args:
            drawn: (N, 1, *spatial) bool. prior: (N, C, *spatial) probabilities. sets: (N, V, *spatial) class indices.
        """
        unknown = batch["unknown"].long()
        table = self._unknown.on(unknown.device, self.plan.class_count).clone()
        table[:, 0] = True
        possible = table[unknown[:, 0]].movedim(-1, 1)  # (N, C, *spatial)
        partly = drawn & (unknown > 0)
        left = prior * possible
        total = left.sum(1, keepdim=True)
        # Where all that the base models see is ruled out, there is background.
        background = torch.zeros_like(left)
        background[:, 0] = 1.0
        left = torch.where(total > _RULED_OUT, left / total.clamp_min(_RULED_OUT), background)
        return torch.where(partly, left, prior), torch.where(partly & ~possible.gather(1, sets), 0, sets)

    def score(self, model: TrainedModel, watch: Watch) -> float | None:
        held_out = affordable_slices(self.cases, model.patch, self.settings.seed)
        return dice_on_slices(model, held_out, watch, self._set_weights) if held_out else None

    def unpredicted(self, model: TrainedModel, watch: Watch) -> list[int]:
        return unpredicted_classes(model, self.cases, watch, self._set_weights)

    def _chosen_sets(
        self, batch: Batch, done: float, outputs: Outputs, sets: torch.Tensor, counted: torch.Tensor
    ) -> torch.Tensor:
        """(N,) indices of the sets that the patches learn from."""
        if done < self.settings.random_share:
            return torch.tensor([self._random_set(batch, n) for n in batch["number"].tolist()], device=sets.device)
        return self._nearest(main_logits(outputs).detach(), sets, counted)

    def _random_set(self, batch: Batch, number: int) -> int:
        """The set for a patch, chosen by iteration and patch number: the same for any number of processes."""
        rng = np.random.default_rng([self.settings.seed, int(batch["iteration"]), number, 0x9])
        return int(rng.choice(len(self._set_weights), p=self._set_weights))

    def _nearest(self, logits: torch.Tensor, sets: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """(N,) indices of the sets with the smallest cross-entropy to the model's prediction."""
        logarithm = torch.log_softmax(logits.float(), 1)
        likelihoods = [(logarithm.gather(1, labels[:, None]) * inside).flatten(1).sum(1) for labels in sets.unbind(1)]
        return torch.stack(likelihoods, 1).argmax(1)
