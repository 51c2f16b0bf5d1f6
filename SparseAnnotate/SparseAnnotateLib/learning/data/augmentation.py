"""Random changes of training patches, by MONAI's transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
from monai.transforms import (
    Compose,
    Rand2DElasticd,
    Rand3DElasticd,
    RandAffined,
    RandBiasFieldd,
    RandGaussianNoised,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

from ...runs.settings import AugmentationSettings
from .patches import Patch

_SMOOTH = ("image", "distances")
_LARGEST_TURN = 0.26  # radians: 15 degrees
_LARGEST_SCALING, _LARGEST_SHEAR = 0.15, 0.05
_ELASTIC_SPREAD, _ELASTIC_REACH = (4.0, 7.0), (20.0, 60.0)  # voxels; the second before smoothing over the first
_STRONGEST_BIAS = 0.3
_LIKE_SPACING = 1.25
_THICK = 3.0  # from this ratio of spacings on, volumes are not rotated out of the slice plane


class Augmentation:
    """Changes patches at random; labels are resampled by nearest neighbour, and undrawn voxels stay undrawn.

    The result depends only on the seed, the iteration and the patch's number, so that a resumed run continues exactly
    as if it had not stopped, and several processes together do what one would.

    Args:
        settings: what may happen, and how often.
        flip: axes of (S, A, R) that patches are mirrored along.
        patch: (S, A, R) or (height, width).
        spacing: (S, A, R) in mm, of 3D patches; slices of all planes are rotated freely.
        with_distances: patches contain distances to boundaries, which are valid only if voxels do not move: no
            affine and no elastic deformation.
    """

    def __init__(
        self,
        settings: AugmentationSettings,
        flip: Sequence[str],
        patch: tuple[int, ...],
        spacing: Sequence[float],
        seed: int,
        with_distances: bool = False,
    ):
        self._settings, self._patch, self._seed = settings, patch, seed
        self._flip = ["SAR".index(name) for name in flip]
        self._spacing = tuple(spacing) if len(patch) == 3 else (1.0, 1.0)
        self._warps = not with_distances

    def __call__(
        self,
        patches: Sequence[Patch],
        iteration: int,
        numbers: Sequence[int],
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, torch.Tensor]:
        """The patches of one iteration, with their numbers, as a batch: each (N, channels, *spatial).

        `check` is called before each patch, and may raise CancelledError.
        """
        keys = tuple(patches[0].arrays)
        # Built for each batch, because transforms keep a random state and batches are prepared in several threads.
        transforms = [*self._movements(keys), *self._brightness(len(patches[0].arrays["image"]) > 1)]
        transform = Compose(transforms)
        changed = []
        for patch, number in zip(patches, numbers, strict=True):
            check()
            seeds = np.random.SeedSequence([self._seed, iteration, 1, number]).generate_state(2)
            # One state for all: giving each transform a seed of its own takes longer than the changes themselves.
            state = np.random.RandomState(np.random.PCG64(seeds[0]))
            for one in transforms:
                one.set_random_state(state=state)
            tensors = {key: _tensor(array) for key, array in patch.arrays.items()}
            result = transform(tensors)
            plain = {k: torch.as_tensor(result[k]).as_subclass(torch.Tensor).to(tensors[k].dtype) for k in keys}
            mirrored = np.random.default_rng(seeds[1]).random(len(patch.axes)) < 0.5
            dims = [place + 1 for place, axis in enumerate(patch.axes) if axis in self._flip and mirrored[place]]
            changed.append({key: tensor.flip(dims) for key, tensor in plain.items()})
        return {key: torch.stack([patch[key] for patch in changed]) for key in keys}

    def _movements(self, keys: tuple[str, ...]) -> list:
        settings, dimensions = self._settings, len(self._patch)
        modes = ["bilinear" if key in _SMOOTH else "nearest" for key in keys]
        turns = self._turns()
        found: list = []
        if settings.affine and self._warps:
            found.append(
                RandAffined(
                    keys,
                    prob=settings.affine,
                    rotate_range=turns,
                    scale_range=(_LARGEST_SCALING,) * dimensions,
                    shear_range=(_LARGEST_SHEAR,) * dimensions,
                    mode=modes,
                    padding_mode="zeros",
                )
            )
        if settings.elastic and self._warps:
            found.append(self._elastic(keys, modes, settings.elastic))
        if settings.right_angles:
            for pair in combinations(range(dimensions), 2):
                sides, spacings = [self._patch[a] for a in pair], [self._spacing[a] for a in pair]
                if sides[0] == sides[1] and max(spacings) <= _LIKE_SPACING * min(spacings):
                    found.append(RandRotate90d(keys, prob=settings.right_angles, max_k=3, spatial_axes=pair))
        return found

    def _elastic(self, keys: tuple[str, ...], modes: list[str], share: float):
        if len(self._patch) == 3:
            return Rand3DElasticd(keys, _ELASTIC_SPREAD, _ELASTIC_REACH, prob=share, mode=modes, padding_mode="zeros")
        return Rand2DElasticd(keys, (8, 8), (0.5, 2.0), prob=share, mode=modes, padding_mode="zeros")

    def _turns(self):
        """Largest rotation about each axis (3D) or in the plane (2D)."""
        if len(self._patch) == 2:
            return _LARGEST_TURN
        thick = max(range(3), key=lambda axis: self._spacing[axis])
        alike = self._spacing[thick] < _THICK * min(self._spacing)
        return tuple(_LARGEST_TURN if alike or axis == thick else 0.0 for axis in range(3))

    def _brightness(self, has_channels: bool) -> list:
        """Of several channels each changes by itself, as their intensities have nothing in common."""
        settings = self._settings
        found: list = []
        if settings.bias_field:
            found.append(RandBiasFieldd("image", coeff_range=(0.0, _STRONGEST_BIAS), prob=settings.bias_field))
        if settings.intensity:
            found += [
                RandScaleIntensityd("image", factors=0.2, prob=settings.intensity, channel_wise=has_channels),
                RandShiftIntensityd("image", offsets=0.2, prob=settings.intensity, channel_wise=has_channels),
                RandGaussianNoised("image", prob=0.6 * settings.intensity, std=0.1),
            ]
        return found


def mixed(images: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Images of a batch mixed with each other in pairs (Zhang 2018), the partner's places, and the first one's weight.

    Returns (N, ...) images, (N,) places of the partners and the weight; with a chance of 1 - share nothing is mixed
    and the weight is 1.
    """
    rng = np.random.default_rng([seed, 0x313])
    places = torch.from_numpy(np.roll(np.arange(len(images)), 1)).to(images.device)
    if rng.random() >= share or len(images) < 2:
        return images, places, 1.0
    weight = float(rng.beta(0.4, 0.4))
    return weight * images + (1 - weight) * images[places], places, weight


def _tensor(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor; of more than 255 classes as int32, because torch mirrors no uint16."""
    return torch.as_tensor(array.astype(np.int32) if array.dtype == np.uint16 else array)
