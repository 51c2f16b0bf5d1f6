"""Trainings as a whole: several processes, schedules, progress and curves, resuming, losses, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.core import (
    BadInputError,
    Plane,
    SparseAnnotation,
    Watch,
)
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.schedule import Schedule
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import LOSSES, TrainingSettings
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


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_trains(ball_cohort, loss):
    card = train(ball_cohort, loss, TrainingSettings(**{**QUICK_TRAINING, "iterations": 2, "loss": loss}))
    assert np.isfinite(card.last.loss)


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
    settings = {**QUICK_TRAINING, "recipe": "self_training", "iterations": 2, "undrawn_share": 0.2}
    settings |= {"loss": loss, "fill_weight": 0.3 if loss != "boundary" else 0.0}
    card = train(ball_cohort, "r", TrainingSettings(**settings))
    assert [m.iterations for m in card.models] == [2, 2, 2]
    assert all(np.isfinite(m.loss) for m in card.models)


def test_memory_stays_bounded_however_many_classes_there_are():
    from SparseAnnotateLib.learning.prediction.limits import LOGIT_BYTES
    from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
    from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction

    class Shape:
        """A volume of 512 x 512 x 600 that takes no memory."""

        shape, ndim = (1, 600, 512, 512), 4

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


def test_the_memory_format_of_gpus_learns_the_same(ball_cohort):
    for name, last in (("plain", False), ("last", True)):
        train(ball_cohort, name, TrainingSettings(**{**QUICK_TRAINING, "channels_last": last, "iterations": 3}))
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
