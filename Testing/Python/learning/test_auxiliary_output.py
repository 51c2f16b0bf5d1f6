"""The auxiliary output of DenseVoxNet: it is learned from in training, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, CancelledError, Watch
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.model_building import built_network, network_to_train
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.self_training_objective import SelfTrainingObjective
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.learning.weights import load_weights, save_weights
from SparseAnnotateLib.runs import NETWORKS, NetworkShape, TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder

ABLE = [name for name, entry in NETWORKS.items() if entry.has_auxiliary]
WITH = {**QUICK_TRAINING, "network": "dense_vox_net", "auxiliary_weight": 0.33}
SMALL = {
    **WITH,
    "recipe": "self_training",
    "network_2d": "dense_vox_net",
    "network_final": "y_shaped_dense_vox_net_small",
    "patch_2d": (32, 32),
    "batch_2d": 2,
    "iterations": 2,
}


def test_the_dense_networks_have_an_auxiliary_output():
    assert ABLE == ["dense_vox_net", "y_shaped_dense_vox_net", "y_shaped_dense_vox_net_small"]


@pytest.mark.parametrize("name", ABLE)
@pytest.mark.parametrize("patch", [(16, 32, 16), (32, 16)])
def test_it_has_the_shape_of_the_logits_and_is_there_in_training_only(name, patch):
    shape = NetworkShape(3, patch, is_trained_with_auxiliary=True)
    network = build_network(name, shape)
    image = torch.randn(2, 1 + 3 * NETWORKS[name].takes_pseudo_label, *patch)
    logits, auxiliary = network(image)
    assert logits.shape == auxiliary.shape == (2, 3, *patch)
    auxiliary.square().mean().backward()
    learned = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {"rest.auxiliary.weight", "rest.auxiliary.bias", "rest.transition.2.weight"} <= learned
    assert not any(n.startswith(("rest.second", "rest.up_", "rest.classifier")) for n in learned)
    assert isinstance(network.eval()(image), torch.Tensor)


def test_everything_else_begins_with_the_same_weights_and_gives_the_same_logits():
    networks = []
    for wanted in (False, True):
        torch.manual_seed(0)
        shape = NetworkShape(3, (16, 16, 32), is_trained_with_auxiliary=wanted)
        networks.append(build_network("dense_vox_net", shape))
    image = torch.randn(1, 1, 16, 16, 32)
    assert torch.equal(networks[0](image), networks[1](image)[0])


def test_weights_are_kept_without_it_and_fit_the_plain_network(tmp_path):
    shape = NetworkShape(3, (16, 16, 32))
    trained = build_network("dense_vox_net", replace(shape, is_trained_with_auxiliary=True))
    plain = build_network("dense_vox_net", shape)
    save_weights(tmp_path / "w.safetensors", trained)
    load_weights(tmp_path / "w.safetensors", plain)
    image = torch.randn(1, 1, 16, 16, 32)
    assert torch.equal(plain.eval()(image), trained.eval()(image))
    assert not any("auxiliary" in name for name in load_file(tmp_path / "w.safetensors"))
    save_weights(tmp_path / "p.safetensors", plain)
    assert set(load_file(tmp_path / "p.safetensors")) == set(plain.state_dict())


def batch_of(shape=(2, 1, 8, 8, 8)):
    generator = torch.Generator().manual_seed(0)
    supervised = torch.zeros(shape, dtype=torch.bool)
    supervised[:, :, 2] = True
    sets = torch.randint(0, 3, (2, 4, 8, 8, 8), generator=generator).to(torch.uint8) + 1
    return {
        "image": torch.randn(shape, generator=generator),
        "label": torch.randint(0, 3, shape, generator=generator),
        "supervised": supervised,
        "sets": sets,
        "sure": torch.full(sets.shape, 255, dtype=torch.uint8),
        "iteration": torch.tensor(0),
        "number": torch.tensor([0, 1]),
    }


@pytest.mark.parametrize("weight", [0.33, 1.0])
def test_its_loss_is_added_with_its_weight(ball_cohort, weight):
    settings = TrainingSettings(**{**SMALL, "auxiliary_weight": weight, "loss": "ce"})
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    batch = batch_of()
    main, auxiliary = torch.randn(2, 2, 3, 8, 8, 8)
    for objective in (
        SupervisedObjective(plan, [], Ranks()),
        SelfTrainingObjective(plan, [], Ranks(), (0.0, 0.0, 0.0, 1.0)),
    ):
        alone = [float(objective.loss(lambda _, o=o: o, batch, 0.0, None)) for o in (main, auxiliary)]
        both = objective.loss(lambda _: (main, auxiliary), batch, 0.0, None)
        assert float(both) == pytest.approx(alone[0] + weight * alone[1], rel=1e-5)
    expected = SparseLoss("ce")(main, batch["label"], batch["supervised"])
    assert float(SupervisedObjective(plan, [], Ranks()).loss(lambda _: main, batch, 0.0, None)) == float(expected)


def test_a_mean_teacher_is_compared_by_the_logits_alone(ball_cohort):
    settings = TrainingSettings(**{**WITH, "mean_teacher": 1.0})
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    objective = SupervisedObjective(plan, [], Ranks())
    batch = batch_of()
    main, auxiliary, other = torch.randn(3, 2, 3, 8, 8, 8)
    losses = [float(objective.loss(lambda _: (main, auxiliary), batch, 1.0, lambda _, o=o: o)) for o in (main, other)]
    assert losses[1] > losses[0]
    pair = objective.loss(lambda _: (main, auxiliary), batch, 1.0, lambda _: (main, other))
    assert float(pair) == pytest.approx(losses[0])


def test_a_training_with_it_learns_otherwise_resumes_exactly_and_predicts(tiny_cohort, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.learning.training.trainer._REPORT_SECONDS", 0.0)
    settings = TrainingSettings(**{**WITH, "iterations": 2, "batch": 1, "precision": "fp32", "mean_teacher": 0.5})
    card = train(tiny_cohort, "whole", settings)
    watch = Watch(lambda progress: watch.cancel() if progress.message.startswith("step 1") else None)
    with pytest.raises(CancelledError):
        train(tiny_cohort, "parts", settings, watch=watch)
    run = RunFolder(tiny_cohort.run_folder("parts"))
    kept = load_file(run.checkpoint_path("3d"))
    assert any("auxiliary" in name for name in kept)  # to resume
    train(tiny_cohort, "parts")
    train(tiny_cohort, "without", replace(settings, auxiliary_weight=0.0))
    paths = [RunFolder(tiny_cohort.run_folder(n)).weights_path("3d") for n in ("whole", "parts", "without")]
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] != contents[2]
    assert set(load_file(paths[0])) == set(load_file(paths[2]))
    assert np.isfinite(card.last.loss)
    assert Predictor(tiny_cohort, "whole", "cpu").labels("a").shape == (16, 18, 34)


def test_all_models_of_a_self_training_learn_with_it(ball_cohort):
    settings = TrainingSettings(**SMALL)
    plan = new_plan(ball_cohort, settings, ["ball_0"])
    for model in plan.models:
        assert network_to_train(model, plan).rest.auxiliary is not None
        assert built_network(model, plan).rest.auxiliary is None


def test_a_training_without_such_a_network_is_refused_and_one_with_some_is_not(ball_cohort):
    settings = {**QUICK_TRAINING, "network": "basic_unet", "auxiliary_weight": 0.33}
    words = (
        r"'auxiliary_weight' is 0.33, but no network of this training \(basic_unet\) has an auxiliary output\. Choose "
        r"one that has \(dense_vox_net, .*\), or set 'auxiliary_weight' to 0\."
    )
    with pytest.raises(BadInputError, match=words):
        new_plan(ball_cohort, TrainingSettings(**settings), ["ball_0"])
    mixed = TrainingSettings(**{**SMALL, "network_2d": "basic_unet_small"})
    plan = new_plan(ball_cohort, mixed, ["ball_0"])
    assert isinstance(network_to_train(plan.model("2d"), plan)(torch.randn(1, 1, 32, 32)), torch.Tensor)
