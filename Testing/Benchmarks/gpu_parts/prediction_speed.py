"""Predicting a volume of 512 x 512 x 300 on the GPU, beside the CPU on a part of it."""

from __future__ import annotations

from typing import Any

from learning_speed import large_image, large_model, peak_gigabytes, predict_large
from SparseAnnotateLib.learning.training.patch_planning import planned_network
from SparseAnnotateLib.runs import AUTO

from .comparing import share_equal
from .gpu_memory import reset_used, used_gigabytes, wait_for
from .sub_part import Setting, SubPart

SLICES, SIDE, CPU_SLICES = 300, 512, 48
GPU_PATCH, CPU_PATCH = (128, 128, 128), (48, 48, 48)


def sub_parts(setting: Setting) -> list[SubPart]:
    """All of this part."""
    return [
        SubPart("3D", lambda: _on_gpu(setting, ()), 8.0),
        SubPart("part of it, against the CPU", lambda: _part_against_cpu(setting), 12.0),
        SubPart("part of it on the CPU, as planned there", lambda: _cpu_as_planned(setting), 8.0, False),
        SubPart("3D, flips", lambda: _on_gpu(setting, (2,)), 16.0, False),
    ]


def _sizes(setting: Setting) -> tuple[int, int]:
    return (16, 64) if setting.is_short else (SLICES, SIDE)


def _on_gpu(setting: Setting, flip: tuple[int, ...]) -> dict[str, Any]:
    """The whole volume, twice: the first time the kernels are chosen."""
    slices, side = _sizes(setting)
    network = planned_network(AUTO, setting.device)
    patch = (16, 16, 32) if setting.is_short else GPU_PATCH
    model = large_model(network, patch, setting.device, flip)
    image = large_image(slices, side)
    reset_used(setting.device)
    seconds = []
    for _ in range(1 if setting.is_short else 2):
        taken, _classes = predict_large(model, image)
        wait_for(setting.device)
        seconds.append(taken)
        if setting.seconds_left < 2 * taken:
            break
    return {
        "network": network,
        "patch": list(patch),
        "slices": slices,
        "first seconds": seconds[0],
        "seconds": seconds[-1],
        "gigabytes on the GPU": used_gigabytes(setting.device),
        "gigabytes of the process": peak_gigabytes(),
    }


def _part_against_cpu(setting: Setting) -> dict[str, Any]:
    """The same network on a part of the slices on both; the CPU's seconds are scaled to the whole volume."""
    slices, side = _sizes(setting)
    part = slices if setting.is_short else CPU_SLICES
    patch = (16, 16, 32) if setting.is_short else CPU_PATCH
    network = planned_network(AUTO, setting.device)
    image = large_image(slices, side)[:part]
    gpu_seconds, found = predict_large(large_model(network, patch, setting.device), image)
    cpu_seconds, expected = predict_large(large_model(network, patch, "cpu"), image)
    return {
        "network": network,
        "slices of the part": part,
        "GPU seconds": gpu_seconds,
        "CPU seconds": cpu_seconds,
        "CPU seconds scaled to all slices": cpu_seconds * slices / part,
        # Windows overlap more on a GPU, so that not all labels of an untrained network are the same.
        "same": share_equal(found, expected),
    }


def _cpu_as_planned(setting: Setting) -> dict[str, Any]:
    """The network that a CPU gets, in windows as planned there."""
    slices, side = _sizes(setting)
    part = slices if setting.is_short else CPU_SLICES
    patch = (16, 16, 32) if setting.is_short else CPU_PATCH
    network = planned_network(AUTO, "cpu")
    seconds, _ = predict_large(large_model(network, patch, "cpu"), large_image(slices, side)[:part])
    figures = {"network": network, "slices of the part": part, "seconds": seconds}
    return {**figures, "seconds scaled to all slices": seconds * slices / part}
