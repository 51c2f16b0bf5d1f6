"""The training tool under bad conditions: several processes, no memory, no disk, bad files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    FileWriteError,
    Plane,
    RunError,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.learning.data.augmentation import Augmentation, mixed
from SparseAnnotateLib.learning.data.patches import Patch
from SparseAnnotateLib.learning.prediction.clean_up import CleanUp, cleaned
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.stray_pieces import DrawnVoxels
from SparseAnnotateLib.learning.training.estimate import stage_seconds
from SparseAnnotateLib.learning.training.planning import new_plan, strides_and_kernels, usable_planes
from SparseAnnotateLib.learning.training.schedule import Schedule
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import LOSSES, PRESETS, AugmentationSettings, TrainingSettings
from SparseAnnotateLib.runs.presets import preset_settings
from SparseAnnotateLib.runs.run_folder import RunFolder

SETTINGS = TrainingSettings(**QUICK_TRAINING)


def test_two_processes_learn_what_one_does(ball_cohort, tmp_path):
    settings = {**QUICK_TRAINING, "recipe": "self_training", "patch_2d": (32, 32), "batch_2d": 4}
    # In fp32, and of sets of pseudo-labels that are not almost equally near, so that rounding does not decide.
    settings |= {"precision": "fp32", "network": "basic_unet_small", "network_2d": "basic_unet_small"}
    train(ball_cohort, "one", TrainingSettings(**settings))
    script = tmp_path / "both.py"
    script.write_text(
        f"""
