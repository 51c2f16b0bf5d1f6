"""Networks over whole volumes: sliding windows with Gaussian blending, in 3D and slice by slice, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from ...core import RemainingTime, RunError, Watch
from ...runs.plan import VIEW_NAMES, Role
from ..networks.dense_vox_net import YShapedDenseVoxNet
from .dense_crf import refined

LOGIT_BYTES = 3 << 30
# On a CPU windows cost too much to look at every voxel eight times.
_OVERLAP = {"cpu": 0.25}
_OVERLAP_ELSEWHERE = 0.5
_CERTAIN = 10.0
_SLICES_AT_ONCE = 16
_WIDEST_MARGIN, _THINNEST_SLAB = 32, 16  # slices


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network ready to predict, in eval mode on `device`.

    Attributes:
        role: '2d' looks at slices across `planes`, '3d' at the volume, 'final' at the volume and what the others say.
        patch: window size. class_count: output channels, background included.
        flip: axes of (S, A, R) to mirror the volume along, in all combinations; the predictions are averaged.
        follows_edges: what a 2D model says of a slice is refined by a conditional random field (`dense_crf`).
    """

    role: Role
    network: torch.nn.Module
    patch: tuple[int, ...]
    class_count: int
    device: str
    precision: str = "fp32"
    planes: tuple[int, ...] = ()
    flip: tuple[int, ...] = ()
    follows_edges: bool = False


def predicted_classes(
    models: list[TrainedModel] | TrainedModel, image: np.ndarray, watch: Watch | None = None
) -> np.ndarray:
    """Most likely class of every voxel, (S, A, R) uint8 or uint16; several models are averaged.

    Args:
        image: (S, A, R) normalised, as in training. watch: progress and cancel (per window).
    """
    volume = VolumePrediction(models if isinstance(models, list) else [models], image, watch or Watch())
    result = np.zeros(image.shape, dtype=class_dtype(volume.class_count))
    for start, stop in volume.ranges:
        result[start:stop] = volume.probabilities(start, stop).argmax(0).numpy().astype(result.dtype)
    return result


def final_classes(
    model: TrainedModel, image: np.ndarray, sets: np.ndarray, sure: np.ndarray, weights: Sequence[float], watch: Watch
) -> np.ndarray:
    """Most likely class of every voxel by a final model, (S, A, R), from image and pseudo-labels (`sets_of`)."""
    both = (torch.from_numpy(np.array(array)) for array in (sets, sure))
    prior = mean_pseudo_label(*both, model.class_count, weights)
    both = _with_prior(model, torch.from_numpy(np.array(image, dtype=np.float32))[None], prior)
    pace = _Pace(watch, image.shape[0] * 2 ** len(model.flip))
    probabilities = _averaged_over_flips(model, both, pace, image.shape[0])
    return probabilities.argmax(0).numpy().astype(class_dtype(model.class_count))


