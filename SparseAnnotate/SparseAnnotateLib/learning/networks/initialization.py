"""First weights of a network: normally distributed as in Zheng 2020, or scaled by the size of each layer."""

from __future__ import annotations

import math

import torch

from ...runs.optimization import Initialization

_GAUSSIAN_DEVIATION = 0.01  # Zheng 2020, implementation details; Yu 2017


def initialize(network: torch.nn.Module, kind: Initialization) -> None:
    """Draw the weights of all convolutions and linear layers again, with biases of 0; 'default' leaves them.

    'gaussian': mean 0, standard deviation 0.01. 'he': mean 0, variance 2 / inputs of an output (He 2015, eq. 10).
    Normalization layers and embeddings stay as they are.
    """
    if kind == "default":
        return
    for layer in network.modules():
        if not isinstance(layer, torch.nn.modules.conv._ConvNd | torch.nn.Linear):
            continue
        deviation = _GAUSSIAN_DEVIATION if kind == "gaussian" else math.sqrt(2.0 / _inputs(layer))
        torch.nn.init.normal_(layer.weight, 0.0, deviation)
        if layer.bias is not None:
            torch.nn.init.zeros_(layer.bias)


def _inputs(layer: torch.nn.modules.conv._ConvNd | torch.nn.Linear) -> float:
    """How many values each output of a layer is a weighted sum of."""
    if isinstance(layer, torch.nn.modules.conv._ConvTransposeNd):
        # Each input spreads over the kernel, and outputs are `stride` times as dense.
        return layer.in_channels / layer.groups * math.prod(layer.kernel_size) / math.prod(layer.stride)
    return layer.weight[0].numel()
