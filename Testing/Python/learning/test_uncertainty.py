"""How unsure models are of slices."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, CancelledError, Plane, RunError, VolumeGeometry, Watch
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator, _Moments, _weighted_areas
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NetworkShape, TrainingSettings, base_networks

SETTINGS = {**QUICK_TRAINING, "iterations": 2}


@pytest.fixture
def trained(ball_cohort):
    for seed in range(2):
        train(ball_cohort, f"run {seed}", TrainingSettings(**SETTINGS, seed=seed))
    return ball_cohort


def test_the_entropy_of_a_coin_is_1_and_of_a_certainty_0():
    moments = _Moments()
    for p in (1.0, 0.0):
        moments.add(torch.tensor([p, 1 - p])[:, None, None, None])
    assert float(moments.entropy_share()) == pytest.approx(1.0)
    assert float(moments.variance_share()) == pytest.approx(1.0)
    certain = _Moments()
    for _ in range(3):
        certain.add(torch.tensor([1.0, 0.0])[:, None, None, None])
    assert float(certain.entropy_share()) == 0.0
    assert float(certain.variance_share()) == 0.0


def test_what_is_unsure_far_from_a_boundary_counts_more():
    labels = np.zeros((2, 40, 40), np.uint8)
    labels[:, :, 20:] = 1
    near, far = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
    near[0, :, 19] = 1.0
    far[0, :, 2] = 1.0
    geometry = VolumeGeometry.from_spacing(labels.shape, (5.0, 0.5, 0.5))
    areas = [_weighted_areas(u, labels, geometry, 0) for u in (near, far)]
    # 40 pixels of 0.25 mm²; a tenth of them beside the boundary, all ten pixels away from it.
    np.testing.assert_allclose(areas[0], [1.0, 0.0])
    np.testing.assert_allclose(areas[1], [10.0, 0.0])
    np.testing.assert_allclose(_weighted_areas(near, np.zeros_like(labels), geometry, 0), [10.0, 0.0])


def test_one_run_is_sampled_and_the_same_seed_says_the_same(trained):
    first, again, other = (
        UncertaintyEstimator(trained, ["run 0"], samples=3, seed=seed, device="cpu").of_case("ball_0", list(Plane))
        for seed in (0, 0, 1)
    )
    for plane, count in zip(Plane, (24, 28, 32), strict=True):
        assert first.slices[plane].shape == (count,)
        assert (first.slices[plane] > 0).all()
        np.testing.assert_array_equal(first.slices[plane], again.slices[plane])
        assert not np.array_equal(first.slices[plane], other.slices[plane])
    assert first.labels.shape == (24, 28, 32)
    assert set(np.unique(first.labels)) <= {0, 1, 2}


def test_several_runs_disagree_and_a_run_agrees_with_its_copy(trained):
    disagreement = UncertaintyEstimator(trained, ["run 0", "run 1"], device="cpu").of_case("ball_1", [Plane.AXIAL])
    assert (disagreement.slices[Plane.AXIAL] > 0).all()
    shutil.copytree(trained.run_folder("run 0"), trained.run_folder("copy"))
    agreement = UncertaintyEstimator(trained, ["run 0", "copy"], device="cpu").of_case("ball_1", [Plane.AXIAL])
    assert agreement.slices[Plane.AXIAL].max() < 1e-3 * disagreement.slices[Plane.AXIAL].max()


def test_bad_runs_are_refused_in_words(trained, monkeypatch):
    with pytest.raises(BadInputError, match="none is named"):
        UncertaintyEstimator(trained, [])
    with pytest.raises(BadInputError, match="at least 2 samples"):
        UncertaintyEstimator(trained, ["run 0"], samples=1)
    with pytest.raises(RunError, match="does not exist"):
        UncertaintyEstimator(trained, ["run 0", "run 7"], device="cpu")
    path = trained.run_folder("run 1") / "card.json"
    card = json.loads(path.read_text())
    # In an imported run, the same label values may stand for other structures.
    for change in ({"classes": [1]}, {"label_names": {value: f"other {value}" for value in card["label_names"]}}):
        path.write_text(json.dumps({**card, **change}))
        with pytest.raises(BadInputError, match="learned different labels"):
            UncertaintyEstimator(trained, ["run 0", "run 1"], device="cpu")


def test_cancel_is_heard_between_predictions(trained):
    watch = Watch(lambda progress: watch.cancel() if "prediction 2 of 8" in progress.message else None)
    with pytest.raises(CancelledError):
        UncertaintyEstimator(trained, ["run 0"], device="cpu").of_case("ball_0", [Plane.AXIAL], watch)


@pytest.mark.parametrize("name", sorted(base_networks()))
def test_weights_fit_a_network_whatever_its_dropout(name):
    plain, dropping = (build_network(name, NetworkShape(3, (32, 32, 64), dropout=share)) for share in (0.0, 0.3))
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    assert any(isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p == 0.3 for m in dropping.modules())


def test_a_share_that_drops_everything_is_refused():
    with pytest.raises(BadInputError, match="'dropout' is a share"):
        TrainingSettings(dropout=1.0)
