"""Which requests go to a host, and what of a cohort each of them needs there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import BadInputError, Cohort, Watch
from ..core.drawn_on import changed_images_sentence
from ..runs.presets import DEFAULT_PRESET, PRESETS
from ..runs.run_folder import RunFolder
from ..selection import FEATURES, STRATEGIES, FeatureSettings, SelectionSettings

HERE, THERE, AS_A_JOB, LEARNING_THERE = "here", "there", "as a job there", "learning there"
Params = Mapping[str, Any]


def _learned_features(params: Params) -> str:
    strategy = STRATEGIES.get(str(params.get("strategy", SelectionSettings.strategy)))
    features = FEATURES.get(str(params.get("features", FeatureSettings.features)))
    if strategy is None:
        return HERE  # which says what is wrong
    is_learned = features is not None and features.is_learned
    return THERE if strategy.asks_models or (is_learned and strategy.compares_slices) else HERE


def _with_models(params: Params) -> str:
    return THERE if params.get("run") or params.get("method") == "propagation" else HERE


def _what_follows(params: Params) -> str:
    # The correction itself is stored here in any case.
    return HERE if params.get("clear") or params.get("only") == "store" else THERE


def _as_it_learns(params: Params) -> str:
    # What learns from each slice as soon as it is drawn is asked for others all the time.
    return LEARNING_THERE if params.get("live") else AS_A_JOB


WHERE: dict[str, str | Callable[[Params], str]] = {
    "environment": THERE,
    "create": HERE,
    "add": HERE,
    "add_channel": HERE,
    "plan": HERE,
    "recommend": _learned_features,
    "picture": HERE,
    "draw": HERE,
    "import_drawn": HERE,
    "accept_image": HERE,
    "fill": _with_models,
    "correct": _what_follows,
    "plan_training": THERE,
    "train": _as_it_learns,
    "curves": HERE,
    "slice": THERE,
    "predict": THERE,
    "predict_files": HERE,  # which asks the host for each of the scans
    "label_image": HERE,
    "evaluate": HERE,
    "compare": HERE,
    "agreement": HERE,
    "report": HERE,
    "export_dicom": HERE,
    "write_dicom_segmentation": HERE,
    "export_nnunet": HERE,
    "import_nnunet": HERE,
    "export_bundle": HERE,
    "import_bundle": HERE,
    "submit": HERE,
    "jobs": HERE,
    "job_log": HERE,
    "cancel_jobs": HERE,
}
"""Of each request of the worker: where it is done when a host is used, or a function that says so for its fields."""


def where(method: str, params: Any) -> str:
    """HERE, THERE, AS_A_JOB or LEARNING_THERE.

    A request that cannot be read is left to the worker here, which says what is wrong.
    """
    found = WHERE.get(method, HERE)
    return found if isinstance(found, str) else found(params if isinstance(params, dict) else {})


@dataclass(frozen=True)
class Needs:
    """What a request needs on a host, and what it changes there.

    Attributes:
        cases: those whose images it reads. with_fills: also their fills.
        runs: finished runs. predictions: runs whose stored predictions it reads.
        outputs: the files that it may write, by path in the state folder, with their case; '' for the whole cohort.
        is_whole: it also looks at the other cases.
    """

    cases: tuple[str, ...]
    with_fills: bool = False
    runs: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    is_whole: bool = True


def needs_of(method: str, params: Params, cohort: Cohort) -> Needs:
    """What a request that goes to a host needs there. Raises CohortError, BadInputError, RunError."""
    names = tuple(case.name for case in cohort.chosen(_names(params, "cases")))
    run = str(params.get("run") or "")
    if method == "recommend":
        runs = _names(params, "runs")
        return Needs(names, runs=runs)  # what it recommends is entered here, where slices may be drawn meanwhile
    if method == "slice":
        case = cohort.case(str(params.get("case", ""))).name
        cohort.select([case])
        path = cohort.slice_path(run, case, str(params.get("plane", "")), int(params.get("index", 0)))
        return Needs((case,), runs=(run,), outputs={_in_state(cohort, path): case})
    if method == "correct":
        case = cohort.case(str(params.get("case", ""))).name
        cohort.select([case])
        paths = [cohort.fill_path(case), cohort.fill_confidence_path(case)]
        if run:
            paths = [cohort.prediction_path(run, case), cohort.uncertainty_path(run, case, "confidence")]
        outputs = {_in_state(cohort, path): case for path in paths}
        used = (run,) if run else ()
        return Needs((case,), not run, used, used, outputs, is_whole=False)
    if method == "fill":
        cases = names if params.get("cases") else tuple(cohort.annotated_cases())
        earlier = _names(params, "earlier")
        outputs = {}
        for name in cases:
            for path in (cohort.fill_path(name), cohort.fill_confidence_path(name)):
                outputs[_in_state(cohort, path)] = name
        others = tuple(name for name in earlier if name != "fill")
        return Needs(cases, "fill" in earlier, (run,) if run else (), others, outputs)
    if method == "predict":
        outputs = {}
        for name in names:
            outputs[_in_state(cohort, cohort.prediction_path(run, name))] = name
            for kind in ("confidence", "entropy", "disagreement"):
                outputs[_in_state(cohort, cohort.uncertainty_path(run, name, kind))] = name
        return Needs(names, runs=(run,), outputs=outputs)
    outputs = {_in_state(cohort, RunFolder(cohort.run_folder(run)).plan_path): ""} if run else {}
    return Needs(training_cases(params, cohort), True, (run,) if run else (), outputs=outputs)


def require_images(method: str, params: Params, cohort: Cohort, cases: Sequence[str], watch: Watch) -> None:
    """Raise BadInputError when a request would end because images are not those that were drawn on.

    `cases`: those that it needs. 'fill' and 'predict' do those that they can, so only if there is none.
    """
    if method in ("fill", "predict"):
        if params.get("model_only"):
            return
        changed = cohort.image_changes(cases, watch)
        if changed and len(changed) == len(cases):
            raise BadInputError(changed_images_sentence(changed))
        return
    # Of cases without drawn slices a training reads the images alone.
    learns = method in ("train", "plan_training")
    cohort.require_images_drawn_on(cohort.annotated_cases(among=cases) if learns else cases, watch)


def training_cases(params: Params, cohort: Cohort) -> tuple[str, ...]:
    """The cases whose images a training reads. Raises CohortError when there is no such case or a file is missing."""
    run = RunFolder(cohort.run_folder(str(params["run"]))) if params.get("run") else None
    if run is not None and run.is_started and not params.get("settings"):
        plan = run.plan()
        names = [*plan.cases, *plan.undrawn_cases]
    else:
        names = [*(_names(params, "cases") or cohort.annotated_cases()), *_names(params, "undrawn_cases")]
        if not params.get("cases") and _recipe(params) == "self_training":
            names = [case.name for case in cohort.cases]
    return tuple(case.name for case in cohort.select(names)) if names else ()


def _recipe(params: Params) -> str:
    chosen = {**(params.get("settings") or {}), **(params.get("changes") or {})}
    if "recipe" in chosen:
        return str(chosen["recipe"])
    return PRESETS.named(str(params.get("preset") or DEFAULT_PRESET)).recipe


def _names(params: Params, field_name: str) -> tuple[str, ...]:
    value = params.get(field_name) or ()
    return tuple(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _in_state(cohort: Cohort, path: Any) -> str:
    return str(path.relative_to(cohort.state_folder).as_posix())
