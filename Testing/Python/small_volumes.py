"""Small volumes and quick settings that tests share."""

from __future__ import annotations

import numpy as np

from SparseAnnotateLib.core import Watch


def ball(shape=(24, 28, 32), radius=8.0, centre=None) -> np.ndarray:
    """A (K, J, I) uint8 array with a ball of 1 in it."""
    centre = np.array(centre if centre is not None else [n / 2 for n in shape])
    grid = np.indices(shape) - centre[:, None, None, None]
    return (np.linalg.norm(grid, axis=0) < radius).astype(np.uint8)


def noisy_image(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A float32 image in which the labels can be seen through noise."""
    rng = np.random.default_rng(seed)
    return (100.0 * labels + 10.0 * rng.normal(size=labels.shape)).astype(np.float32)


QUICK_TRAINING = {
    "patch": (16, 16, 32),
    "batch": 2,
    "iterations": 6,
    "checkpoint_every": 2,
    "validate_every": 3,
    "device": "cpu",
}


def cancelled_at(moment: int) -> Watch:
    """A watch that is cancelled when progress has been reported so many times."""
    seen = []

    def report(progress):
        seen.append(progress)
        if len(seen) > moment:
            watch.cancel()

    watch = Watch(report)
    return watch
