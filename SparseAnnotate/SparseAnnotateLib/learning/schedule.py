"""Learning rate and early stop as one plan: warm up, hold, and cool down at the end or when progress has ended."""

from __future__ import annotations

from dataclasses import dataclass

_SMALLEST_PROGRESS = 0.002


@dataclass
class Schedule:
    """Warm-up, constant rate, linear cool-down to zero.

    Unlike a one-cycle or cosine plan it can end at any time with a proper cool-down: when the held-out slices show no
    progress for `patience` looks, the cool-down begins there and then (early stop).
    """

    iterations: int
    warm_up: int
    cool_down: int
    patience: int
    cooling_from: int | None = None
    best: float | None = None
    looks_without_progress: int = 0

    @property
    def cooling_start(self) -> int:
        """Iteration at which the cool-down begins."""
        return self.iterations - self.cool_down if self.cooling_from is None else self.cooling_from

    @property
    def end(self) -> int:
        """Number of iterations that will have been done in the end."""
        return min(self.iterations, self.cooling_start + self.cool_down)

    @property
    def stopped_early(self) -> bool:
        return self.end < self.iterations

    def rate(self, iteration: int) -> float:
        """Factor of the learning rate at an iteration (from 0)."""
        rising = (iteration + 1) / self.warm_up if iteration < self.warm_up else 1.0
        falling = (self.end - iteration) / max(self.end - self.cooling_start, 1)
        return min(rising, falling, 1.0) if iteration >= self.cooling_start else rising

    def look(self, iteration: int, score: float) -> None:
        """Take note of a score (higher is better) after `iteration` iterations."""
        if self.best is None or score > self.best + _SMALLEST_PROGRESS:
            self.best, self.looks_without_progress = score, 0
            return
        self.looks_without_progress += 1
        if self.looks_without_progress >= self.patience and iteration < self.cooling_start:
            self.cooling_from = iteration

    def state(self) -> dict:
        """What has been learned so far, for a checkpoint."""
        return {"cooling_from": self.cooling_from, "best": self.best, "looks": self.looks_without_progress}

    def restore(self, state: dict) -> None:
        """The inverse of `state`."""
        self.cooling_from, self.best = state["cooling_from"], state["best"]
        self.looks_without_progress = state["looks"]
