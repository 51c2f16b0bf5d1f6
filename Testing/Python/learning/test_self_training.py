"""2D and 3D base models, their pseudo-labels, and the final model, on small volumes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING, ball, new_ball_cohort, noisy_image
from SparseAnnotateLib.core import CancelledError, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_labels
from SparseAnnotateLib.learning.data.patches import PatchSampler, Placing
from SparseAnnotateLib.learning.data.training_cases import training_cases
from SparseAnnotateLib.learning.networks.dense_vox_net import DenseVoxNet, YShapedDenseVoxNet
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator
from SparseAnnotateLib.learning.prediction.view_averages import mean_pseudo_label, mean_view
from SparseAnnotateLib.learning.prediction.volume_prediction import VolumePrediction
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.pseudo_labels import agreement, majority, read_pseudo_labels
from SparseAnnotateLib.learning.training.self_training_objective import SelfTrainingObjective
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective, _equal_slice_weights
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

QUICK = {
    **QUICK_TRAINING,
    "patch_2d": (32, 32),
    "batch_2d": 4,
    "network_final": "y_shaped_dense_vox_net_small",
}


def settings(recipe, **more):
    return TrainingSettings(**{**QUICK, "recipe": recipe, **more})


@pytest.fixture(scope="module")
def self_trained(tmp_path_factory):
    """A run of all three models, and a third case without any drawn slice; tests may add to it, not change it."""
    cohort = new_ball_cohort(tmp_path_factory.mktemp("self_trained"))
    labels = ball(centre=(11, 13, 15))
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    cohort.add_case("ball_2", noisy_image(labels, 2), geometry)
    return cohort, train(cohort, "r", settings("self_training"))


def test_dense_vox_net_has_the_paper_s_layers_and_every_one_learns():
    network = DenseVoxNet(3, 1, 3)
    # Yu et al. 2017: 12 layers a block that each add 12 features to the 16 of the stem; 160 and 304 in the end.
    assert network.first.features == 16 + 12 * 12 == 160
    assert network.rest.second.features == 160 + 12 * 12 == 304
    count = sum(p.numel() for p in network.parameters())
    assert 1.5e6 < count < 1.9e6  # the paper says 1.8 million
    assert sum(p.numel() for p in DenseVoxNet(3, 1, 3, norm="batch").parameters()) == count
    image = torch.randn(1, 1, 16, 24, 32)
    assert network(image).shape == (1, 3, 16, 24, 32)
    network(image).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dense_vox_net_keeps_thick_slices_apart_where_it_is_asked_to():
    network = DenseVoxNet(3, 1, 2, strides=((1, 2, 2), (1, 2, 2)))
    assert network(torch.randn(1, 1, 5, 16, 16)).shape == (1, 2, 5, 16, 16)


def test_both_arms_of_the_y_shaped_network_reach_the_result():
    network = YShapedDenseVoxNet(3, 1, 3, 3, layers=(2, 2)).eval()
    both = torch.randn(1, 4, 16, 16, 16)
    base = network(both)
    for channel in (0, 1, 3):
        other = both.clone()
        other[:, channel] += torch.randn(16, 16, 16)
        assert not torch.allclose(network(other), base)
    network(both).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def cases_of(cohort, tmp_path):
    return training_cases(
        cohort,
        cohort.annotated_cases(),
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=tmp_path / "labels",
        watch=Watch(),
    )


def test_slices_of_all_planes_are_drawn_and_only_what_was_drawn_in_them_is_supervised(ball_cohort, tmp_path):
    cases = cases_of(ball_cohort, tmp_path)
    sampler = PatchSampler(cases, (32, 32), Placing(0.5), seed=0)
    seen = {}
    for patch in sampler.patches(0, range(60)):
        assert patch.arrays["image"].shape == (1, 32, 32)
        across = ({0, 1, 2} - set(patch.axes)).pop()
        share = patch.arrays["supervised"][0].mean()
        seen.setdefault(across, []).append(share)
        assert share > 0
    assert set(seen) == {0, 1, 2}
    # Axial slices were drawn as a whole; of the others only the drawn lines are: every fourth of 24.
    assert min(seen[0]) > 0.5
    assert max(seen[1] + seen[2]) <= 7 / 32


def test_a_slice_with_few_drawn_lines_counts_as_much_as_a_whole_one():
    supervised = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    supervised[0] = True
    supervised[1, 0, 3] = True
    weights = _equal_slice_weights(supervised)
    assert weights[0].sum() == weights[1].sum() == 64
    assert not weights[1][~supervised[1]].any()


def test_thick_slices_leave_only_the_planes_that_make_sense_and_say_so(ball_cohort, tmp_path):
    geometry = VolumeGeometry.from_spacing((24, 28, 32), (6.0, 1.0, 1.0))
    ball_cohort.add_case("thick", noisy_image(ball()), geometry)
    ball_cohort.save_annotation("thick", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, [10, 14]))
    plan = new_plan(ball_cohort, settings("ensemble"), ["thick"])
    assert plan.model("2d").planes == (0,)
    assert plan.model("3d").planes == ()
    assert any(
        "6 times as long as wide, so the 2D model is trained on axial slices only" in note for note in plan.notes
    )


def test_views_of_a_2d_model_lie_where_the_volume_lies():
    class Bright(torch.nn.Module):
        """Class 1 where a pixel is brighter than 0, in 2D."""

        def forward(self, x):
            assert x.ndim == 4
            return torch.cat([-x, x], 1)

    image = np.random.default_rng(0).normal(size=(20, 33, 26)).astype(np.float16)
    model = TrainedModel("2d", Bright(), (16, 16), 2, "cpu", planes=(0, 1, 2))
    volume = VolumePrediction([model], image, Watch())
    views = volume.views(0, 20)
    assert list(views) == ["axial", "coronal", "sagittal"]
    for view in views.values():
        np.testing.assert_array_equal(view.argmax(0).numpy(), image > 0)
    mirrored = VolumePrediction([replace(model, flip=(0, 1, 2))], image, Watch()).views(4, 11)
    for view in mirrored.values():
        np.testing.assert_array_equal(view.argmax(0).numpy(), image[4:11] > 0)


def test_the_mean_pseudo_label_says_where_the_sets_agree():
    sets = np.array([[0, 1, 2], [0, 1, 1], [0, 1, 0], [0, 1, 1]], np.uint8)[:, None, None]
    certain = torch.full(sets.shape, 255, dtype=torch.uint8)
    mean = mean_pseudo_label(torch.from_numpy(sets), certain, 3, (0.25,) * 4)
    torch.testing.assert_close(mean[:, 0, 0, 0], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(mean[:, 0, 0, 2], torch.tensor([0.25, 0.5, 0.25]))
    half = mean_pseudo_label(torch.from_numpy(sets), certain // 255 * 153, 3, (0.25,) * 4)
    torch.testing.assert_close(half[:, 0, 0, 0], torch.tensor([0.6, 0.2, 0.2]))
    np.testing.assert_array_equal(agreement(sets)[0, 0], [100, 100, 50])
    np.testing.assert_array_equal(majority(sets, 3)[0, 0], [0, 1, 1])


def test_views_of_2d_count_together_as_much_as_3d_and_by_their_weights_where_there_are_any():
    views = {name: torch.full((1, 1, 1, 1), value) for name, value in (("axial", 0.0), ("coronal", 0.5), ("3d", 1.0))}
    assert mean_view(views, None).item() == pytest.approx(0.625)
    assert mean_view(views, {"axial": 1.0, "coronal": 1.0, "3d": 2.0}).item() == pytest.approx(0.625)
    assert mean_view(views, {"axial": 0.0, "coronal": 1.0, "3d": 3.0}).item() == pytest.approx(0.875)


def test_the_whole_of_zheng_2020_runs_and_leaves_what_it_made(self_trained):
    cohort, card = self_trained
    assert [m.plan.role for m in card.models] == ["2d", "3d", "final"]
    run = RunFolder(cohort.run_folder("r"))
    plan = run.plan()
    assert plan.undrawn_cases == ("ball_2",)
    for name in ("ball_0", "ball_1", "ball_2"):
        sets, sure, views = read_pseudo_labels(run, name)
        assert sets.shape == sure.shape == (4, 24, 28, 32)
        assert sets.dtype == sure.dtype == np.uint8
        assert sure.min() >= 85  # the most likely of three classes has at least a third
        assert views == ("axial", "coronal", "sagittal", "3d")
        percent = read_labels(run.agreement_path(name), cohort.geometry(name))
        assert (percent[cohort.annotation(name).supervised_mask()] == 100).all()
        assert set(np.unique(percent)) <= {25, 50, 75, 100}
    assert {m["model"] for m in run.metrics()} == {"2d", "3d", "final"}
    assert not run.labels_folder.exists()
    labels = Predictor(cohort, "r", "cpu").labels("ball_2")
    assert labels.shape == (24, 28, 32)


def test_self_training_stopped_in_any_of_its_models_resumes_to_the_same_weights(self_trained, monkeypatch):
    cohort, _ = self_trained
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    for stage in ("2D model, step 3", "3D model, step 2", "pseudo-labels of 'ball_1'", "final model, step 4"):
        watch = cancelled_at(stage)
        with pytest.raises(CancelledError):
            train(cohort, "parts", settings("self_training") if stage.startswith("2D") else None, watch=watch)
    train(cohort, "parts")
    for role in ("2d", "3d", "final"):
        whole, parts = (RunFolder(cohort.run_folder(name)).weights_path(role) for name in ("r", "parts"))
        assert whole.read_bytes() == parts.read_bytes(), role


def cancelled_at(stage):
    watch = Watch(lambda progress: watch.cancel() if progress.message.startswith(stage) else None)
    return watch


def objective_and_batch(cohort, tmp_path, weights=(0.25,) * 4, **more):
    plan = new_plan(cohort, settings("self_training", **more), cohort.annotated_cases())
    objective = SelfTrainingObjective(plan, cases_of(cohort, tmp_path), Ranks(), weights)
    generator = torch.Generator().manual_seed(0)
    sets = torch.randint(0, 3, (2, 4, 8, 8, 8), generator=generator).to(torch.uint8) + 1
    supervised = torch.zeros(2, 1, 8, 8, 8, dtype=torch.bool)
    supervised[:, :, 2] = True
    label = torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator)
    return objective, {
        "image": torch.randn(2, 1, 8, 8, 8, generator=generator),
        "sets": sets,
        "sure": torch.full(sets.shape, 255, dtype=torch.uint8),
        "label": label,
        "supervised": supervised,
        "iteration": torch.tensor(0),
        "number": torch.tensor([0, 1]),
    }


def test_first_a_random_set_is_fitted_and_then_the_nearest(ball_cohort, tmp_path):
    objective, batch = objective_and_batch(ball_cohort, tmp_path, random_share=0.5, drawn_weight=1.0, loss="ce")

    def says(place):
        """A model that is sure of one set of pseudo-labels, and right where something was drawn."""
        wanted = torch.where(batch["supervised"], batch["label"], batch["sets"][:, place : place + 1].long() - 1)
        return lambda _: 20.0 * torch.nn.functional.one_hot(wanted[:, 0], 3).movedim(-1, 1).float()

    for place in range(4):
        assert objective.loss(says(place), batch, 0.9, None) < 1e-3  # the nearest set is the one it says
    random = []
    for iteration in range(40):
        losses = [
            float(objective.loss(says(p), {**batch, "iteration": torch.tensor(iteration)}, 0.1, None)) for p in range(4)
        ]
        random.append(losses)
    random = np.array(random)
    assert (random.min(0) < 1e-3).any()
    assert (random > 1).any(0).all()  # no set is the wanted one every time


@pytest.mark.parametrize(
    ("network", "target", "learns_mean"),
    [
        ("unet_small", "auto", True),
        ("unet_small", "sets", False),
        ("y_shaped_dense_vox_net", "auto", False),
        ("y_shaped_dense_vox_net", "mean", True),
    ],
)
def test_a_network_that_sees_the_image_alone_learns_the_mean_of_all_sets(
    ball_cohort, tmp_path, network, target, learns_mean
):
    more = {"network_final": network, "pseudo_label_target": target, "drawn_weight": 1.0, "loss": "ce"}
    objective, batch = objective_and_batch(ball_cohort, tmp_path, **more)
    sets = batch["sets"].long() - 1
    mean = torch.stack([(sets == value).float().mean(1) for value in range(3)], 1)
    truth = torch.nn.functional.one_hot(batch["label"][:, 0], 3).movedim(-1, 1).float()
    expected = torch.where(batch["supervised"], truth, mean).requires_grad_(True)
    # The gradient of the cross-entropy vanishes where the prediction is the target.
    logits = expected.clamp_min(1e-6).log().detach().requires_grad_(True)
    objective.loss(lambda _: logits, batch, 0.9, None).backward()
    assert (float(logits.grad.abs().max()) < 1e-6) == learns_mean


def test_sets_that_do_badly_on_held_out_slices_are_rarely_fitted(ball_cohort, tmp_path):
    weights = (0.0, 0.0, 0.0, 1.0)
    objective, batch = objective_and_batch(ball_cohort, tmp_path, weights, drawn_weight=1.0, loss="ce")
    wanted = torch.where(batch["supervised"], batch["label"], batch["sets"][:, 3:].long() - 1)
    says = lambda _: 20.0 * torch.nn.functional.one_hot(wanted[:, 0], 3).movedim(-1, 1).float()  # noqa: E731
    assert all(
        float(objective.loss(says, {**batch, "iteration": torch.tensor(n)}, 0.0, None)) < 1e-3 for n in range(20)
    )


def test_drawn_voxels_keep_their_truth_and_what_lies_outside_the_volume_counts_nothing(ball_cohort, tmp_path):
    objective, batch = objective_and_batch(ball_cohort, tmp_path)
    batch["sets"][..., 6:] = 0
    leaf = torch.zeros(2, 3, 8, 8, 8, requires_grad=True)
    seen = []

    def model(both):
        seen.append(both)
        return leaf

    objective.loss(model, batch, 0.9, None).backward()
    assert not leaf.grad[..., 6:].any()
    assert not seen[0][:, 1:, ..., 6:].any()  # nor is anything said of it
    shown = torch.stack([(batch["sets"][..., :6] == value + 1).float().mean(1) for value in range(3)], 1)
    torch.testing.assert_close(seen[0][:, 1:, ..., :6], shown)
    truth = torch.nn.functional.one_hot(batch["label"][:, 0, 2], 3).movedim(-1, 1).bool()[..., :6]
    assert (leaf.grad[:, :, 2, :, :6][truth] < 0).all()  # every drawn voxel pulls towards its truth
    # Four times as hard as a pseudo-labelled one, in the cross-entropy.
    plain = SelfTrainingObjective(
        replace(objective.plan, settings=replace(objective.plan.settings, loss="ce")),
        objective.cases,
        Ranks(),
        (0.25,) * 4,
    )
    leaf.grad = None
    plain.loss(model, batch, 0.9, None).backward()
    size = leaf.grad.abs().sum(1)[..., :6]
    assert size[:, 2].mean() / size[:, 3].mean() == pytest.approx(4.0, rel=1e-4)


def test_a_plain_network_as_the_final_model_sees_the_image_alone(ball_cohort):
    card = train(ball_cohort, "r", settings("self_training", network_final="auto", device="cpu", iterations=2))
    assert card.last.plan.network == "unet_small"
    ball_cohort.add_case("bare", *ball_cohort.image("ball_0"))
    assert Predictor(ball_cohort, "r", "cpu").labels("bare").shape == (24, 28, 32)


def test_disagreement_of_the_base_models_is_the_uncertainty_of_such_a_run(self_trained):
    cohort, _ = self_trained
    found = UncertaintyEstimator(cohort, ["r"], samples=1, device="cpu").of_case("ball_2", [Plane.AXIAL])
    assert found.slices[Plane.AXIAL].shape == (24,)
    assert (found.slices[Plane.AXIAL] >= 0).all()
    assert found.slices[Plane.AXIAL].max() > 0


def test_uncertainty_comes_as_volumes_and_drawn_slices_are_certain(self_trained):
    cohort, _ = self_trained
    predictor = Predictor(cohort, "r", "cpu")
    found = predictor.predict("ball_0", uncertainty=True)
    drawn = cohort.annotation("ball_0").supervised_mask()
    for percent in (found.entropy, found.disagreement):
        assert percent.shape == (24, 28, 32)
        assert percent.dtype == np.uint8
        assert percent.max() <= 100
        assert not percent[drawn].any()
    assert found.entropy.any()
    assert predictor.predict("ball_0").entropy is None
    predictor.write("ball_0", uncertainty=True)
    for kind in ("entropy", "disagreement"):
        assert cohort.uncertainty_path("r", "ball_0", kind).is_file()


def test_flips_average_over_what_the_run_was_mirrored_along(ball_cohort):
    card = train(ball_cohort, "r", settings("3d"))
    assert card.flip == ("R",)
    plain, mirrored = (Predictor(ball_cohort, "r", "cpu", flips=flips) for flips in (False, True))
    assert [m.flip for m in mirrored._models] == [(2,)]
    image, geometry = ball_cohort.image("ball_0")
    # The mirrored prediction of a mirrored volume is the mirror image; the plain one's is only nearly.
    ball_cohort.add_case("mirrored", np.ascontiguousarray(image[:, :, ::-1]), geometry)
    ball_cohort.add_case("same", image, geometry)
    one, other = (mirrored.predict(name, uncertainty=True).entropy for name in ("same", "mirrored"))
    assert np.abs(one.astype(int) - other[:, :, ::-1]).max() <= 1
    one, other = (plain.predict(name, uncertainty=True).entropy for name in ("same", "mirrored"))
    assert np.abs(one.astype(int) - other[:, :, ::-1]).max() > 1


def test_structures_named_by_side_are_not_mirrored(ball_cohort):
    ball_cohort.set_labels({1: "left lens", 2: "kernel"})
    plan = new_plan(ball_cohort, settings("3d"), ["ball_0"])
    assert plan.flip == ()
    assert any("'left lens' distinguishes left from right" in note for note in plan.notes)


def test_a_plan_can_be_edited_before_the_run_begins(ball_cohort):
    from SparseAnnotateLib.learning.training.run_planning import plan_run

    plan_run(ball_cohort, "r", settings("3d"))
    run = RunFolder(ball_cohort.run_folder("r"))
    plan = json.loads(run.plan_path.read_text())
    plan["models"][0].update(patch=[16, 32, 16], iterations=3)
    run.plan_path.write_text(json.dumps(plan))
    card = train(ball_cohort, "r")
    assert card.last.plan.patch == (16, 32, 16)
    assert card.last.iterations == 3


def test_a_mean_teacher_and_mixup_change_what_is_learned_and_resume_exactly(tiny_cohort, monkeypatch):
    from SparseAnnotateLib.runs import AugmentationSettings

    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    more = {"mean_teacher": 1.0, "augmentation": AugmentationSettings(mixup=0.5), "undrawn_share": 0.3}
    three = {"iterations": 3, "validate_every": 3, "precision": "fp32"}
    train(tiny_cohort, "plain", settings("3d", **three))
    train(tiny_cohort, "whole", settings("3d", **three, **more))

    watch = cancelled_at("step 2")
    with pytest.raises(CancelledError):
        train(tiny_cohort, "parts", settings("3d", **three, **more), watch=watch)
    train(tiny_cohort, "parts")
    weights = [
        RunFolder(tiny_cohort.run_folder(n)).weights_path("3d").read_bytes() for n in ("plain", "whole", "parts")
    ]
    assert weights[0] != weights[1] == weights[2]


def test_class_weights_come_from_the_drawn_slices(ball_cohort, tmp_path):
    plan = new_plan(ball_cohort, settings("3d", loss="weighted_ce"), ["ball_0", "ball_1"])
    objective = SupervisedObjective(plan, cases_of(ball_cohort, tmp_path), Ranks())
    weights = objective._class_weights()
    assert weights[0] < weights[1] < weights[2]  # background, shell, kernel: rarer and rarer
    assert weights.mean() == pytest.approx(1.0)


def test_the_boundary_loss_trains_and_its_distances_lie_where_the_slices_lie(ball_cohort, tmp_path):
    card = train(ball_cohort, "r", settings("3d", loss="boundary"))
    assert np.isfinite(card.last.loss)
    cases = training_cases(
        ball_cohort,
        ["ball_0"],
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=tmp_path / "l",
        watch=Watch(),
        with_distances=True,
    )
    patch = PatchSampler(cases, (32, 32, 32), Placing(1.0), seed=0).patches(0, [0])[0].arrays
    drawn = patch["supervised"][0]
    inside = patch["label"][0] == 1
    assert (patch["distances"][1][drawn & inside] <= 0).all()
    shown = drawn & ~inside & (inside & drawn).any((1, 2), keepdims=True)
    assert (patch["distances"][1][shown] > 0).all()


def test_held_out_slices_of_many_planes_belong_to_nobody(ball_cohort, tmp_path):
    labels = ball()
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    ball_cohort.save_annotation("ball_0", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(24)))
    card = train(ball_cohort, "r", settings("ensemble", validation_share=0.2, iterations=2, validate_every=2))
    assert set(card.view_dice) == {"axial", "coronal", "sagittal", "3d"}
    assert max(card.view_weights.values()) == 1.0
    assert all(m.validation_dice is not None for m in card.models)
    # Without a Dice of the average it would take no more than a third in the fill of a volume it has learned from.
    assert card.validation_dice is not None
    assert 0.0 <= card.validation_dice <= 1.0
    # What the average labels beyond the drawn range was not looked at.
    assert card.corrected_dice is None


def test_pseudo_labels_far_from_all_structures_take_no_room_and_are_background(ball_cohort, tmp_path):
    from SparseAnnotateLib.learning.data.patches import extract_patch
    from SparseAnnotateLib.learning.training.pseudo_labels import _box

    sets = np.zeros((2, 60, 70, 80), np.uint8)
    sets[1, 30:33, 40, 50] = 2
    box = _box(sets)
    assert box == (slice(14, 49), slice(24, 57), slice(34, 67))
    sure = np.full(sets.shape, 200, np.uint8)
    path = tmp_path / "kept.npy"
    inside = (slice(None), *box)
    np.save(path, np.stack([sets[inside], sure[inside]]))
    case = replace(cases_of(ball_cohort, tmp_path)[0], pseudo_path=path, pseudo_start=tuple(b.start for b in box))
    for corner in ((28, 38, 48), (0, 0, 0), (40, 50, 60)):
        part = tuple(slice(c, c + 12) for c in corner)
        found, certain = case.pseudo_labels(part)
        np.testing.assert_array_equal(found, sets[(slice(None), *part)])
        kept = np.zeros(sets.shape, bool)
        kept[inside] = True
        np.testing.assert_array_equal(certain, np.where(kept, 200, 255)[(slice(None), *part)])
    patch = extract_patch(case, (-4, 0, 0), (16, 16, 16))
    assert (patch["sets"][:, :4] == 0).all()  # outside the volume
    assert (patch["sets"][:, 4:] == 1).all()  # background
