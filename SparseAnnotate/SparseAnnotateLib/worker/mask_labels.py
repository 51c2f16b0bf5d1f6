"""The labels of a mask in the cohort's label values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core import BadInputError
from ..core.cohort_file import COHORT_FILE
from ..core.messages import _, counted, listed
from ..core.voxel_values import label_counts


def in_cohort_values(
    source: np.ndarray, names: Mapping[int, str] | None, given: Mapping[int, int], ours: Mapping[int, str]
) -> np.ndarray:
    """A label map, (K, J, I), with the cohort's values; by name where the file names its labels.

    Args:
        names: of the labels in the file's header, if there are any.
        given: value in the mask to the cohort's value; without them, the names count, or else the values as they are.
        ours: the cohort's label values and names.

    Raises BadInputError, naming the values in the mask that stand for no structure.
    """
    value_of = {name: value for value, name in ours.items()}
    values = list(label_counts(source))
    if given:
        table = given
    elif names is not None:
        table = {value: value_of[name] for value, name in names.items() if name in value_of}
    else:
        table = {value: value for value in ours or values}
    unknown = [value for value in values if value not in table]
    if unknown:
        shown = [f"{value} ('{names[value]}')" if names and value in names else str(value) for value in unknown]
        raise BadInputError(
            counted(
                len(unknown),
                _("It has the label {labels}, which stands for no structure of the cohort. {remedy}"),
                _("It has the labels {labels}, which stand for no structures of the cohort. {remedy}"),
                labels=listed(shown, 10),
                remedy=_(
                    "The cohort has: {known}. Say which structures they are with '--labels VALUE=NAME', for all "
                    "labels of the mask; add them to 'labels' in '{file}'; or, if voxels with this label are "
                    "undecided, give it as '--ignore-label'."
                ).format(
                    known=", ".join(f"{value} = {name}" for value, name in ours.items()) or _("none"),
                    file=COHORT_FILE,
                ),
            )
        )
    if all(table[value] == value for value in values):
        return source
    largest = max(table[value] for value in values)
    lookup = np.zeros(max(values) + 1, dtype=np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16)
    for value in values:
        lookup[value] = table[value]
    labels: np.ndarray = lookup[source]
    return labels
