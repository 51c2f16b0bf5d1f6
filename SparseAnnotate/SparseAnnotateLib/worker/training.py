"""Training requests: train, plan without training, and draw the curves of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import BadInputError, Cohort, Watch
from ..core.strict_json import to_plain
from ..learning import TrainingSettings
from ..learning.presets import preset_settings
from ..learning.run_folder import ModelPlan, RunFolder
from .packages import require_packages


@dataclass(frozen=True)
class TrainRequest:
    """Train a run, or go on with one that was planned, cancelled or killed (without settings: with its own).

    `settings` or a `preset` may be given, not both; `device` is for the preset.
    """

    cohort: str
    run: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    settings: TrainingSettings | None = None
    preset: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class PlanTrainingRequest:
    """Say what a training would do and how long it would take here; with `run` the plan is written, to be edited."""

    cohort: str
    run: str | None = None
    state: str | None = None
    cases: tuple[str, ...] = ()
    settings: TrainingSettings | None = None
    preset: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would do.

    Attributes:
        minutes: expected, from a few real steps of each model. stages: seconds of each stage.
        device: where. models: what is trained. notes: what the user should know.
        path: the plan as a file that may be edited before training; None when no run was named.
    """

    minutes: float
    stages: dict[str, float]
    device: str
    models: tuple[ModelPlan, ...]
    notes: tuple[str, ...]
    path: str | None = None


@dataclass(frozen=True)
class CurvesRequest:
    """Draw loss, learning rate and Dice of a run, finished or not, as a PNG."""

    cohort: str
    run: str
    state: str | None = None
    path: str = "curves.png"


def train(request: TrainRequest, watch: Watch) -> dict[str, Any]:
    """Train, and return the run's name with its card."""
    require_packages()
    from ..learning.training import train as train_run

    settings = chosen_settings(request.settings, request.preset, request.device)
    card = train_run(_open(request), request.run, settings, request.cases, watch)
    return {"run": request.run, **to_plain(card)}


def plan_training(request: PlanTrainingRequest, watch: Watch) -> TrainingPlan:
    """The plan of a training with its expected minutes."""
    require_packages()
    from ..learning.estimate import stage_seconds
    from ..learning.training import plan_run

    settings = chosen_settings(request.settings, request.preset, request.device)
    cohort = _open(request)
    plan = plan_run(cohort, request.run, settings, request.cases)
    watch.step(0.5, f"timing a few steps on {plan.device}")
    stages = stage_seconds(plan, [cohort.geometry(name).standard_shape for name in plan.cases])
    path = str(RunFolder(cohort.run_folder(request.run)).plan_path) if request.run else None
    return TrainingPlan(sum(stages.values()) / 60.0, stages, plan.device, plan.models, plan.notes, path)


def chosen_settings(settings: TrainingSettings | None, preset: str | None, device: str) -> TrainingSettings | None:
    """The settings asked for, those of a preset on a device, or None. Raises BadInputError when both are given."""
    if preset is None:
        return settings
    if settings is not None:
        raise BadInputError("Give either settings or a preset, not both.")
    from ..learning.devices import chosen_device

    return preset_settings(preset, chosen_device(device).device)


def curves(request: CurvesRequest, watch: Watch) -> str:
    """Write the picture; returns its path. Raises BadInputError when the run has no metrics yet."""
    del watch
    run = RunFolder(_open(request).run_folder(request.run))
    metrics = run.metrics()
    if not metrics:
        raise BadInputError(f"The run '{request.run}' has no metrics yet ('{run.metrics_path}'). Train it first.")
    from matplotlib.figure import Figure

    roles = list(dict.fromkeys(m["model"] for m in metrics))
    figure = Figure(figsize=(5 * len(roles), 6), layout="constrained")
    rows = figure.subplots(2, len(roles), squeeze=False, sharex="col")
    for column, role in enumerate(roles):
        for row, (name, title) in enumerate((("loss", "loss"), ("validation_dice", "Dice on held-out drawn slices"))):
            axes = rows[row][column]
            points = [(m["iteration"], m[name]) for m in metrics if m["model"] == role and m.get(name) is not None]
            _draw_curve(axes, points, smooth=name == "loss")
            axes.set_ylabel(title)
        rows[0][column].set_title(f"{role} model")
        rows[1][column].set_xlabel("step")
        rows[1][column].set_ylim(0, 1)
    path = Path(request.path).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
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
