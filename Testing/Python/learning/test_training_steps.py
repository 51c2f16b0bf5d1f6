"""The steps of a training: how long they take, in which memory format, in which precision, compiled, cancelled."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import CancelledError, RunError, Watch, progress
from SparseAnnotateLib.learning import devices
from SparseAnnotateLib.learning.data import augmentation
from SparseAnnotateLib.learning.data.augmentation import Augmentation
from SparseAnnotateLib.learning.data.batches import Batches
from SparseAnnotateLib.learning.data.patches import Patch
from SparseAnnotateLib.learning.training import estimate, gradient_step, trainer
from SparseAnnotateLib.learning.training.compilation import CompiledNetwork
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.step_timing import StepTimer, check_between_layers, memory_formats
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_precision import TrainingPrecision
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.runs.settings import AugmentationSettings

SETTINGS = TrainingSettings(**QUICK_TRAINING)
PLAIN, LAST = torch.contiguous_format, torch.channels_last_3d


def running_out(monkeypatch, fits):
    """Timing runs out of memory unless the model fits; a step then takes 3 s, predicting a patch 0.5 s."""
    timed = []

    def seconds(self, memory_format):
        timed.append((self._model.batch, self._model.patch, self._device))
        if not fits(self._model, self._device):
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return 3.0

    monkeypatch.setattr(StepTimer, "seconds", seconds)
    monkeypatch.setattr(StepTimer, "prediction_seconds", lambda self: 0.5)
    monkeypatch.setattr(estimate, "_waiting_seconds", lambda *_: 0.0)
    return timed


def test_the_estimate_of_a_model_too_large_is_that_of_the_smaller_one_it_is_trained_as(ball_cohort, monkeypatch):
    plan = new_plan(ball_cohort, replace(SETTINGS, patch=(32, 32, 32)), ["ball_0"])
    timed = running_out(monkeypatch, lambda model, _: model.batch * model.patch[0] <= 16)
    found = estimate.stage_seconds(plan, [(24, 28, 32)], held_out=False)
    # Six steps, and two windows of the check beyond the drawn slices.
    assert found == {"3d": 3.0 * 6 + 0.5 * 2}
    assert timed == [(2, (32, 32, 32), "cpu"), (1, (32, 32, 32), "cpu"), (1, (16, 32, 32), "cpu")]


def test_the_estimate_of_a_model_too_large_for_any_patch_says_so(ball_cohort, monkeypatch):
    plan = new_plan(ball_cohort, SETTINGS, ["ball_0"])
    running_out(monkeypatch, lambda *_: False)
    with pytest.raises(RunError, match="too little memory for a single small patch. Close other programs, or choose"):
        estimate.stage_seconds(plan, [(24, 28, 32)])


def test_the_estimate_of_a_gpu_too_small_is_that_of_the_cpu(ball_cohort, monkeypatch):
    plan = replace(new_plan(ball_cohort, SETTINGS, ["ball_0"]), device="meta", precision="bf16")
    timed = running_out(monkeypatch, lambda _, device: device == "cpu")
    assert estimate.stage_seconds(plan, [(24, 28, 32)], held_out=False) == {"3d": 3.0 * 6 + 0.5 * 4}
    assert timed[-1] == (1, (16, 16, 32), "cpu")


@pytest.mark.parametrize("change", [{}, {"loss": "boundary", "mean_teacher": 0.1}, {"recipe": "self_training"}])
def test_the_estimate_times_the_loss_as_it_is_trained_with(ball_cohort, monkeypatch, change):
    names = []
    loss = SparseLoss.__call__

    def seen(self, logits, target, supervised, *more):
        names.append(self.name)
        assert supervised.float().mean() > 0
        return loss(self, logits, target, supervised, *more)

    monkeypatch.setattr(SparseLoss, "__call__", seen)
    settings = TrainingSettings(**{**QUICK_TRAINING, "patch_2d": (16, 32), "batch_2d": 2, **change})
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    found = estimate.stage_seconds(plan, [(24, 28, 32)])
    assert set(names) == {settings.loss}
    assert len(names) >= len(plan.models)
    assert all(seconds > 0 for seconds in found.values())


def deep_network(on_layer):
    layers = [torch.nn.Conv3d(1, 1, 1) for _ in range(20)]
    for layer in layers:
        layer.register_forward_hook(lambda *_: on_layer("forward"))
        layer.weight.register_hook(lambda *_: on_layer("backward"))
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize(("direction", "passed"), [("forward", 3), ("backward", 22)])
def test_a_step_that_takes_long_is_cancelled_between_two_of_its_layers(direction, passed):
    watch, layers = Watch(), []

    def on_layer(where):
        layers.append(where)
        if layers.count(direction) == 3:
            watch.cancel()

    network = deep_network(on_layer)
    check_between_layers(network, watch)
    with pytest.raises(CancelledError):
        network(torch.ones(1, 1, 4, 4, 4)).sum().backward()
    assert passed <= len(layers) <= passed + 3


def test_cancel_in_the_first_second_of_a_training_answers_within_5_seconds_however_long_a_step_takes(
    ball_cohort, monkeypatch
):
    watch, layers, cancelled = Watch(), [], []
    convolve = torch.nn.Conv3d.forward

    def cancel():
        cancelled.append((time.monotonic(), len(layers)))
        watch.cancel()

    def slow(self, image):
        if not layers:
            threading.Timer(0.5, cancel).start()
        layers.append(1)
        time.sleep(0.4)  # so that a step takes more than 7 s
        return convolve(self, image)

    monkeypatch.setattr(torch.nn.Conv3d, "forward", slow)
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=watch)
    [(when, before)] = cancelled
    assert time.monotonic() - when < 5.0
    assert len(layers) - before <= 1


@pytest.mark.parametrize("ended_by", ["cancel", "close"])
def test_batches_of_many_patches_are_not_waited_for_when_training_ends(monkeypatch, ended_by):
    watch, prepared, count = Watch(), [], 2000

    def seen(array):
        prepared.append(1)
        if ended_by == "cancel" and len(prepared) == 3:
            watch.cancel()
        return torch.as_tensor(array)

    class Sampler:
        def patches(self, iteration, numbers):
            return [Patch({"image": np.zeros((1, 2, 2, 2), np.float32)}, (0, 1, 2), "a") for _ in numbers]

    monkeypatch.setattr(augmentation, "_tensor", seen)
    plain = Augmentation(AugmentationSettings(intensity=0.0), (), (2, 2, 2), (1.0, 1.0, 1.0), 0)
    batches = Batches(Sampler(), plain, list(range(count)), 0, False, watch)
    if ended_by == "cancel":
        with pytest.raises(CancelledError):
            batches.take(0)
    batches.close()
    assert len(prepared) < count


def test_the_first_step_does_not_count_in_the_remaining_time(ball_cohort, monkeypatch):
    skipped, lefts = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + skipped[0])
    for module in (progress, trainer):
        monkeypatch.setattr(module, "time", clock)
    try_bf16 = TrainingPrecision.try_bf16

    def slow_at_first(self, *arguments):
        skipped[0] += 0.0 if skipped[0] else 10_000.0
        try_bf16(self, *arguments)

    monkeypatch.setattr(TrainingPrecision, "try_bf16", slow_at_first)
    monkeypatch.setattr(trainer, "_REPORT_SECONDS", -1.0)
    watch = Watch(lambda report: lefts.append(report.seconds_left) if report.metrics else None)
    train(ball_cohort, "r", replace(SETTINGS, iterations=4), watch=watch)
    assert skipped[0]
    assert len(lefts) == 4
    assert lefts[0] is None
    assert all(left < 10_000.0 for left in lefts[1:])


def test_cancelling_in_the_midst_of_a_step_resumes_to_exactly_the_same_weights(ball_cohort, monkeypatch):
    settings = replace(SETTINGS, network="attention_unet", iterations=3, validation_share=0.0)
    train(ball_cohort, "whole", settings)
    watch, calls = Watch(), []
    norm = torch.nn.functional.batch_norm

    def seen(*arguments, **names):
        calls.append(1)
        result = norm(*arguments, **names)
        if len(calls) == 10 and trained:
            watch.cancel()
        return result

    trained: list[Trainer] = []
    take = Trainer._take_steps

    def begin(self):
        trained.append(self)
        calls.clear()
        take(self)

    monkeypatch.setattr(torch.nn.functional, "batch_norm", seen)
    monkeypatch.setattr(Trainer, "_take_steps", begin)
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", settings, watch=watch)
    assert len(calls) <= 12  # not to the end of the step
    monkeypatch.undo()
    train(ball_cohort, "r")
    paths = [RunFolder(ball_cohort.run_folder(name)).weights_path("3d") for name in ("whole", "r")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_memory_format_is_to_be_chosen_only_on_a_gpu_and_where_it_is_not_set(ball_cohort):
    model = new_plan(ball_cohort, SETTINGS, ["ball_0"]).models[0]
    assert memory_formats(SETTINGS, model, "cuda:0") == [PLAIN, LAST]
    assert memory_formats(SETTINGS, model, "cpu") == memory_formats(SETTINGS, model, "mps") == [PLAIN]
    for device in ("cpu", "cuda:0"):
        assert memory_formats(replace(SETTINGS, channels_last=True), model, device) == [LAST]
        assert memory_formats(replace(SETTINGS, channels_last=False), model, device) == [PLAIN]


@pytest.mark.parametrize("faster", [PLAIN, LAST], ids=["plain", "channels last"])
def test_training_keeps_the_faster_memory_format_also_when_it_is_resumed(ball_cohort, monkeypatch, faster):
    used, timed = [], []
    forward_pass = trainer.forward_pass

    def seen(network, device, precision, memory_format):
        used.append(memory_format)
        return forward_pass(network, device, precision, memory_format)

    def seconds(self, memory_format):
        timed.append(memory_format)
        return 1.0 if memory_format == faster else 2.0

    def report(progress):
        if progress.message.startswith("step 2 "):
            watch.cancel()

    monkeypatch.setattr(trainer, "memory_formats", lambda *_: [PLAIN, LAST])
    monkeypatch.setattr(trainer, "forward_pass", seen)
    monkeypatch.setattr(trainer, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(StepTimer, "seconds", seconds)
    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_: {"3d": 1.0})
    watch = Watch(report)
    with pytest.raises(CancelledError):
        # In fp32, because bf16 is tried with further passes.
        train(ball_cohort, "r", replace(SETTINGS, precision="fp32"), watch=watch)
    train(ball_cohort, "r")
    assert timed == [PLAIN, LAST]
    assert set(used) == {faster}
    assert len(used) == 6


@pytest.mark.parametrize("dimensions", [2, 3])
def test_moments_of_the_optimizer_lie_in_memory_as_its_weights(dimensions):
    kind, last = [(torch.nn.Conv2d, torch.channels_last), (torch.nn.Conv3d, LAST)][dimensions - 2]
    network = torch.nn.Sequential(kind(2, 4, 3), torch.nn.GroupNorm(2, 4), kind(4, 3, 3))
    optimizer = torch.optim.AdamW(network.parameters())

    def step():
        network(torch.ones(1, 2, *[8] * dimensions)).sum().backward()
        optimizer.step()

    step()
    for memory_format in (last, PLAIN, last):
        gradient_step.use_memory_format(memory_format, network, optimizer)
        for parameter in network.parameters():
            for moment in ("exp_avg", "exp_avg_sq"):
                assert optimizer.state[parameter][moment].stride() == parameter.stride()
        assert network[0].weight.is_contiguous(memory_format=memory_format)
        step()


def test_the_memory_format_is_measured_again_when_patches_have_become_smaller(ball_cohort, monkeypatch):
    trained, asked = [], []
    fastest, take = trainer.fastest_format, Trainer._take_steps
    step, steps = Trainer._step, []

    def measured(*arguments):
        asked.append(1)
        return None if len(asked) == 1 else fastest(*arguments)

    def tight(self, batch):
        steps.append(1)
        if len(steps) == 3:
            raise torch.OutOfMemoryError("no memory")
        return step(self, batch)

    def begin(self):
        trained.append(self)
        take(self)

    monkeypatch.setattr(trainer, "memory_formats", lambda *_: [PLAIN, LAST])
    monkeypatch.setattr(StepTimer, "seconds", lambda self, chosen: 1.0 if chosen == LAST else 2.0)
    monkeypatch.setattr(trainer, "fastest_format", measured)
    monkeypatch.setattr(Trainer, "_step", tight)
    monkeypatch.setattr(Trainer, "_take_steps", begin)
    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_: {"3d": 1.0})
    train(ball_cohort, "r", replace(SETTINGS, precision="fp32"))
    assert len(asked) == 2
    assert trained[0]._format == LAST


def test_a_training_step_waits_for_a_gpu_twice(pretended):
    gpu = pretended()
    network = torch.nn.Conv3d(1, 3, 3, padding=1).to(gpu.device)
    optimizer = torch.optim.AdamW(network.parameters())
    image = torch.randn(2, 1, 8, 8, 8).to(gpu.device)
    label = torch.zeros(2, 1, 8, 8, 8, dtype=torch.uint8).to(gpu.device)
    supervised = torch.zeros(2, 1, 8, 8, 8, dtype=torch.bool)
    supervised[:, :, ::3] = True
    supervised = supervised.to(gpu.device)
    scaler = torch.amp.GradScaler(enabled=False)
    gpu.forget_counts()
    loss = SparseLoss()(network(image), label, supervised)
    _, is_usable = gradient_step.gradient_step(loss, network, optimizer, scaler, 12.0)
    assert is_usable
    # To find the supervised voxels, and for loss and gradient, of which a list is made.
    assert sum(gpu.waits.values()) == 2, gpu.waits


def with_bad_steps(monkeypatch, bad):
    """The loss of these steps, counted from 0, is no number as long as the precision is not fp32.

    All is computed in fp32, because on a CPU real steps in bf16 may be no numbers, too.
    """
    step, current = Trainer._step, []

    def seen(self, batch):
        current[:] = [len(steps), self.precision.value]
        steps.append(self.precision.value)
        return step(self, batch)

    loss = SparseLoss.__call__

    def breaks(self, *arguments):
        value = loss(self, *arguments)
        return value * float("nan") if current and current[0] in bad and current[1] != "fp32" else value

    steps: list[str] = []
    monkeypatch.setattr(gradient_step, "autocast", lambda *_: nullcontext())
    monkeypatch.setattr(Trainer, "_step", seen)
    monkeypatch.setattr(SparseLoss, "__call__", breaks)
    return steps


def test_single_steps_in_bf16_that_are_no_numbers_are_left_out(ball_cohort, monkeypatch):
    steps = with_bad_steps(monkeypatch, {1, 2, 4})
    card = train(ball_cohort, "r", replace(SETTINGS, precision="bf16"))
    assert steps == ["bf16"] * 6
    assert card.precision == "bf16"
    assert not any("fp32" in note for note in card.notes)


def test_several_such_steps_in_a_row_change_to_fp32_with_a_note(ball_cohort, monkeypatch):
    steps = with_bad_steps(monkeypatch, range(1, 99))
    messages = []
    watch = Watch(lambda progress: messages.append(progress.message))
    card = train(ball_cohort, "r", replace(SETTINGS, precision="bf16"), watch=watch)
    assert steps == ["bf16"] * 4 + ["fp32"] * 2
    note = (
        "The '3d' model continues in fp32 from step 3 on, which is slower: in bf16 the loss was not a number in 3 "
        "steps in a row."
    )
    assert note in card.notes
    assert note in messages


@pytest.mark.parametrize("when", ["at once", "at the first call"])
def test_a_network_that_cannot_be_compiled_is_trained_as_it_is_with_a_note(ball_cohort, monkeypatch, when):
    def failing(*_, **__):
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

    monkeypatch.setattr(torch, "compile", failing if when == "at once" else lambda network: failing)
    card = train(ball_cohort, "r", replace(SETTINGS, compile=True))
    assert card.last.iterations == 6
    [note] = [note for note in card.notes if "compiled" in note]
    assert "trained uncompiled (PyTorch reports: Failed to find C compiler)" in note


def test_errors_of_the_network_and_full_memory_are_not_taken_for_a_missing_compiler(monkeypatch):
    def full(image):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    def broken(image):
        raise ValueError("the network itself")

    monkeypatch.setattr(torch, "compile", lambda network: network)
    for network, error in ((full, torch.OutOfMemoryError), (broken, ValueError)):
        notes = []
        with pytest.raises(error):
            CompiledNetwork(network, notes.append)(torch.ones(1))
        assert notes == []


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device. If you want"),
        RuntimeError("ConvTranspose 3D with BF16 or FP16 types is not supported on MPS"),
        TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_apple_gpu_lacks_is_reported_with_what_to_do(error):
    with (
        pytest.raises(RunError, match=r"Train on the device 'cpu', or set .* PYTORCH_ENABLE_MPS_FALLBACK to 1"),
        devices.explained("mps"),
    ):
        raise error
    with pytest.raises(type(error)), devices.explained("cuda:0"):
        raise error


def test_an_apple_gpu_gets_neither_float64_nor_pinned_memory_nor_mixed_precision(ball_cohort, monkeypatch):
    assert devices.training_precision("auto", "mps") == devices.prediction_precision("mps") == "fp32"
    made = []
    monkeypatch.setattr(trainer, "Batches", lambda *arguments: made.append(arguments[4]))
    part = SimpleNamespace(sampler=lambda _: None, augmentation=lambda _: None)
    training = SimpleNamespace(objective=part, model_plan=None, iteration=0, _numbers=lambda: [0])
    training.ranks, training.watch = Ranks.alone(), Watch()
    for device in ("cpu", "mps", "cuda:1"):
        training.device = device
        Trainer._batches(training)
    assert made == [False, False, True]
    monkeypatch.undo()
    step, kinds = Trainer._step, set()

    def seen(self, batch):
        kinds.update(tensor.dtype for tensor in (*batch.values(), *self.model.state_dict().values()))
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", seen)
    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_: {"3d": 1.0})
    train(ball_cohort, "r", replace(SETTINGS, iterations=1, loss="boundary"))
    assert torch.float32 in kinds
    assert torch.float64 not in kinds
