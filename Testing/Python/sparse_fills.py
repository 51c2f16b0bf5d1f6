"""Annotations to fill that tests of the interpolators share."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from SparseAnnotateLib.core import Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.interpolation import interpolator_named


def annotation_of(labels, slices: dict[Plane, list[int]], spacing=(1.0, 1.0, 1.0), geometry=None) -> SparseAnnotation:
    """An annotation in which the slices are drawn as the labels show them."""
    ledger = Ledger()
    for plane, indices in slices.items():
        for index in indices:
            ledger = ledger.with_state(plane, index, SliceState.DRAWN)
    geometry = geometry or VolumeGeometry.from_spacing(labels.shape, spacing)
    return SparseAnnotation(labels, ledger, geometry)


def axial(labels, indices, spacing=(1.0, 1.0, 1.0)) -> SparseAnnotation:
    """An annotation of axial slices."""
    return annotation_of(labels, {Plane.AXIAL: list(indices)}, spacing)


def filled(annotation: SparseAnnotation, method="shape", image=None):
    """The fill by a method, by name or ready-made."""
    interpolator = interpolator_named(method) if isinstance(method, str) else method
    return interpolator.fill(annotation, image)


def blobs(seed: int, shape=(13, 30, 34), labels: int = 3) -> np.ndarray:
    """Smooth random labels, 0 around them: structures that come, go, split and touch."""
    rng = np.random.default_rng(seed)
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), (2.5, 3, 3)) for _ in range(labels)])
    found = np.where(fields.max(0) > 0.4 * fields.std(), fields.argmax(0) + 1, 0).astype(np.uint8)
    border = np.zeros(shape, dtype=bool)
    border[:, 6:-6, 6:-6] = True
    return np.where(border, found, 0).astype(np.uint8)


def discs(*places, shape=(11, 40, 60), radius=4.0) -> np.ndarray:
    """(K, J, I) labels with discs: (slice, row, column) or (slice, row, column, label)."""
    labels = np.zeros(shape, np.uint8)
    rows, columns = np.indices(shape[1:])
    for index, row, column, *label in places:
        labels[index][np.hypot(rows - row, columns - column) < radius] = label[0] if label else 1
    return labels


def bent_tube(shape=(21, 50, 50), swing=12.0, radius=4.0) -> np.ndarray:
    """A tube that leaves the straight line between its ends: only the image shows where it goes."""
    labels = np.zeros(shape, np.uint8)
    rows, columns = np.indices(shape[1:])
    for index in range(shape[0]):
        column = 18 + swing * np.sin(np.pi * index / (shape[0] - 1))
        labels[index][np.hypot(rows - 25, columns - column) < radius] = 1
    return labels
