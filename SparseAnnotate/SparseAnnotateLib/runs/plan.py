"""What a run will do: its plan, decided before the first step, and the estimate of its time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from ..core.errors import BadInputError
from ..core.geometry import VolumeGeometry
from ..core.messages import _
from ..core.strict_json import LEFT_OUT_WHEN_EMPTY
from .ct_scale import CtScale
from .settings import AxisLetter, TrainingSettings, check_patch

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
        strides, kernels: of each level, for networks that accept them; empty: the network's defaults.
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
        """The views that this model predicts: 'axial', 'coronal', 'sagittal', or '3d'; none for the final model."""
        if self.role == "2d":
            return tuple(VIEW_NAMES[axis] for axis in self.planes)
        return ("3d",) if self.role == "3d" else ()

    def __post_init__(self) -> None:
        check_patch(self.patch)
        if self.batch < 1 or self.iterations < 1:
            raise BadInputError(
                _("The batch and the iterations of the '{role}' model must be at least 1.").format(role=self.role)
            )
        if self.role == "2d" and (not self.planes or not set(self.planes) <= {0, 1, 2}):
            raise BadInputError(
                _(
                    "The planes of a 2D model must be among 0 (axial), 1 (coronal) and 2 (sagittal), not {planes}."
                ).format(planes=list(self.planes))
            )
        dimensions = 2 if self.role == "2d" else 3
        if len(self.patch) != dimensions:
            raise BadInputError(
                _("The patch of the '{role}' model must have {count} sides, but is {patch}.").format(
                    role=self.role, count=dimensions, patch=list(self.patch)
                )
            )
        if any(len(level) != len(self.patch) or min(level) < 1 for level in (*self.strides, *self.kernels)):
            raise BadInputError(
                _("The strides and kernels of the '{role}' model must have {count} values per level.").format(
                    role=self.role, count=dimensions
                )
            )


@dataclass(frozen=True)
class RunPlan:
    """What a run does, with every 'auto' decided; written before the first step and read whenever the run resumes.

    Attributes:
        settings: as requested.
        models: in the order they are trained.
        device, precision: that were chosen.
        spacing: median (S, A, R) of the cases, mm.
        flip: axes of S, A, R that patches are mirrored along.
        classes: class index (from 1) to label value, in order.
        label_names: label value to name.
        cases: case name to the fingerprint of its drawn slices.
        undrawn_cases: cases without drawn slices that the final model learns from by their pseudo-labels.
        notes: what the user should know, as sentences.
        images, fills: case name to a fingerprint of its image's content and, if fills are learned from, its fill's.
        is_live: True for a run that is trained while slices are being drawn; see `live_settings`.
        channels: those that the networks see, in their order; none for images without names.
        ct: how each channel that is CT is scaled, by its name, '' for images without names; the others are as
            `normalisation` says.
        voxels: case name to a fingerprint of its image's voxels, as far as it is known: for images that are saved
            again. grids: the grid of each of these images; none for a run that was planned before this was kept.
    """

    settings: TrainingSettings
    models: tuple[ModelPlan, ...]
    device: str
    precision: Precision
    spacing: tuple[float, float, float]
    flip: tuple[AxisLetter, ...]
    classes: tuple[int, ...]
    label_names: dict[int, str]
    cases: dict[str, str]
    undrawn_cases: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    images: dict[str, str] = field(default_factory=dict)
    fills: dict[str, str] = field(default_factory=dict)
    is_live: bool = False
    format: Literal["SparseAnnotate run"] = "SparseAnnotate run"
    version: int = RUN_FORMAT
    channels: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)
    ct: dict[str, CtScale] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    voxels: dict[str, str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    grids: dict[str, VolumeGeometry] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)

    def __post_init__(self) -> None:
        roles = [model.role for model in self.models]
        if roles not in ROLES:
            possible = "; ".join(", ".join(found) for found in ROLES)
            raise BadInputError(
                _("The models of a run must be one of: {possible} (in this order), not: {roles}.").format(
                    possible=possible, roles=", ".join(roles)
                )
            )

    @property
    def class_count(self) -> int:
        """Output channels of every model, background included."""
        return len(self.classes) + 1

    @property
    def image_channels(self) -> int:
        """Input channels of every model."""
        return max(1, len(self.channels))

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
        device: used for it. models: what is trained. notes: what the user should know.
        path: the plan as a file that may be edited before training; None when no run was named.
    """

    minutes: float
    stages: dict[str, float]
    device: str
    models: tuple[ModelPlan, ...]
    notes: tuple[str, ...]
    path: str | None = None


def require_cases(names: Collection[str], cohort: str) -> None:
    """Raise BadInputError when there is no case to learn from in the cohort with this name."""
    if not names:
        raise BadInputError(
            _(
                "No slice of the cohort '{cohort}' has been drawn yet, so there is nothing to learn from. Draw "
                "at least one slice and mark it as drawn."
            ).format(cohort=cohort)
        )
