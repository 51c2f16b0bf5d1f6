"""What the images are like that a run has learned from, and how another image differs from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.geometry import VolumeGeometry
from ..core.intensities import Intensities
from ..core.messages import _, joined

Lengths = tuple[float, float, float]
"""Along the axes of `VolumeGeometry.to_standard_order`: S, A, R."""

_TIMES = 2.0
"""Voxels or volumes that many times smaller or larger than any that was learned from are reported."""
_TILT_DEGREES = 20.0
"""So much more oblique than any that was learned from is reported; patches are never rotated further in training."""
_HISTOGRAM_SHIFT = 0.2
"""A quantile that lies so far outside, in parts of the range of intensities, is reported. Among 200 hippocampus MR
images quantiles of any two differ by less; those of other contrasts and body parts differ by 0.2 to 0.6."""
_AIR_IN_CT = -200.0
"""Hounsfield units: fat is above, lung and air below. MR and normalised images do not have such values."""
_PERCENT = (1, 10, 25, 50, 75, 90, 99)
_AXES = (_("from top to bottom"), _("from front to back"), _("from left to right"))


@dataclass(frozen=True)
class GridFacts:
    """What the grid of one image is like, as its file's header says.

    Attributes:
        spacing, extent: of voxels and of the whole volume, (S, A, R) in mm.
        tilt: the largest angle between an axis of the array and its anatomical direction, degrees.
    """

    spacing: Lengths
    extent: Lengths
    tilt: float

    @classmethod
    def of_grid(cls, geometry: VolumeGeometry) -> GridFacts:
        spacing = geometry.standard_spacing
        extent = tuple(s * n for s, n in zip(spacing, geometry.standard_shape, strict=True))
        columns = np.abs(geometry.directions[::-1])  # rows S, A, R
        cosines = columns[range(3), geometry.nearest_anatomical_axes()[::-1]]
        tilt = float(np.degrees(np.arccos(np.clip(cosines, 0, 1).min())))
        return GridFacts(_rounded(spacing), _rounded(extent), round(tilt, 1))


@dataclass(frozen=True)
class ImageFacts(GridFacts):
    """What one image is like.

    Attributes:
        lowest, highest: 1st and 99th percentile of the intensities, padding excluded.
        histogram: 10th, 25th, 50th, 75th and 90th percentile as parts of the range between these two.
    """

    lowest: float
    highest: float
    histogram: tuple[float, ...]

    @classmethod
    def of(cls, image: np.ndarray, geometry: VolumeGeometry) -> ImageFacts:
        """For a (K, J, I) image of any real dtype."""
        # Halved, so that differences of two values are finite.
        lowest, *inner, highest = np.percentile(Intensities.of(image).sampled(image) / 2, _PERCENT)
        width = highest - lowest or 1.0
        histogram = tuple(round(float(value - lowest) / float(width), 3) for value in inner)
        grid = GridFacts.of_grid(geometry)
        return cls(grid.spacing, grid.extent, grid.tilt, 2 * float(lowest), 2 * float(highest), histogram)


@dataclass(frozen=True)
class LearnedImages:
    """The range of what `ImageFacts` are in the images that a run has learned from.

    Attributes:
        count: of the images. spacing, extent: smallest and largest along each axis.
        tilt: largest. lowest: smallest and largest. histogram: smallest and largest of each percentile.
    """

    count: int
    spacing: tuple[Lengths, Lengths]
    extent: tuple[Lengths, Lengths]
    tilt: float
    lowest: tuple[float, float]
    histogram: tuple[tuple[float, ...], tuple[float, ...]]

    @classmethod
    def of(cls, images: Sequence[ImageFacts]) -> LearnedImages | None:
        """The range of several images; None without any."""
        if not images:
            return None
        return cls(
            len(images),
            _lengths_range([image.spacing for image in images]),
            _lengths_range([image.extent for image in images]),
            max(image.tilt for image in images),
            (min(image.lowest for image in images), max(image.lowest for image in images)),
            _range([image.histogram for image in images]),
        )

    def differences(self, image: GridFacts) -> list[str]:
        """How an image differs from all of these so much that a model may fail on it, as clauses.

        Of an image of which only the grid is known, how that differs.
        """
        found: list[str] = []
        axis = _farthest(image.spacing, self.spacing)
        if axis is not None:
            found.append(
                _("its voxels are {size} mm long {axis} (learned: {learned} mm)").format(
                    size=f"{image.spacing[axis]:.3g}", axis=_AXES[axis], learned=_learned(self.spacing, axis)
                )
            )
        axis = _farthest(image.extent, self.extent)
        if axis is not None:
            found.append(
                _("it covers {size} mm {axis} (learned: {learned} mm)").format(
                    size=f"{image.extent[axis]:.3g}", axis=_AXES[axis], learned=_learned(self.extent, axis)
                )
            )
        if image.tilt > self.tilt + _TILT_DEGREES:
            found.append(
                _("its axes are {tilt} degrees oblique (learned: up to {learned})").format(
                    tilt=f"{image.tilt:.0f}", learned=f"{self.tilt:.0f}"
                )
            )
        intensities = self._difference_of_intensities(image) if isinstance(image, ImageFacts) else ""
        return [*found, intensities] if intensities else found

    def _difference_of_intensities(self, image: ImageFacts) -> str:
        if image.lowest < _AIR_IN_CT < self.lowest[0]:
            return _("its intensities go down to {lowest}, as in a CT (learned: from {learned} up)").format(
                lowest=f"{image.lowest:.4g}", learned=f"{self.lowest[0]:.4g}"
            )
        if image.lowest > _AIR_IN_CT > self.lowest[1]:
            return _("its intensities begin at {lowest} (learned: CT with values down to {learned} or below)").format(
                lowest=f"{image.lowest:.4g}", learned=f"{self.lowest[1]:.4g}"
            )
        low, high = self.histogram
        outside = [
            max(least - value, value - most) for value, least, most in zip(image.histogram, low, high, strict=False)
        ]
        if max(outside, default=0.0) <= _HISTOGRAM_SHIFT:
            return ""
        return _("dark and bright voxels are distributed differently: another contrast, or another part of the body")


def difference_sentence(learned: LearnedImages | None, image: GridFacts, known: GridFacts | None = None) -> str:
    """A warning on an image of another kind than those that a run has learned from; '' when it is like them.

    `known`: what has been reported of the image already, which is left out.
    """
    if learned is None:
        return ""
    reported = learned.differences(known) if known is not None else []
    differences = [difference for difference in learned.differences(image) if difference not in reported]
    if not differences:
        return ""
    return _("The image differs from those that the run has learned from: {differences}. Check the result.").format(
        differences=joined("; ", differences)
    )


def _rounded(lengths: Sequence[float]) -> Lengths:
    s, a, r = (float(f"{length:.6g}") for length in lengths)
    return s, a, r


def _range(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    columns = list(zip(*rows, strict=True))
    return tuple(min(column) for column in columns), tuple(max(column) for column in columns)


def _lengths_range(rows: Sequence[Lengths]) -> tuple[Lengths, Lengths]:
    low, high = _range(rows)
    return _rounded(low), _rounded(high)


def _farthest(lengths: Lengths, learned: tuple[Lengths, Lengths]) -> int | None:
    """The axis along which a length is farthest outside of what was learned; None when it is near along all."""
    times = [
        max(least / max(length, 1e-9), length / max(most, 1e-9))
        for length, least, most in zip(lengths, *learned, strict=True)
    ]
    axis = int(np.argmax(times))
    return axis if times[axis] > _TIMES else None


def _learned(lengths: tuple[Lengths, Lengths], axis: int) -> str:
    low, high = f"{lengths[0][axis]:.3g}", f"{lengths[1][axis]:.3g}"
    return low if low == high else f"{low}-{high}"