import sys; sys.path[:0] = {sys.path!r}
import torch; torch.set_num_threads(1)
from SparseAnnotateLib.core import Cohort
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.learning.training.training_run import train
train(Cohort.open({str(ball_cohort.folder)!r}), "two", TrainingSettings(**{settings!r}))
"""
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = (RunFolder(ball_cohort.run_folder(name)) for name in ("one", "two"))
    for role in ("2d", "3d", "final"):
        losses = [np.array([m["loss"] for m in run.metrics(role) if "loss" in m]) for run in (one, two)]
        # The final model learns from pseudo-labels of models that differ by rounding.
        np.testing.assert_allclose(losses[0], losses[1], rtol=2e-3 if role != "final" else 2e-2)
        first, second = (load_file(run.weights_path(role)) for run in (one, two))
        # Adam turns rounding errors of vanishing gradients into whole steps, so single weights may differ.
        differences = torch.cat([(first[name] - second[name]).abs().flatten() for name in first])
        assert differences.mean() < (2e-4 if role != "final" else 2e-3)
    assert two.is_finished


def broken_trainer(monkeypatch, fails):
    step = Trainer._step

    def tight(self, batch):
        if fails(self, batch):
            raise torch.OutOfMemoryError("no memory")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", tight)


def test_memory_that_runs_out_halves_the_batch_then_the_patch(ball_cohort, monkeypatch):
    broken_trainer(monkeypatch, lambda t, b: b["image"].numel() > 16 * 16 * 32)
    settings = TrainingSettings(**{**QUICK_TRAINING, "patch": (32, 32, 32)})
    said = []
    card = train(ball_cohort, "r", settings, watch=Watch(lambda p: said.append(p.message)))
    assert card.last.plan.batch == 1
    assert np.prod(card.last.plan.patch) == 16 * 16 * 32
    assert any("1 patch per step instead of 2" in note for note in card.notes)
    assert any("patches of [16, 32, 32] instead of [32, 32, 32]" in note for note in card.notes)
    assert any("Memory ran out" in message for message in said)


def test_a_gpu_without_enough_memory_hands_over_to_the_cpu(ball_cohort, monkeypatch):
    """No GPU is needed: a device by another name stands in for one."""
    broken_trainer(monkeypatch, lambda t, b: t.plan.device != "cpu")
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer.Ranks.device", lambda self, device: "cpu")
    from dataclasses import replace

    from SparseAnnotateLib.learning.training import run_planning, training_run

    plan = run_planning._first_plan

    def on_gpu(*arguments):
        return replace(plan(*arguments), device="cuda:0")

    monkeypatch.setattr(run_planning, "_first_plan", on_gpu)
    monkeypatch.setattr(training_run, "stage_seconds", lambda *_: {"3d": 1.0})
    card = train(ball_cohort, "r", SETTINGS)
    assert card.device == "cpu"
    assert card.last.iterations == 6
    assert any("training continues on the CPU, which is slow" in note for note in card.notes)


def test_a_full_disk_in_mid_checkpoint_is_reported_and_the_last_checkpoint_is_kept(ball_cohort, monkeypatch):
    run = RunFolder(ball_cohort.run_folder("r"))
    path = run.checkpoint_path("3d")
    kept = []
    replace = os.replace

    def full(source, target):
        if str(target) == str(path) and path.is_file():
            kept.append(path.read_bytes())
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileWriteError, match="checkpoint.safetensors' cannot be written because the disk is full"):
        train(ball_cohort, "r", SETTINGS)
    assert path.read_bytes() == kept[0]
    monkeypatch.undo()
    card = train(ball_cohort, "r")
    train(ball_cohort, "whole", SETTINGS)
    assert card.last.iterations == 6
    whole = RunFolder(ball_cohort.run_folder("whole"))
    assert run.weights_path("3d").read_bytes() == whole.weights_path("3d").read_bytes()


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint_and_names_the_case(ball_cohort, monkeypatch):
    image, geometry = ball_cohort.image("ball_1")
    ball_cohort.add_case("ball_1", image, geometry)
    from SparseAnnotateLib.learning.training.losses import SparseLoss

    real = SparseLoss.__call__
    steps = []

    def breaks(self, logits, *more):
        steps.append(1)
        value = real(self, logits, *more)
        return value * float("nan") if len(steps) > 4 else value

    monkeypatch.setattr(SparseLoss, "__call__", breaks)
    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_precision._UNUSABLE_STEPS", 2)
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 50, "checkpoint_every": 2})
    with pytest.raises(RunError, match=r"last with patches of 'ball_[01]'.*last good checkpoint is kept"):
        train(ball_cohort, "r", settings)
    tensors = load_file(RunFolder(ball_cohort.run_folder("r")).checkpoint_path("3d"))
    assert all(torch.isfinite(t).all() for t in tensors.values())


@pytest.mark.parametrize(
    "content",
    [b"", b"not weights", (2**62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"],
    ids=["empty", "text", "a header as large as a disk", "no header"],
)
def test_a_crafted_weights_file_is_refused(ball_cohort, content):
    train(ball_cohort, "r", SETTINGS)
    RunFolder(ball_cohort.run_folder("r")).weights_path("3d").write_bytes(content)
    with pytest.raises(RunError, match="cannot be read: it is missing, damaged or cut off"):
        Predictor(ball_cohort, "r", "cpu")


def test_a_pickle_in_place_of_weights_is_never_run(ball_cohort, tmp_path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    train(ball_cohort, "r", SETTINGS)
    RunFolder(ball_cohort.run_folder("r")).weights_path("3d").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(RunError, match="cannot be read"):
        Predictor(ball_cohort, "r", "cpu")
    assert not tmp_path.joinpath("sprung").exists()


def one_case(tmp_path, labels, indices, spacing=(1.0, 1.0, 1.0), names=None):
    cohort = Cohort.create(tmp_path / "one", "one", names or {1: "ball"})
    geometry = VolumeGeometry.from_spacing(labels.shape, spacing)
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, indices))
    return cohort


def test_one_volume_with_one_drawn_slice_trains_by_every_recipe_and_is_warned(tmp_path):
    cohort = one_case(tmp_path, ball(), [12], names={1: "ball", 2: "never drawn"})
    for recipe in ("2d", "3d", "self_training"):
        card = train(cohort, recipe, TrainingSettings(**{**QUICK_TRAINING, "recipe": recipe, "iterations": 2}))
        assert any("Only one slice has been drawn" in note for note in card.notes)
        assert any("Not trained (on none of the drawn slices): 'never drawn'" in note for note in card.notes)
        assert Predictor(cohort, recipe, "cpu").labels("a").shape == ball().shape


def test_a_volume_smaller_than_the_patch_trains_in_2d_and_3d(tmp_path):
    cohort = one_case(tmp_path, ball((9, 11, 10), 3.0), [3, 5])
    card = train(cohort, "r", TrainingSettings(recipe="ensemble", iterations=2, device="cpu"))
    assert min(card.models[1].plan.patch) >= 16
    assert Predictor(cohort, "r", "cpu").labels("a").shape == (9, 11, 10)


def test_spacings_that_differ_tenfold_are_reported(tmp_path):
    cohort = one_case(tmp_path, ball(), [12])
    geometry = VolumeGeometry.from_spacing((24, 28, 32), (10.0, 10.0, 10.0))
    cohort.add_case("b", noisy_image(ball()), geometry)
    cohort.save_annotation("b", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, [12]))
    plan = new_plan(cohort, SETTINGS, ["a", "b"])
    assert any("spacing differs 10-fold between volumes ('a': 1 mm, 'b': 10 mm" in note for note in plan.notes)


def test_strides_and_kernels_follow_the_spacing():
    strides, kernels = strides_and_kernels((16, 128, 128), (5.0, 1.0, 1.0))
    assert strides[0] == (1, 1, 1)
    assert strides[1:3] == ((1, 2, 2), (1, 2, 2))  # until voxels are about as long as wide
    assert strides[3] == (2, 2, 2)
    assert kernels[0] == (1, 3, 3)
    assert kernels[-1] == (3, 3, 3)
    alike, _ = strides_and_kernels((64, 64, 64), (1.0, 1.0, 1.0))
    assert set(alike[1:]) == {(2, 2, 2)}
    assert usable_planes((5.0, 1.0, 1.0), set()) == (0,)
    assert usable_planes((5.0, 1.0, 1.0), {1}) == (0, 1)
    assert usable_planes((1.0, 1.2, 0.9), {0}) == (0, 1, 2)


def test_planned_strides_make_a_network_that_fits_them(tmp_path):
    from SparseAnnotateLib.learning.networks.build import build_network
    from SparseAnnotateLib.runs import NetworkShape

    strides, kernels = strides_and_kernels((16, 64, 64), (5.0, 1.0, 1.0))
    for name in ("dynunet", "dense_vox_net"):
        network = build_network(name, NetworkShape(3, (16, 64, 64), strides, kernels))
        assert network(torch.randn(1, 1, 16, 64, 64)).shape == (1, 3, 16, 64, 64)


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_the_other_schedules_fall_to_zero_and_stop_early_without_cooling_down(kind):
    schedule = Schedule(100, warm_up=5, cool_down=50, patience=1, kind=kind)
    rates = [schedule.rate(n) for n in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert (np.diff(rates[5:]) < 0).all()
    assert rates[-1] < 0.05
    assert schedule.end == 100
    expected = 0.5**0.9 if kind == "poly" else 0.5
    assert rates[50] == pytest.approx(expected)
    for iteration in (30, 40):
        schedule.validated(iteration, 0.5)
    assert schedule.end == 40
    assert schedule.stopped_early


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_preset_is_a_whole_training(name, device):
    settings = preset_settings(name, device)
    assert settings.iterations >= 600
    assert settings.device == device
    with pytest.raises(BadInputError, match="There is no preset 'worst'; choose one of quick"):
        preset_settings("worst", device)


def test_the_estimate_names_every_stage_and_grows_with_the_steps(ball_cohort):
    settings = {**QUICK_TRAINING, "recipe": "self_training"}
    plan = new_plan(ball_cohort, TrainingSettings(**settings), ["ball_0", "ball_1"])
    seconds = stage_seconds(plan, [(24, 28, 32)] * 2)
    assert list(seconds) == ["2d", "3d", "pseudo-labels", "final"]
    assert all(value > 0 for value in seconds.values())
    longer = new_plan(ball_cohort, TrainingSettings(**{**settings, "iterations": 6000}), ["ball_0", "ball_1"])
    assert stage_seconds(longer, [(24, 28, 32)] * 2)["3d"] > 50 * seconds["3d"]


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_trains(ball_cohort, loss):
    card = train(ball_cohort, loss, TrainingSettings(**{**QUICK_TRAINING, "iterations": 2, "loss": loss}))
    assert np.isfinite(card.last.loss)


def striped_patch(size=(24, 24, 24)):
    """Image and label that are the same, so that any movement that takes only one along shows."""
    grid = np.indices(size).sum(0) // 6 % 3
    arrays = {"image": grid[None].astype(np.float32), "label": grid[None].astype(np.uint8)}
    arrays["supervised"] = np.zeros((1, *size), bool)
    arrays["supervised"][:, 4::8] = True
    return Patch(arrays, tuple(range(len(size))), "a")


@pytest.mark.parametrize("size", [(24, 24, 24), (24, 24)])
@pytest.mark.parametrize("what", ["right_angles", "affine", "elastic"])
def test_movements_take_the_labels_along_and_supervise_nothing_that_was_not(what, size):
    augmentation = Augmentation(AugmentationSettings(intensity=0.0, **{what: 1.0}), (), size, (1, 1, 1), seed=0)
    moved = augmentation([striped_patch(size)] * 4, 0, range(4))
    assert moved["label"].dtype == torch.uint8
    assert moved["supervised"].dtype == torch.bool
    plain = torch.from_numpy(striped_patch(size).arrays["label"])
    assert any(not torch.equal(label, plain) for label in moved["label"])
    agree = (moved["image"].round() == moved["label"]).float().mean()
    assert agree > (0.75 if what != "right_angles" else 0.999)
    share = moved["supervised"].float().mean()
    assert 0.03 < share <= 0.2


def test_thick_slices_are_turned_in_their_plane_only():
    size = (16, 32, 32)
    arrays = striped_patch(size).arrays
    arrays["label"][:] = np.arange(16, dtype=np.uint8)[:, None, None]
    settings = AugmentationSettings(affine=1.0, intensity=0.0)
    turned = Augmentation(settings, (), size, (5.0, 1.0, 1.0), seed=0)
    assert turned._turns() == (pytest.approx(0.26), 0.0, 0.0)


def test_patches_are_mirrored_along_the_axes_asked_for_in_every_plane():
    arrays = {"image": np.arange(16, dtype=np.float32).reshape(1, 4, 4)}
    augmentation = Augmentation(AugmentationSettings(intensity=0.0), "R", (4, 4), (1, 1, 1), seed=0)
    plain = torch.from_numpy(arrays["image"])
    for axes, possible in (((0, 2), 2), ((0, 1), None)):
        batch = augmentation([Patch(arrays, axes, "a")] * 20, 0, range(20))["image"]
        mirrored = [not torch.equal(image, plain) for image in batch]
        if possible is None:
            assert not any(mirrored)  # a sagittal slice has no left-right axis
        else:
            assert 0 < sum(mirrored) < 20
            assert all(torch.equal(i, plain.flip(2)) for i, m in zip(batch, mirrored, strict=True) if m)


def test_mixup_mixes_with_the_partner_it_names():
    images = torch.randn(4, 1, 3, 3, 3)
    result, partners, weight = mixed(images, 1.0, seed=3)
    assert 0 < weight < 1
    torch.testing.assert_close(result, weight * images + (1 - weight) * images[partners])
    assert mixed(images, 0.0, seed=3)[2] == 1.0
    assert mixed(images[:1], 1.0, seed=3)[2] == 1.0


def test_clean_up_keeps_the_largest_piece_and_smooths_what_sticks_out():
    classes = np.zeros((20, 20, 20), np.uint8)
    classes[4:14, 4:14, 4:14] = 1
    classes[17, 17, 17] = 1
    classes[4:8, 15:18, 4:8] = 2
    largest = cleaned(classes, 3, (1, 1, 1), CleanUp(largest_component=True)).classes
    assert largest[17, 17, 17] == 0
    np.testing.assert_array_equal(largest[:16], classes[:16])
    spiked = classes.copy()
    spiked[9, 9, 14:17] = 1
    smooth = cleaned(spiked, 3, (1, 1, 1), CleanUp(smoothing=1.0)).classes
    assert not smooth[9, 9, 15:].any()
    assert smooth[9, 9, 9] == 1
    np.testing.assert_array_equal(cleaned(classes, 3, (1, 1, 1), CleanUp()).classes, classes)
    with pytest.raises(BadInputError, match="at least 0 mm, not -1"):
        CleanUp(smoothing=-1.0)


def test_the_time_left_counts_the_stages_to_come(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    said = []
    watch = Watch(lambda p: said.append((p.fraction, p.seconds_left)))
    taken = {}
    stage = watch.stage([100.0, 50.0, 50.0], 0, "first, ", taken)
    clock[0] = 50.0
    stage.step(0.25, "going", 150.0)  # twice as slow as expected
    assert said[-1] == (pytest.approx(0.125), pytest.approx(150.0 + 2 * 100.0))
    # The second stage is four times as fast as expected, the first was twice as slow: 212.5 s instead of 150.
    watch.stage([100.0, 50.0, 50.0], 1, "second, ", taken).step(0.5, "going", 6.25)
    assert said[-1] == (pytest.approx(0.625), pytest.approx(6.25 + 50.0 * 212.5 / 150.0))
    watch.stage([100.0, 50.0, 50.0], 2).step(0.5, "last", 25.0)
    assert said[-1] == (pytest.approx(0.875), pytest.approx(25.0))


def test_curves_of_a_run_are_drawn(ball_cohort, tmp_path):
    from SparseAnnotateLib.worker.train_request import CurvesRequest, curves

    train(ball_cohort, "r", SETTINGS)
    path = curves(CurvesRequest(str(ball_cohort.folder), "r", path=str(tmp_path / "c.png")), Watch())
    assert Path(path).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadInputError, match="The run 'nothing' has no metrics yet"):
        curves(CurvesRequest(str(ball_cohort.folder), "nothing"), Watch())


def test_metrics_hold_every_step_of_every_model(ball_cohort):
    train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "recipe": "ensemble"}))
    run = RunFolder(ball_cohort.run_folder("r"))
    for role in ("2d", "3d"):
        assert [m["iteration"] for m in run.metrics(role) if "loss" in m] == list(range(1, 7))
    lines = run.metrics_path.read_text().splitlines()
    assert all(json.loads(line) for line in lines)


def test_a_look_that_was_cancelled_is_taken_again(ball_cohort, monkeypatch):
    labels = ball()
    geometry = ball_cohort.geometry("ball_0")
    ball_cohort.save_annotation("ball_0", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(24)))
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 9, "validation_share": 0.2})
    whole = train(ball_cohort, "whole", settings)
    from SparseAnnotateLib.core import CancelledError
    from SparseAnnotateLib.learning.training import trainer

    validate = trainer.Trainer._validate

    def cancelled(self):
        if self.iteration == 6:
            raise CancelledError("Cancelled.")
        validate(self)

    monkeypatch.setattr(trainer.Trainer, "_validate", cancelled)
    with pytest.raises(CancelledError):
        train(ball_cohort, "parts", settings)
    monkeypatch.undo()
    parts = train(ball_cohort, "parts")
    looks = []
    for name in ("whole", "parts"):
        metrics = RunFolder(ball_cohort.run_folder(name)).metrics()
        looks.append([(m["iteration"], m["validation_dice"]) for m in metrics if "loss" not in m])
    assert [n for n, _ in looks[0]] == [3, 6, 9]
    assert looks[0] == looks[1]
    assert whole.validation_dice == parts.validation_dice


def test_a_run_in_fp16_resumes_with_its_scaler(ball_cohort, tmp_path):
    """The scaler of a GPU works on a CPU, too, when it is asked to."""
    from SparseAnnotateLib.learning.data.training_cases import training_cases
    from SparseAnnotateLib.learning.training.distributed import Ranks
    from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective

    plan = new_plan(ball_cohort, TrainingSettings(**{**QUICK_TRAINING, "precision": "fp16"}), ["ball_0"])
    run = RunFolder(ball_cohort.run_folder("r"))
    cases = training_cases(
        ball_cohort,
        ["ball_0"],
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=run.labels_folder,
        watch=Watch(),
    )

    def trainer():
        return Trainer(
            run, plan, plan.models[0], SupervisedObjective(plan, cases, Ranks()), Ranks(), Watch(), lambda *_: None
        )

    one = trainer()
    one.precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    batches = one._batches()
    one._step(batches.take(0))
    batches.close()
    one.iteration = 1
    one._save_checkpoint()
    build = Trainer._build

    def with_scaler(self):
        build(self)
        self.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_build", with_scaler)
        again = trainer()
    assert again.iteration == 1
    assert again.precision.scaler.state_dict() == one.precision.scaler.state_dict()


def test_one_bad_volume_among_good_ones_is_named(ball_cohort, monkeypatch):
    from SparseAnnotateLib.learning.training.losses import SparseLoss

    real = SparseLoss.__call__
    monkeypatch.setattr("SparseAnnotateLib.learning.training.unusable_steps._USELESS_STEPS", 3)
    step = Trainer._step
    current = []

    def seen(self, batch):
        current[:] = self._case_names()
        return step(self, batch)

    def breaks(self, logits, *more):
        value = real(self, logits, *more)
        return value * float("nan") if "ball_1" in current else value

    monkeypatch.setattr(Trainer, "_step", seen)
    monkeypatch.setattr(SparseLoss, "__call__", breaks)
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 200, "batch": 1})
    with pytest.raises(RunError, match=r"last with patches of 'ball_1'\. The last good"):
        train(ball_cohort, "r", settings)


def test_a_blank_slice_is_background_whatever_lies_beside_it():
    from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
    from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction

    class Certain(torch.nn.Module):
        def forward(self, x):
            return torch.cat([-torch.ones_like(x), torch.ones_like(x)], 1)

    image = np.zeros((8, 16, 16), np.float16)
    image[3:5] = np.random.default_rng(0).normal(size=(2, 16, 16))
    model = TrainedModel("2d", Certain(), (16, 16), 2, "cpu", planes=(0,))
    view = VolumePrediction([model], image, Watch()).views(0, 8)["axial"].argmax(0).numpy()
    assert view[3:5].all()
    assert not view[:3].any()
    assert not view[5:].any()


@pytest.mark.parametrize("loss", ["boundary", "weighted_ce"])
def test_every_part_of_self_training_takes_every_loss_and_fills(ball_cohort, loss):
    from SparseAnnotateLib.worker import requests

    requests.fill(requests.FillRequest(str(ball_cohort.folder), method="shape"), Watch())
    ball_cohort.add_case("bare", *ball_cohort.image("ball_0"))
    settings = {**QUICK_TRAINING, "recipe": "self_training", "iterations": 3, "undrawn_share": 0.2}
    settings |= {"loss": loss, "fill_weight": 0.3 if loss != "boundary" else 0.0}
    card = train(ball_cohort, "r", TrainingSettings(**settings))
    assert [m.iterations for m in card.models] == [3, 3, 3]
    assert all(np.isfinite(m.loss) for m in card.models)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "half"}, "precision' must be one of 'fp32', 'bf16', 'fp16'"),
        ({"flip": ["X"]}, "must be one of 'S', 'A', 'R'"),
        ({"models": []}, "The models of a run must be one of: 3d; 2d"),
    ],
)
def test_a_plan_edited_beyond_sense_is_refused_by_name(ball_cohort, change, words):
    from SparseAnnotateLib.learning.training.run_planning import plan_run

    plan_run(ball_cohort, "r", SETTINGS)
    path = RunFolder(ball_cohort.run_folder("r")).plan_path
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=words):
        train(ball_cohort, "r")


def test_memory_stays_bounded_however_many_classes_there_are():
    from SparseAnnotateLib.learning.prediction.limits import LOGIT_BYTES
    from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
    from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction

    class Shape:
        """A volume of 512 x 512 x 600 that takes no memory."""

        shape = (600, 512, 512)

    network = torch.nn.Identity()

    def models(classes, patch):
        flat = TrainedModel("2d", network, (patch, patch), classes, "cpu", planes=(0, 1, 2))
        return [flat, TrainedModel("3d", network, (48, 48, 48), classes, "cpu")]

    for classes, patch in ((3, 128), (5, 512)):
        volume = VolumePrediction(models(classes, patch), Shape(), Watch())
        start, stop = volume.ranges[0]
        slices = stop - start + 2 * volume._margin
        assert slices * 512 * 512 * classes * 4 * 6 <= 1.05 * LOGIT_BYTES
    volume = VolumePrediction(models(101, 512)[1:], Shape(), Watch())
    start, stop = volume.ranges[0]
    assert (stop - start + 2 * volume._margin) * 512 * 512 * 101 * 4 < 8e9


@pytest.mark.parametrize("name", ["LeftKidney", "left kidney", "kidney_L", "LKidney", "Eye-R", "RT lung"])
def test_sides_are_recognised_by_the_names_people_give(ball_cohort, name):
    ball_cohort.set_labels({1: name, 2: "kernel"})
    assert new_plan(ball_cohort, SETTINGS, ["ball_0"]).flip == ()


@pytest.mark.parametrize("name", ["liver", "clever", "Lens", "tumour", "RCA stent"])
def test_other_names_leave_left_and_right_alike(ball_cohort, name):
    ball_cohort.set_labels({1: name, 2: "kernel"})
    assert new_plan(ball_cohort, SETTINGS, ["ball_0"]).flip == ("R",)


def test_the_memory_format_of_gpus_learns_the_same(ball_cohort):
    for name, last in (("plain", False), ("last", True)):
        train(ball_cohort, name, TrainingSettings(**{**QUICK_TRAINING, "channels_last": last}))
    losses = [
        [m["loss"] for m in RunFolder(ball_cohort.run_folder(name)).metrics("3d") if "loss" in m]
        for name in ("plain", "last")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2)


@pytest.mark.skipif(os.name == "nt", reason="Windows always has a user name")
def test_a_user_without_name_and_home_can_import_what_training_needs():
    script = f"""
