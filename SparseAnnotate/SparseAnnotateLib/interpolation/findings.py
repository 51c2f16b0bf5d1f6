"""What users should know about a fill before relying on it, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..core import SparseAnnotation
from ..core.messages import _, joined, listed
from ..core.structure_notes import structure_sentences
from .drawn_stack import DrawnStack
from .interpolator import INTERPOLATORS, Fill, method_label
from .label_fields import DrawnSlices
from .lost_structures import lost_sentences, lost_structures

LOW_DICE = 0.7
_MOST_NAMED = 5
_MOST_SHOWN = 8
_LEAST_SHOWN = 0.05


def fill_warnings(
    annotation: SparseAnnotation, fill: Fill, names: Mapping[int, str], ends: bool = True, is_corrected: bool = False
) -> list[str]:
    """Warnings about contradicting slices, structures thinner than the gap or lost in it, and low leave-one-out scores.

    Args:
        annotation: what was filled. fill: the result. names: the name of each label; its number where it has none.
        ends: whether structures were to be extrapolated past the outermost drawn slices.
        is_corrected: whether corrections are to be spread into the fill.
    """
    sentences = [*fill.warnings]
    structures = structure_sentences(annotation, fill.methods)
    if not annotation.label_values():
        nothing = _("All drawn slices are empty, so there is nothing to fill.")
        if is_corrected:
            nothing = _("All drawn slices are empty, so the fill has only what follows from the corrections.")
        return [*sentences, *([] if fill.methods else [nothing]), *structures]
    sentences += structures
    lost = []
    groups = annotation.structure_groups()
    for values, part in groups:
        sentences += _thin_sentences(part, values, names, groups.is_whole)
        lost += [one for one in lost_structures(part, fill.labels, ends) if one.label in values]
    sentences += lost_sentences(lost, names)
    measured = [s for s in fill.scores if fill.methods.get(s.label) == s.method]
    low = sorted((s.dice, s.label) for s in measured if s.dice < LOW_DICE and _unmeasured_share(fill, s.label) < 0.5)
    if low:
        figures = listed([f"'{names.get(label, label)}' {dice:.2f}" for dice, label in low], _MOST_NAMED)
        sentences.append(
            _(
                "Low leave-one-out Dice for: {figures}. Check these structures, and draw more slices where the fill is "
                "wrong."
            ).format(figures=figures)
        )
    return sentences


def _thin_sentences(
    annotation: SparseAnnotation, values: Sequence[int], names: Mapping[int, str], is_whole: bool
) -> list[str]:
    """On structures that single drawn slices show; `is_whole`: the annotation has all drawn slices."""
    drawn = DrawnSlices.of(annotation)
    stack, stacks = drawn.main, drawn.stacks
    if len(stack.indices) == 1 and len(stacks) == 1:
        if not is_whole:
            text = _(
                "Only one drawn slice is marked for {structures}, so their fill on both sides of it is a guess. Draw "
                "them on at least two more slices, or mark more of the drawn ones for them."
            )
            if len(values) == 1:
                text = _(
                    "Only one drawn slice is marked for {structures}, so its fill on both sides of that slice is a "
                    "guess. Draw it on at least two more slices, or mark more of the drawn ones for it."
                )
            return [text.format(structures=listed([f"'{names.get(v, v)}'" for v in values], _MOST_NAMED))]
        return [
            _("Only one slice is drawn, so the fill on both sides of it is a guess. Draw at least two more slices.")
        ]
    thin = [value for value in values if max(_longest_run(stack, value) for stack in stacks) == 1]
    if not thin:
        return []
    widest = max((after - before for before, after in pairwise(stack.indices)), default=stack.depth)
    text = _(
        "{names} each appear on a single drawn slice but not on its neighbors, so they are thinner than the "
        "spacing of the drawn slices ({spacing:.3g} mm at most). Draw slices before and after each of them."
    )
    if len(thin) == 1:
        text = _(
            "{names} appears on a single drawn slice but not on its neighbors, so it is thinner than the "
            "spacing of the drawn slices ({spacing:.3g} mm at most). Draw slices before and after it."
        )
    shown = listed([f"'{names.get(value, value)}'" for value in thin], _MOST_NAMED)
    return [text.format(names=shown, spacing=widest * stack.step)]


def fill_summary(fill: Fill, names: Mapping[int, str]) -> str:
    """The leave-one-out scores of the fill in one sentence; '' if it was not measured."""
    chosen = sorted((s for s in fill.scores if fill.methods.get(s.label) == s.method), key=lambda s: s.label)
    left = [label for label in sorted(fill.shares) if all(s.label != label for s in chosen) and _is_told(fill, label)]
    others = listed([f"'{names.get(label, label)}' ({shares_text(fill, label)})" for label in left], _MOST_SHOWN)
    if not chosen:
        sources = _("No drawn slice could be hidden to measure the fill. It is from: {sources}.")
        return sources.format(sources=others) if left else ""
    spacing = sum(s.spacing_mm * s.slices for s in chosen) / sum(s.slices for s in chosen)
    figures = listed(
        [f"'{names.get(s.label, s.label)}' {s.dice:.2f} ({shares_text(fill, s.label)})" for s in chosen], _MOST_SHOWN
    )
    text = _(
        "Leave-one-out Dice, with hidden slices filled from neighbors {spacing:.3g} mm apart (twice the usual "
        "spacing): {figures}."
    )
    if any(_unmeasured_share(fill, s.label) > 0 for s in chosen):
        text = _(
            "Leave-one-out Dice of the fill methods alone, with hidden slices filled from neighbors {spacing:.3g} mm "
            "apart (twice the usual spacing): {figures}."
        )
    summary = text.format(spacing=spacing, figures=figures)
    if left:
        summary = joined(" ", [summary, _("Not measured: {sources}.").format(sources=others)])
    return joined(" ", [summary, _("Measured before the last change.")]) if fill.is_updated else summary


def _is_told(fill: Fill, label: int) -> bool:
    """True when a label comes from several sources, or from a run: then the summary names them, measured or not."""
    sources = [name for name, share in fill.shares[label].items() if share >= _LEAST_SHOWN]
    return len(sources) > 1 or any(name not in INTERPOLATORS for name in sources)


def _unmeasured_share(fill: Fill, label: int) -> float:
    """The share of sources in a label's fill that leave-one-out does not measure: of runs."""
    measured = {score.method for score in fill.scores if score.label == label}
    return sum(share for name, share in fill.shares.get(label, {}).items() if name not in measured)


def shares_text(fill: Fill, label: int) -> str:
    """Where a label's fill comes from: 'Random walk 60 %, Shape 40 %', or the only method."""
    shares = {name: share for name, share in fill.shares.get(label, {}).items() if share >= _LEAST_SHOWN}
    if len(shares) < 2:
        return method_label(next(iter(shares), fill.methods.get(label, "")))
    in_order = sorted(shares.items(), key=lambda item: -item[1])
    parts = [_("{method} {share:.0f} %").format(method=method_label(name), share=100 * s) for name, s in in_order]
    return joined(", ", parts)


def _longest_run(stack: DrawnStack, value: int) -> int:
    """The largest number of consecutive drawn slices that show a label."""
    longest = run = 0
    for index in stack.indices:
        run = run + 1 if value in stack.boxes(index) else 0
        longest = max(longest, run)
    return longest
