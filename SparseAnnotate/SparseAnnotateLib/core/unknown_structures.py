"""Which structures are unknown at each voxel of the drawn slices, without an array for each structure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST_IN_A_BYTE = 255


@dataclass(frozen=True, eq=False)
class UnknownStructures:
    """The structures of which nothing is known at a voxel that is otherwise decided: there they may be, or not.

    Attributes:
        sets: sets of label values, each sorted.
        index: (K, J, I) uint8 or uint16: 0 where everything is known or nothing is decided, n where those of
            `sets[n - 1]` are unknown.
    """

    sets: tuple[tuple[int, ...], ...]
    index: np.ndarray

    def of_any(self, values: Iterable[int]) -> np.ndarray:
        """(K, J, I) bool: where at least one of these structures is unknown."""
        wanted = set(values)
        found: np.ndarray = np.array([False, *(bool(wanted.intersection(unknown)) for unknown in self.sets)])[
            self.index
        ]
        return found

    def without(self, corrected: Mapping[tuple[int, ...], np.ndarray], every: Sequence[int]) -> UnknownStructures:
        """With some structures known at further voxels.

        Args:
            corrected: sorted label values to the voxels, places in the flattened array, at which these are known, too.
            every: sorted label values of all structures. Where nothing was decided before, the others are unknown.
        """
        sets, index = list(self.sets), self.index.copy()
        for known, voxels in corrected.items():
            here = index.reshape(-1)[voxels]
            for number in np.unique(here).tolist():
                before = sets[number - 1] if number else every
                left = tuple(value for value in before if value not in known)
                if left and left not in sets:
                    sets.append(left)
                if len(sets) > _MOST_IN_A_BYTE and index.dtype == np.uint8:
                    index = index.astype(np.uint16)
                index.reshape(-1)[voxels[here == number]] = sets.index(left) + 1 if left else 0
        return UnknownStructures(tuple(sets), index)

    @classmethod
    def on_layers(
        cls, shape: tuple[int, ...], layers: Iterable[tuple[tuple[int | slice, ...], tuple[int, ...]]]
    ) -> UnknownStructures:
        """Of slices with their unknown label values; where slices cross, what one of them decides is known."""
        sets: dict[tuple[int, ...], int] = {}
        # In these codes 0 means that no slice is there, and n stands for set n - 1; the empty set is among them.
        codes = np.zeros(shape, dtype=np.uint8)
        for layer, unknown in layers:
            here = codes[layer]
            by_code = {code: values for values, code in sets.items()}
            new = here.copy()
            for code in np.unique(here).tolist():
                common = unknown if code == 0 else tuple(sorted(set(by_code[code]) & set(unknown)))
                if common not in sets:
                    sets[common] = len(sets) + 1
                if sets[common] > _MOST_IN_A_BYTE and codes.dtype == np.uint8:
                    codes, new = codes.astype(np.uint16), new.astype(np.uint16)
                new[here == code] = sets[common]
            codes[layer] = new
        named = [values for values in sets if values]
        table = np.zeros(len(sets) + 1, dtype=codes.dtype)
        for number, values in enumerate(named, start=1):
            table[sets[values]] = number
        return cls(tuple(named), table[codes])
