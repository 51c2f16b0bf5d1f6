"""What a training changes when memory has run out: half the batch, then smaller patches, then the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...core import RunError
from ...core.messages import _, counted
from ...runs.network import NETWORKS
from ...runs.plan import ModelPlan, RunPlan
from ..devices import training_precision


@dataclass(frozen=True)
class Reduction:
    """How a training continues: with this model, on this device, and a note for the user."""

    model: ModelPlan
    device: str
    note: str


def reduced(model: ModelPlan, planned_device: str, device: str) -> Reduction:
    """The next smaller way to train a model.

    Args:
        planned_device: of the run. device: the one whose memory has run out; another one where processes share GPUs.

    Raises:
        RunError: when not even a single small patch fits into the CPU's memory.
    """
    if model.batch > 1:
        batch = model.batch // 2
        note = _("Memory ran out: the '{role}' model continues with {patches} per step instead of {batch}.").format(
            role=model.role, patches=counted(batch, _("{count} patch"), _("{count} patches")), batch=model.batch
        )
        return Reduction(replace(model, batch=batch), planned_device, note)
    if _fits_smaller_patches(model):
        patch = list(model.patch)
        patch[int(np.argmax(patch))] -= NETWORKS[model.network].patch_step
        note = _("Memory ran out: the '{role}' model continues with patches of {patch} instead of {before}.").format(
            role=model.role, patch=patch, before=list(model.patch)
        )
        return Reduction(replace(model, patch=tuple(patch)), planned_device, note)
    if planned_device != "cpu":
        return on_cpu(model, device)
    raise RunError(
        _("There is too little memory for a single small patch. Close other programs, or choose a smaller network.")
    )


def on_cpu(model: ModelPlan, device: str) -> Reduction:
    """Train a model on the CPU, because the device cannot even hold it with one small patch."""
    note = _(
        "'{device}' has too little memory for a single small patch: training continues on the CPU, which is slow."
    ).format(device=device)
    return Reduction(model, "cpu", note)


def moved(plan: RunPlan, device: str) -> RunPlan:
    """The plan on another device, in the precision that training has there; models and schedule stay the same."""
    precision = training_precision(plan.settings.precision, device)
    if precision == "fp16" and not device.startswith("cuda"):
        precision = "fp32"  # it needs a scaler, which only NVIDIA's GPUs have
    return replace(plan, device=device, precision=precision)


def check_can_be_reduced(model: ModelPlan, device: str, process_count: int) -> None:
    """Raise RunError when several processes train together: they cannot change their plan."""
    if process_count > 1:
        raise RunError(
            _(
                "'{device}' has too little memory for the '{role}' model with a batch of {batch} and patches of "
                "{patch}. This is not reduced automatically when several processes train together: plan a smaller "
                "batch or patch."
            ).format(device=device, role=model.role, batch=model.batch, patch=list(model.patch))
        )


def _fits_smaller_patches(model: ModelPlan) -> bool:
    """Whether the network can work on smaller patches with its present weights."""
    network = NETWORKS[model.network]
    return not network.has_fixed_patch and bool(np.prod(model.patch) > 2 * network.patch_step ** len(model.patch))
