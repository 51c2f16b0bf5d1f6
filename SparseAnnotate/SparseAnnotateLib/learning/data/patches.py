"""Training patches, in 3D and from slices, placed on drawn slices or on pseudo-labelled structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from ...core.planes import slice_layer
from ...core.voxel_boxes import Box, along_axes
from .corrected_voxels import CorrectedVoxels
from .training_cases import TrainingCase


@dataclass(frozen=True)
class Placing:
    """Where patches lie.

    Attributes:
        foreground_share: share of patches placed on a voxel of a structure, each structure equally often.
        class_shares: class index to share of patches instead; 0 for background voxels of drawn slices.
        undrawn_share: share placed on any voxel, drawn or not; the others on any drawn voxel.
        is_centered: whether the voxel is the center of its patch (`length // 2`), or as near to it as the border of the
            volume allows; otherwise it is anywhere in the patch.
        is_undrawn_only: whether the `undrawn_share` is placed on undrawn voxels only, if there are any.
    """

    foreground_share: float = 0.5
    class_shares: dict[int, float] | None = None
    undrawn_share: float = 0.0
    is_centered: bool = False
    is_undrawn_only: bool = False


@dataclass(frozen=True, eq=False)
class Patch:
    """One patch.

    Attributes:
        arrays: as `extract_patch` gives them; in 2D without the axis cut across: (channels, height, width).
        axes: which of (S, A, R) its spatial axes are, as 0, 1, 2.
        case: the name of the case it comes from.
    """

    arrays: dict[str, np.ndarray]
    axes: tuple[int, ...]
    case: str


_Place = tuple[TrainingCase, tuple[int, int] | None]
"""A drawn slice of a case, as (axis, index); None: its corrected voxels."""


class PatchSampler:
    """Draws patches; patch `number` of an iteration is always the same, in any process.

    First a voxel is chosen according to `placing`: of a random structure on a random drawn slice that shows it, any of
    a random drawn slice, or any of a random volume. The corrected voxels of a case count as one more drawn slice. The
    patch is then placed at random around it, or centered on it.
    Slices (Zheng 2020, eq. 1: a volume and a plane at random each time) go through that voxel in a random
    plane; in planes other than the drawn one only the drawn lines of it are supervised.

    Args:
        cases: with drawn slices, or with pseudo-labels.
        patch: (S, A, R) voxels, or (height, width) of slices.
        planes: array axes that slices are cut across; only for 2D patches.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        patch: tuple[int, ...],
        placing: Placing,
        seed: int,
        planes: tuple[int, ...] = (0, 1, 2),
    ):
        self._cases, self._patch, self._placing, self._seed, self._planes = cases, patch, placing, seed, planes
        self._shapes = {case: case.shape for case in cases}
        self._corrected = {case: CorrectedVoxels.of(case) for case in cases if case.corrected_path is not None}
        self._slices: list[_Place] = [(case, s) for case in cases for s in case.slices]
        self._slices += [(case, None) for case, voxels in self._corrected.items() if len(voxels.every)]
        found = {c for case in cases for c in (*case.by_class, *case.located)}
        shown = sorted(found.union(*(voxels.by_class for voxels in self._corrected.values())) - {0})
        self._by_class: dict[int, list[_Place]] = {
            c: [
                *((case, s) for case in cases for s in case.by_class.get(c, ())),
                *((case, None) for case, voxels in self._corrected.items() if c in voxels.by_class),
            ]
            for c in shown
        }
        self._located = {c: [case for case in cases if len(case.located.get(c, ()))] for c in shown}
        shares = placing.class_shares or {c: placing.foreground_share / len(shown) for c in shown}
        if shares.get(0, 0.0) > 0:
            self._by_class[0] = [(case, s) for case, s in self._slices if self._shows_background(case, s)]
            self._located[0] = []
            shown = [0, *shown] if self._by_class[0] else shown
        self._classes = [c for c in shown if shares.get(c, 0.0) > 0]
        self._bounds = np.cumsum([shares[c] for c in self._classes])
        self._anywhere = placing.undrawn_share if self._slices else 1.0
        self._undrawn = [
            (case, left) for case in (cases if placing.is_undrawn_only else ()) if all(map(len, left := _undrawn(case)))
        ]

    def patches(self, iteration: int, numbers: Sequence[int]) -> list[Patch]:
        """The patches of these numbers."""
        return [self._draw(np.random.default_rng([self._seed, iteration, number])) for number in numbers]

    def _draw(self, rng: np.random.Generator) -> Patch:
        case, voxel = self._voxel(rng)
        size, across = list(self._patch), None
        if len(size) == 2:
            across = self._planes[int(rng.integers(len(self._planes)))]
            size.insert(across, 1)
        start = []
        for position, length, count in zip(voxel, size, self._shapes[case], strict=True):
            low, high = max(0, position - length + 1), min(position, count - length)
            if high < low:
                start.append(-((length - count) // 2))
            elif self._placing.is_centered:
                start.append(min(max(position - length // 2, low), high))
            else:
                start.append(int(rng.integers(low, high + 1)))
        arrays = extract_patch(case, start, size)
        if across is None:
            return Patch(arrays, (0, 1, 2), case.name)
        flat = {key: array.squeeze(across + 1) for key, array in arrays.items()}
        return Patch(flat, tuple(a for a in range(3) if a != across), case.name)

    def _voxel(self, rng: np.random.Generator) -> tuple[TrainingCase, list[int]]:
        chance = rng.random()
        place = int(np.searchsorted(self._bounds, chance, side="right"))
        if place < len(self._classes):
            return self._voxel_of(self._classes[place], rng)
        if chance >= 1.0 - self._anywhere or not self._slices:
            if self._undrawn:
                case, left = self._undrawn[int(rng.integers(len(self._undrawn)))]
                return case, [int(rng.choice(indices)) for indices in left]
            case = self._cases[int(rng.integers(len(self._cases)))]
            return case, [int(rng.integers(n)) for n in self._shapes[case]]
        case, drawn_slice = self._slices[int(rng.integers(len(self._slices)))]
        if drawn_slice is None:
            return case, self._one_corrected(case, self._corrected[case].every, rng)
        axis, index = drawn_slice
        voxel = [int(rng.integers(n)) for a, n in enumerate(self._shapes[case]) if a != axis]
        voxel.insert(axis, index)
        return case, voxel

    def _voxel_of(self, wanted: int, rng: np.random.Generator) -> tuple[TrainingCase, list[int]]:
        slices = self._by_class[wanted]
        if self._located[wanted] and (not slices or rng.random() < 0.5):
            case = self._located[wanted][int(rng.integers(len(self._located[wanted])))]
            return case, _one_of(case.located[wanted], rng)
        case, drawn_slice = slices[int(rng.integers(len(slices)))]
        if drawn_slice is None:
            return case, self._one_corrected(case, self._corrected[case].by_class[wanted], rng)
        voxel = _one_of(np.argwhere(_shown(case, drawn_slice, wanted)), rng)
        axis, index = drawn_slice
        voxel.insert(axis, index)
        return case, voxel

    def _one_corrected(self, case: TrainingCase, voxels: np.ndarray, rng: np.random.Generator) -> list[int]:
        place = np.unravel_index(int(voxels[int(rng.integers(len(voxels)))]), self._shapes[case])
        return [int(along) for along in place]

    def _shows_background(self, case: TrainingCase, drawn_slice: tuple[int, int] | None) -> bool:
        if drawn_slice is None:
            return 0 in self._corrected[case].by_class
        return bool(_shown(case, drawn_slice, 0).any())


def _one_of(voxels: np.ndarray, rng: np.random.Generator) -> list[int]:
    """One of some voxels, (n, coordinates)."""
    found: list[int] = voxels[int(rng.integers(len(voxels)))].tolist()
    return found


def _shown(case: TrainingCase, drawn_slice: tuple[int, int], wanted: int) -> np.ndarray:
    """(rows, columns) bool: where a drawn slice shows a class; voxels with anything unknown are not background."""
    shown: np.ndarray = case.labels[slice_layer(*drawn_slice)] == wanted
    return shown if wanted else shown & case.decided_on(*drawn_slice) & ~case.unknown_on(*drawn_slice)


def _undrawn(case: TrainingCase) -> list[np.ndarray]:
    """For each axis the indices without a drawn slice: a voxel with all three of them is on none."""
    drawn = (*case.slices, *case.held_out)
    return [np.setdiff1d(np.arange(n), [i for a, i in drawn if a == axis]) for axis, n in enumerate(case.shape)]


def extract_patch(case: TrainingCase, start: Sequence[int], size: Sequence[int]) -> dict[str, np.ndarray]:
    """One patch of a case from `start`, of `size` voxels; beyond the volume the image is 0 and nothing supervised.

    Returns:
        image (C, S, A, R) float32; label (1, S, A, R) uint8/uint16; supervised (1, S, A, R) bool, or, where fills are
        learned from, the weights as float32. Where structures are unknown on some slices of the training: unknown
        (1, S, A, R) int16, see `TrainingCase.unknown`. Where the case has them: sets (V, S, A, R), class indices plus
        1, 0 beyond the volume, and sure (V, S, A, R) uint8; distances (C, S, A, R) float32.
    """
    image = case.image
    inside = along_axes(slice(max(s, 0), min(s + n, m)) for s, n, m in zip(start, size, case.shape, strict=True))
    place = along_axes(slice(i.start - s, i.stop - s) for i, s in zip(inside, start, strict=True))

    def cut(source: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
        array = np.zeros((*source.shape[:-3], *size), dtype=dtype or source.dtype)
        array[(..., *place)] = source[(..., *inside)]
        return array

    weights = case.weights
    supervised = np.zeros(size, dtype=bool) if weights is None else cut(weights, np.float32)
    patch = {"image": cut(image, np.float32).reshape(-1, *size), "label": cut(case.labels)[None]}
    if case.distance_classes:
        patch["distances"] = _distances(case, start, size, inside, place)

    def mark(slices: Sequence[tuple[int, int]], is_learned: bool) -> None:
        for axis, index in slices:
            if inside[axis].start <= index < inside[axis].stop:
                layer: list[int | slice] = list(place)
                layer[axis] = index - start[axis]
                supervised[tuple(layer)] = is_learned

    if weights is None:  # which are 0 where nothing is known
        mark(case.slices, True)
        undecided, corrected = case.undecided, case.corrected
        if undecided is not None:
            supervised[cut(undecided)] = False
        if corrected is not None:
            supervised[cut(corrected)] = True
    # Last: where they cross a learned slice, or were corrected, the voxels of held-out slices are not learned from.
    mark(case.held_out, False)
    patch["supervised"] = supervised[None]
    if case.unknown_sets:
        unknown = case.unknown
        patch["unknown"] = (np.zeros(size, dtype=np.int16) if unknown is None else cut(unknown))[None]
    if case.pseudo_path is not None:
        sets, sure = case.pseudo_labels(inside)
        for key, values in (("sets", sets + 1), ("sure", sure)):
            patch[key] = np.zeros((len(values), *size), dtype=values.dtype)
            patch[key][(..., *place)] = values
    return patch


def _distances(case: TrainingCase, start: Sequence[int], size: Sequence[int], inside: Box, place: Box) -> np.ndarray:
    """(C, S, A, R) float32: of each drawn slice that the patch shows, 0 elsewhere."""
    result = np.zeros((case.distance_classes, *size), dtype=np.float32)
    for axis in case.distances_paths:
        distances = case.distances(axis)
        for number, index in enumerate(i for a, i in case.slices if a == axis):
            if inside[axis].start <= index < inside[axis].stop:
                layer: list[int | slice] = list(place)
                layer[axis] = index - start[axis]
                rows, columns = (inside[a] for a in range(3) if a != axis)
                result[(slice(None), *layer)] = distances[number, :, rows, columns]
    return result
