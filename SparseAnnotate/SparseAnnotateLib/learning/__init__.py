"""Learning from sparse annotation: training, pseudo-labels, prediction. Needs torch, MONAI and safetensors.

Only what can be imported where torch is not installed is imported here; the rest is imported from its own module
(`learning.training.train`, `learning.prediction.Predictor`) by whoever does the work.
"""

from ..core.user_name import ensure_user_name
from . import propagation  # noqa: F401  (registers itself; torch is imported when it is used)
from .presets import PRESETS
from .settings import FINAL_NETWORKS, LOSSES, NETWORKS, RECIPES, AugmentationSettings, TrainingSettings

ensure_user_name()  # before any module imports MONAI

__all__ = ["FINAL_NETWORKS", "LOSSES", "NETWORKS", "PRESETS", "RECIPES", "AugmentationSettings", "TrainingSettings"]
