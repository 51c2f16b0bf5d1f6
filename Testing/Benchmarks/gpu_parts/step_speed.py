"""Training steps: seconds, share of the GPU's peak, waiting for data, and memory planned against used."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from learning_speed import BLOCK, SHAPE, step_seconds
from SparseAnnotateLib.learning.networks.normalization import normalized
from SparseAnnotateLib.learning.training.patch_planning import planned_patch_and_batch, training_bytes_per_voxel
from SparseAnnotateLib.runs import NETWORKS, AugmentationSettings, TrainingSettings
from SparseAnnotateLib.runs.network import DEFAULT_NETWORK, ONE_SCAN
from training_step import CLASSES, CONFIGURATIONS, Configuration

from .comparing import SMALL_FINAL_NETWORK, SMALL_NETWORK, Y_SHAPED_NETWORK
from .gpu_memory import empty, reset_used, used_gigabytes, wait_for
from .sub_part import Setting, SubPart

TRAINED = (DEFAULT_NETWORK, DEFAULT_NETWORK + ONE_SCAN, Y_SHAPED_NETWORK)
# Dense bf16 with fp32 accumulation, TFLOP/s, as their makers state; the first one that is in the GPU's name counts.
BF16_PEAKS = {
    "B200": 2250,
    "H200": 989,
    "GH200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "A40": 150,
    "A30": 165,
    "A10": 125,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "RTX 5090": 210,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "RTX 6000 Ada": 364,
    "RTX A6000": 155,
}
_STEPS, _SQUARE = 4, 8192


def sub_parts(setting: Setting) -> list[SubPart]:
    """All of this part: the default network, whether data keeps it waiting, then the other networks."""
    first, *others = TRAINED if not setting.is_short else (SMALL_NETWORK, SMALL_FINAL_NETWORK)
    found = [
        SubPart("bf16 matrix product", lambda: _matrix_product(setting), 2.0),
        *_steps_of(first, setting),
        SubPart("instance normalization", lambda: _instance_norm(setting), 6.0),
        *_real_and_fixed("few changes", AugmentationSettings(), setting),
    ]
    memory = _memory_of_networks(setting)
    found += [sub_part for network in others for sub_part in _steps_of(network, setting)] + memory[: len(TRAINED)]
    many = AugmentationSettings(right_angles=0.3, affine=0.3, elastic=0.1, bias_field=0.15)
    return [*found, *_real_and_fixed("all changes", many, setting), *memory[len(TRAINED) :]]


def _real_and_fixed(kind: str, augmentation: AugmentationSettings, setting: Setting) -> list[SubPart]:
    return [
        SubPart(
            f"real data against a fixed batch, {recipe}, {kind}",
            lambda recipe=recipe: _real_against_fixed(recipe, augmentation, setting),
            10.0,
            (recipe, kind) == ("3d", "few changes"),
        )
        for recipe in ("3d", "2d")
    ]


def _steps_of(network: str, setting: Setting) -> list[SubPart]:
    """A network in each precision and memory format, bf16 first."""
    return [
        SubPart(
            f"{network}, {precision}, {memory_format}",
            lambda p=precision, f=memory_format: _step(network, p, f, setting),
            3.0,
            (precision, memory_format) == ("fp32", "contiguous"),
        )
        for precision, memory_format in reversed(CONFIGURATIONS)
    ]


def _memory_of_networks(setting: Setting) -> list[SubPart]:
    """Bytes a voxel that training takes, for each network in 3D and 2D; first the default ones."""
    kinds = [(name, d) for name, entry in NETWORKS.items() for d in entry.dimensions]
    kinds.sort(key=lambda kind: (kind[0] not in TRAINED, -kind[1]))
    return [
        SubPart(
            f"memory of {name} {d}D",
            lambda name=name, d=d: _bytes_per_voxel(name, d, setting),
            3.0,
            (name, d) == (SMALL_NETWORK, 3),
        )
        for name, d in kinds
    ]


def _bytes_per_voxel(network: str, dimensions: int, setting: Setting) -> dict[str, Any]:
    """From two sizes of patch, so that what does not depend on it (weights, kernels) does not count."""
    small, large, batch = ((64, 96, 2), (128, 192, 16))[dimensions == 2]
    if setting.is_short:
        small, large, batch = 32, 48, 1
    figures: dict[str, Any] = {"planned": training_bytes_per_voxel(network, dimensions, CLASSES)}
    for precision in ("fp32", "bf16"):
        used = {}
        for side in (small, large):
            patch = (side,) * dimensions
            image, label, supervised = _fixed_batch(network, patch, batch, setting)
            trained = Configuration(network, patch, precision, "contiguous", setting.device)
            trained.step(image, label, supervised)  # makes the optimizer's tensors
            empty()
            reset_used(setting.device)
            trained.step(image, label, supervised)
            used[batch * side**dimensions] = used_gigabytes(setting.device)
            del trained, image, label, supervised
            empty()
        (fewer, less), (more, most) = used.items()
        figures[f"{precision}"] = round(1e9 * (most - less) / (more - fewer))
        figures[f"{precision}, GB for any size"] = less - (most - less) / (more - fewer) * fewer
    return figures


def _instance_norm(setting: Setting) -> dict[str, Any]:
    """Milliseconds forward and backward: PyTorch's, and the one for few and large channels."""
    shapes = [(1, 32, *[side] * 3) for side in (16, 32, 48, 64, 96, 128)]
    shapes += [(2, 32, *[side] * 3) for side in (48, 64, 128)] + [(2, 64, 64, 64, 64), (2, 128, 32, 32, 32)]
    shapes += [(4, 128, 48, 48, 48), (4, 32, 160, 160), (32, 32, 160, 160), (32, 32, 256, 256), (2, 32, 512, 512)]
    if setting.is_short:
        shapes = [(1, 4, 8, 8, 8)]
    figures: dict[str, Any] = {}
    for shape in shapes:
        for dtype in (torch.bfloat16, torch.float32):
            features = torch.randn(shape, device=setting.device, dtype=dtype).requires_grad_()
            weight, bias = (torch.ones(shape[1], device=setting.device).requires_grad_() for _ in range(2))
            gradient = torch.randn_like(features)
            plain = functional.instance_norm(features.detach(), None, None, weight, bias)
            own = normalized(features.detach(), weight, bias, 1e-5)
            times = {"difference": float((own - plain).detach().float().abs().max())}
            ways = {"PyTorch's": functional.instance_norm, "own": normalized}
            given = {"PyTorch's": (None, None, weight, bias), "own": (weight, bias, 1e-5)}
            for name, way in ways.items():
                repeated: list[float] = []
                for _ in range(5):
                    wait_for(setting.device)
                    start = time.perf_counter()
                    torch.autograd.grad(way(features, *given[name]), (features, weight, bias), gradient)
                    wait_for(setting.device)
                    repeated.append(1e3 * (time.perf_counter() - start))
                times[name] = float(np.median(repeated))
            figures[f"{list(shape)} {str(dtype).removeprefix('torch.')}"] = times
    empty()
    return figures


