"""The optimizer of a training, by its settings."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ...runs.settings import TrainingSettings


def new_optimizer(parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """An optimizer as the settings choose it; the moments of 'adamw' and 'adam' are torch's 0.9 and 0.999."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, settings.momentum, weight_decay=decay, nesterov=settings.nesterov)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, rate, eps=settings.optimizer_eps, weight_decay=decay)
