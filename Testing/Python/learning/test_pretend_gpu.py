"""The pretend GPU finds what would fail on a real one, and leaves no trace."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pretend_gpu import pretend_gpu
from SparseAnnotateLib.learning.devices import chosen_device, smoke_test, usable_memory_bytes

SIZE = 4 * 4 * 4  # bytes of a tensor of 4 x 4


@pytest.fixture
def gpu(pretended):
    return pretended(total=1 << 20)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda here, there: here + there,
        lambda here, there: there.add_(here),
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.where(there > 0, there, here),
        lambda here, there: here @ there,
        lambda here, there: functional.cross_entropy(there, here.argmax(1)),
        lambda here, there: here[there > 0],
        lambda here, there: there.__setitem__(there > 0, here[0]),
        lambda here, there: there.gather(1, torch.zeros(4, 1, dtype=torch.long)),
        lambda here, there: nn.Linear(4, 2)(there),
        lambda here, there: functional.conv1d(there[None], torch.ones(1, 4, 1)),
        lambda here, there: torch.stack([there.sum(), torch.tensor(1.0)]),
        lambda here, there: here + there.sum(),
        lambda here, there: here.copy_(there).add_(there),
    ],
)
def test_mixing_host_and_gpu_raises(gpu, wrong):
    with pytest.raises(RuntimeError, match="same device"):
        wrong(torch.ones(4, 4), torch.ones(4, 4, device="cuda"))


@pytest.mark.parametrize("wrong", [lambda t: t.numpy(), np.asarray, lambda t: t[0].detach().numpy()])
def test_an_array_of_a_tensor_on_the_gpu_raises(gpu, wrong):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        wrong(torch.ones(4, 4, device="cuda"))


def test_what_torch_allows_is_allowed(gpu):
    there = torch.arange(4.0, device="cuda:0")
    results = [
        there * torch.tensor(2.0),
        there[torch.tensor([0, 1])],
        there[np.array([0, 1])],
        torch.ones(3).to(there),
        torch.tensor([1.0], device=there.device),
        there.new_tensor([1.0]),
        torch.zeros_like(there),
        torch.nn.Linear(4, 2).to("cuda")(there),
    ]
    assert all(result.device == torch.device("cuda:0") and result.is_cuda for result in results)
    assert there.cpu().device == torch.device("cpu")
    np.testing.assert_array_equal((there * 2).cpu().numpy(), [0, 2, 4, 6])
    assert float(there.sum()) == 6.0
    assert there.tolist() == [0, 1, 2, 3]


def test_gradients_are_those_of_the_cpu(gpu):
    torch.manual_seed(0)
    network, image = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.ReLU(), nn.Flatten()),
        torch.rand(2, 1, 5, 5),
    )
    network(image).square().mean().backward()
    expected = network[0].weight.grad.clone()
    network.zero_grad()
    network.to("cuda")(image.to("cuda")).square().mean().backward()
    assert network[0].weight.grad.device == torch.device("cuda:0")
    torch.testing.assert_close(network[0].weight.grad.cpu(), expected)


def test_copies_and_waits_are_counted(gpu):
    there = torch.ones(4, 4).to("cuda")
    bool((there > 0).all())
    there[there > 2]
    there.cpu()
    there.to("cuda:0")
    assert (gpu.copies_in, gpu.bytes_in, gpu.copies_out, gpu.bytes_out) == (1, SIZE, 1, SIZE)
    assert sum(gpu.waits.values()) == 2
    gpu.forget_counts()
    assert (gpu.copies_in, gpu.copies_out, sum(gpu.waits.values())) == (0, 0, 0)


def test_memory_is_taken_freed_kept_in_the_cache_and_runs_out(gpu):
    one = torch.zeros(4, 4, device="cuda")
    view = one[:2].T
    assert (gpu.allocated, gpu.free) == (SIZE, (1 << 20) - SIZE)
    del one
    assert gpu.allocated == SIZE
    del view
    assert (gpu.allocated, gpu.cached, gpu.peak) == (0, SIZE, SIZE)
    # What PyTorch keeps for its next tensors is free.
    assert usable_memory_bytes("cuda:0") == int(0.9 * (1 << 20))
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info() == (1 << 20, 1 << 20)
    gpu.taken = (1 << 20) - SIZE
    kept = torch.zeros(4, 4, device="cuda")
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 4 bytes"):
        kept.sum()
    assert gpu.allocated == SIZE


def test_a_convolution_fails_when_it_is_told_to(gpu):
    image, kernel = torch.ones(1, 1, 4, device="cuda"), torch.ones(1, 1, 1, device="cuda")
    gpu.fail_at_convolution(2)
    gpu.fail_at_convolution(1, error=lambda: RuntimeError("cuDNN error"), larger_than=4)
    functional.conv1d(image, kernel)
    with pytest.raises(torch.OutOfMemoryError):
        functional.conv1d(image, kernel)
    functional.conv1d(image, kernel)
    with pytest.raises(RuntimeError, match="cuDNN error"):
        functional.conv1d(image.repeat(2, 1, 1), kernel)


def test_other_threads_see_it_too(gpu):
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.zeros(2, device="cuda")))
    thread.start()
    thread.join()
    assert found[0].is_cuda


def test_it_passes_the_smoke_test_and_may_fail_it(gpu):
    assert chosen_device("auto").device == "cuda:0"
    gpu.fail_at_convolution(1, error=lambda: RuntimeError("no kernel image is available"))
    assert "no kernel image is available" in smoke_test("cuda:0").message
    assert torch.cuda.get_device_capability() == (8, 0)


def test_afterwards_torch_is_as_before():
    names = ("is_available", "device_count", "mem_get_info", "_lazy_init", "empty_cache", "get_device_name")
    before = [getattr(torch.cuda, name) for name in names]
    also = (torch.tensor, torch.inference_mode, torch.Tensor.pin_memory, threading.Thread.run)
    with pytest.raises(RuntimeError, match="same device"), pretend_gpu():
        torch.add(torch.ones(2, device="cuda"), torch.ones(2))
    assert [getattr(torch.cuda, name) for name in names] == before
    assert also == (torch.tensor, torch.inference_mode, torch.Tensor.pin_memory, threading.Thread.run)
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            torch.ones(1, device="cuda")
