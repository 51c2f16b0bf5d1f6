"""A network of a run, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ...runs.plan import Role
from ..devices import copied_to_cpu, prediction_precision


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network ready to predict, in eval mode on `device`.

    Attributes:
        role: '2d' predicts slices across `planes`, '3d' volumes, 'final' volumes with the others' predictions as input.
        patch: window size. class_count: output channels, background included.
        flip: axes of (S, A, R) to mirror the volume along, in all combinations; the predictions are averaged.
        image_channels: input channels of the image.
        bytes_per_voxel: approximate memory that training it needs per voxel of a window.
    """

    role: Role
    network: torch.nn.Module
    patch: tuple[int, ...]
    class_count: int
    device: str
    precision: str = "fp32"
    planes: tuple[int, ...] = ()
    flip: tuple[int, ...] = ()
    image_channels: int = 1
    bytes_per_voxel: int = 10_000

    def on_cpu(self) -> TrainedModel:
        """A copy on the CPU; this one stays where it is."""
        return replace(self, network=copied_to_cpu(self.network), device="cpu", precision=prediction_precision("cpu"))
