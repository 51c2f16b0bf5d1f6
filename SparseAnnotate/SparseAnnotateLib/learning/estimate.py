"""How long a run will take on this machine: a few real steps of each of its models, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from .inference import autocast
from .networks import Y_SHAPED
from .run_folder import ModelPlan, RunPlan
from .trainer import built_network, is_out_of_memory

_STEPS = 3
_LONGEST = 20.0  # seconds that timing one model may take
_WINDOWS = 1.5  # windows a voxel is seen by: they overlap
_FALLBACK = 1.0


def stage_seconds(plan: RunPlan, shapes: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    """Seconds of each stage of a run, in order: the roles of its models, and 'pseudo-labels' before the final one.

    Measured with random patches on the run's device; what reading and changing patches takes beside that is not in it.

    Args:
        plan: of the run. shapes: of the cases it learns from.
    """
    seconds: dict[str, float] = {}
    voxels = sum(math.prod(shape) for shape in shapes)
    if shapes:
        voxels *= 1 + len(plan.undrawn_cases) / len(shapes)
    labelling = 0.0
    for model in plan.models:
        step, predict = _measured(model, plan)
        if model.role == "final":
            seconds["pseudo-labels"] = labelling
        seconds[model.role] = step * model.iterations
        views = len(model.planes) if model.role == "2d" else 1
        labelling += views * _WINDOWS * voxels / math.prod(model.patch) * predict
    return seconds


def _measured(model: ModelPlan, plan: RunPlan) -> tuple[float, float]:
    """Median seconds of a training step, and of predicting one patch."""
    try:
        network = built_network(model, plan).to(plan.device)
        optimizer = torch.optim.AdamW(network.parameters())
        channels = 1 + (plan.class_count if model.network in Y_SHAPED else 0)
        image = torch.randn(model.batch, channels, *model.patch, device=plan.device)
        steps, start = [], time.perf_counter()
        while len(steps) <= _STEPS and time.perf_counter() - start < _LONGEST:
            began = time.perf_counter()
            with autocast(plan.device, plan.precision):
                loss = network(image).float().square().mean()
            loss.backward()
            optimizer.step()
            float(loss.detach())
            steps.append(time.perf_counter() - began)
        with torch.inference_mode(), autocast(plan.device, plan.precision):
            began = time.perf_counter()
            network.eval()
            float(network(image[:1]).float().sum())
            predict = time.perf_counter() - began
    except (torch.OutOfMemoryError, RuntimeError) as error:
        # The training itself makes patches smaller and says so.
        if not is_out_of_memory(error):
            raise
        return _FALLBACK, _FALLBACK
    return float(np.median(steps[1:] or steps)), predict
