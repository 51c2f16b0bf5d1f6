"""What a model labels beyond the drawn slices of its cases, which no held-out slice checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from ...core import Watch
from ...core.messages import _
from ...core.planes import slice_layer
from ..data.training_cases import TrainingCase
from ..prediction.trained_model import TrainedModel
from .validation import predicted_part

WINDOWS_AT_MOST = 100  # about as many as a validation needs
_SLICES_AT_LEAST = 3  # of a plane, so that it has a range
_NOTED_SHARE, _NOTED_VOXELS, _NOTES_AT_MOST = 0.05, 30, 3


@dataclass(frozen=True, eq=False)
class LabelledBeyond:
    """How much a model labels, and how much of it is unsupported, in a sample of its cases' voxels.

    A voxel is beyond the drawn range when it lies outside the first and the last drawn slice of every plane with at
    least three drawn slices. A label there is supported if the outermost drawn slices show the structure near by: no
    farther to the side than the voxel is from the slice, plus the mean distance of the drawn slices.

    Attributes:
        cases: names.
        labelled, unsupported: (cases, classes) voxels.
    """

    cases: tuple[str, ...]
    labelled: np.ndarray
    unsupported: np.ndarray

    def shares(self) -> list[float]:
        """The unsupported share of what is labelled as each class, over all cases; 0 where nothing is."""
        return _shares(self.unsupported.sum(axis=0), self.labelled.sum(axis=0)).tolist()

    def corrected(self, dice: float) -> float:
        """A mean Dice measured inside the drawn range, corrected as if every unsupported label were false.

        Inside, the structures are taken to be as large in the prediction as in truth.
        """
        shares = np.array(self.shares()[1:])[self.labelled.sum(axis=0)[1:] > 0]
        # With P supported labels there are P / (1 - share) in all, so 2 TP / (P + T) is 2 TP / (P / (1 - share) + T).
        factors = 2 * (1 - shares) / (2 - shares)
        return dice * float(factors.mean()) if len(factors) else dice

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """A sentence for each case and structure with many unsupported labels; `names` of the classes from 1 on."""
        shares = _shares(self.unsupported, self.labelled)
        order = np.argsort(-shares, axis=None, kind="stable")[:_NOTES_AT_MOST]
        places = [tuple(int(n) for n in np.unravel_index(place, shares.shape)) for place in order]
        return tuple(
            _(
                "About {percent} % of what the model labels as {structure} in case '{case}' lies beyond the drawn "
                "slices, away from where they show it. Nothing was checked there. Look at the result, and draw a slice "
                "there if it is wrong."
            ).format(percent=round(100 * shares[case, c]), structure=names[c - 1], case=self.cases[case])
            for case, c in places
            if shares[case, c] >= _NOTED_SHARE and self.unsupported[case, c] >= _NOTED_VOXELS
        )


def labelled_beyond(
    model: TrainedModel,
    cases: Sequence[TrainingCase],
    spacing: Sequence[float],
    seed: int,
    watch: Watch,
    set_weights: Sequence[float] = (),
) -> LabelledBeyond | None:
    """Count what a model labels in its drawn cases, in windows chosen at random where there are too many.

    None when no case has three drawn slices in a plane. `spacing` in mm along (S, A, R); `set_weights` as in
    `validation.dice_on_slices`. The network is left in eval mode. Raises CancelledError.
    """
    model.network.eval()
    ranges = [found for case in cases if (found := _DrawnRange(case, spacing)).ends]
    tilings = [_Tiling(drawn, tile) for drawn in ranges for tile in _tile_models(model)]
    ends = np.cumsum([math.prod(tiling.counts) for tiling in tilings])
    if not len(ends):
        return None
    chosen = np.random.default_rng([seed, 0xBE70]).permutation(ends[-1])[:WINDOWS_AT_MOST]
    names = [drawn.case.name for drawn in ranges]
    labelled, unsupported = (np.zeros((len(names), model.class_count), dtype=np.int64) for _n in range(2))
    for number in np.sort(chosen):
        watch.check()
        place = int(np.searchsorted(ends, number, side="right"))
        tiling = tilings[place]
        window, cell = tiling.window_and_cell(int(number - (ends[place - 1] if place else 0)))
        predicted = predicted_part(tiling.model, tiling.drawn.case, window, watch, set_weights)
        inner = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(cell, window, strict=True))
        predicted, row = predicted[inner], ranges.index(tiling.drawn)
        false = tiling.drawn.unsupported(predicted, [side.start for side in cell])
        labelled[row] += np.bincount(predicted.ravel(), minlength=model.class_count)
        unsupported[row] += np.bincount(predicted[false], minlength=model.class_count)
    return LabelledBeyond(tuple(names), labelled, unsupported)


class _DrawnRange:
    """How far the drawn slices of a case reach.

    Attributes:
        ends: for each axis with enough drawn slices, the first and the last one, and their mean distance in mm.
    """

    def __init__(self, case: TrainingCase, spacing: Sequence[float]):
        self.case, self._spacing = case, tuple(spacing)
        self.ends: dict[int, tuple[int, int, float]] = {}
        self._distances: dict[tuple[int, int, int], np.ndarray] = {}
        drawn = {*case.slices, *case.held_out}
        for axis in range(3):
            indices = [index for a, index in drawn if a == axis]
            if len(indices) >= _SLICES_AT_LEAST:
                first, last = min(indices), max(indices)
                self.ends[axis] = first, last, (last - first) / (len(indices) - 1) * self._spacing[axis]

    def unsupported(self, predicted: np.ndarray, start: Sequence[int]) -> np.ndarray:
        """Which labels of a part of the volume, (S, A, R) class indices, are unsupported; `start`: its first voxel."""
        found = predicted > 0
        places = {axis: start[axis] + np.arange(predicted.shape[axis]) for axis in self.ends}
        for axis, (first, last, _gap) in self.ends.items():
            found &= _along((places[axis] < first) | (places[axis] > last), axis)
        for c in np.unique(predicted[found]).tolist():
            supported = predicted == c
            for axis, (first, last, gap) in self.ends.items():
                layer = tuple(slice(start[a], start[a] + n) for a, n in enumerate(predicted.shape) if a != axis)
                near = np.zeros(predicted.shape, dtype=bool)
                for end, away in ((first, first - places[axis]), (last, places[axis] - last)):
                    reach = np.where(away > 0, away * self._spacing[axis] + gap, -1.0)
                    to_structure = self._distance(axis, end, c)[layer]
                    near |= np.expand_dims(to_structure, axis) <= _along(reach, axis)
                supported &= near
            found &= ~supported
        return found

    def _distance(self, axis: int, index: int, c: int) -> np.ndarray:
        """(height, width) float32: mm from each pixel of a drawn slice to where it shows, or may show, a class."""
        key = (axis, index, c)
        if key not in self._distances:
            shown = (self.case.labels[slice_layer(axis, index)] == c) | ~self.case.decided_on(axis, index)
            shown |= self.case.unknown_on(axis, index, c)
            sampling = [s for a, s in enumerate(self._spacing) if a != axis]
            distance = distance_transform_edt(~shown, sampling) if shown.any() else np.full(shown.shape, np.inf)
            self._distances[key] = distance.astype(np.float32)
        return self._distances[key]


@dataclass(frozen=True, eq=False)
class _Tiling:
    """A volume in cells of 3/4 of a window; each is predicted in the middle of a window, if the volume allows."""

    drawn: _DrawnRange
    model: TrainedModel

    @property
    def _sides(self) -> list[tuple[int, int, int]]:
        """Of the volume, a window and a cell, along each axis."""
        patch = list(self.model.patch)
        if self.model.role == "2d":
            patch.insert(self.model.planes[0], 1)
        shape = self.drawn.case.shape
        return [(n, n, n) if n <= p else (n, p, max(1, 3 * p // 4)) for n, p in zip(shape, patch, strict=True)]

    @property
    def counts(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(math.ceil(n / cell) for n, _window, cell in self._sides)

    def window_and_cell(self, number: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where a cell lies in the volume, and the window around it."""
        windows, cells = [], []
        for place, (n, window, cell) in zip(np.unravel_index(number, self.counts), self._sides, strict=True):
            start = int(place) * cell
            low = max(0, min(start - (window - cell) // 2, n - window))
            cells.append(slice(start, min(start + cell, n)))
            windows.append(slice(low, low + window))
        return tuple(windows), tuple(cells)


def _tile_models(model: TrainedModel) -> list[TrainedModel]:
    """A 2D model for each of its planes; others as they are."""
    return [replace(model, planes=(axis,)) for axis in model.planes] if model.role == "2d" else [model]


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _along(values: np.ndarray, axis: int) -> np.ndarray:
    """Values along one axis, to be broadcast with a volume."""
    return values.reshape([-1 if a == axis else 1 for a in range(3)])
