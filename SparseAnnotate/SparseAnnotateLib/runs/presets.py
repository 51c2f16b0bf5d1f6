"""Presets: settings for training by name. Those of publications are in `runs.published`. Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.messages import _
from ..core.registry import Entry, Registry
from .settings import AugmentationSettings, Recipe, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class PresetEntry(Entry):
    """Settings for training that users choose by name; see `preset_settings`.

    Attributes:
        recipe: what is trained. iterations, iterations_on_cpu: of each model, on a GPU and on a CPU.
        is_thorough: True when patches are also deformed, on a GPU.
        changes: settings that differ from the defaults. On a CPU, patches and batches are left to the plan, and the
            steps of the schedule 'step' come as much earlier as there are fewer iterations.
    """

    recipe: Recipe
    iterations: int
    iterations_on_cpu: int
    is_thorough: bool = True
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_3d_model(self) -> bool:
        """False when only a 2D model is trained, on which the settings of 3D models have no effect."""
        return self.recipe != "2d"


PRESETS: Registry[PresetEntry] = Registry(
    _("There is no preset '{name}'; choose one of {names}."), f"{__package__}.published"
)
NO_LIMIT = 1e9  # for `largest_gradient`: gradients are not clipped
NEVER = 1_000_000  # for `patience`: no early stop
_PLANNED_ON_CPU = ("patch", "patch_2d", "batch", "batch_2d")
DEFAULT_PRESET = "quick"
PRESETS.add(
    PresetEntry(
        name=DEFAULT_PRESET,
        label=_("Quick"),
        description=_("One 3D model; shows within minutes whether the drawn slices are enough."),
        make=TrainingSettings,
        recipe="3d",
        iterations=2500,
        iterations_on_cpu=600,
        is_thorough=False,
        order=1,
    )
)
PRESETS.add(
    PresetEntry(
        name="quick_2d",
        label=_("Quick, 2D"),
        description=_("One 2D model on the slices of all planes."),
        make=TrainingSettings,
        recipe="2d",
        iterations=2500,
        iterations_on_cpu=600,
        is_thorough=False,
        order=2,
    )
)
PRESETS.add(
    PresetEntry(
        name="balanced",
        label=_("Balanced"),
        description=_("A 2D and a 3D model, averaged."),
        make=TrainingSettings,
        recipe="ensemble",
        iterations=10_000,
        iterations_on_cpu=1000,
        order=3,
    )
)
PRESETS.add(
    PresetEntry(
        name="best",
        label=_("Best"),
        description=_("2D and 3D models, and a final model that learns from their pseudo-labels (Zheng 2020)."),
        make=TrainingSettings,
        recipe="self_training",
        iterations=15_000,
        iterations_on_cpu=1000,
        order=4,
    )
)


def preset_settings(name: str, device: str, seed: int = 0) -> TrainingSettings:
    """Settings of a preset for a device ('cpu' or a GPU). Raises BadInputError for an unknown name."""
    preset = PRESETS.named(name)
    on_cpu = device == "cpu"
    iterations = preset.iterations_on_cpu if on_cpu else preset.iterations
    thorough = preset.is_thorough
    settings = TrainingSettings(
        recipe=preset.recipe,
        iterations=iterations,
        augmentation=AugmentationSettings(
            # In trainings as short as on a CPU they cost more than they gain (Testing/Benchmarks/README.md).
            affine=0.3 if thorough and not on_cpu else 0.0,
            elastic=0.1 if thorough and not on_cpu else 0.0,
            bias_field=0.15 if thorough and not on_cpu else 0.0,
        ),
        validate_every=max(100, iterations // 20),
        checkpoint_every=max(50, iterations // 100),
        seed=seed,
        device=device,
    )
    changes = dict(preset.changes)
    if on_cpu:
        changes |= dict.fromkeys(_PLANNED_ON_CPU)
        share = preset.iterations_on_cpu / preset.iterations
        changes["step_at"] = tuple(round(step * share) for step in changes.get("step_at", ()))
    return replace(settings, **changes)
