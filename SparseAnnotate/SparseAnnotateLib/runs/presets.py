"""Three ways to train that need no further thought. Importable without torch."""

from __future__ import annotations

from ..core import BadInputError
from .settings import AugmentationSettings, Recipe, TrainingSettings

PRESETS = {
    "quick": "one 3D model: to see within minutes whether the drawn slices are enough.",
    "balanced": "a 2D and a 3D model, averaged.",
    "best": "2D and 3D models, and a final model that learns from their pseudo-labels (Zheng 2020).",
}
_RECIPES: dict[str, Recipe] = {"quick": "3d", "balanced": "ensemble", "best": "self_training"}
_CPU_ITERATIONS = {"quick": 600, "balanced": 1000, "best": 1000}
_CARD_ITERATIONS = {"quick": 2500, "balanced": 10_000, "best": 15_000}


def preset_settings(name: str, device: str, seed: int = 0) -> TrainingSettings:
    """Settings of a preset for a device ('cpu' or a GPU). Raises BadInputError for an unknown name."""
    if name not in PRESETS:
        raise BadInputError(f"There is no preset '{name}'; choose one of {', '.join(PRESETS)}.")
    on_cpu = device == "cpu"
    iterations = (_CPU_ITERATIONS if on_cpu else _CARD_ITERATIONS)[name]
    thorough = name != "quick"
    return TrainingSettings(
        recipe=_RECIPES[name],
        iterations=iterations,
        augmentation=AugmentationSettings(
            # In trainings as short as a CPU affords they cost more than they bring (Testing/Benchmarks/README.md).
            affine=0.3 if thorough and not on_cpu else 0.0,
            elastic=0.1 if thorough and not on_cpu else 0.0,
            bias_field=0.15 if thorough and not on_cpu else 0.0,
        ),
        validate_every=max(100, iterations // 20),
        checkpoint_every=max(50, iterations // 100),
        seed=seed,
        device=device,
    )
