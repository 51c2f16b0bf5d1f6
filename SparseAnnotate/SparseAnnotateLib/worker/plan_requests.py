"""Requests before and between rounds: what to draw in the time available, and whether to continue drawing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ..core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    SparseAnnotateError,
    VolumeGeometry,
    Watch,
    mean_of_known,
)
from ..core.failed_cases import NONE_PLANNED, NOT_COMPARED, NOT_PLANNED, report_failed
from ..core.images import read_facts, read_labels
from ..core.messages import _, counted
from ..core.metrics import dice
from ..core.origin import Origin, run_fingerprint, stale_sentence
from ..selection import (
    Advice,
    AnnotationPlan,
    PlanSettings,
    StoppingHint,
    cohort_slice_images,
    plan_annotation,
    self_similarity,
    stopping_hint,
    with_measured_seconds,
)
from .measured_times import readable_ledgers

_SAMPLED_CASES = 5
_USUAL_DENSITY = 0.1


@dataclass(frozen=True)
class PlanRequest(PlanSettings):
    """How to spend a budget of slices or minutes; see `plan_annotation`. Default time per slice: the measured one."""

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgreementRequest:
    """How much each run's predictions agree with those of the run before it; runs in the order of the rounds."""

    cohort: str
    runs: tuple[str, ...]
    state: str | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """Mean Dice between the predictions of consecutive runs, and whether to stop drawing.

    Attributes:
        runs: in the order of the rounds. dice: between the first and second, the second and third, ...
        cases: number of cases that all of them have predicted. stop, sentence: see `stopping_hint`.
        empty: for each value of `dice`, the number of cases left out because neither run predicts a structure in them.
    """

    runs: tuple[str, ...]
    dice: tuple[float, ...]
    cases: int
    stop: bool
    sentence: str
    empty: tuple[int, ...] = ()


def plan(request: PlanRequest, watch: Watch) -> AnnotationPlan:
    """A plan with its reasons, and with what could not be determined.

    Raises PartlyDoneError when images of some cases cannot be read; the plan is for the others then.
    """
    cohort = Cohort.open(request.cohort, request.state)
    failed: dict[str, SparseAnnotateError] = {}
    geometries = _readable_geometries(
        cohort, [case.name for case in cohort.chosen(request.cases, with_an_image=True)], failed
    )
    names = list(geometries)
    if failed and not names:
        report_failed(failed, 0, NONE_PLANNED)
    planes = list(dict.fromkeys(request.planes))
    budget = request.budget
    if budget.seconds_per_slice is None:
        budget = with_measured_seconds(budget, readable_ledgers(cohort).values())
    counts = {name: {p: p.slice_count(geometry) for p in planes} for name, geometry in geometries.items()}
    similarity = {}
    if len(planes) > 1 and names:
        fewest = [min(by_plane.values()) for by_plane in counts.values()]
        wanted = min(1.0, budget.planned_total(fewest) / max(1, sum(fewest)))
        similarity = _similarity(cohort, names, planes, max(wanted, _USUAL_DENSITY), watch, failed)
        names = [name for name in names if name not in failed]
        if not names:
            report_failed(failed, 0, NONE_PLANNED)
        counts = {name: counts[name] for name in names}
    found = plan_annotation(counts, budget, request.dimensions, request.target, similarity)
    # With a budget in minutes, or of further slices, it is for slices that are drawn from now on.
    if budget.minutes is None and budget.more is None:
        drawn = 0
        for name in names:
            with suppress(SparseAnnotateError):  # a damaged ledger is named when slices are recommended
                drawn += len(cohort.ledger(name).indices(found.plane))
        found = replace(found, advice=(_drawn_already(drawn), *found.advice)) if drawn else found
    if failed:
        report_failed(failed, len(names), NOT_PLANNED, found)
    return found


def _readable_geometries(
    cohort: Cohort, names: Iterable[str], failed: dict[str, SparseAnnotateError]
) -> dict[str, VolumeGeometry]:
    """The geometry of each case whose image has one; `failed` gets the errors of the others."""
    found = {}
    for name in names:
        try:
            found[name] = cohort.geometry(name)
        except SparseAnnotateError as error:
            failed[name] = error
    return found


def _drawn_already(count: int) -> Advice:
    sentence = counted(
        count,
        _("{count} slice is drawn already and counts: recommending with this budget adds only what is missing."),
        _("{count} slices are drawn already and count: recommending with this budget adds only what is missing."),
    )
    return Advice(sentence, _("what is drawn in the cohort"))


