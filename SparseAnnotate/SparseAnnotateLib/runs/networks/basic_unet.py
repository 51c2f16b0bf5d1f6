"""Plain U-Nets."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, NetworkEntry

_SMALL, _LARGE = (16, 16, 32, 64, 128, 16), (32, 32, 64, 128, 256, 32)

NETWORKS.add(
    NetworkEntry(
        name="basic_unet_small",
        label=_("Small U-Net"),
        description=_("U-Net with 16 to 128 features; small enough for a CPU."),
        make="monai.networks.nets:BasicUNet",
        arguments=lambda shape: {**shape.monai_arguments, "features": _SMALL, "dropout": shape.dropout},
        bytes_per_voxel=3_000,
        order=1,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="basic_unet",
        label=_("U-Net"),
        description=_("U-Net with 32 to 256 features."),
        make="monai.networks.nets:BasicUNet",
        arguments=lambda shape: {**shape.monai_arguments, "features": _LARGE, "dropout": shape.dropout},
        bytes_per_voxel=6_000,
        order=2,
    )
)
