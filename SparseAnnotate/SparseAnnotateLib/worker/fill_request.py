"""The request that fills between drawn slices, used by the panel, the logic, the command line and the worker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import DEFAULT_DEVICE, BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.atomic_files import require_writable_folders_of
from ..core.failed_cases import NOT_FILLED, report_failed
from ..core.messages import _
from ..interpolation import DEFAULT_METHOD, TIME_LIMIT, auto_methods
from .answers import Answers, require_choosing, with_readable_drawings
from .packages import require_packages
from .run_sources import RunSources


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
        earlier: stored results of the cases that take part in 'auto': 'fill', or the names of runs or of imported
            predictions.
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
    earlier: tuple[str, ...] = ()
    beyond: int | None = None


@dataclass(frozen=True)
class FillResult:
    """What was filled in one case.

    Attributes:
        case, path, confidence_path: the files written. seconds: duration.
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

    Raises PartlyDoneError when some cases could not be filled, after the others have been.
    """
    cohort = Cohort.open(request.cohort, request.state)
    failed: dict[str, SparseAnnotateError] = {}
    names = _annotated(cohort, request.cases, failed)
    require_writable_folders_of(of(name) for of in (cohort.fill_path, cohort.fill_confidence_path) for name in names)
    refused: dict[str, SparseAnnotateError] = {}  # named when the case is filled
    usable = _usable(cohort, names, watch, refused)
    if not usable:
        if not failed and len(cohort.image_changes(names, watch)) == len(names):
            cohort.require_images_drawn_on(names, watch)  # all in one sentence
        report_failed({**failed, **refused}, 0, NOT_FILLED)
    if len(names) == 1 and not request.run:
        cohort.annotation(names[0]).require_labels(names[0])
    runs = None
    if request.run or request.earlier:
        require_choosing(request.method)
    if request.run:
        require_packages()
        from ..learning.prediction.predictor import Predictor

        runs = RunSources(cohort, Predictor(cohort, request.run, request.device), request.run)
    # From a case that was drawn on another image nothing is learned for the others.
    answers = Answers(cohort, request, usable, runs, watch)
    results, filling = [], answers.watch
    for number, name in enumerate(names):
        filling.step(number / len(names), _("filling '{case}'").format(case=name))
        part = filling.part(number, len(names), f"'{name}': ")
        try:
            results.append(_filled(cohort, answers, name, part))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One case that cannot be filled must not stop the others.
            failed[name] = error
    if failed:
        report_failed(failed, len(results), NOT_FILLED, results)
    return results


def _filled(cohort: Cohort, answers: Answers, name: str, watch: Watch) -> FillResult:
    """Fill one case and store it. Raises BadInputError, FileWriteError."""
    start = time.monotonic()
    answer = answers.of(name, watch)
    path, confidence_path = cohort.fill_path(name), cohort.fill_confidence_path(name)
    answer.write(path, confidence_path)
    return FillResult(
        case=name,
        path=str(path),
        confidence_path=str(confidence_path),
        seconds=round(time.monotonic() - start, 3),
        slices_drawn=len(answer.annotation.ledger.decided),
        density=answer.annotation.density(),
        summary=answer.done.summary,
        warnings=list(answer.done.warnings),
        labels=answer.labels(),
    )


def _usable(cohort: Cohort, names: Sequence[str], watch: Watch, refused: dict[str, SparseAnnotateError]) -> list[str]:
    """Those cases whose drawings and images can be read, and belong to each other, as far as that is known.

    `refused` gets the errors of the others.
    """
    refused |= cohort.images_not_drawn_on(names, watch)
    return with_readable_drawings(cohort, [name for name in names if name not in refused], refused)


def _annotated(cohort: Cohort, names: Sequence[str], failed: dict[str, SparseAnnotateError]) -> list[str]:
    """The cases of these names, or all with a drawn slice; `failed` gets the errors of those that cannot be read.

    Raises BadInputError when there is none.
    """
    if names:
        return [case.name for case in cohort.chosen(names, with_an_image=True)]
    found = cohort.annotated_cases(failed=failed)
    if failed and not found:
        report_failed(failed, 0, NOT_FILLED)
    if not found:
        raise BadInputError(
            _(
                "No slice of the cohort '{cohort}' has been drawn yet. Draw at least one slice and mark it as drawn."
            ).format(cohort=cohort.name)
        )
    return found
