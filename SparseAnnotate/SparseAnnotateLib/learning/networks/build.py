"""Builds networks by name, in 2D and 3D; they are listed in `runs.network`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...runs.network import NETWORKS, NetworkShape
from .normalization import with_fast_normalization


def build_network(name: str, shape: NetworkShape) -> torch.nn.Module:
    """A new network with one input channel (and one more for each class if it takes a pseudo-label).

    Raises BadInputError when there is no network of that name, or it cannot work with patches of this size.
    """
    kind, arguments = network_definition(name, shape)
    network: torch.nn.Module = kind(**arguments)
    return with_fast_normalization(network)


def network_definition(name: str, shape: NetworkShape) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The class of a network and the arguments it is built with; raises as `build_network`."""
    entry = NETWORKS.named(name)
    entry.check_shape(shape)
    return entry.loaded(), entry.arguments(shape)
