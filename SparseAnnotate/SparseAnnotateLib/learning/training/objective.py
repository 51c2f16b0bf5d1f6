"""What a model learns from, as the training loop sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from ...core import Watch
from ...runs.plan import ModelPlan
from ..data.augmentation import Augmentation
from ..data.batches import Batch
from ..data.patches import PatchSampler
from ..networks.outputs import Outputs
from ..prediction.trained_model import TrainedModel

Forward = Callable[[torch.Tensor], Outputs]


class Objective(ABC):
    """What a model learns from: its patches, their augmentation, the loss, and the validation score."""

    @abstractmethod
    def sampler(self, model: ModelPlan) -> PatchSampler:
        """Where patches come from."""

    @abstractmethod
    def augmentation(self, model: ModelPlan) -> Augmentation:
        """How patches are augmented."""

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch, done: float, teacher: Forward | None) -> torch.Tensor:
        """The loss of a batch; `done` is the share of the iterations done, `teacher` a moving average of the model."""

    @abstractmethod
    def score(self, model: TrainedModel, watch: Watch) -> float | None:
        """Dice on held-out drawn slices; None when none are held out."""

    @abstractmethod
    def unpredicted(self, model: TrainedModel, watch: Watch) -> list[int]:
        """Class indices that the model does not predict even on the drawn slices that show most of them."""
