"""A run that is continued on another device than the one it was started on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, CancelledError, RunError, Watch
from SparseAnnotateLib.learning import devices
from SparseAnnotateLib.learning.training import memory_reduction, run_planning, training_precision
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.presets import preset_settings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.train_request import chosen_settings

SETTINGS = TrainingSettings(**QUICK_TRAINING)


@pytest.fixture
def every_step_reported(monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)


def stopped(cohort, settings=SETTINGS, name="r", **planned):
    """A run with a checkpoint after its third step, whose plan is as if it had been started on another device."""

    def report(progress):
        if progress.message.startswith("step 3 "):
            watch.cancel()

    watch = Watch(report)
    with pytest.raises(CancelledError):
        train(cohort, name, settings, watch=watch)
    run = RunFolder(cohort.run_folder(name))
    run.write_plan(replace(run.plan(), **planned))
    return run


def weights_of(cohort, run):
    return RunFolder(cohort.run_folder(run)).weights_path("3d").read_bytes()


@pytest.fixture
def same_as_whole(ball_cohort, every_step_reported):
    """Checks that a resumed run has gone through the same steps as one that was never interrupted."""
    train(ball_cohort, "whole", SETTINGS)

    def check(name="r"):
        metrics = [RunFolder(ball_cohort.run_folder(run)).metrics() for run in ("whole", name)]
        assert metrics[0] == metrics[1]
        assert weights_of(ball_cohort, name) == weights_of(ball_cohort, "whole")

    return check


def test_a_run_whose_gpu_is_gone_continues_on_the_best_device_and_says_so(ball_cohort, same_as_whole):
    on_gpu = replace(SETTINGS, device="cuda:0")
    run = stopped(ball_cohort, device="cuda:0", precision="bf16", settings=SETTINGS)
    run.write_plan(replace(run.plan(), settings=on_gpu))
    card = train(ball_cohort, "r", on_gpu)
    assert (card.device, card.precision, card.last.iterations) == ("cpu", "fp32", 6)
    [note] = [note for note in card.notes if "continued" in note]
    assert note.startswith("The run was started on 'cuda:0' and is continued on 'cpu'. 'cuda:0' cannot be used")
    assert run.plan().device == "cpu"
    same_as_whole()


def test_a_run_moves_to_the_device_asked_for_with_weights_and_optimizer(ball_cohort, same_as_whole, monkeypatch):
    stopped(ball_cohort, device="cuda:0", precision="bf16")
    card = train(ball_cohort, "r", replace(SETTINGS, device="cuda:0"), device="cpu")
    assert card.device == "cpu"
    assert "The run was started on 'cuda:0' and is continued on 'cpu'." in card.notes
    same_as_whole()


def test_settings_that_differ_in_the_device_only_move_the_run(ball_cohort, same_as_whole):
    run = stopped(ball_cohort, device="cuda:0")
    run.write_plan(replace(run.plan(), settings=replace(SETTINGS, device="cuda:0")))
    assert train(ball_cohort, "r", SETTINGS).device == "cpu"
    same_as_whole()


def test_other_settings_are_still_refused_and_the_device_is_not_named_among_them(ball_cohort, every_step_reported):
    stopped(ball_cohort)
    with pytest.raises(RunError, match=r"other settings \(seed 0 instead of 5\)"):
        train(ball_cohort, "r", replace(SETTINGS, seed=5, device="cuda"))


def test_a_device_asked_for_that_does_not_work_is_refused_and_the_run_kept(ball_cohort, every_step_reported):
    run = stopped(ball_cohort)
    before = run.plan()
    with pytest.raises(BadInputError, match=r"'cuda:0' cannot be used .* 'cpu' can be used here"):
        train(ball_cohort, "r", device="cuda:0")
    assert run.plan() == before


@pytest.mark.parametrize("device", [None, "auto", "cpu"])
def test_a_run_stays_where_it_works_without_a_note(ball_cohort, same_as_whole, device):
    stopped(ball_cohort)
    assert not any("continued" in note for note in train(ball_cohort, "r", device=device).notes)
    same_as_whole()


def test_a_precision_that_failed_stays_replaced_and_another_device_tries_its_own(
    ball_cohort, every_step_reported, monkeypatch
):
    in_bf16 = replace(SETTINGS, precision="bf16")
    monkeypatch.setattr(training_precision, "gradients_are_sound", lambda *_: False)
    stopped(ball_cohort, settings=in_bf16, name="failed")
    tried = []
    monkeypatch.setattr(training_precision, "gradients_are_sound", lambda *_: not tried.append(1))
    assert train(ball_cohort, "failed").precision == "fp32"
    assert not tried
    # On the CPU that a run from a GPU is moved to, bf16 has not been tried.
    monkeypatch.setattr(memory_reduction, "training_precision", lambda *_: "bf16")
    stopped(ball_cohort, device="cuda:0", precision="bf16", name="moved")
    tried.clear()
    assert train(ball_cohort, "moved", device="cpu").precision == "bf16"
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("failed_on", "device", "expected"),
    [("cuda:0", "cuda:1", "fp32"), ("cuda:0", "cpu", "bf16"), ("cpu", "cuda:0", "bf16"), ("cpu", "cpu", "fp32")],
)
def test_a_precision_has_failed_on_one_kind_of_device_only(failed_on, device, expected):
    notes = []
    failed = training_precision.TrainingPrecision("bf16", "3d", failed_on, notes.append)
    failed.give_up_on_it(5, 3)
    assert failed.value == "fp32"
    assert len(notes) == 1
    continued = training_precision.TrainingPrecision("bf16", "3d", device, notes.append)
    continued.restore(failed.state())
    assert continued.value == expected
    # Wherever it goes next, it is still known.
    again = training_precision.TrainingPrecision("bf16", "3d", failed_on, notes.append)
    again.restore(continued.state())
    assert again.value == "fp32"
    assert len(notes) == 1


def test_a_checkpoint_of_an_earlier_version_does_not_say_where_a_precision_failed():
    state = {"precision": "fp32", "planned_precision": "bf16", "scaler": {}}
    continued = training_precision.TrainingPrecision("bf16", "3d", "cpu", print)
    continued.restore(state)
    assert continued.value == "fp32"


def test_the_worker_moves_a_run_by_its_device_alone_or_with_the_preset(ball_cohort, every_step_reported, monkeypatch):
    """A preset has other steps on a GPU; a run that moves keeps those it was started with."""
    of_gpu = preset_settings("quick", "cuda:0")
    changes = {"patch": [16, 16, 32], "iterations": 6, "network": "basic_unet_small"}
    own = replace(of_gpu, **{**changes, "patch": (16, 16, 32)})
    for number, given in enumerate(({}, {"preset": "quick", "changes": changes}, {"changes": {"device": "cpu"}})):
        run = stopped(ball_cohort, settings=replace(own, device="cpu"), name=f"r{number}")
        run.write_plan(replace(run.plan(), device="cuda:0", settings=own))
        request = requests.TrainRequest(cohort=str(ball_cohort.folder), run=f"r{number}", **{"device": "cpu", **given})
        result = requests.train(request, Watch())
        assert result["device"] == "cpu"
        assert "The run was started on 'cuda:0' and is continued on 'cpu'." in result["notes"]


def test_a_device_without_anything_else_is_where_a_new_run_is_trained():
    request = requests.TrainRequest(cohort="c", run="r", device="cpu")
    assert chosen_settings(request) == preset_settings("quick", "cpu")
    request = replace(request, preset="quick")
    assert chosen_settings(request) == preset_settings("quick", "cpu")


@pytest.mark.parametrize(("is_live", "preset"), [(False, "quick"), (True, "quick_2d")])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_without_a_preset_a_new_run_has_the_default_one_on_every_device(monkeypatch, device, is_live, preset):
    monkeypatch.setattr(devices, "chosen_device", lambda name: SimpleNamespace(device=device))
    request = requests.TrainRequest(cohort="c", run="r", live=is_live)
    assert chosen_settings(request) == preset_settings(preset, device)
    request = replace(request, changes={"learning_rate": 0.5})
    assert chosen_settings(request) == replace(preset_settings(preset, device), learning_rate=0.5)


def test_the_command_line_continues_a_run_on_another_device(ball_cohort, every_step_reported, capsys):
    from SparseAnnotateLib.command_line.main import main

    run = stopped(ball_cohort)
    run.write_plan(replace(run.plan(), device="cuda:0", settings=replace(SETTINGS, device="cuda:0")))
    assert main(["train", str(ball_cohort.folder), "--run", "r", "--device", "cpu"]) == 0
    assert "- The run was started on 'cuda:0' and is continued on 'cpu'." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("planned", "wanted", "moves"),
    [("cuda:1", "cuda", False), ("cuda:0", "cuda", False), ("cuda", "cuda:0", False), ("cuda:0", "cuda:1", True)],
)
def test_gpus_are_told_apart_by_number_only_where_one_is_given(ball_cohort, monkeypatch, planned, wanted, moves):

    def works(device):
        return devices.DeviceReport(device, device, True, "")

    monkeypatch.setattr(run_planning, "smoke_test", works)
    monkeypatch.setattr(run_planning, "chosen_device", works)
    monkeypatch.setattr(memory_reduction, "training_precision", lambda *_: "bf16")
    plan = replace(run_planning.plan_run(ball_cohort, None, SETTINGS), device=planned)
    found = run_planning._on_usable_device(plan, wanted)
    assert found.device == (wanted if moves else planned)
    assert len(found.notes) - len(plan.notes) == moves


def test_a_checkpoint_keeps_which_precision_was_planned(ball_cohort, every_step_reported):
    run = stopped(ball_cohort)
    from safetensors import safe_open

    with safe_open(run.checkpoint_path("3d"), framework="pt") as file:
        assert f'"planned_precision": "{run.plan().precision}"' in file.metadata()["state"]
    assert np.isfinite(train(ball_cohort, "r").last.loss)
