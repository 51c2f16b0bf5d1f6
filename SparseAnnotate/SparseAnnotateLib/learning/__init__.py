"""Learning from sparse annotation, in the worker: networks, training, prediction. Needs torch, MONAI and safetensors.

Nothing is exported here, so that the command line can be imported where torch is not installed. Import from the
subpackages (`learning.training.training_run.train`, `learning.prediction.predictor.Predictor`).
"""

from ..core.user_name import ensure_user_name

ensure_user_name()  # before any module imports MONAI
