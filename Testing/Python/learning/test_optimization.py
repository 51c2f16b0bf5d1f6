"""Optimizer, initialization and schedule as the settings choose them, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, CancelledError, RunError, Watch
from SparseAnnotateLib.core.strict_json import from_plain, to_plain
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.networks.initialization import initialize
from SparseAnnotateLib.learning.training.optimizer import new_optimizer
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.schedule import Schedule, new_schedule
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.learning.weights import load_checkpoint, save_checkpoint
from SparseAnnotateLib.runs import NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"optimizer": "adagrad"}, "'optimizer' cannot be 'adagrad'; choose one of adamw, adam, sgd"),
        ({"initialization": "zeros"}, "'initialization' cannot be 'zeros'; choose one of default, gaussian, he"),
        ({"initialization_2d": "zeros"}, "'initialization_2d' cannot be 'zeros'"),
        ({"schedule": "linear"}, "'schedule' cannot be 'linear'; choose one of hold, poly, cosine, step"),
        ({"schedule_2d": "linear"}, "'schedule_2d' cannot be 'linear'"),
        ({"patch_placing": "beside"}, "'patch_placing' cannot be 'beside'; choose one of around, on"),
        ({"optimizer_eps": 0.0}, "'optimizer_eps' must be more than 0, not 0"),
        ({"poly_power": -1.0}, "'poly_power' must be more than 0, not -1"),
        ({"momentum": 1.0}, "'momentum' must be at least 0 and less than 1, not 1"),
        ({"momentum": -0.1}, "'momentum' must be at least 0 and less than 1, not -0.1"),
        ({"nesterov": True}, "'nesterov' needs the optimizer 'sgd' and a 'momentum' of more than 0"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, "'nesterov' needs the optimizer 'sgd'"),
        ({"auxiliary_weight": -0.3}, "'auxiliary_weight' must not be negative, but is -0.3"),
        ({"schedule": "step"}, "The schedule 'step' needs 'step_at'"),
        ({"schedule_2d": "step"}, "The schedule 'step' needs 'step_at'"),
        ({"step_at": (0, 10)}, r"at least 1 and in increasing order, not \[0, 10\]"),
        ({"step_at": (10, 10)}, r"at least 1 and in increasing order, not \[10, 10\]"),
        ({"step_factor": 0.0}, "'step_factor' must be more than 0 and at most 1, not 0"),
        ({"step_factor": 1.5}, "'step_factor' must be more than 0 and at most 1, not 1.5"),
    ],
)
def test_an_impossible_optimization_is_refused(wrong, words):
    with pytest.raises(BadInputError, match=words):
        TrainingSettings(**wrong)


def test_settings_from_before_these_choices_train_as_they_did():
    new = ("optimizer", "optimizer_eps", "momentum", "nesterov", "initialization", "initialization_2d", "schedule_2d")
    new += ("poly_power", "step_at", "step_factor", "patch_placing", "undrawn_only", "auxiliary_weight")
    plain = {name: value for name, value in to_plain(TrainingSettings(seed=3)).items() if name not in new}
    assert from_plain(plain, TrainingSettings, "a file") == TrainingSettings(seed=3)
    optimizer = new_optimizer([torch.nn.Parameter(torch.ones(1))], TrainingSettings())
    assert type(optimizer) is torch.optim.AdamW
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (2e-3, 1e-2, (0.9, 0.999), 1e-8)


def stepped(**settings):
    """A weight of 2 after two steps along the gradients 1 and 3, at a rate of 0.1."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = new_optimizer([weight], TrainingSettings(learning_rate=0.1, **settings))
    for gradient in (1.0, 3.0):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return float(weight.detach())


