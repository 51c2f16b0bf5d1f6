"""The requests that the worker answers and the command line offers as subcommands: the same functions for both.

Each request is a frozen dataclass read strictly from JSON; each answer is a dataclass or plain data written as JSON.
Large arrays are exchanged as files in the cohort folder. torch is imported only inside the functions that need it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..core import (
    DEFAULT_DEVICE,
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    SparseAnnotateError,
    SparseAnnotation,
    Watch,
)
from ..core.atomic_files import require_writable_folders_of
from ..core.drawn_on import ImageChange, changed_images_sentence
from ..core.failed_cases import NOT_DRAWN, NOT_LABELED, report_failed
from ..core.messages import _, joined
from ..core.oracle import drawn_from_reference
from ..core.voxel_values import unnamed_labels_sentence
from .accept_image_request import AcceptImageRequest, accept_image
from .add_channel_request import AddChannelRequest, add_channel
from .answers import Answers, with_readable_drawings
from .compare_request import CompareRequest, compare
from .correct_request import CorrectRequest, correct
from .create_request import CreateRequest, add, create
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
from .export_dicom_request import ExportDicomRequest, export_dicom
from .fill_request import FillRequest, fill
from .import_drawn_request import ImportDrawnRequest, import_drawn
from .jobs.requests import (
    CancelJobsRequest,
    JobLogRequest,
    JobsRequest,
    SubmitRequest,
    cancel_jobs,
    job_log,
    jobs,
    submit,
)
from .label_image_request import LabelImageRequest, label_image
from .packages import LEARNING_PACKAGES, installed_version, require_packages
from .plan_requests import AgreementRequest, PlanRequest, agreement, plan
from .predict_files_request import PredictFilesRequest, predict_files
from .prediction_options import PredictionOptions, clean_up_of
from .prediction_warnings import DifferenceWarnings, warn_of_flips
from .recommend_request import PictureRequest, RecommendRequest, picture, recommend
from .report_request import ReportRequest, report
from .run_sources import RunSources
from .slice_request import SliceRequest, label_slice
from .train_request import CurvesRequest, PlanTrainingRequest, TrainRequest, curves, plan_training, train
from .write_segmentation_request import WriteSegmentationRequest, write_dicom_segmentation

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
class PredictRequest(PredictionOptions):
    """Label cases with a finished run; those with drawn slices by all that is known of them, as `fill` does with it.

    Attributes:
        model_only: label cases with drawn slices by the run alone, too, with the drawn slices as drawn. Slices that
            were drawn on another image are left out.
    """

    cohort: str
    run: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    device: str = DEFAULT_DEVICE
    model_only: bool = False


@dataclass(frozen=True)
class CaseResult:
    """Result of one case: the file written, the seconds it took, how much of the case is drawn, and notes on it.

    `labels` has the label value and the name of each structure. For a case that was labeled from all that is known of
    it they are as in `FillResult`, and there are `confidence_path` and `summary`.
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
    facts: dict[str, Any] = {
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

        facts["devices"] = device_reports()
        chosen = chosen_device()
        facts["device"], facts["message"] = chosen.device, chosen.message
    if missing:
        facts["message"] = _(
            "Recommending and filling work. Training requires packages that are not installed: {packages}."
        ).format(packages=", ".join(missing))
    return facts


def draw(request: DrawRequest, watch: Watch) -> list[CaseResult]:
    """Copy the reference to the recommended slices of every case that has both.

    Raises PartlyDoneError when some cases could not be drawn, after the others have been.
    """
    cohort = _open(request)
    results, todo, failed = list[CaseResult](), list[str](), dict[str, SparseAnnotateError]()
    for name in (
        case.name for case in cohort.chosen(request.cases, with_an_image=True) if cohort.has_reference(case.name)
    ):
        try:
            todo += [name] if cohort.ledger(name).todo else []
        except SparseAnnotateError as error:
            failed[name] = error
    if not todo and not failed:
        raise BadInputError(_("No case with a reference has recommended slices left to draw. Recommend some first."))
    changed = cohort.image_changes(todo, watch)
    if changed and len(changed) == len(todo) and not failed:
        raise BadInputError(changed_images_sentence(changed))
    failed |= {name: BadInputError(changed_images_sentence({name: change})) for name, change in changed.items()}
    todo = [name for name in todo if name not in changed]
    for number, name in enumerate(todo):
        watch.step(number / len(todo), _("drawing '{case}'").format(case=name))
        try:
            results.append(_drawn(cohort, name))
        except (CancelledError, FileWriteError):
            raise  # a folder that cannot be written is no fault of the case
        except SparseAnnotateError as error:
            # One case that cannot be drawn must not stop the others.
            failed[name] = error
    if failed:
        report_failed(failed, len(results), NOT_DRAWN, results)
    return results


def _drawn(cohort: Cohort, name: str) -> CaseResult:
    """Copy the reference of a case to its recommended slices."""
    start = time.monotonic()
    image, reference = cohort.image_fingerprint(name, ()), cohort.reference(name)
    unnamed = unnamed_labels_sentence(reference, cohort.labels, _("The reference of case '{case}'").format(case=name))
    if unnamed:
        logging.getLogger(__name__).warning(unnamed)
    annotation = cohort.change_annotation(name, image, partial(drawn_from_reference, reference=reference))
    return _case_result(name, "", start, annotation)


def predict(request: PredictRequest, watch: Watch) -> list[CaseResult]:
    """Predict the requested cases, or all, and store the results as predictions in the cohort.

    A case with drawn slices gets what `fill` with this run gives, unless `model_only`: drawn slices, fill methods and
    run together. Its confidence is written beside it.

    Raises PartlyDoneError when some cases could not be labeled, after the others have been.
    """
    results, failed = predict_each(request, watch)
    if failed:
        report_failed(failed, len(results), NOT_LABELED, results)
    return results


def predict_each(
    request: PredictRequest, watch: Watch, on_case: Callable[[str, float, str], None] | None = None
) -> tuple[list[CaseResult], dict[str, SparseAnnotateError]]:
    """As `predict`: the results, and the error of each case that could not be labeled.

    `on_case` is called after each case with its name, the seconds it took, and why it was not labeled ('' if it was).
    """
    require_packages()
    from ..learning.prediction.predictor import Predictor

    cohort = _open(request)
    cases = [case.name for case in cohort.chosen(request.cases, with_an_image=True)]
    clean_up = clean_up_of(request)
    predictor = Predictor(cohort, request.run, request.device, request.flips, request.models)
    warn_of_flips(predictor.card, request.run, request.flips)
    kinds = ("entropy", "disagreement") if request.uncertainty else ()
    uncertainty = [cohort.uncertainty_path(request.run, name, kind) for name in cases for kind in kinds]
    require_writable_folders_of([cohort.prediction_path(request.run, name) for name in cases] + uncertainty)
    unreadable: dict[str, SparseAnnotateError] = {}  # named when the case is labeled
    drawn = [] if request.model_only else cohort.annotated_cases(cases, unreadable)
    differences = DifferenceWarnings(predictor.card)
    differences.announce(cases, lambda place: cohort.geometry(cases[place]), watch)
    answers, why_not = None, None
    changed = cohort.image_changes(cases, watch)
    drawn = with_readable_drawings(cohort, [name for name in drawn if name not in changed])
    if drawn:
        by_run = replace(clean_up, largest_component=False, smoothing=0.0)
        like = FillRequest(request.cohort, request.state, tuple(drawn), device=request.device, run=request.run)
        try:
            runs = RunSources(cohort, predictor, request.run, by_run, request.uncertainty, is_needed=True)
            answers = Answers(cohort, like, drawn, runs, watch)
            watch = answers.watch
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # Cases without drawn slices can be labeled all the same.
            why_not = error
    results: list[CaseResult] = []
    failed: dict[str, SparseAnnotateError] = {}
    for number, name in enumerate(cases):
        part, began = watch.part(number, len(cases), f"'{name}': "), time.monotonic()
        try:
            if name in changed and not request.model_only:
                raise BadInputError(changed_images_sentence({name: changed[name]}))
            if name in drawn and why_not is not None:
                raise why_not
            warnings = differences.of(name, predictor.image_facts(name, part))
            if name in drawn and answers is not None:
                result = _by_all(answers, cohort, name, part, clean_up, request.run)
            else:
                result = _by_run(predictor, cohort, name, part, clean_up, request.uncertainty, changed.get(name))
            results.append(replace(result, notes=[*warnings, *result.notes]))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One case that cannot be labeled must not stop the others.
            failed[name] = error
        if on_case is not None:
            on_case(name, round(time.monotonic() - began, 3), failed[name].message if name in failed else "")
    return results, failed


def _by_run(
    predictor, cohort: Cohort, name: str, watch: Watch, clean_up, uncertainty: bool, change: ImageChange | None
) -> CaseResult:
    """Label a case with a run alone; without what is drawn on it where that was drawn on another image (`change`)."""
    start = time.monotonic()
    if change is None:
        annotation, warnings = cohort.annotation(name), []
    else:
        annotation = SparseAnnotation.undrawn(cohort.geometry(name), cohort.labels)
        left_out = _("Until then nothing that is drawn on it enters its prediction.")
        warnings = [joined(" ", [changed_images_sentence({name: change}), left_out])]
    path, notes = predictor.write(name, watch, clean_up, uncertainty, annotation)
    labels = [{"label": value, "name": structure} for value, structure in predictor.label_names.items()]
    return replace(_case_result(name, path, start, annotation, [*warnings, *notes]), labels=labels)


def _by_all(answers: Answers, cohort: Cohort, name: str, watch: Watch, clean_up, run: str) -> CaseResult:
    """Label a case with drawn slices from all that is known of it."""
    from ..learning.prediction.clean_up import cleaned_labels

    start = time.monotonic()
    answer = answers.of(name, watch)
    answer = answer.with_labels(cleaned_labels(answer.done.fill.labels, answer.annotation, clean_up, watch))
    path, confidence = cohort.prediction_path(run, name), cohort.uncertainty_path(run, name, "confidence")
    answer.write(path, confidence)
    result = _case_result(name, str(path), start, answer.annotation, answer.done.warnings)
    return replace(result, confidence_path=str(confidence), summary=answer.done.summary, labels=answer.labels())


METHODS: dict[str, tuple[type, Callable[[Any, Watch], Any]]] = {
    "environment": (EnvironmentRequest, environment),
    "create": (CreateRequest, create),
    "add": (CreateRequest, add),
    "accept_image": (AcceptImageRequest, accept_image),
    "add_channel": (AddChannelRequest, add_channel),
    "plan": (PlanRequest, plan),
    "recommend": (RecommendRequest, recommend),
    "picture": (PictureRequest, picture),
    "draw": (DrawRequest, draw),
    "import_drawn": (ImportDrawnRequest, import_drawn),
    "fill": (FillRequest, fill),
    "correct": (CorrectRequest, correct),
    "plan_training": (PlanTrainingRequest, plan_training),
    "train": (TrainRequest, train),
    "curves": (CurvesRequest, curves),
    "slice": (SliceRequest, label_slice),
    "predict": (PredictRequest, predict),
    "predict_files": (PredictFilesRequest, predict_files),
    "label_image": (LabelImageRequest, label_image),
    "evaluate": (EvaluateRequest, evaluate),
    "compare": (CompareRequest, compare),
    "agreement": (AgreementRequest, agreement),
    "report": (ReportRequest, report),
    "export_dicom": (ExportDicomRequest, export_dicom),
    "write_dicom_segmentation": (WriteSegmentationRequest, write_dicom_segmentation),
    "export_nnunet": (ExportNnunetRequest, export_nnunet),
    "import_nnunet": (ImportNnunetRequest, import_nnunet),
    "export_bundle": (ExportBundleRequest, export_bundle),
    "import_bundle": (ImportBundleRequest, import_bundle),
    "submit": (SubmitRequest, submit),
    "jobs": (JobsRequest, jobs),
    "job_log": (JobLogRequest, job_log),
    "cancel_jobs": (CancelJobsRequest, cancel_jobs),
}


def _case_result(
    name: str, path: str, start: float, annotation: SparseAnnotation, notes: Sequence[str] = ()
) -> CaseResult:
    seconds = round(time.monotonic() - start, 3)
    return CaseResult(name, path, seconds, len(annotation.ledger.decided), annotation.density(), list(notes))


def _open(request) -> Cohort:
    return Cohort.open(request.cohort, request.state)
