"""The memory of a device: what is free, what a failed step leaves behind, and what a full one says."""

from __future__ import annotations

import io
import threading
import weakref
from dataclasses import replace

import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.client import jsonrpc
from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.learning import devices
from SparseAnnotateLib.learning.devices import DeviceReport, chosen_device, is_out_of_memory, usable_memory_bytes
from SparseAnnotateLib.learning.training import planning, trainer
from SparseAnnotateLib.learning.training.patch_planning import planned_patch_and_batch
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.server import Server

GIB = 1 << 30
SETTINGS = TrainingSettings(**QUICK_TRAINING)


class Gpu:
    """The figures of a GPU of 16 GiB: what other programs leave free, and what PyTorch keeps of it."""

    def __init__(self, monkeypatch, free: int = 12 * GIB):
        self.free, self.reserved, self.allocated = free, 0, 0
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (self.free - self.reserved, 16 * GIB))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda *_: self.reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda *_: self.allocated)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: setattr(self, "reserved", self.allocated))


def test_what_pytorch_keeps_after_a_job_does_not_make_the_next_plan_smaller(monkeypatch):
    gpu = Gpu(monkeypatch)

    def plan():
        return planned_patch_and_batch([(300, 512, 512)], (1, 1, 1), "dynunet", "cuda:0", 2)

    before = plan()
    gpu.reserved = 9 * GIB
    assert plan() == before
    gpu.allocated = 9 * GIB  # now it is really in use
    assert plan() != before


def test_planning_gives_back_what_earlier_jobs_have_left(ball_cohort, monkeypatch):
    gpu = Gpu(monkeypatch)
    gpu.reserved = 5 * GIB
    planning.new_plan(ball_cohort, SETTINGS, ["ball_0"])
    assert gpu.reserved == 0


def test_a_worker_gives_the_memory_of_a_gpu_back_after_every_job(monkeypatch):
    gpu = Gpu(monkeypatch)

    done = threading.Event()

    def job(request, watch):
        gpu.reserved = 5 * GIB
        done.set()
        raise ValueError("even after an error")

    def lines():
        yield jsonrpc.request_line(1, "fill", {}).encode()
        done.wait(60)

    monkeypatch.setitem(requests.METHODS, "fill", (requests.EnvironmentRequest, job))
    output = io.BytesIO()
    Server(lines(), output).serve()
    assert b"even after an error" in output.getvalue()
    assert gpu.reserved == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18.13 GB)."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1099511627776 bytes."),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
    ids=str,
)
def test_every_way_of_running_out_of_memory_is_recognized(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("Expected all tensors to be on the same device"), ValueError("out of memory"), OSError("no memory")],
    ids=str,
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_nothing_of_a_failed_step_is_alive_when_training_continues_with_less(ball_cohort, monkeypatch):
    left: list[weakref.ref] = []
    loss = SupervisedObjective.loss

    def runs_out(self, forward, batch, done, teacher):
        value = loss(self, forward, batch, done, teacher)
        if batch["image"].shape[0] > 1:
            graph = forward(batch["image"])
            left.extend(map(weakref.ref, (graph, value, batch["image"])))
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return value

    reduced = trainer.reduced

    def looks(*arguments):
        alive.append([reference() is not None for reference in left])
        return reduced(*arguments)

    alive: list[list[bool]] = []
    monkeypatch.setattr(SupervisedObjective, "loss", runs_out)
    monkeypatch.setattr(trainer, "reduced", looks)
    assert train(ball_cohort, "r", SETTINGS).last.plan.batch == 1
    assert len(left) >= 3
    assert alive == [[False] * len(left)]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_step_that_fails_in_the_optimizer_leaves_no_half_of_it_behind(ball_cohort, monkeypatch, failing):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_: {"3d": 1.0})
    update = torch.optim.AdamW.step
    calls = []

    def runs_out(self, *arguments, **names):
        calls.append(1)
        if len(calls) == failing:
            for parameter in self.param_groups[0]["params"][:2]:
                self.state[parameter] = {"step": torch.tensor(1.0)}
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return update(self, *arguments, **names)

    monkeypatch.setattr(torch.optim.AdamW, "step", runs_out)
    assert train(ball_cohort, "r", SETTINGS).last.iterations == 6


def reports(**works: bool):
    return lambda device: DeviceReport(device, device, works.get(device.replace(":", ""), True), f"'{device}' is bad.")


def test_a_gpu_that_fails_its_test_is_passed_over_for_the_next_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "smoke_test", reports(cuda0=False))
    assert chosen_device().device == "cuda:1"
    monkeypatch.setattr(devices, "smoke_test", reports())
    assert chosen_device().device == "cuda:0"
    monkeypatch.setattr(devices, "smoke_test", reports(cuda0=False, cuda1=False))
    found = chosen_device()
    assert found.device == "cpu"
    assert found.message == "Computing on the CPU, which is slow. 'cuda:0' is bad. 'cuda:1' is bad."


def test_a_gpu_that_computes_wrongly_or_has_no_memory_left_fails_its_test(monkeypatch):
    monkeypatch.setattr(devices, "_device_name", lambda device: "Card")
    convolution = torch.nn.functional.conv3d
    calls = []

    def wrong(*arguments):
        calls.append(1)
        return convolution(*arguments) * (1.0 if len(calls) == 1 else 3.0)

    monkeypatch.setattr(torch.nn.functional, "conv3d", wrong)
    assert devices.smoke_test("cpu").message == "'cpu' (Card) gives wrong results and is not used."

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ...")

    monkeypatch.setattr(torch.nn.functional, "conv3d", full)
    found = devices.smoke_test("cpu")
    assert not found.works
    assert "PyTorch reports: CUDA out of memory. Tried to allocate 20.00 MiB)" in found.message


def test_a_run_with_two_gpus_is_planned_for_the_one_asked_for(ball_cohort, monkeypatch):
    asked = []
    Gpu(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "smoke_test", reports())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or (8, 0))
    plan = planning.new_plan(ball_cohort, replace(SETTINGS, device="cuda:1", precision="auto"), ["ball_0"])
    assert (plan.device, plan.precision) == ("cuda:1", "bf16")
    assert asked == ["cuda:1"]


def test_memory_of_a_cpu_and_of_an_apple_gpu_is_what_is_free(monkeypatch):
    assert usable_memory_bytes("cpu") > 0
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 300)
    assert usable_memory_bytes("mps") == 600


def test_the_message_of_less_memory_does_not_set_the_progress_back(ball_cohort, monkeypatch):
    step = trainer.Trainer._step

    def tight(self, batch):
        if self.iteration == 3 and batch["image"].shape[0] > 1:
            raise torch.OutOfMemoryError("no memory")
        return step(self, batch)

    monkeypatch.setattr(trainer.Trainer, "_step", tight)
    monkeypatch.setattr(trainer, "_REPORT_SECONDS", 0.0)
    seen = []
    train(ball_cohort, "r", SETTINGS, watch=Watch(lambda progress: seen.append(progress.fraction)))
    assert seen == sorted(seen)
