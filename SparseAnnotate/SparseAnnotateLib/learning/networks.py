"""Networks by name. All come from MONAI; all map (N, 1, S, A, R) images to (N, classes, S, A, R) logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.nets import AttentionUnet, BasicUNet, DynUNet, SegResNet

from ..core import BadInputError
from .settings import NETWORKS


def build_network(name: str, class_count: int, dropout: float = 0.0) -> torch.nn.Module:
    """A fresh network with one input channel and `class_count` outputs (background included).

    `dropout` is the share of values that its dropout layers drop; weights fit whatever it is.

    Raises BadInputError when there is no network of that name.
    """
    if name not in _BUILDERS:
        raise BadInputError(f"There is no network '{name}'; choose one of {', '.join(NETWORKS)}.")
    return _BUILDERS[name](class_count, dropout)


def _basic_unet(features: tuple[int, ...]) -> Callable[[int, float], torch.nn.Module]:
    return lambda classes, dropout: BasicUNet(
        spatial_dims=3, in_channels=1, out_channels=classes, features=features, dropout=dropout
    )


def _dynunet(classes: int, dropout: float) -> torch.nn.Module:
    return DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
        kernel_size=[3, 3, 3, 3],
        strides=[1, 2, 2, 2],
        upsample_kernel_size=[2, 2, 2],
        filters=[32, 64, 128, 256],
        res_block=True,
        dropout=dropout or None,
    )


def _attention_unet(classes: int, dropout: float) -> torch.nn.Module:
    return AttentionUnet(
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
        channels=(16, 32, 64, 128),
        strides=(2, 2, 2),
        dropout=dropout,
    )


def _segresnet(classes: int, dropout: float) -> torch.nn.Module:
    return SegResNet(spatial_dims=3, in_channels=1, out_channels=classes, init_filters=16, dropout_prob=dropout or None)


_BUILDERS: dict[str, Callable[[int, float], torch.nn.Module]] = {
    "basic_unet_small": _basic_unet((16, 16, 32, 64, 128, 16)),
    "basic_unet": _basic_unet((32, 32, 64, 128, 256, 32)),
    "attention_unet": _attention_unet,
    "dynunet": _dynunet,
    "segresnet": _segresnet,
}
