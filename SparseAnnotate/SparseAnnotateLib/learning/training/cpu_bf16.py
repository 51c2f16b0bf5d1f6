"""bf16 in training on a CPU: 1.5 to 2 times as fast as fp32, but only used where its gradients prove right.

PyTorch 2.13's 3D convolution on CPUs with AVX-512 bf16 gives wrong weight gradients, partly from memory that has never
been written, for inputs of exactly two slices, as in the deepest level of a U-Net on small patches. Such thin inputs
are tiny, so they are computed in fp32. Whether the rest is right is tried at the start of every training, because other
processors and versions may have other faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ...runs.plan import Precision

_THIN = 2  # slices, rows or columns
_REPEATS = 3
_SMALLEST_COSINE = 0.95
_POISONED_FLOATS = (1 << 10, 1 << 14, 1 << 18, 1 << 20)


class Bf16SafeConv3d(nn.Conv3d):
    """A 3D convolution that is computed in fp32 for thin inputs, also within mixed precision."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # as nn.Conv3d names it
        """As `nn.Conv3d.forward`: (N, channels, S, A, R) to (N, features, S, A, R)."""
        if min(input.shape[2:]) > _THIN:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def compute_thin_inputs_in_fp32(network: nn.Module) -> None:
    """Let the 3D convolutions of a network compute thin inputs in fp32; its weights and their names stay the same."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Bf16SafeConv3d


def gradients_are_sound(
    loss_in: Callable[[Precision], torch.Tensor], parameters: Iterable[nn.Parameter], repeats: int = _REPEATS
) -> bool:
    """Whether bf16 gives about the gradients of fp32, and the same ones each time.

    Args:
        loss_in: gives the loss of always the same batch, a scalar, computed in 'fp32' or 'bf16'.
        parameters: of the network; their gradients are None afterwards.
        repeats: how often bf16 is tried.
    """
    parameters = [p for p in parameters if p.requires_grad]

    def gradient(precision: Precision) -> torch.Tensor:
        # Memory that is read before it is written must not happen to hold the right values of the last time.
        poison = [torch.full((count,), torch.nan) for count in _POISONED_FLOATS]
        del poison
        loss_in(precision).backward()
        found = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        for parameter in parameters:
            parameter.grad = None
        return found

    exact = gradient("fp32")
    if not bool(exact.isfinite().all()):
        return True  # not the fault of bf16; training itself deals with it
    first = gradient("bf16")
    if not bool(first.isfinite().all()) or not _point_the_same_way(first, exact):
        return False
    return all(torch.equal(gradient("bf16"), first) for _ in range(repeats - 1))


def _point_the_same_way(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not bool(one.any()) and not bool(other.any()):
        return True
    return bool(torch.nn.functional.cosine_similarity(one, other, dim=0) > _SMALLEST_COSINE)
