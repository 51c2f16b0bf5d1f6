"""Leave-one-out scores of fill methods: hide drawn slices, fill them from their neighbours, compare.

Every drawn slice but the first and the last is hidden once, every second one at a time, so that its neighbours on both
sides stay: two fills measure them all. The gap across a hidden slice is twice as wide as those to be filled, so
the figures are what the fill would reach if only half as many slices had been drawn.

A method that is best across twice the gap need not be best across the gap itself: methods that use the image win in
wide gaps, shape interpolation in narrow ones. So, where enough slices are drawn, the middle of four gaps is filled as
well, and the error at the gap itself is estimated from how it falls from four gaps to two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core import CancelledError, Ledger, Plane, SparseAnnotateError, SparseAnnotation, Watch
from ..core.messages import _
from ..core.planes import slice_layer
from .drawn_stack import DrawnStack
from .hidden_score import HiddenScore
from .interpolator import Interpolator, method_label
from .label_fields import DrawnSlices

_PRIOR_SLICES = 4
# The full decrease would favour shape interpolation too much: measured on the sets of the benchmark `interpolation`.
_FALLING = 0.4
# With a Dice of less than a tenth on hidden slices a method has found nothing: there is nothing to compare.
_HOPELESS = 0.9


def hidden_scores(
    methods: dict[str, Interpolator], annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
) -> list[HiddenScore]:
    """Leave-one-out of every method on one annotation: one score for each method and label.

    Empty when fewer than three slices of a plane are drawn, because none can be hidden. A method that fails gets no
    score.
    """
    watch = watch or Watch()
    found: list[HiddenScore] = []
    groups = annotation.structure_groups()
    for place, (values, decided) in enumerate(groups):
        rounds, part = list(_rounds(decided)), watch.part(place, len(groups))
        for number, (name, method) in enumerate(methods.items()):
            trying = part.part(number, len(methods), _("trying '{method}': ").format(method=method_label(name)))
            try:
                scores = _scores_of(name, method, rounds, decided, image, trying)
            except CancelledError:
                raise
            except SparseAnnotateError:
                continue  # a method that fails here is not chosen; others may succeed
            found += [score for score in scores if score.label in values]
    return found


@dataclass(frozen=True, eq=False)
class _Round:
    """Slices hidden together: those to compare, the annotation without them, and whether four gaps are bridged."""

    stack: DrawnStack
    compared: list[int]
    rest: SparseAnnotation
    is_far: bool


def _scores_of(
    name: str,
    method: Interpolator,
    rounds: list[_Round],
    annotation: SparseAnnotation,
    image: np.ndarray | None,
    watch: Watch,
) -> list[HiddenScore]:
    near: dict[int, list[int]] = {value: [0, 0, 0] for value in annotation.label_values()}
    far: dict[int, list[int]] = {value: [0, 0, 0] for value in near}
    spacings = []
    for number, hidden in enumerate(rounds):
        part = watch.part(number, len(rounds))
        filled = method.fill(hidden.rest, image, part).labels
        for index in hidden.compared:
            _count(far if hidden.is_far else near, annotation, filled, slice_layer(hidden.stack.axis, index))
            if not hidden.is_far:
                indices = hidden.stack.indices
                place = indices.index(index)
                spacings.append((indices[place + 1] - indices[place - 1]) * hidden.stack.step)
    return [
        HiddenScore(name, value, both, either, slices, float(np.mean(spacings)), *far[value][:2])
        for value, (both, either, slices) in near.items()
        if slices
    ]


def _rounds(annotation: SparseAnnotation) -> Iterator[_Round]:
    """Every inner slice of the main stack hidden once, in two rounds, and every fourth gap's middle in a third."""
    if not annotation.drawn_by_axis():
        return
    stack = DrawnSlices.of(annotation).main
    plane = next(p for p in Plane if p.array_axis(annotation.geometry) == stack.axis)
    inner = stack.indices[1:-1]

    def without(hidden: Sequence[int]) -> SparseAnnotation:
        kept = tuple(e for e in annotation.ledger.entries if not (e.plane is plane and e.index in hidden))
        return replace(annotation, ledger=Ledger(kept))

    for hidden in (inner[::2], inner[1::2]):
        if hidden:
            yield _Round(stack, hidden, without(hidden), False)
    last = (len(stack.indices) - 1) // 4 * 4
    middles = stack.indices[2:last:4]
    if middles:
        yield _Round(stack, middles, without([i for n, i in enumerate(stack.indices[:last]) if n % 4]), True)


