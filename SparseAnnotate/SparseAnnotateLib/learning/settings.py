"""Everything a training can be told, as data: written with the run, read by whoever continues or uses it.

Importable without torch, so that the panel and the command line know the choices and the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core import BadInputError

DIVISOR = 16  # networks halve their input at most four times
NETWORKS = {
    "basic_unet_small": "3D U-Net with 16 to 128 features; the one a CPU can afford.",
    "basic_unet": "3D U-Net with 32 to 256 features.",
    "attention_unet": "3D U-Net with attention gates (Oktay 2018).",
    "dynunet": "3D U-Net of the nnU-Net kind with residual blocks.",
    "segresnet": "Residual encoder-decoder (Myronenko 2018).",
}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; 'auto' and None are filled in from the cohort and the device when the run begins.

    Attributes:
        network: a name from NETWORKS, or 'auto' (small on a CPU).
        patch: patch size in voxels (S, A, R), or None.
        batch: patches per step, or None.
        iterations: optimiser steps at most.
        learning_rate, weight_decay: of AdamW.
        warm_up, cool_down: share of the iterations over which the rate rises first and falls to zero last.
        dropout: share of values dropped in the network while it learns; also what its uncertainty is sampled with.
        fill_weight: how much a filled voxel counts beside a drawn one, times its confidence; 0: nothing is learned from
            fills. With more the cases must have been filled.
        foreground_share: share of patches placed on a voxel of a structure; the others on any drawn voxel.
        flip: mirror patches at random along all three axes.
        normalisation: of each image: 'z_score', or 'percentile' (0.5 and 99.5 to 0 and 1).
        validation_share: share of the drawn slices held out to watch the training; none below 20 drawn slices.
        validate_every: iterations between two looks at the held-out slices.
        patience: looks without progress before training cools down and stops early.
        checkpoint_every: iterations between two checkpoints.
        seed: of everything random.
        device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
        precision: 'auto', 'fp32', 'bf16' or 'fp16' (mixed).
    """

    network: str = "auto"
    patch: tuple[int, int, int] | None = None
    batch: int | None = None
    iterations: int = 600
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.05
    cool_down: float = 0.5
    dropout: float = 0.0
    fill_weight: float = 0.0
    foreground_share: float = 0.5
    flip: bool = True
    normalisation: Literal["z_score", "percentile"] = "z_score"
    validation_share: float = 0.1
    validate_every: int = 100
    patience: int = 4
    checkpoint_every: int = 50
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    def __post_init__(self):
        if self.network != "auto" and self.network not in NETWORKS:
            raise BadInputError(f"There is no network '{self.network}'; choose one of auto, {', '.join(NETWORKS)}.")
        if self.patch is not None and (min(self.patch) < DIVISOR or any(n % DIVISOR for n in self.patch)):
            raise BadInputError(
                f"Each side of the patch must be a multiple of {DIVISOR} voxels, not {list(self.patch)}."
            )
        if self.patch is not None and max(self.patch) == DIVISOR:
            raise BadInputError(
                f"At least one side of the patch must be {2 * DIVISOR} voxels or more: after four halvings there must "
                f"be more than one voxel left, which {list(self.patch)} does not give."
            )
        at_least_one = ("iterations", "validate_every", "patience", "checkpoint_every")
        for name in at_least_one + (("batch",) if self.batch is not None else ()):
            if getattr(self, name) < 1:
                raise BadInputError(f"'{name}' must be at least 1, not {getattr(self, name)}.")
        for name in ("warm_up", "cool_down", "fill_weight", "foreground_share", "validation_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInputError(f"'{name}' is a share between 0 and 1, not {getattr(self, name):g}.")
        if not 0.0 <= self.dropout < 1.0:
            raise BadInputError(f"'dropout' is a share of at least 0 and less than 1, not {self.dropout:g}.")
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise BadInputError("The learning rate must be positive, and the weight decay not negative.")
        if self.seed < 0:
            raise BadInputError(f"The seed must not be negative, but is {self.seed}.")
