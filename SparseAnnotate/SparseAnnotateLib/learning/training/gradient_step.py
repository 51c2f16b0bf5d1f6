"""The parts of a training step: the forward pass, and the backward pass with the optimizer's step."""

from __future__ import annotations

import math

import torch

from ..networks.outputs import Outputs
from ..prediction.sliding_windows import autocast
from .objective import Forward


def forward_pass(network: Forward, device: str, precision: str, memory_format: torch.memory_format) -> Forward:
    """A network as training calls it: in mixed precision, with its images in a memory format."""

    def forward(image: torch.Tensor) -> Outputs:
        with autocast(device, precision):
            return network(image.contiguous(memory_format=memory_format))

    return forward


def gradient_step(
    loss: torch.Tensor,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    largest_gradient: float,
) -> tuple[float, bool]:
    """The backward pass and, where loss and gradient are finite, the optimizer's step.

    Returns the loss, and whether the step was taken; otherwise weights, optimizer and scaler are as before.
    """
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    size = torch.nn.utils.clip_grad_norm_(network.parameters(), largest_gradient)
    value = float(loss.detach())
    if not math.isfinite(value) or not bool(torch.isfinite(size)):
        return value, False
    scaler.step(optimizer)
    scaler.update()
    return value, True
