"""Learning rate and early stopping together: warm up, hold, and cool down at the end or when progress has stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...runs.optimization import ScheduleKind
from ...runs.plan import ModelPlan
from ...runs.settings import TrainingSettings

_SMALLEST_PROGRESS = 0.002


@dataclass
class Schedule:
    """Warm-up, then 'hold' (constant rate, linear cool-down to zero), 'poly' or 'cosine' to zero, or 'step'.

    With 'hold' training can end at any time with a proper cool-down: when the held-out slices show no progress for
    `patience` validations, the cool-down begins immediately (early stop). The others stop early without a cool-down.

    Attributes:
        poly_power: 'poly' multiplies the rate by (1 - iteration / iterations) to this power (Yu 2017).
        step_at, step_factor: 'step' multiplies the rate by the factor after each of these numbers of iterations.
    """

    iterations: int
    warm_up: int
    cool_down: int
    patience: int
    kind: ScheduleKind = "hold"
    poly_power: float = 0.9
    step_at: tuple[int, ...] = ()
    step_factor: float = 0.1
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
        left = 1.0 - iteration / self.iterations
        if self.kind == "poly":
            return min(rising, left**self.poly_power)
        if self.kind == "cosine":
            return min(rising, 0.5 * (1.0 - math.cos(math.pi * left)))
        if self.kind == "step":
            return min(rising, self.step_factor ** sum(iteration >= step for step in self.step_at))
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


def new_schedule(settings: TrainingSettings, model: ModelPlan) -> Schedule:
    """The schedule of a model at its first step."""
    kind = settings.schedule_2d if model.role == "2d" else None
    return Schedule(
        model.iterations,
        max(1, round(settings.warm_up * model.iterations)),
        round(settings.cool_down * model.iterations),
        settings.patience,
        kind or settings.schedule,
        poly_power=settings.poly_power,
        step_at=settings.step_at,
        step_factor=settings.step_factor,
    )
