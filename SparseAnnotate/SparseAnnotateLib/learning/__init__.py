"""Learning from sparse annotation: networks, losses, training, prediction. Needs torch, MONAI and safetensors.

Only the settings are exported here, because they alone can be imported where torch is not installed; the rest is
imported from its own module (`learning.training.train`, `learning.prediction.Predictor`) by whoever does the work.
"""

from .settings import NETWORKS, TrainingSettings

__all__ = ["NETWORKS", "TrainingSettings"]
