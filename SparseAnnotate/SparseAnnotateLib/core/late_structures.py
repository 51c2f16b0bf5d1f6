"""Structures that were added after slices had been marked as drawn: on those slices they count as absent."""

from __future__ import annotations

from collections.abc import Mapping

from .annotation import SparseAnnotation
from .ledger import LedgerEntry
from .planes import slice_layer

_MOST_NAMED = 8


def late_structure_sentences(annotation: SparseAnnotation, names: Mapping[int, str]) -> list[str]:
    """One sentence for each structure that drawn slices say nothing of, because they were marked before it existed.

    Args:
        names: label value to name. Slices that show the structure all the same are not counted.
    """
    sentences = []
    for value in annotation.label_values():
        name = names.get(value)
        marked = annotation.ledger.decided_before(name) if name is not None else []
        before = [entry for entry in marked if not _shows(annotation, entry, value)]
        if before:
            shown = ", ".join(f"{entry.plane.value} {entry.index}" for entry in before[:_MOST_NAMED])
            more = ", ..." if len(before) > _MOST_NAMED else ""
            slices = "1 slice" if len(before) == 1 else f"{len(before)} slices"
            sentences.append(
                f"'{name}' was added after {slices} had been marked as drawn ({shown}{more}), so it counts as absent "
                "there. Draw it on those that show it, and mark all of them again."
            )
    return sentences


def _shows(annotation: SparseAnnotation, entry: LedgerEntry, value: int) -> bool:
    layer = slice_layer(entry.plane.array_axis(annotation.geometry), entry.index)
    return bool((annotation.labels[layer] == value).any())
