"""The request that compares fills and predictions with reference labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import (
    BadInputError,
    CancelledError,
    Cohort,
    SparseAnnotateError,
    SparseAnnotation,
    Watch,
    compare_labels,
    metrics,
)
from ..core.applied_segmentation import AppliedSegmentation
from ..core.atomic_files import expanded, require_writable
from ..core.drawn_on import changed_images_sentence
from ..core.failed_cases import NOT_COMPARED, PartlyDoneError, report_failed
from ..core.images import read_facts, read_labels, require_facts
from ..core.messages import _, counted, joined, listed
from ..core.origin import Origin, run_fingerprint, stale_sentence
from ..interpolation import INTERPOLATORS
from .figures_file import write_figures


@dataclass(frozen=True)
class EvaluateRequest:
    """Compare with the reference labels: the predictions of `run`, or the fill when no run is named.

    Attributes:
        applied: compare what was applied in Slicer, with what has been drawn since.
        batched_iou: also compute the IoU of each structure over all these cases together.
        tolerance: in mm; also compute the normalized surface Dice at it.
        csv: write the figures to this file, a row for each case and structure; see `write_figures`. It has no rows when
            no result counts.
        include_stale: also compare results that are out of date, as they are.
    """

    cohort: str
    run: str | None = None
    state: str | None = None
    cases: tuple[str, ...] = ()
    batched_iou: bool = False
    tolerance: float | None = None
    csv: str | None = None
    applied: bool = False
    include_stale: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Agreement of one case with its reference.

    Attributes:
        dice: mean Dice over all voxels, drawn ones included, of the structures that the result or the reference has;
            None when neither has any.
        undrawn_dice: the same over the undrawn voxels only.
        hd95_mm: mean 95 % Hausdorff distance in mm; infinite (in JSON: null, while `dice` is a number) when a structure
            is in only one of them.
        slices_drawn, density: of the annotation that the result was made from.
        iou: mean IoU, as for `dice`.
        hvsmr_score: overall score of the HVSMR 2016 challenge, over the structures that the result or the reference
            has; minus infinity (in JSON: null) with an infinite distance.
        rand_f_score: adapted Rand F-score of the connected pieces of all structures.
        surface_dice: mean normalized surface Dice, as for `dice`; None when not asked for.
        labels: figures of each structure, see `LabelFigures`; on request with its `batched_iou` over all cases.
        absent: names of the structures that neither has; they are left out of the means.
        stale: what has changed since the result was made; '' when nothing has.
        notes: sentences with further information about the figures.
        answer: True for a run's result in which drawn slices and fill took part; see `PredictRequest`.
        refused: why the result counts in no table, mean or CSV file: it is out of date, and then its figures are those
            of the time when it was made, or it cannot be read, and then there are none; '' when it counts.
    """

    case: str
    dice: float | None
    undrawn_dice: float | None
    hd95_mm: float | None
    slices_drawn: int
    density: float
    iou: float | None = None
    hvsmr_score: float | None = None
    rand_f_score: float | None = None
    surface_dice: float | None = None
    labels: list[dict[str, Any]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    stale: str = ""
    notes: list[str] = field(default_factory=list)
    answer: bool = False
    refused: str = ""


class OutOfDateError(PartlyDoneError):
    """Results made from other drawings, images or models than the cohort has now; `shown` holds all Evaluations."""


def evaluate(request: EvaluateRequest, watch: Watch) -> list[Evaluation]:
    """Figures of every case that has both a result and a reference.

    Raises:
        BadInputError: when there is no such case, or a requested case lacks one of them. FileWriteError: the CSV file
            cannot be written.
        OutOfDateError: after the others were compared, when slices were drawn, an image replaced or a run trained again
            after a result was made. PartlyDoneError: as well, when results could not be read.
    """
    if request.tolerance is not None and not (request.tolerance >= 0 and math.isfinite(request.tolerance)):
        raise BadInputError(
            _("The tolerance is a distance of 0 mm or more, not {value:g}.").format(value=request.tolerance)
        )
    if request.run and request.applied:
        raise BadInputError(_("Compare either the predictions of a run or what was applied, not both."))
    cohort = Cohort.open(request.cohort, request.state)
    cases = _cases(cohort, request)
    if request.csv is not None:
        require_writable(expanded(request.csv))
    run_content = run_fingerprint(cohort.run_folder(request.run)) if request.run else ""
    results, failed = [], {}
    for number, name in enumerate(cases):
        watch.step(number / len(cases), _("measuring '{case}'").format(case=name))
        try:
            results.append(_compared(cohort, request, run_content, name))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            failed[name] = error
            results.append(Evaluation(name, None, None, None, 0, 0.0, refused=error.message))
    compared = [result for result in results if not result.refused]
    if request.batched_iou:
        _add_batched_iou(compared)
    if request.csv is not None:
        # Without any figures, too: those of an earlier comparison must not be taken for these.
        write_figures(expanded(request.csv), compared)
    if failed:
        failed |= {result.case: BadInputError(result.refused) for result in results if result.stale and result.refused}
        report_failed(failed, len(compared), NOT_COMPARED, results)
    if len(compared) < len(results):
        raise OutOfDateError(_stale_sentence(request, results), results)
    return results


def _compared(cohort: Cohort, request: EvaluateRequest, run_content: str, name: str) -> Evaluation:
    """The figures of one case. A result that is out of date is refused unless such are asked for."""
    path, annotation = _path_of(cohort, request, name), cohort.annotation(name, on_any_image=True)
    facts = read_facts(path)
    made = Origin.from_facts(facts)
    if request.applied:
        made = made.without_annotation()
    now = replace(cohort.origin(name, annotation, since=path), run=request.run or "", run_content=run_content)
    change = made.changes(now)
    if made.drawn and made.annotation != now.annotation:
        # Figures of an old result refer to the slices that were drawn when it was made.
        annotation = replace(annotation, ledger=made.ledger())
    out_of_date = _("This result is out of date: {change}.").format(change=change)
    refused = out_of_date if change and not request.include_stale else ""
    notes: list[str] = [out_of_date] if change else []
    notes += [] if made.is_known else [_unknown_origin()]
    if made.run_content and request.run and not run_content:
        notes.append(
            _(
                "The run '{run}' is no longer in the cohort, so it was not checked whether it was trained again "
                "after this result was made."
            ).format(run=request.run)
        )
    image_change = cohort.image_change(name)
    notes += [changed_images_sentence({name: image_change})] if image_change is not None else []
    try:
        if request.applied:
            labels = AppliedSegmentation.required(cohort, name).with_drawn(annotation).labels
        else:
            labels = read_labels(path, annotation.geometry)
        require_facts(path, facts)
        figures = _evaluation(cohort, name, labels, annotation, change, notes, request.tolerance)
    except CancelledError:
        raise
    except SparseAnnotateError:
        if not refused:
            raise
        # Such as a result on another grid than that of the image that is there now.
        drawn, density = len(annotation.ledger.decided), annotation.density()
        figures = Evaluation(name, None, None, None, drawn, density, stale=change, notes=notes)
    return replace(figures, answer=bool(request.run) and made.method in INTERPOLATORS, refused=refused)


def _stale_sentence(request: EvaluateRequest, results: Sequence[Evaluation]) -> str:
    """Which results were refused, what has changed since, and what to do."""
    what = _("applied segmentation") if request.applied else _("prediction") if request.run else _("fill")
    if request.applied:
        remedy = _("Open the case in Slicer and apply a result again.")
    elif request.run:
        remedy = _("Predict again (or import the predictions again).")
    else:
        remedy = _("Fill again.")
    remedy += " " + _("Or compare results that are out of date as they are, with '--include-stale'.")
    changes = {result.case: result.stale for result in results if result.refused}
    others = len(results) - len(changes)
    if others:
        compared = counted(others, _("The other case was compared."), _("The other {count} cases were compared."))
        remedy = joined(" ", [compared, remedy])
    return stale_sentence(what, changes, remedy)


def _evaluation(
    cohort: Cohort,
    name: str,
    result: np.ndarray,
    annotation: SparseAnnotation,
    stale: str,
    notes: list[str],
    tolerance: float | None,
) -> Evaluation:
    reference = cohort.reference(name)
    # Where a slice does not decide all structures the result is not what was drawn.
    drawn = annotation.decided_mask(annotation.label_values())
    figures = compare_labels(
        name, result, reference, annotation.geometry, None, drawn, expected=cohort.labels, tolerance=tolerance
    )
    labels = [{"name": cohort.labels.get(f.label, str(f.label)), **vars(f)} for f in figures.labels]
    absent = [cohort.labels.get(value, str(value)) for value in figures.absent]
    return Evaluation(
        case=name,
        dice=figures.dice,
        undrawn_dice=figures.undrawn_dice,
        hd95_mm=figures.hd95_mm,
        slices_drawn=len(annotation.ledger.decided),
        density=annotation.density(),
        iou=figures.iou,
        hvsmr_score=figures.hvsmr_score,
        rand_f_score=figures.rand_f_score,
        surface_dice=figures.surface_dice,
        labels=labels,
        absent=absent,
        stale=stale,
        notes=notes,
    )


def _add_batched_iou(results: Sequence[Evaluation]) -> None:
    counts: dict[int, list[tuple[int, int]]] = {}
    for figures in (f for result in results for f in result.labels):
        counts.setdefault(figures["label"], []).append((figures["intersection_voxels"], figures["union_voxels"]))
    for figures in (f for result in results for f in result.labels):
        figures["batched_iou"] = metrics.batched_iou(counts[figures["label"]])


def _path_of(cohort: Cohort, request: EvaluateRequest, name: str) -> Path:
    if request.applied:
        return cohort.applied_path(name)
    return cohort.prediction_path(request.run, name) if request.run else cohort.fill_path(name)


def _cases(cohort: Cohort, request: EvaluateRequest) -> list[str]:
    """The cases to measure; logs which are left out. Raises BadInputError when a requested one cannot be measured."""
    no_result = _("no prediction of the run '{run}'").format(run=request.run) if request.run else _("no fill")
    if request.applied:
        no_result = _("nothing applied")
    no_reference = _("no reference labels")
    missing: dict[str, list[str]] = {no_result: [], no_reference: []}
    chosen = []
    for case in cohort.chosen(request.cases):
        if not _path_of(cohort, request, case.name).is_file():
            missing[no_result].append(case.name)
        elif not cohort.has_reference(case.name):
            missing[no_reference].append(case.name)
        else:
            chosen.append(case.name)
    if not chosen:
        if request.applied:
            raise BadInputError(
                _("Nothing was applied in Slicer to a case with reference labels. Apply a result to such a case first.")
            )
        if request.run:
            raise BadInputError(
                _(
                    "There is no prediction of the run '{run}' for a case with reference labels. Predict such a case "
                    "first. Predictions in this cohort: {known}."
                ).format(run=request.run, known=_list_of(cohort.names_of_predictions()) or _("none"))
            )
        raise BadInputError(_("There is no fill of a case with reference labels. Fill such a case first."))
    reasons = {reason: _list_of(names) for reason, names in missing.items() if names}
    if reasons and request.cases:
        sentences = [
            _("Cannot be compared ({reason}): {cases}.").format(reason=reason, cases=cases)
            for reason, cases in reasons.items()
        ]
        remedy = _("Make the missing files first, or name only the other cases.")
        raise BadInputError(joined(" ", [*sentences, remedy]))
    for reason, cases in reasons.items():
        logging.getLogger(__name__).warning(f"Left out ({reason}): {cases}.")
    return chosen


def _list_of(names: Sequence[str]) -> str:
    return listed([f"'{name}'" for name in names], 3)


def _unknown_origin() -> str:
    return _(
        "The source of this result is unknown (it comes from another program or an older version), so it was compared "
        "without checking whether it is up to date."
    )
