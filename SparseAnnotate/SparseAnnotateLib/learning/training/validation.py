"""The Dice of a model in training on held-out drawn slices: it holds inside the drawn range of the cases.

For what the model labels beyond that range, see `beyond_drawn_range`. Also structures that it does not find at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...core import Watch
from ...core.planes import slice_layer
from ..data.image_channels import part_of
from ..data.training_cases import TrainingCase
from ..prediction.slice_prediction import slab_around, slice_classes
from ..prediction.trained_model import TrainedModel
from ..prediction.volume_prediction import final_classes, predicted_classes

_SLICES_AT_LEAST, _SLICES_AT_MOST = 4, 24
_WINDOWS_AT_MOST = 100
_CLASSES_AT_MOST = 24

HeldOutSlice = tuple[TrainingCase, tuple[int, int]]


def affordable_slices(cases: Sequence[TrainingCase], patch: tuple[int, ...], seed: int) -> list[HeldOutSlice]:
    """Some of the held-out slices, large and small ones alike: on large volumes each needs many windows."""
    slices = [(case, s) for case in cases for s in case.held_out]
    sizes = [size for case in cases for size in case.held_out_sizes or (0,) * len(case.held_out)]
    count = windows = 0
    order = np.random.default_rng([seed, 0xCA5E]).permutation(len(slices))
    for case, (axis, _index) in (slices[i] for i in order[:_SLICES_AT_MOST]):
        sides = [n for a, n in enumerate(case.shape) if a != axis]
        steps = [p for a, p in enumerate(patch) if a != axis] if len(patch) == 3 else patch
        windows += int(np.prod([max(1, round(n / (0.75 * p))) for n, p in zip(sides, steps, strict=True)]))
        if count >= _SLICES_AT_LEAST and windows > _WINDOWS_AT_MOST:
            break
        count += 1
    # The middle one of each of as many parts; of the same size, by chance.
    by_size = np.lexsort((order, np.array(sizes))) if slices else order
    return [slices[by_size[int((part + 0.5) * len(slices) / count)]] for part in range(count)]


def dice_on_slices(
    model: TrainedModel, slices: Sequence[HeldOutSlice], watch: Watch, set_weights: Sequence[float] = ()
) -> float:
    """Mean Dice over the structures that the slices, or the predictions on them, show; NaN when they show none.

    A 2D model predicts the slices themselves, in any plane; a final one also gets the pseudo-labels of the cases,
    weighted by `set_weights`. The network is left in eval mode. Raises CancelledError.
    """
    model.network.eval()
    tally = Tally(model.class_count)
    for case, (axis, index) in slices:
        watch.check()
        tally.add(_predicted_slice(model, case, axis, index, watch, set_weights), case, axis, index)
    return tally.dice()


class Tally:
    """Overlap and size of each structure, summed over slices.

    Attributes:
        counts: (classes without background, 2): twice the voxels that prediction and truth share; the voxels of both.
    """

    def __init__(self, class_count: int):
        self.counts = np.zeros((class_count - 1, 2))

    def add(self, predicted: np.ndarray, case: TrainingCase, axis: int, index: int) -> None:
        """Count class indices, (rows, columns), predicted on a drawn slice, for each class where it is decided."""
        decided, truth = case.decided_on(axis, index), case.labels[slice_layer(axis, index)]
        for c in range(1, len(self.counts) + 1):
            known = decided if case.unknown_path is None else decided & ~case.unknown_on(axis, index, c)
            p, t = (predicted == c) & known, (truth == c) & known
            self.counts[c - 1] += (2 * np.count_nonzero(p & t), np.count_nonzero(p) + np.count_nonzero(t))

    def dice(self) -> float:
        """Mean Dice of the structures that prediction or truth show; NaN when they show none."""
        return dice_of_counts(self.counts)


def dice_of_counts(counts: np.ndarray) -> float:
    """See `Tally.dice`; `counts` as there."""
    seen = counts[counts[:, 1] > 0]
    return float((seen[:, 0] / seen[:, 1]).mean()) if len(seen) else math.nan


def predicted_part(
    model: TrainedModel, case: TrainingCase, part: tuple[slice, ...], watch: Watch, set_weights: Sequence[float] = ()
) -> np.ndarray:
    """Class indices of a part of a case's volume, (S, A, R), by one model, a 2D one across all its planes.

    Args:
        part: start and stop along each axis. set_weights: see `dice_on_slices`.
    """
    if model.role == "final":
        return final_classes(model, part_of(case.image, part), *case.pseudo_labels(part), set_weights, watch.quiet())
    return predicted_classes(model, part_of(case.image, part), watch.quiet())


def unpredicted_classes(
    model: TrainedModel, cases: Sequence[TrainingCase], watch: Watch, set_weights: Sequence[float] = ()
) -> list[int]:
    """Class indices that a model does not predict even on the drawn slice that shows most of them, in one patch.

    At most as many as are affordable are looked at, those with the fewest voxels first. Raises CancelledError.
    """
    model.network.eval()
    most: dict[int, tuple[int, TrainingCase, int, int]] = {}
    for case in cases:
        for axis, index in (*case.slices, *case.held_out):
            layer = case.labels[slice_layer(axis, index)]
            counts = np.bincount(layer[case.decided_on(axis, index)].ravel(), minlength=model.class_count)
            for c, count in enumerate(counts.tolist()[: model.class_count]):
                if c and count and (c not in most or count > most[c][0]):
                    most[c] = count, case, axis, index
    missing: list[int] = []
    for c in sorted(most, key=lambda c: most[c][0])[:_CLASSES_AT_MOST]:
        watch.check()
        case, axis, index = most[c][1:]
        part = _patch_around(case, c, axis, index, model.patch)
        in_plane = replace(model, planes=(axis,)) if model.role == "2d" else model
        predicted = predicted_part(in_plane, case, part, watch, set_weights)
        if not (predicted[slice_layer(axis, index - part[axis].start)] == c).any():
            missing.append(c)
    return sorted(missing)


def _patch_around(case: TrainingCase, c: int, axis: int, index: int, patch: tuple[int, ...]) -> tuple[slice, ...]:
    """The patch around a class on a slice; of a 2D patch, within the slice."""
    places = np.argwhere((case.labels[slice_layer(axis, index)] == c) & case.decided_on(axis, index))
    # A voxel of the structure: the middle of a ring, or of pieces far apart, may show nothing of it.
    nearest = np.abs(places - np.median(places, axis=0)).sum(1).argmin()
    centre = np.insert(places[nearest], axis, index).tolist()
    sides = list(patch) if len(patch) == 3 else [*patch[:axis], 1, *patch[axis:]]
    shape = case.shape
    starts = [max(0, min(m - n // 2, size - n)) for m, n, size in zip(centre, sides, shape, strict=True)]
    return tuple(slice(a, min(a + n, size)) for a, n, size in zip(starts, sides, shape, strict=True))


def _predicted_slice(
    model: TrainedModel, case: TrainingCase, axis: int, index: int, watch: Watch, set_weights: Sequence[float]
) -> np.ndarray:
    if model.role != "final":
        return slice_classes(model, case.image, axis, index, watch)
    slab, low = slab_around(case.shape, axis, index, model.patch[axis])
    return predicted_part(model, case, slab, watch, set_weights)[slice_layer(axis, index - low)]
