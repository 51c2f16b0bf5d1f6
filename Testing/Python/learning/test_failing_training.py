"""Trainings that fail: memory, disk, losses that are no numbers, weights that are damaged or crafted."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import (
    FileWriteError,
    RunError,
    Watch,
)
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.trainer import Trainer
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

SETTINGS = TrainingSettings(**QUICK_TRAINING)


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


def test_a_network_that_gives_no_numbers_predicts_nothing(ball_cohort):
    train(ball_cohort, "r", SETTINGS)
    predictor = Predictor(ball_cohort, "r", "cpu")
    network = predictor._models[0].network
    for parameter in network.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(RunError, match="The '3d' model gives values that are not numbers"):
        predictor.labels("ball_0")
