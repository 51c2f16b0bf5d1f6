"""How long drawing a slice takes, from the length of its contours and the number of its parts (Kuo 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import VolumeGeometry
from ..core.planes import slice_layer

_TIMED_SLICES_NEEDED = 5
_CROFTON = math.pi / 4  # a contour's length / the length of its pixel edges, over all directions


@dataclass(frozen=True)
class DrawingEffort:
    """What makes slices slow to draw.

    Attributes:
        contour_mm: (N,) float, length of all contours. parts: (N,) float, connected parts of all labels.
    """

    contour_mm: np.ndarray
    parts: np.ndarray


def drawing_effort(
    labels: np.ndarray, geometry: VolumeGeometry, axis: int, indices: Sequence[int] | None = None
) -> DrawingEffort:
    """The effort of slices along an array axis (all by default) of a (K, J, I) label map, drawn or predicted."""
    from scipy import ndimage

    spacing = [s for a, s in enumerate(geometry.spacing) if a != axis]
    chosen = range(labels.shape[axis]) if indices is None else indices
    contours, parts = [], []
    for index in chosen:
        layer = np.pad(labels[slice_layer(axis, index)], 1)
        edges = np.count_nonzero(layer[1:] != layer[:-1]) * spacing[1]
        edges += np.count_nonzero(layer[:, 1:] != layer[:, :-1]) * spacing[0]
        contours.append(_CROFTON * edges)
        parts.append(sum(ndimage.label(layer == value)[1] for value in np.unique(layer) if value))
    return DrawingEffort(np.array(contours, dtype=float), np.array(parts, dtype=float))


@dataclass(frozen=True)
class CostModel:
    """Seconds for a slice: a fixed time, a time per mm of contour, and a time per connected part.

    Attributes:
        slices: number of timed slices it was fitted to; 0 when assumed.
    """

    fixed: float
    per_mm: float
    per_part: float
    slices: int

    @classmethod
    def learned(cls, effort: DrawingEffort, seconds: np.ndarray) -> CostModel | None:
        """Fitted to timed slices by non-negative least squares; below five, only their mean; None without any."""
        from scipy.optimize import nnls

        seconds = np.asarray(seconds, dtype=float)
        if not len(seconds):
            return None
        if len(seconds) < _TIMED_SLICES_NEEDED:
            return cls(float(seconds.mean()), 0.0, 0.0, len(seconds))
        terms = np.stack([np.ones(len(seconds)), effort.contour_mm, effort.parts], axis=1)
        scale = np.maximum(terms.max(axis=0), 1e-12)
        fixed, per_mm, per_part = nnls(terms / scale, seconds)[0] / scale
        return cls(float(fixed), float(per_mm), float(per_part), len(seconds))

    @classmethod
    def assumed(cls, effort: DrawingEffort, seconds_per_slice: float) -> CostModel:
        """For when nothing has been timed: a third of the seconds fixed, a third by contour, a third by parts.

        The mean over the slices of `effort` is `seconds_per_slice`. The thirds are our own choice.
        """
        third = seconds_per_slice / 3.0
        contour, parts = (float(term.mean()) if len(term) else 0.0 for term in (effort.contour_mm, effort.parts))
        per_mm, per_part = (third / mean if mean else 0.0 for mean in (contour, parts))
        fixed = seconds_per_slice - per_mm * contour - per_part * parts
        return cls(fixed, per_mm, per_part, 0)

    def seconds(self, effort: DrawingEffort) -> np.ndarray:
        """(N,) float seconds, at least 1 each: checking an empty slice takes time, too."""
        return np.maximum(self.fixed + self.per_mm * effort.contour_mm + self.per_part * effort.parts, 1.0)