def test_each_optimizer_takes_the_steps_of_its_formula():
    # SGD: 2 - .1 (1) = 1.9; velocity .5 * 1 + 3 = 3.5, or Nesterov's 3 + .5 * 3.5, after a first step of 1 + .5.
    assert stepped(optimizer="sgd", momentum=0.5, weight_decay=0.0) == pytest.approx(2 - 0.1 - 0.35)
    nesterov = {"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "weight_decay": 0.0}
    assert stepped(**nesterov) == pytest.approx(2 - 0.15 - 0.475)
    assert stepped(optimizer="sgd", momentum=0.0, weight_decay=0.0) == pytest.approx(2 - 0.4)
    # Decay is added to the gradient by SGD and Adam, and shrinks the weight by itself with AdamW.
    first = 2 - 0.1 * (1 + 0.5 * 2)
    decayed = first - 0.1 * (3 + 0.5 * first)
    assert stepped(optimizer="sgd", momentum=0.0, weight_decay=0.5) == pytest.approx(decayed)
    assert stepped(optimizer="adam", weight_decay=0.0) == pytest.approx(stepped(optimizer="adamw", weight_decay=0.0))
    assert stepped(optimizer="adam", weight_decay=0.5) > stepped(optimizer="adamw", weight_decay=0.5)
    # With an eps as large as the gradients a step of Adam is about half as long.
    short, full = (2 - stepped(optimizer="adam", weight_decay=0.0, optimizer_eps=eps) for eps in (1.0, 1e-10))
    assert full == pytest.approx(0.1 + 0.1 * (0.1 * 0.9 + 0.3) / 0.19 / np.sqrt((0.999 + 9) / 1.999), rel=1e-6)
    assert 0.3 * full < short < 0.7 * full


@pytest.mark.parametrize("kind", ["default", "gaussian", "he"])
def test_first_weights_are_distributed_as_asked_for(kind):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv3d(8, 32, 3),
        torch.nn.InstanceNorm3d(32, affine=True),
        torch.nn.ConvTranspose3d(32, 64, 2, stride=2),
        torch.nn.Conv2d(64, 64, 3, groups=4),
        torch.nn.Linear(100, 200),
    )
    before = [p.detach().clone() for p in network.parameters()]
    initialize(network, kind)
    unchanged = [torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    if kind == "default":
        assert all(unchanged)
        return
    # Only the normalization's weight and bias stay.
    assert unchanged == [False, False, True, True, *[False] * 6]
    for layer, inputs in ((network[0], 8 * 27), (network[2], 32), (network[3], 16 * 9), (network[4], 100)):
        expected = 0.01 if kind == "gaussian" else np.sqrt(2 / inputs)
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert abs(float(layer.weight.detach().mean())) < 0.1 * expected
        assert not layer.bias.any()


def test_2d_and_3d_models_are_initialized_and_scheduled_each_in_its_way(ball_cohort):
    from SparseAnnotateLib.learning.prediction.model_building import network_to_train

    more = {"initialization": "gaussian", "initialization_2d": "he", "schedule": "poly", "schedule_2d": "step"}
    settings = {**QUICK_TRAINING, "recipe": "ensemble", "step_at": (2, 4), "step_factor": 0.5, "warm_up": 0.0, **more}
    plan = new_plan(ball_cohort, TrainingSettings(**settings), ["ball_0"])
    flat, solid = (network_to_train(plan.model(role), plan) for role in ("2d", "3d"))
    convolutions = [m for m in solid.modules() if isinstance(m, torch.nn.Conv3d)]
    assert all(float(m.weight.detach().std()) == pytest.approx(0.01, rel=0.2) for m in convolutions)
    assert max(float(m.weight.detach().std()) for m in flat.modules() if isinstance(m, torch.nn.Conv2d)) > 0.03
    schedules = {role: new_schedule(plan.settings, plan.model(role)) for role in ("2d", "3d")}
    assert [schedules["2d"].rate(n) for n in range(6)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert [schedules["3d"].rate(n) for n in range(6)] == pytest.approx([(1 - n / 6) ** 0.9 for n in range(6)])
    alike = replace(plan.settings, initialization_2d=None, schedule_2d=None)
    assert new_schedule(alike, plan.model("2d")).kind == "poly"
    small = network_to_train(plan.model("2d"), replace(plan, settings=alike))
    assert max(float(m.weight.detach().std()) for m in small.modules() if isinstance(m, torch.nn.Conv2d)) < 0.02


def test_the_schedule_step_multiplies_the_rate_after_each_of_its_steps_and_stops_early_without_cooling_down():
    schedule = Schedule(15_000, 1, 500, patience=1, kind="step", step_at=(3000, 6000), step_factor=0.7)
    rates = {n: schedule.rate(n) for n in (0, 2999, 3000, 5999, 6000, 14_999)}
    assert list(rates.values()) == pytest.approx([1, 1, 0.7, 0.7, 0.49, 0.49])
    assert schedule.end == 15_000
    warming = Schedule(100, 10, 0, patience=1, kind="step", step_at=(50,), step_factor=0.1)
    assert warming.rate(4) == 0.5
    for iteration in (100, 200):
        schedule.validated(iteration, 0.5)
    assert schedule.end == 200


def test_the_power_of_the_poly_schedule_is_as_set():
    assert Schedule(100, 1, 0, 1, "poly", poly_power=2.0).rate(50) == pytest.approx(0.25)


def test_without_cool_down_and_warm_up_the_rate_is_constant(ball_cohort):
    settings = TrainingSettings(**{**QUICK_TRAINING, "warm_up": 0.0, "cool_down": 0.0})
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    schedule = new_schedule(settings, plan.models[0])
    assert [schedule.rate(n) for n in range(6)] == [1.0] * 6


@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer": "adam", "optimizer_eps": 1e-10},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.01},
        {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.01},
    ],
    ids=["adam", "nesterov", "plain"],
)
def test_training_with_every_optimizer_resumes_exactly(ball_cohort, monkeypatch, optimizer):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    settings = TrainingSettings(**QUICK_TRAINING, **optimizer)
    train(ball_cohort, "whole", settings)
    watch = Watch(lambda progress: watch.cancel() if progress.message.startswith("step 3") else None)
    with pytest.raises(CancelledError):
        train(ball_cohort, "parts", settings, watch=watch)
    train(ball_cohort, "parts")
    whole, parts = (RunFolder(ball_cohort.run_folder(n)).weights_path("3d").read_bytes() for n in ("whole", "parts"))
    assert whole == parts
    train(ball_cohort, "usual", TrainingSettings(**QUICK_TRAINING))
    assert RunFolder(ball_cohort.run_folder("usual")).weights_path("3d").read_bytes() != whole


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    network = build_network("basic_unet_small", NetworkShape(2, (16, 32)))
    path = tmp_path / "c.safetensors"
    optimizers = [
        new_optimizer(network.parameters(), TrainingSettings(optimizer=name, momentum=momentum))
        for name, momentum in (("adamw", 0.9), ("sgd", 0.9), ("sgd", 0.0))
    ]
    for optimizer in optimizers:
        network(torch.randn(1, 1, 16, 32)).sum().backward()
        optimizer.step()
        save_checkpoint(path, network, optimizer, {"iteration": 3})
        assert load_checkpoint(path, network, optimizer) == {"iteration": 3}
        for other in optimizers:
            if other is not optimizer:
                with pytest.raises(RunError):
                    load_checkpoint(path, network, other)
