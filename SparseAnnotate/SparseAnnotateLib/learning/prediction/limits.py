"""How much of a prediction is computed at once, and what is reduced when a device's memory runs out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from ...core.messages import _, counted
from ..devices import usable_memory_bytes
from .trained_model import TrainedModel

LOGIT_BYTES = 3 << 30  # of the CPU's memory
_SHARE_OF_GPU = 0.4  # for the probabilities of a slab, and as much for windows
_WINDOWS_ON_GPU = {2: 64, 3: 16}
_WINDOWS_ON_CPU = {2: 16, 3: 1}
_PREDICTION_BYTES = 0.25  # of what training needs: no gradients are kept

_BYTES_PER_CLASS = 12  # of logits and probabilities, per voxel


@dataclass
class Limits:
    """What has proved to fit, for all volumes that are predicted with the same network.

    Attributes:
        windows: in a batch at most. slices: of a slab at most, its margins excluded; None: as many as fit.
        blends_on_cpu: slabs are kept in the CPU's memory; only windows are on the device.
    """

    windows: int = max(_WINDOWS_ON_GPU.values())
    slices: int | None = None
    blends_on_cpu: bool = False

    def logit_bytes(self, device: str) -> int:
        """Memory for the probabilities of all views of a slab."""
        if device == "cpu" or self.blends_on_cpu:
            return LOGIT_BYTES
        return int(usable_memory_bytes(device) * _SHARE_OF_GPU)

    def windows_of(self, model: TrainedModel) -> int:
        """Windows in a batch of a model."""
        dimensions = len(model.patch)
        if model.device == "cpu":
            return min(self.windows, _WINDOWS_ON_CPU[dimensions])
        per_voxel = model.bytes_per_voxel * _PREDICTION_BYTES + _BYTES_PER_CLASS * model.class_count
        each = per_voxel * math.prod(model.patch)
        fitting = int(usable_memory_bytes(model.device) * _SHARE_OF_GPU / each)
        return max(1, min(self.windows, fitting, _WINDOWS_ON_GPU[dimensions]))

    def reduce(self, device: str, windows: int, thickness: int, thinnest: int) -> str | None:
        """Compute less at once from now on, and return a note for the user; None when nothing is left to reduce.

        Args:
            windows, thickness: of the attempt that failed. thinnest: slabs thinner than that take too long.
        """
        if windows > 1:
            self.windows = max(1, windows // 4)
            return _("Memory ran out on '{device}': predicting {windows} at a time.").format(
                device=device, windows=counted(self.windows, _("{count} window"), _("{count} windows"))
            )
        if thickness > thinnest:
            self.slices = max(thinnest, thickness // 2)
            return _("Memory ran out on '{device}': predicting thinner parts of the volume at a time.").format(
                device=device
            )
        if device != "cpu" and not self.blends_on_cpu:
            self.blends_on_cpu, self.slices = True, None
            return _("Memory ran out on '{device}': windows are put together in the CPU's memory.").format(
                device=device
            )
        return None


_FOUND: WeakKeyDictionary[torch.nn.Module, Limits] = WeakKeyDictionary()


def limits_of(network: torch.nn.Module) -> Limits:
    """The limits found so far for predictions with a network; they last as long as the network."""
    return _FOUND.setdefault(network, Limits())
