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


def use_memory_format(
    memory_format: torch.memory_format, network: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Keep a network's weights in a memory format and, with its optimizer, what that keeps for each of them.

    An optimizer updates many weights at once only where all its tensors lie in memory in the same way.
    """
    # torch takes it, but declares `to` without it.
    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    for parameter, state in optimizer.state.items() if optimizer is not None else ():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.dim() in (4, 5):
                fits = value.dim() == (5 if memory_format == torch.channels_last_3d else 4)
                state[name] = value.contiguous(memory_format=memory_format if fits else torch.contiguous_format)


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
    # Together, as the CPU waits for a GPU here.
    value, norm = torch.stack([loss.detach().float(), size.float()]).tolist()
    if not math.isfinite(value) or not math.isfinite(norm):
        return value, False
    scaler.step(optimizer)
    scaler.update()
    return value, True
