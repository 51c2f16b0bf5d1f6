"""Losses over supervised voxels only, by name: an undrawn voxel changes neither the value nor the gradient.

MONAI's `MaskedLoss` is not a partial loss: it masks logits before the softmax, so that uniform probabilities leak in.
Here supervised voxels are gathered first, so that other voxels, even NaN, have no influence. Dice-like losses
count over the supervised voxels of the whole batch (MONAI's `batch=True`), because a Dice per patch is noise where a
patch shows one drawn slice. On a dense mask each equals MONAI's loss of that name; the background has no Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ...runs.loss import DEFAULT_LOSS, LOSSES

_FOCUS = 2.0  # the focal loss' gamma
_TVERSKY_WRONG, _TVERSKY_MISSED = 0.3, 0.7
_BOUNDARY_SHARE = 0.05
_NEVER = -1e30  # a logit; minus infinity would give NaN where the target is 0

Total = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class SupervisedVoxels:
    """The supervised voxels of a batch.

    Attributes:
        logits: (M, C) float32. weights: (M,) float32.
        target: (M, C) float32, the true probability of each class: 1 for one of them, or those of a pseudo-label.
        distances: (M, C) float32 signed distances to each structure's boundary, or None.
        total: sums over all processes that train together; the identity in one.
        class_weights: (C,) float32, background first, for losses that need them.
    """

    logits: torch.Tensor
    target: torch.Tensor
    weights: torch.Tensor
    distances: torch.Tensor | None
    total: Total
    class_weights: torch.Tensor | None = None

    @property
    def truth(self) -> torch.Tensor:
        """(M,) int64: the true class, or the most likely one; for losses that cannot use probabilities."""
        return self.target.argmax(1)

    def mean(self, losses: torch.Tensor) -> torch.Tensor:
        """Weighted mean of (M,) losses over the voxels of all processes."""
        return self.total((losses * self.weights).sum()) / self.total(self.weights.sum()).clamp_min(1e-12)

    def overlaps(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Per class, background included, (C,): sum of p t, of p, and of t over the voxels of all processes."""
        probability = torch.softmax(self.logits, 1) * self.weights[:, None]
        sums = [(probability * self.target).sum(0), probability.sum(0), (self.target * self.weights[:, None]).sum(0)]
        overlap, predicted, true = self.total(torch.stack(sums)).unbind(0)
        return overlap, predicted, true


