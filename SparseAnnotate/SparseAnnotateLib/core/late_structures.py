"""Structures that were added after slices had been marked as drawn: they count as absent on those slices."""

from __future__ import annotations

from collections.abc import Mapping

from .annotation import SparseAnnotation
from .ledger import LedgerEntry
from .messages import _, listed
from .planes import slice_layer

_MOST_NAMED = 8


def late_structure_sentences(annotation: SparseAnnotation, names: Mapping[int, str]) -> list[str]:
    """One sentence for each structure that was added after some slices had been marked as drawn.

    Args:
        names: label value to name. Slices that show the structure anyway are not counted.
    """
    sentences: list[str] = []
    for value in annotation.label_values():
        name = names.get(value)
        marked = annotation.ledger.decided_before(name) if name is not None else []
        before = [entry for entry in marked if not _shows(annotation, entry, value)]
        if before:
            slices = listed([f"{entry.plane.value} {entry.index}" for entry in before], _MOST_NAMED)
            if len(before) == 1:
                template = _(
                    "'{name}' was added after {count} slice had been marked as drawn ({slices}), so it counts as "
                    "absent there. If the slice shows it, draw it there; then mark the slice again."
                )
            else:
                template = _(
                    "'{name}' was added after {count} slices had been marked as drawn ({slices}), so it counts as "
                    "absent there. Draw it on those that show it, and mark all of them again."
                )
            sentences.append(template.format(name=name, count=len(before), slices=slices))
    return sentences


def _shows(annotation: SparseAnnotation, entry: LedgerEntry, value: int) -> bool:
    layer = slice_layer(entry.plane.array_axis(annotation.geometry), entry.index)
    return bool((annotation.labels[layer] == value).any())
