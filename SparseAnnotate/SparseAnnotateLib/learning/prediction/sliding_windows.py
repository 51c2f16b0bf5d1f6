"""A network over a slab in sliding windows with Gaussian blending, in 3D or slice by slice, mirrored on demand."""

from __future__ import annotations

from itertools import combinations

import torch
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference

from ...core import RemainingTime, RunError, Watch
from ...core.messages import _
from .trained_model import TrainedModel

# On a CPU it takes too long to predict every voxel eight times.
_OVERLAP = {"cpu": 0.25}
_OVERLAP_ELSEWHERE = 0.5
_CERTAIN = 10.0
_SLICES_AT_ONCE = 16
_SPREAD = 0.125  # standard deviation of the Gaussian weights, as a share of a window's sides


def averaged_over_flips(
    model: TrainedModel, slab: torch.Tensor, pace: Pace, slices: int, axis: int | None = None, windows: int = 1
) -> torch.Tensor:
    """(channels, S, A, R) to mean probabilities (classes, S, A, R) over all combinations of mirroring.

    Args:
        slab: on the device on which the windows are put together; the result is there, too.
        slices: that count as progress. axis: across which a 2D model's slices lie. windows: in a batch.
    """
    total = None
    axes = [a for a in model.flip if a != axis]
    for count in range(len(axes) + 1):
        for mirrored in combinations(axes, count):
            dims = [a + 1 for a in mirrored]
            logits = _windowed(model, slab.flip(dims), pace, axis, windows).flip(dims)
            probabilities = torch.softmax(logits, 0)
            total = probabilities if total is None else total.add_(probabilities)
            pace.finish(slices * (2 if axis in model.flip else 1))
    return total / 2 ** len(axes)


def _windowed(model: TrainedModel, slab: torch.Tensor, pace: Pace, axis: int | None, window_count: int) -> torch.Tensor:
    """Logits of a slab, (classes, S, A, R) float32 on its device; slice by slice across `axis`, if given."""
    windows = _Windows(model, pace)
    with torch.inference_mode():
        weights = compute_importance_map(
            model.patch, mode="gaussian", sigma_scale=_SPREAD, device=model.device, dtype=torch.float32
        )[None, None]

        def blended(inputs: torch.Tensor) -> torch.Tensor:
            output = sliding_window_inference(
                inputs,
                model.patch,
                window_count,
                windows,
                overlap=overlap_on(model.device),
                mode="gaussian",
                sw_device=model.device,
                device=slab.device,
                roi_weight_map=weights,
            )
            if not isinstance(output, torch.Tensor):
                raise TypeError("a network to predict with must have one output")
            return output

        if axis is None:
            return blended(slab[None])[0]
        parts = [blended(part) for part in slab.movedim(axis + 1, 0).split(max(window_count, _SLICES_AT_ONCE))]
        return torch.cat(parts).movedim(0, axis + 1)


class Pace:
    """The progress of a prediction, in slices times passes; `done` of them."""

    def __init__(self, watch: Watch, total: int):
        self.done = 0
        self._watch, self._total = watch, max(total, 1)
        self._remaining = RemainingTime(self._total)

    def finish(self, slices: int) -> None:
        self.done += slices
        left = self._remaining.after(min(self.done, self._total))
        self._watch.step(min(1.0, self.done / self._total), _("predicting"), left)

    def note(self, sentence: str) -> None:
        """Tell the user something, beside the progress."""
        self._watch.step(min(1.0, self.done / self._total), sentence)

    def check(self) -> None:
        self._watch.check()


class _Windows:
    """The network as MONAI calls it, window by window; it can be cancelled in between."""

    def __init__(self, model: TrainedModel, pace: Pace):
        self._model, self._pace, self._precision = model, pace, model.precision

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        self._pace.check()
        images = window[:, : self._model.image_channels].flatten(2)
        # Constant windows, as around a skull-stripped brain: instance normalisation would amplify rounding errors.
        shown = (images.amax(2) != images.amin(2)).any(1).nonzero()[:, 0]
        if len(shown) == len(window):
            return self._logits(window)
        logits = torch.zeros(window.shape[0], self._model.class_count, *window.shape[2:], device=window.device)
        logits[:, 0] = _CERTAIN
        if len(shown):
            logits[shown] = self._logits(window[shown])
        return logits

    def _logits(self, window: torch.Tensor) -> torch.Tensor:
        with autocast(self._model.device, self._precision):
            logits = self._model.network(window).float()
        is_finite = bool(torch.isfinite(logits).all())
        if not is_finite and self._precision != "fp32":
            self._precision = "fp32"
            logits = self._model.network(window).float()
            is_finite = bool(torch.isfinite(logits).all())
        if not is_finite:
            raise RunError(
                _(
                    "The '{role}' model gives values that are not numbers for this image. Check the image for "
                    "extreme values; if it has none, train again with a lower learning rate."
                ).format(role=self._model.role)
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
