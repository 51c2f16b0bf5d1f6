"""A U-Net with attention gates."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, USUAL_BYTES_PER_VOXEL, NetworkEntry

NETWORKS.add(
    NetworkEntry(
        name="attention_unet",
        label=_("Attention U-Net"),
        description=_("U-Net with attention gates (Oktay 2018)."),
        make="monai.networks.nets:AttentionUnet",
        arguments=lambda shape: {
            **shape.monai_arguments,
            "channels": (16, 32, 64, 128),
            "strides": (2, 2, 2),
            "dropout": shape.dropout,
        },
        patch_divisor=8,
        bytes_per_voxel=1_800,
        bytes_per_pixel=USUAL_BYTES_PER_VOXEL,
        order=5,
    )
)
