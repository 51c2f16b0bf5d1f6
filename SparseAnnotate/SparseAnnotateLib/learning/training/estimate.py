"""How long a run will take on this machine: a few real steps of each of its models, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.network import NETWORKS
from ...runs.plan import ModelPlan, RunPlan
from ..data.augmentation import Augmentation
from ..data.batches import THREADS_FOR_GPU
from ..data.patches import Patch
from ..devices import is_out_of_memory, prediction_precision
from ..prediction.model_building import built_network
from ..prediction.sliding_windows import autocast, overlap_on

_STEPS = 3
_LONGEST_SECONDS = 20.0  # for timing one model
_FALLBACK = 1.0
_WINDOWS_PER_VALIDATION = 120  # about as many as the chosen held-out slices need


def stage_seconds(
    plan: RunPlan, shapes: Sequence[tuple[int, int, int]], held_out: bool = True, watch: Watch | None = None
) -> dict[str, float]:
    """Seconds of each stage of a run, in order: the roles of its models, and 'pseudo-labels' before the final one.

    Measured with random patches on the run's device.

    Args:
        plan: the run's plan. shapes: (S, A, R) of the cases it learns from.
        held_out: whether drawn slices are held out.
        watch: for cancelling between two steps, which raises CancelledError.
    """
    watch = watch or Watch()
    seconds: dict[str, float] = {}
    labelling = 0.0
    for model in plan.models:
        step, predict = _measured(model, plan, watch)
        watch.check()
        step += _waiting_seconds(step, _preparation_seconds(model, plan), plan)
        if model.role == "final":
            seconds["pseudo-labels"] = labelling
        validations = model.iterations / plan.settings.validate_every if held_out else 0.0
        seconds[model.role] = step * model.iterations + validations * _WINDOWS_PER_VALIDATION * predict
        others = 1 + len(plan.undrawn_cases) / max(len(shapes), 1)
        labelling += predict * others * sum(window_count(model, shape, plan.device) for shape in shapes)
    return seconds


def _preparation_seconds(model: ModelPlan, plan: RunPlan) -> float:
    """Seconds that augmenting the patches of one step takes in one thread."""
    patch = model.patch
    arrays = {"image": np.random.default_rng(0).normal(size=(1, *patch)).astype(np.float32)}
    arrays |= {"label": np.zeros((1, *patch), np.uint8), "supervised": np.ones((1, *patch), bool)}
    if model.role == "final":
        sets = sum(len(m.view_names) for m in plan.models)
        arrays |= {name: np.ones((sets, *patch), np.uint8) for name in ("sets", "sure")}
    augmentation = Augmentation(plan.settings.augmentation, plan.flip, patch, plan.spacing, 0)
    patches = [Patch(arrays, tuple(range(len(patch))), "")] * min(model.batch, 4)
    began = time.perf_counter()
    augmentation(patches, 0, range(len(patches)))
    return (time.perf_counter() - began) * model.batch / len(patches)


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


def _measured(model: ModelPlan, plan: RunPlan, watch: Watch) -> tuple[float, float]:
    """Median seconds of a training step, and of predicting one patch."""
    try:
        watch.check()
        network = built_network(model, plan).to(plan.device)
        optimizer = torch.optim.AdamW(network.parameters())
        channels = 1 + (plan.class_count if NETWORKS[model.network].takes_pseudo_label else 0)
        image = torch.randn(model.batch, channels, *model.patch, device=plan.device)
        steps: list[float] = []
        start = time.perf_counter()
        while len(steps) <= _STEPS and time.perf_counter() - start < _LONGEST_SECONDS:
            watch.check()
            began = time.perf_counter()
            with autocast(plan.device, plan.precision):
                loss = network(image).float().square().mean()
            loss.backward()
            optimizer.step()
            float(loss.detach())
            steps.append(time.perf_counter() - began)
        with torch.inference_mode(), autocast(plan.device, prediction_precision(plan.device)):
            network.eval()
            for _ in range(2):  # the first one warms up
                watch.check()
                began = time.perf_counter()
                float(network(image[:1]).float().sum())
                predict = time.perf_counter() - began
    except (RuntimeError, MemoryError) as error:
        # Training itself reduces batch or patch size then, and reports it.
        if not is_out_of_memory(error):
            raise
        return _FALLBACK, _FALLBACK
    return float(np.median(steps[1:] or steps)), predict
