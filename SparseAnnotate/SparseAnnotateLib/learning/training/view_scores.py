"""How good each view of the base models, and their average, is on held-out drawn slices; how much each view counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import t

from ...core import Watch
from ..data.image_channels import part_of
from ..data.training_cases import TrainingCase
from ..prediction.slice_prediction import slab_around
from ..prediction.trained_model import TrainedModel
from ..prediction.view_averages import default_weights, mean_view
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

    None when no view shows a structure, nor a slice. The views are averaged as a prediction averages them.
    """
    class_count = models[0].class_count
    counts: dict[str, list[np.ndarray]] = {}
    seen = []
    for case, (axis, index) in slices:
        views = _views_of_slice(models, case, axis, index, watch)
        for name, view in views.items():
            counts.setdefault(name, []).append(_counts(class_count, most_likely(view), case, axis, index))
        # They are averaged when the weights are known; half precision halves the memory until then.
        seen.append({name: view.half() for name, view in views.items()})
    scores = ViewScores({name: np.stack(parts) for name, parts in counts.items()})
    if not scores.dice:
        return None
    weights = scores.weights()
    total = np.zeros((class_count - 1, 2))
    for (case, (axis, index)), views in zip(slices, seen, strict=True):
        mean = mean_view({name: view.float() for name, view in views.items()}, weights)
        total += _counts(class_count, most_likely(mean), case, axis, index)
    dice = dice_of_counts(total)
    return replace(scores, average_dice=None if math.isnan(dice) else dice)


def _views_of_slice(
    models: list[TrainedModel], case: TrainingCase, axis: int, index: int, watch: Watch
) -> dict[str, torch.Tensor]:
    """Probabilities of a slice by each view, (classes, rows, columns) float32 on the CPU."""
    thickness = max((m.patch[axis] if m.role == "3d" else max(m.patch)) for m in models)
    slab, low = slab_around(case.shape, axis, index, thickness)
    volume = VolumePrediction(models, part_of(case.image, slab), watch.quiet())

    def layer(start: int, stop: int) -> dict[str, torch.Tensor]:
        place = index - low
        # Along the first axis, one of the slabs holds the slice, and the others nothing of it.
        part = slice(max(0, place - start), max(0, place - start + 1)) if axis == 0 else slice(place, place + 1)
        where = (slice(None), *(part if a == axis else slice(None) for a in range(3)))
        return {name: view[where].cpu() for name, view in volume.views(start, stop).items()}

    parts = [found for _start, _stop, found in volume.slabs(layer)]
    return {name: torch.cat([part[name] for part in parts], 1).squeeze(axis + 1) for name in volume.view_names}


def _counts(class_count: int, predicted: np.ndarray, case: TrainingCase, axis: int, index: int) -> np.ndarray:
    """(classes without background, 2), as of `Tally`, of a slice."""
    tally = Tally(class_count)
    tally.add(predicted, case, axis, index)
    return tally.counts
