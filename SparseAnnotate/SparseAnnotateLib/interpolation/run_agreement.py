"""How the labels that a run finds agree with what is drawn, slice by slice."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.planes import slice_layer


@dataclass(frozen=True, eq=False)
class RunAgreement:
    """Voxels of each pair of labels on the drawn slices; where slices cross, a voxel counts on each of them.

    Attributes:
        annotation: what is drawn. slices: (plane, index) of each drawn slice that is compared.
        pairs: (n, 4) int64: the number of a slice in `slices`, a label that the run finds there, the label that is
            drawn there, and how many voxels have both; undecided voxels are left out.
    """

    annotation: SparseAnnotation
    slices: tuple[tuple[Plane, int], ...]
    pairs: np.ndarray

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
        rows = [np.empty((0, 4), dtype=np.int64)]
        for number, (axis, index) in enumerate(layers):
            layer = slice_layer(axis, index)
            decided = slice(None) if annotation.undecided is None else ~annotation.undecided[layer]
            here, truth = found[layer][decided].ravel(), annotation.labels[layer][decided].ravel()
            both = (here.astype(np.uint32) << np.uint32(16)) | truth
            codes, counts = np.unique(both, return_counts=True)
            rows.append(np.stack([np.full(len(codes), number), codes >> 16, codes & 0xFFFF, counts], axis=1))
        return cls(annotation, tuple((plane_of[axis], index) for axis, index in layers), np.concatenate(rows))

    def size(self, value: int) -> int:
        """Voxels of a label that the run finds on the drawn slices."""
        return int(self.pairs[self.pairs[:, 1] == value, 3].sum())

    def dice(self, value: int) -> tuple[float, int]:
        """Dice of a label on the slices that decide it, and how many of these show it, as drawn or found."""
        pairs = self._deciding(value)
        found, drawn = pairs[pairs[:, 1] == value], pairs[pairs[:, 2] == value]
        shown = len(np.union1d(found[:, 0], drawn[:, 0]))
        either = int(found[:, 3].sum() + drawn[:, 3].sum())
        both = int(found[found[:, 2] == value, 3].sum())
        return (2.0 * both / either if either else 0.0), shown

    def contradicted(self, value: int) -> int:
        """On how many slices that decide a label the run finds it, and none of it is drawn."""
        pairs = self._deciding(value)
        found, drawn = (pairs[pairs[:, column] == value, 0] for column in (1, 2))
        return len(np.setdiff1d(found, drawn))

    def twin(self, value: int) -> int | None:
        """The drawn label in whose place the run finds `value`: the same structure by another name.

        None where less than half of both together is shared, on the slices that decide the drawn label.
        """
        with_label = self.pairs[(self.pairs[:, 1] == value) & (self.pairs[:, 2] > 0)]
        best: tuple[float, int] | None = None
        for other in np.unique(with_label[:, 2]).tolist():
            pairs = self._deciding(other)
            found, drawn = pairs[:, 1] == value, pairs[:, 2] == other
            shared, either = int(pairs[found & drawn, 3].sum()), int(pairs[found | drawn, 3].sum())
            if 2 * shared > either and (best is None or shared / either > best[0]):
                best = (shared / either, other)
        return best[1] if best is not None else None

    def _deciding(self, value: int) -> np.ndarray:
        """The pairs on slices that decide a label."""
        silent = self.annotation.silent_on(value)
        if not silent:
            return self.pairs
        decides = np.array([key not in silent for key in self.slices], dtype=bool)
        found: np.ndarray = self.pairs[decides[self.pairs[:, 0]]]
        return found