import os, pwd, sys
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {{number}}")
pwd.getpwuid = unknown
sys.path[:0] = {sys.path!r}
import SparseAnnotateLib.learning.training.training_run, SparseAnnotateLib.learning.prediction.predictor
print(os.environ["LOGNAME"])
"""
    clean = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=clean, cwd="/", capture_output=True, text=True)
    assert done.stdout.strip() == f"user{os.getuid()}", done.stderr


def test_a_network_that_gives_no_numbers_predicts_nothing(ball_cohort):
    train(ball_cohort, "r", SETTINGS)
    predictor = Predictor(ball_cohort, "r", "cpu")
    network = predictor._models[0].network
    for parameter in network.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(RunError, match="The '3d' model gives values that are not numbers"):
        predictor.labels("ball_0")


def test_a_piece_that_a_person_has_drawn_a_part_of_is_no_stray_piece():
    classes = np.zeros((9, 12, 12), np.uint8)
    classes[:, 1:6, 1:6] = 1  # the largest
    classes[3:6, 8:10, 8:10] = 1  # drawn on slice 4
    classes[1, 11, 0] = 1  # stray
    mask = np.zeros(classes.shape, bool)
    mask[4] = True
    drawn = classes.copy()
    drawn[4, 1:6, 1:6] = 2  # the person sees another structure in the midst of the first
    clean_up = CleanUp(largest_component=True)
    by_hand = DrawnVoxels(np.where(mask, drawn, 0), mask, ((0, 4),))
    found = cleaned(classes, 3, (1, 1, 1), clean_up, by_hand).classes
    np.testing.assert_array_equal(found[4], drawn[4])
    assert (found[[3, 5], 8:10, 8:10] == 1).all()
    assert not found[1, 11, 0]
    # Without anything drawn the largest piece stays alone.
    assert not cleaned(classes, 3, (1, 1, 1), clean_up).classes[:, 8:].any()


@pytest.mark.parametrize("flips", [False, True])
def test_drawn_slices_stay_as_drawn_whatever_is_done_to_a_prediction(ball_cohort, flips):
    settings = TrainingSettings(**{**QUICK_TRAINING, "recipe": "ensemble", "patch_2d": (16, 32), "batch_2d": 2})
    train(ball_cohort, "r", settings)
    annotation = ball_cohort.annotation("ball_0")
    labels = annotation.labels.copy()
    labels[2, 0, 0], labels[6, :3, :3] = 2, 1  # pieces that no clean-up would leave
    labels[10, 5, 5] = 77  # a label that the run does not know
    ball_cohort.save_annotation("ball_0", replace(annotation, labels=labels))
    predictor = Predictor(ball_cohort, "r", "cpu", flips)
    drawn = annotation.supervised_mask()
    for clean_up in (CleanUp(), CleanUp(True), CleanUp(True, 3.0)):
        found = predictor.predict("ball_0", clean_up=clean_up, uncertainty=True)
        np.testing.assert_array_equal(found.labels[drawn], labels[drawn])
        assert not found.entropy[drawn].any()
        assert not found.disagreement[drawn].any()


def test_smoothing_a_prediction_does_not_depend_on_which_number_a_structure_has():
    # The middle column is as near to the one as to the other.
    classes = np.array([1, 1, 1, 1, 0, 2, 2, 2, 2], np.uint8).reshape(1, 1, 9).repeat(5, 0).repeat(5, 1)
    found = []
    for table in (np.array([0, 1, 2], np.uint8), np.array([0, 2, 1], np.uint8)):
        smoothed = cleaned(table[classes], 3, (1, 1, 1), CleanUp(smoothing=2.0)).classes
        assert smoothed[2, 2, 4]
        found.append(table[smoothed])
    np.testing.assert_array_equal(found[0], found[1])
