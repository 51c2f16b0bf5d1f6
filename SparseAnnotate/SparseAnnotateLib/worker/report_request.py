"""The request that reports on a cohort: what is drawn, how long it took, and how good the results are, case by case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import BadInputError, Case, Cohort, Effort, Ledger, Provenance, SliceState, SparseAnnotateError, Watch
from ..core.applied_segmentation import AppliedSegmentation
from ..core.atomic_files import expanded, require_writable, written_atomically
from ..core.drawn_on import ImageChange, changed_images_sentence
from ..core.failed_cases import report_failed
from ..core.images import read_facts, read_labels, require_facts
from ..core.messages import _, joined
from ..core.origin import Origin
from ..core.provenance import NOT_LABELED, filled_by, predicted_by
from ..core.structure_values import masks_by_value, names_from_facts
from ..runs.run_list import RunSummary, run_summaries
from .evaluate_request import EvaluateRequest, OutOfDateError, evaluate

FILL = "fill"
APPLIED = "applied in Slicer"


_UNREADABLE = (
    _("{count} case cannot be read (others in the report: {done}):\n{problems}"),
    _("{count} cases cannot be read (others in the report: {done}):\n{problems}"),
)
_RESULTS_UNREADABLE = (
    _("{count} case, or a result of it, cannot be read (others in the report: {done}):\n{problems}"),
    _("{count} cases, or results of them, cannot be read (others in the report: {done}):\n{problems}"),
)


@dataclass(frozen=True)
class ReportRequest:
    """Write a report on a cohort as one HTML file.

    Attributes:
        path: of the HTML file; '' for report.html in the cohort folder.
        pictures: so many cases are shown in pictures, those with drawn slices first.
    """

    cohort: str
    path: str = ""
    state: str | None = None
    cases: tuple[str, ...] = ()
    pictures: int = 12


@dataclass(frozen=True)
class ResultState:
    """A fill or a prediction of a case.

    Attributes:
        made_by: FILL, APPLIED, or the name of a run. method: of the fill, '' for a run alone.
        change: what has changed since it was made, as a clause; '' when it is up to date.
        dice, undrawn_dice: against the reference, over all voxels and over undrawn ones; None without a reference, or
            when it is out of date.
        sources: number of its labeled voxels by where they come from, see `Provenance`; none when it is out of date.
        problem: why it cannot be read or measured, '' when it can.
    """

    made_by: str
    method: str = ""
    change: str = ""
    dice: float | None = None
    undrawn_dice: float | None = None
    sources: dict[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class CaseReport:
    """One case of the report.

    Attributes:
        problem: why it cannot be read, '' when it can.
        image_change: how its image differs from the one that was drawn on; None when it does not.
    """

    name: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    corrections: int = 0
    results: tuple[ResultState, ...] = ()
    problem: str = ""
    image_change: ImageChange | None = None

    def count(self, *states: SliceState) -> int:
        """How many slices are in one of these states."""
        return sum(entry.state in states for entry in self.ledger.entries)


@dataclass(frozen=True)
class CohortReport:
    """What a report says.

    Attributes:
        effort: of the cases that can be read; None when there is none.
    """

    name: str
    structures: dict[int, str]
    cases: tuple[CaseReport, ...]
    runs: tuple[RunSummary, ...]
    effort: Effort | None


@dataclass(frozen=True)
class Reported:
    """Where the report is, what it counts, and what to read before relying on it."""

    path: str
    cases: int
    drawn: int
    to_do: int
    minutes: float
    unreadable: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def default_path(cohort: Cohort) -> Path:
    """Where the report goes if no path is given."""
    return cohort.state_folder / "report.html"


def report(request: ReportRequest, watch: Watch) -> Reported:
    """Write the report. A case that cannot be read is named in it, and does not stop the others.

    Raises BadInputError when the file does not end with .html, FileWriteError when it cannot be written,
    PartlyDoneError after it was written, when some cases, or results or references of them, cannot be read.
    """
    from .report_page import page
    from .report_pictures import case_picture

    cohort = Cohort.open(request.cohort, request.state)
    path = expanded(request.path) if request.path else default_path(cohort)
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(
            _("The report is an HTML file: give a path that ends with .html, not '{path}'.").format(path=path)
        )
    cases = [cohort.case(name) for name in request.cases] or list(cohort.cases)
    require_writable(path)
    found = cohort_report(cohort, cases, watch.part(0, 2, ""))
    wanted = sorted((case for case in found.cases if not case.problem), key=lambda case: not case.ledger.decided)
    pictures, part = {}, watch.part(1, 2, "")
    for number, case in enumerate(wanted[: max(0, request.pictures)]):
        part.step(number / len(wanted), _("drawing '{case}'").format(case=case.name))
        try:
            pictures[case.name] = case_picture(cohort, case)
        except SparseAnnotateError as error:
            found = _with_problem(found, case.name, error)
    with written_atomically(path) as temporary:
        Path(temporary).write_text(page(found, pictures), encoding="utf-8")
    drawn = sum(case.count(SliceState.DRAWN, SliceState.EMPTY) for case in found.cases if not case.problem)
    minutes = sum(case.ledger.seconds for case in found.cases) / 60
    unreadable = [case.name for case in found.cases if case.problem]
    to_do = sum(case.count(SliceState.TODO) for case in found.cases)
    changes = {case.name: case.image_change for case in found.cases if case.image_change is not None}
    warnings = [changed_images_sentence(changes)] if changes else []
    reported = Reported(str(path), len(found.cases), drawn, to_do, round(minutes, 1), unreadable, warnings)
    problems = {case.name: BadInputError(case.problem) for case in found.cases if case.problem}
    of_results = {case.name: BadInputError(text) for case in found.cases if (text := _problem_of_results(case))}
    if problems or of_results:
        sentences = _RESULTS_UNREADABLE if of_results else _UNREADABLE
        failed = {**problems, **of_results}
        report_failed(failed, len(found.cases) - len(failed), sentences, reported, is_always_partly=True)
    return reported


def _problem_of_results(case: CaseReport) -> str:
    """Why some results of a case are not in the report; '' when all are."""
    return joined(" ", list(dict.fromkeys(result.problem for result in case.results if result.problem)))


def cohort_report(cohort: Cohort, cases: list[Case], watch: Watch) -> CohortReport:
    """The facts of a report."""
    found, grids = [], []
    for number, case in enumerate(cases):
        watch.step(number / max(1, len(cases)), _("reading '{case}'").format(case=case.name))
        try:
            geometry, ledger = cohort.geometry(case.name), cohort.ledger(case.name)
            ledger.check_fits(geometry, _("The ledger of case '{name}'").format(name=case.name))
            corrections = cohort.corrections(case.name)
            count = len(corrections.strokes) if corrections else 0
            change = cohort.image_change(case.name)
            results = tuple(_results(cohort, case))
            found.append(
                CaseReport(case.name, geometry.shape, geometry.spacing, ledger, count, results, image_change=change)
            )
            grids.append((ledger, geometry))
        except SparseAnnotateError as error:
            found.append(CaseReport(case.name, problem=str(error.message)))
    effort = Effort.of(grids) if grids else None
    return CohortReport(cohort.name, cohort.labels, tuple(found), tuple(run_summaries(cohort)), effort)


def _results(cohort: Cohort, case: Case) -> Iterator[ResultState]:
    paths = {FILL: cohort.fill_path(case.name)}
    paths |= {run: cohort.prediction_path(run, case.name) for run in cohort.runs()}
    for made_by, path in paths.items():
        if not path.is_file():
            continue
        try:
            yield _result(cohort, case, made_by, path)
        except SparseAnnotateError as error:
            yield ResultState(made_by, problem=str(error.message))
    try:
        applied = AppliedSegmentation.read(cohort, case.name)
        if applied is not None:
            yield _applied(cohort, case, applied)
    except SparseAnnotateError as error:
        yield ResultState(APPLIED, problem=str(error.message))


def _result(cohort: Cohort, case: Case, made_by: str, path: Path) -> ResultState:
    run = None if made_by == FILL else made_by
    facts, annotation = read_facts(path), cohort.annotation(case.name, on_any_image=True)
    made = Origin.from_facts(facts)
    change = made.changes(cohort.origin(case.name, annotation, run=run or "", since=path))
    state = ResultState(made_by, made.method, str(change))
    if change:
        return state
    source = predicted_by(run) if run is not None else filled_by(made.method)
    labels, names = read_labels(path, annotation.geometry), names_from_facts(facts) or cohort.labels
    require_facts(path, facts)
    provenance = Provenance.of_result(annotation, source, masks_by_value(labels, names, cohort.labels))
    provenance.sources[labels == 0] = NOT_LABELED
    state = replace(state, sources=provenance.counts())
    if case.reference is None:
        return state
    return _measured(cohort, case, state, run=run)


def _measured(cohort: Cohort, case: Case, state: ResultState, **what: Any) -> ResultState:
    """The state of a result with its Dice against the reference."""
    request = EvaluateRequest(str(cohort.folder), state=str(cohort.state_folder), cases=(case.name,), **what)
    try:
        (figures,) = evaluate(request, Watch())
    except OutOfDateError:  # it became so in this moment
        return state
    return replace(state, dice=figures.dice, undrawn_dice=figures.undrawn_dice)


def _applied(cohort: Cohort, case: Case, applied: AppliedSegmentation) -> ResultState:
    """The state of what was applied to a case in Slicer, with what has been drawn since."""
    annotation = cohort.annotation(case.name, on_any_image=True)
    now = cohort.origin(case.name, annotation, since=cohort.applied_path(case.name))
    change = applied.origin.without_annotation().changes(now)
    if change:
        return ResultState(APPLIED, change=str(change))
    whole = applied.with_drawn(annotation)
    whole.provenance.sources[whole.labels == 0] = NOT_LABELED
    state = ResultState(APPLIED, sources=whole.provenance.counts())
    if case.reference is None:
        return state
    return _measured(cohort, case, state, applied=True)


def _with_problem(report: CohortReport, name: str, error: SparseAnnotateError) -> CohortReport:
    cases = (replace(case, problem=str(error.message)) if case.name == name else case for case in report.cases)
    return replace(report, cases=tuple(cases))
