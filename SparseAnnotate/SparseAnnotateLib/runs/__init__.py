"""What a training run is on disk: its settings, plan, folder and cards, and the list of runs. Without torch."""

from .presets import PRESETS
from .settings import FINAL_NETWORKS, LOSSES, NETWORKS, RECIPES, AugmentationSettings, TrainingSettings

__all__ = ["FINAL_NETWORKS", "LOSSES", "NETWORKS", "PRESETS", "RECIPES", "AugmentationSettings", "TrainingSettings"]
