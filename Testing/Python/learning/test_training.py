from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING, ball, new_ball_cohort, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    BusyError,
    CancelledError,
    Cohort,
    Plane,
    RunError,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.folder_lock import FolderLock
from SparseAnnotateLib.core.images import read_image, read_labels, write_image
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training import estimate
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.learning.training.run_planning import plan_run, plan_to_train
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.runs.run_list import run_summaries
from system_needs import needs_posix_signals

SETTINGS = TrainingSettings(**QUICK_TRAINING)


def weights_of(cohort, run):
    return cohort.run_folder(run).joinpath("3d", "weights.safetensors").read_bytes()


def cancelled_at(iteration):
    def report(progress):
        if progress.message.startswith("step") and int(progress.message.split()[1]) >= iteration:
            watch.cancel()

    watch = Watch(report)
    return watch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights and metrics of SETTINGS on `ball_cohort`, trained in one go."""
    cohort = new_ball_cohort(tmp_path_factory.mktemp("whole"))
    train(cohort, "whole", SETTINGS)
    return SimpleNamespace(weights=weights_of(cohort, "whole"), metrics=RunFolder(cohort.run_folder("whole")).metrics())


@pytest.fixture
def every_step_reported(monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)


def test_training_lowers_the_loss_and_the_model_finds_the_balls(ball_cohort):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 40, "validate_every": 40, "precision": "auto"})
    card = train(ball_cohort, "r", settings)
    losses = [m["loss"] for m in RunFolder(ball_cohort.run_folder("r")).metrics() if "loss" in m]
    assert len(losses) == card.last.iterations == 40
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    predictor = Predictor(ball_cohort, "r", "cpu")
    labels = predictor.labels("ball_0")
    reference = ball_cohort.reference("ball_0")
    overlap = 2 * ((labels > 0) & (reference > 0)).sum() / ((labels > 0).sum() + (reference > 0).sum())
    assert overlap > 0.8


def test_a_prediction_leaves_drawn_slices_as_drawn(ball_cohort):
    train(ball_cohort, "r", SETTINGS)
    path, _ = Predictor(ball_cohort, "r", "cpu").write("ball_1")
    annotation = ball_cohort.annotation("ball_1")
    labels = read_labels(path, annotation.geometry)
    drawn = annotation.supervised_mask()
    np.testing.assert_array_equal(labels[drawn], annotation.labels[drawn])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(ball_cohort, whole):
    for run, seed in (("same", 0), ("other", 1)):
        train(ball_cohort, run, TrainingSettings(**{**QUICK_TRAINING, "seed": seed}))
    assert weights_of(ball_cohort, "same") == whole.weights != weights_of(ball_cohort, "other")


@pytest.mark.parametrize("iteration", [1, 3, 4])
def test_a_cancelled_run_resumes_to_exactly_the_same_weights(ball_cohort, whole, every_step_reported, iteration):
    with pytest.raises(CancelledError):
        train(ball_cohort, "parts", SETTINGS, watch=cancelled_at(iteration))
    assert not RunFolder(ball_cohort.run_folder("parts")).is_finished
    card = train(ball_cohort, "parts")
    assert card.last.iterations == 6
    assert weights_of(ball_cohort, "parts") == whole.weights
    assert RunFolder(ball_cohort.run_folder("parts")).metrics() == whole.metrics


@needs_posix_signals
def test_a_killed_run_resumes_to_exactly_the_same_weights(ball_cohort, whole):
    # It never ends by itself, however late the kill comes.
    script = f"""
import sys, time; sys.path[:0] = {sys.path!r}
from SparseAnnotateLib.core import Cohort, Watch
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.learning.training import trainer
from SparseAnnotateLib.learning.training.training_run import train
trainer._REPORT_SECONDS = 0.0
train(Cohort.open({str(ball_cohort.folder)!r}), "killed", TrainingSettings(**{QUICK_TRAINING!r}), watch=Watch(
    lambda progress: progress.message.startswith("step 5") and time.sleep(3600)
))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    run = RunFolder(ball_cohort.run_folder("killed"))
    deadline = time.monotonic() + 600
    while not run.checkpoint_path("3d").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.is_started
    assert not run.is_finished
    train(ball_cohort, "killed")
    assert weights_of(ball_cohort, "killed") == whole.weights
    assert run.metrics() == whole.metrics


