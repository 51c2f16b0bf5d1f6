"""The networks of a run's models, new or ready to predict."""

from __future__ import annotations

import torch

from ...runs.network import NetworkShape
from ...runs.plan import ModelPlan, RunPlan
from ..networks.build import build_network
from .trained_model import TrainedModel


def network_shape(model: ModelPlan, class_count: int, dropout: float = 0.0) -> NetworkShape:
    """What a planned model's network is built from."""
    return NetworkShape(class_count, model.patch, model.strides, model.kernels, dropout)


def built_network(model: ModelPlan, plan: RunPlan) -> torch.nn.Module:
    """A new network for a run's model."""
    return build_network(model.network, network_shape(model, plan.class_count, plan.settings.dropout))


def trained_model(
    model: ModelPlan, plan: RunPlan, network: torch.nn.Module, device: str, precision: str
) -> TrainedModel:
    """A network of a run, ready to predict."""
    return TrainedModel(model.role, network.eval(), model.patch, plan.class_count, device, precision, model.planes)
