"""The kind of U-Net that nnU-Net uses."""

from __future__ import annotations

from typing import Any

from ...core.messages import _
from ..network import NETWORKS, USUAL_BYTES_PER_VOXEL, NetworkEntry, NetworkShape


def _arguments(shape: NetworkShape) -> dict[str, Any]:
    strides = list(shape.strides) or [(1,) * shape.dimensions] + [(2,) * shape.dimensions] * 3
    return {
        **shape.monai_arguments,
        "kernel_size": list(shape.kernels) or [(3,) * shape.dimensions] * len(strides),
        "strides": strides,
        "upsample_kernel_size": strides[1:],
        "filters": [min(32 * 2**level, 320) for level in range(len(strides))],
        "res_block": True,
        "dropout": shape.dropout or None,
    }


NETWORKS.add(
    NetworkEntry(
        name="dynunet",
        label=_("DynUNet"),
        description=_("U-Net as in nnU-Net; kernels and strides follow the spacing."),
        make="monai.networks.nets:DynUNet",
        arguments=_arguments,
        bytes_per_voxel=2_800,
        bytes_per_pixel=USUAL_BYTES_PER_VOXEL,
        order=7,
    )
)
