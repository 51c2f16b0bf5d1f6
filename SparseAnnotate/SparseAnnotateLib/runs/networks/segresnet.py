"""A residual encoder-decoder."""

from __future__ import annotations

from ...core.messages import _
from ..network import NETWORKS, USUAL_BYTES_PER_VOXEL, NetworkEntry

NETWORKS.add(
    NetworkEntry(
        name="segresnet",
        label=_("SegResNet"),
        description=_("Residual encoder-decoder (Myronenko 2018)."),
        make="monai.networks.nets:SegResNet",
        arguments=lambda shape: {**shape.monai_arguments, "init_filters": 16, "dropout_prob": shape.dropout or None},
        patch_divisor=8,
        bytes_per_voxel=2_000,
        bytes_per_pixel=USUAL_BYTES_PER_VOXEL,
        order=8,
    )
)
