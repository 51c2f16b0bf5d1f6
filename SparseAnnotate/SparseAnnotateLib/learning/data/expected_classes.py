"""Which classes the other drawn slices of a case expect on one of its slices, drawn or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core import SparseAnnotation, Watch
from ...interpolation.expected_labels import ExpectedLabels


class ExpectedClasses:
    """See `ExpectedLabels`, in the standard axis order of a case's image.

    Args:
        annotation: of the case. classes: label value of each class from 1 on.
        image: ([C,] S, A, R), normalised, as in training.
    """

    def __init__(self, annotation: SparseAnnotation, classes: Sequence[int], image: np.ndarray):
        geometry = self._geometry = annotation.geometry
        self._classes = tuple(classes)
        self._labels = ExpectedLabels(annotation, classes, geometry.from_standard_order(image))
        self._own_axis = {geometry.to_standard_slice(axis, 0)[0]: axis for axis in range(3)}

    def on(
        self, axis: int, index: int, wanted: Sequence[int], watch: Watch | None = None
    ) -> tuple[np.ndarray, list[int]]:
        """(rows, columns) int: the likeliest of the wanted classes on a slice in standard order, 0 where there is none.

        And those of the wanted classes of which something is known, see `ExpectedLabels.odds`. The same whether or not
        the slice itself is drawn. Raises CancelledError.
        """
        own = self._own_axis[axis]
        # Mirrored or not, an axis is mirrored back in the same way.
        own_index = self._geometry.to_standard_slice(own, index)[1]
        odds = self._labels.odds(own, own_index, [self._classes[c - 1] for c in wanted], watch)
        layers = np.squeeze(self._geometry.to_standard_order(np.expand_dims(odds, own + 1)), axis + 1)
        found: np.ndarray = np.zeros(layers.shape[1:], dtype=int)
        if len(layers):
            found[:] = np.where(layers.max(0) > 0, np.array(list(wanted))[layers.argmax(0)], 0)
        return found, [c for c, layer in zip(wanted, layers, strict=True) if layer.any()]
