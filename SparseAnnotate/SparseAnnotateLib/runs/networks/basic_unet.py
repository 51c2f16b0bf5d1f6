"""Plain U-Nets, as MONAI makes them."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, NetworkEntry
from .sparse_unet import LARGE, SMALL, unet_arguments

NETWORKS.add(
    NetworkEntry(
        name="basic_unet_small",
        label=_("Small U-Net, MONAI's"),
        description=_("MONAI's BasicUNet with 16 to 128 features, the default of earlier versions on a CPU."),
        make="monai.networks.nets:BasicUNet",
        arguments=lambda shape: unet_arguments(shape, SMALL),
        bytes_per_voxel=1_500,
        order=21,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="basic_unet",
        label=_("U-Net, MONAI's"),
        description=_("MONAI's BasicUNet with 32 to 256 features, the default of earlier versions on a GPU."),
        make="monai.networks.nets:BasicUNet",
        arguments=lambda shape: unet_arguments(shape, LARGE),
        bytes_per_voxel=3_000,
        order=22,
    )
)
