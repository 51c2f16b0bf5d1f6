"""What a run is to do: its plan, decided before the first step, and the estimate of its time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ..core.errors import BadInputError
from .settings import TrainingSettings, check_patch

RUN_FORMAT = 2
VIEW_NAMES = ("axial", "coronal", "sagittal")  # slices across S, A and R
Role = Literal["2d", "3d", "final"]
Precision = Literal["fp32", "bf16", "fp16"]
ROLES = (["3d"], ["2d"], ["2d", "3d"], ["2d", "3d", "final"])


@dataclass(frozen=True)
class ModelPlan:
    """One model of a run; may be edited in plan.json before the run's first step.

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

    def __post_init__(self) -> None:
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
    precision: Precision
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

    def __post_init__(self) -> None:
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
class TrainingEstimate:
    """What a training would do, and how long it would take.

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
