"""The models that are being trained in this process while slices are drawn, for other threads to ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...runs.drawing_record import DrawingRecord
from ...runs.plan import RunPlan
from ..prediction.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class ModelNow:
    """A copy of a model that is learning, as it was after `steps` steps, ready to predict, and the plan of its run."""

    model: TrainedModel
    plan: RunPlan
    steps: int


@dataclass(frozen=True, eq=False)
class LiveModel:
    """A model while it is learning.

    Attributes:
        now: gives the model as it is now; None before its first step. record: what it has learned from.
    """

    now: Callable[[], ModelNow | None]
    record: DrawingRecord


_models: dict[Path, LiveModel] = {}
_lock = threading.Lock()


def live_model(run_folder: Path) -> LiveModel | None:
    """The model that is learning in this process for a run; None when none is."""
    with _lock:
        return _models.get(run_folder.resolve())


@contextmanager
def published(run_folder: Path, model: LiveModel) -> Iterator[None]:
    """Let `live_model` find a model."""
    key = run_folder.resolve()
    with _lock:
        _models[key] = model
    try:
        yield
    finally:
        with _lock:
            _models.pop(key, None)
