"""What a person should know of a fill before relying on it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from ..core import SparseAnnotation
from .drawn_stack import drawn_stacks
from .interpolator import Fill

LOW_DICE = 0.7
_MOST_NAMED = 5


def fill_warnings(annotation: SparseAnnotation, fill: Fill, names: Mapping[int, str]) -> list[str]:
    """Sentences about contradicting slices, structures thinner than the gap, and fills that fare badly when tested.

    Args:
        annotation: what was filled. fill: the result. names: the name of each label; its number where it has none.
    """
    sentences = list(fill.warnings)
    stacks = drawn_stacks(annotation)
    stack = max(stacks, key=lambda s: len(s.indices))
    values = annotation.label_values()
    if not values:
        return [*sentences, "All drawn slices are empty, so there is nothing to fill."]
    if len(stack.indices) == 1 and len(stacks) == 1:
        sentences.append(
            "Only one slice is drawn: how the structures go on from there is a guess. Draw at least two more."
        )
    elif len(stacks) == 1:
        once = [v for v in values if sum(v in stack.boxes(index) for index in stack.indices) == 1]
        if once:
            widest = max(after - before for before, after in pairwise(stack.indices))
            sentences.append(
                f"{_listed(once, names)} on one drawn slice only, so thinner than the distance of drawn slices "
                f"({widest * stack.step:.3g} mm at most). Draw slices before and after it."
            )
    low = sorted((s.dice, s.label) for s in fill.scores if fill.methods.get(s.label) == s.method and s.dice < LOW_DICE)
    if low:
        figures = ", ".join(f"'{names.get(label, label)}' {dice:.2f}" for dice, label in low[:_MOST_NAMED])
        more = f" and {len(low) - _MOST_NAMED} more" if len(low) > _MOST_NAMED else ""
        sentences.append(
            f"With half as many slices drawn the fill of these would agree badly with what you drew (Dice): {figures}"
            f"{more}. Look at them, and draw more slices there."
        )
    return sentences


def fill_summary(fill: Fill, names: Mapping[int, str]) -> str:
    """How good the fill would be with drawn slices twice as far apart, as one sentence; '' if it was not measured."""
    chosen = [s for s in fill.scores if fill.methods.get(s.label) == s.method]
    if not chosen:
        return ""
    spacing = sum(s.spacing_mm for s in chosen) / len(chosen)
    figures = ", ".join(
        f"'{names.get(s.label, s.label)}' {s.dice:.2f} ({s.method})" for s in sorted(chosen, key=lambda s: s.label)[:8]
    )
    more = f" and {len(chosen) - 8} more" if len(chosen) > 8 else ""
    return f"Slices {spacing:.3g} mm apart, twice as far as now, would fill to Dice: {figures}{more}."


def _listed(values: list[int], names: Mapping[int, str]) -> str:
    shown = ", ".join(f"'{names.get(v, v)}'" for v in values[:_MOST_NAMED])
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    return f"{shown}{more} {'is' if len(values) == 1 else 'are'}"
