"""How good each view of the base models, and their average, is on held-out drawn slices; how much each view counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t

from ...core import Watch
from ...core.planes import slice_layer
from ..data.image_channels import part_of
from ..data.training_cases import TrainingCase
from ..prediction.slice_prediction import slab_around
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import default_weights, mean_pseudo_label, set_weights
from ..prediction.volume_prediction import VolumePrediction, most_likely
from .validation import HeldOutSlice, Tally, dice_of_counts

_DICE_MARGIN = 0.05  # a view whose Dice is surely this much below the best has 1/e of its default weight
_CONFIDENCE = 0.975  # one-sided


@dataclass(frozen=True, eq=False)
class ViewScores:
    """How each view and the truth overlap on held-out drawn slices.

    Attributes:
        counts: of each view (slices, classes, 2), as of `Tally`.
        average_dice: Dice of the average of the views, with their weights; None when it was not measured.
    """

    counts: dict[str, np.ndarray]
    average_dice: float | None = None

    @property
    def dice(self) -> dict[str, float]:
        """Dice over all slices together, mean over the structures; without views that show none, nor the slices."""
        found = {name: dice_of_counts(counts.sum(0)) for name, counts in self.counts.items()}
        return {name: dice for name, dice in found.items() if not math.isnan(dice)}

    def weights(self) -> dict[str, float]:
        """How much each view counts; the largest weight is 1.

        The default weights, lower for a view by as much as it is surely worse than the best one. Averaging views that
        differ is worth more than a few slices can tell of them.
        """
        dice, found = self.dice, default_weights(tuple(self.counts))
        best = max(dice, key=lambda name: dice[name])
        for name in dice:
            found[name] *= math.exp(-self._surely_worse(name, best) / _DICE_MARGIN)
        most = max(found.values())
        return {name: weight / most for name, weight in found.items()}

    def _surely_worse(self, name: str, best: str) -> float:
        """The lower end of the confidence interval of the difference in Dice, by leaving out each slice (jackknife)."""
        count = len(self.counts[name])
        if count < 2 or name == best:
            return 0.0
        difference = self.dice[best] - self.dice[name]
        without = np.array([self._difference(name, best, left_out) for left_out in range(count)])
        without = np.where(np.isnan(without), difference, without)
        error = math.sqrt((count - 1) * float(without.var()))
        return max(0.0, difference - float(t.ppf(_CONFIDENCE, count - 1)) * error)

    def _difference(self, name: str, best: str, left_out: int) -> float:
        kept = [dice_of_counts(np.delete(self.counts[view], left_out, axis=0).sum(0)) for view in (best, name)]
        return kept[0] - kept[1]


def view_scores(models: list[TrainedModel], slices: Sequence[HeldOutSlice], watch: Watch) -> ViewScores | None:
    """Dice of each view of base models, and of their average, on held-out drawn slices.

    None when no view shows a structure, nor a slice. Of the average each view is known by its most likely class and the
    probability of that one, as pseudo-labels are.
    """
    class_count = models[0].class_count
    counts: dict[str, list[np.ndarray]] = {}
    seen = []
    for case, (axis, index) in slices:
        names, sets, sure = _views_of_slice(models, case, axis, index, watch)
        for name, predicted in zip(names, sets, strict=True):
            counts.setdefault(name, []).append(_counts(class_count, predicted, case, axis, index))
        seen.append((sets, sure))
    scores = ViewScores({name: np.stack(parts) for name, parts in counts.items()})
    if not scores.dice:
        return None
    shares = set_weights(list(counts), scores.weights())
    total = np.zeros((class_count - 1, 2))
    for (case, (axis, index)), (sets, sure) in zip(slices, seen, strict=True):
        mean = mean_pseudo_label(torch.from_numpy(sets.astype(np.int64)), torch.from_numpy(sure), class_count, shares)
        total += _counts(class_count, most_likely(mean), case, axis, index)
    dice = dice_of_counts(total)
    return replace(scores, average_dice=None if math.isnan(dice) else dice)


def _views_of_slice(
    models: list[TrainedModel], case: TrainingCase, axis: int, index: int, watch: Watch
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The views, and for a slice their most likely classes and the probabilities of these, (views, rows, columns)."""
    thickness = max((m.patch[axis] if m.role == "3d" else max(m.patch)) for m in models)
    slab, low = slab_around(case.shape, axis, index, thickness)
    volume = VolumePrediction(models, part_of(case.image, slab), watch.quiet())
    parts = [found for _start, _stop, found in volume.slabs(volume.sets)]
    layer = (slice(None), *slice_layer(axis, index - low))
    sets, sure = (np.concatenate(each, axis=1)[layer] for each in zip(*parts, strict=True))
    return volume.view_names, sets, sure


def _counts(class_count: int, predicted: np.ndarray, case: TrainingCase, axis: int, index: int) -> np.ndarray:
    """(classes without background, 2), as of `Tally`, of a slice."""
    tally = Tally(class_count)
    tally.add(predicted, case, axis, index)
    return tally.counts
