"""Whether a planned training can fit into memory at all, found out before anything large is allocated."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...core import BadInputError
from ...core.messages import _, counted, joined
from ...runs.network import NETWORKS
from ...runs.plan import ModelPlan, RunPlan
from ..devices import free_memory_bytes
from ..prediction.model_building import network_to_train
from .patch_planning import training_bytes_per_voxel

_FP32_BYTES = 4


def require_memory(plan: RunPlan, models: Sequence[ModelPlan] | None = None, is_started: bool = False) -> None:
    """Raise BadInputError when a model of a plan needs more memory than there is.

    On a GPU a training whose memory runs out continues with a single patch, and on the CPU in the end; so there a
    single patch counts, and the larger one of both memories. That it would also try smaller patches does not count:
    for a new run it is better to choose them. What a model needs is calculated without allocating it, and only if the
    plan's rough estimate does not fit; see `least_training_bytes`.

    Args:
        models: those of the plan that are still to be trained; all of them by default.
        is_started: whether it is the plan of a run that is resumed, whose settings stay as they are.
    """
    has_gpu = plan.device.startswith("cuda")
    free, place = free_memory_bytes("cpu"), "cpu"
    for model in plan.models if models is None else models:
        tried = replace(model, batch=1) if has_gpu else model
        voxels = tried.batch * math.prod(tried.patch)
        if voxels * training_bytes_per_voxel(model.network, len(model.patch), plan.class_count) <= free:
            continue
        if has_gpu:
            free, place = max((free, place), (free_memory_bytes(plan.device), plan.device))
        needed = least_training_bytes(tried, plan)
        if needed is not None and needed > free:
            what = _(
                "The '{role}' model ({network}, {patches} of {patch} voxels) needs at least {needed:.1f} GB of memory "
                "in training, and {free:.1f} GB are free on '{place}'."
            )
            if is_started:
                advice = _(
                    "Close other programs, resume the run on another device, or train under another name with smaller "
                    "patches, fewer patches per step or a smaller network."
                )
            else:
                advice = _(
                    "Choose smaller patches, fewer patches per step or a smaller network, or close other programs."
                )
            what = what.format(
                role=model.role,
                network=model.network,
                patches=counted(tried.batch, _("{count} patch"), _("{count} patches")),
                patch=" x ".join(map(str, model.patch)),
                needed=needed / 1e9,
                free=free / 1e9,
                place=place,
            )
            raise BadInputError(joined(" ", [what, advice]))


def least_training_bytes(model: ModelPlan, plan: RunPlan) -> int | None:
    """Bytes that a training step of a model cannot do without; None where that cannot be found out.

    They are the network's weights, their gradients, and the values that its layers keep for the backward pass. The
    network gets a patch on PyTorch's device 'meta', where tensors have shapes and no values.
    """
    try:
        kept, weights = _kept_and_weights(model, plan)
    except Exception as error:
        # Networks may be users' own, and their code may need values.
        logging.getLogger(__name__).debug("The memory of '%s' cannot be calculated: %s", model.network, error)
        return None
    # In bf16 and fp16 most values take half as much.
    share = 1.0 if plan.precision == "fp32" else 0.5
    return int(share * model.batch * kept) + 2 * weights


def _kept_and_weights(model: ModelPlan, plan: RunPlan) -> tuple[int, int]:
    """Bytes that the layers keep of one patch in fp32, and bytes of the weights."""
    network = _network_without_values(model, plan).train()
    weights = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    channels = plan.image_channels + (plan.class_count if NETWORKS[model.network].takes_pseudo_label else 0)
    patch = torch.empty(1, channels, *model.patch, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # What it returns keeps all storages alive, so that none of their addresses is used twice.
        outputs = network(patch)
    found = sum(storage.nbytes() for storage in kept.values())
    del outputs
    return found, _FP32_BYTES * sum(parameter.numel() for parameter in network.parameters())


def _network_without_values(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """The network on the device 'meta', made there where its code allows that; random numbers are not used up."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return network_to_train(model, plan)
        except RuntimeError:
            return network_to_train(model, plan).to("meta")
