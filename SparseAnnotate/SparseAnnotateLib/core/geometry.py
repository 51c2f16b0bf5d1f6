"""Where a voxel array lies in the patient: shape, spacing, position and orientation.

RAS (Slicer) in memory, LPS (ITK) in files. This module is the only place that converts between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from .errors import BadInputError
from .messages import _

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TIE_DIGITS = 3  # of the sum of three cosines; files round to about seven
_RIGHT_ANGLE = 1e-3  # cosine up to which two axes count as at right angles
_NEARLY_RIGHT_ANGLE = 1e-2  # cosine up to which the difference counts as rounding, if it moves no voxel further than
_MOVED_VOXELS = 0.1
_SAME_PLACE_VOXELS = 1e-2


@dataclass(frozen=True)
class VolumeGeometry:
    """Geometry of a volume whose array is indexed (K, J, I), as Slicer's and SimpleITK's numpy functions give it.

    Attributes:
        shape: number of voxels (K, J, I).
        ijk_to_ras: 4x4 matrix, rows as tuples, from voxel index (i, j, k, 1) to RAS in mm.

    Raises:
        BadInputError: when the shape is not 3D or the matrix is singular, sheared or not finite.
    """

    shape: tuple[int, int, int]
    ijk_to_ras: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        matrix = np.asarray(self.ijk_to_ras, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise BadInputError(_("The IJK-to-RAS matrix must be a 4x4 matrix of finite numbers."))
        columns = matrix[:3, :3]
        lengths = np.linalg.norm(columns, axis=0)
        if lengths.min() <= 0:
            raise BadInputError(
                _("The IJK-to-RAS matrix has an axis of length zero: the voxel spacing must be positive.")
            )
        if _skew(columns) > _RIGHT_ANGLE:
            raise BadInputError(skew_message(columns))
        object.__setattr__(self, "ijk_to_ras", tuple(tuple(float(x) for x in row) for row in matrix))

    @property
    def matrix(self) -> np.ndarray:
        """IJK to RAS as a (4, 4) float64 array."""
        return np.array(self.ijk_to_ras)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the array's axes (K, J, I)."""
        lengths = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return (float(lengths[2]), float(lengths[1]), float(lengths[0]))

    @property
    def whole_extents(self) -> tuple[tuple[int, int], ...]:
        """First and last index along each array axis."""
        return tuple((0, n - 1) for n in self.shape)

    @property
    def directions(self) -> np.ndarray:
        """(3, 3) float64; column a is the RAS unit vector along array axis a (0: K, 1: J, 2: I)."""
        columns = self.matrix[:3, :3]
        unit: np.ndarray = columns / np.linalg.norm(columns, axis=0)
        return unit[:, ::-1]

    @classmethod
    def from_spacing(
        cls,
        shape: Iterable[int],
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        origin_ras: ArrayLike = (0.0, 0.0, 0.0),
    ) -> VolumeGeometry:
        """An unrotated volume: `shape` and `spacing` (mm) in array order (K, J, I), origin in RAS (mm)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag([float(s) for s in reversed(spacing)])
        matrix[:3, 3] = origin_ras
        return cls(_checked_shape(shape), _rows(matrix))

    @classmethod
    def from_matrix(cls, shape: Iterable[int], ijk_to_ras: ArrayLike) -> VolumeGeometry:
        """From any 4x4 array-like, IJK to RAS, and the shape (K, J, I)."""
        return cls(_checked_shape(shape), _rows(np.asarray(ijk_to_ras, dtype=float)))

    @classmethod
    def from_itk(
        cls, size: Sequence[int], spacing: ArrayLike, origin: ArrayLike, direction: ArrayLike
    ) -> VolumeGeometry:
        """From ITK's (i, j, k) size, spacing (mm), origin and 3x3 row-major direction, all in LPS.

        Axes that rounding has left nearly at right angles are put at exact right angles: see `orthogonal_matrix`.
        """
        lps = np.eye(4)
        lps[:3, :3] = np.asarray(direction, dtype=float).reshape(3, 3) @ np.diag(spacing)
        lps[:3, 3] = origin
        shape = _checked_shape(reversed(size))
        if np.isfinite(lps).all() and _skew(lps[:3, :3]) > _RIGHT_ANGLE:
            orthogonal = orthogonal_matrix(lps, shape)
            lps = lps if orthogonal is None else orthogonal
        return cls(shape, _rows(_LPS_TO_RAS @ lps))

    def to_itk(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """ITK's (spacing, origin, direction) in LPS; the inverse of `from_itk`."""
        lps = _LPS_TO_RAS @ self.matrix
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        direction = lps[:3, :3] / spacing
        return tuple(spacing), tuple(lps[:3, 3]), tuple(direction.ravel())

    def difference_from(self, other: VolumeGeometry, tolerance_voxels: float = _SAME_PLACE_VOXELS) -> str | None:
        """How this grid differs from the other, as a clause; None when they are the same.

        Corners of the two volumes may lie at most `tolerance_voxels` times the smallest spacing apart.
        """
        if self.shape != other.shape:
            return _("its size is {size} instead of {expected} voxels").format(
                size=_times(self.shape), expected=_times(other.shape)
            )
        if not np.allclose(self.spacing, other.spacing, rtol=1e-3, atol=0):
            return _("its voxel spacing is {spacing} instead of {expected}").format(
                spacing=_mm(self.spacing), expected=_mm(other.spacing)
            )
        corners = np.array(
            [[i, j, k, 1] for k in (0, self.shape[0]) for j in (0, self.shape[1]) for i in (0, self.shape[2])]
        )
        distance = np.linalg.norm((corners @ (self.matrix - other.matrix).T)[:, :3], axis=1).max()
        if distance > tolerance_voxels * min(self.spacing):
            return _("its position or orientation differs by up to {distance:.3g} mm").format(distance=float(distance))
        return None

    def resembles(self, other: VolumeGeometry) -> bool:
        """True when the two grids coincide voxel by voxel."""
        return self.difference_from(other) is None

    def with_same_voxels(self, array: np.ndarray, own: VolumeGeometry) -> np.ndarray | None:
        """View of an array on the grid `own`, with its axes swapped and flipped to fit this grid; nothing is resampled.

        None when the two grids do not have the same voxels.
        """
        between = np.linalg.solve(self.matrix, own.matrix)[2::-1, 2::-1]
        whole = np.rint(between)
        if not all(np.array_equal(np.abs(whole).sum(axis), np.ones(3)) for axis in (0, 1)):
            return None
        axes = [int(np.argmax(np.abs(row))) for row in whole]
        flips = [whole[place, axis] < 0 for place, axis in enumerate(axes)]
        turned = own.matrix
        for flip, axis in zip(flips, axes, strict=True):
            if flip:
                turned[:3, 3] += turned[:3, 2 - axis] * (own.shape[axis] - 1)
                turned[:3, 2 - axis] *= -1
        turned[:3, :3] = turned[:3, [2 - axis for axis in axes[::-1]]]
        if not VolumeGeometry.from_matrix([own.shape[axis] for axis in axes], turned).resembles(self):
            return None
        return np.transpose(array, axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    def nearest_anatomical_axes(self) -> tuple[int, int, int]:
        """Array axis closest to left-right, posterior-anterior and inferior-superior, each axis used once.

        At 45 degrees two axes are equally close: then I comes before J and J before K, so that rounding in the file
        that the matrix came from makes no difference.
        """
        return _nearest_axes(self.ijk_to_ras)

    def to_standard_order(self, array: np.ndarray) -> np.ndarray:
        """View of an array with its last three axes (K, J, I) reordered and flipped to S, A, R; nothing is resampled.

        Volumes of one cohort may be stored in any axis order; a network needs the same order for all.
        """
        axes, flips = self._standard_axes_and_flips()
        lead = array.ndim - 3
        moved = np.transpose(array, (*range(lead), *(lead + a for a in axes)))
        return moved[(..., *(slice(None, None, -1) if flip else slice(None) for flip in flips))]

    def from_standard_order(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `to_standard_order`."""
        axes, flips = self._standard_axes_and_flips()
        lead = array.ndim - 3
        unflipped = array[(..., *(slice(None, None, -1) if flip else slice(None) for flip in flips))]
        return np.transpose(unflipped, (*range(lead), *(lead + int(a) for a in np.argsort(axes))))

    def to_standard_slice(self, axis: int, index: int) -> tuple[int, int]:
        """Axis and index of a slice after `to_standard_order`."""
        axes, flips = self._standard_axes_and_flips()
        place = axes.index(axis)
        return place, self.shape[axis] - 1 - index if flips[place] else index

    @property
    def standard_shape(self) -> tuple[int, int, int]:
        """Number of voxels along the axes of `to_standard_order`."""
        superior, anterior, right = self._standard_axes_and_flips()[0]
        return self.shape[superior], self.shape[anterior], self.shape[right]

    @property
    def standard_spacing(self) -> tuple[float, float, float]:
        """Spacing (mm) along the axes of `to_standard_order`."""
        (superior, anterior, right), spacing = self._standard_axes_and_flips()[0], self.spacing
        return spacing[superior], spacing[anterior], spacing[right]

    def _standard_axes_and_flips(self) -> tuple[tuple[int, int, int], tuple[bool, ...]]:
        right, anterior, superior = self.nearest_anatomical_axes()
        axes, directions = (superior, anterior, right), self.directions
        return axes, tuple(bool(directions[r, a] < 0) for r, a in zip((2, 1, 0), axes, strict=True))


def orthogonal_matrix(matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """A (4, 4) matrix from voxel index (i, j, k, 1) to mm, with its axes put at right angles by the nearest rotation.

    Voxel sizes and the centre of the volume stay. None when the axes are further from right angles than rounding
    explains, or a voxel of the `shape` (K, J, I) would move by more than a tenth of the smallest voxel size.
    """
    columns = matrix[:3, :3]
    if not np.isfinite(matrix).all() or not columns.any(axis=0).all() or _skew(columns) > _NEARLY_RIGHT_ANGLE:
        return None
    lengths = np.linalg.norm(columns, axis=0)
    left, _, right = np.linalg.svd(columns / lengths)
    middle = np.array([*((n - 1) / 2 for n in reversed(shape)), 1.0])
    orthogonal = np.eye(4)
    orthogonal[:3, :3] = left @ right * lengths
    orthogonal[:3, 3] = (matrix @ middle)[:3] - orthogonal[:3, :3] @ middle[:3]
    moved = np.abs((orthogonal - matrix)[:3, :3]) @ middle[:3]
    return orthogonal if np.linalg.norm(moved) <= _MOVED_VOXELS * lengths.min() else None


def skew_message(columns: np.ndarray, path: str | Path | None = None) -> str:
    """A message on axes, the columns of a (3, 3) matrix, that are not at right angles; `path` is the volume's file."""
    degrees = float(np.rad2deg(np.arcsin(min(_skew(columns), 1.0))))
    if path is None:
        return _(
            "The volume's axes are not at right angles: they are off by up to {degrees:.2g} degrees (a sheared or "
            "gantry-tilted volume). Resample it to a rectangular grid first, in Slicer with the module 'Resample "
            "Scalar Volume'."
        ).format(degrees=degrees)
    return _(
        "The axes of '{path}' are not at right angles: they are off by up to {degrees:.2g} degrees (a sheared or "
        "gantry-tilted volume). Resample it to a rectangular grid first, in Slicer with the module 'Resample Scalar "
        "Volume'."
    ).format(path=path, degrees=degrees)


def _checked_shape(shape: Iterable[int]) -> tuple[int, int, int]:
    sizes = tuple(int(n) for n in shape)
    if len(sizes) != 3 or min(sizes) < 1:
        raise BadInputError(
            _("A volume must have three axes with at least one voxel each, not shape {shape}.").format(shape=sizes)
        )
    return sizes


def _skew(columns: np.ndarray) -> float:
    """Largest cosine between two of the columns, 0 when they are at right angles."""
    directions = columns / np.linalg.norm(columns, axis=0)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in reversed(shape))


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in reversed(spacing)) + " mm"


@lru_cache(maxsize=4096)
def _nearest_axes(ijk_to_ras: tuple[tuple[float, ...], ...]) -> tuple[int, int, int]:
    """Cached: with hundreds of volumes they are computed thousands of times from the same matrices."""
    columns = np.array(ijk_to_ras)[:3, :3]
    cosines = np.abs(columns / np.linalg.norm(columns, axis=0))[:, ::-1]
    # Of equal ones, the first is chosen.
    candidates = permutations((2, 1, 0), 3)
    return max(candidates, key=lambda axes: round(sum(cosines[r, a] for r, a in enumerate(axes)), _TIE_DIGITS))
