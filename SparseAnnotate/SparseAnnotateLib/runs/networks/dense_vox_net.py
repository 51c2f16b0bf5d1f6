"""DenseVoxNet, and its Y-shape for the final model; the classes are in `learning.networks.dense_vox_net`."""

from __future__ import annotations

import math
from typing import Any

from ...core.messages import _
from ..network import NETWORKS, NetworkEntry, NetworkShape

_DIVISOR = 4


def _arguments(shape: NetworkShape) -> dict[str, Any]:
    """The strides of the first convolution and the pooling are as planned, if both of these reduce the size."""
    planned = [tuple(min(s, 2) for s in stride) for stride in shape.strides[1:3]]
    halving = len(planned) == 2 and all(math.prod(s) > 1 for s in planned)
    strides = planned if halving else [(2,) * shape.dimensions] * 2
    arguments = {
        "dimensions": shape.dimensions,
        "in_channels": shape.image_channels,
        "out_channels": shape.class_count,
        "strides": strides,
        "dropout": shape.dropout,
    }
    return {**arguments, "has_auxiliary": True} if shape.is_trained_with_auxiliary else arguments


def _y_shaped(shape: NetworkShape) -> dict[str, Any]:
    return {**_arguments(shape), "prior_channels": shape.class_count}


NETWORKS.add(
    NetworkEntry(
        name="dense_vox_net",
        label=_("DenseVoxNet"),
        description=_("Densely connected network (Yu 2017), as used by Zheng 2020."),
        make="SparseAnnotateLib.learning.networks.dense_vox_net:DenseVoxNet",
        arguments=_arguments,
        patch_divisor=_DIVISOR,
        bytes_per_voxel=4_000,
        bytes_per_pixel=8_000,
        has_auxiliary=True,
        order=6,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="y_shaped_dense_vox_net",
        label=_("Y-shaped DenseVoxNet"),
        description=_("DenseVoxNet with two arms, image and mean pseudo-label (Zheng 2020); for the final model."),
        make="SparseAnnotateLib.learning.networks.dense_vox_net:YShapedDenseVoxNet",
        arguments=_y_shaped,
        patch_divisor=_DIVISOR,
        bytes_per_voxel=4_200,
        bytes_per_pixel=8_000,
        has_auxiliary=True,
        takes_pseudo_label=True,
        order=11,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="y_shaped_dense_vox_net_small",
        label=_("Small Y-shaped DenseVoxNet"),
        description=_("Narrower Y-shaped DenseVoxNet, small enough for a CPU; for the final model."),
        make="SparseAnnotateLib.learning.networks.dense_vox_net:YShapedDenseVoxNet",
        arguments=lambda shape: {**_y_shaped(shape), "layers": (3, 6), "up": (48, 16)},
        patch_divisor=_DIVISOR,
        bytes_per_voxel=2_200,
        bytes_per_pixel=4_000,
        has_auxiliary=True,
        takes_pseudo_label=True,
        order=12,
    )
)
