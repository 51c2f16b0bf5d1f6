"""Networks that are trained with more inputs than the image, and can do without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def with_optional_inputs(network: torch.nn.Module, channels: int) -> torch.nn.Module:
    """The network, of so many input `channels`, of which the last ones may be left out: they are 0 then."""

    def complete(_module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        image, *rest = inputs
        missing = channels - image.shape[1]
        if not missing:
            return inputs
        nothing = image.new_zeros((image.shape[0], missing, *image.shape[2:]))
        return torch.cat([image, nothing], 1), *rest

    network.register_forward_pre_hook(complete)
    return network


def image_weights(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], image_channels: int, further: int
) -> dict[str, torch.Tensor]:
    """The weights of a network without its `further` inputs, which gives what it gave where these were 0.

    Args:
        state: of the network with them, which follow the image's channels wherever it sees the image.
        own: of the same network without them.
    """
    found = {}
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            kept = [n for n in range(tensor.shape[1]) if not image_channels <= n < image_channels + further]
            tensor = tensor[:, kept].contiguous()
        found[name] = tensor
    return found
