"""Several views of a volume combined: their averages, pseudo-labels, and agreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def set_weights(names: Sequence[str], weights: dict[str, float] | None) -> tuple[float, ...]:
    """How much each view counts, in their order; they sum to 1. Without weights all count the same."""
    found = [(weights or {}).get(name, 1.0) for name in names]
    return tuple(weight / sum(found) for weight in found)


def default_weights(names: Sequence[str]) -> dict[str, float]:
    """How much each view counts when nothing is known of them: all views of a 2D model as much as a 3D model."""
    flat = sum(name != "3d" for name in names)
    return {name: 1.0 if name == "3d" or "3d" not in names else 1.0 / flat for name in names}


def mean_view(views: dict[str, torch.Tensor], weights: dict[str, float] | None) -> torch.Tensor:
    """Weighted mean probabilities; without weights, with the default ones."""
    shares = set_weights(tuple(views), default_weights(tuple(views)) if weights is None else weights)
    first, *others = (share * view for share, view in zip(shares, views.values(), strict=True))
    return sum(others, first)


def mean_pseudo_label(
    sets: torch.Tensor, sure: torch.Tensor, class_count: int, weights: Sequence[float]
) -> torch.Tensor:
    """The mean of the sets, A of Zheng 2020, (classes, *spatial) float32.

    Each set is kept as its most likely class and the probability of that one, which is complete for two classes;
    with more, the others share the rest.

    Args:
        sets: (V, *spatial) class indices. sure: (V, *spatial) uint8, their probabilities, 255 for 1.
        weights: of the sets, summing to 1.
    """
    shares = torch.tensor(weights, device=sets.device).reshape(-1, *([1] * (sets.ndim - 1)))
    certain = sure.float() * (shares / 255.0)
    rest = (shares - certain) / (class_count - 1)
    return torch.stack([torch.where(sets == value, certain, rest).sum(0) for value in range(class_count)])


def sets_of(views: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Each view's most likely class, (V, S, A, R) int64, and its probability, (V, S, A, R) uint8, 255 for 1."""
    best = [view.max(0) for view in views]
    return torch.stack([b.indices for b in best]), torch.stack(
        [b.values.mul(255).round().to(torch.uint8) for b in best]
    )


def agreement(sets: np.ndarray) -> np.ndarray:
    """Percent of the sets that agree with the majority: (V, S, A, R) to (S, A, R) uint8."""
    most = np.zeros(sets.shape[1:], dtype=np.uint8)
    for value in np.unique(sets):
        np.maximum(most, (sets == value).sum(0, dtype=np.uint8), out=most)
    return np.round(most * np.float32(100.0 / len(sets))).astype(np.uint8)
