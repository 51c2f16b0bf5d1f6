"""A run's files: settings.json (the plan), metrics.jsonl, a folder for each model, and at its end card.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ..core import RunError
from ..core.atomic_files import append_line, write_text
from ..core.case_names import file_stem
from ..core.errors import BadInputError
from ..core.strict_json import read_json, to_text, write_json
from .settings import TrainingSettings, check_patch

RUN_FORMAT = 2
VIEW_NAMES = ("axial", "coronal", "sagittal")  # slices across S, A and R
Role = Literal["2d", "3d", "final"]
ROLES = (["3d"], ["2d"], ["2d", "3d"], ["2d", "3d", "final"])


@dataclass(frozen=True)
class ModelPlan:
    """One model of a run; may be edited in settings.json before the run's first step.

    Attributes:
        role: '2d' and '3d' learn from what was drawn, 'final' from their pseudo-labels.
        network: its name.
        patch: (S, A, R) voxels, or (height, width) of slices.
        batch: patches per step. iterations: steps at most.
        planes: axes of (S, A, R) that slices are cut across; only of '2d'.
        strides, kernels: of each level, for networks that take them; empty for their own.
    """

    role: Role
    network: str
    patch: tuple[int, ...]
    batch: int
    iterations: int
    planes: tuple[int, ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    kernels: tuple[tuple[int, ...], ...] = ()

    @property
    def view_names(self) -> tuple[str, ...]:
        """What this model shows of a volume: 'axial', 'coronal', 'sagittal', or '3d'; nothing, the final model."""
        if self.role == "2d":
            return tuple(VIEW_NAMES[axis] for axis in self.planes)
        return ("3d",) if self.role == "3d" else ()

    def __post_init__(self):
        check_patch(self.patch)
        if self.batch < 1 or self.iterations < 1:
            raise BadInputError(f"Batch and iterations of the model '{self.role}' must be at least 1.")
        if self.role == "2d" and (not self.planes or not set(self.planes) <= {0, 1, 2}):
            raise BadInputError(f"The planes of a 2D model are some of 0, 1, 2 (axial ...), not {list(self.planes)}.")
        if len(self.patch) != (2 if self.role == "2d" else 3):
            raise BadInputError(f"The patch {list(self.patch)} does not have the sides of a '{self.role}' model.")
        if any(len(level) != len(self.patch) or min(level) < 1 for level in (*self.strides, *self.kernels)):
            raise BadInputError(
                f"Strides and kernels of the model '{self.role}' need {len(self.patch)} values a level."
            )


@dataclass(frozen=True)
class RunPlan:
    """What a run does, with every 'auto' decided; written before the first step and read by every resume.

    Attributes:
        settings: as asked for.
        models: in the order they are trained.
        device, precision: as decided.
        spacing: median (S, A, R) of the cases, mm.
        flip: axes of S, A, R that patches are mirrored along.
        classes: class index (from 1) to label value, in order.
        label_names: label value to name.
        cases: case name to the fingerprint of its drawn slices.
        undrawn_cases: cases without drawn slices that the final model learns from by their pseudo-labels.
        notes: what the user should know, as sentences.
        images, fills: case name to a mark of the content of its image and, where fills are learned from, of its fill.
    """

    settings: TrainingSettings
    models: tuple[ModelPlan, ...]
    device: str
    precision: Literal["fp32", "bf16", "fp16"]
    spacing: tuple[float, float, float]
    flip: tuple[Literal["S", "A", "R"], ...]
    classes: tuple[int, ...]
    label_names: dict[int, str]
    cases: dict[str, str]
    undrawn_cases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    images: dict[str, str] = field(default_factory=dict)
    fills: dict[str, str] = field(default_factory=dict)
    format: Literal["SparseAnnotate run"] = "SparseAnnotate run"
    version: int = RUN_FORMAT

    def __post_init__(self):
        roles = [model.role for model in self.models]
        if roles not in ROLES:
            possible = "; ".join(", ".join(found) for found in ROLES)
            raise BadInputError(f"A run's models are, in this order, one of: {possible}; not: {', '.join(roles)}.")

    @property
    def class_count(self) -> int:
        """Output channels of every model, background included."""
        return len(self.classes) + 1

    def model(self, role: Role) -> ModelPlan:
        return next(m for m in self.models if m.role == role)

    def with_model(self, changed: ModelPlan, note: str | None = None) -> RunPlan:
        """The plan with one model replaced, and a note on why."""
        models = tuple(changed if m.role == changed.role else m for m in self.models)
        return replace(self, models=models, notes=(*self.notes, note) if note else self.notes)


@dataclass(frozen=True)
class TrainingPlan:
    """What a training would do.

    Attributes:
        minutes: expected, from a few real steps of each model. stages: seconds of each stage.
        device: where. models: what is trained. notes: what the user should know.
        path: the plan as a file that may be edited before training; None when no run was named.
    """

    minutes: float
    stages: dict[str, float]
    device: str
    models: tuple[ModelPlan, ...]
    notes: tuple[str, ...]
    path: str | None = None


@dataclass(frozen=True)
class ModelCard:
    """What a trained model is, beside its weights.

    Attributes:
        plan: what it is built from. iterations, stopped_early, seconds, loss: how training went (loss: mean of the
            last 50 steps).
        validation_dice: mean Dice on held-out drawn slices, or None when none were held out.
        precision: that it was trained in at last.
    """

    plan: ModelPlan
    iterations: int
    stopped_early: bool
    seconds: float
    loss: float
    validation_dice: float | None
    precision: str


@dataclass(frozen=True)
class RunCard:
    """What a finished run is.

    Attributes:
        models: all of it. classes, label_names, normalisation: what prediction needs.
        flip: axes that patches were mirrored along, which a prediction may mirror along, too.
        view_dice: Dice of each view of the base models on held-out drawn slices; empty when none were held out.
        view_weights: how much each view counts when they are averaged; empty: as they come.
        seconds: of training, from the first step to the last.
        slices: drawn slices learned from. cases: annotated cases.
        seed, device, precision, versions: for whoever wants to repeat it. notes: what the user should know.
    """

    models: tuple[ModelCard, ...]
    classes: tuple[int, ...]
    label_names: dict[int, str]
    normalisation: Literal["z_score", "percentile"]
    flip: tuple[str, ...]
    view_dice: dict[str, float]
    view_weights: dict[str, float]
    seconds: float
    validation_dice: float | None
    slices: int
    cases: tuple[str, ...]
    seed: int
    device: str
    precision: str
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    format: Literal["SparseAnnotate model"] = "SparseAnnotate model"
    version: int = RUN_FORMAT

    @property
    def class_count(self) -> int:
        """Output channels of every model, background included."""
        return len(self.classes) + 1

    @property
    def last(self) -> ModelCard:
        """The model trained last."""
        return self.models[-1]

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

    def weights_path(self, role: Role) -> Path:
        return self.path / role / "weights.safetensors"

    def checkpoint_path(self, role: Role) -> Path:
        return self.path / role / "checkpoint.safetensors"

    def model_card_path(self, role: Role) -> Path:
        return self.path / role / "card.json"

    def pseudo_labels_path(self, case: str) -> Path:
        """Compressed class indices by every base model, (V, S, A, R)."""
        return self.path / "pseudo_labels" / f"{file_stem(case)}.npz"

    def agreement_path(self, case: str) -> Path:
        """Percent of the base models that say what most of them say, on the grid of the case's image."""
        return self.path / "agreement" / f"{file_stem(case)}.nrrd"

    def plan(self) -> RunPlan:
        """The run's plan. Raises RunError when it is missing, damaged or of another version."""
        return self._read(self.plan_path, RunPlan)

    def card(self) -> RunCard:
        """The card of a finished run. Raises RunError when the run is not finished, damaged or of another version."""
        if not self.is_finished:
            state = "has not finished training" if self.is_begun else "does not exist"
            raise RunError(f"The run '{self.name}' {state} ('{self.path}'). Train it, or choose another run.")
        return self._read(self.card_path, RunCard)

    def model_card(self, role: Role) -> ModelCard | None:
        """The card of a model that has been trained, or None."""
        path = self.model_card_path(role)
        return self._read(path, ModelCard) if path.is_file() else None

    def write_plan(self, plan: RunPlan, to_edit: bool = False) -> None:
        """Write settings.json: as a plan that people may edit, or, once training has begun, with a checksum."""
        write_json(self.plan_path, plan, checksum=not to_edit)

    def write_card(self, card: RunCard) -> None:
        write_json(self.card_path, card)

    def write_model_card(self, card: ModelCard) -> None:
        write_json(self.model_card_path(card.plan.role), card)

    def add_metrics(self, role: Role, iteration: int, **figures: float) -> None:
        """Append one line to metrics.jsonl."""
        append_line(self.metrics_path, to_text({"model": role, "iteration": iteration, **figures}))

    def metrics(self, role: Role | None = None) -> list[dict]:
        """All lines of metrics.jsonl, or those of one model; what follows a line that cannot be read is left out."""
        text = self.metrics_path.read_text(encoding="utf-8", errors="replace") if self.metrics_path.is_file() else ""
        found = []
        for line in text.splitlines():
            try:
                figures = json.loads(line)
                known = figures["model"], int(figures["iteration"])
            except (ValueError, KeyError, TypeError):
                break
            if role is None or known[0] == role:
                found.append(figures)
        return found

    def keep_metrics_until(self, role: Role, iteration: int) -> None:
        """Drop the lines written after the checkpoint that training resumes from: they come again."""
        if self.metrics_path.is_file():
            kept = [m for m in self.metrics() if m["model"] != role or m["iteration"] <= iteration]
            write_text(self.metrics_path, "".join(to_text(m) + "\n" for m in kept))

    def _read(self, path: Path, cls):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
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
