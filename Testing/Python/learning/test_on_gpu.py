"""Training, prediction, propagation and learned features on a GPU, or a pretend one: the same as on the CPU.

All is small: a pretend GPU is slower than the CPU.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING, ball, noisy_image
from sparse_fills import axial
from SparseAnnotateLib.core import Cohort, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.learning.features.learned_features import FeatureTraining, learned_features
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator
from SparseAnnotateLib.learning.propagation.learned_interpolator import PropagationInterpolator
from SparseAnnotateLib.learning.propagation.slice_matcher import PropagationSettings
from SparseAnnotateLib.learning.training.estimate import stage_seconds
from SparseAnnotateLib.learning.training.losses import SparseLoss, UnknownTable
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.self_training_objective import SelfTrainingObjective
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import LOSSES, NETWORKS, AugmentationSettings, NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

# A GPU adds in another order, and may convolve in TF32.
CLOSE = {"rtol": 2e-2, "atol": 2e-2}
PATCH = (16, 16, 32)
SETTINGS = {
    **QUICK_TRAINING,
    "iterations": 2,
    "validate_every": 2,
    "network": "basic_unet_small",
    "network_2d": "basic_unet_small",
    "patch": PATCH,
    "patch_2d": (16, 32),
    "batch": 1,
    "batch_2d": 2,
    "precision": "fp32",
}
SGD = {"optimizer": "sgd", "nesterov": True, "schedule": "step", "step_at": (1,), "learning_rate": 0.01}
STAGES = ("2d", "3d", "pseudo-labels", "final")


@pytest.fixture(autouse=True)
def same_on_all_devices(monkeypatch):
    """Windows overlap as on a CPU, and steps are not timed beforehand."""
    monkeypatch.setattr("SparseAnnotateLib.learning.prediction.sliding_windows._OVERLAP_ELSEWHERE", 0.25)
    monkeypatch.setattr(
        "SparseAnnotateLib.learning.training.training_run.stage_seconds", lambda *_, **__: dict.fromkeys(STAGES, 1.0)
    )


def trained_on(cohort: Cohort, device: str, **chosen) -> str:
    """The name of a run that was trained there."""
    name = device.partition(":")[0]
    card = train(cohort, name, TrainingSettings(**{**SETTINGS, **chosen, "device": device}))
    assert card.device == device
    return name


def losses(cohort: Cohort, run: str, role: str) -> list[float]:
    return [m["loss"] for m in RunFolder(cohort.run_folder(run)).metrics(role) if "loss" in m]


@pytest.mark.parametrize(
    "chosen",
    [
        {"recipe": "3d", "mean_teacher": 0.5, "iterations": 3},
        {"recipe": "2d", "augmentation": AugmentationSettings(mixup=0.5), "loss": "weighted_ce"},
        {"recipe": "ensemble", "loss": "boundary"},
        {"recipe": "self_training", "network_final": "y_shaped_dense_vox_net_small"},
        {"recipe": "self_training", "network_final": "basic_unet_small", "random_share": 0.0},
        {"network": "dense_vox_net", "auxiliary_weight": 0.33, "initialization": "gaussian", **SGD},
    ],
    ids=["3d", "2d", "ensemble", "y-shaped", "plain", "auxiliary"],
)
def test_every_recipe_trains_as_on_the_cpu(tiny_cohort, gpu, chosen):
    runs = [trained_on(tiny_cohort, device, **chosen) for device in ("cpu", gpu.device)]
    found = RunFolder(tiny_cohort.run_folder(runs[0])).card()
    for model in found.models:
        here, there = (losses(tiny_cohort, run, model.plan.role) for run in runs)
        np.testing.assert_allclose(there, here, **CLOSE)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("sets", [(), ((1,), (1, 2))])
def test_every_loss_and_its_gradient_are_those_of_the_cpu(gpu, name, sets):
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 1, 4, 5, 6))
    supervised = torch.rand(2, 1, 4, 5, 6) > 0.5
    distances = torch.randn(2, 3, 4, 5, 6)
    unknown = torch.randint(0, len(sets) + 1, truth.shape) * (truth == 0)
    found = []
    for device in ("cpu", gpu.device):
        leaf = logits.clone().to(device).requires_grad_()
        loss = SparseLoss(name, torch.tensor([0.5, 1.0, 1.5]), unknown_sets=sets)(
            leaf, truth.to(device), supervised.to(device), distances.to(device), unknown.to(device)
        )
        loss.backward()
        found.append((float(loss.detach()), leaf.grad.cpu().numpy()))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-3)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("is_normalized_as_large", [False, True])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_steps_as_on_the_cpu(gpu, monkeypatch, name, is_normalized_as_large):
    if is_normalized_as_large:
        monkeypatch.setattr("SparseAnnotateLib.learning.networks.normalization.VOXELS_AT_LEAST", 1)
    entry = NETWORKS[name]
    patch = (64, 32) if 2 in entry.dimensions else (32, 32, 32)
    torch.manual_seed(0)
    network = build_network(name, NetworkShape(2, patch)).eval()
    image = torch.randn(1, 3 if entry.takes_pseudo_label else 1, *patch)
    here = network(image)
    (here**2).mean().backward()
    size = torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm()
    network.zero_grad()
    network.to(gpu.device)
    there = network(image.to(gpu.device))
    (there**2).mean().backward()
    on_gpu = [p.grad for p in network.parameters() if p.grad is not None]
    assert {gradient.device for gradient in on_gpu} == {torch.device(gpu.device)}
    np.testing.assert_allclose(there.detach().cpu(), here.detach(), **CLOSE)
    assert float(torch.stack([g.norm() for g in on_gpu]).norm()) == pytest.approx(float(size), rel=5e-2)


def test_pseudo_labels_are_restricted_to_unknown_structures_as_on_the_cpu(gpu):
    objective = SelfTrainingObjective.__new__(SelfTrainingObjective)
    objective._unknown = UnknownTable(((1,), (1, 2)))
    objective.plan = SimpleNamespace(class_count=4)
    torch.manual_seed(0)
    shape = (2, 1, 4, 5, 6)
    unknown, drawn = torch.randint(0, 3, shape), torch.rand(shape) > 0.5
    prior, sets = torch.softmax(torch.randn(2, 4, 4, 5, 6), 1), torch.randint(0, 4, (2, 3, 4, 5, 6))
    found = []
    for device in ("cpu", gpu.device):
        batch = {"unknown": unknown.to(device)}
        given = (drawn.to(device), prior.to(device), sets.to(device))
        found.append([tensor.cpu() for tensor in objective._possible(batch, *given)])
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there.numpy(), here.numpy(), rtol=1e-5)
    mean, chosen = found[0]
    for number, classes in ((1, (0, 1)), (2, (0, 1, 2))):
        partly = (drawn & (unknown == number))[:, 0]
        for c in set(range(4)) - set(classes):
            assert not mean[:, c][partly].any()
            assert not (chosen == c).any(1)[partly].any()
    np.testing.assert_allclose(mean.sum(1).numpy(), 1.0, rtol=1e-5)


def test_structures_unknown_on_some_slices_are_learned_as_on_the_cpu(tmp_path, gpu):
    labels, ledger = ball((24, 28, 32), 9), Ledger()
    labels[ball((24, 28, 32), 5, (12, 14, 9)) > 0] = 2
    for index in range(2, 24, 4):
        known = ("shell",) if index == 10 else ("shell", "kernel")
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=known)
    geometry, names = VolumeGeometry.from_spacing(labels.shape), {1: "shell", 2: "kernel"}
    cohort = Cohort.create(tmp_path / "cohort", "cohort", names)
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation(labels, ledger, geometry, names=names))
    runs = [
        trained_on(cohort, device, recipe="self_training", pseudo_label_target="mean", validation_share=0.0)
        for device in ("cpu", gpu.device)
    ]
    for model in RunFolder(cohort.run_folder(runs[0])).card().models:
        here, there = (losses(cohort, run, model.plan.role) for run in runs)
        np.testing.assert_allclose(there, here, **CLOSE)


def test_the_estimate_times_every_stage(tiny_cohort, gpu):
    settings = TrainingSettings(**{**SETTINGS, "recipe": "ensemble", "device": gpu.device})
    seconds = stage_seconds(new_plan(tiny_cohort, settings, ["a"]), [(16, 18, 34)])
    assert list(seconds) == ["2d", "3d"]
    assert all(value > 0 for value in seconds.values())


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float((one == other).mean())


def test_predictions_of_one_run_are_the_same_on_both(tiny_cohort, gpu):
    chosen = {"recipe": "self_training", "network_final": "y_shaped_dense_vox_net_small"}
    run = trained_on(tiny_cohort, "cpu", **chosen, iterations=4)
    here, there = (
        Predictor(tiny_cohort, run, device, flips=True).predict("a", uncertainty=True) for device in ("cpu", gpu.device)
    )
    assert agreement(here.labels, there.labels) > 0.99
    assert np.abs(here.entropy.astype(int) - there.entropy).mean() < 2
    assert agreement(here.disagreement, there.disagreement) > 0.97


def test_uncertainty_of_samples_and_of_several_runs_is_the_same_on_both(tiny_cohort, gpu):
    runs = []
    for seed in range(2):
        runs.append(f"run {seed}")
        train(tiny_cohort, runs[-1], TrainingSettings(**SETTINGS, seed=seed))
    for names in (runs, runs[:1]):
        here, there = (
            UncertaintyEstimator(tiny_cohort, names, samples=2, device=device).of_case("a", [Plane.AXIAL])
            for device in ("cpu", gpu.device)
        )
        if len(names) > 1:
            assert agreement(here.labels, there.labels) > 0.97
            np.testing.assert_allclose(there.slices[Plane.AXIAL], here.slices[Plane.AXIAL], rtol=0.1)
        # Other random numbers are drawn on a real GPU.
        assert there.slices[Plane.AXIAL].shape == (16,)
        assert (there.slices[Plane.AXIAL] > 0).all()


def test_labels_are_propagated_as_on_the_cpu(gpu):
    labels = ball((9, 26, 28), 6.0)
    image, annotation = noisy_image(labels), axial(labels, [2, 6])
    fills = []
    for device in ("cpu", gpu.device):
        settings = PropagationSettings(steps=2, batch=1, patch=24, channels=8, radius=2, device=device)
        fills.append(PropagationInterpolator(settings=settings).fill(annotation, image))
    assert agreement(fills[0].labels, fills[1].labels) > 0.99
    assert np.abs(fills[0].confidence.astype(int) - fills[1].confidence).mean() < 2


@pytest.mark.parametrize("kind", ["autoencoder", "mae"])
def test_features_are_learned_as_on_the_cpu(tiny_cohort, gpu, kind):
    found = []
    for device in ("cpu", gpu.device):
        training = FeatureTraining(from_scratch=True, steps=2, batch=4, device=device)
        found.append(learned_features(tiny_cohort, ["a"], [Plane.AXIAL], kind, training)["a"][Plane.AXIAL])
        for path in tiny_cohort.cache_folder.rglob("*-*.*"):
            path.unlink()
    assert found[0].shape == found[1].shape
    # What 'mae' hides is drawn on the CPU, so it is the same on both.
    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.02)
