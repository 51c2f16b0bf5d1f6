"""Structures that a fill has lost: drawn on slices beside a gap, and missing from slices within it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..core import Plane, SparseAnnotation
from ..core.messages import _, counted, joined
from .drawn_stack import FOREGROUND, DrawnStack, Gap, drawn_stacks

_MOST_GAPS = 8
_MOST_STRUCTURES = 20


@dataclass(frozen=True)
class LostStructure:
    """A structure that is drawn beside a gap and missing from slices within it.

    Attributes:
        label: which. plane: of the slices.
        before, after: the drawn slices beside the gap; None where the gap is at the end of the volume.
        missing: number of undrawn slices of the gap without it. count: number of undrawn slices.
    """

    label: int
    plane: Plane
    before: int | None
    after: int | None
    missing: int
    count: int


def lost_structures(annotation: SparseAnnotation, labels: np.ndarray, ends: bool = True) -> list[LostStructure]:
    """Every structure and gap in which the filled `labels`, (K, J, I), have lost it.

    Between two drawn slices that both show a structure it must be on every slice; beyond the outermost drawn slice, if
    that shows it and `ends` are checked, on at least one.
    """
    plane_of = {plane.array_axis(annotation.geometry): plane for plane in Plane}
    found = []
    for stack in drawn_stacks(annotation):
        layers = stack.moved(labels)
        for gap in (gap for gap in stack.gaps() if ends or not gap.is_end):
            for label in _shown_beside(stack, gap):
                missing = _missing(stack, gap, label, layers)
                if missing and (not gap.is_end or missing == gap.count):
                    lost = LostStructure(label, plane_of[stack.axis], gap.before, gap.after, missing, gap.count)
                    found.append(lost)
    return sorted(found, key=lambda lost: lost.label)


def lost_sentences(lost: list[LostStructure], names: Mapping[int, str]) -> list[str]:
    """What has been lost, where, and what to do: a sentence or two for each structure."""
    sentences: list[str] = []
    structures = list(dict.fromkeys(one.label for one in lost))
    for label in structures[:_MOST_STRUCTURES]:
        name = names.get(label, str(label))
        between = [one for one in lost if one.label == label and None not in (one.before, one.after)]
        beyond = [one for one in lost if one.label == label and None in (one.before, one.after)]
        if between:
            sentences.append(
                _(
                    "'{name}' is missing from the fill between drawn slices that both show it: {places}. Its outlines "
                    "there are too far apart, or too thin, to be connected. Draw a slice in between."
                ).format(name=name, places=_listed(between))
            )
        if beyond:
            sentences.append(
                _(
                    "'{name}' is on the outermost drawn slice, but the fill does not extend it: {places}. Draw a slice "
                    "there if the structure continues."
                ).format(name=name, places=_listed(beyond))
            )
    if len(structures) > _MOST_STRUCTURES:
        sentences.append(
            counted(
                len(structures) - _MOST_STRUCTURES,
                _("{count} more structure is missing from parts of the fill."),
                _("{count} more structures are missing from parts of the fill."),
            )
        )
    return sentences


def _shown_beside(stack: DrawnStack, gap: Gap) -> Iterator[int]:
    """The labels on all drawn slices beside a gap."""
    shown = set.intersection(*(set(stack.boxes(index)) for index in gap.neighbours))
    return iter(sorted(shown - {FOREGROUND}))


def _missing(stack: DrawnStack, gap: Gap, label: int, layers: np.ndarray) -> int:
    """The number of slices of a gap without the label."""
    # Most are found near where they are drawn, which is faster than searching whole slices.
    box = stack.boxes(gap.neighbours[0])[label]
    near = (layers[(slice(gap.first, gap.stop), *box)] == label).any(axis=(1, 2))
    return sum(not (layers[gap.first + number] == label).any() for number in np.flatnonzero(~near).tolist())


def _listed(lost: list[LostStructure]) -> str:
    shown = joined(", ", [_place(one) for one in lost[:_MOST_GAPS]])
    if len(lost) <= _MOST_GAPS:
        return shown
    return _("{places} and {count} more").format(places=shown, count=len(lost) - _MOST_GAPS)


def _place(lost: LostStructure) -> str:
    plane = lost.plane.value
    if lost.before is None:
        return _("before {plane} slice {index}").format(plane=plane, index=lost.after)
    if lost.after is None:
        return _("after {plane} slice {index}").format(plane=plane, index=lost.before)
    return _("{plane} slices {before} and {after} ({missing} of {count} between)").format(
        plane=plane, before=lost.before, after=lost.after, missing=lost.missing, count=lost.count
    )
