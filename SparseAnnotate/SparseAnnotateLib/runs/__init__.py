"""What a training run is on disk: its settings, plan, folder and cards, and the list of runs. Without torch."""

from .loss import DEFAULT_LOSS, LOSSES, LossEntry
from .network import AUTO, DEFAULT_NETWORK, NETWORKS, NetworkEntry, NetworkShape, base_networks
from .presets import DEFAULT_PRESET, PRESETS
from .settings import RECIPES, AugmentationSettings, TrainingSettings

__all__ = [
    "AUTO",
    "DEFAULT_LOSS",
    "DEFAULT_NETWORK",
    "DEFAULT_PRESET",
    "LOSSES",
    "NETWORKS",
    "PRESETS",
    "RECIPES",
    "AugmentationSettings",
    "LossEntry",
    "NetworkEntry",
    "NetworkShape",
    "TrainingSettings",
    "base_networks",
]
