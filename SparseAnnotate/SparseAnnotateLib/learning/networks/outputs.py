"""What networks return while they are trained: logits, and with some an auxiliary output (deep supervision)."""

from __future__ import annotations

from collections.abc import Callable

import torch

Outputs = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""Logits (N, classes, *spatial), or these and auxiliary logits of the same shape."""


def main_logits(outputs: Outputs) -> torch.Tensor:
    """The logits that the network would predict with."""
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def loss_of_outputs(
    outputs: Outputs, auxiliary_weight: float, loss: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The loss of the logits and, where there are auxiliary ones, theirs times a weight (Yu 2017)."""
    if isinstance(outputs, torch.Tensor):
        return loss(outputs)
    main, auxiliary = outputs
    return loss(main) + auxiliary_weight * loss(auxiliary)