def test_runs_of_before_plan_json_are_listed_read_and_resumed(ball_cohort, every_step_reported):
    train(ball_cohort, "whole", SETTINGS)
    with pytest.raises(CancelledError):
        train(ball_cohort, "parts", SETTINGS, watch=cancelled_at(3))
    finished, broken_off = (RunFolder(ball_cohort.run_folder(name)) for name in ("whole", "parts"))
    for run in (finished, broken_off):
        assert run.plan_path.name == "plan.json"
        run.plan_path.rename(run.path / "settings.json")
    assert ball_cohort.runs() == ["whole", "parts"]
    assert [(found.name, found.is_finished) for found in run_summaries(ball_cohort)] == [
        ("whole", True),
        ("parts", False),
    ]
    assert finished.plan() == broken_off.plan()
    assert Predictor(ball_cohort, "whole", "cpu").labels("ball_0").any()
    assert broken_off.is_started
    train(ball_cohort, "parts")
    assert weights_of(ball_cohort, "parts") == weights_of(ball_cohort, "whole")
    assert broken_off.plan_path.name == "plan.json"
    assert not (broken_off.path / "settings.json").exists()  # two plans would contradict each other


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("work", [plan_run, train])
def test_reading_the_images_to_plan_is_shown_and_can_be_cancelled(ball_cohort, work, resumed):
    if resumed:
        plan_run(ball_cohort, "r", SETTINGS)

    def report(progress):
        messages.append(progress.message)
        watch.cancel()

    messages, watch = [], Watch(report)
    with pytest.raises(CancelledError):
        work(ball_cohort, "r", SETTINGS, watch=watch)
    assert messages == ["checking the image of 'ball_0'"]
    assert ball_cohort.runs() == (["r"] if resumed else [])


def test_a_plan_of_before_plan_json_is_trained_as_it_was_edited(ball_cohort):
    plan_run(ball_cohort, "r", SETTINGS)
    run = RunFolder(ball_cohort.run_folder("r"))
    old = run.path / "settings.json"
    run.plan_path.rename(old)
    old.write_text(old.read_text().replace('"iterations": 6', '"iterations": 4'))
    assert train(ball_cohort, "r").last.iterations == 4


def test_a_volume_of_few_thick_slices_can_be_learned(tmp_path):
    labels = ball((11, 40, 44), 9.0, (5, 20, 22))
    geometry = VolumeGeometry.from_spacing(labels.shape, (7.5, 0.5, 0.5))
    cohort = Cohort.create(tmp_path / "c", "thick")
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [2, 5, 8]))
    card = train(cohort, "r", TrainingSettings(iterations=2, device="cpu", batch=1))
    assert card.last.plan.patch[0] == 16
    assert Predictor(cohort, "r", "cpu").labels("a").shape == labels.shape


def test_labels_keep_their_values_and_names_from_drawing_to_prediction(ball_cohort):
    labels = ball() * 7
    geometry = ball_cohort.geometry("ball_0")
    ball_cohort.set_labels({7: "seven"})
    for name in ("ball_0", "ball_1"):
        ball_cohort.save_annotation(name, SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [8, 12, 16]))
    card = train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 20, "validate_every": 20}))
    assert card.classes == (7,)
    assert card.label_names == {7: "seven"}
    assert set(np.unique(Predictor(ball_cohort, "r", "cpu").labels("ball_0"))) == {0, 7}


def test_nothing_drawn_and_only_empty_slices_are_reported_before_anything_is_made(ball_cohort, tmp_path):
    cohort = Cohort.create(tmp_path / "empty", "empty")
    nothing = np.zeros((24, 28, 32), np.uint8)
    geometry = VolumeGeometry.from_spacing(nothing.shape)
    cohort.add_case("a", noisy_image(nothing), geometry)
    with pytest.raises(BadInputError, match="No slice of the cohort 'empty' has been drawn yet"):
        train(cohort, "r", SETTINGS)
    cohort.save_annotation("a", SparseAnnotation.from_slices(nothing, geometry, Plane.AXIAL, [3]))
    with pytest.raises(BadInputError, match="All drawn slices are empty"):
        train(cohort, "r", SETTINGS)
    assert cohort.runs() == []
    with pytest.raises(RunError, match="does not exist"):
        Predictor(cohort, "r")


def test_a_finished_run_is_not_trained_over(ball_cohort):
    train(ball_cohort, "r", SETTINGS)
    with pytest.raises(RunError, match="has finished already"):
        train(ball_cohort, "r", SETTINGS)


def test_a_run_resumes_neither_with_other_settings_nor_with_other_slices(ball_cohort, every_step_reported):
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=cancelled_at(2))
    with pytest.raises(RunError, match="other settings .seed 0 instead of 5"):
        train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "seed": 5}))
    annotation = ball_cohort.annotation("ball_0")
    more = SparseAnnotation.from_slices(ball(), annotation.geometry, Plane.AXIAL, [1, 2])
    ball_cohort.save_annotation("ball_0", more)
    with pytest.raises(RunError, match="drawn slices of ball_0 have changed"):
        train(ball_cohort, "r")


