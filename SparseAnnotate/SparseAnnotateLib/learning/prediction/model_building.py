"""The networks of a run's models, new or ready to predict."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import torch

from ...core import RunError
from ...core.messages import _
from ...runs.network import NETWORKS, NetworkShape
from ...runs.plan import ModelPlan, RunPlan
from ..devices import Shortage, within_memory
from ..networks.build import build_network
from ..networks.initialization import initialize
from .trained_model import TrainedModel


def network_shape(model: ModelPlan, class_count: int, image_channels: int, dropout: float = 0.0) -> NetworkShape:
    """What a planned model's network is built from."""
    return NetworkShape(class_count, model.patch, model.strides, model.kernels, dropout, image_channels=image_channels)


def built_network(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """A new network for a run's model."""
    shape = network_shape(model, plan.class_count, plan.image_channels, plan.settings.dropout)
    return build_network(model.network, shape)


def network_to_train(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """A network for the first step of a run's model: initialized, and with an auxiliary output where it is wanted."""
    settings = plan.settings
    wanted = settings.auxiliary_weight > 0 and NETWORKS.named(model.network).has_auxiliary
    shape = network_shape(model, plan.class_count, plan.image_channels, settings.dropout)
    network = build_network(model.network, replace(shape, is_trained_with_auxiliary=wanted))
    of_2d = settings.initialization_2d if model.role == "2d" else None
    initialize(network, of_2d or settings.initialization)
    return network


def models_within_memory(load: Callable[[str], list[TrainedModel]], device: str, run: str) -> list[TrainedModel]:
    """What `load` gives for a device; all of it on the CPU, with a warning, where the device cannot hold it.

    Raises RunError, naming the run, when the CPU cannot either.
    """
    used = [device]

    def use_cpu(_shortage: Shortage) -> None:
        if used[0] == "cpu":
            raise RunError(_("There is too little memory for the models of '{run}'.").format(run=run))
        logging.getLogger(__name__).warning(on_cpu_sentence(device))
        used[0] = "cpu"

    return within_memory(lambda: load(used[0]), use_cpu)


def on_cpu_sentence(device: str) -> str:
    """That a device cannot hold the models of a run."""
    return _("'{device}' has too little memory for the models: prediction runs on the CPU, which is slow.").format(
        device=device
    )


def trained_model(
    model: ModelPlan, plan: RunPlan, network: torch.nn.Module, device: str, precision: str
) -> TrainedModel:
    """A network of a run, ready to predict."""
    return TrainedModel(
        role=model.role,
        network=network.eval(),
        patch=model.patch,
        class_count=plan.class_count,
        device=device,
        precision=precision,
        planes=model.planes,
        image_channels=plan.image_channels,
        bytes_per_voxel=NETWORKS[model.network].bytes_in(len(model.patch)),
    )
