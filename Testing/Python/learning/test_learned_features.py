"""Learned slice features: the networks, their training, their cache, and the error when weights are not available."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, CancelledError, Cohort, Plane, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.features import learned_features as module
from SparseAnnotateLib.learning.features.learned_features import FeatureTraining, learned_features
from SparseAnnotateLib.learning.features.slice_encoders import SliceAutoencoder, SliceMaskedAutoencoder
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.recommend_request import cohort_features

SHORT = FeatureTraining(from_scratch=True, steps=3, batch=8, device="cpu")
NAMES = ("ball_0", "ball_1")


@pytest.mark.parametrize("kind", ["autoencoder", "mae"])
def test_features_are_learned_once_and_then_found_in_the_cache(ball_cohort, kind, monkeypatch):
    first = learned_features(ball_cohort, NAMES, [Plane.AXIAL, Plane.CORONAL], kind, SHORT)
    assert first["ball_0"][Plane.AXIAL].shape[0] == 24
    assert first["ball_1"][Plane.CORONAL].shape[0] == 28
    assert np.isfinite(first["ball_1"][Plane.CORONAL]).all()
    assert np.ptp(first["ball_0"][Plane.AXIAL], axis=0).max() > 0
    with monkeypatch.context() as patched:
        patched.setattr(module, "build_encoder", None)
        again = learned_features(ball_cohort, NAMES, [Plane.AXIAL], kind, SHORT)
    np.testing.assert_array_equal(again["ball_0"][Plane.AXIAL], first["ball_0"][Plane.AXIAL])
    # A plane requested for the first time uses the cached network.
    with monkeypatch.context() as patched:
        patched.setattr(module._Encoder, "_train", None)
        learned_features(ball_cohort, NAMES, [Plane.SAGITTAL], kind, SHORT)


@pytest.mark.parametrize("kind", ["autoencoder", "mae"])
def test_the_same_seed_learns_the_same_features(ball_cohort, kind):
    first = learned_features(ball_cohort, NAMES, [Plane.AXIAL], kind, SHORT)["ball_0"][Plane.AXIAL]
    for path in ball_cohort.cache_folder.rglob("*"):
        if path.is_file():
            path.unlink()
    second = learned_features(ball_cohort, NAMES, [Plane.AXIAL], kind, SHORT)["ball_0"][Plane.AXIAL]
    np.testing.assert_array_equal(first, second)
    other = FeatureTraining(from_scratch=True, steps=3, batch=8, device="cpu", seed=1)
    third = learned_features(ball_cohort, NAMES, [Plane.AXIAL], kind, other)["ball_0"][Plane.AXIAL]
    assert not np.allclose(first, third)


def test_the_order_in_which_cases_are_named_does_not_matter(ball_cohort):
    first = learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", SHORT)
    files = [p for p in ball_cohort.cache_folder.rglob("*") if p.is_file()]
    for path in files:
        path.unlink()
    second = learned_features(ball_cohort, NAMES[::-1], [Plane.AXIAL], "mae", SHORT)
    for name in NAMES:
        np.testing.assert_array_equal(first[name][Plane.AXIAL], second[name][Plane.AXIAL])


def test_a_trained_network_needs_no_connection(ball_cohort, monkeypatch):
    expected = {"features.0.weight": torch.full((4, 3, 32, 32), 0.01), "features.0.bias": torch.zeros(4)}
    fake_torchvision(monkeypatch, lambda progress, check_hash: expected)
    training = FeatureTraining(steps=2, batch=8, device="cpu")
    asked = FeatureTraining(steps=2, batch=8, device="cpu", download_weights=True)
    learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", asked)

    def offline(progress, check_hash):
        raise URLError("no route to host")

    fake_torchvision(monkeypatch, offline)
    learned_features(ball_cohort, NAMES, [Plane.CORONAL], "autoencoder", training)


def test_features_of_another_version_and_a_damaged_network_are_learned_again(ball_cohort, monkeypatch):
    first = learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", SHORT)["ball_0"][Plane.AXIAL]
    weights = next(ball_cohort.cache_folder.rglob("*.safetensors"))
    weights.write_bytes(b"damaged")
    for path in ball_cohort.cache_folder.rglob("mae-*/*.npy"):
        path.unlink()
    again = learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", SHORT)["ball_0"][Plane.AXIAL]
    np.testing.assert_array_equal(first, again)
    monkeypatch.setattr(module, "_VERSION", 99)
    learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", SHORT)
    assert len(list(ball_cohort.cache_folder.rglob("*.safetensors"))) == 2


@pytest.mark.parametrize("network", [SliceAutoencoder, SliceMaskedAutoencoder])
def test_learning_restores_slices_better_than_their_mean(network):
    torch.manual_seed(0)
    encoder = network()
    positions = torch.linspace(0, 1, encoder.size)
    shifts = torch.rand(16, 1, 1, 1)
    pictures = torch.sigmoid(20 * (positions - shifts)).expand(16, 1, encoder.size, encoder.size).contiguous()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=encoder.learning_rate)
    for _ in range(40):
        optimizer.zero_grad()
        loss = encoder.loss(encoder.prepared(pictures), pictures)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.7 * float((pictures - pictures.mean(0)).square().mean())


def test_progress_is_reported_and_cancel_takes_effect(ball_cohort):
    reports = []
    learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", SHORT, Watch(reports.append))
    assert any("step 3 of 3" in r.message and "loss" in r.metrics for r in reports)
    assert [r.fraction for r in reports] == sorted(r.fraction for r in reports)
    watch = Watch(lambda progress: watch.cancel() if "step 2" in progress.message else None)
    other = FeatureTraining(from_scratch=True, steps=9, batch=8, device="cpu")
    with pytest.raises(CancelledError):
        learned_features(ball_cohort, NAMES, [Plane.AXIAL], "mae", other, watch)


def test_slices_without_contrast_have_no_features_and_are_not_learned_from(ball_cohort):
    image = noisy_image(ball())
    image[:5] = 7.0
    ball_cohort.add_case("cut", image, VolumeGeometry.from_spacing(image.shape))
    features = learned_features(ball_cohort, ("cut",), [Plane.AXIAL], "mae", SHORT)["cut"][Plane.AXIAL]
    assert not features[:5].any()
    assert features[5:].any(axis=1).all()
    ball_cohort.add_case("nothing", np.zeros((4, 5, 6), np.uint8), VolumeGeometry.from_spacing((4, 5, 6)))
    with pytest.raises(BadInputError, match="nothing to learn from"):
        learned_features(ball_cohort, ("nothing",), [Plane.AXIAL], "mae", SHORT)


def fake_torchvision(monkeypatch, get_state_dict):
    """A torchvision whose VGG-19 is one small convolution; its weights come from `get_state_dict`."""

    def vgg19():
        return SimpleNamespace(features=network.features, load_state_dict=network.load_state_dict)

    network = nn.Module()
    network.features = nn.Sequential(nn.Conv2d(3, 4, 32, stride=32))
    weights = SimpleNamespace(url="https://example.org/vgg19.pth", get_state_dict=get_state_dict)
    models = SimpleNamespace(vgg19=vgg19, VGG19_Weights=SimpleNamespace(IMAGENET1K_V1=weights))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    return network


def test_pretrained_convolutions_stay_as_they_are(ball_cohort, monkeypatch):
    expected = {"features.0.weight": torch.full((4, 3, 32, 32), 0.01), "features.0.bias": torch.zeros(4)}
    network = fake_torchvision(monkeypatch, lambda progress, check_hash: expected)
    training = FeatureTraining(steps=3, batch=8, device="cpu", download_weights=True)
    found = learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", training)
    assert found["ball_0"][Plane.AXIAL].shape == (24, 64)
    torch.testing.assert_close(dict(network.state_dict()), expected)


def test_without_network_access_a_sentence_says_what_to_do(ball_cohort, monkeypatch):
    def offline(progress, check_hash):
        raise URLError("no route to host")

    fake_torchvision(monkeypatch, offline)
    asked = FeatureTraining(device="cpu", download_weights=True)
    with pytest.raises(BadInputError, match="could not be fetched .*no route to host.*from scratch"):
        learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", asked)


def test_nothing_is_downloaded_unless_it_was_asked_for(ball_cohort, monkeypatch, tmp_path):
    calls = []

    def kept(progress, check_hash):
        calls.append(1)
        return {"features.0.weight": torch.full((4, 3, 32, 32), 0.01), "features.0.bias": torch.zeros(4)}

    fake_torchvision(monkeypatch, kept)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    training = FeatureTraining(steps=3, batch=8, device="cpu")
    with pytest.raises(BadInputError) as refused:
        learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", training)
    assert not calls
    for words in (
        "548 MB from 'https://example.org/vgg19.pth'",
        "--download-weights",
        "'intensity'",
        "--from-scratch",
    ):
        assert words in str(refused.value)
    # A copy that was downloaded before is used without asking.
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg19.pth").touch()
    learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", training)
    assert calls


def test_the_request_says_whether_weights_may_be_downloaded(ball_cohort, monkeypatch):
    asked = []

    def learned(cohort, names, planes, kind, training, watch, channels):
        asked.append(training.download_weights)
        raise BadInputError("That is all.")

    monkeypatch.setattr(module, "learned_features", learned)
    for may in (False, True):
        request = requests.RecommendRequest(
            str(ball_cohort.folder),
            budget=Budget(total=2),
            strategy="representative",
            features="autoencoder",
            download_weights=may,
        )
        with pytest.raises(BadInputError, match="That is all"):
            requests.recommend(request, Watch())
    assert asked == [False, True]


def test_without_torchvision_nothing_is_learned_from_scratch_unasked(ball_cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(BadInputError, match="torchvision, which is not installed.*'intensity'"):
        learned_features(ball_cohort, NAMES, [Plane.AXIAL], "autoencoder", FeatureTraining(device="cpu"))


def test_no_steps_and_no_seed_are_refused():
    with pytest.raises(BadInputError, match="seed must be between"):
        FeatureTraining(seed=-1)
    with pytest.raises(BadInputError, match="at least one step"):
        FeatureTraining(steps=0)


@pytest.mark.parametrize("kind", ["autoencoder", "mae"])
def test_each_channel_has_features_of_its_own(tmp_path, kind):
    shape = (9, 12, 14)
    geometry = VolumeGeometry.from_spacing(shape)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    images[1, :4] = 0.0
    for number, image in enumerate(images):
        write_image(tmp_path / f"{number}.nrrd", image, geometry)
    cohort = Cohort.create(tmp_path / "cohort", "two", {1: "one"}, channels=("first", "second"))
    cohort.add_case("a", tmp_path / "0.nrrd", further={"second": tmp_path / "1.nrrd"})
    both = learned_features(cohort, ["a"], [Plane.AXIAL], kind, SHORT, channels=cohort.channels)["a"][Plane.AXIAL]
    first, second = np.split(both, 2, axis=1)
    assert first.any(axis=1).all()
    # The mean over all slices is 0, and slices without contrast in a channel show nothing in it.
    assert second.any(axis=1).tolist() == [False] * 4 + [True] * 5
    np.testing.assert_allclose(both.sum(axis=0), 0.0, atol=1e-4)


@pytest.mark.parametrize("kind", ["intensity", "mae"])
def test_a_slice_that_the_first_channel_shows_blank_has_no_features(tmp_path, kind):
    """Noise in another channel shows nothing in air."""
    shape = (9, 12, 14)
    geometry = VolumeGeometry.from_spacing(shape)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    images[0, 6:] = 0.0
    for number, image in enumerate(images):
        write_image(tmp_path / f"{number}.nrrd", image, geometry)
    found = {}
    for channels in (("first",), ("first", "second")):
        cohort = Cohort.create(tmp_path / "-".join(channels), "x", {1: "one"}, channels=channels)
        cohort.add_case("a", tmp_path / "0.nrrd", further=dict.fromkeys(channels[1:], tmp_path / "1.nrrd"))
        settings = requests.RecommendRequest(
            str(cohort.folder), budget=Budget(total=2), features=kind, feature_steps=2, device="cpu"
        )
        features = cohort_features(cohort, ["a"], [Plane.AXIAL], settings, Watch())["a"][Plane.AXIAL]
        found[len(channels)] = features.any(axis=1).tolist()
    assert found[2] == found[1] == [True] * 6 + [False] * 3


def test_recommending_looks_at_all_channels_with_learned_features(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "two", {1: "one"}, channels=("first", "second"))
    image, geometry = noisy_image(ball()), VolumeGeometry.from_spacing(ball().shape)
    for name in ("first", "second"):
        write_image(tmp_path / f"{name}.nrrd", image, geometry)
    cohort.add_case("a", tmp_path / "first.nrrd", further={"second": tmp_path / "second.nrrd"})
    cohort.add_case("b", tmp_path / "second.nrrd")
    settings = requests.RecommendRequest(
        str(cohort.folder), budget=Budget(total=2), features="mae", feature_steps=2, device="cpu"
    )
    found = {}
    for names in (["a"], ["a", "b"]):
        features = cohort_features(cohort, names, [Plane.AXIAL], settings, Watch())
        found[len(names)] = features["a"][Plane.AXIAL].shape[1]
    # 'b' lacks the second channel, so nothing can be compared in it.
    assert found == {1: 256, 2: 128}
