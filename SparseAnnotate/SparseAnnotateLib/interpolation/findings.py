"""What a person should know of a fill before relying on it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from ..core import SparseAnnotation
from ..core.late_structures import late_structure_sentences
from ..core.messages import listed
from .drawn_stack import DrawnStack
from .interpolator import Fill
from .label_fields import DrawnSlices
from .lost_structures import lost_sentences, lost_structures

LOW_DICE = 0.7
_MOST_NAMED = 5
_MOST_SHOWN = 8


def fill_warnings(annotation: SparseAnnotation, fill: Fill, names: Mapping[int, str], ends: bool = True) -> list[str]:
    """Sentences about contradicting slices, structures thinner than the gap or lost in it, and fills that test badly.

    Args:
        annotation: what was filled. fill: the result. names: the name of each label; its number where it has none.
        ends: whether it was to be filled beyond the outermost drawn slices as far as the structures go.
    """
    sentences = [*fill.warnings, *late_structure_sentences(annotation, names)]
    drawn = DrawnSlices.of(annotation)
    stack, stacks = drawn.main, drawn.stacks
    values = annotation.label_values()
    if not values:
        return [*sentences, "All drawn slices are empty, so there is nothing to fill."]
    if len(stack.indices) == 1 and len(stacks) == 1:
        sentences.append(
            "Only one slice is drawn: how the structures go on from there is a guess. Draw at least two more."
        )
    else:
        thin = [value for value in values if max(_longest_run(stack, value) for stack in stacks) == 1]
        if thin:
            widest = max((after - before for before, after in pairwise(stack.indices)), default=stack.depth)
            sentences.append(
                f"{_that_are(thin, names)} on one drawn slice and not on those beside it, so thinner than the distance "
                f"of drawn slices ({widest * stack.step:.3g} mm at most). Draw slices before and after it."
            )
    sentences += lost_sentences(lost_structures(annotation, fill.labels, ends), names)
    low = sorted((s.dice, s.label) for s in fill.scores if fill.methods.get(s.label) == s.method and s.dice < LOW_DICE)
    if low:
        figures = listed([f"'{names.get(label, label)}' {dice:.2f}" for dice, label in low], _MOST_NAMED)
        sentences.append(
            f"On hidden drawn slices the fill of these is bad (Dice): {figures}. Look at them, and draw more "
            "slices there."
        )
    return sentences


def fill_summary(fill: Fill, names: Mapping[int, str]) -> str:
    """How good the fill is on hidden drawn slices, as one sentence; '' if it was not measured."""
    chosen = sorted((s for s in fill.scores if fill.methods.get(s.label) == s.method), key=lambda s: s.label)
    if not chosen:
        return ""
    spacing = sum(s.spacing_mm * s.slices for s in chosen) / sum(s.slices for s in chosen)
    figures = listed([f"'{names.get(s.label, s.label)}' {s.dice:.2f} ({s.method})" for s in chosen], _MOST_SHOWN)
    return (
        f"On hidden drawn slices, filled from neighbours {spacing:.3g} mm apart (twice the usual distance), the fill "
        f"reaches Dice: {figures}."
    )


def _longest_run(stack: DrawnStack, value: int) -> int:
    """How many drawn slices in a row show a label, at most."""
    longest = run = 0
    for index in stack.indices:
        run = run + 1 if value in stack.boxes(index) else 0
        longest = max(longest, run)
    return longest


def _that_are(values: list[int], names: Mapping[int, str]) -> str:
    shown = listed([f"'{names.get(v, v)}'" for v in values], _MOST_NAMED)
    return f"{shown} {'is' if len(values) == 1 else 'are'}"
