"""Where patches lie: on or around voxels of structures, of the background, and of what was not drawn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.learning.data import patches as patches_module
from SparseAnnotateLib.learning.data.patches import PatchSampler, Placing
from SparseAnnotateLib.learning.data.training_cases import training_cases
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.self_training_objective import SelfTrainingObjective
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

DRAWS = 600
TOLERANCE = 0.07  # more than three standard deviations of a share among 600


def cases_of(cohort, folder, share=0.0):
    return training_cases(
        cohort,
        cohort.annotated_cases(),
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=share,
        seed=0,
        folder=folder / "labels",
        watch=Watch(),
    )


@pytest.fixture
def cases(ball_cohort, tmp_path):
    return cases_of(ball_cohort, tmp_path)


@pytest.fixture
def voxels(monkeypatch):
    """The voxels that patches are placed on or around, and where each patch begins and ends."""
    found = []
    voxel = PatchSampler._voxel

    def chosen(self, rng):
        case, place = voxel(self, rng)
        found.append([case, place, None, None])
        return case, place

    def extracted(case, start, size):
        found[-1][2:] = list(start), list(size)
        return {"image": np.zeros((1, *size), np.float32)}  # what a patch shows is tested elsewhere

    monkeypatch.setattr(PatchSampler, "_voxel", chosen)
    monkeypatch.setattr(patches_module, "extract_patch", extracted)
    return found


def kind_of(case, voxel):
    """The class index of a drawn voxel; 'undrawn' for others."""
    is_drawn = any(voxel[axis] == index for axis, index in (*case.slices, *case.held_out))
    return int(case.labels[tuple(voxel)]) if is_drawn else "undrawn"


def shares_of(voxels):
    counts = Counter(kind_of(case, voxel) for case, voxel, *_ in voxels)
    return {kind: count / len(voxels) for kind, count in counts.items()}


@pytest.mark.parametrize("is_centered", [False, True], ids=["around", "on"])
@pytest.mark.parametrize("patch", [(16, 16, 16), (16, 16)])
def test_patches_lie_on_classes_background_and_undrawn_voxels_in_the_shares_asked_for(
    cases, voxels, is_centered, patch
):
    wanted = {0: 0.3, 1: 0.4, 2: 0.15}
    placing = Placing(0.0, wanted, 0.15, is_centered=is_centered, is_undrawn_only=True)
    PatchSampler(cases, patch, placing, seed=1).patches(0, range(DRAWS))
    assert shares_of(voxels) == pytest.approx({**wanted, "undrawn": 0.15}, abs=TOLERANCE)


def test_the_rest_of_the_shares_lies_on_any_drawn_voxel(cases, voxels):
    PatchSampler(cases, (16, 16, 16), Placing(0.0, {2: 0.5}), seed=1).patches(0, range(DRAWS))
    shares = shares_of(voxels)
    assert "undrawn" not in shares
    assert shares[2] == pytest.approx(0.5, abs=TOLERANCE)
    assert shares[0] > 0.35  # most of a drawn slice is background


def test_patches_anywhere_lie_on_drawn_voxels_too_unless_only_undrawn_ones_are_wanted(cases, voxels):
    PatchSampler(cases, (16, 16, 16), Placing(0.0, None, 1.0), seed=1).patches(0, range(DRAWS))
    # Every fourth of 24 slices is drawn.
    assert shares_of(voxels)["undrawn"] == pytest.approx(0.75, abs=TOLERANCE)
    voxels.clear()
    PatchSampler(cases, (16, 16, 16), Placing(0.0, None, 1.0, is_undrawn_only=True), seed=1).patches(0, range(100))
    assert shares_of(voxels) == {"undrawn": 1.0}


def test_where_every_voxel_is_drawn_patches_for_undrawn_ones_lie_anywhere(tmp_path, voxels):
    cohort = Cohort.create(tmp_path / "dense", "dense", {1: "shell", 2: "kernel"})
    geometry = VolumeGeometry.from_spacing((24, 28, 32), (1.0, 1.0, 1.0))
    cohort.add_case("a", noisy_image(ball()), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, range(24)))
    placing = Placing(0.0, None, 1.0, is_undrawn_only=True)
    PatchSampler(cases_of(cohort, tmp_path), (16, 16, 16), placing, seed=1).patches(0, range(20))
    assert len(voxels) == 20


def test_held_out_slices_are_neither_background_nor_undrawn(ball_cohort, tmp_path, voxels):
    geometry = ball_cohort.geometry("ball_0")
    ball_cohort.save_annotation("ball_0", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, range(20)))
    cases = cases_of(ball_cohort, tmp_path, share=0.3)
    held_out = {(case.name, s) for case in cases for s in case.held_out}
    assert held_out
    placing = Placing(0.0, {0: 0.5}, 0.5, is_undrawn_only=True)
    PatchSampler(cases, (16, 16, 16), placing, seed=1).patches(0, range(200))
    assert not any((case.name, (0, voxel[0])) in held_out for case, voxel, *_ in voxels)


@pytest.mark.parametrize("patch", [(16, 16, 16), (16, 32), (64, 16, 16)])
def test_a_patch_on_a_voxel_is_centered_on_it_as_far_as_the_volume_allows(cases, voxels, patch):
    placing = Placing(0.3, None, 0.7, is_centered=True)
    PatchSampler(cases, patch, placing, seed=2).patches(0, range(200))
    exact = 0
    for case, voxel, start, size in voxels:
        for position, first, length, count in zip(voxel, start, size, case.image.shape, strict=True):
            if length >= count:
                assert first == -((length - count) // 2)  # all of the volume, in the middle
                continue
            assert 0 <= first <= count - length
            wanted = position - length // 2
            assert first == min(max(wanted, 0), count - length)
            exact += first == wanted
    assert exact > 100


def test_a_patch_around_a_voxel_shows_it_anywhere(cases, voxels):
    PatchSampler(cases, (8, 8, 8), Placing(1.0), seed=2).patches(0, range(200))
    offsets = [np.subtract(voxel, start) for _, voxel, start, _ in voxels]
    assert all(((o >= 0) & (o < 8)).all() for o in offsets)
    for axis in range(3):
        assert {int(o[axis]) for o in offsets} == set(range(8))


def test_the_settings_reach_the_patches_of_base_models_and_of_the_final_one(ball_cohort, cases):
    shares = {"class_shares": {0: 0.3, 2: 0.5}, "undrawn_share": 0.2}
    more = {**shares, "undrawn_only": True, "patch_placing": "on", "recipe": "self_training", "foreground_share": 0.4}
    plan = new_plan(ball_cohort, TrainingSettings(**{**QUICK_TRAINING, **more}), ["ball_0", "ball_1"])
    base = SupervisedObjective(plan, cases, Ranks()).sampler(plan.model("3d"))
    assert base._placing == Placing(0.4, {0: 0.3, 2: 0.5}, 0.2, is_centered=True, is_undrawn_only=True)
    final = SelfTrainingObjective(plan, cases, Ranks(), (0.25,) * 4).sampler(plan.model("final"))
    assert final._placing == Placing(0.4, None, 0.3, is_centered=True)
    usual = new_plan(ball_cohort, TrainingSettings(**QUICK_TRAINING), ["ball_0", "ball_1"])
    assert SupervisedObjective(usual, cases, Ranks()).sampler(usual.models[0])._placing == Placing()


def test_shares_of_classes_go_by_label_value_and_train(ball_cohort, monkeypatch):
    """The labels 1 and 2 become 3 and 7: class indices 1 and 2."""
    for name in ("ball_0", "ball_1"):
        annotation = ball_cohort.annotation(name)
        labels = np.array([0, 3, 7], np.uint8)[annotation.labels]
        indices = annotation.drawn_by_axis()[0]
        ball_cohort.save_annotation(
            name, SparseAnnotation.from_slices(labels, annotation.geometry, Plane.AXIAL, indices)
        )
    ball_cohort.set_labels({3: "shell", 7: "kernel"})
    seen = []
    sampler = PatchSampler.__init__

    def noted(self, cases, patch, placing, *rest, **more):
        seen.append(placing.class_shares)
        sampler(self, cases, patch, placing, *rest, **more)

    monkeypatch.setattr(PatchSampler, "__init__", noted)
    shares = {0: 0.2, 3: 0.1, 7: 0.6}
    card = train(ball_cohort, "r", TrainingSettings(**QUICK_TRAINING, class_shares=shares, patch_placing="on"))
    assert np.isfinite(card.last.loss)
    assert seen[0] == {0: 0.2, 1: 0.1, 2: 0.6}
    with pytest.raises(BadInputError, match="'class_shares' includes label 1, which is not on any drawn slice"):
        train(ball_cohort, "s", TrainingSettings(**QUICK_TRAINING, class_shares={1: 0.5}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"class_shares": {1: 1.5}}, "'class_shares.1' is a share between 0 and 1, not 1.5"),
        ({"class_shares": {1: 0.6, 2: 0.5}}, r"add up to more than 1: 1.1 \+ 0"),
        ({"class_shares": {0: 0.3, 1: 0.55}, "undrawn_share": 0.2}, r"add up to more than 1: 0.85 \+ 0.2"),
        ({"foreground_share": 0.8, "undrawn_share": 0.3}, r"add up to more than 1: 0.8 \+ 0.3"),
    ],
)
def test_impossible_shares_are_refused(wrong, words):
    with pytest.raises(BadInputError, match=words):
        TrainingSettings(**wrong)
