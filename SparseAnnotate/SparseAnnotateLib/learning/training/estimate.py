"""How long a run will take on this machine: a few real steps of each of its models, timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...core import Watch
from ...runs.plan import ModelPlan, RunPlan
from ..data.batches import THREADS_FOR_GPU
from ..devices import explained, is_out_of_memory, release_cached_memory
from ..prediction.model_building import network_to_train
from ..prediction.sliding_windows import overlap_on
from .beyond_drawn_range import WINDOWS_AT_MOST
from .memory_reduction import moved, reduced
from .step_timing import StepTimer, memory_formats

_WINDOWS_PER_VALIDATION = 120  # about as many as the chosen held-out slices need


@dataclass(frozen=True)
class _Measured:
    """Seconds of a step and of predicting one patch, with the model and the device that were timed."""

    model: ModelPlan
    device: str
    step: float
    prediction: float


def stage_seconds(
    plan: RunPlan, shapes: Sequence[tuple[int, int, int]], held_out: bool = True, watch: Watch | None = None
) -> dict[str, float]:
    """Seconds of each stage of a run, in order: the roles of its models, and 'pseudo-labels' before the final one.

    Measured with random patches on the run's device. Raises RunError when there is too little memory for any patch.

    Args:
        plan: the run's plan. shapes: (S, A, R) of the cases it learns from.
        held_out: whether drawn slices are held out.
        watch: for cancelling between two layers, which raises CancelledError.
    """
    watch = watch or Watch()
    seconds: dict[str, float] = {}
    labelling = predict = 0.0
    windows = 0
    for model in plan.models:
        measured = _measured(model, plan, watch)
        watch.check()
        predict = measured.prediction
        if model.role == "final":
            seconds["pseudo-labels"] = labelling
        validations = model.iterations / plan.settings.validate_every if held_out else 0.0
        seconds[model.role] = measured.step * model.iterations + validations * _WINDOWS_PER_VALIDATION * predict
        others = 1 + len(plan.undrawn_cases) / max(len(shapes), 1)
        windows = sum(window_count(measured.model, shape, measured.device) for shape in shapes)
        labelling += predict * others * windows
    # At the end the last model is checked beyond the drawn slices.
    seconds[plan.models[-1].role] += predict * min(windows, WINDOWS_AT_MOST)
    return seconds


def _waiting_seconds(step: float, preparing: float, plan: RunPlan) -> float:
    """How much longer a step takes because its patches must be prepared: on a CPU, by the cores the network uses."""
    if plan.device == "cpu":
        return preparing / torch.get_num_threads()
    return max(0.0, preparing / THREADS_FOR_GPU - step)


def window_count(model: ModelPlan, shape: tuple[int, int, int], device: str) -> int:
    """How many windows a volume needs: along each plane of a 2D model, or in 3D."""
    if model.role != "2d":
        return _windows(shape, model.patch, device)
    count = 0
    for axis in model.planes:
        within = [n for a, n in enumerate(shape) if a != axis]
        count += shape[axis] * _windows(within, model.patch, device)
    return count


def _windows(sides: Sequence[int], patch: Sequence[int], device: str) -> int:
    steps = [max(1, int(p * (1 - overlap_on(device)))) for p in patch]
    return math.prod(1 + max(0, math.ceil((n - p) / s)) for n, p, s in zip(sides, patch, steps, strict=True))


def _measured(model: ModelPlan, plan: RunPlan, watch: Watch) -> _Measured:
    """The seconds of a model; where memory runs out, of the smaller one that training would continue with."""
    while True:
        found = _measured_within_memory(model, plan, watch)
        if found is not None:
            return found
        release_cached_memory()
        reduction = reduced(model, plan.device, plan.device)
        model = reduction.model
        if reduction.device != plan.device:
            plan = moved(plan, reduction.device)


def _measured_within_memory(model: ModelPlan, plan: RunPlan, watch: Watch) -> _Measured | None:
    """The seconds of a model; None when memory has run out, with nothing of it left alive."""
    watch.check()
    try:
        with explained(plan.device):
            timer = StepTimer(network_to_train(model, plan), model, plan, plan.device, plan.precision, watch)
            step = min(timer.seconds(chosen) for chosen in memory_formats(plan.settings, model, plan.device))
            step += _waiting_seconds(step, timer.preparation_seconds, plan)
            return _Measured(model, plan.device, step, timer.prediction_seconds())
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None
