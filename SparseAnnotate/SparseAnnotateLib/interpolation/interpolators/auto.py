"""The best method for each structure, found by leave-one-out on the drawn slices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...core import BadInputError, SparseAnnotation, Watch
from ...core.messages import _
from ..confidence import scaled
from ..hidden_score import HiddenScore
from ..interpolator import (
    INTERPOLATORS,
    Fill,
    Interpolator,
    InterpolatorEntry,
    auto_methods,
    interpolator_named,
    method_label,
    undemanding_method,
)
from ..label_fields import DrawnSlices
from ..leave_one_out import best_methods, hidden_scores

_DISAGREEING = 0.5


class AutoInterpolator:
    """Fills every label with the method that fills hidden drawn slices best.

    Args:
        methods: the methods to choose from, by name or as objects, the simplest first; by default `auto_methods`.
        scores: leave-one-out scores of these methods measured before, for example on a whole cohort; None: they are
            measured on the annotation that is filled.
    """

    needs_image = False
    uses_image = True

    def __init__(
        self,
        methods: Sequence[str] | dict[str, Interpolator] | None = None,
        scores: Sequence[HiddenScore] | None = None,
    ):
        if methods is None:
            methods = auto_methods()
        if not methods:
            raise BadInputError(_("There is no fill method to choose from; name at least one."))
        if not isinstance(methods, dict):
            methods = {name: interpolator_named(name) for name in methods}
        self._methods = methods
        self._scores = scores

    def with_scores(self, scores: Sequence[HiddenScore]) -> AutoInterpolator:
        """The same methods, with scores that were measured before."""
        return AutoInterpolator(self._methods, scores)

    def measure(
        self, annotation: SparseAnnotation, image: np.ndarray | None, watch: Watch | None = None
    ) -> list[HiddenScore]:
        """Leave-one-out of the methods on one annotation."""
        return hidden_scores(self._usable(image), annotation, image, watch)

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`; without an image, methods that need it are left out."""
        annotation.require_drawn("the volume")
        watch = watch or Watch()
        methods = self._usable(image)
        scores = self._scores
        if scores is None:
            scores = hidden_scores(methods, annotation, image, watch.part(0, 2))
        values = annotation.label_values()
        chosen = best_methods(scores, values, list(methods))
        needed = [name for name in methods if name in chosen.values()] or [next(iter(methods))]
        fills = {}
        for number, name in enumerate(needed):
            part = watch.part(1, 2).part(number, len(needed))
            fills[name] = methods[name].fill(annotation, image, part)
        filled = _joined(fills, chosen, scores, annotation) if len(fills) > 1 else next(iter(fills.values()))
        warnings = tuple(dict.fromkeys(w for fill in fills.values() for w in fill.warnings))
        return Fill(filled.labels, filled.confidence, warnings, chosen, tuple(scores))

    def _usable(self, image: np.ndarray | None) -> dict[str, Interpolator]:
        usable = {name: m for name, m in self._methods.items() if image is not None or not m.needs_image}
        if not usable:
            names = ", ".join(method_label(name) for name in self._methods)
            raise BadInputError(
                _("The chosen fill methods need the image, and there is none: {names}. Use the {other} method.").format(
                    names=names, other=undemanding_method()
                )
            )
        return usable


def _joined(
    fills: dict[str, Fill], chosen: dict[int, str], scores: Sequence[HiddenScore], annotation: SparseAnnotation
) -> Fill:
    """Every label from its own method's fill; where two labels claim a voxel, the one with the higher score gets it.

    Where the fills disagree, the confidence is halved.
    """
    dice = {(s.method, s.label): s.dice for s in scores}
    first = next(iter(fills.values()))
    labels = np.zeros_like(first.labels)
    confidence = first.confidence.copy()
    agree = np.ones(labels.shape, dtype=bool)
    for fill in fills.values():
        np.minimum(confidence, fill.confidence, out=confidence)
        agree &= fill.labels == first.labels
    # The last one written wins: among equals the first in the order of `in_order`, not of the label numbers.
    last_first = [value for value in reversed(DrawnSlices.of(annotation).in_order()) if value in chosen]
    for value in sorted(last_first, key=lambda value: dice.get((chosen[value], value), 0.0)):
        method = chosen[value]
        labels[fills[method].labels == value] = value
    # Where every method shows some label, none shows background: labels of two methods must not leave a gap.
    unfilled = labels == 0
    for fill in fills.values():
        unfilled &= fill.labels > 0
    for method in sorted(fills, key=lambda name: math.fsum(s.dice for s in scores if s.method == name)):
        labels[unfilled] = fills[method].labels[unfilled]
    annotation.restore_drawn(labels)
    doubtful = ~agree & (confidence < 100)
    confidence[doubtful] = scaled(confidence[doubtful], _DISAGREEING)
    return Fill(labels, confidence)


INTERPOLATORS.add(
    InterpolatorEntry(
        name="auto",
        label=_("Automatic"),
        description=_("Tries several methods on hidden drawn slices and keeps the best one for each structure."),
        make=AutoInterpolator,
        chooses=True,
        order=1,
    )
)
