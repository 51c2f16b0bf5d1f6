"""The request that fills between drawn slices: the same for the panel, the logic, the command line and the worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import BadInputError, Cohort, Watch
from ..core.images import write_image
from ..interpolation import (
    AUTO_METHODS,
    AutoInterpolator,
    HiddenScore,
    Interpolator,
    fill_summary,
    fill_warnings,
    interpolator_named,
    pooled,
)

_MOST_MEASURED = 20


@dataclass(frozen=True)
class FillRequest:
    """Fill between drawn slices.

    Attributes:
        cohort, state, cases: which cases; all annotated ones by default.
        method: a registered way to fill.
        methods: what 'auto' may choose from, the simplest first.
        time_limit: seconds for one volume with ITK's filter.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    method: str = "auto"
    methods: tuple[str, ...] = AUTO_METHODS
    time_limit: float = 120.0


@dataclass(frozen=True)
class FillResult:
    """What was filled in one case.

    Attributes:
        case, path, confidence_path: the files written. seconds: it took.
        slices_drawn, density: of the annotation.
        summary: how good the fill would be with half the slices, in one sentence; '' when it was not measured.
        warnings: sentences to read before relying on it.
        labels: for each label its name, the method it was filled with, and the leave-one-out Dice of every method tried.
    """

    case: str
    path: str
    confidence_path: str
    seconds: float
    slices_drawn: int
    density: float
    summary: str = ""
    warnings: list[str] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)


def fill(request: FillRequest, watch: Watch) -> list[FillResult]:
    """Fill the cases asked for, or all annotated ones, into the cohort's fills, with their confidence.

    With 'auto', every method is tried on the drawn slices of up to 20 of the cases, and the best for each structure
    over all of them is taken: one volume alone has few slices to tell by.
    """
    cohort = Cohort.open(request.cohort, request.state)
    names = annotated(cohort, request.cases)
    for name in names:
        cohort.annotation(name).require_labels(name)
    method = _method(request, watch)
    shares = 2 if isinstance(method, AutoInterpolator) else 1
    if isinstance(method, AutoInterpolator):
        method = method.with_scores(_measured(cohort, names, method, Watch.part_of(watch, 0, shares)))
    results = []
    filling = Watch.part_of(watch, shares - 1, shares)
    for number, name in enumerate(names):
        filling.step(number / len(names), f"filling '{name}'")
        results.append(_filled(cohort, name, method, Watch.part_of(filling, number, len(names), f"'{name}': ")))
    return results


def annotated(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """The cases of those names, or all with a drawn slice. Raises BadInputError when there is none."""
    if names:
        return [case.name for case in cohort.select(names)]
    found = cohort.annotated_cases()
    if not found:
        raise BadInputError(
            f"No slice of the cohort '{cohort.name}' has been drawn yet. Draw at least one and mark it as drawn."
        )
    return found


def _method(request: FillRequest, watch: Watch) -> Interpolator:
    if request.time_limit <= 0:
        raise BadInputError(f"The time limit must be more than 0 seconds, not {request.time_limit:g}.")
    if request.method == "auto":
        return AutoInterpolator({name: _named(name, request, watch) for name in request.methods})
    return _named(request.method, request, watch)


def _named(name: str, request: FillRequest, watch: Watch) -> Interpolator:
    method = interpolator_named(name)
    if hasattr(method, "time_limit"):
        method.time_limit = request.time_limit
    return method


def _measured(cohort: Cohort, names: Sequence[str], method: AutoInterpolator, watch: Watch) -> list[HiddenScore]:
    """Leave-one-out over some of the cases, spread evenly over the list."""
    step = max(1, -(-len(names) // _MOST_MEASURED))
    chosen = names[::step]
    scores = []
    for number, name in enumerate(chosen):
        image, _ = _image(cohort, name, method)
        part = Watch.part_of(watch, number, len(chosen), f"'{name}': ")
        scores += method.measure(cohort.annotation(name), image, part)
    return pooled(scores)


def _image(cohort: Cohort, name: str, method: Interpolator):
    """A case's image if the method looks at it, and why there is none though it would like to."""
    if not method.looks_at_image:
        return None, ""
    try:
        return cohort.image(name)[0], ""
    except BadInputError as error:
        if method.needs_image:
            raise
        return None, f"Filled without looking at the image: {error}"


def _filled(cohort: Cohort, name: str, method: Interpolator, watch: Watch) -> FillResult:
    start = time.monotonic()
    annotation = cohort.annotation(name)
    image, problem = _image(cohort, name, method)
    filled = method.fill(annotation, image, annotation.geometry, watch)
    write_image(cohort.fill_confidence_path(name), filled.confidence, annotation.geometry)
    write_image(cohort.fill_path(name), filled.labels, annotation.geometry)
    names = cohort.labels
    labels = [
        {
            "label": value,
            "name": names.get(value, str(value)),
            "method": chosen,
            "hidden_dice": {s.method: s.dice for s in filled.scores if s.label == value},
        }
        for value, chosen in filled.methods.items()
    ]
    return FillResult(
        name,
        str(cohort.fill_path(name)),
        str(cohort.fill_confidence_path(name)),
        round(time.monotonic() - start, 3),
        len(annotation.ledger.decided),
        annotation.density(),
        fill_summary(filled, names),
        [*([problem] if problem else []), *fill_warnings(annotation, filled, names)],
        labels,
    )
