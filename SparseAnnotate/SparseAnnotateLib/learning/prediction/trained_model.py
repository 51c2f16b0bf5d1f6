"""A network of a run, ready to predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...runs.plan import Role


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network ready to predict, in eval mode on `device`.

    Attributes:
        role: '2d' predicts slices across `planes`, '3d' volumes, 'final' volumes with the others' predictions as input.
        patch: window size. class_count: output channels, background included.
        flip: axes of (S, A, R) to mirror the volume along, in all combinations; the predictions are averaged.
    """

    role: Role
    network: torch.nn.Module
    patch: tuple[int, ...]
    class_count: int
    device: str
    precision: str = "fp32"
    planes: tuple[int, ...] = ()
    flip: tuple[int, ...] = ()
