"""What the voxels of an image or a label map may be, and sentences on those that are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from .errors import BadInputError
from .messages import _

_ROUNDING = 1e-3  # how far a label stored as a float, or as a scaled integer, may be from a whole number


def labels_from_values(array: np.ndarray, what: str) -> np.ndarray:
    """Any numeric array of whole numbers 0-65535 as uint8 or uint16; BadInputError starting with `what` otherwise.

    Values within 0.001 of a whole number are taken for it: some programs store labels as floating point, or scaled.
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
                    "{what} holds values that are not whole numbers, so it is not a label map: {array:.6g} at "
                    "{place} (array index), for example; {sum} voxels in all. Is it an image, or a map of "
                    "probabilities? Save the labels as whole numbers, and resample them with nearest-neighbour "
                    "interpolation only."
                ).format(what=what, array=array[place], place=list(place), sum=int(far.sum()))
            )
        array = rounded
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise BadInputError(
            _("{what} holds values from {low:g} to {high:g}; labels must be between 0 and 65535.").format(
                what=what, low=low, high=high
            )
        )
    return array.astype(np.uint8 if high <= 255 else np.uint16)


def unnamed_labels_sentence(values: np.ndarray | Iterable[int], names: Mapping[int, str], what: str) -> str | None:
    """A sentence, starting with `what`, on label values that a list of names does not have; None when all are named.

    `values`: a label map, or the values in it. `names` (value to name) may be empty: then nobody has named any label,
    and there is nothing to tell.
    """
    found = np.unique(values).tolist() if isinstance(values, np.ndarray) else values
    named = {int(value): name for value, name in names.items() if int(value) != 0}
    missing = sorted({int(value) for value in found} - set(named) - {0})
    if not named or not missing:
        return None
    shown = ", ".join(map(str, missing[:10])) + (" ..." if len(missing) > 10 else "")
    known = ", ".join(f"{value} = {name}" for value, name in sorted(named.items()))
    value_or_values = "value" if len(missing) == 1 else "values"
    return f"{what} holds the label {value_or_values} {shown}, which the list of labels does not name ({known})."


def require_finite(array: np.ndarray, what: str, first: int = 0) -> None:
    """Raise BadInputError, starting with `what`, when a floating-point array holds NaN or Inf.

    `first` is the index of the array's first slice, when it is part of a larger one.
    """
    if array.dtype.kind != "f":
        return
    # The sum of a slice shows NaN and Inf without a mask the size of the volume.
    for index, layer in enumerate(array, start=first):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(layer.sum(dtype=np.float64)) or np.isfinite(layer).all():
                continue
        bad = int((~np.isfinite(layer)).sum())
        raise BadInputError(
            _(
                "{what} holds voxels that are not numbers (NaN or Inf): {bad} in slice {index} along the first "
                "array axis. Replace them, for example with 'numpy.nan_to_num' or Slicer's 'Simple Filters', "
                "and load it again."
            ).format(what=what, bad=bad, index=index)
        )
