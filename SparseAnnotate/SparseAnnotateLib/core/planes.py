"""Planes and slices. Slices are cut along array axes, never resampled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .choices import choice
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _


class Plane(StrEnum):
    """The array axis closest to an anatomical direction: a drawn slice is exactly one layer of voxels."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @classmethod
    def named(cls, name: str) -> Plane:
        """The plane with that name, ignoring case. Raises BadInputError when there is none."""
        return choice(cls, name, _("There is no plane '{name}'; choose one of {names}."))

    def array_axis(self, geometry: VolumeGeometry) -> int:
        """Axis (0: K, 1: J, 2: I) that slices of this plane are stacked along in that volume."""
        right, anterior, superior = geometry.nearest_anatomical_axes()
        return {Plane.AXIAL: superior, Plane.CORONAL: anterior, Plane.SAGITTAL: right}[self]

    def slice_count(self, geometry: VolumeGeometry) -> int:
        """How many slices of this plane the volume has."""
        return geometry.shape[self.array_axis(geometry)]

    def require_slice(self, index: int, geometry: VolumeGeometry, what: str) -> None:
        """Raise BadInputError, starting with `what`, when the volume has no such slice."""
        count = self.slice_count(geometry)
        if not 0 <= index < count:
            raise BadInputError(
                _("{what} refers to {plane} slice {index}, but the volume only has {plane} slices 0 to {last}.").format(
                    what=what, plane=self.value, index=index, last=count - 1
                )
            )


@dataclass(frozen=True, order=True)
class SliceRef:
    """One slice: volume name, plane, and zero-based index along the plane's array axis."""

    volume: str
    plane: Plane
    index: int

    def __str__(self) -> str:
        return f"{self.plane.value} slice {self.index} of {self.volume}"


def slice_layer(axis: int, index: int) -> tuple[int | slice, ...]:
    """Index expression of one slice of a (K, J, I) array."""
    return tuple(index if a == axis else slice(None) for a in range(3))


def slice_centre_ras(geometry: VolumeGeometry, axis: int, index: int) -> np.ndarray:
    """RAS position (mm) of the centre of a slice, which slice views jump to."""
    centre_kji = [(n - 1) / 2 for n in geometry.shape]
    centre_kji[axis] = index
    centre: np.ndarray = geometry.matrix @ np.array([*reversed(centre_kji), 1.0])
    return centre[:3]
