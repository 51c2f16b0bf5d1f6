"""Losses over supervised voxels only: an undrawn voxel changes neither the value nor the gradient."""

from __future__ import annotations

import torch
from torch.nn import functional


class SparseDiceCELoss(torch.nn.Module):
    """Dice + cross-entropy over the supervised voxels of a batch.

    Cross-entropy is averaged over supervised voxels (Zheng 2020, eq. 2; Cicek 2016). Dice is taken per class over the
    supervised voxels of the whole batch, after softmax: masking logits before the softmax would leak uniform
    probabilities into it, and a Dice per patch would be noise where a patch shows one drawn slice. Classes that are
    neither there nor predicted count as perfect; the background has no Dice.

    Args:
        smoothing: added to numerator and denominator of the Dice.
    """

    def __init__(self, smoothing: float = 1.0):
        super().__init__()
        self._smoothing = smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor, supervised: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar; exactly zero (with zero gradient) when no voxel is supervised.

        Args:
            logits: (N, C, S, A, R) floating point.
            target: (N, 1, S, A, R) class indices, any dtype; ignored where not supervised.
            supervised: (N, 1, S, A, R) bool; or floating-point weights, 0 where not supervised.
        """
        # Only supervised voxels are gathered, so whatever stands elsewhere, NaN included, cannot matter.
        weights = supervised[:, 0]
        where = weights if weights.dtype == torch.bool else weights > 0
        chosen = logits.movedim(1, -1)[where].float()
        if chosen.shape[0] == 0:
            return logits.flatten()[:1].sum() * 0.0
        truth = target[:, 0][where].long()
        probability = torch.softmax(chosen, dim=1)[:, 1:]
        one_hot = functional.one_hot(truth, chosen.shape[1])[:, 1:].to(probability)
        if weights.dtype == torch.bool:
            cross_entropy = functional.cross_entropy(chosen, truth)
            size = probability.sum(0) + one_hot.sum(0)
        else:
            weight = weights[where].float()
            cross_entropy = (functional.cross_entropy(chosen, truth, reduction="none") * weight).sum() / weight.sum()
            size = ((probability + one_hot) * weight[:, None]).sum(0)
            probability = probability * weight[:, None]
        overlap = (probability * one_hot).sum(0)
        dice = (2 * overlap + self._smoothing) / (size + self._smoothing)
        return cross_entropy + (1 - dice).mean()
