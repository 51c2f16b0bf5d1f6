"""Learning from sparse annotation: networks, losses, training, prediction. Needs torch, MONAI and safetensors.

Only what can be imported where torch is not installed is imported here; the rest is imported from its own module
(`learning.training.train`, `learning.prediction.Predictor`) by whoever does the work.
"""

from . import propagation  # noqa: F401  (registers itself; torch is imported when it is used)
from .settings import NETWORKS, TrainingSettings

__all__ = ["NETWORKS", "TrainingSettings"]
