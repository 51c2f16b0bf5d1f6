"""Instance normalization of large patches on a GPU, faster than PyTorch's, with the same results and weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

# PyTorch gives each channel of each image to one block of threads, so that most of a GPU waits when there are few of
# them and they are large. Measured by the benchmark `gpu`, see Testing/Benchmarks/README.md.
VOXELS_AT_LEAST = 48**3  # of an image
ROWS_AT_MOST = 512  # channels times images


def with_fast_instance_norm(network: nn.Module) -> nn.Module:
    """The network itself, with each InstanceNorm2d and 3d replaced by one that shares its weights."""
    for name, module in network.named_children():
        if type(module) in _FAST and not module.track_running_stats:
            setattr(network, name, _FAST[type(module)](module))
        else:
            with_fast_instance_norm(module)
    return network


class _Fast:
    """Mixed into PyTorch's class: its weights, and another way to compute on a GPU where that is faster."""

    def __init__(self, plain: Any):
        super().__init__(plain.num_features, plain.eps, affine=False)  # type: ignore[call-arg]
        self.affine, self.weight, self.bias = plain.affine, plain.weight, plain.bias
        self.training = plain.training

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        voxels = math.prod(features.shape[2:])
        rows = features.shape[0] * features.shape[1]
        is_faster = features.is_cuda and voxels >= VOXELS_AT_LEAST and rows <= ROWS_AT_MOST
        if not is_faster or torch.compiler.is_compiling():
            found: torch.Tensor = super().forward(features)  # type: ignore[misc]
            return found
        return normalized(features, self.weight, self.bias, self.eps)  # type: ignore[attr-defined]


class _FastInstanceNorm2d(_Fast, nn.InstanceNorm2d):
    pass


class _FastInstanceNorm3d(_Fast, nn.InstanceNorm3d):
    pass


_FAST: dict[type[nn.Module], Any] = {
    nn.InstanceNorm2d: _FastInstanceNorm2d,
    nn.InstanceNorm3d: _FastInstanceNorm3d,
}


def normalized(
    features: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """(N, C, *spatial) features, each channel of each image with mean 0 and variance 1, times weight (C,), plus bias.

    Statistics are fp32, the result has the dtype of the features.
    """
    with torch.autocast(features.device.type, enabled=False):
        found: torch.Tensor = _Normalized.apply(features, weight, bias, eps)
    return found


class _Normalized(torch.autograd.Function):
    """Sums over all of an image are PyTorch's reductions, which use the whole GPU.

    The mean is subtracted first: neither large means nor factors rounded to bf16 then matter.
    """

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
    ) -> torch.Tensor:
        dims, dtype = tuple(range(2, features.dim())), features.dtype
        ctx.voxels = math.prod(features.shape[2:])
        mean = features.sum(dims, keepdim=True, dtype=torch.float32) / ctx.voxels
        centered = features - mean.to(dtype)
        rest = mean - mean.to(dtype).float()  # the mean of `centered`
        square = torch.linalg.vector_norm(centered, 2, dims, keepdim=True, dtype=torch.float32).square()
        inverse = (square / ctx.voxels - rest.square()).clamp_min(0).add(eps).rsqrt()
        scale = inverse if weight is None else inverse * _as_channels(weight, features)
        shift = -rest * scale
        if bias is not None:
            shift = shift + _as_channels(bias, features)
        ctx.save_for_backward(centered, rest, inverse, scale)
        ctx.has = weight is not None, bias is not None
        return torch.addcmul(shift.to(dtype), centered, scale.to(dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        centered, rest, inverse, scale = ctx.saved_tensors
        dims, dtype = tuple(range(2, centered.dim())), centered.dtype
        of_bias = gradient.sum(dims, keepdim=True, dtype=torch.float32)
        product = (gradient * centered).sum(dims, keepdim=True, dtype=torch.float32)
        of_weight = inverse * (product - rest * of_bias)
        # scale * (gradient - mean gradient - normalized * mean (gradient * normalized))
        slope = -scale * inverse * of_weight / ctx.voxels
        offset = -scale * of_bias / ctx.voxels - slope * rest
        found = torch.addcmul(offset.to(dtype), centered, slope.to(dtype))
        found = torch.addcmul(found, gradient.to(dtype), scale.to(dtype))
        has_weight, has_bias = ctx.has
        return (
            found,
            of_weight.sum(0).flatten() if has_weight else None,
            of_bias.sum(0).flatten() if has_bias else None,
            None,
        )


def _as_channels(values: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """(C,) as (1, C, 1, ...) float32."""
    return values.float().view(1, -1, *[1] * (features.dim() - 2))
