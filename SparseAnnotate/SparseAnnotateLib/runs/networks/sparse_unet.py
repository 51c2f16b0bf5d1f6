"""U-Nets for sparse annotation; the class is in `learning.networks.sparse_unet`."""

from __future__ import annotations

from typing import Any

from ...core.messages import _
from ..network import NETWORKS, NetworkEntry, NetworkShape

SMALL, LARGE = (16, 16, 32, 64, 128, 16), (32, 32, 64, 128, 256, 32)
_GROUPS = 8


def unet_arguments(shape: NetworkShape, features: tuple[int, ...]) -> dict[str, Any]:
    """The arguments of a U-Net with these features; also of MONAI's."""
    return {**shape.monai_arguments, "features": features, "dropout": shape.dropout}


NETWORKS.add(
    NetworkEntry(
        name="unet_small",
        label=_("Small U-Net"),
        description=_("U-Net for sparse annotation with 16 to 128 features; small enough for a CPU."),
        make="SparseAnnotateLib.learning.networks.sparse_unet:SparseUNet",
        arguments=lambda shape: unet_arguments(shape, SMALL),
        bytes_per_voxel=1_500,
        order=1,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="unet",
        label=_("U-Net"),
        description=_("U-Net for sparse annotation with 32 to 256 features."),
        make="SparseAnnotateLib.learning.networks.sparse_unet:SparseUNet",
        arguments=lambda shape: unet_arguments(shape, LARGE),
        bytes_per_voxel=3_000,
        order=2,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="unet_small_one_scan",
        label=_("Small U-Net, one scan"),
        description=_("U-Net for sparse annotation of one scan; group normalization keeps how bright its parts are."),
        make="SparseAnnotateLib.learning.networks.sparse_unet:SparseUNet",
        arguments=lambda shape: {**unet_arguments(shape, SMALL), "groups": _GROUPS},
        bytes_per_voxel=1_500,
        order=3,
    )
)
NETWORKS.add(
    NetworkEntry(
        name="unet_one_scan",
        label=_("U-Net, one scan"),
        description=_("U-Net for sparse annotation of one scan, with 32 to 256 features."),
        make="SparseAnnotateLib.learning.networks.sparse_unet:SparseUNet",
        arguments=lambda shape: {**unet_arguments(shape, LARGE), "groups": _GROUPS},
        bytes_per_voxel=3_000,
        order=4,
    )
)
