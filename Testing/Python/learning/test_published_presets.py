"""The presets of publications: their numbers are those of the papers, and each trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.core.strict_json import parse_json, to_text
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.schedule import new_schedule
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NETWORKS, PRESETS, NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.plan import ModelPlan
from SparseAnnotateLib.runs.presets import preset_settings

PUBLISHED = [name for name in PRESETS if name.startswith(("zheng", "zhang"))]

# Zheng 2020, 'Implementation Details', and Zhang 2025, appendix G, as printed.
PAPERS = {
    "zheng2020": {
        "recipe": "self_training",
        "loss": "ce",
        "optimizer": "adam",
        "optimizer_eps": 1e-10,
        "learning_rate": 5e-4,
        "initialization": "gaussian",
        "initialization_2d": "he",
        "schedule": "poly",
        "poly_power": 0.9,
        "network": "dense_vox_net",
        "network_final": "y_shaped_dense_vox_net",
        "normalisation": "z_score",
        # Yu 2017, whose network it uses.
        "patch": (64, 64, 64),
        "batch": 3,
        "iterations": 15_000,
        "dropout": 0.2,
        "auxiliary_weight": 0.33,
    },
    "zhang2025_lits_2d": {
        "recipe": "2d",
        "batch_2d": 16,
        "loss": "weighted_ce",
        "class_weights": (0.04, 0.25, 1.4),
        "iterations": 14_000,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "weight_decay": 1e-5,
        "schedule": "poly",
        "poly_power": 0.8,
    },
    "zhang2025_dbc_2d": {
        "recipe": "2d",
        "batch_2d": 16,
        "loss": "ce",
        "iterations": 12_000,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "weight_decay": 1e-2,
        "schedule": "poly",
        "poly_power": 0.8,
    },
    "zhang2025_atlas_2d": {
        "recipe": "2d",
        "batch_2d": 16,
        "loss": "dice_ce",
        "iterations": 15_000,
        "optimizer": "adamw",
        "learning_rate": 5e-5,
        "weight_decay": 1e-5,
        "schedule": "step",
        "step_factor": 0.7,
    },
    "zhang2025_lits_3d": {
        "recipe": "3d",
        "network": "basic_unet",
        "batch": 24,
        "loss": "weighted_ce",
        "class_weights": (0.04, 0.2, 1.0),
        "iterations": 18_000,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "weight_decay": 1e-4,
        "momentum": 0.9,
        "class_shares": {1: 0.5, 2: 0.3},
        "undrawn_share": 0.2,
        "patch_placing": "on",
    },
    "zhang2025_dbc_3d": {
        "recipe": "3d",
        "network": "segresnet",
        "batch": 24,
        "loss": "ce",
        "iterations": 12_000,
        "optimizer": "adamw",
        "learning_rate": 3e-4,
        "weight_decay": 1e-5,
        "schedule": "cosine",
        "undrawn_share": 1.0,
    },
    "zhang2025_atlas_3d": {
        "recipe": "3d",
        "network": "unetr",
        "batch": 54,
        "loss": "dice_focal",
        "iterations": 15_000,
        "optimizer": "adamw",
        "learning_rate": 1.5e-4,
        "weight_decay": 1e-6,
        "schedule": "step",
        "step_factor": 0.7,
        "class_shares": {0: 0.3, 1: 0.55},
        "undrawn_share": 0.15,
        "undrawn_only": True,
        "patch_placing": "on",
    },
}
AUGMENTATIONS = {
    "zheng2020": {"right_angles"},
    "zhang2025_lits_2d": {"bias_field", "elastic"},
    "zhang2025_dbc_2d": set(),
    "zhang2025_atlas_2d": set(),
    "zhang2025_lits_3d": {"bias_field", "affine"},
    "zhang2025_dbc_3d": {"affine"},
    "zhang2025_atlas_3d": {"affine"},
}


def rates(name, role, steps):
    settings = preset_settings(name, "cuda:0")
    planes = (0,) if role == "2d" else ()
    patch = (64,) * (2 if role == "2d" else 3)
    schedule = new_schedule(settings, ModelPlan(role, "basic_unet", patch, 1, settings.iterations, planes))
    return [settings.learning_rate * schedule.rate(step) for step in steps]


@pytest.mark.parametrize("name", PAPERS)
def test_a_published_preset_has_the_numbers_of_its_paper_on_a_gpu(name):
    settings = preset_settings(name, "cuda:0")
    assert {field: getattr(settings, field) for field in PAPERS[name]} == PAPERS[name]
    chances = ("right_angles", "affine", "elastic", "bias_field", "intensity", "mixup")
    assert {c for c in chances if getattr(settings.augmentation, c)} == AUGMENTATIONS[name]
    assert (settings.mean_teacher, settings.fill_weight) == (0.0, 0.0)


def test_every_published_preset_is_compared_with_its_paper():
    assert set(PUBLISHED) == set(PAPERS)


def test_the_learning_rates_of_the_published_presets_are_those_of_the_papers():
    assert rates("zheng2020", "2d", (0, 9999, 10_000, 14_999)) == pytest.approx([5e-4, 5e-4, 5e-5, 5e-5])
    for role in ("3d", "final"):
        assert rates("zheng2020", role, (0, 7500)) == pytest.approx([5e-4, 5e-4 * 0.5**0.9])
    assert rates("zhang2025_lits_2d", "2d", (0, 7000)) == pytest.approx([1e-4, 1e-4 * 0.5**0.8])
    assert rates("zhang2025_lits_3d", "3d", (0, 1, 9000, 17_999)) == [0.01] * 4  # 'without any scheduling'
    assert rates("zhang2025_dbc_3d", "3d", (0, 6000)) == pytest.approx([3e-4, 1.5e-4])
    # 'multiplied by 0.7 per 2000' and 'per 3000 iterations'
    expected = [5e-5 * 0.7 ** (step // 2000) for step in range(0, 15_000, 500)]
    assert rates("zhang2025_atlas_2d", "2d", range(0, 15_000, 500)) == pytest.approx(expected)
    expected = [1.5e-4 * 0.7 ** (step // 3000) for step in range(0, 15_000, 500)]
    assert rates("zhang2025_atlas_3d", "3d", range(0, 15_000, 500)) == pytest.approx(expected)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_preset_on_a_cpu_is_the_same_but_shorter_and_of_planned_size(name):
    settings, on_cpu = (preset_settings(name, device) for device in ("cuda:0", "cpu"))
    assert (on_cpu.patch, on_cpu.batch, on_cpu.patch_2d, on_cpu.batch_2d) == (None,) * 4
    assert on_cpu.iterations == 1000
    same = ("optimizer", "learning_rate", "loss", "schedule", "schedule_2d", "network", "class_shares", "augmentation")
    assert all(getattr(on_cpu, field) == getattr(settings, field) for field in same)
    # Steps come as much earlier as there are fewer of them.
    shares = [[step / s.iterations for step in s.step_at] for s in (settings, on_cpu)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_preset_trains(ball_cohort, name, monkeypatch):
    # What is tested elsewhere, and takes longer than these trainings: their estimate, and checks of bf16.
    estimate = "SparseAnnotateLib.learning.training.training_run.stage_seconds"
    stages = dict.fromkeys(("2d", "3d", "pseudo-labels", "final"), 1.0)
    monkeypatch.setattr(estimate, lambda *_: stages)
    settings = replace(
        preset_settings(name, "cpu"),
        precision="fp32",
        iterations=2,
        patch=(16, 16, 32),
        patch_2d=(64, 64),  # swin_unetr needs so many
        batch=2,
        batch_2d=2,
        validate_every=2,
    )
    card = train(ball_cohort, name, settings)
    assert [m.iterations for m in card.models] == [2] * len(card.models)
    assert all(np.isfinite(m.loss) for m in card.models)
    assert Predictor(ball_cohort, name, "cpu").labels("ball_0").shape == (24, 28, 32)


def test_a_preset_for_other_structures_says_what_is_missing(ball_cohort):
    names = ["ball_0", "ball_1"]
    plan = new_plan(ball_cohort, preset_settings("zhang2025_lits_3d", "cpu"), names)
    assert plan.classes == (1, 2)
    for name in names:
        annotation = ball_cohort.annotation(name)
        ball_cohort.save_annotation(name, replace(annotation, labels=(annotation.labels == 2).astype(np.uint8)))
    with pytest.raises(BadInputError, match="'class_weights' needs 2 values"):
        new_plan(ball_cohort, preset_settings("zhang2025_lits_3d", "cpu"), names)


def test_patches_mirrored_as_set_although_names_have_sides_are_in_the_notes(ball_cohort):
    ball_cohort.set_labels({1: "left lens", 2: "kernel"})
    plan = new_plan(ball_cohort, preset_settings("zheng2020", "cpu"), ["ball_0"])
    assert plan.flip == ("A", "R")
    assert any("mirrored from left to right, as set, although 'left lens'" in note for note in plan.notes)


def test_the_networks_of_the_published_presets_can_be_built_with_their_patches():
    for name in PUBLISHED:
        settings = preset_settings(name, "cuda:0")
        if settings.patch:
            for network in (settings.network, settings.network_final):
                if network != "auto":
                    NETWORKS.named(network).check_shape(NetworkShape(2, settings.patch))


def test_the_settings_of_a_preset_are_written_and_read_unchanged():
    for name in PRESETS:
        settings = preset_settings(name, "cuda:0")
        assert parse_json(to_text(settings), TrainingSettings, "a preset") == settings