def _matrix_product(setting: Setting) -> dict[str, Any]:
    """TFLOP/s of a large product, beside what the maker states."""
    n = 256 if setting.is_short else _SQUARE
    a, b = (torch.randn(n, n, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        product = a @ b
    wait_for(setting.device)
    start = time.perf_counter()
    for _ in range(10):
        product = a @ b
    wait_for(setting.device)
    seconds = (time.perf_counter() - start) / 10
    del product
    return {"TFLOP/s": 2 * n**3 / seconds / 1e12, "stated": stated_peak(setting)}


def stated_peak(setting: Setting) -> float | None:
    """The bf16 peak of the GPU in TFLOP/s; None when it is not in the table."""
    if not setting.has_gpu:
        return None
    name = torch.cuda.get_device_name(setting.device)
    return next((float(peak) for words, peak in BF16_PEAKS.items() if re.search(rf"\b{words}\b", name)), None)


def _step(network: str, precision: str, memory_format: str, setting: Setting) -> dict[str, Any]:
    """Seconds of a step on a fixed batch of the size that is planned for this device and volumes as large as CTs."""
    patch, batch = planned_patch_and_batch([(300, 512, 512)], (1.0, 1.0, 1.0), network, setting.device, CLASSES)
    if setting.is_short:
        patch, batch = (16, 16, 32), 1
    image, label, supervised = _fixed_batch(network, patch, batch, setting)
    reset_used(setting.device)
    trained = Configuration(network, patch, precision, memory_format, setting.device)
    with FlopCounterMode(display=False) as counter:
        trained.step(image, label, supervised)
    seconds = _seconds(trained, image, label, supervised, 1 if setting.is_short else _STEPS)
    used = used_gigabytes(setting.device)
    teraflops = counter.get_total_flops() / 1e12
    figures = {
        "patch": list(patch),
        "batch": batch,
        "seconds": seconds,
        "TFLOP": teraflops,
        "TFLOP/s": teraflops / seconds,
        "gigabytes planned": training_bytes_per_voxel(network, 3, CLASSES) * batch * float(np.prod(patch)) / 1e9,
        "gigabytes used": used,
    }
    peak = stated_peak(setting)
    if peak is not None:
        figures["share of the bf16 peak"] = teraflops / seconds / peak
    if setting.has_gpu:
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            figures["seconds with cudnn.benchmark"] = _seconds(trained, image, label, supervised, _STEPS)
        finally:
            torch.backends.cudnn.benchmark = before
        del trained, image, label, supervised
        empty()
    return figures


def _fixed_batch(network: str, patch: tuple[int, ...], batch: int, setting: Setting) -> tuple[torch.Tensor, ...]:
    """Images, labels, and where they are drawn: on every eighth slice."""
    channels = 1 + (CLASSES if NETWORKS[network].takes_pseudo_label else 0)
    image = torch.randn(batch, channels, *patch, device=setting.device)
    label = torch.randint(0, CLASSES, (batch, 1, *patch), device=setting.device, dtype=torch.uint8)
    supervised = torch.zeros(label.shape, dtype=torch.bool, device=setting.device)
    supervised[:, :, 4::8] = True
    return image, label, supervised


def _seconds(trained: Configuration, image, label, supervised, steps: int) -> float:
    """Median of several steps after one that warms up; each waits for its loss."""
    trained.seconds.clear()
    for _ in range(1 + steps):
        trained.step(image, label, supervised)
    return float(np.median(trained.seconds[1:]))


def _real_against_fixed(recipe: str, augmentation: AugmentationSettings, setting: Setting) -> dict[str, Any]:
    settings = TrainingSettings(recipe=recipe, augmentation=augmentation, device=setting.device, iterations=10_000)
    if setting.is_short:
        small = replace(settings, patch=(16, 16, 32), patch_2d=(32, 32), batch=1, augmentation=AugmentationSettings())
        fixed, real = step_seconds(small, 1, (24, 28, 32))
    else:
        fixed, real = step_seconds(settings, 2, SHAPE)
    return {"fixed batch": fixed, "real data": real, "ratio": real / fixed, "steps a block": BLOCK}
