"""The models of a finished run, loaded once: what they predict for an image, before clean-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...core import DEFAULT_DEVICE, BadInputError, Watch
from ...core.messages import _
from ...interpolation.likeliest_labels import CERTAIN, LikeliestLabels
from ...runs.cards import RunCard
from ...runs.network import NETWORKS
from ...runs.run_folder import RunFolder
from ..devices import chosen_device, prediction_precision
from ..networks.build import build_network
from ..weights import load_weights
from .model_building import models_within_memory, network_shape, on_cpu_sentence
from .trained_model import TrainedModel
from .view_averages import agreement
from .volume_prediction import VolumePrediction, class_dtype, class_indices, most_likely

_AXES = "SAR"


@dataclass(frozen=True, eq=False)
class Predicted:
    """What models predict for an image, (S, A, R), before clean-up.

    Attributes:
        classes: class indices. likeliest: the two most likely ones, if requested.
        entropy, disagreement, notes: see `CasePrediction`.
    """

    classes: np.ndarray
    likeliest: LikeliestLabels | None = None
    entropy: np.ndarray | None = None
    disagreement: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CasePrediction:
    """What a run predicts for a volume, on its image's grid.

    Attributes:
        labels: (K, J, I) uint8 or uint16; drawn slices as drawn.
        entropy: (K, J, I) uint8, entropy of the mean prediction in percent of its maximum; None unless requested.
        disagreement: (K, J, I) uint8, percent of the views that disagree with the majority; None unless requested,
            or when there is only one view.
        notes: sentences on what clean-up left out, and on memory that ran out.
    """

    labels: np.ndarray
    entropy: np.ndarray | None = None
    disagreement: np.ndarray | None = None
    notes: tuple[str, ...] = ()


class RunModels:
    """A finished run, loaded once, for any number of images.

    Args: as `Predictor`. Raises: as `Predictor`.
    """

    def __init__(
        self, run: RunFolder, device: str = DEFAULT_DEVICE, flips: bool = False, roles: Sequence[str] = ()
    ) -> None:
        self._run = run
        self.card: RunCard = run.card()
        self.device = chosen_device(device).device
        self._flips = flips
        self._notes_on_device: tuple[str, ...] = ()
        trained = [m.plan.role for m in self.card.models]
        self._roles = tuple(roles or trained)
        self._uses_all = set(self._roles) == set(trained)
        unknown = [role for role in self._roles if role not in trained]
        if unknown or ("final" in self._roles and set(self._roles) != set(trained)):
            raise BadInputError(
                _(
                    "The run '{run}' has the models {available}, so it cannot predict with {requested}. A final model "
                    "needs all others."
                ).format(run=run.name, available=", ".join(trained), requested=", ".join(self._roles))
            )
        self._models = self._loaded()

    def _loaded(self) -> list[TrainedModel]:
        models = loaded_models(self._run, self.card, self.device, flips=self._flips)
        if models[0].device != self.device:
            self._notes_on_device = (on_cpu_sentence(self.device),)
            self.device = models[0].device
        return [model for model in models if model.role in self._roles]

    @property
    def ways(self) -> str:
        """Short text that differs between choices of models and flips."""
        return f"{self._flips:d}" if self._uses_all else "-".join([f"{self._flips:d}", *sorted(self._roles)])

    def _predicted(
        self, image: np.ndarray, watch: Watch, uncertainty: bool = False, likeliest: bool = False
    ) -> Predicted:
        """The prediction for an image, ([C,] S, A, R) normalised, before clean-up."""
        volume = VolumePrediction(self._models, image, watch, self.card.view_weights or None)
        kept = 2 if likeliest else 1
        shape = image.shape[-3:]
        classes: np.ndarray = np.zeros((kept, *shape), dtype=class_dtype(volume.class_count))
        chances = np.zeros_like(classes) if likeliest else None
        entropy = np.zeros(shape, dtype=np.uint8) if uncertainty else None
        several = uncertainty and len(volume.view_names) > 1
        disagreement = np.zeros(shape, dtype=np.uint8) if several else None

        def slab(start: int, stop: int) -> tuple[np.ndarray | None, ...]:
            joint, views = volume.joint_and_views(start, stop)
            sure: np.ndarray | None = None
            if likeliest:
                highest, found = joint.topk(2, dim=0)
                sure = (highest * CERTAIN).round().clamp(0, CERTAIN).to(torch.uint8).cpu().numpy()
                best = class_indices(found, volume.class_count)
            else:
                best = most_likely(joint)[None]
            unsure = entropy_percent(joint) if uncertainty else None
            differs = 100 - agreement(np.stack([most_likely(v) for v in views.values()])) if several else None
            return best, sure, unsure, differs

        for start, stop, parts in volume.slabs(slab):
            for whole, part in zip((classes, chances, entropy, disagreement), parts, strict=True):
                if whole is not None and part is not None:
                    whole[..., start:stop, :, :] = part
        known = LikeliestLabels(classes, chances) if chances is not None else None
        return Predicted(classes[0], known, entropy, disagreement, tuple(volume.notes))


def loaded_models(
    folder: RunFolder, card: RunCard, device: str, dropout: float = 0.0, flips: bool = False
) -> list[TrainedModel]:
    """All models of a finished run on a device, in eval mode; on the CPU, with a warning, where they do not fit there.

    Raises RunError.
    """
    return models_within_memory(lambda used: _loaded_on(used, folder, card, dropout, flips), device, folder.name)


def _loaded_on(device: str, folder: RunFolder, card: RunCard, dropout: float, flips: bool) -> list[TrainedModel]:
    axes = tuple(_AXES.index(name) for name in card.flip) if flips else ()
    precision = prediction_precision(device)
    found = []
    for model in card.models:
        shape = network_shape(model.plan, card.class_count, card.image_channels, dropout)
        network = build_network(model.plan.network, shape)
        load_weights(folder.weights_path(model.plan.role), network)
        network.to(device).eval()
        plan = model.plan
        found.append(
            TrainedModel(
                role=plan.role,
                network=network,
                patch=plan.patch,
                class_count=card.class_count,
                device=device,
                precision=precision,
                planes=plan.planes,
                flip=axes,
                image_channels=card.image_channels,
                bytes_per_voxel=NETWORKS[plan.network].bytes_in(len(plan.patch)),
            )
        )
    return found


def entropy_percent(probabilities: torch.Tensor) -> np.ndarray:
    """Entropy of (classes, S, A, R) probabilities in percent of its maximum, (S, A, R) uint8."""
    share = -torch.xlogy(probabilities, probabilities).sum(0) / math.log(len(probabilities))
    return (100.0 * share).round().clamp(0, 100).to(torch.uint8).cpu().numpy()
