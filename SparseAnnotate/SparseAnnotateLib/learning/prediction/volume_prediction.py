"""The predictions of a run's models for a whole volume, slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch

from ...core import Watch
from ...runs.plan import VIEW_NAMES
from ..networks.dense_vox_net import YShapedDenseVoxNet
from .limits import Limits, limits_of
from .slabs import computed_slabs
from .sliding_windows import Pace, averaged_over_flips
from .trained_model import TrainedModel
from .view_averages import mean_pseudo_label, mean_view, set_weights, sets_of

_WIDEST_MARGIN, _THINNEST_SLAB = 32, 16  # slices

Result = TypeVar("Result")


def predicted_classes(
    models: list[TrainedModel] | TrainedModel, image: np.ndarray, watch: Watch | None = None
) -> np.ndarray:
    """Most likely class of every voxel, (S, A, R) uint8 or uint16; several models are averaged.

    Args:
        image: ([C,] S, A, R) normalised, as in training. watch: progress and cancel (per window).
    """
    volume = VolumePrediction(models if isinstance(models, list) else [models], image, watch or Watch())
    return volume.assembled(lambda start, stop: most_likely(volume.probabilities(start, stop)))


def final_classes(
    model: TrainedModel, image: np.ndarray, sets: np.ndarray, sure: np.ndarray, weights: Sequence[float], watch: Watch
) -> np.ndarray:
    """Most likely class of every voxel by a final model, (S, A, R), from image and pseudo-labels (`sets_of`)."""
    volume = VolumePrediction([model], image, watch)

    def classes(start: int, stop: int) -> np.ndarray:
        low, high = volume.with_margin(start, stop)
        given = volume.placed(sets[:, low:high]), volume.placed(sure[:, low:high])
        final = volume.final(mean_pseudo_label(*given, model.class_count, weights), low, high, stop - start)
        return most_likely(final[:, start - low : stop - low])

    return volume.assembled(classes)


def _with_prior(model: TrainedModel, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """The input of a final model: (C, S, A, R) image, and (classes, S, A, R) prior, if it has an arm for it."""
    return torch.cat([image, prior]) if isinstance(model.network, YShapedDenseVoxNet) else image


def class_dtype(class_count: int) -> type:
    """Smallest dtype that class indices fit in."""
    return np.uint8 if class_count < 256 else np.uint16


def most_likely(probabilities: torch.Tensor) -> np.ndarray:
    """Class indices (S, A, R), uint8 or uint16, of (classes, S, A, R) probabilities on any device."""
    return class_indices(probabilities.argmax(0), len(probabilities))


def class_indices(classes: torch.Tensor, class_count: int) -> np.ndarray:
    """Class indices on any device as an array, uint8 or uint16: one small copy."""
    small = classes.to(torch.uint8 if class_count < 256 else torch.int32)
    return small.cpu().numpy().astype(class_dtype(class_count), copy=False)


class VolumePrediction:
    """Predictions for a volume, computed in slabs along its first axis, so that memory stays bounded.

    A 2D model gives a view for each of its planes, a 3D model one. A final model takes the mean of these as input, too;
    its prediction counts as much as all of them together, because its errors differ from theirs.

    A slab stays on the models' device from the image to the classes, as far as its memory allows (`Limits`).

    Args:
        models: of one run, on one device. image: (S, A, R) normalised; (C, S, A, R) of several channels.
        weights: of each view in the joint prediction; None: the 2D views together count as much as 3D.
        share: of the memory for the probabilities of all views of a slab; slabs have a least thickness all the same.

    Attributes:
        view_names: 'axial', 'coronal', 'sagittal' (2D, slices across S, A, R), '3d', as far as there are such models.
        limits: how much is computed at once. pace: progress.
        notes: on what was changed because memory ran out.
        windows_tried: the most windows in a batch of the present slab so far.
    """

    def __init__(
        self,
        models: list[TrainedModel],
        image: np.ndarray,
        watch: Watch,
        weights: dict[str, float] | None = None,
        share: float = 1.0,
    ):
        image = image if image.ndim == 4 else image[None]
        self.class_count, self.slice_count = models[0].class_count, image.shape[1]
        self._weights, self._image, self._share = weights, image, share
        self.notes: list[str] = []
        self.windows_tried = 0
        self.limits = limits_of(models[0].network)
        self._use(models)
        self.view_names = tuple(name for name, _, _ in self._views)
        passes = sum(2 ** len(m.flip) for _, m, _ in self._views)
        passes += 2 ** len(self._final.flip) if self._final is not None else 0
        self.pace = Pace(watch, self.slice_count * passes)

    def _use(self, models: list[TrainedModel]) -> None:
        self._models, self.device = models, models[0].device
        self._final = next((m for m in models if m.role == "final"), None)
        self._views: list[tuple[str, TrainedModel, int | None]] = []
        for model in models:
            if model.role == "2d":
                self._views += [(VIEW_NAMES[axis], model, axis) for axis in model.planes]
            elif model.role == "3d":
                self._views.append(("3d", model, None))
        self._margin = max(min(m.patch[0] // 2, _WIDEST_MARGIN) for m in models)

    def move_to_cpu(self, limits: Limits) -> None:
        """Predict the rest on the CPU; the models themselves stay where they are."""
        self._use([model.on_cpu() for model in self._models])
        self.limits = limits

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First slice of each slab, and the one after its last."""
        thickness, count = self.thickness, self.slice_count
        return [(start, min(start + thickness, count)) for start in range(0, count, thickness)]

    @property
    def thickness(self) -> int:
        """Slices of a slab, its margins excluded."""
        fitting = int(self.limits.logit_bytes(self.device) * self._share // self.bytes_per_slice)
        most = min(self.limits.slices or self.slice_count, self.slice_count)
        return max(1, min(most, max(_THINNEST_SLAB, fitting - 2 * self._margin)))

    @property
    def bytes_per_slice(self) -> int:
        """Memory that each slice of a slab needs, margins included.

        Probabilities of all views and of their mean; logits, weights and probabilities of the present one, and with
        flips the mean of these; the image, mirrored, and with a margin.
        """
        probabilities = len(self._views) + 3 + any(model.flip for model in self._models)
        channels, _slices, rows, columns = self._image.shape
        return rows * columns * (self.class_count * probabilities + 3 * channels) * 4

    @property
    def thinnest(self) -> int:
        """Slices of the thinnest slab worth while: on a GPU most of the work must not be for the margins."""
        return _THINNEST_SLAB if self.device == "cpu" else max(_THINNEST_SLAB, 2 * self._margin)

    def slabs(self, compute: Callable[[int, int], Result]) -> Iterator[tuple[int, int, Result]]:
        """See `computed_slabs`."""
        return computed_slabs([self], compute)

    def assembled(self, classes: Callable[[int, int], np.ndarray]) -> np.ndarray:
        """(S, A, R) class indices, which the function gives for the slices from the first to before the second."""
        result: np.ndarray = np.zeros(self._image.shape[1:], dtype=class_dtype(self.class_count))
        for start, stop, part in self.slabs(classes):
            result[start:stop] = part
        return result

    def with_margin(self, start: int, stop: int) -> tuple[int, int]:
        """The range of slices that a network sees for those from `start` to before `stop`."""
        return max(0, start - self._margin), min(self.slice_count, stop + self._margin)

    def placed(self, array: np.ndarray) -> torch.Tensor:
        """An array where slabs are: on the device, unless they do not fit there."""
        tensor = torch.from_numpy(np.array(array))
        if self.device == "cpu" or self.limits.blends_on_cpu:
            return tensor
        if not self.device.startswith("cuda"):
            # Without waiting, an Apple GPU would read memory that may have been given back meanwhile.
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _slab(self, low: int, high: int) -> torch.Tensor:
        """(C, S, A, R) float32."""
        part = self._image[:, low:high]
        # Half the bytes to copy; there is no float64 on an Apple GPU.
        return self.placed(part if part.dtype == np.float16 else part.astype(np.float32)).float()

    def views(self, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Probabilities of the slices from `start` to before `stop` by each view, (classes, S, A, R) float32.

        They are where slabs are, see `placed`.
        """
        low, high = self.with_margin(start, stop)
        slab = self._slab(low, high)
        inside = slice(start - low, stop - low)
        found = {}
        for name, model, axis in self._views:
            found[name] = self._averaged(model, slab, stop - start, axis)[:, inside]
        return found

    def sets(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """`sets_of` the views of the same slices, as class indices, uint8 or uint16, and uint8."""
        sets, sure = sets_of(list(self.views(start, stop).values()))
        return class_indices(sets, self.class_count), sure.cpu().numpy()

    def _averaged(self, model: TrainedModel, slab: torch.Tensor, slices: int, axis: int | None = None) -> torch.Tensor:
        windows = self.limits.windows_of(model)
        self.windows_tried = max(self.windows_tried, windows)
        return averaged_over_flips(model, slab, self.pace, slices, axis, windows)

    def final(self, prior: torch.Tensor, low: int, high: int, slices: int) -> torch.Tensor:
        """Probabilities by the final model from the image and the others' mean, (classes, S, A, R) float32.

        Args:
            prior: (classes, S, A, R) of the slices from `low` to before `high`, which are given back, too.
            slices: that count as progress. Raises ValueError without a final model.
        """
        if self._final is None:
            raise ValueError("there is no final model")
        return self._averaged(self._final, _with_prior(self._final, self._slab(low, high), prior), slices)

    def probabilities(self, start: int, stop: int) -> torch.Tensor:
        """Joint probabilities of the slices from `start` to before `stop`, (classes, S, A, R) float32, as `views`."""
        return self.joint_and_views(start, stop)[0]

    def joint_and_views(self, start: int, stop: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """`probabilities` and `views` of the same slices."""
        if self._final is None:
            views = self.views(start, stop)
            return mean_view(views, self._weights), views
        low, high = self.with_margin(start, stop)
        inside = slice(start - low, stop - low)
        views = self.views(low, high)
        weights = set_weights(self.view_names, self._weights)
        prior = mean_pseudo_label(*sets_of(list(views.values())), self.class_count, weights)
        joint = (self.final(prior, low, high, stop - start) + mean_view(views, self._weights)) / 2
        return joint[:, inside], {name: view[:, inside] for name, view in views.items()}

    def note(self, sentence: str) -> None:
        """Tell the user something, beside the progress, and keep it for the result."""
        self.notes.append(sentence)
        self.pace.note(sentence)
