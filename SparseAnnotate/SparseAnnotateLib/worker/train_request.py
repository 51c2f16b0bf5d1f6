"""Training requests: train, plan a training, and plot the curves of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import DEFAULT_DEVICE, BadInputError, Cohort, Watch
from ..core.atomic_files import expanded, require_writable, written_atomically
from ..core.messages import _
from ..core.strict_json import from_plain, to_plain
from ..remote.run_on_host import require_here
from ..runs import TrainingSettings
from ..runs.live_settings import LIVE_PRESET, live_settings
from ..runs.plan import RunPlan, TrainingEstimate
from ..runs.presets import DEFAULT_PRESET, preset_settings
from ..runs.run_folder import RunFolder
from .packages import require_packages


@dataclass(frozen=True, kw_only=True)
class TrainingChoice:
    """What to train on, and how.

    Attributes:
        cases: to learn from; by default all annotated ones, and the pseudo-labels of all others.
        undrawn_cases: with `cases`, further cases whose pseudo-labels a final model learns from.
        settings: the complete settings. Without them, these are made of `preset`, `changes` and `device`.
        preset: a name from PRESETS; None: 'quick', and 'quick_2d' for learning while slices are being drawn.
        changes: fields of the settings that differ from the preset.
        device: to train on. A run that is resumed continues on it; with 'auto' on its own device, where that works.
    """

    state: str | None = None
    cases: tuple[str, ...] = ()
    undrawn_cases: tuple[str, ...] = ()
    settings: TrainingSettings | None = None
    preset: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    device: str = DEFAULT_DEVICE


@dataclass(frozen=True)
class TrainRequest(TrainingChoice):
    """Train a run, or resume one that was planned, cancelled or killed (without settings: with its own).

    Attributes:
        live: learn from slices while they are being drawn, until the request is cancelled; see `live_settings`.
    """

    cohort: str
    run: str
    live: bool = False


@dataclass(frozen=True)
class PlanTrainingRequest(TrainingChoice):
    """Plan a training and estimate how long it takes here; with `run`, the plan is written to a file for editing."""

    cohort: str
    run: str | None = None


@dataclass(frozen=True)
class CurvesRequest:
    """Plot loss and Dice of a run, finished or not, as a PNG."""

    cohort: str
    run: str
    state: str | None = None
    path: str = "curves.png"


def train(request: TrainRequest, watch: Watch) -> dict[str, Any]:
    """Train, and return the run's name with its card."""
    require_packages()
    from ..learning.training.training_run import train as train_run

    watch.check()  # importing takes seconds
    cohort = _open(request)
    require_here(cohort, request.run)
    started = _started_plan(cohort, request.run)
    settings, device = chosen_settings(request, started), _named_device(request)
    if request.live and settings is not None:
        settings = live_settings(settings)
    others = () if request.live else request.undrawn_cases
    card = train_run(cohort, request.run, settings, request.cases, watch, others, device, request.live)
    return {"run": request.run, **to_plain(card)}


def plan_training(request: PlanTrainingRequest, watch: Watch) -> TrainingEstimate:
    """The plan of a training with its expected minutes."""
    require_packages()
    from ..learning.training.estimate import stage_seconds
    from ..learning.training.run_planning import plan_run

    cohort = _open(request)
    settings, device = chosen_settings(request, _started_plan(cohort, request.run)), _named_device(request)
    plan = plan_run(cohort, request.run, settings, request.cases, request.undrawn_cases, watch, device)
    watch.step(0.5, _("timing a few steps on {device}").format(device=plan.device))
    stages = stage_seconds(plan, [cohort.geometry(name).standard_shape for name in plan.cases], True, watch)
    path = str(RunFolder(cohort.run_folder(request.run)).plan_path) if request.run else None
    return TrainingEstimate(sum(stages.values()) / 60.0, stages, plan.device, plan.models, plan.notes, path)


def _started_plan(cohort: Cohort, run_name: str | None) -> RunPlan | None:
    """The plan of a run to resume, or None."""
    run = RunFolder(cohort.run_folder(run_name)) if run_name else None
    plan = run.plan() if run is not None and run.is_started else None
    return plan if plan is not None and run is not None and (plan.is_live or not run.is_finished) else None


def _named_device(request: TrainingChoice) -> str | None:
    """The device that a request without complete settings asks for by name."""
    named = request.changes.get("device", request.device)
    return None if request.settings is not None or named == DEFAULT_DEVICE else named


def chosen_settings(
    request: TrainingChoice, started: RunPlan | None = None, device: str | None = None
) -> TrainingSettings | None:
    """The settings of a request; None when a run is resumed with its own.

    For a run that has been `started` they are those for its own device, so that they can be compared with the run's.
    With a `device` they are for this one, and PyTorch is not needed.

    Raises BadInputError when settings are combined with a preset or changes, or a change is unknown or impossible.
    """
    if request.settings is not None:
        if request.preset is not None or request.changes:
            raise BadInputError(
                _("Give either the complete settings, or a preset with the settings that differ from it.")
            )
        return request.settings
    changes = dict(request.changes)
    if started is not None:
        changes.pop("device", None)
    if started is not None and request.preset is None and not changes:
        return None
    is_live = isinstance(request, TrainRequest) and request.live
    preset = request.preset or (LIVE_PRESET if is_live else DEFAULT_PRESET)
    if device is None and started is not None:
        device = started.settings.device
    elif device is None:
        from ..learning.devices import chosen_device

        device = chosen_device(request.device).device
    base = preset_settings(preset, device)
    return from_plain({**to_plain(base), **changes}, TrainingSettings, _("the training settings"))


def curves(request: CurvesRequest, watch: Watch) -> str:
    """Write the picture; returns its path. Raises BadInputError when the run has no metrics yet."""
    del watch
    run = RunFolder(_open(request).run_folder(request.run))
    metrics = run.metrics()
    if not metrics:
        raise BadInputError(
            _("The run '{run}' has no metrics yet ('{path}'). Train it first.").format(
                run=request.run, path=run.metrics_path
            )
        )
    path = expanded(request.path).absolute()
    require_writable(path)
    require_packages(("matplotlib",), _("training curves"))
    from matplotlib.figure import Figure

    roles = list(dict.fromkeys(m["model"] for m in metrics))
    figure = Figure(figsize=(5 * len(roles), 6), layout="constrained")
    rows = figure.subplots(2, len(roles), squeeze=False, sharex="col")
    for column, role in enumerate(roles):
        for row, (name, title) in enumerate((("loss", "loss"), ("validation_dice", "Dice inside the drawn range"))):
            axes = rows[row][column]
            points = [(m["iteration"], m[name]) for m in metrics if m["model"] == role and m.get(name) is not None]
            _draw_curve(axes, points, smooth=name == "loss")
            axes.set_ylabel(title)
        rows[0][column].set_title(f"{role} model")
        rows[1][column].set_xlabel("step")
        rows[1][column].set_ylim(0, 1)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return str(path)


def _draw_curve(axes, points: Sequence[tuple[int, float]], smooth: bool) -> None:
    if not points:
        axes.text(0.5, 0.5, "none yet", ha="center", va="center", transform=axes.transAxes, color="0.5")
        return
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color="0.8" if smooth else "tab:blue", marker=None if smooth else "o", markersize=3)
    if smooth:
        window = min(len(values), 50)
        axes.plot(steps[window - 1 :], np.convolve(values, np.ones(window) / window, "valid"), color="tab:blue")
    axes.grid(alpha=0.3)


def _open(request) -> Cohort:
    return Cohort.open(request.cohort, request.state)
