"""A U-Net for patches of which only some slices are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.networks.layers import SkipConnection
from monai.networks.layers.factories import Conv
from monai.networks.nets import BasicUNet
from monai.networks.nets.basic_unet import UpCat
from torch import nn


class SparseUNet(nn.Sequential):
    """MONAI's BasicUNet, changed in two places that work badly with sparse annotation.

    - It upsamples by interpolation. A transposed convolution of stride 2 has weights of its own for even and for odd
      positions, which a single slice does not supervise together: the prediction flickers from slice to slice, and the
      first slices of a window go wrong in places that are never drawn.
    - The classifier sees the image, too. Instance normalisation removes the mean of each feature over the window, so
      that the features of a window that shows a small part of a volume no longer tell how bright it is: grey from white
      matter, or tissue from air. With `groups`, features are normalised in groups, which keeps more of that. This is
      better within one scan, and worse for several, whose contrast instance normalisation evens out.

    The network maps (N, channels, *spatial) images, whose sides
    are multiples of 16, to (N, classes, *spatial) logits.

    Args:
        spatial_dims, in_channels, out_channels, dropout: as of BasicUNet. features: six numbers, as of BasicUNet.
        groups: that features are normalised in; None: each by itself.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        dropout: Any = 0.0,
        groups: int | None = None,
    ):
        unet, classifier = _parts(spatial_dims, in_channels, out_channels, features, dropout, groups)
        convolution = Conv[Conv.CONV, spatial_dims]
        super().__init__(SkipConnection(BasicUNet(**unet), mode="cat"), convolution(**classifier))
        for module in self.modules():
            if isinstance(module, UpCat):
                module.is_pad = False  # the sides fit, so padding would only copy


def bundle_definition(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    features: Sequence[int],
    dropout: Any = 0.0,
    groups: int | None = None,
) -> dict[str, Any]:
    """The same network as entries of a MONAI bundle's configuration, which needs nothing but MONAI and PyTorch."""
    unet, classifier = _parts(spatial_dims, in_channels, out_channels, features, dropout, groups)
    return {
        "features_and_image": {
            "_target_": "monai.networks.layers.SkipConnection",
            "submodule": {"_target_": "monai.networks.nets.BasicUNet", **unet},
            "mode": "cat",
        },
        "classifier": {"_target_": f"torch.nn.Conv{spatial_dims}d", **classifier},
        "network_def": "$torch.nn.Sequential(@features_and_image, @classifier)",
    }


def _parts(
    spatial_dims: int, in_channels: int, out_channels: int, features: Sequence[int], dropout: Any, groups: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of the U-Net that gives features, and of the convolution that classifies them with the image."""
    unet = {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": features[5],
        "features": list(features),
        "dropout": dropout,
        "upsample": "nontrainable",
    }
    if groups is not None:
        unet["norm"] = ["group", {"num_groups": groups}]
    classifier = {"in_channels": features[5] + in_channels, "out_channels": out_channels, "kernel_size": 1}
    return unet, classifier
