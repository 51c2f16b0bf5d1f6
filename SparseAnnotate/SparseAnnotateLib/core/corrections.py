"""Corrections: what a person has said of single voxels of an answer, stroke by stroke."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .errors import BadInputError
from .geometry import VolumeGeometry
from .ledger import time_spent
from .messages import _

_RADIUS = 2.0  # in-plane pixels


@dataclass(frozen=True, eq=False)
class Stroke:
    """Voxels of which a person has said that they are a structure, or that they are not.

    Attributes:
        voxels: (n,) int64, sorted: places in the flattened (K, J, I) array, each once.
        value: label of the structure. is_in: True for 'this is it', False for 'this is not it'.
        seconds: what it took; 0 when it is not known.
    """

    voxels: np.ndarray
    value: int
    is_in: bool
    seconds: float = 0.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stroke):
            return NotImplemented
        return (self.value, self.is_in) == (other.value, other.is_in) and np.array_equal(self.voxels, other.voxels)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def ball(
        cls,
        geometry: VolumeGeometry,
        at: Sequence[float],
        value: int,
        is_in: bool,
        radius: float = 0.0,
        seconds: float = 0.0,
    ) -> Stroke:
        """The voxels whose centres are within a radius of a point, at least the one that it is in.

        Args:
            at: (R, A, S) of the point, mm. radius: mm; 0: two in-plane pixels.

        Raises BadInputError when the point is outside the volume, or the numbers cannot be used.
        """
        if len(at) != 3 or not np.isfinite(at).all():
            raise BadInputError(_("Give the point of the correction as three numbers: R, A and S in mm."))
        if radius < 0 or not np.isfinite(radius):
            raise BadInputError(_("The radius must be 0 mm or more, not {radius:g}.").format(radius=radius))
        spent = time_spent(seconds)
        ijk = (np.linalg.inv(geometry.matrix) @ [*at, 1.0])[:3]
        place = np.round(ijk[::-1]).astype(np.int64)
        if not ((place >= 0) & (place < geometry.shape)).all():
            point = ", ".join(f"{x:.1f}" for x in at)
            raise BadInputError(_("The point {point} (R, A, S) is outside the volume.").format(point=point))
        radius = radius or _RADIUS * min(geometry.spacing)
        more = [int(radius / step) + 1 for step in geometry.spacing]
        first = [max(int(p) - m, 0) for p, m in zip(place, more, strict=True)]
        stop = [min(int(p) + m + 1, n) for p, m, n in zip(place, more, geometry.shape, strict=True)]
        around = np.indices([b - a for a, b in zip(first, stop, strict=True)]).reshape(3, -1) + np.array(first)[:, None]
        away = ((around - ijk[::-1, None]) * np.array(geometry.spacing)[:, None] / radius) ** 2
        chosen = (away.sum(axis=0) <= 1.0) | (around == place[:, None]).all(axis=0)
        voxels = np.ravel_multi_index(tuple(around[:, chosen]), geometry.shape)
        return cls(np.sort(voxels).astype(np.int64), value, is_in, spent)

    @classmethod
    def of(cls, mask: np.ndarray, value: int, is_in: bool, seconds: float = 0.0) -> Stroke:
        """From a (K, J, I) bool mask."""
        return cls(np.flatnonzero(mask).astype(np.int64), value, is_in, seconds)


@dataclass(frozen=True, eq=False)
class Corrections:
    """The strokes of one volume in the order they were made; where they contradict each other, the later one wins.

    Attributes:
        shape: (K, J, I) of the volume. strokes: in order.

    Raises BadInputError when a stroke lies outside the volume or has no structure.
    """

    shape: tuple[int, int, int]
    strokes: tuple[Stroke, ...] = ()

    def __post_init__(self) -> None:
        size = int(np.prod(self.shape, dtype=np.int64))
        for number, stroke in enumerate(self.strokes, start=1):
            if len(stroke.voxels) and not 0 <= int(stroke.voxels.min()) <= int(stroke.voxels.max()) < size:
                raise BadInputError(_("Correction {number} lies outside the volume.").format(number=number))
            if not 0 < stroke.value < 65536:
                raise BadInputError(
                    _("Correction {number} has the label {value}, which no structure can have.").format(
                        number=number, value=stroke.value
                    )
                )

    def __bool__(self) -> bool:
        return bool(self.strokes)

    def with_stroke(self, stroke: Stroke) -> Corrections:
        """With one more."""
        return Corrections(self.shape, (*self.strokes, stroke))

    def kept(self, is_kept: Callable[[Stroke], np.ndarray]) -> Corrections:
        """With those voxels of each stroke that `is_kept`, (n,) bool, says; empty strokes are dropped."""
        kept = (replace(s, voxels=s.voxels[is_kept(s)]) for s in self.strokes)
        return Corrections(self.shape, tuple(stroke for stroke in kept if len(stroke.voxels)))

    @cached_property
    def inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels whose structure is known, sorted, and their labels: (n,) int64 and (n,) uint16."""
        voxels, labels = np.empty(0, np.int64), np.empty(0, np.uint16)
        for stroke in self.strokes:
            if stroke.is_in:
                keep = ~np.isin(voxels, stroke.voxels, assume_unique=True)
                voxels = np.concatenate([voxels[keep], stroke.voxels])
                labels = np.concatenate([labels[keep], np.full(len(stroke.voxels), stroke.value, np.uint16)])
            else:
                keep = (labels != stroke.value) | ~np.isin(voxels, stroke.voxels, assume_unique=True)
                voxels, labels = voxels[keep], labels[keep]
        order = np.argsort(voxels)
        return voxels[order], labels[order]

    @cached_property
    def outside(self) -> dict[int, np.ndarray]:
        """Label to the voxels, sorted, that are known not to be that structure, other than by being another one."""
        found: dict[int, np.ndarray] = {}
        for stroke in self.strokes:
            old = found.get(stroke.value, np.empty(0, np.int64))
            found[stroke.value] = (
                np.setdiff1d(old, stroke.voxels, assume_unique=True) if stroke.is_in else np.union1d(old, stroke.voxels)
            )
        return {value: voxels for value, voxels in found.items() if len(voxels)}

    def of(self, value: int, region: tuple[slice, ...]) -> np.ndarray:
        """int8 in a region of the volume: 1 where the structure is, -1 where it is not, 0 where no correction tells."""
        said = np.zeros(tuple(part.stop - part.start for part in region), dtype=np.int8)
        voxels, labels = self.inside
        self._enter(said, region, voxels[labels == value], 1)
        self._enter(said, region, voxels[labels != value], -1)
        self._enter(said, region, self.outside.get(value, np.empty(0, np.int64)), -1)
        return said

    def decided(self, names: Collection[int]) -> tuple[np.ndarray, np.ndarray]:
        """Voxels whose label is known, sorted, and these labels: (n,) int64 and (n,) uint16.

        `names`: labels of all structures that there are. What is known to be none of them is background.
        """
        voxels, labels = self.inside
        none = np.setdiff1d(self._not_inside(names).get(tuple(sorted(names)), np.empty(0, np.int64)), voxels)
        order = np.argsort(np.concatenate([voxels, none]))
        return np.concatenate([voxels, none])[order], np.concatenate([labels, np.zeros(len(none), np.uint16)])[order]

    def excluded(self, names: Collection[int]) -> dict[tuple[int, ...], np.ndarray]:
        """Voxels that are known not to be some of the structures `names`, by the labels of these; not all of them."""
        every = tuple(sorted(names))
        return {values: voxels for values, voxels in self._not_inside(names).items() if values != every}

    def _not_inside(self, names: Collection[int]) -> dict[tuple[int, ...], np.ndarray]:
        """Sorted labels that voxels of unknown structure are known not to be, and these voxels."""
        known = self.inside[0]
        groups: dict[tuple[int, ...], np.ndarray] = {}
        for value, voxels in sorted(self.outside.items()):
            left = np.setdiff1d(voxels, known, assume_unique=True) if value in names else voxels[:0]
            for values, others in list(groups.items()):
                both = np.intersect1d(left, others, assume_unique=True)
                if len(both):
                    groups[(*values, value)] = both
                    groups[values] = np.setdiff1d(others, both, assume_unique=True)
                    left = np.setdiff1d(left, both, assume_unique=True)
            groups[(value,)] = left
        return {values: voxels for values, voxels in groups.items() if len(voxels)}

    def fingerprint(self) -> str:
        """Short text that changes with any stroke and their order; not with the seconds."""
        digest = hashlib.sha1()
        for stroke in self.strokes:
            digest.update(f"{stroke.value}:{stroke.is_in}:".encode())
            digest.update(np.ascontiguousarray(stroke.voxels, dtype=np.int64).tobytes())
        return digest.hexdigest()[:16]

    def _enter(self, array: np.ndarray, region: tuple[slice, ...], voxels: np.ndarray, entry: int) -> None:
        array[within(region, voxels, self.shape)] = entry

    def restore(self, labels: np.ndarray) -> None:
        """Make (K, J, I) labels agree with the corrections, in place.

        A voxel that is known not to be what it is becomes background.
        """
        flat = labels.reshape(-1) if labels.flags.c_contiguous else None
        for value, voxels in self.outside.items():
            places = np.unravel_index(voxels, self.shape) if flat is None else (voxels,)
            target = labels if flat is None else flat
            target[places] = np.where(target[places] == value, 0, target[places])
        voxels, values = self.inside
        places = np.unravel_index(voxels, self.shape) if flat is None else (voxels,)
        (labels if flat is None else flat)[places] = values

    def contradictions(self, stroke: Stroke) -> np.ndarray:
        """Voxels of a stroke, sorted, of which the strokes so far say the opposite."""
        voxels, labels = self.inside
        if not stroke.is_in:
            return np.intersect1d(stroke.voxels, voxels[labels == stroke.value], assume_unique=True)
        against = np.union1d(voxels[labels != stroke.value], self.outside.get(stroke.value, np.empty(0, np.int64)))
        return np.intersect1d(stroke.voxels, against, assume_unique=True)


def within(region: tuple[slice, ...], voxels: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Places in a region of those voxels, places in the flattened array of this shape, that lie in it."""
    places = np.stack(np.unravel_index(voxels, shape)) - np.array([[part.start] for part in region])
    sizes = np.array([[part.stop - part.start] for part in region])
    return tuple(places[:, ((places >= 0) & (places < sizes)).all(axis=0)])
