"""Which patches and batches suit a cohort and fit a device's memory."""

from __future__ import annotations

import math

from ...core.messages import _, counted
from ...core.voxel_boxes import along_axes
from ...runs.network import AUTO, DEFAULT_NETWORK, DEFAULT_NETWORK_ON_CPU, DIVISOR, NETWORKS, ONE_SCAN
from ...runs.plan import ModelPlan
from ..devices import usable_memory_bytes

_CPU_PATCH_VOXELS = 48**3
_GPU_PATCH_VOXELS = 128**3
_CPU_SLICE_SIDE, _GPU_SLICE_SIDE = 128, 512
_CPU_SLICE_PIXELS, _GPU_SLICE_PIXELS = 12 * 48**2, 32 * 256**2  # in a step
_BYTES_PER_CLASS = 30  # of logits and loss, per voxel


def planned_network(network: str, device: str, of_one_scan: bool = False) -> str:
    """The network that 'auto' stands for: the small one without a GPU, and another normalization for a single scan."""
    if network != AUTO:
        return network
    found = DEFAULT_NETWORK if device.startswith("cuda") else DEFAULT_NETWORK_ON_CPU
    return found + ONE_SCAN if of_one_scan else found


def planned_patch(
    shapes: list[tuple[int, int, int]], spacing: tuple[float, float, float], limit: int, divisor: int = DIVISOR
) -> tuple[int, int, int]:
    """Patch size (S, A, R) in multiples of `divisor`, at most `limit` voxels, about as large as the median volume.

    Sides are rounded to the nearest multiple: a volume slightly larger than the patch only needs a second window in
    prediction, while a patch slightly larger than the volume would contain padding in every step. Never smaller than
    16 x 16 x 32 (with a divisor of 32: 32 x 32 x 64), because a smaller patch would be reduced to a single voxel, which
    cannot be normalised.

    The longest side in mm is shortened first, so that the network sees about equally far in all directions.
    """
    median = sorted(math.prod(s) for s in shapes)[len(shapes) // 2]
    shape = next(s for s in shapes if math.prod(s) == median)
    patch = [max(divisor, math.floor(n / divisor + 0.5) * divisor) for n in shape]
    while math.prod(patch) > limit and max(patch) > divisor:
        longest = max((a for a in range(3) if patch[a] > divisor), key=lambda a: patch[a] * spacing[a])
        patch[longest] -= divisor
    if max(patch) == divisor:
        patch[-1] = 2 * divisor
    return along_axes(patch)


def planned_patch_and_batch(
    shapes: list[tuple[int, int, int]],
    spacing: tuple[float, float, float],
    network: str,
    device: str,
    class_count: int,
    divisor: int = DIVISOR,
) -> tuple[tuple[int, int, int], int]:
    """Patch and batch that fit the device's memory; two patches per step where they fit."""
    fitting = usable_memory_bytes(device) // training_bytes_per_voxel(network, 3, class_count)
    most = _CPU_PATCH_VOXELS if device == "cpu" else _GPU_PATCH_VOXELS
    patch = planned_patch(shapes, spacing, max(2 * divisor**3, min(most, fitting // 2)), divisor)
    batch = 2 if 2 * math.prod(patch) <= fitting else 1
    return patch, batch


def planned_slices_and_batch(
    shapes: list[tuple[int, int, int]],
    planes: tuple[int, ...],
    network: str,
    device: str,
    class_count: int,
    divisor: int = DIVISOR,
) -> tuple[tuple[int, int], int]:
    """(height, width) of 2D patches and how many make up a step, in the device's memory.

    The patches are square and about as large as the slices, smaller where not even two fit.
    """
    sides = [max(n for a, n in enumerate(shape) if a != axis) for shape in shapes for axis in planes]
    side = math.floor(sorted(sides)[len(sides) // 2] / divisor + 0.5) * divisor
    most = _CPU_SLICE_SIDE if device == "cpu" else _GPU_SLICE_SIDE
    side = min(max(side, 2 * divisor), most)
    fitting = usable_memory_bytes(device) // training_bytes_per_voxel(network, 2, class_count)
    while 2 * side**2 > fitting and side > 2 * divisor:
        side -= divisor
    pixels = min(_CPU_SLICE_PIXELS if device == "cpu" else _GPU_SLICE_PIXELS, fitting)
    at_least = 2 if 2 * side**2 <= fitting else 1
    return (side, side), max(at_least, min(32, pixels // side**2))


def training_bytes_per_voxel(network: str, dimensions: int, class_count: int) -> int:
    """About what training needs of a GPU's memory for each voxel of a patch, in 2D for each pixel."""
    return NETWORKS.named(network).bytes_in(dimensions) + _BYTES_PER_CLASS * class_count


def memory_note(model: ModelPlan, device: str, class_count: int) -> str | None:
    """A sentence when a model probably needs more memory than a GPU has free; None when it fits."""
    free = usable_memory_bytes(device)
    per_voxel = training_bytes_per_voxel(model.network, len(model.patch), class_count)
    needed = model.batch * math.prod(model.patch) * per_voxel
    if device == "cpu" or needed <= free:
        return None
    return _(
        "The '{role}' model ({network}, {patches} of {patch} voxels) needs about {needed:.1f} GB of memory, and "
        "'{device}' has {free:.1f} GB free. Where it runs out, smaller patches are used, and finally the CPU, which is "
        "slow. Close other programs on the GPU, or choose a smaller network."
    ).format(
        role=model.role,
        network=model.network,
        patches=counted(model.batch, _("{count} patch"), _("{count} patches")),
        patch=" x ".join(map(str, model.patch)),
        needed=needed / 1e9,
        device=device,
        free=free / 1e9,
    )
