"""The request that fills between drawn slices, used by the panel, the logic, the command line and the worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..core import DEFAULT_DEVICE, BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.images import write_image
from ..core.messages import _
from ..core.origin import run_fingerprint
from ..core.registry import Need, imported
from ..interpolation import (
    DEFAULT_METHOD,
    INTERPOLATORS,
    TIME_LIMIT,
    AutoInterpolator,
    Evidence,
    FinishedFill,
    IncrementalInterpolator,
    Interpolator,
    auto_methods,
    finished_fill,
    pooled,
    usable_image,
)
from .packages import require_packages
from .run_sources import RunSources

_MOST_MEASURED = 20
# The last fill of a single case, for filling only the gaps beside a new slice; no more than one, because of its memory.
_last: dict[tuple[Any, ...], FinishedFill] = {}


@dataclass(frozen=True)
class FillRequest:
    """Fill between drawn slices.

    Attributes:
        cohort, state, cases: which cases; all annotated ones by default.
        method: name of a registered fill method.
        methods: methods that 'auto' mixes, the simplest first.
        time_limit: seconds for one volume with ITK's filter.
        steps: training steps of 'propagation', unless it has learned on these cases already; None: its own default.
        device: for 'propagation', and for predicting with `run`.
        run: a finished run that takes part in 'auto'; '' for none.
        beyond: largest number of slices to fill beyond the outermost drawn ones; None: automatic taper.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    method: str = DEFAULT_METHOD
    methods: tuple[str, ...] = field(default_factory=auto_methods)
    time_limit: float = TIME_LIMIT
    steps: int | None = None
    device: str = DEFAULT_DEVICE
    run: str = ""
    beyond: int | None = None


