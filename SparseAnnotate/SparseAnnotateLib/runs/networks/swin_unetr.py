"""A U-Net with a Swin transformer."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, USUAL_BYTES_PER_VOXEL, NetworkEntry

NETWORKS.add(
    NetworkEntry(
        name="swin_unetr",
        label=_("Swin UNETR"),
        description=_("U-Net with a Swin transformer as encoder (Hatamizadeh 2022)."),
        make="monai.networks.nets:SwinUNETR",
        arguments=lambda shape: {**shape.monai_arguments, "drop_rate": shape.dropout},
        patch_divisor=32,
        bytes_per_voxel=7_000,  # 1 GB more for any size
        bytes_per_pixel=USUAL_BYTES_PER_VOXEL,
        order=9,
    )
)
