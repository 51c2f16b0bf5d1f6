"""How well a model in training does on drawn slices that were held out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..core import Watch
from ..core.planes import slice_layer
from .devices import prediction_precision
from .inference import predicted_classes
from .run_folder import RunPlan
from .training_data import TrainingCase

_SLICES_AT_MOST = 24
_WINDOWS_AT_MOST = 100

HeldOutSlice = tuple[TrainingCase, tuple[int, int]]


def affordable_slices(cases: Sequence[TrainingCase], patch: tuple[int, int, int], seed: int) -> list[HeldOutSlice]:
    """Some of the held-out slices, spread over all cases: on large volumes each takes many windows to predict."""
    slices = [(case, s) for case in cases for s in case.held_out]
    chosen, windows = [], 0
    order = np.random.default_rng([seed, 0xCA5E]).permutation(len(slices))
    for case, (axis, index) in (slices[i] for i in order[:_SLICES_AT_MOST]):
        sides = [(n, p) for a, (n, p) in enumerate(zip(case.image.shape, patch, strict=True)) if a != axis]
        windows += int(np.prod([max(1, round(n / (0.75 * p))) for n, p in sides]))
        if chosen and windows > _WINDOWS_AT_MOST:
            break
        chosen.append((case, (axis, index)))
    return chosen


def dice_on_slices(model: torch.nn.Module, plan: RunPlan, slices: Sequence[HeldOutSlice], watch: Watch) -> float:
    """Mean Dice over the structures that the slices, or the predictions on them, show; 1 when they show none.

    The model is left in eval mode. Raises CancelledError.
    """
    model.eval()
    counts = np.zeros((len(plan.classes) + 1, 2))
    precision = prediction_precision(plan.device)
    for case, (axis, index) in slices:
        watch.check()
        half = plan.patch[axis] // 2
        low = max(0, min(index - half, case.image.shape[axis] - plan.patch[axis]))
        slab = tuple(slice(low, low + plan.patch[axis]) if a == axis else slice(None) for a in range(3))
        predicted = predicted_classes(model, case.image[slab], plan.patch, plan.device, precision, watch)
        predicted = predicted[slice_layer(axis, index - low)]
        truth = case.labels[slice_layer(axis, index)]
        for c in range(1, len(counts)):
            p, t = predicted == c, truth == c
            counts[c] += (2 * np.count_nonzero(p & t), np.count_nonzero(p) + np.count_nonzero(t))
    seen = counts[1:][counts[1:, 1] > 0]
    return float((seen[:, 0] / seen[:, 1]).mean()) if len(seen) else 1.0
