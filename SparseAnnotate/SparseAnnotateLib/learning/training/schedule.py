"""Learning rate and early stopping together: warm up, hold, and cool down at the end or when progress has stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_SMALLEST_PROGRESS = 0.002
_POWER = 0.9


@dataclass
class Schedule:
    """Warm-up, then 'hold' (constant rate, linear cool-down to zero), 'poly' (power 0.9) or 'cosine' to zero.

    With 'hold' training can end at any time with a proper cool-down: when the held-out slices show no progress for
    `patience` validations, the cool-down begins immediately (early stop). The other two stop early without a cool-down.
    """

    iterations: int
    warm_up: int
    cool_down: int
    patience: int
    kind: Literal["hold", "poly", "cosine"] = "hold"
    cooling_from: int | None = None
    best: float | None = None
    validations_without_progress: int = 0

    @property
    def cooling_start(self) -> int:
        """Iteration at which the cool-down begins, or, without one, training ends."""
        if self.cooling_from is not None:
            return self.cooling_from
        return self.iterations - self.cool_down if self.kind == "hold" else self.iterations

    @property
    def end(self) -> int:
        """Number of iterations that will have been done in the end."""
        return min(self.iterations, self.cooling_start + (self.cool_down if self.kind == "hold" else 0))

    @property
    def stopped_early(self) -> bool:
        return self.end < self.iterations

    def rate(self, iteration: int) -> float:
        """Factor of the learning rate at an iteration (from 0)."""
        rising = (iteration + 1) / self.warm_up if iteration < self.warm_up else 1.0
        if self.kind != "hold":
            left = 1.0 - iteration / self.iterations
            return min(rising, left**_POWER if self.kind == "poly" else 0.5 * (1.0 - math.cos(math.pi * left)))
        falling = (self.end - iteration) / max(self.end - self.cooling_start, 1)
        return min(rising, falling, 1.0) if iteration >= self.cooling_start else rising

    def validated(self, iteration: int, score: float) -> None:
        """Record a validation score (higher is better) after `iteration` iterations."""
        if self.best is None or score > self.best + _SMALLEST_PROGRESS:
            self.best, self.validations_without_progress = score, 0
            return
        self.validations_without_progress += 1
        if self.validations_without_progress >= self.patience and iteration < self.cooling_start:
            self.cooling_from = iteration

    def state(self) -> dict:
        """The state to keep in a checkpoint."""
        # 'looks', as checkpoints of version 0.1 have it.
        return {"cooling_from": self.cooling_from, "best": self.best, "looks": self.validations_without_progress}

    def restore(self, state: dict) -> None:
        """The inverse of `state`."""
        self.cooling_from, self.best = state["cooling_from"], state["best"]
        self.validations_without_progress = state["looks"]