@dataclass(frozen=True)
class FillResult:
    """What was filled in one case.

    Attributes:
        case, path, confidence_path: the files written; '' for a case that could not be filled. seconds: duration.
        slices_drawn, density: of the annotation.
        summary: one sentence on how good the fill would be with half the slices; '' when it was not measured.
        warnings: sentences to read before relying on the fill.
        labels: for each label its name, the share of every method in it, and the leave-one-out Dice of each of them
            alone and of the mixture ('auto').
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
    """Fill the requested cases, or all annotated ones, and store fills and their confidence in the cohort.

    With 'auto', every method is tried on hidden drawn slices of up to 20 of the cases. Each structure is filled with
    the mixture that is best over all of them: a single volume has too few slices to decide by.
    """
    cohort = Cohort.open(request.cohort, request.state)
    names = annotated(cohort, request.cases)
    if len(names) == 1:
        cohort.annotation(names[0]).require_labels(names[0])
    is_auto = INTERPOLATORS.named(request.method).chooses
    wanted = request.methods if is_auto else (request.method,)
    runs = RunSources(cohort, request) if request.run else None
    parts = (
        "learn" if any(INTERPOLATORS.named(name).learn for name in wanted) else "",
        "predict" if runs is not None else "",
        "measure" if is_auto else "",
        "fill",
    )
    watches = _shared_out(watch, [part for part in parts if part])
    methods = {name: _made(name, request, cohort, names, watches.get("learn")) for name in wanted}
    method: Interpolator
    if is_auto:
        choice = AutoInterpolator(methods)
        # A single case is measured when it is filled, unless its last fill is only updated.
        method = choice
        if runs is not None:
            runs.predict(names, watches["predict"])
        if len(names) > 1:
            method = choice.with_evidence(_measured(cohort, names, choice, watches["measure"]))
    else:
        method = methods[request.method]
    results = []
    filling = watches["fill"]
    for number, name in enumerate(names):
        filling.step(number / len(names), _("filling '{case}'").format(case=name))
        part = filling.part(number, len(names), f"'{name}': ")
        try:
            with_runs = method.with_runs(runs.of(name)) if runs and isinstance(method, AutoInterpolator) else method
            result = _filled(cohort, name, with_runs, part, request)
            results.append(replace(result, warnings=[*(runs.problem_of(name) if runs else []), *result.warnings]))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One case that cannot be filled must not stop the others.
            if len(names) == 1:
                raise
            annotation = cohort.annotation(name)
            drawn = len(annotation.ledger.decided)
            warning = _("Not filled: {problem}").format(problem=error.message)
            results.append(FillResult(name, "", "", 0.0, drawn, annotation.density(), warnings=[warning]))
    return results


def annotated(cohort: Cohort, names: Sequence[str]) -> list[str]:
    """The cases of these names, or all with a drawn slice. Raises BadInputError when there is none."""
    if names:
        return [case.name for case in cohort.select(names)]
    found = cohort.annotated_cases()
    if not found:
        raise BadInputError(
            _(
                "No slice of the cohort '{cohort}' has been drawn yet. Draw at least one slice and mark it as drawn."
            ).format(cohort=cohort.name)
        )
    return found


def _shared_out(watch: Watch, parts: Sequence[str]) -> dict[str, Watch]:
    return {part: watch.part(number, len(parts)) for number, part in enumerate(parts)}


def _made(name: str, request: FillRequest, cohort: Cohort, names: Sequence[str], watch: Watch | None) -> Interpolator:
    if request.time_limit <= 0:
        raise BadInputError(
            _("The time limit must be more than 0 seconds, not {seconds:g}.").format(seconds=request.time_limit)
        )
    entry = INTERPOLATORS.named(name)
    if entry.chooses:
        raise BadInputError(_("'{method}' chooses from other methods and cannot be one of them.").format(method=name))
    if Need.TORCH in entry.needs:
        require_packages(purpose=_("the fill method '{method}'").format(method=name))
    options = {option: getattr(request, option) for option in entry.options}
    if entry.learn is not None:
        return imported(entry.learn)(cohort, names, watch, **options)
    return entry.loaded()(**options)


def _measured(cohort: Cohort, names: Sequence[str], method: AutoInterpolator, watch: Watch) -> list[Evidence]:
    """Leave-one-out over some of the cases, spread evenly over the list."""
    step = max(1, -(-len(names) // _MOST_MEASURED))
    chosen = names[::step]
    evidence: list[Evidence] = []
    for number, name in enumerate(chosen):
        image = usable_image(method, partial(_image, cohort, name))[0]
        part = watch.part(number, len(chosen), f"'{name}': ")
        evidence += method.measure(cohort.annotation(name), image, part)
    return pooled(evidence)


def _image(cohort: Cohort, name: str) -> np.ndarray:
    return cohort.image(name)[0]


def _filled(cohort: Cohort, name: str, method: Interpolator, watch: Watch, request: FillRequest) -> FillResult:
    start = time.monotonic()
    annotation = cohort.annotation(name)
    names = cohort.labels
    # Taken before the work, so that changes during it are noticed later.
    facts = cohort.origin(name, annotation, method=request.method, run=request.run).facts()
    image_of = partial(_image, cohort, name)
    # The fill depends on the image: when its voxels have changed, the last fill cannot be reused.
    content = run_fingerprint(cohort.run_folder(request.run)) if request.run else ""
    image = cohort.image_fingerprint(name)
    key = (str(cohort.folder), request.state, name, request.method, request.beyond, image, request.run, content)
    previous = _last.pop(key, None)
    _last.clear()
    done = finished_fill(method, annotation, image_of, names, watch, previous, request.beyond)
    if isinstance(method, IncrementalInterpolator) and request.cases == (name,):
        _last[key] = done
    filled = done.fill
    write_image(cohort.fill_confidence_path(name), filled.confidence, annotation.geometry, facts=facts)
    write_image(cohort.fill_path(name), filled.labels, annotation.geometry, facts=facts)
    labels = [
        {
            "label": value,
            "name": names.get(value, str(value)),
            "method": chosen,
            "shares": {method: round(share, 3) for method, share in filled.shares.get(value, {}).items()},
            "hidden_dice": {s.method: s.dice for s in filled.scores if s.label == value},
        }
        for value, chosen in filled.methods.items()
    ]
    return FillResult(
        case=name,
        path=str(cohort.fill_path(name)),
        confidence_path=str(cohort.fill_confidence_path(name)),
        seconds=round(time.monotonic() - start, 3),
        slices_drawn=len(annotation.ledger.decided),
        density=annotation.density(),
        summary=done.summary,
        warnings=list(done.warnings),
        labels=labels,
    )
