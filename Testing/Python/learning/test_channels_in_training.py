"""Models that see several channels."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.learning.data.growing_cases import GrowingCases
from SparseAnnotateLib.learning.data.training_cases import normalise, normalised_image
from SparseAnnotateLib.learning.networks.build import build_network
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.uncertainty import UncertaintyEstimator
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import NETWORKS, TrainingSettings
from SparseAnnotateLib.runs.cards import RunCard
from SparseAnnotateLib.runs.network import NetworkShape
from SparseAnnotateLib.runs.run_folder import RunFolder

SHAPE = (16, 20, 36)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
LABELS = ball(SHAPE, 6.0)


def cohort_of(folder, seen=1, names="ab", channels=("empty", "shown")):
    """The ball can be seen in the channel of number `seen` only; the others are noise."""
    rng = np.random.default_rng(5)
    cohort = Cohort.create(folder, "balls", {1: "ball"}, channels=channels)
    for name in names:
        images = [rng.normal(size=SHAPE).astype(np.float32) * 10 for _channel in channels]
        images[seen] += 100.0 * LABELS
        paths = {}
        for channel, image in zip(channels[1:], images[1:], strict=True):
            paths[channel] = folder / "images" / f"{name} {channel}.nrrd"
            write_image(paths[channel], image, GEOMETRY)
        cohort.add_case(name, images[0], GEOMETRY, further=paths)
        cohort.save_annotation(name, SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
    return Cohort.open(folder)


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_normalised_image_has_the_channels_in_the_order_asked_for(tmp_path):
    cohort = cohort_of(tmp_path / "c")
    parts = {c: normalise(cohort.channel_image("a", c, GEOMETRY), "z_score") for c in cohort.channels}
    standard = {c: GEOMETRY.to_standard_order(part) for c, part in parts.items()}
    for order in (("empty", "shown"), ("shown", "empty")):
        found = normalised_image(cohort, "a", "z_score", order)
        assert np.array_equal(found, np.stack([standard[c] for c in order]))
    for alone in cohort.channels:
        assert np.array_equal(normalised_image(cohort, "a", "z_score", (alone,)), standard[alone])


@pytest.mark.parametrize("recipe", ["3d", "2d", "ensemble"])
def test_a_model_learns_from_the_channel_that_shows_the_structure(tmp_path, recipe):
    cohort = cohort_of(tmp_path / "c")
    settings = TrainingSettings(
        **{**QUICK_TRAINING, "iterations": 60, "patch": (16, 16, 32)}, recipe=recipe, patch_2d=(32, 32), batch_2d=4
    )
    card = train(cohort, "r", settings)
    assert card.channels == ("empty", "shown")
    predictor = Predictor(cohort, "r", "cpu")
    assert dice(predictor.labels("a") == 1, LABELS == 1) > 0.6
    assert RunFolder(cohort.run_folder("r")).card().channels == ("empty", "shown")


def test_self_training_with_all_its_networks_sees_all_channels(tmp_path):
    cohort = cohort_of(tmp_path / "c")
    small = {**QUICK_TRAINING, "iterations": 2, "patch": (16, 16, 32)}
    settings = TrainingSettings(
        **small, recipe="self_training", patch_2d=(32, 32), network_final="y_shaped_dense_vox_net"
    )
    train(cohort, "r", settings)
    found = Predictor(cohort, "r", "cpu", flips=True).predict("b", uncertainty=True)
    assert found.labels.shape == SHAPE
    assert found.entropy.shape == SHAPE
    assert UncertaintyEstimator(cohort, ["r"], device="cpu").of_case("a", [Plane.AXIAL]).labels.shape == SHAPE


@pytest.mark.parametrize(("name", "dimensions"), [(n, d) for n, entry in NETWORKS.items() for d in entry.dimensions])
def test_every_network_takes_channels(name, dimensions):
    entry = NETWORKS[name]
    patch = entry.smallest_patch(dimensions)
    network = build_network(name, NetworkShape(3, patch, image_channels=2)).eval()
    more = 3 if entry.takes_pseudo_label else 0
    with torch.inference_mode():
        assert network(torch.randn(1, 2 + more, *patch)).shape == (1, 3, *patch)


def test_a_run_sees_the_channels_by_name_also_in_a_cohort_with_another_order(tmp_path):
    first = cohort_of(tmp_path / "c")
    settings = TrainingSettings(**QUICK_TRAINING)
    train(first, "r", settings)
    labels = Predictor(first, "r", "cpu").labels("a")
    other = Cohort.create(tmp_path / "d", "balls", {1: "ball"}, channels=("shown", "empty"))
    paths = first.channel_paths("a")
    other.add_case("a", paths["shown"], further={"empty": paths["empty"]})
    other.save_annotation("a", first.annotation("a"))
    (tmp_path / "d/runs").mkdir(parents=True)
    (first.run_folder("r")).rename(other.run_folder("r"))
    assert np.array_equal(Predictor(Cohort.open(tmp_path / "d"), "r", "cpu").labels("a"), labels)


def test_what_a_run_needs_and_a_cohort_lacks_is_said_by_name(tmp_path):
    cohort = cohort_of(tmp_path / "c")
    train(cohort, "r", TrainingSettings(**QUICK_TRAINING))
    single = Cohort.create(tmp_path / "single", "single", {1: "ball"})
    single.add_case("a", cohort.image_path("a"))
    named = Cohort.create(tmp_path / "named", "named", {1: "ball"}, channels=("shown",))
    named.add_case("a", cohort.channel_paths("a")["shown"])
    for other, words in (
        (single, "channels empty, shown, but the cohort 'single' has images without named channels"),
        (named, "needs the channel 'empty', which the cohort 'named' does not have"),
    ):
        (other.folder / "runs").mkdir(exist_ok=True)
        run = other.run_folder("r")
        run.mkdir(parents=True, exist_ok=True)
        for path in cohort.run_folder("r").rglob("*"):
            target = run / path.relative_to(cohort.run_folder("r"))
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        with pytest.raises(BadInputError, match=words):
            Predictor(other, "r", "cpu").labels("a")


def test_a_case_without_a_channel_is_named_before_the_training(tmp_path):
    cohort = cohort_of(tmp_path / "c")
    cohort.add_case("c", cohort.image_path("a"))
    cohort.save_annotation("c", cohort.annotation("a"))
    with pytest.raises(BadInputError, match="channel 'shown' is missing in 1 case: 'c'. Add it, or leave the case out"):
        train(cohort, "r", TrainingSettings(**QUICK_TRAINING))
    assert not cohort.run_folder("r").joinpath("plan.json").exists()
    train(cohort, "r", TrainingSettings(**QUICK_TRAINING), ["a", "b"])


def test_cards_of_runs_without_channels_are_as_before(ball_cohort):
    train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 2}))
    for file in ("card.json", "plan.json"):
        assert "channels" not in json.loads((ball_cohort.run_folder("r") / file).read_text())
    card: RunCard = RunFolder(ball_cohort.run_folder("r")).card()
    assert card.image_channels == 1
    assert replace(card, channels=("a", "b")).image_channels == 2


def add_channel_elsewhere(cohort, names, first=""):
    for name in names:
        write_image(cohort.folder / f"{name} more.nrrd", np.ones(SHAPE, np.float32) + LABELS, GEOMETRY)
    Cohort.open(cohort.folder).add_channel("more", {n: cohort.folder / f"{n} more.nrrd" for n in names}, first)


@pytest.mark.parametrize("channels", [(), ("empty", "shown")])
def test_a_run_is_resumed_with_its_channels_when_another_one_was_added(tmp_path, channels):
    cohort = cohort_of(tmp_path / "c", channels=channels or ("shown",), seen=0)
    if not channels:
        plain = Cohort.create(tmp_path / "plain", "balls", {1: "ball"})
        for name in "ab":
            plain.add_case(name, cohort.image_path(name))
            plain.save_annotation(name, cohort.annotation(name))
        cohort = plain
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 4})

    def stop(progress):
        if progress.metrics:
            raise CancelledError

    with pytest.raises(CancelledError):
        train(cohort, "r", settings, watch=Watch(stop))
    add_channel_elsewhere(cohort, "a", "" if channels else "first")
    now = Cohort.open(cohort.folder)
    assert now.channels == (*(channels or ("first",)), "more")
    card = train(now, "r", settings)
    assert card.channels == channels
    assert Predictor(now, "r", "cpu").labels("b").shape == SHAPE


def test_a_live_training_goes_on_with_its_channels_when_another_one_was_added(tmp_path):
    cohort = cohort_of(tmp_path / "c")
    data = GrowingCases(cohort, (), TrainingSettings(**QUICK_TRAINING), tmp_path / "kept", channels=cohort.channels)
    data.use(data.read(Watch()), {1: 1}, Watch())
    add_channel_elsewhere(cohort, "a")
    for name in "ab":
        more = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 2))
        Cohort.open(cohort.folder).save_annotation(name, more)
    assert data.have_changed()
    found = data.read(Watch())
    assert sorted(found) == ["a", "b"]
    data.use(found, {1: 1}, Watch())
    assert (data.unreadable, [case.image.shape[0] for case in data.cases]) == ({}, [2, 2])
    assert [len(case.slices) for case in data.cases] == [7, 7]