def cross_entropy(voxels: SupervisedVoxels, class_weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean cross-entropy over supervised voxels (Zheng 2020, eq. 2; Cicek 2016); with weights per class as torch's."""
    if class_weights is None:
        return voxels.mean(functional.cross_entropy(voxels.logits, voxels.target, reduction="none"))
    class_weights = class_weights.to(voxels.logits)
    losses = functional.cross_entropy(voxels.logits, voxels.target, weight=class_weights, reduction="none")
    counted = voxels.weights * (voxels.target @ class_weights)
    return voxels.total((losses * voxels.weights).sum()) / voxels.total(counted.sum()).clamp_min(1e-12)


def weighted_cross_entropy(voxels: SupervisedVoxels) -> torch.Tensor:
    """Cross-entropy with the voxels' class weights."""
    return cross_entropy(voxels, voxels.class_weights)


def dice(voxels: SupervisedVoxels, smoothing: float = 1.0) -> torch.Tensor:
    """Mean of 1 - Dice over the structures; those neither present nor predicted count as perfect."""
    overlap, predicted, true = (s[1:] for s in voxels.overlaps())
    return (1 - (2 * overlap + smoothing) / (predicted + true + smoothing)).mean()


def focal(voxels: SupervisedVoxels) -> torch.Tensor:
    """Focal loss (Lin 2017) after softmax, gamma 2, mean over voxels and classes as MONAI's."""
    logarithm = torch.log_softmax(voxels.logits, 1)
    losses = -((1 - logarithm.exp()) ** _FOCUS) * logarithm * voxels.target
    return voxels.mean(losses.sum(1) / voxels.logits.shape[1])


def tversky(voxels: SupervisedVoxels, smoothing: float = 1.0) -> torch.Tensor:
    """Tversky loss (Salehi 2017); a missed voxel counts 0.7, a wrong one 0.3."""
    overlap, predicted, true = (s[1:] for s in voxels.overlaps())
    wrong, missed = _TVERSKY_WRONG * (predicted - overlap), _TVERSKY_MISSED * (true - overlap)
    return (1 - (overlap + smoothing) / (overlap + wrong + missed + smoothing)).mean()


def generalised_dice(voxels: SupervisedVoxels, smoothing: float = 1.0) -> torch.Tensor:
    """Generalised Dice loss (Sudre 2017): structures count by the inverse square of their size."""
    overlap, predicted, true = (s[1:] for s in voxels.overlaps())
    # A structure that does not occur counts as the rarest one; the rarest has the weight 1.
    rarest = torch.where(true > 0, true, torch.inf).min()
    weights = torch.where(true > 0, (rarest / true.clamp_min(1e-12)) ** 2, torch.ones_like(true))
    return 1 - (2 * (overlap * weights).sum() + smoothing) / (((predicted + true) * weights).sum() + smoothing)


def boundary(voxels: SupervisedVoxels) -> torch.Tensor:
    """Boundary loss (Kervadec 2019): probability times signed distance (pixels) within the drawn slice."""
    if voxels.distances is None:
        raise ValueError("the boundary loss needs the distances to the boundaries")
    probability = torch.softmax(voxels.logits, 1)
    return voxels.mean((probability * voxels.distances)[:, 1:].mean(1))


def dice_and_cross_entropy(voxels: SupervisedVoxels) -> torch.Tensor:
    """The sum of both."""
    return cross_entropy(voxels) + dice(voxels)


def dice_and_focal(voxels: SupervisedVoxels) -> torch.Tensor:
    """The sum of both."""
    return dice(voxels) + focal(voxels)


def dice_cross_entropy_and_boundary(voxels: SupervisedVoxels) -> torch.Tensor:
    """The sum of the first two, and a share of the third."""
    return cross_entropy(voxels) + dice(voxels) + _BOUNDARY_SHARE * boundary(voxels)


@dataclass
class SparseLoss:
    """A loss by name over the supervised voxels of a batch.

    Args:
        name: one of LOSSES.
        class_weights: (C,) for losses that need them, background first.
        total: sums a tensor over all processes that train together, differentiably; None where there is only one.
        unknown_sets: sets of class indices, without the background, to which `unknown` refers.

    Raises BadInputError when there is no loss of that name.
    """

    name: str = DEFAULT_LOSS
    class_weights: torch.Tensor | None = None
    total: Total | None = None
    unknown_sets: Sequence[Sequence[int]] = ()

    def __post_init__(self):
        self._entry = LOSSES.named(self.name)
        self._formula = self._entry.loaded()
        self._unknown = UnknownTable(self.unknown_sets)

    @property
    def needs_distances(self) -> bool:
        """True when it must be given `distances`."""
        return self._entry.needs_distances

    def __call__(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        supervised: torch.Tensor,
        distances: torch.Tensor | None = None,
        unknown: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The loss, a scalar; exactly zero (with zero gradient) when no voxel is supervised.

        Args:
            logits: (N, C, *spatial) floating point.
            target: (N, 1, *spatial) class indices, any dtype, or (N, C, *spatial) floating-point probabilities;
                ignored where not supervised.
            supervised: (N, 1, *spatial) bool; or floating-point weights, 0 where not supervised.
            distances: (N, C, *spatial) signed distances for losses that need them.
            unknown: (N, 1, *spatial) integers, n where the classes of `unknown_sets[n - 1]` may be, or may not be,
                where the target is background: their probability counts as the background's; see `merged`.
        """
        # Searched for once: each search lets the CPU wait for a GPU.
        patch, place = (supervised[:, 0].flatten(1) > 0).nonzero(as_tuple=True)

        def chosen(tensor: torch.Tensor) -> torch.Tensor:
            """(M, channels) of a tensor (N, channels, *spatial)."""
            return tensor.flatten(2)[patch, :, place]

        voxels = chosen(logits).float()
        count: float = len(place)
        if self.total is not None:
            count = float(self.total(torch.tensor(count, dtype=torch.float32, device=logits.device)))
        if count == 0:
            return voxels.sum() * 0.0 + logits.flatten()[:1].float().nan_to_num(0.0, 0.0, 0.0).sum() * 0.0
        truth = _probabilities(chosen(target), logits.shape[1])
        if unknown is not None and self.unknown_sets:
            table = self._unknown.on(logits.device, logits.shape[1])
            voxels, truth = merged(voxels, truth, table[chosen(unknown)[:, 0].long()])
        return self._formula(
            SupervisedVoxels(
                logits=voxels,
                target=truth,
                weights=chosen(supervised)[:, 0].float(),
                distances=chosen(distances).float() if distances is not None else None,
                total=self.total or (lambda tensor: tensor),
                class_weights=self.class_weights,
            )
        )


class UnknownTable:
    """Which classes are in each set of unknown classes, as a tensor on the device where it is needed.

    It is copied once: each copy lets the CPU wait for a GPU, and without waiting an Apple GPU would read wrong values.
    """

    def __init__(self, sets: Sequence[Sequence[int]]):
        self._sets = sets
        self._kept: dict[torch.device, torch.Tensor] = {}

    def on(self, device: torch.device, class_count: int) -> torch.Tensor:
        """(sets + 1, C) bool; no class in the first row. Not to be changed."""
        if device not in self._kept:
            table = torch.zeros(len(self._sets) + 1, class_count, dtype=torch.bool)
            for number, classes in enumerate(self._sets, start=1):
                table[number, list(classes)] = True
            self._kept[device] = table.to(device)
        return self._kept[device]


def merged(logits: torch.Tensor, target: torch.Tensor, unknown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets, (M, C), with the probabilities of unknown classes added to the background's.

    Of these classes only 'background or one of them' is known, so only the sum of their probabilities has a loss (the
    marginal loss of Fang & Yan 2020 and Shi et al. 2021). As classes of their own they have probability 0 there.

    Args:
        unknown: (M, C) bool, without the background.
    """
    together = torch.cat([torch.ones_like(unknown[:, :1]), unknown[:, 1:]], 1)
    background = torch.logsumexp(logits.masked_fill(~together, -torch.inf), 1, keepdim=True)
    left = logits.masked_fill(unknown, _NEVER)
    added = (target * unknown).sum(1, keepdim=True)
    truth = target.masked_fill(unknown, 0.0)
    return torch.cat([background, left[:, 1:]], 1), torch.cat([truth[:, :1] + added, truth[:, 1:]], 1)


def _probabilities(target: torch.Tensor, class_count: int) -> torch.Tensor:
    """(M, C) float32 of (M, 1) class indices or (M, C) probabilities."""
    if target.is_floating_point() and target.shape[1] == class_count:
        return target.float()
    return torch.zeros(len(target), class_count, device=target.device).scatter_(1, target.long(), 1.0)
