"""The predictions of a run's models for a whole volume, slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...core import Watch
from ...runs.plan import VIEW_NAMES
from ..networks.dense_vox_net import YShapedDenseVoxNet
from .sliding_windows import Pace, averaged_over_flips
from .trained_model import TrainedModel
from .view_averages import mean_pseudo_label, mean_view, set_weights, sets_of

LOGIT_BYTES = 3 << 30
_WIDEST_MARGIN, _THINNEST_SLAB = 32, 16  # slices


def predicted_classes(
    models: list[TrainedModel] | TrainedModel, image: np.ndarray, watch: Watch | None = None
) -> np.ndarray:
    """Most likely class of every voxel, (S, A, R) uint8 or uint16; several models are averaged.

    Args:
        image: (S, A, R) normalised, as in training. watch: progress and cancel (per window).
    """
    volume = VolumePrediction(models if isinstance(models, list) else [models], image, watch or Watch())
    result: np.ndarray = np.zeros(image.shape, dtype=class_dtype(volume.class_count))
    for start, stop in volume.ranges:
        result[start:stop] = volume.probabilities(start, stop).argmax(0).numpy().astype(result.dtype)
    return result


def final_classes(
    model: TrainedModel, image: np.ndarray, sets: np.ndarray, sure: np.ndarray, weights: Sequence[float], watch: Watch
) -> np.ndarray:
    """Most likely class of every voxel by a final model, (S, A, R), from image and pseudo-labels (`sets_of`)."""
    prior = mean_pseudo_label(
        torch.from_numpy(np.array(sets)), torch.from_numpy(np.array(sure)), model.class_count, weights
    )
    shown = _with_prior(model, torch.from_numpy(np.array(image, dtype=np.float32))[None], prior)
    pace = Pace(watch, image.shape[0] * 2 ** len(model.flip))
    probabilities = averaged_over_flips(model, shown, pace, image.shape[0])
    return probabilities.argmax(0).numpy().astype(class_dtype(model.class_count))


def _with_prior(model: TrainedModel, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """The input of a final model: (1, S, A, R) image, and (classes, S, A, R) prior, if it has an arm for it."""
    return torch.cat([image, prior]) if isinstance(model.network, YShapedDenseVoxNet) else image


def class_dtype(class_count: int) -> type:
    """Smallest dtype that class indices fit in."""
    return np.uint8 if class_count < 256 else np.uint16


class VolumePrediction:
    """Predictions for a volume, computed in slabs along its first axis, so that memory stays bounded.

    A 2D model gives a view for each of its planes, a 3D model one. A final model takes the mean of these as input, too;
    its prediction counts as much as all of them together, because its errors differ from theirs.

    Args:
        models: of one run. image: (S, A, R) normalised.
        weights: of each view in the joint prediction; None: the 2D views together count as much as 3D.
        logit_bytes: memory for the probabilities of all views of a slab, unless slabs would be too thin.

    Attributes:
        ranges: first slice of each slab, and the one after its last.
        view_names: 'axial', 'coronal', 'sagittal' (2D, slices across S, A, R), '3d', as far as there are such models.
    """

    def __init__(
        self,
        models: list[TrainedModel],
        image: np.ndarray,
        watch: Watch,
        weights: dict[str, float] | None = None,
        logit_bytes: int = LOGIT_BYTES,
    ):
        self.class_count = models[0].class_count
        self._weights = weights
        self._image = image
        self._final = next((m for m in models if m.role == "final"), None)
        self._views: list[tuple[str, TrainedModel, int | None]] = []
        for model in models:
            if model.role == "2d":
                self._views += [(VIEW_NAMES[axis], model, axis) for axis in model.planes]
            elif model.role == "3d":
                self._views.append(("3d", model, None))
        self.view_names = tuple(name for name, _, _ in self._views)
        per_slice = image.shape[1] * image.shape[2] * self.class_count * 4
        self._margin = max(min(m.patch[0] // 2, _WIDEST_MARGIN) for m in models)
        # All views, their mean and the network's own copy exist at the same time.
        fitting = int(logit_bytes // (per_slice * (len(self._views) + 2)))
        thickness = max(_THINNEST_SLAB, fitting - 2 * self._margin)
        count = image.shape[0]
        self.ranges = [(start, min(start + thickness, count)) for start in range(0, count, thickness)]
        passes = sum(2 ** len(m.flip) for _, m, _ in self._views)
        passes += 2 ** len(self._final.flip) if self._final is not None else 0
        self._pace = Pace(watch, count * passes)

    def views(self, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Probabilities of the slices from `start` to before `stop` by each view, (classes, S, A, R) float32, CPU."""
        low, high = max(0, start - self._margin), min(self._image.shape[0], stop + self._margin)
        slab = torch.from_numpy(np.array(self._image[low:high], dtype=np.float32))[None]
        inside = slice(start - low, stop - low)
        found = {}
        for name, model, axis in self._views:
            found[name] = averaged_over_flips(model, slab, self._pace, stop - start, axis)[:, inside]
        return found

    def probabilities(self, start: int, stop: int) -> torch.Tensor:
        """Joint probabilities of the slices from `start` to before `stop`, (classes, S, A, R) float32 on the CPU."""
        return self.joint_and_views(start, stop)[0]

    def joint_and_views(self, start: int, stop: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """`probabilities` and `views` of the same slices."""
        if self._final is None:
            views = self.views(start, stop)
            return mean_view(views, self._weights), views
        low, high = max(0, start - self._margin), min(self._image.shape[0], stop + self._margin)
        inside = slice(start - low, stop - low)
        views = self.views(low, high)
        weights = set_weights(self.view_names, self._weights)
        prior = mean_pseudo_label(*sets_of(list(views.values())), self.class_count, weights)
        image = torch.from_numpy(np.array(self._image[low:high], dtype=np.float32))[None]
        final = averaged_over_flips(self._final, _with_prior(self._final, image, prior), self._pace, stop - start)
        joint = (final + mean_view(views, self._weights)) / 2
        return joint[:, inside], {name: view[:, inside] for name, view in views.items()}