def test_a_run_does_not_resume_with_other_images(ball_cohort, every_step_reported):
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=cancelled_at(2))
    path, geometry = ball_cohort.image_path("ball_1"), ball_cohort.geometry("ball_1")
    kept = path.read_bytes()
    write_image(path, 3 * noisy_image(ball(), 7), geometry)
    with pytest.raises(RunError, match="The image file of ball_1 has changed since the run 'r' was started"):
        train(ball_cohort, "r")
    path.write_bytes(kept)
    assert train(ball_cohort, "r").last.iterations == 6


def test_a_run_resumes_with_images_that_were_only_saved_again(ball_cohort, every_step_reported):
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=cancelled_at(2))
    path, geometry = ball_cohort.image_path("ball_1"), ball_cohort.geometry("ball_1")
    image = read_image(path)[0]
    write_image(path, image + np.float32(1), geometry, compress=False)
    ball_cohort.accept_image("ball_1")
    with pytest.raises(RunError, match="The image file of ball_1 has changed"):
        train(ball_cohort, "r")
    write_image(path, image.astype(np.float64), geometry, compress=False)
    ball_cohort.accept_image("ball_1")
    assert train(ball_cohort, "r").last.iterations == 6


def test_a_run_does_not_resume_with_the_pseudo_labels_of_other_images(ball_cohort):
    undrawn = noisy_image(ball(), 9)
    ball_cohort.add_case("undrawn", undrawn, ball_cohort.geometry("ball_0"))
    settings = TrainingSettings(**{**QUICK_TRAINING, "recipe": "self_training", "patch_2d": (16, 32), "batch_2d": 2})
    settings = replace(settings, iterations=1)
    watch = Watch(lambda progress: watch.cancel() if "final model" in progress.message else None)
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", settings, watch=watch)
    assert RunFolder(ball_cohort.run_folder("r")).pseudo_labels_path("undrawn").is_file()
    ball_cohort.add_case("undrawn", undrawn + 50.0 * ball(radius=5.0), ball_cohort.geometry("ball_0"))
    with pytest.raises(RunError, match="The image file of undrawn has changed"):
        train(ball_cohort, "r")


@pytest.mark.parametrize("keeps_grids", [True, False])
def test_a_run_does_not_resume_when_the_grid_of_an_undrawn_case_has_changed(ball_cohort, keeps_grids):
    """Of a run that was planned before grids were kept, only the voxels are compared."""
    ball_cohort.add_case("undrawn", noisy_image(ball(), 9), ball_cohort.geometry("ball_0"))
    ball_cohort.voxel_fingerprint("undrawn")  # as after a prediction
    run = RunFolder(ball_cohort.run_folder("r"))
    plan = plan_to_train(ball_cohort, run, replace(SETTINGS, recipe="self_training"), None, (), Watch())
    assert plan.undrawn_cases == ("undrawn",)
    run.write_plan(plan if keeps_grids else replace(plan, grids={}))
    path, geometry = ball_cohort.image_path("undrawn"), ball_cohort.geometry("undrawn")
    image = read_image(path)[0]
    write_image(path, image.astype(np.float64), geometry, compress=False)
    assert plan_to_train(ball_cohort, run, None, None, (), Watch()).voxels == plan.voxels
    spacing = VolumeGeometry.from_spacing(geometry.shape, (5.0, 1.0, 1.0))
    turned = np.diag([1.0, 1.0, -1.0, 1.0]) @ geometry.matrix
    for other in (spacing, VolumeGeometry.from_matrix(geometry.shape, turned)):
        write_image(path, image, other)
        if keeps_grids:
            with pytest.raises(RunError, match="The image file of undrawn has changed since the run 'r' was started"):
                plan_to_train(ball_cohort, run, None, None, (), Watch())
        else:
            plan_to_train(ball_cohort, run, None, None, (), Watch())


def test_cancelling_while_a_training_is_timed_takes_effect_at_the_next_step(ball_cohort, whole, monkeypatch):
    watch, steps = Watch(), []
    built = estimate.network_to_train

    def seen(*_):
        steps.append(1)
        watch.cancel()

    def cancelling(*arguments):
        network = built(*arguments)
        network.register_forward_hook(seen)
        return network

    monkeypatch.setattr(estimate, "network_to_train", cancelling)
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=watch)
    assert len(steps) == 1
    monkeypatch.undo()
    # With the same words or without any: the run begins as if nothing had been.
    train(ball_cohort, "r", SETTINGS)
    assert weights_of(ball_cohort, "r") == whole.weights


