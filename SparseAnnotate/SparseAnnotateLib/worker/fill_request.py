"""The request that fills between drawn slices: the same for the panel, the logic, the command line and the worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.images import write_image
from ..core.registry import Need, imported
from ..interpolation import (
    AUTO_METHODS,
    DEFAULT_METHOD,
    INTERPOLATORS,
    TIME_LIMIT,
    AutoInterpolator,
    HiddenScore,
    Interpolator,
    finished_fill,
    pooled,
    usable_image,
)
from .packages import require_packages

_MOST_MEASURED = 20


@dataclass(frozen=True)
class FillRequest:
    """Fill between drawn slices.

    Attributes:
        cohort, state, cases: which cases; all annotated ones by default.
        method: a registered way to fill.
        methods: what 'auto' may choose from, the simplest first.
        time_limit: seconds for one volume with ITK's filter.
        steps: in which 'propagation' learns, when it has not learned on these cases yet; None: its own default.
        device: that it uses.
        beyond: how many slices beyond the outermost drawn ones are filled at most; None: as the shapes end.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    methods: tuple[str, ...] = AUTO_METHODS
    time_limit: float = TIME_LIMIT
    steps: int | None = None
    device: str = "auto"
    beyond: int | None = None


@dataclass(frozen=True)
class FillResult:
    """What was filled in one case.

    Attributes:
        case, path, confidence_path: the files written; '' for a case that could not be filled. seconds: it took.
        slices_drawn, density: of the annotation.
        summary: how good the fill would be with half the slices, in one sentence; '' when it was not measured.
        warnings: sentences to read before relying on it.
        labels: for each label its name, the method that filled it, and the leave-one-out Dice of every method tried.
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
    if len(names) == 1:
        cohort.annotation(names[0]).require_labels(names[0])
    is_auto = INTERPOLATORS.named(request.method).chooses
    wanted = request.methods if is_auto else (request.method,)
    parts = (
        "learn" if any(INTERPOLATORS.named(name).learn for name in wanted) else "",
        "measure" if is_auto else "",
        "fill",
    )
    watches = _shared_out(watch, [part for part in parts if part])
    methods = {name: _made(name, request, cohort, names, watches.get("learn")) for name in wanted}
    method: Interpolator
    if is_auto:
        choice = AutoInterpolator(methods)
        method = choice.with_scores(_measured(cohort, names, choice, watches["measure"]))
    else:
        method = methods[request.method]
    results = []
    filling = watches["fill"]
    for number, name in enumerate(names):
        filling.step(number / len(names), f"filling '{name}'")
        part = filling.part(number, len(names), f"'{name}': ")
        try:
            results.append(_filled(cohort, name, method, part, request))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One bad case must not keep the others from being filled.
            if len(names) == 1:
                raise
            annotation = cohort.annotation(name)
            drawn = len(annotation.ledger.decided)
            results.append(
                FillResult(name, "", "", 0.0, drawn, annotation.density(), warnings=[f"Not filled: {error}"])
            )
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


def _shared_out(watch: Watch, parts: Sequence[str]) -> dict[str, Watch]:
    return {part: watch.part(number, len(parts)) for number, part in enumerate(parts)}


def _made(name: str, request: FillRequest, cohort: Cohort, names: Sequence[str], watch: Watch | None) -> Interpolator:
    if request.time_limit <= 0:
        raise BadInputError(f"The time limit must be more than 0 seconds, not {request.time_limit:g}.")
    entry = INTERPOLATORS.named(name)
    if entry.chooses:
        raise BadInputError(f"'{name}' chooses from other methods and cannot be one of them.")
    if Need.TORCH in entry.needs:
        require_packages(what=f"Filling by {name}")
    options = {option: getattr(request, option) for option in entry.options}
    if entry.learn is not None:
        return imported(entry.learn)(cohort, names, watch, **options)
    return entry.loaded()(**options)


def _measured(cohort: Cohort, names: Sequence[str], method: AutoInterpolator, watch: Watch) -> list[HiddenScore]:
    """Leave-one-out over some of the cases, spread evenly over the list."""
    step = max(1, -(-len(names) // _MOST_MEASURED))
    chosen = names[::step]
    scores: list[HiddenScore] = []
    for number, name in enumerate(chosen):
        image, _ = usable_image(method, partial(_image, cohort, name))
        part = watch.part(number, len(chosen), f"'{name}': ")
        scores += method.measure(cohort.annotation(name), image, part)
    return pooled(scores)


def _image(cohort: Cohort, name: str) -> np.ndarray:
    return cohort.image(name)[0]


def _filled(cohort: Cohort, name: str, method: Interpolator, watch: Watch, request: FillRequest) -> FillResult:
    start = time.monotonic()
    annotation = cohort.annotation(name)
    names = cohort.labels
    # Before the work, so that what changes during it shows afterwards.
    facts = cohort.origin(name, annotation, method=request.method).facts()
    image_of = partial(_image, cohort, name)
    done = finished_fill(method, annotation, image_of, names, watch, beyond=request.beyond)
    filled = done.fill
    write_image(cohort.fill_confidence_path(name), filled.confidence, annotation.geometry, facts=facts)
    write_image(cohort.fill_path(name), filled.labels, annotation.geometry, facts=facts)
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
        done.summary,
        list(done.warnings),
        labels,
    )
