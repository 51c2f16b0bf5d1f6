"""A network over a whole volume: sliding window, Gaussian blending, bounded memory."""

from __future__ import annotations

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from ..core import RemainingTime, Watch

LOGIT_BYTES = 1 << 30
# On a CPU windows cost too much to look at every voxel eight times.
_OVERLAP = {"cpu": 0.25}
_OVERLAP_ELSEWHERE = 0.5
_CERTAIN = 10.0


def predicted_classes(
    model: torch.nn.Module,
    image: np.ndarray,
    patch: tuple[int, int, int],
    device: str,
    precision: str = "fp32",
    watch: Watch | None = None,
) -> np.ndarray:
    """Most likely class of every voxel, (S, A, R) uint8 or uint16.

    The volume is worked off in slabs along its first axis, each with a margin of half a patch, so that the logits of
    a large volume with many classes never stand in memory at once.

    Args:
        model: in eval mode, on `device`.
        image: (S, A, R) normalised, as in training.
        patch: window size; watch: progress and cancel (per window).
    """
    slabs = Slabs(model, image, patch, device, precision, watch or Watch(), LOGIT_BYTES)
    result = np.zeros(image.shape, dtype=np.uint8 if slabs.class_count < 256 else np.uint16)
    for start, stop in slabs.ranges:
        result[start:stop] = slabs.logits(start, stop).argmax(0).numpy().astype(result.dtype)
    return result


class Slabs:
    """A volume worked off in slabs along its first axis; see `predicted_classes` for the arguments.

    Attributes:
        ranges: first slice of each slab, and the one after its last, so that the logits of one slab take
            `logit_bytes` at most. class_count: classes, background included.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        image: np.ndarray,
        patch: tuple[int, int, int],
        device: str,
        precision: str,
        watch: Watch,
        logit_bytes: int,
    ):
        self.class_count = _class_count(model, patch, device)
        self._image, self._patch, self._device = image, patch, device
        per_slice = image.shape[1] * image.shape[2] * self.class_count * 4
        self._margin = patch[0] // 2
        thickness = max(patch[0], int(logit_bytes // per_slice) - 2 * self._margin)
        count = image.shape[0]
        self.ranges = [(start, min(start + thickness, count)) for start in range(0, count, thickness)]
        self._overlap = _OVERLAP.get(device, _OVERLAP_ELSEWHERE)
        self._windows = _Windows(model, self.class_count, watch, device, precision, len(self.ranges))

    def logits(self, start: int, stop: int) -> torch.Tensor:
        """Logits of the slices from `start` to before `stop`, (classes, S, A, R) float32 on the CPU."""
        low, high = max(0, start - self._margin), min(self._image.shape[0], stop + self._margin)
        slab = torch.from_numpy(np.array(self._image[low:high], dtype=np.float32))[None, None]
        self._windows.begin_slab(start / self._image.shape[0], slab.shape[2:], self._patch, self._overlap)
        with torch.inference_mode():
            logits = sliding_window_inference(
                slab,
                self._patch,
                1,
                self._windows,
                overlap=self._overlap,
                mode="gaussian",
                sw_device=self._device,
                device="cpu",
            )
        return logits[0][:, start - low : stop - low]


class _Windows:
    """The network as MONAI calls it, window by window, with progress and cancel in between."""

    def __init__(self, model, classes: int, watch: Watch, device: str, precision: str, slabs: int):
        self._model, self._classes, self._watch, self._device, self._precision = (
            model,
            classes,
            watch,
            device,
            precision,
        )
        self._slabs, self._before, self._done, self._expected = slabs, 0.0, 0, 1
        self._remaining: RemainingTime | None = None

    def begin_slab(self, before: float, shape, patch, overlap: float) -> None:
        steps = [max(1, int(p * (1 - overlap))) for p in patch]
        counts = [max(0, -(-(n - p) // s)) + 1 for n, p, s in zip(shape, patch, steps, strict=True)]
        self._before, self._done, self._expected = before, 0, int(np.prod(counts))
        if self._remaining is None:
            self._remaining = RemainingTime(self._expected * self._slabs)

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        fraction = min(1.0, self._before + self._done / self._expected / self._slabs)
        done = round(fraction * self._expected * self._slabs)
        self._watch.step(fraction, "predicting", self._remaining.after(done) if done else None)
        self._done += 1
        if float(window.amax()) == float(window.amin()):
            # Nothing to see, as around a skull-stripped brain: instance normalisation would blow up rounding errors.
            return self._background(window)
        with autocast(self._device, self._precision):
            logits = self._model(window).float()
        if self._precision != "fp32" and not bool(torch.isfinite(logits).all()):
            self._precision = "fp32"
            return self._model(window).float()
        return logits

    def _background(self, window: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(1, self._classes, *window.shape[2:], device=window.device)
        logits[:, 0] = _CERTAIN
        return logits


def autocast(device: str, precision: str) -> torch.autocast:
    """Context for mixed precision on the device; does nothing for fp32."""
    kind = torch.device(device).type
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.bfloat16)
    return torch.autocast(kind, dtype=dtype, enabled=precision != "fp32")


def _class_count(model: torch.nn.Module, patch: tuple[int, int, int], device: str) -> int:
    with torch.inference_mode():
        return int(model(torch.zeros(1, 1, *(min(32, n) for n in patch), device=device)).shape[1])
