"""Adds slices that were drawn in another program to an annotation, after comparing them with what is drawn already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from .annotation import SparseAnnotation
from .ledger import Ledger, SliceState
from .planes import Plane, slice_layer

SliceKey = tuple[Plane, int]


@dataclass(frozen=True)
class DrawnElsewhere:
    """An annotation with slices of a mask.

    Attributes:
        annotation: with the slices drawn as in the mask; without corrections, which do not change.
        new, changed, unchanged: the slices by whether they were drawn before, and differently.
        differing: on each slice with such voxels, the number of those that were decided otherwise before: on the
            slice itself, or on a drawn slice that crosses it.
        unclear: slices with ignored voxels that are decided for other structures, and so cannot become undecided.
    """

    annotation: SparseAnnotation
    new: tuple[SliceKey, ...]
    changed: tuple[SliceKey, ...]
    unchanged: tuple[SliceKey, ...]
    differing: Mapping[SliceKey, int]
    unclear: tuple[SliceKey, ...]


def with_drawn_elsewhere(
    annotation: SparseAnnotation,
    labels: np.ndarray,
    slices: Iterable[SliceKey],
    values: Iterable[int] | None = None,
    ignored: np.ndarray | None = None,
) -> DrawnElsewhere:
    """Draw slices of an annotation as a label map, (K, J, I), shows them.

    What a slice says of structures other than `values` stays. An ignored voxel stays as it was decided; it becomes
    undecided where it was not.

    Args:
        values: of the structures that the slices decide; None: all that the annotation names. Other labels of the map
            are read as 0.
        ignored: (K, J, I) bool, voxels that the map says nothing about.
    """
    before = replace(annotation, corrections=None)
    merging = _Merging(before, labels, before.names if values is None else values, ignored)
    for plane, index in dict.fromkeys(slices):
        merging.draw(plane, index)
    return merging.result()


class _Merging:
    """Draws slice after slice into a copy of the labels; compares with the annotation as it was."""

    def __init__(self, before: SparseAnnotation, labels: np.ndarray, values: Iterable[int], ignored: np.ndarray | None):
        self._before, self._source, self._ignored = before, labels, ignored
        self._values = sorted(set(values))
        self._old = before.drawn_labels()
        self._labels = self._old.astype(np.promote_types(self._old.dtype, labels.dtype))
        self._old_undecided = np.zeros(labels.shape, bool) if before.undecided is None else before.undecided
        self._undecided = self._old_undecided.copy()
        self._ledger = before.ledger
        self._kinds: dict[SliceKey, str] = {}
        self._differing: dict[SliceKey, int] = {}
        self._unclear: list[SliceKey] = []

    def draw(self, plane: Plane, index: int) -> None:
        layer = slice_layer(plane.array_axis(self._before.geometry), index)
        old, new, ignored = self._old[layer], self._source[layer], self._ignored_on(layer)
        if self._values:
            new = np.where(np.isin(new, self._values), new, 0)
        known, differs = self._compared(plane, index, old, new)
        differs &= ~ignored
        if differs.any():
            self._differing[(plane, index)] = int(np.count_nonzero(differs))
        undecided = ignored & ~known
        if (undecided & self._decided_for_some(plane, index)).any():
            self._unclear.append((plane, index))
        is_asked = np.isin(old, self._values) if self._values else np.ones_like(ignored)
        labels = np.where(ignored, old, np.where((new > 0) | is_asked, new, old))
        # A voxel that was undecided for structures that are not asked about stays so, unless it shows one that is.
        is_whole = set(self._before.names) <= set(self._values)
        undecided |= self._old_undecided[layer] & (ignored | ~((new > 0) | is_whole))
        entry, structures = self._before.ledger.entry(plane, index), self._structures(plane, index)
        was_drawn = entry is not None and entry.state.is_decided
        is_same = (
            was_drawn
            and np.array_equal(labels, old)
            and np.array_equal(undecided, self._old_undecided[layer])
            and self._names_on(plane, index) == set(structures or ())
        )
        self._kinds[(plane, index)] = "unchanged" if is_same else "changed" if was_drawn else "new"
        if is_same:
            return
        self._labels[layer], self._undecided[layer] = labels, undecided
        state = SliceState.DRAWN if np.where(undecided, 0, labels).any() else SliceState.EMPTY
        self._ledger = self._ledger.with_state(plane, index, state, structures=structures)

    def result(self) -> DrawnElsewhere:
        annotation = replace(
            self._before,
            labels=self._labels,
            ledger=self._with_states_of_crossed_slices(),
            undecided=self._undecided if self._undecided.any() else None,
        )
        return DrawnElsewhere(
            annotation,
            new=self._of_kind("new"),
            changed=self._of_kind("changed"),
            unchanged=self._of_kind("unchanged"),
            differing=self._differing,
            unclear=tuple(self._unclear),
        )

    def _of_kind(self, wanted: str) -> tuple[SliceKey, ...]:
        return tuple(key for key, kind in self._kinds.items() if kind == wanted)

    def _compared(self, plane: Plane, index: int, old: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Two (rows, columns) masks: what was decided for all structures in question, and what was otherwise."""
        region = self._region(plane, index)
        if not self._values:
            known = self._before.known_in(region).reshape(old.shape)
            return known, known & (old != new)
        each = {value: self._before.known_in(region, value).reshape(old.shape) for value in self._values}
        differs = [known & ((old == value) != (new == value)) for value, known in each.items()]
        return reduce(np.logical_and, each.values()), reduce(np.logical_or, differs)

    def _decided_for_some(self, plane: Plane, index: int) -> np.ndarray:
        region = self._region(plane, index)
        shape = self._old[slice_layer(plane.array_axis(self._before.geometry), index)].shape
        values: list[int | None] = [*self._before.names] or [None]
        return reduce(np.logical_or, (self._before.known_in(region, value).reshape(shape) for value in values))

    def _region(self, plane: Plane, index: int) -> tuple[slice, slice, slice]:
        axis = plane.array_axis(self._before.geometry)
        k, j, i = (slice(index, index + 1) if a == axis else slice(0, n) for a, n in enumerate(self._old.shape))
        return k, j, i

    def _ignored_on(self, layer: tuple[int | slice, ...]) -> np.ndarray:
        if self._ignored is None:
            return np.zeros(self._old[layer].shape, dtype=bool)
        ignored: np.ndarray = self._ignored[layer]
        return ignored

    def _names_on(self, plane: Plane, index: int) -> set[str]:
        """The structures that a slice was decided for before."""
        entry, names = self._before.ledger.entry(plane, index), self._before.names
        if entry is None or not entry.state.is_decided:
            return set()
        return set(names.values() if entry.structures is None else entry.structures) if names else set()

    def _structures(self, plane: Plane, index: int) -> tuple[str, ...] | None:
        """The structures that a slice is decided for now, in the order of their labels; None without names."""
        names = self._before.names
        if not names:
            return None
        earlier = self._names_on(plane, index)
        now = [name for value, name in sorted(names.items()) if value in self._values or name in earlier]
        return (*now, *sorted(earlier - set(now)))

    def _with_states_of_crossed_slices(self) -> Ledger:
        """The ledger; slices that were empty and show something now, where a new one crosses them, are drawn."""
        ledger = self._ledger
        for entry in ledger.decided:
            layer = slice_layer(entry.plane.array_axis(self._before.geometry), entry.index)
            if entry.state is SliceState.EMPTY and np.where(self._undecided[layer], 0, self._labels[layer]).any():
                ledger = ledger.with_state(entry.plane, entry.index, SliceState.DRAWN, structures=entry.structures)
        return ledger
