"""Seconds per training step, whether the loss stays a number, and whether the same seed gives the same weights again,
for each precision and memory format.

The configurations take turns step by step in one process, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmark_report import options_parser, report
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.sliding_windows import autocast
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.runs import NetworkShape

CONFIGURATIONS = [
    ("fp32", "contiguous"),
    ("fp32", "channels_last_3d"),
    ("bf16", "contiguous"),
    ("bf16", "channels_last_3d"),
]

CLASSES = 3
_REPEATED_STEPS = 10


class Configuration:
    """One network of `CLASSES` classes in training, in one precision and memory format."""

    def __init__(self, network: str, patch: tuple[int, ...], precision: str, memory_format: str, device: str):
        torch.manual_seed(0)
        self.label = f"{precision}, {memory_format}"
        self.precision, self.device = precision, device
        self.format = getattr(torch, f"{memory_format}_format" if memory_format == "contiguous" else memory_format)
        self.model = build_network(network, NetworkShape(CLASSES, tuple(patch))).to(
            device=device, memory_format=self.format
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def weights(self) -> torch.Tensor:
        """All weights as one vector."""
        return torch.cat([p.detach().flatten() for p in self.model.parameters()]).cpu()

    def step(self, image, label, supervised) -> None:
        start = time.perf_counter()
        image = image.to(self.device).contiguous(memory_format=self.format)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits = self.model(image)
        loss = SparseLoss()(logits, label.to(self.device), supervised.to(self.device))
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())
        self.seconds.append(time.perf_counter() - start)


def parser() -> argparse.ArgumentParser:
    return options_parser(
        __doc__,
        network={"default": "unet_small"},
        patch={"type": int, "nargs": 3, "default": (48, 48, 48)},
        device={"default": "cpu"},
        steps={"type": int, "default": 0},
    )


def main() -> None:
    options = parser().parse_args()
    steps = options.steps or (6 if options.quick else 80)
    chosen = CONFIGURATIONS
    configurations = [Configuration(options.network, options.patch, *c, options.device) for c in chosen]
    twins = [Configuration(options.network, options.patch, *c, options.device) for c in chosen]
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in options.patch), indexing="ij"))
    same = [True] * len(chosen)
    for number in range(steps):
        # Blobs at random places: something that can be learned, with every eighth slice drawn.
        centre = rng.uniform(8, min(options.patch) - 8, (2, 3))
        distance = np.stack([np.linalg.norm(grid - c[:, None, None, None], axis=0) for c in centre])[:, None]
        label = torch.from_numpy((distance < 8).astype(np.uint8) + (distance < 4))
        image = torch.from_numpy((label.numpy() + rng.normal(size=label.shape)).astype(np.float32))
        supervised = torch.zeros(label.shape, dtype=torch.bool)
        supervised[:, :, 4::8] = True
        for configuration in configurations:
            configuration.step(image, label, supervised)
        if number < _REPEATED_STEPS:
            for place, twin in enumerate(twins):
                twin.step(image, label, supervised)
                same[place] = same[place] and torch.equal(twin.weights(), configurations[place].weights())
    reference = np.median(configurations[0].seconds[2:])
    rows = []
    for c, repeatable in zip(configurations, same, strict=True):
        unusable = next((n + 1 for n, loss in enumerate(c.losses) if not np.isfinite(loss)), None)
        seconds = float(np.median(c.seconds[2:]))
        rows.append((c.label, seconds, float(reference / seconds), c.losses[-1], unusable or "never", repeatable))
    patch = " x ".join(map(str, options.patch))
    report(
        f"Training step: {options.network}, batch 2 of {patch}, {options.device}, {torch.get_num_threads()} threads",
        ("configuration", "median s/step", "speed against the first", "last loss", "first NaN", "repeatable"),
        rows,
        options,
        seeds=[0],
    )


if __name__ == "__main__":
    main()
