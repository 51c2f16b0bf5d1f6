"""Sentences on the structures that drawn slices speak for, and on those that are unknown on some of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .annotation import SparseAnnotation
from .ledger import LedgerEntry
from .messages import _, counted, listed

_MOST_NAMED = 8


def unknown_sentences(annotation: SparseAnnotation, only: Sequence[int] | None = None) -> list[str]:
    """One sentence for each structure that is unknown on some drawn slices, or on all of them.

    Args:
        only: the labels to report on; None: all structures of the annotation.
    """
    decided = annotation.ledger.decided
    sentences: list[str] = []
    for value, name in annotation.names.items() if annotation.has_unknown_structures else ():
        unknown = [e for e in decided if value in annotation.unknown_on(e.plane, e.index)]
        if not unknown or (only is not None and value not in only):
            continue
        slices = listed([_place(entry) for entry in unknown], _MOST_NAMED)
        if len(unknown) == len(decided):
            template = _(
                "No drawn slice says anything about '{name}': all were marked before it was added, or without it. "
                "Draw it on the slices that show it, and mark these again."
            )
        elif len(unknown) == 1:
            template = _(
                "'{name}' is unknown on one drawn slice ({slices}): the slice was marked before it was added, or "
                "without it. Draw it there if the slice shows it, and mark the slice again."
            )
        else:
            template = _(
                "'{name}' is unknown on {count} drawn slices ({slices}): they were marked before it was added, or "
                "without it. Draw it on those that show it, and mark all of them again."
            )
        sentences.append(template.format(name=name, count=len(unknown), slices=slices))
    return sentences


def unrecorded_count(annotation: SparseAnnotation) -> int:
    """How many drawn slices do not record which structures they were marked for, where that could matter.

    Ledgers of earlier versions do not. With a single structure there is no doubt.
    """
    if len(annotation.names) < 2:
        return 0
    return sum(entry.structures is None for entry in annotation.ledger.decided)


def unrecorded_sentence(count: int) -> str:
    """What slices count for that do not record their structures; see `unrecorded_count`."""
    return counted(
        count,
        _(
            "{count} drawn slice does not record which structures it was marked for (its ledger is of an earlier "
            "version, or was imported), so it counts as marked for all structures. If one is missing there, draw it, "
            "and mark the slice again."
        ),
        _(
            "{count} drawn slices do not record which structures they were marked for (their ledger is of an earlier "
            "version, or was imported), so they count as marked for all structures. Where one is missing, draw it, "
            "and mark the slice again."
        ),
    )


def structure_sentences(annotation: SparseAnnotation, known: Collection[int] = ()) -> list[str]:
    """All sentences on one annotation; none on the labels `known` from elsewhere, unless drawn slices show them."""
    count, shown = unrecorded_count(annotation), annotation.label_values()
    unknown = unknown_sentences(annotation, [v for v in annotation.names if v in shown or v not in known])
    return [*unknown, *([unrecorded_sentence(count)] if count else [])]


def _place(entry: LedgerEntry) -> str:
    return f"{entry.plane.value} {entry.index}"