def test_a_second_process_on_the_same_run_is_refused_with_the_reason(ball_cohort):
    with (
        FolderLock(ball_cohort.run_folder("r"), "training the run 'r'"),
        pytest.raises(BusyError, match="training the run"),
    ):
        train(ball_cohort, "r", SETTINGS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(version=99), "made by another version of SparseAnnotate"),
        (lambda card: card["models"][0]["plan"].update(network="segresnet"), "made for another network"),
        (lambda card: card.update(extra=1), "unknown field 'extra'"),
        (lambda card: card.pop("classes"), "lacks the field 'classes'"),
    ],
)
def test_a_run_of_another_version_or_network_is_refused(ball_cohort, change, words):
    train(ball_cohort, "r", SETTINGS)
    path = RunFolder(ball_cohort.run_folder("r")).card_path
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))
    with pytest.raises(RunError, match=words):
        Predictor(ball_cohort, "r", "cpu")


def test_a_checkpoint_of_another_network_is_refused(ball_cohort, every_step_reported):
    with pytest.raises(CancelledError):
        train(ball_cohort, "r", SETTINGS, watch=cancelled_at(2))
    run = RunFolder(ball_cohort.run_folder("r"))
    plan = json.loads(run.plan_path.read_text())
    plan["models"][0]["network"] = "segresnet"
    run.plan_path.write_text(json.dumps(plan))
    with pytest.raises(RunError, match="made for another network"):
        train(ball_cohort, "r")


def test_steps_that_are_no_numbers_change_nothing_and_end_in_a_sentence(ball_cohort, monkeypatch):
    monkeypatch.setattr(SparseLoss, "__call__", lambda s, logits, t, m, d=None, u=None: logits.sum() * float("nan"))
    with pytest.raises(RunError, match="the loss is no longer a number, last with patches of 'ball_"):
        train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 50}))


def test_bf16_that_gives_nan_is_replaced_by_fp32(ball_cohort, monkeypatch):
    from SparseAnnotateLib.learning.training import gradient_step

    def poisoned(device, precision):
        return Poison() if precision == "bf16" else torch.autocast("cpu", enabled=False)

    class Poison:
        def __enter__(self):
            monkeypatch.setattr(SparseLoss, "__call__", lambda s, x, t, m, d=None, u=None: x.sum() * float("nan"))

        def __exit__(self, *_):
            return None

    real = SparseLoss.__call__

    def healing(device, precision):
        if precision != "bf16":
            monkeypatch.setattr(SparseLoss, "__call__", real)
        return poisoned(device, precision)

    monkeypatch.setattr("SparseAnnotateLib.learning.training.training_precision.gradients_are_sound", lambda *_: True)
    monkeypatch.setattr(gradient_step, "autocast", healing)
    card = train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "precision": "bf16"}))
    assert card.precision == "fp32"
    assert card.last.iterations == 6


def test_an_image_with_nan_is_refused_by_name(ball_cohort):
    image, geometry = ball_cohort.image("ball_0")
    image[3, 3, 3] = np.nan
    with pytest.raises(BadInputError, match="'ball_0' contains voxels that are not numbers"):
        ball_cohort.add_case("ball_0", image, geometry)
    # Somebody else's file may still have them.
    write_image(ball_cohort.image_path("ball_0"), image, geometry)
    ball_cohort.accept_image("ball_0")
    with pytest.raises(BadInputError, match=r"ball_0.nrrd' contains voxels that are not numbers"):
        train(ball_cohort, "r", SETTINGS)


def test_memory_that_runs_out_halves_the_batch_and_is_reported_in_the_plan(ball_cohort, monkeypatch):
    step = Trainer._step

    def tight(self, batch):
        if batch["image"].shape[0] > 1:
            raise torch.OutOfMemoryError("no memory")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "_step", tight)
    train(ball_cohort, "r", SETTINGS)
    plan = RunFolder(ball_cohort.run_folder("r")).plan()
    assert plan.model("3d").batch == 1
    assert any("1 patch per step instead of 2" in note for note in plan.notes)


def test_a_network_whose_blocks_have_two_names_is_trained_resumed_and_used(tiny_cohort, every_step_reported):
    few = {"iterations": 2, "batch": 1, "precision": "fp32"}
    settings = TrainingSettings(**{**QUICK_TRAINING, "network": "dynunet", **few})
    with pytest.raises(CancelledError):
        train(tiny_cohort, "parts", settings, watch=cancelled_at(1))
    train(tiny_cohort, "parts")
    train(tiny_cohort, "whole", settings)
    parts, whole = (RunFolder(tiny_cohort.run_folder(run)).weights_path("3d") for run in ("parts", "whole"))
    assert parts.read_bytes() == whole.read_bytes()
    assert Predictor(tiny_cohort, "whole", "cpu").predict("a").labels.shape == tiny_cohort.geometry("a").shape
