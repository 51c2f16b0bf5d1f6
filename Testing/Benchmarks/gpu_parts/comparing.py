"""What the part 'agreement' shares: differences of results, and fp32 as the CPU computes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from SparseAnnotateLib.learning.prediction import sliding_windows
from SparseAnnotateLib.learning.training import training_run
from SparseAnnotateLib.runs import AUTO, TrainingSettings
from SparseAnnotateLib.runs.network import DEFAULT_NETWORK_ON_CPU

Y_SHAPED_NETWORK = "y_shaped_dense_vox_net"
SMALL_NETWORK, SMALL_FINAL_NETWORK = DEFAULT_NETWORK_ON_CPU, "y_shaped_dense_vox_net_small"


@contextmanager
def computed_alike() -> Iterator[None]:
    """Full fp32 on the GPU, and the same windows on both devices.

    By default a GPU computes convolutions in TF32, with 10 bits of mantissa, and its windows overlap more.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with patch.object(sliding_windows, "overlap_on", lambda device: 0.5):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def relative(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
    """Norm of the difference divided by the norm of what is expected; infinite where a value is not finite."""
    a, b = (torch.as_tensor(x).detach().cpu().double() for x in (found, expected))
    if a.shape != b.shape or not bool(torch.isfinite(a).all()):
        return float("inf")
    return float((a - b).norm() / b.norm().clamp_min(1e-30))


def share_equal(found: np.ndarray, expected: np.ndarray) -> float:
    """Share of the voxels with the same label."""
    return float(np.mean(found == expected))


def gradient(network: torch.nn.Module) -> torch.Tensor:
    """The gradient of all weights as one vector, on the CPU."""
    return torch.cat([p.grad.detach().flatten().cpu() for p in network.parameters() if p.grad is not None])


@contextmanager
def without_estimate() -> Iterator[None]:
    """Trainings begin without timing steps of each model first."""
    stages = dict.fromkeys(("2d", "3d", "pseudo-labels", "final"), 1.0)
    with patch.object(training_run, "stage_seconds", lambda *_given, **_named: stages):
        yield


def same_on_all_devices(settings: TrainingSettings, **changes: Any) -> TrainingSettings:
    """Settings with small networks where the device would choose, nothing dropped at random, and `changes`.

    What dropout drops is drawn on the device, so it differs from one kind of device to another.
    """
    chosen = {"network": SMALL_NETWORK, "network_2d": SMALL_NETWORK, "network_final": SMALL_FINAL_NETWORK}
    auto = {name: network for name, network in chosen.items() if getattr(settings, name) == AUTO}
    return replace(settings, **{**auto, "dropout": 0.0, **changes})
