"""Instance normalization for few and large channels gives what PyTorch's gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from SparseAnnotateLib.learning.networks import instance_norm
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.networks.instance_norm import normalized, with_fast_instance_norm
from SparseAnnotateLib.runs import NetworkShape

EPS = 1e-5


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", [(2, 3, 8, 10, 12), (4, 5, 30, 20)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 1e-5), (torch.bfloat16, 8e-3)], ids=["fp32", "bf16"])
def test_values_and_gradients_are_those_in_double_precision(shape, offset, dtype, largest):
    generator = torch.Generator().manual_seed(0)
    features = (2 * torch.randn(shape, generator=generator) + offset).to(dtype)
    weight, bias = (torch.rand(shape[1], generator=generator) + 0.5 for _ in range(2))
    gradient = torch.randn(shape, generator=generator).to(dtype)
    found, expected = [], []
    for leaves, way, results in (
        ((features, weight, bias), lambda x, w, b: normalized(x, w, b, EPS), found),
        (
            (features.double(), weight.double(), bias.double()),
            lambda x, w, b: nn.functional.instance_norm(x, None, None, w, b, eps=EPS),
            expected,
        ),
    ):
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        value = way(*leaves)
        results += [value.detach(), *torch.autograd.grad(value, leaves, gradient.to(value.dtype))]
    assert found[0].dtype == found[1].dtype == dtype
    for one, other in zip(found, expected, strict=True):
        assert difference(one, other) < largest


def test_a_constant_channel_gives_its_bias_and_no_gradient():
    features = torch.full((1, 2, 4, 4, 4), 7.3).requires_grad_()
    value = normalized(features, torch.ones(2), torch.tensor([0.5, -1.0]), EPS)
    value.square().sum().backward()
    assert torch.allclose(value[0, :, 0, 0, 0], torch.tensor([0.5, -1.0]), atol=1e-3)
    assert features.grad.abs().max() < 1e-2


def test_without_weights_and_under_autocast_statistics_are_still_fp32():
    features = torch.randn(1, 3, 16, 16, 16, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = normalized(features, None, None, EPS)
    assert value.dtype == torch.bfloat16
    assert difference(value, nn.functional.instance_norm(features.double(), eps=EPS)) < 8e-3


def test_weights_keep_their_names_and_a_cpu_computes_as_before():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU())
    nn.init.normal_(plain[1].weight)
    image = torch.randn(2, 1, 12, 12, 12)
    expected, names = plain(image), list(plain.state_dict())
    weight = plain[1].weight
    changed = with_fast_instance_norm(plain)
    assert changed[1].weight is weight
    assert isinstance(changed[1], nn.InstanceNorm3d)
    assert list(changed.state_dict()) == names
    assert torch.equal(changed(image), expected)


def test_every_instance_norm_of_a_network_is_replaced_and_may_compute_large_patches_itself(monkeypatch):
    network = build_network("unet_small", NetworkShape(3, (16, 16, 32)))
    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm3d)]
    assert norms
    assert all(type(module) is not nn.InstanceNorm3d for module in norms)
    image = torch.randn(1, 1, 16, 16, 32, generator=torch.Generator().manual_seed(0))
    network.eval()
    expected = network(image)
    for module in norms:
        monkeypatch.setattr(module, "forward", lambda x, m=module: instance_norm.normalized(x, m.weight, m.bias, m.eps))
    assert torch.allclose(network(image), expected, atol=1e-4)
