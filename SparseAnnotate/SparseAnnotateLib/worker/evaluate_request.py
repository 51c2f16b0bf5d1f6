"""The request that compares fills and predictions with reference labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import BadInputError, Cohort, SparseAnnotation, Watch, compare_labels
from ..core.images import read_facts, read_labels
from ..core.messages import listed
from ..core.origin import UNKNOWN, Origin, run_fingerprint, stale_sentence


@dataclass(frozen=True)
class EvaluateRequest:
    """Compare with the reference labels: the predictions of `run`, or the fill when no run is named."""

    cohort: str
    run: str | None = None
    state: str | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Agreement of one case with its reference.

    Attributes:
        dice: mean Dice over all voxels, drawn ones included, of the structures that the result or the reference has;
            None when neither has any.
        undrawn_dice: the same over the voxels that nobody drew.
        hd95_mm: mean 95 % Hausdorff distance in mm; infinite (in JSON: null beside a Dice) when a structure is in one
            of them only.
        slices_drawn, density: of the annotation that the result was made from.
        labels: figures of each structure; see `LabelFigures`.
        absent: names of the structures that neither has; they are in no mean.
        stale: what has changed since the result was made; '' when nothing has.
        notes: what else to know about the figures, as sentences.
    """

    case: str
    dice: float | None
    undrawn_dice: float | None
    hd95_mm: float | None
    slices_drawn: int
    density: float
    labels: list[dict[str, Any]] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    stale: str = ""
    notes: list[str] = field(default_factory=list)


class OutOfDateError(BadInputError):
    """Results that were made from something else than there is now; `shown` has the figures they have nevertheless."""

    def __init__(self, message: str, shown: list[Evaluation]):
        super().__init__(message)
        self.shown = shown


def evaluate(request: EvaluateRequest, watch: Watch) -> list[Evaluation]:
    """Figures of every case that has both a result and a reference.

    Raises:
        BadInputError: when there is none, or a case asked for lacks one of them.
        OutOfDateError: when slices have been drawn, an image replaced or a run trained again since a result was made.
    """
    cohort = Cohort.open(request.cohort, request.state)
    cases = _cases(cohort, request)
    run = (
        Origin(run=request.run, run_content=run_fingerprint(cohort.run_folder(request.run)))
        if request.run
        else Origin()
    )
    results, changes = [], {}
    for number, name in enumerate(cases):
        watch.step(number / len(cases), f"measuring '{name}'")
        path, annotation = _path_of(cohort, request.run, name), cohort.annotation(name)
        made = Origin.from_facts(read_facts(path))
        now = replace(cohort.origin(name, annotation), run=run.run, run_content=run.run_content)
        change = made.changes(now)
        if change:
            changes[name] = change
        if made.drawn and made.annotation != now.annotation:
            # The figures of an old result are those of the slices that were drawn then.
            annotation = replace(annotation, ledger=made.ledger())
        notes = [] if made.is_known else [f"Of this result {UNKNOWN}."]
        results.append(_evaluation(cohort, name, path, annotation, change, notes))
    if changes:
        what, again = (
            ("prediction", "Predict again (or import the predictions again)") if request.run else ("fill", "Fill again")
        )
        remedy = f"{again}, or name only cases that are up to date."
        raise OutOfDateError(stale_sentence(what, changes, remedy), results)
    return results


def _evaluation(
    cohort: Cohort, name: str, path: Path, annotation: SparseAnnotation, stale: str, notes: list[str]
) -> Evaluation:
    result, reference = read_labels(path, annotation.geometry), cohort.reference(name)
    drawn = annotation.supervised_mask()
    figures = compare_labels(name, result, reference, annotation.geometry, None, drawn, expected=cohort.labels)
    labels = [{"name": cohort.labels.get(f.label, str(f.label)), **vars(f)} for f in figures.labels]
    absent = [cohort.labels.get(value, str(value)) for value in figures.absent]
    return Evaluation(
        name,
        figures.dice,
        figures.undrawn_dice,
        figures.hd95_mm,
        len(annotation.ledger.decided),
        annotation.density(),
        labels,
        absent,
        stale,
        notes,
    )


def _path_of(cohort: Cohort, run: str | None, name: str) -> Path:
    return cohort.prediction_path(run, name) if run else cohort.fill_path(name)


def _cases(cohort: Cohort, request: EvaluateRequest) -> list[str]:
    """The cases to measure; says which are left out. Raises BadInputError when one asked for cannot be measured."""
    what = f"prediction of the run '{request.run}'" if request.run else "fill"
    lacking: dict[str, list[str]] = {what: [], "reference": []}
    chosen = []
    for case in cohort.select(request.cases):
        if not _path_of(cohort, request.run, case.name).is_file():
            lacking[what].append(case.name)
        elif not cohort.has_reference(case.name):
            lacking["reference"].append(case.name)
        else:
            chosen.append(case.name)
    if not chosen:
        raise BadInputError(f"There is no {what} of a case with reference labels to compare. Make one first.")
    sentences = [
        f"{_list_of(names)} {'has' if len(names) == 1 else 'have'} no {thing}"
        for thing, names in lacking.items()
        if names
    ]
    if sentences and request.cases:
        raise BadInputError(f"Not every case named can be compared: {'; '.join(sentences)}.")
    if sentences:
        logging.getLogger(__name__).warning(f"Left out: {'; '.join(sentences)}.")
    cohort.select(chosen, with_references=True)
    return chosen


def _list_of(names: Sequence[str]) -> str:
    return listed([f"'{name}'" for name in names], 3)
