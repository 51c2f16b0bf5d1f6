"""Which values the voxels of an image or a label map may have, and messages about other values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .errors import BadInputError
from .messages import _
from .voxel_boxes import bounding_box

_ROUNDING = 1e-3  # how far a label stored as a float, or as a scaled integer, may be from a whole number


def labels_from_values(array: np.ndarray, what: str) -> np.ndarray:
    """Any numeric array of whole numbers 0-65535 as uint8 or uint16; otherwise BadInputError, starting with `what`.

    Values within 0.001 of a whole number are rounded: some programs store labels as floating point, or scaled.
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        with np.errstate(invalid="ignore"):
            far = ~(np.abs(array - rounded) <= _ROUNDING)  # NaN and Inf, too
        if far.any():
            place = tuple(int(n) for n in np.unravel_index(int(far.argmax()), far.shape))
            raise BadInputError(
                _(
                    "{what} contains values that are not whole numbers, so it is not a label map: for example "
                    "{value:.6g} at {place} (array index), {count} voxels in all. Is it an image or a probability map? "
                    "Save the labels as whole numbers, and resample them with nearest-neighbor interpolation only."
                ).format(what=what, value=float(array[place]), place=list(place), count=int(far.sum()))
            )
        array = rounded
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise BadInputError(
            _("{what} contains values from {low:g} to {high:g}; labels must be between 0 and 65535.").format(
                what=what, low=float(low), high=float(high)
            )
        )
    return array.astype(np.uint8 if high <= 255 else np.uint16)


def label_counts(labels: np.ndarray) -> dict[int, int]:
    """How many voxels each label other than 0 has in an array of unsigned integers, (K, J, I); layer by layer."""
    counts = np.zeros(1, dtype=np.int64)
    # Counting is much slower than finding where something is.
    box = bounding_box(labels)
    for layer in labels[box] if box is not None else ():
        here = np.bincount(layer.ravel())
        counts = np.pad(counts, (0, max(0, len(here) - len(counts))))
        counts[: len(here)] += here
    return {value: int(counts[value]) for value in np.flatnonzero(counts).tolist() if value}


def values_in(labels: np.ndarray) -> list[int]:
    """Sorted values that occur in an array of uint8 or uint16: several times as fast as `numpy.unique`."""
    seen = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    seen[labels] = True
    return np.flatnonzero(seen).tolist() if labels.size else []


def unnamed_labels_sentence(values: np.ndarray | Iterable[int], names: Mapping[int, str], what: str) -> str | None:
    """A sentence, starting with `what`, about label values that have no name; None when all have one.

    `values`: a label map, or the values in it. `names` (value to name) may be empty: then no label has a name, and
    there is nothing to report.
    """
    found = np.unique(values).tolist() if isinstance(values, np.ndarray) else values
    named = {int(value): name for value, name in names.items() if int(value) != 0}
    missing = sorted({int(value) for value in found} - set(named) - {0})
    if not named or not missing:
        return None
    shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
    known = ", ".join(f"{value} = {name}" for value, name in sorted(named.items()))
    if len(missing) == 1:
        template = _("{what} contains the label value {values}, which is not in the list of labels ({known}).")
    else:
        template = _("{what} contains the label values {values}, which are not in the list of labels ({known}).")
    return template.format(what=what, values=shown, known=known)


class NotNumbersError(BadInputError):
    """An image that can be read, but has voxels that are NaN or Inf."""


def require_finite(array: np.ndarray, what: str, first: int = 0) -> None:
    """Raise NotNumbersError, starting with `what`, when a floating-point array holds NaN or Inf.

    `first` is the index of the array's first slice, when it is part of a larger one.
    """
    if array.dtype.kind != "f":
        return
    # The sum of a slice reveals NaN and Inf without a mask of the size of the volume. In float32 it takes half of the
    # time that it takes in float64; where it overflows, the voxels are looked at.
    dtype = np.promote_types(array.dtype, np.float32)
    for index, layer in enumerate(array, start=first):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(layer.sum(dtype=dtype)) or np.isfinite(layer).all():
                continue
        bad = int((~np.isfinite(layer)).sum())
        raise NotNumbersError(
            _(
                "{what} contains voxels that are not numbers (NaN or Inf): {count} in slice {index} along the first "
                "array axis. Replace them, for example with 'numpy.nan_to_num' or Slicer's 'Simple Filters', "
                "and load it again."
            ).format(what=what, count=bad, index=index)
        )
