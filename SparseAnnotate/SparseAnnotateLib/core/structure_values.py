"""Structures with label values in one numbering, matched by name with those of another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from .voxel_values import label_counts

_FACT = "structures"


def matched_values(theirs: Mapping[int, str], ours: Mapping[int, str]) -> dict[int, int | None]:
    """Our label value of each of their structures, by name.

    A structure that we do not know keeps its value, unless that belongs to another structure here: then None.
    """
    by_name = {name: value for value, name in ours.items()}
    return {value: by_name.get(name, value if value not in ours else None) for value, name in theirs.items()}


def class_values(classes: Sequence[int], theirs: Mapping[int, str], ours: Mapping[int, str]) -> list[int | None]:
    """Our label value of each of a model's classes, whose label values and names are theirs; see `matched_values`."""
    matched = matched_values(theirs, ours)
    return [matched.get(value, value) for value in classes]


def masks_by_value(
    labels: np.ndarray, theirs: Mapping[int, str], ours: Mapping[int, str]
) -> Iterator[tuple[int | None, np.ndarray]]:
    """Our label value, and the voxels, (K, J, I) bool, of each structure in labels with their values."""
    shown = list(label_counts(labels))
    for value, own in zip(shown, class_values(shown, theirs, ours), strict=True):
        yield own, labels == value


def names_as_facts(names: Mapping[int, str]) -> dict[str, str]:
    """The names of a file's labels, to be kept in its header; see `write_image`."""
    return {_FACT: json.dumps({str(value): name for value, name in sorted(names.items())})}


def names_from_facts(facts: Mapping[str, str]) -> dict[int, str] | None:
    """The names of a file's labels; None when it does not tell them."""
    try:
        found = json.loads(facts[_FACT])
        return {int(value): str(name) for value, name in found.items()}
    except (KeyError, ValueError, AttributeError):
        return None
