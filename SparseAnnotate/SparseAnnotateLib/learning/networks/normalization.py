"""Instance and group normalization of large patches on a GPU: as PyTorch's, with the same weights, but faster."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

# PyTorch gives each channel of each image, or each group, to one block of threads: most of a GPU waits where these are
# few and large. Measured by the benchmark `gpu`, see Testing/Benchmarks/README.md.
VOXELS_AT_LEAST = 96**3  # of a channel, or of all channels of a group
ROWS_AT_MOST = 512  # channels, or groups, of all images


def with_fast_normalization(network: nn.Module) -> nn.Module:
    """The network itself, of which each InstanceNorm2d, InstanceNorm3d and GroupNorm computes large patches faster."""
    for module in network.modules():
        if type(module) in _FAST:
            module.__class__ = _FAST[type(module)]
    return network


def _is_faster(features: torch.Tensor, groups: int) -> bool:
    """Whether `normalized` is the faster way here; compiled, PyTorch's is fused with what comes before and after."""
    rows = features.shape[0] * groups
    is_large = features.numel() >= VOXELS_AT_LEAST * rows and rows <= ROWS_AT_MOST
    is_exact = features.dtype in (torch.float32, torch.bfloat16)  # fp16 has too small a range for sums of products
    return features.is_cuda and is_exact and is_large and not torch.compiler.is_compiling()


class _FastInstanceNorm2d(nn.InstanceNorm2d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.dim() == 4 and not self.track_running_stats and _is_faster(features, self.num_features):
            return normalized(features, self.weight, self.bias, self.eps)
        return super().forward(features)


class _FastInstanceNorm3d(nn.InstanceNorm3d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.dim() == 5 and not self.track_running_stats and _is_faster(features, self.num_features):
            return normalized(features, self.weight, self.bias, self.eps)
        return super().forward(features)


class _FastGroupNorm(nn.GroupNorm):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.dim() > 2 and _is_faster(features, self.num_groups):
            # As PyTorch does it in mixed precision.
            exact = features.float() if torch.is_autocast_enabled(features.device.type) else features
            return normalized(exact, self.weight, self.bias, self.eps, self.num_groups)
        return super().forward(features)


_FAST: dict[type[nn.Module], Any] = {
    nn.InstanceNorm2d: _FastInstanceNorm2d,
    nn.InstanceNorm3d: _FastInstanceNorm3d,
    nn.GroupNorm: _FastGroupNorm,
}


def normalized(
    features: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    groups: int | None = None,
) -> torch.Tensor:
    """(N, C, *spatial) features, each group of each image with mean 0 and variance 1, times weight (C,), plus bias.

    `groups` of channels that follow each other; None: each channel by itself. Statistics are fp32, the result has the
    dtype of the features.
    """
    with torch.autocast(features.device.type, enabled=False):
        found: torch.Tensor = _Normalized.apply(features, weight, bias, eps, groups or features.shape[1])
    return found


class _Normalized(torch.autograd.Function):
    """Sums over all of a channel are PyTorch's reductions, which use the whole GPU.

    The mean is subtracted first, so that large means do not matter. What has a value for each channel or group is
    (N, C, 1, ...) float32 below, and results are rounded to bf16 once, at the end: a rounded factor would be the same
    error in all voxels of a channel, which add up in the gradient of the convolution before.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
        groups: int,
    ) -> torch.Tensor:
        dims, dtype = tuple(range(2, features.dim())), features.dtype
        ctx.groups, ctx.has = groups, (weight is not None, bias is not None)
        ctx.voxels = math.prod(features.shape[1:]) // groups
        mean = _over_groups(features.sum(dims, keepdim=True, dtype=torch.float32), groups) / ctx.voxels
        centered = features - mean.to(dtype)
        # Rounding leaves a mean.
        rest = _over_groups(centered.sum(dims, keepdim=True, dtype=torch.float32), groups) / ctx.voxels
        square = torch.linalg.vector_norm(centered, 2, dims, keepdim=True, dtype=torch.float32).square()
        variance = _over_groups(square, groups) / ctx.voxels - rest.square()
        inverse = variance.clamp_min(0).add(eps).rsqrt()
        scale = inverse if weight is None else inverse * _of_channels(weight, features)
        shift = -rest * scale
        if bias is not None:
            shift = shift + _of_channels(bias, features)
        ctx.save_for_backward(centered, rest, inverse, scale)
        return torch.addcmul(shift, centered, scale, out=torch.empty_like(centered))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        centered, rest, inverse, scale = ctx.saved_tensors
        dims = tuple(range(2, centered.dim()))
        of_bias = gradient.sum(dims, keepdim=True, dtype=torch.float32)
        product = (gradient * centered).sum(dims, keepdim=True, dtype=torch.float32)
        of_weight = inverse * (product - rest * of_bias)
        # Of the features: scale * gradient - inverse * (mean of weight * gradient in the group
        # + normalized * mean of weight * gradient * normalized), with scale = inverse * weight.
        slope = -inverse * _over_groups(scale * of_weight, ctx.groups) / ctx.voxels
        offset = -_over_groups(scale * of_bias, ctx.groups) / ctx.voxels - slope * rest
        found = torch.addcmul(offset, centered, slope)
        found = torch.addcmul(found, gradient, scale, out=torch.empty_like(centered))
        has_weight, has_bias = ctx.has
        return (
            found,
            of_weight.sum(0).flatten() if has_weight else None,
            of_bias.sum(0).flatten() if has_bias else None,
            None,
            None,
        )


def _of_channels(values: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """(C,) as (1, C, 1, ...) float32."""
    return values.float().view(1, -1, *[1] * (features.dim() - 2))


def _over_groups(values: torch.Tensor, groups: int) -> torch.Tensor:
    """(N, C, 1, ...) values of channels, each replaced by the sum over its group."""
    if groups == values.shape[1]:
        return values
    each = values.view(len(values), groups, -1)
    return each.sum(2, keepdim=True).expand_as(each).reshape(values.shape)
