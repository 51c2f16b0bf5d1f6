"""Finds the slices that a person has drawn in a label map with ignored voxels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from types import MappingProxyType

import numpy as np

from .annotation import SparseAnnotation
from .geometry import VolumeGeometry
from .ledger import Ledger, SliceState
from .planes import Plane, slice_layer

_MOSTLY = 0.5
NO_NAMES: Mapping[int, str] = MappingProxyType({})


def drawn_from_known(
    labels: np.ndarray, known: np.ndarray, geometry: VolumeGeometry, names: Mapping[int, str] = NO_NAMES
) -> SparseAnnotation:
    """The annotation whose drawn slices hold the known voxels, (K, J, I) bool, of a label map.

    When all voxels are known, all axial slices are drawn. Otherwise candidates are tried for one, two and all three
    planes: the slices without ignored voxels, and the slices of which more than half is known, whose other voxels are
    then undecided. (Slices across the drawn ones are mostly ignored, unless very many slices are drawn.) The candidate
    with the lowest cost is chosen: the number of known voxels outside its slices plus undecided voxels inside them,
    plus the longest side of the volume in voxels for each plane, so that a further plane must explain more than that.
    Of equal ones, the axial one is chosen. Known voxels outside the chosen slices are dropped.
    The slices are decided for all of `names`, label value to the name of the structure.
    """
    if known.all():
        return _annotation(
            labels, known, geometry, {Plane.AXIAL: list(range(Plane.AXIAL.slice_count(geometry)))}, names
        )
    shares = {}
    for plane in Plane:
        axis = plane.array_axis(geometry)
        shares[plane] = known.mean(axis=tuple(a for a in range(3) if a != axis))
    best: dict[Plane, list[int]] = {}
    least: int | None = None
    rules: tuple[Callable[[np.ndarray], np.ndarray], ...] = (lambda share: share == 1.0, lambda share: share > _MOSTLY)
    for is_drawn in rules:
        for count in (1, 2, 3):
            for planes in combinations(Plane, count):
                slices = {plane: np.flatnonzero(is_drawn(shares[plane])).tolist() for plane in planes}
                inside = _inside(slices, geometry)
                cost = int(np.count_nonzero(known != inside)) + count * max(geometry.shape)
                if least is None or cost < least:
                    best, least = slices, cost
    return _annotation(labels, known, geometry, best, names)


def explains(
    ledger: Ledger, labels: np.ndarray, known: np.ndarray, geometry: VolumeGeometry, names: Mapping[int, str] = NO_NAMES
) -> bool:
    """True when a ledger's drawn slices hold all known voxels, are mostly known, and empty ones have no label.

    Slices that do not decide all of `names` may be mostly ignored.
    """
    for entry in ledger.entries:
        if not 0 <= entry.index < entry.plane.slice_count(geometry):
            return False
        layer = slice_layer(entry.plane.array_axis(geometry), entry.index)
        is_partial = entry.structures is not None and not set(names.values()) <= set(entry.structures)
        if entry.state.is_decided and not is_partial and known[layer].mean() <= _MOSTLY:
            return False
        if entry.state is SliceState.EMPTY and (labels[layer].astype(bool) & known[layer]).any():
            return False
    slices = {plane: ledger.indices(plane) for plane in Plane}
    return not (known & ~_inside(slices, geometry)).any()


def with_ledger(
    ledger: Ledger, labels: np.ndarray, known: np.ndarray, geometry: VolumeGeometry, names: Mapping[int, str] = NO_NAMES
) -> SparseAnnotation:
    """The annotation of a ledger; voxels of its drawn slices that are not known are undecided."""
    return SparseAnnotation(np.where(known, labels, 0).astype(labels.dtype), ledger, geometry, ~known, names)


def _annotation(
    labels: np.ndarray,
    known: np.ndarray,
    geometry: VolumeGeometry,
    slices: dict[Plane, list[int]],
    names: Mapping[int, str],
) -> SparseAnnotation:
    ledger = Ledger()
    for plane, indices in slices.items():
        axis = plane.array_axis(geometry)
        for index in indices:
            layer = slice_layer(axis, index)
            empty = not (labels[layer].astype(bool) & known[layer]).any()
            state = SliceState.EMPTY if empty else SliceState.DRAWN
            ledger = ledger.with_state(plane, index, state, structures=names.values() if names else None)
    return with_ledger(ledger, labels, known, geometry, names)


def _inside(slices: dict[Plane, list[int]], geometry: VolumeGeometry) -> np.ndarray:
    inside = np.zeros(geometry.shape, dtype=bool)
    for plane, indices in slices.items():
        np.moveaxis(inside, plane.array_axis(geometry), 0)[indices] = True
    return inside
