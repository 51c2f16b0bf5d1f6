"""A U-Net with a vision transformer."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, NetworkEntry

NETWORKS.add(
    NetworkEntry(
        name="unetr",
        label=_("UNETR"),
        description=_("U-Net with a vision transformer as encoder (Hatamizadeh 2022)."),
        make="monai.networks.nets:UNETR",
        arguments=lambda shape: {**shape.monai_arguments, "img_size": shape.patch, "dropout_rate": shape.dropout},
        has_fixed_patch=True,
        order=10,
    )
)
