"""Normalization of large patches on a GPU gives what PyTorch's gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from SparseAnnotateLib.learning.networks import normalization
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.networks.normalization import normalized, with_fast_normalization
from SparseAnnotateLib.runs import NetworkShape

EPS = 1e-5


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("groups", [None, 3, 1], ids=["channels", "groups", "one group"])
@pytest.mark.parametrize("shape", [(2, 6, 8, 10, 12), (4, 6, 30, 20)], ids=["3D", "2D"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 1e-5), (torch.bfloat16, 8e-3)], ids=["fp32", "bf16"])
def test_values_and_gradients_are_those_in_double_precision(shape, groups, offset, dtype, largest):
    generator = torch.Generator().manual_seed(0)
    features = (2 * torch.randn(shape, generator=generator) + offset).to(dtype)
    features[:, 1] *= 3  # channels of a group differ
    weight, bias = (torch.rand(shape[1], generator=generator) + 0.5 for _ in range(2))
    gradient = torch.randn(shape, generator=generator).to(dtype)

    def exact(x, w, b):
        if groups is None:
            return functional.instance_norm(x, None, None, w, b, eps=EPS)
        return functional.group_norm(x, groups, w, b, EPS)

    found, expected = [], []
    for leaves, way, results in (
        ((features, weight, bias), lambda x, w, b: normalized(x, w, b, EPS, groups), found),
        ((features.double(), weight.double(), bias.double()), exact, expected),
    ):
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        value = way(*leaves)
        results += [value.detach(), *torch.autograd.grad(value, leaves, gradient.to(value.dtype))]
    assert found[0].dtype == found[1].dtype == dtype
    for one, other in zip(found, expected, strict=True):
        assert difference(one, other) < largest


@pytest.mark.parametrize("groups", [None, 2], ids=["channels", "groups"])
@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 1e-4), (torch.bfloat16, 0.04)], ids=["fp32", "bf16"])
def test_rounding_is_no_common_error_of_all_voxels(groups, dtype, largest):
    # The gradient has a mean, and a convolution before sums over all voxels what is wrong in each of them.
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 4, 48, 48, 48, generator=generator)
    kernel = torch.randn(4, 4, 1, 1, 1, generator=generator)
    weight, bias = (torch.rand(4, generator=generator) + 0.5 for _ in range(2))
    gradient = (torch.randn(image.shape, generator=generator) + 1).to(dtype)

    def exact(x, w, b):
        if groups is None:
            return functional.instance_norm(x, None, None, w, b, eps=EPS)
        return functional.group_norm(x, groups, w, b, EPS)

    found = []
    for kind, way in ((dtype, lambda x, w, b: normalized(x, w, b, EPS, groups)), (torch.float64, exact)):
        leaf = kernel.to(kind, copy=True).requires_grad_()
        features = functional.conv3d(image.to(dtype).to(kind), leaf)
        features.retain_grad()
        stored = torch.float32 if kind is dtype else kind
        way(features, weight.to(stored), bias.to(stored)).backward(gradient.to(kind))
        found.append((leaf.grad, features.grad))
    (slope, of_features), (expected, _wanted) = found
    assert difference(slope, expected) < largest
    # Each group's gradient sums to zero.
    sums = of_features.double().view(1, groups or 4, -1).sum(2)
    assert float(sums.abs().max() / of_features.double().abs().sum()) < 1e-4


def test_it_cannot_be_differentiated_twice():
    features = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    value = normalized(features, None, None, EPS).pow(3).sum()
    (slope,) = torch.autograd.grad(value, features, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.square().sum().backward()


def test_a_constant_channel_gives_its_bias_and_almost_no_gradient():
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
    assert difference(value, functional.instance_norm(features.double(), eps=EPS)) < 8e-3


@pytest.mark.parametrize(
    "plain",
    [nn.InstanceNorm3d(4, affine=True), nn.InstanceNorm3d(4), nn.GroupNorm(2, 4), nn.GroupNorm(2, 4, affine=False)],
    ids=["instance", "instance, no weights", "group", "group, no weights"],
)
def test_weights_keep_their_names_and_small_patches_are_computed_as_before(plain, monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3), plain, nn.LeakyReLU())
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    image = torch.randn(2, 1, 12, 12, 12)
    expected, names, weight, kind = network(image), list(network.state_dict()), plain.weight, type(plain)
    changed = with_fast_normalization(network)
    assert changed[1] is plain
    assert isinstance(plain, kind)
    assert type(plain) is not kind
    assert changed[1].weight is weight
    assert list(changed.state_dict()) == names
    assert torch.equal(changed(image), expected)
    # Where it computes them itself, as on a GPU:
    monkeypatch.setattr(normalization, "_is_faster", lambda features, groups: True)
    assert not torch.equal(changed(image), expected)
    assert torch.allclose(changed(image), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["unet_small", "unet_small_one_scan", "dynunet"])
def test_no_normalization_of_a_network_is_left_as_it_was(name):
    network = build_network(name, NetworkShape(3, (32, 32, 32)))
    kinds = (nn.InstanceNorm3d, nn.GroupNorm)
    norms = [module for module in network.modules() if isinstance(module, kinds)]
    assert norms
    assert all(type(module) not in kinds for module in norms)


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.InstanceNorm3d(4, track_running_stats=True), (2, 4, 8, 8, 8)),
        (nn.InstanceNorm3d(4, affine=True), (4, 8, 8, 8)),
        (nn.InstanceNorm2d(4), (4, 8, 8)),
    ],
    ids=["running averages", "one volume without a batch", "one image without a batch"],
)
def test_what_it_does_not_compute_is_left_to_pytorch(plain, shape, monkeypatch):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = plain(features)
    monkeypatch.setattr(normalization, "_is_faster", lambda features, groups: True)
    assert torch.equal(with_fast_normalization(nn.Sequential(plain))(features), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_left_to_pytorch(dtype, gpu):
    features = torch.randn(1, 1, 96, 96, 96, device=gpu.device)
    assert normalization._is_faster(features, 1)
    assert normalization._is_faster(features.bfloat16(), 1)
    assert not normalization._is_faster(features.to(dtype), 1)
    assert not normalization._is_faster(features[..., :95], 1)
