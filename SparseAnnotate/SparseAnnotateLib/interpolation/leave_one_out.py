"""How good a fill is where nobody has drawn: hide drawn slices, fill them from their neighbours, compare.

Every drawn slice but the first and the last is hidden once, every second one at a time, so that its neighbours on both
sides are there: two fills measure them all. The gap across a hidden slice is twice as wide as those to be filled, so
the figures are what the fill would reach if only half as many slices had been drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core import CancelledError, Ledger, Plane, SparseAnnotateError, SparseAnnotation, Watch
from ..core.planes import slice_layer
from .drawn_stack import DrawnStack
from .interpolator import Interpolator
from .label_fields import DrawnSlices

_PRIOR_SLICES = 4


@dataclass(frozen=True)
class HiddenScore:
    """Agreement of one method's fill of one label with the hidden drawn slices.

    Attributes:
        method, label: what was filled, and how.
        both: voxels that fill and drawing share. either: voxels of the fill plus voxels of the drawing.
        slices: hidden slices on which the label was drawn or filled.
        spacing_mm: mean distance of the drawn slices the hidden ones were filled from.
    """

    method: str
    label: int
    both: int
    either: int
    slices: int
    spacing_mm: float

    @property
    def dice(self) -> float:
        """2 both / either, over all hidden slices together."""
        return 2.0 * self.both / self.either if self.either else 1.0


def hidden_scores(
    methods: dict[str, Interpolator], annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
) -> list[HiddenScore]:
    """Leave-one-out of every method on one annotation: one score for each method and label.

    Nothing comes back when fewer than three slices of a plane are drawn: there is none to hide; and nothing for a
    method that fails.
    """
    watch = watch or Watch()
    rounds = list(_rounds(annotation))
    found = []
    for number, (name, method) in enumerate(methods.items()):
        part = Watch.part_of(watch, number, len(methods), f"trying '{name}': ")
        try:
            found += _scores_of(name, method, rounds, annotation, image, part)
        except CancelledError:
            raise
        except SparseAnnotateError:
            continue  # a method that fails here is not to be chosen; the others may do
    return found


def _scores_of(name: str, method: Interpolator, rounds, annotation: SparseAnnotation, image, watch: Watch):
    tallies: dict[int, list[int]] = {value: [0, 0, 0] for value in annotation.label_values()}
    spacings = []
    for number, (stack, hidden, rest) in enumerate(rounds):
        filled = method.fill(rest, image, annotation.geometry, Watch.part_of(watch, number, len(rounds))).labels
        for index in hidden:
            place = stack.indices.index(index)
            spacings.append((stack.indices[place + 1] - stack.indices[place - 1]) * stack.step)
            _count(tallies, annotation.labels, filled, slice_layer(stack.axis, index))
    return [
        HiddenScore(name, value, both, either, slices, float(np.mean(spacings)))
        for value, (both, either, slices) in tallies.items()
        if slices
    ]


def _rounds(annotation: SparseAnnotation) -> Iterator[tuple[DrawnStack, list[int], SparseAnnotation]]:
    """The main stack, which of them are hidden, and the annotation without them; at most two."""
    if not annotation.drawn_by_axis():
        return
    stack = DrawnSlices.of(annotation).main
    plane = next(p for p in Plane if p.array_axis(annotation.geometry) == stack.axis)
    inner = stack.indices[1:-1]
    for hidden in (inner[::2], inner[1::2]):
        if hidden:
            kept = tuple(e for e in annotation.ledger.entries if not (e.plane is plane and e.index in hidden))
            yield stack, hidden, SparseAnnotation(annotation.labels, Ledger(kept), annotation.geometry)


def _count(tallies: dict[int, list[int]], labels: np.ndarray, filled: np.ndarray, layer) -> None:
    truth, guess = labels[layer], filled[layer]
    top = int(max(truth.max(), guess.max())) + 1
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
            old, both=old.both + score.both, either=old.either + score.either, slices=slices, spacing_mm=spacing
        )
    return list(found.values())


def best_methods(scores: Sequence[HiddenScore], labels: Sequence[int], methods: Sequence[str]) -> dict[int, str]:
    """The method to fill each label with, by leave-one-out Dice; where two are equal, the later of `methods`.

    Where some methods have scores, those without any have failed and are not chosen.

    A label that was on few or no hidden slices says little by itself: the figures of all labels together are added to
    its own with the weight of four slices. With no scores at all the last of `methods` is taken.
    """
    total = {name: [0, 0, 0] for name in methods}
    own = {(s.method, s.label): s for s in scores if s.method in total}
    for score in own.values():
        for place, count in enumerate((score.both, score.either, score.slices)):
            total[score.method][place] += count
    if own:
        methods = [name for name in methods if total[name][2]]
    chosen = {}
    for value in labels:
        rank = []
        for number, name in enumerate(methods):
            both, either, slices = total[name]
            weight = _PRIOR_SLICES / max(slices, 1)
            score = own.get((name, value))
            top, bottom = weight * both, weight * either
            if score is not None:
                top, bottom = top + score.both, bottom + score.either
            rank.append((2 * top / bottom if bottom else 0.0, number, name))
        chosen[value] = max(rank)[2]
    return chosen
