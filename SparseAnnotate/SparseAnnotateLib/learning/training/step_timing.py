"""How long the training steps of a model take: some real ones on random patches, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.loss import LOSSES
from ...runs.network import NETWORKS
from ...runs.plan import ModelPlan, RunPlan
from ...runs.settings import TrainingSettings
from ..data.batches import Batch
from ..data.patches import Patch
from ..devices import is_out_of_memory, prediction_precision
from ..prediction.sliding_windows import autocast
from .distributed import Ranks
from .gradient_step import forward_pass, gradient_step, use_memory_format
from .objective import Objective
from .optimizer import new_optimizer
from .self_training_objective import SelfTrainingObjective
from .supervised_objective import SupervisedObjective

_STEPS = 3
_LONGEST_SECONDS = 20.0  # for timing one model
_SLICE_DISTANCE = 8  # between the drawn slices of random patches
_DIFFERENT_PATCHES = 4
_SEED = 0x71E

clock = time.perf_counter
"""Seconds; the time of a step is taken with it."""


class StepTimer:
    """Takes real training steps of a new network on random patches: its loss, optimizer, precision, memory format.

    Raises CancelledError between two layers of the network, not only between two steps.

    Args:
        network: of the model, with weights that may be lost. model, plan: of the run. device: where to time it.
        precision: of training.

    Attributes:
        preparation_seconds: that augmenting the patches of one step takes in one thread.
    """

    def __init__(
        self, network: torch.nn.Module, model: ModelPlan, plan: RunPlan, device: str, precision: str, watch: Watch
    ):
        watch.check()
        self._network, self._model, self._plan = network.to(device), model, plan
        self._device, self._precision, self._watch = device, precision, watch
        self._optimizer = new_optimizer(network.parameters(), plan.settings)
        self._scaler = torch.amp.GradScaler(enabled=precision == "fp16" and device.startswith("cuda"))
        self._objective = _objective(model, plan)
        self._batch = self._random_batch()
        check_between_layers(network, watch)

    def seconds(self, memory_format: torch.memory_format) -> float:
        """Median seconds of a step in a memory format, without the first, which is slower."""
        use_memory_format(memory_format, self._network, self._optimizer)
        self._network.train()
        steps: list[float] = []
        start = clock()
        while len(steps) <= _STEPS and clock() - start < _LONGEST_SECONDS:
            self._watch.check()
            began = clock()
            self._step(memory_format)
            steps.append(clock() - began)
        return float(np.median(steps[1:] or steps))

    def prediction_seconds(self) -> float:
        """Seconds of predicting one patch."""
        self._network.eval()
        channels = self._plan.image_channels + (
            self._plan.class_count if NETWORKS[self._model.network].takes_pseudo_label else 0
        )
        image = torch.randn(1, channels, *self._model.patch, device=self._device)
        seconds = 0.0
        with torch.inference_mode(), autocast(self._device, prediction_precision(self._device)):
            for _ in range(2):  # the first one warms up
                self._watch.check()
                began = clock()
                float(self._network(image).float().sum())
                seconds = clock() - began
        return seconds

    def _step(self, memory_format: torch.memory_format) -> None:
        batch = {key: tensor.to(self._device) for key, tensor in self._batch.items()}
        batch["iteration"], batch["number"] = torch.tensor(0), torch.arange(self._model.batch)
        self._optimizer.zero_grad(set_to_none=True)
        forward = forward_pass(self._network, self._device, self._precision, memory_format)
        teacher = forward if self._plan.settings.mean_teacher > 0 and self._model.role != "final" else None
        # Towards the end of the training, when all parts of the loss count.
        loss = self._objective.loss(forward, batch, 1.0, teacher)
        gradient_step(loss, self._network, self._optimizer, self._scaler, self._plan.settings.largest_gradient)
        float(next(self._network.parameters()).detach().flatten()[0])  # waits for a GPU to finish the step

    def _random_batch(self) -> Batch:
        model, plan = self._model, self._plan
        patches = [_random_patch(model, plan)] * min(model.batch, _DIFFERENT_PATCHES)
        augmentation = self._objective.augmentation(model)
        began = clock()
        batch = augmentation(patches, 0, range(len(patches)))
        self.preparation_seconds = (clock() - began) * model.batch / len(patches)
        chosen = torch.arange(model.batch) % len(patches)
        return {key: tensor[chosen] for key, tensor in batch.items()}


def memory_formats(settings: TrainingSettings, model: ModelPlan, device: str) -> list[torch.memory_format]:
    """The memory formats to choose from: the one in the settings; otherwise on a GPU either, elsewhere the plain one.

    Normalization layers return plain tensors, so that which one is faster depends on network and GPU.
    """
    last = torch.channels_last_3d if len(model.patch) == 3 else torch.channels_last
    if settings.channels_last is not None:
        return [last if settings.channels_last else torch.contiguous_format]
    return [torch.contiguous_format, last] if device.startswith("cuda") else [torch.contiguous_format]


def fastest_format(timer: Callable[[], StepTimer], formats: Sequence[torch.memory_format]) -> int | None:
    """The place of the fastest one of the memory formats, by timing; None where memory runs out."""
    try:
        steps = timer()
        return int(np.argmin([steps.seconds(found) for found in formats]))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def check_between_layers(network: torch.nn.Module, watch: Watch) -> None:
    """From now on passes through the network raise CancelledError between two layers, forward and backward."""

    def check(_module: torch.nn.Module, _inputs: object, output: object) -> None:
        watch.check()
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(lambda _gradient: watch.check())

    for module in network.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(check)


def _objective(model: ModelPlan, plan: RunPlan) -> Objective:
    """What the model learns, without data."""
    if model.role == "final":
        sets = _set_count(plan)
        return SelfTrainingObjective(plan, [], Ranks.alone(), [1.0 / sets] * sets)
    return SupervisedObjective(plan, [], Ranks.alone())


def _set_count(plan: RunPlan) -> int:
    """Of pseudo-labels that the final model learns from."""
    return sum(len(model.view_names) for model in plan.models)


def _random_patch(model: ModelPlan, plan: RunPlan) -> Patch:
    """A patch of noise, in 3D with some drawn slices."""
    patch, random = model.patch, np.random.default_rng(_SEED)
    supervised = np.zeros((1, *patch), bool)
    supervised[:, :: _SLICE_DISTANCE if len(patch) == 3 else 1] = True
    arrays: dict[str, np.ndarray] = {
        "image": random.normal(size=(plan.image_channels, *patch)).astype(np.float32),
        "label": random.integers(0, min(plan.class_count, 256), (1, *patch), dtype=np.uint8),
        "supervised": supervised,
    }
    if model.role == "final":
        arrays |= {name: np.ones((_set_count(plan), *patch), np.uint8) for name in ("sets", "sure")}
    elif LOSSES[plan.settings.loss].needs_distances:
        arrays["distances"] = random.normal(size=(plan.class_count, *patch)).astype(np.float32)
    return Patch(arrays, tuple(range(len(patch))), "")
