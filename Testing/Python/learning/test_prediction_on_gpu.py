"""Prediction, propagation and learned features on a GPU: few copies, and what happens when its memory runs out."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from pretend_gpu import size_of
from small_volumes import QUICK_TRAINING, ball, noisy_image
from sparse_fills import axial
from SparseAnnotateLib.core import Plane, RunError, Watch
from SparseAnnotateLib.learning.devices import within_memory
from SparseAnnotateLib.learning.features.learned_features import FeatureTraining, learned_features
from SparseAnnotateLib.learning.prediction.limits import Limits, limits_of
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.run_models import entropy_percent
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator
from SparseAnnotateLib.learning.prediction.view_averages import mean_view
from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction, most_likely, predicted_classes
from SparseAnnotateLib.learning.propagation.learned_interpolator import PropagationInterpolator
from SparseAnnotateLib.learning.propagation.slice_matcher import PropagationSettings, train_matcher
from SparseAnnotateLib.learning.training.run_planning import plan_to_train
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

GPU = "cuda:0"
CUDNN = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
ONE_STEP = {**QUICK_TRAINING, "iterations": 1, "network": "basic_unet_small", "precision": "auto"}
QUICK = PropagationSettings(steps=2, batch=2, patch=24, channels=8, radius=2)


def small_network(dimensions: int, seed: int = 0, size: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
    return nn.Sequential(kind(1, 4, size, padding=size // 2), nn.LeakyReLU(), kind(4, 3, 1)).eval()


def models_on(device: str, flip=(0, 2), patch=(16, 16, 16)) -> list[TrainedModel]:
    flat, solid = small_network(2).to(device), small_network(3, 1).to(device)
    return [
        TrainedModel("2d", flat, (16, 16), 3, device, planes=(0, 1, 2), flip=flip),
        TrainedModel("3d", solid, patch, 3, device, flip=flip),
    ]


def small_image(shape=(20, 24, 18)) -> np.ndarray:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    image[:, :3] = 0.5
    return image


def whole_volume_views(models: list[TrainedModel], image: np.ndarray) -> dict[str, torch.Tensor]:
    """The views of a volume without slabs, in the plainest way."""
    volume = torch.from_numpy(image.astype(np.float32))[None]

    def logits(model: TrainedModel, window: torch.Tensor) -> torch.Tensor:
        found = []
        for one in window:
            blank = one[0].max() == one[0].min()
            background = torch.tensor([10.0, 0, 0]).reshape(3, *[1] * len(model.patch)).expand(3, *model.patch)
            found.append(background if blank else model.network(one[None])[0])
        return torch.stack(found)

    def predicted(model: TrainedModel, axis: int | None) -> torch.Tensor:
        axes = [a for a in model.flip if a != axis]
        total = 0
        for dims in [[a + 1 for a in chosen] for n in range(len(axes) + 1) for chosen in combinations(axes, n)]:
            mirrored = volume.flip(dims)
            inputs = mirrored[None] if axis is None else mirrored.movedim(axis + 1, 0)
            with torch.no_grad():
                found = sliding_window_inference(
                    inputs, model.patch, 16, lambda w: logits(model, w), overlap=0.25, mode="gaussian"
                )
            found = found[0] if axis is None else found.movedim(0, axis + 1)
            total = total + torch.softmax(found.flip(dims), 0)
        return total / 2 ** len(axes)

    flat, solid = models
    views = {name: predicted(flat, axis) for axis, name in enumerate(("axial", "coronal", "sagittal"))}
    return views | {"3d": predicted(solid, None)}


def test_classes_on_the_cpu_are_those_of_the_plainest_way():
    models, image = models_on("cpu"), small_image()
    expected = whole_volume_views(models, image)
    volume = VolumePrediction(models, image, Watch())
    joint, views = volume.joint_and_views(0, 20)
    for name, view in views.items():
        torch.testing.assert_close(view, expected[name], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(most_likely(view), expected[name].argmax(0).numpy())
    np.testing.assert_array_equal(predicted_classes(models, image), mean_view(expected, None).argmax(0).numpy())
    assert np.abs(entropy_percent(joint).astype(int) - entropy_percent(mean_view(expected, None))).max() <= 1


@pytest.fixture
def few_windows_apart(monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.prediction.sliding_windows._OVERLAP_ELSEWHERE", 0.25)


def test_the_number_of_copies_from_the_gpu_does_not_depend_on_windows_or_views(pretended):
    gpu = pretended()
    counts = []
    for patch, flip in (((32, 32, 32), ()), ((16, 16, 16), (0, 1, 2))):
        models = models_on(GPU, flip, patch)
        gpu.forget_counts()
        predicted_classes(models, small_image())
        counts.append((gpu.copies_out, gpu.bytes_out, gpu.pinned))
    # One slab: the image goes in once, from pinned memory, and the classes come back once, a byte a voxel.
    assert counts == [(1, 20 * 24 * 18, 1)] * 2


def test_several_windows_go_through_a_3d_network_at_once_on_a_gpu_and_one_on_a_cpu(pretended, few_windows_apart):
    sizes = {}
    for device in (GPU, "cpu"):
        pretended()
        model = models_on(device, ())[1]
        sizes[device] = []
        model.network.register_forward_hook(lambda _m, given, _o, found=sizes[device]: found.append(len(given[0])))
        predicted_classes(model, small_image())
    assert max(sizes["cpu"]) == 1
    assert sizes[GPU] == [sum(sizes["cpu"])]


def test_batches_and_slabs_follow_the_memory_of_the_gpu(pretended):
    image = np.zeros((400, 64, 64), np.float16)
    found = []
    for total in (2 << 30, 64 << 20):
        pretended(total=total)
        model = replace(models_on(GPU, ())[1], bytes_per_voxel=10_000)
        volume = VolumePrediction([model], image, Watch())
        found.append((volume.limits.windows_of(model), len(volume.ranges)))
    (windows, slabs), (fewer, more) = found
    assert windows == 16
    assert slabs == 1
    assert fewer < windows
    assert more > slabs


@pytest.mark.parametrize("flip", [(), (2,), (0, 1, 2)])
def test_a_slab_needs_no_more_memory_than_is_planned_for_it(pretended, flip):
    gpu = pretended()
    model = models_on(GPU, flip, patch=(32, 32, 32))[1]
    volume = VolumePrediction([model], small_image((64, 96, 96)), Watch())
    volume.limits.windows = 1
    before = gpu.allocated
    gpu.forget_counts()
    volume.views(0, 64)
    window = 3 * 32**3 * size_of(8)  # of a few layers
    assert gpu.peak - before - window <= 64 * volume.bytes_per_slice


def test_only_what_was_tried_is_reduced(pretended, few_windows_apart):
    gpu = pretended()
    model = models_on(GPU, ())[1]
    gpu.fail_at_convolution(1, larger_than=32**3)  # only batches of several windows
    reduce, tried = Limits.reduce, []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Limits, "reduce", lambda *args: (tried.append(args[2]), reduce(*args))[1])
        predicted_classes(model, small_image())
    assert tried[0] > 1


def test_copies_of_memory_that_may_be_given_back_meanwhile_are_waited_for(monkeypatch):
    waits = []
    move = torch.Tensor.to

    def seen(tensor, *args, non_blocking=False, **more):
        waits.append(not non_blocking or tensor.is_pinned())
        return move(tensor, *args, **more)

    volume = VolumePrediction(models_on("cpu", ()), small_image(), Watch())
    monkeypatch.setattr(torch.Tensor, "to", seen)
    volume.device = "meta"  # neither the CPU nor a GPU whose copies are pinned, like 'mps'
    volume.placed(small_image())
    assert waits
    assert all(waits)


def test_the_way_to_the_cpu_needs_no_memory_of_the_gpu(pretended, few_windows_apart):
    model = replace(models_on("cpu", ())[1], network=small_network(3, 1))
    expected = predicted_classes(model.on_cpu(), small_image())
    weights = sum(p.numel() * 4 for p in model.network.parameters())
    gpu = pretended()
    there = replace(model, network=model.network.to(GPU), device=GPU)
    gpu.total = gpu.allocated + weights // 2
    np.testing.assert_array_equal(predicted_classes(there, small_image()), expected)
    assert {p.device for p in there.network.parameters()} == {torch.device(GPU)}


def ladder(models, image, caplog) -> list[str]:
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        predicted_classes(models, image)
    return [record.message for record in caplog.records]


@pytest.mark.parametrize("error", [None, lambda: CUDNN], ids=["torch", "cudnn"])
def test_memory_that_runs_out_makes_batches_then_slabs_smaller_and_then_blends_on_the_cpu(
    pretended, few_windows_apart, caplog, monkeypatch, error
):
    gpu = pretended()
    monkeypatch.setattr("SparseAnnotateLib.learning.prediction.volume_prediction._WIDEST_MARGIN", 8)
    image = small_image((40, 20, 18))
    # A network that sees single voxels: where windows and slabs lie makes no difference.
    model = replace(models_on(GPU, ())[1], network=small_network(3, 1, size=1).to(GPU))
    expected = predicted_classes(replace(model, network=small_network(3, 1, size=1), device="cpu"), image)
    gpu.fail_at_convolution(1, times=5, error=error)
    reported = []
    with caplog.at_level(logging.WARNING):
        found = predicted_classes(model, image, Watch(lambda progress: reported.append(progress.message)))
    np.testing.assert_array_equal(found, expected)
    notes = [record.message for record in caplog.records]
    assert [note.split("': ")[1] for note in notes] == [
        "predicting 4 windows at a time.",
        "predicting 1 window at a time.",
        "predicting thinner parts of the volume at a time.",
        "predicting thinner parts of the volume at a time.",
        "windows are put together in the CPU's memory.",
    ]
    assert set(notes) <= set(reported)
    # What fitted holds for the next volume.
    assert limits_of(model.network).windows == 1
    assert ladder(model, image, caplog) == []


def test_the_buffers_of_a_failed_attempt_are_gone_before_the_next_one(pretended, few_windows_apart):
    gpu = pretended()
    model = models_on(GPU, ())[1]
    weights, held = gpu.allocated, []

    def fails():
        held.append(gpu.allocated)
        return torch.OutOfMemoryError("CUDA out of memory")

    gpu.fail_at_convolution(1, error=fails)
    reduce = Limits.reduce
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            Limits,
            "reduce",
            lambda *args: (held.append(gpu.allocated), held.append(gpu.cached), reduce(*args))[2],
        )
        predicted_classes(model, small_image())
    assert held[0] > weights
    assert held[1:] == [weights, 0]


def test_a_case_that_does_not_fit_is_predicted_on_the_cpu_and_the_next_one_on_the_gpu(
    tiny_cohort, pretended, few_windows_apart, caplog
):
    train(tiny_cohort, "r", TrainingSettings(**ONE_STEP))
    expected = Predictor(tiny_cohort, "r", "cpu").predict("a", uncertainty=True)
    gpu = pretended()
    predictor = Predictor(tiny_cohort, "r", GPU)
    gpu.fail_at_convolution(1, times=1000)
    found = predictor.predict("a", uncertainty=True)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.entropy, expected.entropy)
    note = "'cuda:0' has too little memory for a single window: this case is predicted on the CPU, which is slow."
    assert note in caplog.text
    assert note in found.notes
    gpu._failures.clear()
    gpu.forget_counts()
    caplog.clear()
    again = predictor.predict("a")
    assert (again.labels == expected.labels).mean() > 0.99
    assert gpu.copies_in > 0
    assert not caplog.records
    assert note not in again.notes
    assert {str(p.device) for model in predictor._models for p in model.network.parameters()} == {GPU}


def test_uncertainty_goes_on_with_less_memory_and_on_the_cpu(tiny_cohort, pretended, few_windows_apart, caplog):
    for seed in range(2):
        train(tiny_cohort, f"r{seed}", TrainingSettings(**ONE_STEP, seed=seed))
    expected = UncertaintyEstimator(tiny_cohort, ["r0", "r1"], device="cpu").of_case("a", [Plane.AXIAL])
    gpu = pretended()
    gpu.fail_at_convolution(3, times=1000)
    found = UncertaintyEstimator(tiny_cohort, ["r0", "r1"], device=GPU).of_case("a", [Plane.AXIAL])
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.slices[Plane.AXIAL], expected.slices[Plane.AXIAL], rtol=1e-3)
    assert "this case is predicted on the CPU" in caplog.text


def test_the_cpu_s_memory_may_run_out_too():
    class Large(nn.Module):
        def forward(self, x):
            raise MemoryError

    model = TrainedModel("3d", Large(), (16, 16, 16), 2, "cpu")
    with pytest.raises(RunError, match="too little memory to predict even a thin part"):
        predicted_classes(model, small_image())


def test_what_an_apple_gpu_cannot_compute_is_told_apart_and_other_errors_pass():
    reasons = []
    missing = NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device.")

    def fails(error):
        errors = [error]

        def compute():
            if errors:
                raise errors.pop()
            return 5

        return within_memory(compute, reasons.append)

    assert fails(missing) == fails(MemoryError()) == fails(CUDNN) == 5
    assert reasons == ["operator", "memory", "memory"]
    with pytest.raises(RuntimeError, match="same device"):
        fails(RuntimeError("Expected all tensors to be on the same device"))


def test_gaps_are_filled_one_at_a_time_on_a_gpu_and_on_the_cpu_where_memory_runs_out(pretended, caplog, monkeypatch):
    labels = ball((17, 26, 28), 6.0)
    image, annotation = noisy_image(labels), axial(labels, [4, 6, 8, 10, 12])
    matcher = train_matcher([lambda: image[:3] / 200 + 0.3], replace(QUICK, device="cpu"))
    expected = PropagationInterpolator(matcher).fill(annotation, image)
    monkeypatch.setattr("SparseAnnotateLib.interpolation.gap_filling._THREADS", 4)
    gpu = pretended()
    method = PropagationInterpolator(matcher.to(GPU))
    at_once, together = [0], []
    encode = type(matcher).encode

    def counted(self, slices):
        at_once[0] += 1
        together.append(at_once[0])
        try:
            return encode(self, slices)
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(type(matcher), "encode", counted)
    gpu.fail_at_convolution(1)
    found = method.fill(annotation, image)
    assert max(together) == 1
    assert sum("are filled on the CPU, which is slow" in record.message for record in caplog.records) == 1
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_matching_slices_is_learned_in_smaller_parts_and_then_on_the_cpu(pretended, caplog):
    image = noisy_image(ball((9, 26, 28), 6.0)) / 200 + 0.3
    losses = {}
    for name, failures in (("cpu", None), ("parts", 1), ("less", 1000)):
        gpu = pretended()
        if failures:
            gpu.fail_at_convolution(1, times=failures, larger_than=2000)  # the smoke test is smaller
        reported = []
        settings = replace(QUICK, device=GPU if failures else "cpu")
        matcher = train_matcher(
            [lambda: image], settings, Watch(lambda p, to=reported: to.append(p.metrics.get("loss")))
        )
        losses[name] = [loss for loss in reported if loss is not None]
        assert next(matcher.parameters()).device.type == ("cuda" if name == "parts" else "cpu")
    # The network normalises some features over a whole part, so the parts make a small difference.
    np.testing.assert_allclose(losses["parts"], losses["cpu"], rtol=0.05)
    np.testing.assert_allclose(losses["less"], losses["parts"], rtol=1e-3)
    assert "matching slices is learned in smaller parts" in caplog.text
    assert "it continues on the CPU, which is slow" in caplog.text


def test_features_are_computed_in_smaller_parts_or_on_the_cpu(tiny_cohort, pretended, caplog):
    expected = learned_features(
        tiny_cohort, ["a"], [Plane.AXIAL], "autoencoder", FeatureTraining(True, 2, 4, device="cpu")
    )["a"][Plane.AXIAL]
    kept = [path for path in tiny_cohort.cache_folder.rglob("*") if path.is_file()]
    gpu = pretended()
    for times in (1, 1000):
        for path in kept if times == 1000 else [p for p in kept if p.suffix == ".npy"]:
            path.unlink(missing_ok=True)
        gpu.fail_at_convolution(2 if times == 1 else 3, times, larger_than=5 * 64 * 64 if times == 1 else 0)
        found = learned_features(
            tiny_cohort, ["a"], [Plane.AXIAL], "autoencoder", FeatureTraining(True, 2, 4, device=GPU)
        )["a"][Plane.AXIAL]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
        gpu._failures.clear()
        assert ("they are computed on the CPU, which is slow" in caplog.text) == (times == 1000)


def test_models_that_a_gpu_cannot_even_hold_are_used_on_the_cpu(tiny_cohort, pretended, caplog):
    train(tiny_cohort, "r", TrainingSettings(**ONE_STEP))
    expected = Predictor(tiny_cohort, "r", "cpu").predict("a")
    pretended(total=1 << 20)
    predictor = Predictor(tiny_cohort, "r", GPU)
    assert predictor.device == "cpu"
    found = predictor.predict("a")
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.notes[0] == "'cuda:0' has too little memory for the models: prediction runs on the CPU, which is slow."
    assert found.notes[0] in caplog.text


def test_a_network_that_a_gpu_cannot_even_hold_is_trained_on_the_cpu(tiny_cohort, pretended):
    gpu = pretended()
    settings = TrainingSettings(**{**ONE_STEP, "device": GPU})
    plan = plan_to_train(tiny_cohort, RunFolder(tiny_cohort.run_folder("r")), settings, None, (), Watch(), None)
    run = RunFolder(tiny_cohort.run_folder("r"))
    run.write_plan(plan)
    gpu.total = 1 << 20
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("SparseAnnotateLib.learning.training.training_run.plan_to_train", lambda *_: plan)
        patched.setattr("SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_: {"3d": 1.0})
        card = train(tiny_cohort, "r", settings)
    assert card.device == "cpu"
    assert card.last.iterations == 1
    note = "'cuda:0' has too little memory for a single small patch: training continues on the CPU, which is slow."
    assert note in card.notes
    assert gpu.allocated == 0


def test_several_runs_of_which_a_gpu_holds_only_some_are_compared_on_the_cpu(tiny_cohort, pretended):
    for seed in range(2):
        train(tiny_cohort, f"r{seed}", TrainingSettings(**ONE_STEP, seed=seed))
    expected = UncertaintyEstimator(tiny_cohort, ["r0", "r1"], device="cpu").of_case("a", [Plane.AXIAL])
    size = RunFolder(tiny_cohort.run_folder("r0")).weights_path("3d").stat().st_size
    gpu = pretended(total=int(1.5 * size))
    estimator = UncertaintyEstimator(tiny_cohort, ["r0", "r1"], device=GPU)
    assert [models[0].device for models in estimator._models] == ["cpu", "cpu"]
    assert gpu.allocated == 0
    found = estimator.of_case("a", [Plane.AXIAL])
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.slices[Plane.AXIAL], expected.slices[Plane.AXIAL], rtol=1e-3)
