"""A run's files: settings.json (the plan), metrics.jsonl, checkpoint, and at its end weights and card.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..core import RunError
from ..core.atomic_files import append_line, write_text
from ..core.errors import BadInputError
from ..core.strict_json import read_json, to_text, write_json
from .settings import TrainingSettings

RUN_FORMAT = 1


@dataclass(frozen=True)
class RunPlan:
    """What a run does, with every 'auto' decided; written before the first step and read by every resume.

    Attributes:
        settings: as asked for.
        network, patch, batch, device, precision: as decided.
        classes: class index (from 1) to label value, in order.
        label_names: label value to name.
        cases: case name to the fingerprint of its drawn slices.
    """

    settings: TrainingSettings
    network: str
    patch: tuple[int, int, int]
    batch: int
    device: str
    precision: str
    classes: tuple[int, ...]
    label_names: dict[int, str]
    cases: dict[str, str]
    format: Literal["SparseAnnotate run"] = "SparseAnnotate run"
    version: int = RUN_FORMAT


@dataclass(frozen=True)
class RunCard:
    """What a finished run is, beside its weights.

    Attributes:
        network, patch, classes, label_names, normalisation: what prediction needs.
        iterations, stopped_early, seconds, loss: how training went (loss: mean of the last 50 steps).
        validation_dice: mean Dice on held-out drawn slices, or None when none were held out.
        slices: drawn slices learned from. cases: annotated cases.
        seed, device, precision, versions: for whoever wants to repeat it.
    """

    network: str
    patch: tuple[int, int, int]
    classes: tuple[int, ...]
    label_names: dict[int, str]
    normalisation: Literal["z_score", "percentile"]
    iterations: int
    stopped_early: bool
    seconds: float
    loss: float
    validation_dice: float | None
    slices: int
    cases: tuple[str, ...]
    seed: int
    device: str
    precision: str
    versions: dict[str, str] = field(default_factory=dict)
    format: Literal["SparseAnnotate model"] = "SparseAnnotate model"
    version: int = RUN_FORMAT

    @property
    def label_table(self) -> np.ndarray:
        """(classes + 1,) uint8 or uint16: the label value of each class index, 0 for the background."""
        values = [0, *self.classes]
        return np.array(values, dtype=np.uint8 if max(values) < 256 else np.uint16)


class RunFolder:
    """The folder of one run, existing or not."""

    def __init__(self, path: Path):
        self.path = path
        self.plan_path = path / "settings.json"
        self.card_path = path / "card.json"
        self.weights_path = path / "weights.safetensors"
        self.checkpoint_path = path / "checkpoint.safetensors"
        self.metrics_path = path / "metrics.jsonl"
        self.labels_folder = path / "labels"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_begun(self) -> bool:
        return self.plan_path.is_file()

    @property
    def is_finished(self) -> bool:
        return self.card_path.is_file()

    def plan(self) -> RunPlan:
        """The run's plan. Raises RunError when it is missing, damaged or of another version."""
        return self._read(self.plan_path, RunPlan)

    def card(self) -> RunCard:
        """The card of a finished run. Raises RunError when the run is not finished, damaged or of another version."""
        if not self.is_finished:
            state = "has not finished training" if self.is_begun else "does not exist"
            raise RunError(f"The run '{self.name}' {state} ('{self.path}'). Train it, or choose another run.")
        return self._read(self.card_path, RunCard)

    def write_plan(self, plan: RunPlan) -> None:
        write_json(self.plan_path, plan)

    def write_card(self, card: RunCard) -> None:
        write_json(self.card_path, card)

    def add_metrics(self, iteration: int, **figures: float) -> None:
        """Append one line to metrics.jsonl."""
        append_line(self.metrics_path, to_text({"iteration": iteration, **figures}))

    def metrics(self) -> list[dict[str, float]]:
        """All lines of metrics.jsonl; a last line cut off by a crash is left out."""
        lines = self.metrics_path.read_text().splitlines() if self.metrics_path.is_file() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return found

    def keep_metrics_until(self, iteration: int) -> None:
        """Drop the lines written after the checkpoint that training resumes from: they come again."""
        if self.metrics_path.is_file():
            kept = [to_text(m) + "\n" for m in self.metrics() if m["iteration"] <= iteration]
            write_text(self.metrics_path, "".join(kept))

    def _read(self, path: Path, cls):
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            version = content.get("version", RUN_FORMAT) if isinstance(content, dict) else RUN_FORMAT
        except (OSError, ValueError):
            version = RUN_FORMAT
        if version != RUN_FORMAT:
            raise RunError(
                f"The run '{self.name}' was made by another version of SparseAnnotate (its format is {version}, "
                f"this one reads {RUN_FORMAT}). Update SparseAnnotate, or train again under another name."
            )
        try:
            return read_json(path, cls)
        except BadInputError as error:
            raise RunError(f"The run '{self.name}' cannot be used. {error}") from error