def _count(
    tallies: dict[int, list[int]], annotation: SparseAnnotation, filled: np.ndarray, layer: tuple[int | slice, ...]
) -> None:
    truth, guess = annotation.labels[layer], filled[layer]
    if annotation.undecided is not None:
        decided = ~annotation.undecided[layer]
        truth, guess = truth[decided], guess[decided]
    top = int(max(truth.max(initial=0), guess.max(initial=0))) + 1
    drawn, made = np.bincount(truth.ravel(), minlength=top), np.bincount(guess.ravel(), minlength=top)
    both = np.bincount(truth[truth == guess].ravel(), minlength=top)
    for value, tally in tallies.items():
        if value < top and drawn[value] + made[value]:
            tally[0] += int(both[value])
            tally[1] += int(drawn[value] + made[value])
            tally[2] += 1


def pooled(scores: Iterable[HiddenScore]) -> list[HiddenScore]:
    """Scores of several volumes as one for each method and label."""
    found: dict[tuple[str, int], HiddenScore] = {}
    for score in scores:
        key = (score.method, score.label)
        old = found.get(key)
        if old is None:
            found[key] = score
            continue
        slices = old.slices + score.slices
        spacing = (old.spacing_mm * old.slices + score.spacing_mm * score.slices) / slices
        found[key] = replace(
            old,
            both=old.both + score.both,
            either=old.either + score.either,
            slices=slices,
            spacing_mm=spacing,
            far_both=old.far_both + score.far_both,
            far_either=old.far_either + score.far_either,
        )
    return list(found.values())


def best_methods(scores: Sequence[HiddenScore], labels: Sequence[int], methods: Sequence[str]) -> dict[int, str]:
    """The method to fill each label with, by the Dice expected at the actual gaps; of equals the later one.

    The scores of a label on few or no hidden slices mean little: those of all labels together are added with the weight
    of four slices. Where some methods have scores, those without any have failed and are not
    chosen; with no scores at all the last of `methods` is taken.
    """
    own = {(s.method, s.label): s for s in scores if s.method in methods}
    total = {name: np.sum([_counts(s) for s in own.values() if s.method == name], axis=0) for name in methods}
    slices = {name: sum(s.slices for s in own.values() if s.method == name) for name in methods}
    if own:
        methods = [name for name in methods if slices[name]]
    chosen = {}
    for value in labels:
        rank = []
        for number, name in enumerate(methods):
            counts = total[name] * (_PRIOR_SLICES / max(slices[name], 1))
            if (name, value) in own:
                counts = counts + _counts(own[name, value])
            rank.append((-_expected_error(counts), number, name))
        chosen[value] = max(rank)[2]
    return chosen


def _counts(score: HiddenScore) -> np.ndarray:
    return np.array([score.both, score.either, score.far_both, score.far_either], dtype=float)


def _expected_error(counts: np.ndarray) -> float:
    """1 - Dice at the gap itself: it falls from two gaps to one as it has from four to two, but more slowly."""
    if np.ndim(counts) == 0 or not counts[1]:
        return 1.0
    error = 1.0 - 2.0 * counts[0] / counts[1]
    if error > _HOPELESS:
        return 1.0
    far = 1.0 - 2.0 * counts[2] / counts[3] if counts[3] else 0.0
    return float(error * min(error / far, 1.0) ** _FALLING) if far > 0 else float(error)
