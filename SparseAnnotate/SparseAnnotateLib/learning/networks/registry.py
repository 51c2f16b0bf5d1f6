"""Networks by name, in 2D and 3D: MONAI's, and DenseVoxNet.

All map (N, channels, *spatial) to logits (N, classes, *spatial).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.nets import UNETR, AttentionUnet, BasicUNet, DynUNet, SegResNet, SwinUNETR

from ...core import BadInputError
from ...runs.settings import FINAL_NETWORKS
from .dense_vox_net import DenseVoxNet, YShapedDenseVoxNet

Y_SHAPED = ("y_shaped_dense_vox_net", "y_shaped_dense_vox_net_small")
_DIVISORS = {"segresnet": 8, "attention_unet": 8, "dense_vox_net": 4, **dict.fromkeys(Y_SHAPED, 4), "swin_unetr": 32}


@dataclass(frozen=True)
class NetworkShape:
    """What a network is built from, beside its name.

    Attributes:
        class_count: output channels, background included.
        patch: the size it is trained with, (S, A, R) or (height, width); its length is the dimension.
        strides, kernels: of each level, per axis, for networks that take them; empty: 2 and 3 everywhere.
        dropout: share of values that its dropout layers drop; weights fit whatever it is.
    """

    class_count: int
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...] = ()
    kernels: tuple[tuple[int, ...], ...] = ()
    dropout: float = 0.0

    @property
    def dimensions(self) -> int:
        return len(self.patch)


def build_network(name: str, shape: NetworkShape) -> torch.nn.Module:
    """A fresh network with one input channel (the Y-shaped one: with one for each class besides).

    Raises BadInputError when there is no network of that name, or it cannot work with patches of this size.
    """
    kind, arguments = network_definition(name, shape)
    return kind(**arguments)


def network_definition(name: str, shape: NetworkShape) -> tuple[type[torch.nn.Module], dict[str, Any]]:
    """The class of a network and the arguments it is made with; raises as `build_network`."""
    if name not in _DEFINITIONS:
        raise BadInputError(f"There is no network '{name}'; choose one of {', '.join(FINAL_NETWORKS)}.")
    divisor = _DIVISORS.get(name, 16)
    if any(n % divisor for n in shape.patch):
        raise BadInputError(
            f"The network '{name}' needs patches whose sides are multiples of {divisor}, not {list(shape.patch)}."
        )
    return _DEFINITIONS[name](shape)


def patch_divisor(name: str) -> int:
    """What the sides of a network's patches must be multiples of, 16 at least."""
    return max(16, _DIVISORS.get(name, 16))


Definition = tuple[type[torch.nn.Module], dict[str, Any]]


def _common(shape: NetworkShape) -> dict[str, Any]:
    return {"spatial_dims": shape.dimensions, "in_channels": 1, "out_channels": shape.class_count}


def _basic_unet(features: tuple[int, ...]) -> Callable[[NetworkShape], Definition]:
    return lambda shape: (BasicUNet, {**_common(shape), "features": features, "dropout": shape.dropout})


def _dynunet(shape: NetworkShape) -> Definition:
    strides = list(shape.strides) or [(1,) * shape.dimensions] + [(2,) * shape.dimensions] * 3
    return DynUNet, {
        **_common(shape),
        "kernel_size": list(shape.kernels) or [(3,) * shape.dimensions] * len(strides),
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": [min(32 * 2**level, 320) for level in range(len(strides))],
        "res_block": True,
        "dropout": shape.dropout or None,
    }


def _attention_unet(shape: NetworkShape) -> Definition:
    steps = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}
    return AttentionUnet, {**_common(shape), **steps, "dropout": shape.dropout}


def _segresnet(shape: NetworkShape) -> Definition:
    return SegResNet, {**_common(shape), "init_filters": 16, "dropout_prob": shape.dropout or None}


def _unetr(shape: NetworkShape) -> Definition:
    return UNETR, {**_common(shape), "img_size": shape.patch, "dropout_rate": shape.dropout}


def _swin_unetr(shape: NetworkShape) -> Definition:
    return SwinUNETR, {**_common(shape), "drop_rate": shape.dropout}


def _dense(shape: NetworkShape) -> dict[str, Any]:
    """The first convolution and the pooling halve as planned, as far as they halve at all."""
    planned = [tuple(min(s, 2) for s in stride) for stride in shape.strides[1:3]]
    halving = len(planned) == 2 and all(math.prod(s) > 1 for s in planned)
    strides = planned if halving else [(2,) * shape.dimensions] * 2
    return {
        "dimensions": shape.dimensions,
        "in_channels": 1,
        "out_channels": shape.class_count,
        "strides": strides,
        "dropout": shape.dropout,
    }


def _y_shaped(shape: NetworkShape) -> dict[str, Any]:
    return {**_dense(shape), "prior_channels": shape.class_count}


_DEFINITIONS: dict[str, Callable[[NetworkShape], Definition]] = {
    "basic_unet_small": _basic_unet((16, 16, 32, 64, 128, 16)),
    "basic_unet": _basic_unet((32, 32, 64, 128, 256, 32)),
    "attention_unet": _attention_unet,
    "dense_vox_net": lambda shape: (DenseVoxNet, _dense(shape)),
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "swin_unetr": _swin_unetr,
    "unetr": _unetr,
    Y_SHAPED[0]: lambda shape: (YShapedDenseVoxNet, _y_shaped(shape)),
    Y_SHAPED[1]: lambda shape: (YShapedDenseVoxNet, {**_y_shaped(shape), "layers": (3, 6), "up": (48, 16)}),
}
