"""The registry of networks: what is known about each without torch. The parts are in `runs.networks`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core import BadInputError
from ..core.messages import _
from ..core.registry import Entry, Registry

DIVISOR = 16  # networks halve their input at most four times
AUTO = "auto"
DEFAULT_NETWORK, DEFAULT_NETWORK_ON_CPU = "unet", "unet_small"
ONE_SCAN = "_one_scan"  # ends the names of the same networks for a single scan
USUAL_BYTES_PER_VOXEL = 10_000  # more than any network is known to need


@dataclass(frozen=True)
class NetworkShape:
    """What a network is built from, besides its name.

    Attributes:
        class_count: output channels, background included.
        patch: the size it is trained with, (S, A, R) or (height, width); its length is the dimension.
        strides, kernels: of each level, per axis, for networks that accept them; empty: 2 and 3 everywhere.
        dropout: share of values that its dropout layers drop; the weights do not depend on it.
        is_trained_with_auxiliary: whether it has an auxiliary output in training; only networks that can have one.
        image_channels: input channels of the image.
    """

    class_count: int
    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...] = ()
    kernels: tuple[tuple[int, ...], ...] = ()
    dropout: float = 0.0
    is_trained_with_auxiliary: bool = False
    image_channels: int = 1

    @property
    def dimensions(self) -> int:
        return len(self.patch)

    @property
    def monai_arguments(self) -> dict[str, Any]:
        """The arguments that all of MONAI's networks share; a channel of logits for each class."""
        return {
            "spatial_dims": self.dimensions,
            "in_channels": self.image_channels,
            "out_channels": self.class_count,
        }


@dataclass(frozen=True, kw_only=True)
class NetworkEntry(Entry):
    """A network as users choose it.

    `make` is its class, a `torch.nn.Module` that maps (N, channels, *spatial) images to (N, classes, *spatial) logits;
    with `takes_pseudo_label` the mean pseudo-label, a channel for each class, follows the image's channels.

    Attributes:
        arguments: gives the keyword arguments of the class for a shape.
        patch_divisor: the sides of its patches must be multiples of it.
        bytes_per_voxel: approximate memory that training needs per voxel of a patch, in fp32, without the logits.
        bytes_per_pixel: the same in 2D; None: as in 3D.
        dimensions: for which it can be built: 2, 3 or both.
        has_fixed_patch: True when its weights fit only one patch size.
        takes_pseudo_label: True for networks of the final model only.
        has_auxiliary: True when it can have an auxiliary output in training: then, with `is_trained_with_auxiliary`,
            it returns logits and auxiliary logits of the same shape, in training mode only. The layers of that output
            are named in its attribute `training_only`, and not kept with its weights.
    """

    arguments: Callable[[NetworkShape], dict[str, Any]]
    patch_divisor: int = DIVISOR
    bytes_per_voxel: int = USUAL_BYTES_PER_VOXEL
    bytes_per_pixel: int | None = None
    dimensions: tuple[int, ...] = (2, 3)
    has_fixed_patch: bool = False
    takes_pseudo_label: bool = False
    has_auxiliary: bool = False

    @property
    def patch_step(self) -> int:
        """The sides of planned patches are multiples of this."""
        return max(DIVISOR, self.patch_divisor)

    def bytes_in(self, dimensions: int) -> int:
        """`bytes_per_voxel`, in 2D `bytes_per_pixel`."""
        return self.bytes_per_pixel if dimensions == 2 and self.bytes_per_pixel else self.bytes_per_voxel

    def smallest_patch(self, dimensions: int) -> tuple[int, ...]:
        """The smallest patch that it can be trained with: a single voxel, which it would reduce a smaller one to,
        cannot be normalised."""
        return (*(self.patch_step,) * (dimensions - 1), 2 * self.patch_step)

    def check_shape(self, shape: NetworkShape) -> None:
        """Raise BadInputError when it cannot work with patches of this size."""
        if shape.dimensions not in self.dimensions:
            raise BadInputError(
                _("The network '{name}' does not support {dimensions}D. Choose another one.").format(
                    name=self.name, dimensions=shape.dimensions
                )
            )
        if any(n % self.patch_divisor for n in shape.patch):
            raise BadInputError(
                _(
                    "The network '{name}' needs patches whose sides are multiples of {patch_divisor}, not {patch}."
                ).format(name=self.name, patch_divisor=self.patch_divisor, patch=list(shape.patch))
            )
        if max(shape.patch) <= self.patch_divisor:
            raise BadInputError(
                _(
                    "The network '{name}' needs patches of at least {smallest} voxels; it would reduce {patch} to a "
                    "single voxel. Choose larger patches or another network."
                ).format(
                    name=self.name,
                    smallest=" x ".join(map(str, self.smallest_patch(shape.dimensions))),
                    patch=" x ".join(map(str, shape.patch)),
                )
            )


NETWORKS: Registry[NetworkEntry] = Registry(
    _("There is no network '{name}'; choose one of {names}."), f"{__package__}.networks"
)


def base_networks() -> dict[str, NetworkEntry]:
    """The networks for 2D and 3D models: all but those that take a pseudo-label."""
    return {name: entry for name, entry in NETWORKS.items() if not entry.takes_pseudo_label}
