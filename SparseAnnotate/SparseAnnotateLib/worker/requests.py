"""The requests that the worker answers and the command line offers as subcommands: the same functions for both.

Each request is a frozen dataclass read strictly from JSON; each answer is a dataclass or plain data written as JSON.
Large arrays are exchanged as files in the cohort folder. torch is imported only inside the functions that need it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import (
    DEFAULT_DEVICE,
    BadInputError,
    Cohort,
    SparseAnnotation,
    Watch,
)
from ..core.messages import _
from ..core.oracle import drawn_from_reference
from ..core.voxel_values import unnamed_labels_sentence
from .answers import Answers
from .compare_request import CompareRequest, compare
from .create_request import CreateRequest, create
from .evaluate_request import EvaluateRequest, evaluate
from .exchange_requests import (
    ExportBundleRequest,
    ExportNnunetRequest,
    ImportBundleRequest,
    ImportNnunetRequest,
    export_bundle,
    export_nnunet,
    import_bundle,
    import_nnunet,
)
from .fill_request import FillRequest, fill
from .packages import LEARNING_PACKAGES, installed_version, require_packages
from .plan_requests import AgreementRequest, PlanRequest, agreement, plan
from .recommend_request import PictureRequest, RecommendRequest, picture, recommend
from .run_sources import RunSources
from .train_request import CurvesRequest, PlanTrainingRequest, TrainRequest, curves, plan_training, train

_REPORTED_PACKAGES = (*LEARNING_PACKAGES, "numpy", "scipy", "SimpleITK")


@dataclass(frozen=True)
class EnvironmentRequest:
    """Installed packages and usable devices."""


@dataclass(frozen=True)
class DrawRequest:
    """Draw the worklist from the reference labels, in place of a person: for experiments."""

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictRequest:
    """Label cases with a finished run; those with drawn slices by all that is known of them, as `fill` does with it.

    Attributes:
        model_only: label cases with drawn slices by the run alone, too, with the drawn slices as drawn.
        flips: also average over mirrored volumes. models: only these models of the run ('2d', '3d', 'final').
        uncertainty: also write volumes of entropy and disagreement.
        largest_component, smoothing (mm), stray_pieces: see `learning.prediction.clean_up.CleanUp`.
    """

    cohort: str
    run: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    device: str = DEFAULT_DEVICE
    flips: bool = False
    models: tuple[str, ...] = ()
    uncertainty: bool = False
    largest_component: bool = False
    smoothing: float = 0.0
    stray_pieces: bool = True
    model_only: bool = False


@dataclass(frozen=True)
class CaseResult:
    """Result of one case: the file written, the seconds it took, how much of the case is drawn, and notes on it.

    A case that was labeled by all that is known of it also has `confidence_path`, `summary` and `labels`, as in
    `FillResult`.
    """

    case: str
    path: str
    seconds: float
    slices_drawn: int
    density: float
    notes: list[str] = field(default_factory=list)
    confidence_path: str = ""
    summary: str = ""
    labels: list[dict[str, Any]] = field(default_factory=list)


def environment(request: EnvironmentRequest, watch: Watch) -> dict[str, Any]:
    """Python, packages, devices (each tested with a real computation) and one sentence for the user."""
    import platform
    import sys

    del request, watch
    packages = {name: installed_version(name) for name in _REPORTED_PACKAGES}
    missing = [name for name in LEARNING_PACKAGES if packages[name] is None]
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": packages,
        "devices": [],
        "device": None,
        "can_train": not missing,
    }
    if packages["torch"] is not None:
        from ..learning.devices import chosen_device, device_reports

        report["devices"] = device_reports()
        chosen = chosen_device()
        report["device"], report["message"] = chosen.device, chosen.message
    if missing:
        report["message"] = _(
            "Recommending and filling work. Training requires packages that are not installed: {packages}."
        ).format(packages=", ".join(missing))
    return report


def draw(request: DrawRequest, watch: Watch) -> list[CaseResult]:
    """Copy the reference to the recommended slices of every case that has both."""
    cohort = _open(request)
    results = []
    chosen = [c.name for c in cohort.select(request.cases) if cohort.has_reference(c.name)]
    todo = [name for name in chosen if cohort.ledger(name).todo]
    cohort.select(todo, with_references=True)
    if not todo:
        raise BadInputError(_("No case with a reference has recommended slices. Recommend some first."))
    for number, name in enumerate(todo):
        watch.step(number / len(todo), _("drawing '{case}'").format(case=name))
        start = time.monotonic()
        reference = cohort.reference(name)
        unnamed = unnamed_labels_sentence(
            reference, cohort.labels, _("The reference of case '{case}'").format(case=name)
        )
        if unnamed:
            logging.getLogger(__name__).warning(unnamed)
        annotation = drawn_from_reference(cohort.annotation(name), reference)
        cohort.save_annotation(name, annotation)
        results.append(_case_result(name, "", start, annotation))
    return results


def predict(request: PredictRequest, watch: Watch) -> list[CaseResult]:
    """Predict the requested cases, or all, and store the results as predictions in the cohort.

    A case with drawn slices gets what `fill` with this run gives, unless `model_only`: drawn slices, fill methods and
    run together. Its confidence is written beside it.
    """
    require_packages()
    from ..learning.prediction.clean_up import CleanUp, cleaned_labels
    from ..learning.prediction.predictor import Predictor

    cohort = _open(request)
    cases = [case.name for case in cohort.select(request.cases)]
    clean_up = CleanUp(request.largest_component, request.smoothing, request.stray_pieces)
    predictor = Predictor(cohort, request.run, request.device, request.flips, request.models)
    for sentence in _without_effect(request, predictor.card):
        logging.getLogger(__name__).warning(sentence)
    drawn = set() if request.model_only else set(cohort.annotated_cases()).intersection(cases)
    answers = None
    if drawn:
        names = [name for name in cases if name in drawn]
        by_run = replace(clean_up, largest_component=False, smoothing=0.0)
        runs = RunSources(cohort, predictor, request.run, by_run, request.uncertainty, is_needed=True)
        like = FillRequest(request.cohort, request.state, tuple(names), device=request.device, run=request.run)
        answers = Answers(cohort, like, names, runs, watch)
        watch = answers.watch
    results = []
    for number, name in enumerate(cases):
        start = time.monotonic()
        part = watch.part(number, len(cases), f"'{name}': ")
        if answers is None or name not in drawn:
            path, notes = predictor.write(name, part, clean_up, request.uncertainty)
            results.append(_case_result(name, path, start, cohort.annotation(name), notes))
            continue
        answer = answers.of(name, part)
        cleaned = cleaned_labels(answer.done.fill.labels, answer.annotation, clean_up, part)
        answer = answer.with_labels(cleaned)
        path = str(cohort.prediction_path(request.run, name))
        confidence = cohort.uncertainty_path(request.run, name, "confidence")
        answer.write(Path(path), confidence)
        done = answer.done
        result = _case_result(name, path, start, answer.annotation, done.warnings)
        labels = answer.labels(answer.annotation.names)
        results.append(replace(result, confidence_path=str(confidence), summary=done.summary, labels=labels))
    return results


METHODS: dict[str, tuple[type, Callable[[Any, Watch], Any]]] = {
    "environment": (EnvironmentRequest, environment),
    "create": (CreateRequest, create),
    "plan": (PlanRequest, plan),
    "recommend": (RecommendRequest, recommend),
    "picture": (PictureRequest, picture),
    "draw": (DrawRequest, draw),
    "fill": (FillRequest, fill),
    "plan_training": (PlanTrainingRequest, plan_training),
    "train": (TrainRequest, train),
    "curves": (CurvesRequest, curves),
    "predict": (PredictRequest, predict),
    "evaluate": (EvaluateRequest, evaluate),
    "compare": (CompareRequest, compare),
    "agreement": (AgreementRequest, agreement),
    "export_nnunet": (ExportNnunetRequest, export_nnunet),
    "import_nnunet": (ImportNnunetRequest, import_nnunet),
    "export_bundle": (ExportBundleRequest, export_bundle),
    "import_bundle": (ImportBundleRequest, import_bundle),
}


def _without_effect(request: PredictRequest, card) -> list[str]:
    """A sentence for each option that has no effect on this run."""
    if request.flips and not card.flip:
        return [
            f"Averaging over mirrored volumes has no effect: the run '{request.run}' was trained without mirroring."
        ]
    return []


def _case_result(
    name: str, path: str, start: float, annotation: SparseAnnotation, notes: Sequence[str] = ()
) -> CaseResult:
    seconds = round(time.monotonic() - start, 3)
    return CaseResult(name, path, seconds, len(annotation.ledger.decided), annotation.density(), list(notes))


def _open(request) -> Cohort:
    return Cohort.open(request.cohort, request.state)