def agreement(request: AgreementRequest, watch: Watch) -> Agreement:
    """Compare the predictions of consecutive runs on the cases that all of them have predicted.

    Raises PartlyDoneError when predictions of some cases cannot be read; the agreement is that on the others then.
    """
    cohort = Cohort.open(request.cohort, request.state)
    if len(request.runs) < 2:
        raise BadInputError(_("Name at least two runs, in the order of the rounds."))
    for run in request.runs:
        cohort.run_folder(run)
    names = [
        case.name
        for case in cohort.chosen(request.cases)
        if all(cohort.prediction_path(run, case.name).is_file() for run in request.runs)
    ]
    if not names:
        raise BadInputError(
            _(
                "No case has predictions of all of these runs: {runs}. Predict the same cases with each of them first."
            ).format(runs=", ".join(request.runs))
        )
    now = {run: Origin(run=run, run_content=run_fingerprint(cohort.run_folder(run))) for run in request.runs}
    failed: dict[str, SparseAnnotateError] = {}
    _require_up_to_date(cohort, names, now, watch, failed)
    by_case: list[list[float | None]] = []
    for number, name in enumerate(names):
        watch.step(0.2 + 0.8 * number / len(names), _("comparing '{case}'").format(case=name))
        if name in failed:
            continue
        try:
            geometry = cohort.geometry(name)
            labels = [read_labels(cohort.prediction_path(run, name), geometry) for run in request.runs]
        except SparseAnnotateError as error:
            failed[name] = error
            continue
        by_case.append([_mean_dice(one, other) for one, other in pairwise(labels)])
    if not by_case:
        report_failed(failed, 0, NOT_COMPARED)
    agreements, empty = [], []
    for (one, other), values in zip(pairwise(request.runs), zip(*by_case, strict=True), strict=True):
        mean = mean_of_known(values)
        if mean is None:
            raise BadInputError(
                _(
                    "Neither '{run}' nor '{other}' predicts any structure in the compared cases, so their agreement is "
                    "meaningless. Train longer, or draw more slices that show structures."
                ).format(run=one, other=other)
            )
        agreements.append(mean)
        empty.append(values.count(None))
    hint: StoppingHint = stopping_hint(tuple(agreements))
    found = Agreement(tuple(request.runs), tuple(agreements), len(by_case), hint.stop, hint.sentence, tuple(empty))
    if failed:
        report_failed(failed, len(by_case), NOT_COMPARED, found)
    return found


def _require_up_to_date(
    cohort: Cohort, names: list[str], now: Mapping[str, Origin], watch: Watch, failed: dict[str, SparseAnnotateError]
) -> None:
    """Raise BadInputError when the image or the run of a prediction has changed since.

    Newly drawn slices do not matter: they are the difference between rounds. `failed` gets the errors of cases of which
    that cannot be found out.
    """
    for number, name in enumerate(names):
        watch.step(0.2 * number / len(names), _("checking '{case}'").format(case=name))
        for run, origin in now.items():
            path = cohort.prediction_path(run, name)
            try:
                made, image = Origin.from_facts(read_facts(path)), cohort.image_since(name, path)
            except SparseAnnotateError as error:
                failed[name] = error
                break
            change = made.without_annotation().changes(replace(origin, image=image))
            if change:
                what = _("prediction by '{run}'").format(run=run)
                raise BadInputError(stale_sentence(what, {name: change}, _("Predict again.")))


def _mean_dice(one: np.ndarray, other: np.ndarray) -> float | None:
    """Mean over all labels that either of them has; None when neither has any label."""
    values = np.union1d(np.unique(one), np.unique(other))
    return mean_of_known(dice(one == v, other == v) for v in values if v)


def _similarity(
    cohort: Cohort, names: list[str], planes, density: float, watch: Watch, failed: dict[str, SparseAnnotateError]
) -> dict[Plane, float]:
    """How alike the slices of some cases are, by plane; `failed` gets the errors of those that cannot be read."""
    sample = [names[i * len(names) // min(_SAMPLED_CASES, len(names))] for i in range(min(_SAMPLED_CASES, len(names)))]
    found = []
    for number, name in enumerate(sample):
        try:
            pictures = cohort_slice_images(cohort, name, planes, watch=watch.part(number, len(sample)))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            failed[name] = error
            continue
        found.append(self_similarity(pictures, density))
    known = {plane: [f[plane] for f in found if np.isfinite(f[plane])] for plane in planes}
    return {plane: float(np.mean(values)) if values else float("nan") for plane, values in known.items()}
