"""How the labels that a run finds agree with what is drawn, slice by slice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.planes import slice_layer


@dataclass(frozen=True, eq=False)
class RunAgreement:
    """Voxels of each label on each drawn slice; where slices cross, a voxel counts on each of them.

    Attributes:
        annotation: what is drawn. slices: (plane, index) of each of n drawn slices.
        found, drawn, both: (n, labels) int, voxels that the run labels so, that are drawn so, and that are both;
            undecided voxels are left out.
        together: (labels, labels) int, on all slices: how many voxels of each found label have each drawn one.
    """

    annotation: SparseAnnotation
    slices: tuple[tuple[Plane, int], ...]
    found: np.ndarray
    drawn: np.ndarray
    both: np.ndarray
    together: np.ndarray

    @classmethod
    def of(
        cls, found: np.ndarray, annotation: SparseAnnotation, without: Collection[tuple[Plane, int]] = ()
    ) -> RunAgreement:
        """Of (K, J, I) labels that a run finds; `without` these slices."""
        plane_of = {plane.array_axis(annotation.geometry): plane for plane in Plane}
        layers = [
            (axis, index)
            for axis, indices in annotation.drawn_by_axis().items()
            for index in indices
            if (plane_of[axis], index) not in without
        ]
        count = 1 + max(int(found.max(initial=0)), max(annotation.label_values(), default=0))
        figures = np.zeros((3, len(layers), count), dtype=np.int64)
        together = np.zeros((count, count), dtype=np.int64)
        for number, (axis, index) in enumerate(layers):
            layer = slice_layer(axis, index)
            decided = slice(None) if annotation.undecided is None else ~annotation.undecided[layer]
            here, truth = found[layer][decided].ravel(), annotation.labels[layer][decided].ravel()
            for place, values in enumerate((here, truth, truth[here == truth])):
                figures[place, number] = np.bincount(values, minlength=count)
            pairs = here.astype(np.int64) * count + truth
            together += np.bincount(pairs, minlength=count * count).reshape(count, count)
        slices = tuple((plane_of[axis], index) for axis, index in layers)
        return cls(annotation, slices, figures[0], figures[1], figures[2], together)

    def size(self, value: int) -> int:
        """Voxels of a label that the run finds on the drawn slices."""
        return int(self.found[:, value].sum()) if value < len(self.together) else 0

    def dice(self, value: int) -> tuple[float, int]:
        """Dice of a label on the slices that decide it, and how many of these show it, as drawn or found."""
        if value >= len(self.together):
            return 0.0, 0
        decides = self._deciding(value)
        either = (self.found + self.drawn)[decides, value]
        shown = int(np.count_nonzero(either))
        return (2.0 * float(self.both[decides, value].sum()) / float(either.sum()) if shown else 0.0), shown

    def contradicted(self, value: int) -> int:
        """On how many slices that decide a label the run finds it, and none of it is drawn."""
        if value >= len(self.together):
            return 0
        decides = self._deciding(value)
        return int(np.count_nonzero((self.found[decides, value] > 0) & (self.drawn[decides, value] == 0)))

    def twin(self, value: int) -> int | None:
        """The drawn label in whose place the run finds `value`: the same structure by another name.

        None where less than half of both together is shared.
        """
        if value >= len(self.together):
            return None
        shared = self.together[value].copy()
        shared[0] = 0
        best = int(np.argmax(shared))
        union = self.together[value].sum() + self.together[:, best].sum() - shared[best]
        return best if 2 * shared[best] > union else None

    def _deciding(self, value: int) -> np.ndarray:
        silent = self.annotation.silent_on(value)
        decides: np.ndarray = np.array([key not in silent for key in self.slices], dtype=bool)
        return decides
