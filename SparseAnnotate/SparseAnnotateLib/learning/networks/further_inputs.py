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


def start_from_expected(
    network: torch.nn.Module, own: Mapping[str, torch.Tensor], image_channels: int, further: int
) -> None:
    """Let a new network begin with what its `further` inputs expect of its classes, from class 1 on, and correct it.

    They are added to the logits of the classes, and change nothing else, until the network has learned from them.
    Where its classifier does not see the image, they change nothing at all. Args: as `image_weights`.
    """
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.shape == own[name].shape:
                continue
            tensor[:, image_channels : image_channels + further] = 0
            is_classifier = max(tensor.shape[2:], default=1) == 1
            for c in range(1, min(len(tensor), further + 1)) if is_classifier else ():
                tensor[c, image_channels + c - 1] = 1
