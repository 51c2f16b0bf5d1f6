"""The GPU against the CPU: every loss, every network in 2D and 3D, predictions, and trainings of every kind."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.nn import functional

from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.networks.normalization import normalized
from SparseAnnotateLib.learning.prediction.sliding_windows import autocast
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.runs import LOSSES, NETWORKS, NetworkShape

from .agreement_of_runs import prediction_sub_parts, training_sub_parts
from .comparing import SMALL_FINAL_NETWORK, SMALL_NETWORK, computed_alike, gradient, relative
from .sub_part import Setting, SubPart

CLASSES = 3
FP32_VALUE, FP32_GRADIENT = 1e-3, 1e-2
# bf16 keeps 8 bits: these are twice to three times the largest differences of bf16 from fp32 on a CPU (0.03 and 0.29,
# attention_unet in 2D). A result that has nothing to do with the expected one differs by 1 or more.
BF16_VALUE, BF16_GRADIENT = 0.1, 0.6


def sub_parts(setting: Setting) -> list[SubPart]:
    """All of this part: what is quick and concerns everything first, whole trainings last."""
    found = [SubPart(f"loss {name}", lambda name=name: _loss(name, setting), 0.5) for name in LOSSES]
    for precision in ("fp32", "bf16"):
        run = lambda precision=precision: _normalization(precision, setting)  # noqa: E731
        found.append(SubPart(f"normalization of large patches, {precision}", run, 2.0))
    for name, entry in NETWORKS.items():
        for dimensions in entry.dimensions:
            run = lambda name=name, dimensions=dimensions: _network(name, dimensions, setting)  # noqa: E731
            is_small = name in (SMALL_NETWORK, SMALL_FINAL_NETWORK)
            found.append(SubPart(f"network {name} {dimensions}D", run, 2.0, is_small))
    return [*found, *prediction_sub_parts(setting), *training_sub_parts(setting)]


def _loss(name: str, setting: Setting) -> dict[str, Any]:
    """Value and gradient of a loss on the GPU and on the CPU, from fp32 and from bf16 logits."""
    generator = torch.Generator().manual_seed(0)
    sides = (12, 14, 16)
    logits = torch.randn(2, CLASSES, *sides, generator=generator)
    target = torch.randint(0, CLASSES, (2, 1, *sides), generator=generator, dtype=torch.uint8)
    weights = torch.rand(2, 1, *sides, generator=generator) * (torch.rand(2, 1, *sides, generator=generator) < 0.3)
    distances = torch.randn(2, CLASSES, *sides, generator=generator) * 5
    figures: dict[str, Any] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        found = {}
        for device in ("cpu", setting.device):
            leaf = logits.to(device, dtype, copy=True).requires_grad_()
            loss = SparseLoss(name, torch.tensor([0.5, 1.0, 1.5]).to(device))
            apart = distances.to(device) if loss.needs_distances else None
            value = loss(leaf, target.to(device), weights.to(device), apart)
            value.backward()
            found[device] = value.reshape(1), leaf.grad
        (value, slope), (expected, wanted) = found[setting.device], found["cpu"]
        figures[f"{precision} value"] = relative(value, expected)
        figures[f"{precision} gradient"] = relative(slope, wanted)
    exact = max(figures["fp32 value"], figures["bf16 value"], figures["fp32 gradient"])
    return {**figures, "agrees": exact < FP32_VALUE and figures["bf16 gradient"] < 1e-2}


def _normalization(precision: str, setting: Setting) -> dict[str, Any]:
    """Our normalization of large patches and PyTorch's, after a convolution: their errors against fp64 on the device.

    The gradient has a mean: an error that all voxels of a channel share adds up in the gradient of the convolution.
    """
    side, dtype = 24 if setting.is_short else 112, torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 8, side, side, side, generator=generator).to(setting.device, dtype)
    gradient = (torch.randn(image.shape, generator=generator) + 1).to(setting.device, dtype)
    kernel = torch.randn(8, 8, 1, 1, 1, generator=generator).to(setting.device)
    weight, bias = torch.ones(8, device=setting.device), torch.zeros(8, device=setting.device)
    figures: dict[str, Any] = {}
    for kind, groups in (("instance", None), ("group", 4)):
        found = {}
        for way in ("fp64", "PyTorch's", "ours"):
            used = torch.float64 if way == "fp64" else dtype
            leaf = kernel.to(used, copy=True).requires_grad_()
            features = functional.conv3d(image.to(used), leaf)
            stored = weight.to(used), bias.to(used)
            if way == "ours":
                value = normalized(features, weight, bias, 1e-5, groups)
            elif groups is None:
                value = functional.instance_norm(features, None, None, *stored)
            else:
                value = functional.group_norm(features, groups, *stored)
            value.backward(gradient.to(used))
            found[way] = value.detach(), leaf.grad
        for way in ("PyTorch's", "ours"):
            for place, part in enumerate(("value", "gradient")):
                figures[f"{kind}, {part}, {way}"] = relative(found[way][place], found["fp64"][place])
    limit = 1e-3 if precision == "fp32" else 0.05
    return {**figures, "agrees": max(error for name, error in figures.items() if "ours" in name) < limit}


def _network(name: str, dimensions: int, setting: Setting) -> dict[str, Any]:
    """Logits and gradient of a network on the GPU in fp32 and in bf16, against the CPU's in fp32."""
    entry = NETWORKS[name]
    # Four or five halvings leave some voxels, which instance normalization needs.
    side = 64 if entry.patch_step > 16 or dimensions == 2 else 48
    patch = (side,) * dimensions
    if setting.is_short:
        patch = (entry.patch_step,) * (dimensions - 1) + (2 * entry.patch_step,)
    image, label, supervised = _drawn_balls(patch, 1 + CLASSES if entry.takes_pseudo_label else 1)
    torch.manual_seed(0)
    reference = build_network(name, NetworkShape(CLASSES, patch))
    found = {}
    with computed_alike():
        for kind, device, precision in (
            ("cpu", "cpu", "fp32"),
            ("fp32", setting.device, "fp32"),
            ("bf16", setting.device, "bf16"),
        ):
            network = copy.deepcopy(reference).to(device)
            with autocast(device, precision):
                logits = network(image.to(device)).float()
            SparseLoss()(logits, label.to(device), supervised.to(device)).backward()
            found[kind] = logits.detach().cpu(), gradient(network)
    figures: dict[str, Any] = {"patch": list(patch)}
    for kind in ("fp32", "bf16"):
        figures[f"{kind} logits"] = relative(found[kind][0], found["cpu"][0])
        figures[f"{kind} gradient"] = relative(found[kind][1], found["cpu"][1])
        same = found[kind][0].argmax(1) == found["cpu"][0].argmax(1)
        figures[f"{kind} same class"] = float(same.float().mean())
    agrees = figures["fp32 logits"] < FP32_VALUE and figures["fp32 gradient"] < FP32_GRADIENT
    agrees = agrees and figures["bf16 logits"] < BF16_VALUE
    # On a CPU bf16 gradients of small patches are sometimes wrong (README.md), and training does not use them.
    if setting.has_gpu:
        agrees = agrees and figures["bf16 gradient"] < BF16_GRADIENT
    return {**figures, "agrees": agrees}


def _drawn_balls(patch: tuple[int, ...], channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two noisy images (2, channels, *patch) of balls, their labels, and a fourth of their slices as drawn."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) - n / 2 for n in patch), indexing="ij")
    distance = torch.stack(axes).square().sum(0).sqrt()
    label = ((distance < min(patch) / 3).to(torch.uint8) + (distance < min(patch) / 6)).expand(2, 1, *patch)
    image = label + torch.randn(2, channels, *patch, generator=generator)
    supervised = torch.zeros(label.shape, dtype=torch.bool)
    supervised[:, :, 2::4] = True
    return image, label.contiguous(), supervised