def _with_prior(model: TrainedModel, image: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """What a final model is shown: (1, S, A, R) image, and (classes, S, A, R) prior, if it has an arm for that."""
    return torch.cat([image, prior]) if isinstance(model.network, YShapedDenseVoxNet) else image


def class_dtype(class_count: int) -> type:
    """Smallest dtype that class indices fit in."""
    return np.uint8 if class_count < 256 else np.uint16


class VolumePrediction:
    """What models say of a volume, worked off in slabs along its first axis, so that memory stays bounded.

    A 2D model gives a view for each of its planes, a 3D model one. A final model looks at the mean of these beside the
    image; what it says counts as much as all of them, because it errs elsewhere than the models it learned from.

    Args:
        models: of one run. image: (S, A, R) normalised.
        weights: how much each view counts in what all say together; None: 2D views together as much as 3D.
        logit_bytes: what the probabilities of all views of a slab may take, as far as a slab is not too thin then.

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
        # All views, their mean and the network's own copy exist at once.
        fitting = int(logit_bytes // (per_slice * (len(self._views) + 2)))
        thickness = max(_THINNEST_SLAB, fitting - 2 * self._margin)
        count = image.shape[0]
        self.ranges = [(start, min(start + thickness, count)) for start in range(0, count, thickness)]
        passes = sum(2 ** len(m.flip) for _, m, _ in self._views)
        passes += 2 ** len(self._final.flip) if self._final is not None else 0
        self._pace = _Pace(watch, count * passes)

    def views(self, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Probabilities of the slices from `start` to before `stop` by each view, (classes, S, A, R) float32, CPU."""
        low, high = max(0, start - self._margin), min(self._image.shape[0], stop + self._margin)
        slab = torch.from_numpy(np.array(self._image[low:high], dtype=np.float32))[None]
        inside = slice(start - low, stop - low)
        found = {}
        for name, model, axis in self._views:
            view = _averaged_over_flips(model, slab, self._pace, stop - start, axis)
            if model.follows_edges and axis is not None:
                view = refined(view.movedim(axis + 1, 0), slab.movedim(axis + 1, 0)).movedim(0, axis + 1)
            found[name] = view[:, inside]
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
        final = _averaged_over_flips(self._final, _with_prior(self._final, image, prior), self._pace, stop - start)
        joint = (final + mean_view(views, self._weights)) / 2
        return joint[:, inside], {name: view[:, inside] for name, view in views.items()}


def set_weights(names: Sequence[str], weights: dict[str, float] | None) -> tuple[float, ...]:
    """How much each view counts, in their order; they sum to 1. Without weights all views alike."""
    found = [(weights or {}).get(name, 1.0) for name in names]
    return tuple(weight / sum(found) for weight in found)


def mean_view(views: dict[str, torch.Tensor], weights: dict[str, float] | None) -> torch.Tensor:
    """Weighted mean probabilities; without weights the views of a 2D model count together as much as a 3D model."""
    if weights is None and "3d" in views:
        weights = {name: 1.0 if name == "3d" else 1.0 / max(len(views) - 1, 1) for name in views}
    shares = set_weights(tuple(views), weights)
    return sum(share * view for share, view in zip(shares, views.values(), strict=True))


def mean_pseudo_label(
    sets: torch.Tensor, sure: torch.Tensor, class_count: int, weights: Sequence[float]
) -> torch.Tensor:
    """A of Zheng 2020: what the sets say on average, (classes, *spatial) float32.

    Each set is kept as its most likely class and the probability of that one, which is all there is to know of two
    classes; of more, the others share the rest.

    Args:
        sets: (V, *spatial) class indices. sure: (V, *spatial) uint8, their probabilities, 255 for 1.
        weights: of the sets, summing to 1.
    """
    shares = torch.tensor(weights, device=sets.device).reshape(-1, *([1] * (sets.ndim - 1)))
    certain = sure.float() * (shares / 255.0)
    rest = (shares - certain) / (class_count - 1)
    return torch.stack([torch.where(sets == value, certain, rest).sum(0) for value in range(class_count)])


def sets_of(views: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Each view's most likely class, (V, S, A, R) int64, and its probability, (V, S, A, R) uint8, 255 for 1."""
    best = [view.max(0) for view in views]
    return torch.stack([b.indices for b in best]), torch.stack(
        [b.values.mul(255).round().to(torch.uint8) for b in best]
    )


def _averaged_over_flips(
    model: TrainedModel, slab: torch.Tensor, pace: _Pace, slices: int, axis: int | None = None
) -> torch.Tensor:
    """(channels, S, A, R) to mean probabilities (classes, S, A, R) over all combinations of mirroring."""
    total = None
    axes = [a for a in model.flip if a != axis]
    for count in range(len(axes) + 1):
        for mirrored in combinations(axes, count):
            dims = [a + 1 for a in mirrored]
            logits = _windowed(model, slab.flip(dims), pace, axis).flip(dims)
            probabilities = torch.softmax(logits, 0)
            total = probabilities if total is None else total.add_(probabilities)
            pace.finish(slices * (2 if axis in model.flip else 1))
    return total / 2 ** len(axes)


def _windowed(model: TrainedModel, slab: torch.Tensor, pace: _Pace, axis: int | None) -> torch.Tensor:
    """Logits of a slab, (classes, S, A, R) float32 on the CPU; slice by slice across `axis`, if given."""
    overlap = overlap_on(model.device)
    windows = _Windows(model, pace)
    with torch.inference_mode():
        if axis is None:
            return _sliding(slab[None], model, windows, overlap)[0]
        slices = slab.movedim(axis + 1, 0)
        parts = [_sliding(part, model, windows, overlap) for part in slices.split(_SLICES_AT_ONCE)]
        return torch.cat(parts).movedim(0, axis + 1)


def _sliding(inputs: torch.Tensor, model: TrainedModel, windows: _Windows, overlap: float) -> torch.Tensor:
    # Blending stays on the graphics card, where it is fast, unless the slab does not fit there.
    try:
        logits = sliding_window_inference(
            inputs,
            model.patch,
            _SLICES_AT_ONCE if model.role == "2d" else 1,
            windows,
            overlap=overlap,
            mode="gaussian",
            sw_device=model.device,
            device=model.device,
        )
    except torch.OutOfMemoryError:
        logits = sliding_window_inference(
            inputs, model.patch, 1, windows, overlap=overlap, mode="gaussian", sw_device=model.device, device="cpu"
        )
    return logits.cpu()


class _Pace:
    """How far a prediction has come, in slices times passes."""

    def __init__(self, watch: Watch, total: int):
        self._watch, self._total, self._done = watch, max(total, 1), 0
        self._remaining = RemainingTime(self._total)

    def finish(self, slices: int) -> None:
        self._done += slices
        left = self._remaining.after(min(self._done, self._total))
        self._watch.step(min(1.0, self._done / self._total), "predicting", left)

    def check(self) -> None:
        self._watch.check()


class _Windows:
    """The network as MONAI calls it, window by window, with a chance to cancel in between."""

    def __init__(self, model: TrainedModel, pace: _Pace):
        self._model, self._pace, self._precision = model, pace, model.precision

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        self._pace.check()
        images = window[:, :1].flatten(1)
        # Nothing to see, as around a skull-stripped brain: instance normalisation would blow up rounding errors.
        blank = images.amax(1) == images.amin(1)
        logits = torch.zeros(window.shape[0], self._model.class_count, *window.shape[2:], device=window.device)
        logits[:, 0] = _CERTAIN
        if not bool(blank.all()):
            logits[~blank] = self._logits(window[~blank])
        return logits

    def _logits(self, window: torch.Tensor) -> torch.Tensor:
        with autocast(self._model.device, self._precision):
            logits = self._model.network(window).float()
        if self._precision != "fp32" and not bool(torch.isfinite(logits).all()):
            self._precision = "fp32"
            logits = self._model.network(window).float()
        if not bool(torch.isfinite(logits).all()):
            raise RunError(
                f"The '{self._model.role}' model gives values that are not numbers for this image. Check the image for "
                "extreme values; if it has none, train again with a smaller learning rate."
            )
        return logits


def overlap_on(device: str) -> float:
    """Share of their sides that neighbouring windows have in common."""
    return _OVERLAP.get(device, _OVERLAP_ELSEWHERE)


def autocast(device: str, precision: str) -> torch.autocast:
    """Context for mixed precision on the device; does nothing for fp32."""
    kind = torch.device(device).type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.bfloat16)
    return torch.autocast(kind, dtype=dtype, enabled=precision != "fp32")


def agreement(sets: np.ndarray) -> np.ndarray:
    """Percent of the sets that say what most of them say: (V, S, A, R) to (S, A, R) uint8."""
    most = np.zeros(sets.shape[1:], dtype=np.uint8)
    for value in np.unique(sets):
        np.maximum(most, (sets == value).sum(0, dtype=np.uint8), out=most)
    return np.round(most * np.float32(100.0 / len(sets))).astype(np.uint8)
