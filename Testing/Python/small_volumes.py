"""Small volumes and quick settings that tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image


def ball(shape=(24, 28, 32), radius=8.0, centre=None) -> np.ndarray:
    """A (K, J, I) uint8 array with a ball of 1 in it."""
    centre = np.array(centre if centre is not None else [n / 2 for n in shape])
    grid = np.indices(shape) - centre[:, None, None, None]
    return (np.linalg.norm(grid, axis=0) < radius).astype(np.uint8)


def noisy_image(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A float32 image in which the labels can be seen through noise."""
    rng = np.random.default_rng(seed)
    return (100.0 * labels + 10.0 * rng.normal(size=labels.shape)).astype(np.float32)


def new_ball_cohort(folder: Path) -> Cohort:
    """Two cases with a ball and a smaller one inside it, every fourth axial slice drawn, and references."""
    cohort = Cohort.create(folder / "cohort", "balls", {1: "shell", 2: "kernel"})
    for number in range(2):
        labels = ball(centre=(12, 13 + number, 16)) + ball(radius=4.0, centre=(12, 13 + number, 16))
        geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
        reference = folder / f"reference_{number}.nrrd"
        write_image(reference, labels, geometry)
        cohort.add_case(f"ball_{number}", noisy_image(labels, number), geometry, reference)
        drawn = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(2 + number, 24, 4))
        cohort.save_annotation(f"ball_{number}", drawn)
    return cohort


QUICK_TRAINING = {
    "patch": (16, 16, 32),
    "batch": 2,
    "iterations": 6,
    "checkpoint_every": 2,
    "validate_every": 3,
    "device": "cpu",
    "precision": "fp32",  # else bf16 is tried first, which is tested by itself
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


def write_two_files(path: Path, array: np.ndarray, geometry: VolumeGeometry) -> None:
    """Write a (K, J, I) array as a header (.mhd or .nhdr) and its voxels in a file of their own, as others do."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
