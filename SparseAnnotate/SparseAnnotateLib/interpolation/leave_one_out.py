"""Leave-one-out: drawn slices are hidden, filled from their neighbours by each source, and compared.

Drawn slices but the first and the last are hidden once, every second one at a time, so that their neighbours on both
sides stay. The gap across a hidden slice is twice as wide as those to be filled, so the figures are what the fill would
reach if only half as many slices had been drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core import Ledger, Plane, SparseAnnotation, Watch
from .chance_filling import ChanceSource, each_prepared
from .drawn_stack import DrawnStack, Gap
from .gap_filling import GapInterpolator
from .label_fields import DrawnSlices
from .label_gaps import LabelGap, label_gap
from .mixing import Evidence, mixtures
from .source_failures import failing_alone

# More hidden slices make the figures little better, and take time.
_MOST_HIDDEN = 10


@dataclass(frozen=True, eq=False)
class Round:
    """Slices hidden together.

    Attributes:
        stack: all drawn slices of the plane. hidden: the indices to compare. rest: the annotation without them.
    """

    stack: DrawnStack
    hidden: list[int]
    rest: SparseAnnotation


def rounds(annotation: SparseAnnotation) -> Iterator[Round]:
    """Inner slices of the main stack, each hidden once, in two rounds; of many slices some, spread evenly."""
    if not annotation.drawn_by_axis():
        return
    stack = DrawnSlices.of(annotation).main
    plane = next(p for p in Plane if p.array_axis(annotation.geometry) == stack.axis)
    inner = stack.indices[1:-1]
    count = min(len(inner), _MOST_HIDDEN)
    chosen = {round((n + 0.5) * len(inner) / count - 0.5) for n in range(count)}
    for parity in (0, 1):
        hidden = [index for place, index in enumerate(inner) if place % 2 == parity and place in chosen]
        if hidden:
            kept = tuple(e for e in annotation.ledger.entries if not (e.plane is plane and e.index in hidden))
            yield Round(stack, hidden, replace(annotation, ledger=Ledger(kept)))


def evidence_of(
    sources: Mapping[str, ChanceSource],
    one: Round,
    annotation: SparseAnnotation,
    image: np.ndarray | None,
    watch: Watch,
) -> Evidence:
    """How well mixtures of the sources predict the hidden slices of one round.

    Raises SourceFailedError when one of several sources fails.
    """
    trial = _Trial(sources, one, annotation)
    trial.fill(one.rest, image, watch)
    return trial.evidence()


class _Trial(GapInterpolator):
    """Goes through the gaps like a fill, but only counts how well mixtures predict the hidden slices."""

    def __init__(self, sources: Mapping[str, ChanceSource], one: Round, annotation: SparseAnnotation):
        self._sources, self._round, self._annotation = sources, one, annotation
        self._mixtures = mixtures(len(sources))
        self._lock = threading.Lock()
        self._found: list[Evidence] = []

    def evidence(self) -> Evidence:
        # Sums of whole numbers are exact, whichever thread came first.
        by_label: dict[int, list[Evidence]] = {}
        for one in self._found:
            (value,) = one.counts
            by_label.setdefault(value, []).append(one)
        step = self._round.stack.step
        return Evidence(
            tuple(self._sources),
            {v: np.sum([one.counts[v] for one in every], axis=0) for v, every in by_label.items()},
            {v: sum(one.slices[v] for one in every) for v, every in by_label.items()},
            {v: step * sum(one.spacing_mm[v] for one in every) for v, every in by_label.items()},
        )

    def _drawn_slices(self, annotation: SparseAnnotation) -> DrawnSlices:
        # Without the hidden slices, those of another plane might have become the main ones.
        return DrawnSlices.of(annotation, self._round.stack.axis)

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> list[Any]:
        return list(each_prepared(self._sources, annotation, drawn, image).values())

    def _fill_gap(
        self, drawn: DrawnSlices, gap: Gap, prepared: list[Any], out: np.ndarray, confidence: np.ndarray, watch: Watch
    ) -> None:
        hidden = [index for index in self._round.hidden if gap.first <= index < gap.stop]
        if not hidden:
            return
        truth = {index: self._drawn_on(index) for index in hidden}
        elsewhere = drawn.drawn_elsewhere(gap)
        shown = {v for layer, _decided in truth.values() for v in np.unique(layer).tolist() if v}
        for value in {*drawn.labels_in(gap), *shown}:
            watch.check()
            place = label_gap(drawn, gap, value, out, elsewhere)
            self._count(value, place, drawn, prepared, truth, watch)

    def _drawn_on(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(rows, columns) labels of a hidden slice, and which voxels are decided; None: all."""
        undecided = self._annotation.undecided
        decided = None if undecided is None else ~self._round.stack.moved(undecided)[index]
        layer = self._round.stack.moved(self._annotation.labels)[index]
        return (layer if decided is None else np.where(decided, layer, 0)), decided

    def _count(
        self,
        value: int,
        place: LabelGap | None,
        drawn: DrawnSlices,
        prepared: Sequence[Any],
        truth: Mapping[int, tuple[np.ndarray, np.ndarray | None]],
        watch: Watch,
    ) -> None:
        counts = np.zeros((len(self._mixtures), 2))
        chances: list[np.ndarray] = []
        slices, spacing = 0, 0
        for index, (layer, decided) in truth.items():
            drawn_here = np.count_nonzero(layer == value)
            at = index - place.gap.first - place.slices.start if place is not None else -1
            made = np.zeros(len(self._mixtures))
            if place is not None and 0 <= at < len(place.away):
                if not chances:
                    for (name, source), ready in zip(self._sources.items(), prepared, strict=True):
                        with failing_alone(name, self._sources):
                            chances.append(source.chance(place, drawn, ready, watch))
                each = np.stack([chance[at] for chance in chances]).reshape(len(chances), -1)
                here = np.ones(layer[place.box].shape, dtype=bool) if decided is None else decided[place.box]
                if place.elsewhere is not None:
                    # What is drawn in another plane is known to some sources, and no achievement.
                    here = here & ~place.elsewhere[at]
                each = each * here.ravel()
                drawn_here -= np.count_nonzero((layer[place.box] == value) & ~here)
                predicted = self._mixtures @ each > 0.5
                made = np.count_nonzero(predicted, axis=1)
                counts[:, 0] += np.count_nonzero(predicted & (layer[place.box].ravel() == value), axis=1)
            counts[:, 1] += made + drawn_here
            if drawn_here or made.any():
                slices += 1
                spacing += self._spacing(index)
        if slices:
            found = Evidence(tuple(self._sources), {value: counts}, {value: slices}, {value: spacing})
            with self._lock:
                self._found.append(found)

    def _spacing(self, index: int) -> int:
        """Slices from the drawn slice before a hidden one to the one after it."""
        indices = self._round.stack.indices
        place = indices.index(index)
        return indices[place + 1] - indices[place - 1]
