"""Plans of trainings: patches, strides, planes, mirroring, presets, and plans edited by hand."""

from __future__ import annotations

import json

import pytest
import torch

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    Plane,
    RunError,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.estimate import stage_seconds
from SparseAnnotateLib.learning.training.patch_planning import planned_network
from SparseAnnotateLib.learning.training.planning import (
    new_plan,
    planned_final_network,
    strides_and_kernels,
    usable_planes,
)
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import PRESETS, TrainingSettings
from SparseAnnotateLib.runs.presets import preset_settings
from SparseAnnotateLib.runs.run_folder import RunFolder

SETTINGS = TrainingSettings(**QUICK_TRAINING)


def one_case(tmp_path, labels, indices, spacing=(1.0, 1.0, 1.0), names=None):
    cohort = Cohort.create(tmp_path / "one", "one", names or {1: "ball"})
    geometry = VolumeGeometry.from_spacing(labels.shape, spacing)
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, indices))
    return cohort


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_the_final_model_has_the_network_of_the_3d_model(device):
    for of_one_scan in (False, True):
        expected = planned_network("auto", device, of_one_scan)
        assert planned_final_network(TrainingSettings(), device, of_one_scan) == expected
    assert planned_final_network(TrainingSettings(network="dynunet"), device) == "dynunet"
    y_shaped = TrainingSettings(network_final="y_shaped_dense_vox_net")
    assert planned_final_network(y_shaped, device) == "y_shaped_dense_vox_net"


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
    # Of one scan only what was drawn.
    assert usable_planes((1.0, 1.2, 0.9), {1}, of_one_scan=True) == (1,)
    assert usable_planes((5.0, 1.0, 1.0), {2, 1}, of_one_scan=True) == (1, 2)
    assert usable_planes((1.0, 1.2, 0.9), {0}) == (0, 1, 2)


def test_planned_strides_make_a_network_that_fits_them(tmp_path):
    from SparseAnnotateLib.learning.networks.build import build_network
    from SparseAnnotateLib.runs import NetworkShape

    strides, kernels = strides_and_kernels((16, 64, 64), (5.0, 1.0, 1.0))
    for name in ("dynunet", "dense_vox_net"):
        network = build_network(name, NetworkShape(3, (16, 64, 64), strides, kernels))
        assert network(torch.randn(1, 1, 16, 64, 64)).shape == (1, 3, 16, 64, 64)


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


@pytest.mark.parametrize("name", ["LeftKidney", "left kidney", "kidney_L", "LKidney", "Eye-R", "RT lung"])
def test_sides_are_recognised_by_the_names_people_give(ball_cohort, name):
    ball_cohort.set_labels({1: name, 2: "kernel"})
    assert new_plan(ball_cohort, SETTINGS, ["ball_0"]).flip == ()


@pytest.mark.parametrize("name", ["liver", "clever", "Lens", "tumour", "RCA stent"])
def test_other_names_leave_left_and_right_alike(ball_cohort, name):
    ball_cohort.set_labels({1: name, 2: "kernel"})
    assert new_plan(ball_cohort, SETTINGS, ["ball_0"]).flip == ("R",)
