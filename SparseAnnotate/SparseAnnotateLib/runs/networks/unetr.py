"""A U-Net with a vision transformer."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, USUAL_BYTES_PER_VOXEL, NetworkEntry

NETWORKS.add(
    NetworkEntry(
        name="unetr",
        label=_("UNETR"),
        description=_("U-Net with a vision transformer as encoder (Hatamizadeh 2022)."),
        make="monai.networks.nets:UNETR",
        arguments=lambda shape: {**shape.monai_arguments, "img_size": shape.patch, "dropout_rate": shape.dropout},
        bytes_per_voxel=4_000,  # 1 GB more for any size
        bytes_per_pixel=USUAL_BYTES_PER_VOXEL,
        has_fixed_patch=True,
        order=10,
    )
)
