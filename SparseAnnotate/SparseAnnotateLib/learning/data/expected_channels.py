"""What a network sees beside a slice of the image: where the other drawn slices expect each structure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock

import numpy as np

from ...core import SparseAnnotation
from ...interpolation.expected_labels import SUREST, ExpectedLabels
from ...runs.plan import EXPECTED_CHANNELS

_STEPS = 127  # of int8, in which they are kept
_LARGEST = 2.0  # that the network sees: about what most of a normalized image lies within
_KEPT = 128  # slices; of the largest ones, 270 MB


class ExpectedChannels:
    """Expected structures of a run on slices of a case, in the standard axis order of its image.

    Args:
        annotation: of the case. classes: label value of each class from 1 on; only `EXPECTED_CHANNELS` of them count.
        image: ([C,] S, A, R), normalised, as in training. earlier: of the case before its last slices were drawn.
    """

    def __init__(
        self,
        annotation: SparseAnnotation,
        classes: Sequence[int],
        image: np.ndarray,
        earlier: ExpectedChannels | None = None,
    ):
        geometry = self._geometry = annotation.geometry
        own = geometry.from_standard_order(image)
        self._labels = ExpectedLabels(annotation, classes[:EXPECTED_CHANNELS], own)
        self._own_axis = {geometry.to_standard_slice(axis, 0)[0]: axis for axis in range(3)}
        self._kept: OrderedDict[Hashable, np.ndarray] = earlier._kept if earlier is not None else OrderedDict()
        self._lock = earlier._lock if earlier is not None else Lock()

    def on(self, axis: int, index: int) -> np.ndarray:
        """(EXPECTED_CHANNELS, rows, columns) float32 on a slice in standard order; 0: nothing is known.

        The same whether or not the slice itself is drawn.
        """
        found = self._found(axis, index)
        result = np.zeros((EXPECTED_CHANNELS, *found.shape[1:]), dtype=np.float32)
        result[: len(found)] = found * np.float32(_LARGEST / _STEPS)
        return result

    def classes(self, axis: int, index: int) -> np.ndarray:
        """(rows, columns) int: the class that is expected on a slice in standard order, 0 for background."""
        found = self._found(axis, index)
        if not len(found):
            return np.zeros(found.shape[1:], dtype=int)
        likeliest: np.ndarray = np.where(found.max(0) > 0, found.argmax(0) + 1, 0)
        return likeliest

    def _found(self, axis: int, index: int) -> np.ndarray:
        """(structures, rows, columns) int8."""
        own = self._own_axis[axis]
        # Mirrored or not, an axis is mirrored back in the same way.
        index = self._geometry.to_standard_slice(own, index)[1]
        key = self._labels.depend_on(own, index)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        odds = np.expand_dims(self._labels.odds(own, index), own + 1)
        layers = np.squeeze(self._geometry.to_standard_order(odds), axis + 1)
        found: np.ndarray = np.rint(layers * (_STEPS / SUREST)).astype(np.int8)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
