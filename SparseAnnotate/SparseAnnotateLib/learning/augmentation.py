"""Random changes of training patches, by MONAI's transforms."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, RandScaleIntensityd, RandShiftIntensityd

_MIRRORED = ("image", "label", "supervised")


class Augmentation:
    """Mirrors patches and varies brightness, contrast and noise.

    What happens to the patches of an iteration depends on the seed and the iteration alone, so that a resumed run
    goes on exactly as it would have.
    """

    def __init__(self, flip: bool, seed: int):
        self._flip = flip
        self._seed = seed

    def __call__(self, patches: list[dict[str, np.ndarray]], iteration: int) -> dict[str, torch.Tensor]:
        """The patches of one iteration as a batch: image float32, label and supervised, each (N, 1, S, A, R)."""
        # Built anew each time: transforms keep a random state, and batches are prepared in several threads.
        mirrors = [RandFlipd(_MIRRORED, prob=0.5, spatial_axis=axis) for axis in range(3)] if self._flip else []
        transform = Compose(
            [
                *mirrors,
                RandScaleIntensityd("image", factors=0.2, prob=0.5),
                RandShiftIntensityd("image", offsets=0.2, prob=0.5),
                RandGaussianNoised("image", prob=0.3, std=0.1),
            ]
        )
        state = np.random.SeedSequence([self._seed, iteration, 1]).generate_state(1)[0]
        transform.set_random_state(seed=int(state))
        changed = [transform({k: torch.as_tensor(v) for k, v in patch.items()}) for patch in patches]
        return {
            key: torch.stack([torch.as_tensor(patch[key]).as_subclass(torch.Tensor) for patch in changed])
            for key in _MIRRORED
        }
