"""The networks of a run's models, new or ready to predict."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...runs.network import NETWORKS, NetworkShape
from ...runs.plan import ModelPlan, RunPlan
from ..networks.build import build_network
from ..networks.initialization import initialize
from .trained_model import TrainedModel


def network_shape(model: ModelPlan, class_count: int, dropout: float = 0.0) -> NetworkShape:
    """What a planned model's network is built from."""
    return NetworkShape(class_count, model.patch, model.strides, model.kernels, dropout)


def built_network(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """A new network for a run's model."""
    return build_network(model.network, network_shape(model, plan.class_count, plan.settings.dropout))


def network_to_train(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """A network for the first step of a run's model: initialized, and with an auxiliary output where it is wanted."""
    settings = plan.settings
    wanted = settings.auxiliary_weight > 0 and NETWORKS.named(model.network).has_auxiliary
    shape = network_shape(model, plan.class_count, settings.dropout)
    network = build_network(model.network, replace(shape, is_trained_with_auxiliary=wanted))
    of_2d = settings.initialization_2d if model.role == "2d" else None
    initialize(network, of_2d or settings.initialization)
    return network


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
        bytes_per_voxel=NETWORKS[model.network].bytes_per_voxel,
    )
