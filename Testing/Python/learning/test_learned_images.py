"""What a run knows of the images that it has learned from, and what is said of an image of another kind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import VolumeGeometry
from SparseAnnotateLib.learning.data import image_facts
from SparseAnnotateLib.learning.data.image_facts import case_facts, learned_images
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.learned_images import ImageFacts, LearnedImages, difference_sentence
from SparseAnnotateLib.runs.run_folder import RunFolder

SHAPE = (20, 22, 24)


def smooth_image(lowest: float = 0.0, highest: float = 100.0) -> np.ndarray:
    """An image with as many voxels of each intensity."""
    return np.linspace(lowest, highest, int(np.prod(SHAPE))).reshape(SHAPE)


def facts_of(image=None, spacing=(1.0, 1.0, 1.0), matrix=None) -> ImageFacts:
    image = smooth_image() if image is None else image
    geometry = VolumeGeometry.from_spacing(image.shape, spacing)
    return ImageFacts.of(image, VolumeGeometry.from_matrix(image.shape, matrix) if matrix is not None else geometry)


def turned(degrees: float) -> np.ndarray:
    angle, matrix = np.deg2rad(degrees), np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def differences(image: ImageFacts, *learned: ImageFacts) -> list[str]:
    images = LearnedImages.of(learned or (facts_of(),))
    assert images is not None
    return images.differences(image)


def test_facts_are_those_of_the_anatomical_axes():
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[0, 1], matrix[1, 2], matrix[3, 3] = -3.0, 1.0, 2.0, 1.0  # i: S, j: R, k: A
    facts = facts_of(matrix=matrix)
    assert facts.spacing == (3.0, 2.0, 1.0)
    assert facts.extent == (72.0, 40.0, 22.0)
    assert facts.tilt == 0
    assert facts.lowest == pytest.approx(1.0, abs=0.1)
    assert facts.histogram == pytest.approx((9 / 98, 24 / 98, 49 / 98, 74 / 98, 89 / 98), abs=0.005)


def test_an_image_like_those_learned_from_is_not_worth_a_word():
    assert differences(facts_of()) == []
    assert difference_sentence(LearnedImages.of([facts_of()]), facts_of()) == ""


def test_the_scale_of_intensities_and_a_small_tilt_do_not_count():
    assert differences(facts_of(smooth_image(300.0, 5000.0))) == []
    assert differences(facts_of(matrix=turned(15))) == []


def test_voxels_more_than_twice_as_long_are_reported_and_just_less_are_not():
    (clause,) = differences(facts_of(smooth_image()[::2], (2.1, 1.0, 1.0)))
    assert clause == "its voxels are 2.1 mm long from top to bottom (learned: 1 mm)"
    assert differences(facts_of(spacing=(1.9, 1.0, 1.0))) == []
    (clause,) = differences(facts_of(np.repeat(smooth_image(), 3, 2), (1.0, 1.0, 0.4)))
    assert clause.startswith("its voxels are 0.4 mm long from left to right")


def test_the_range_of_several_images_counts():
    several = facts_of(), facts_of(spacing=(3.0, 1.0, 1.0))
    assert differences(facts_of(spacing=(5.0, 1.0, 1.0)), *several) == []
    (spacing, extent) = differences(facts_of(spacing=(7.0, 1.0, 1.0)), *several)
    assert "(learned: 1-3 mm)" in spacing
    assert extent == "it covers 140 mm from top to bottom (learned: 20-60 mm)"


def test_an_oblique_image_is_reported():
    (clause,) = differences(facts_of(matrix=turned(30)))
    assert clause == "its axes are 30 degrees oblique (learned: up to 0)"


def test_a_ct_is_told_from_an_mr_and_the_other_way_round():
    ct = facts_of(smooth_image(-1000.0, 900.0))
    (clause,) = differences(ct)
    assert "as in a CT" in clause
    (clause,) = differences(facts_of(), ct)
    assert "learned: CT" in clause
    assert differences(ct, ct) == []


def test_another_distribution_of_intensities_is_reported():
    dark = smooth_image()
    dark[:12] = 0.0
    (clause,) = differences(facts_of(dark))
    assert "distributed differently" in clause


def test_padding_is_no_intensity():
    padded = smooth_image()
    padded[:5] = -32768.0
    assert differences(facts_of(padded)) == []


def test_a_uniform_image_has_facts():
    assert facts_of(np.zeros(SHAPE, dtype=np.uint8)).histogram == (0.0,) * 5


def test_values_near_the_limits_of_their_type_have_facts():
    facts = facts_of(1.7e308 * smooth_image(-1.0, 1.0))
    assert np.isfinite([facts.lowest, facts.highest, *facts.histogram]).all()


def test_a_finished_run_tells_what_its_images_are_like(ball_cohort):
    card = train(ball_cohort, "r", TrainingSettings(**QUICK_TRAINING))
    assert card.images is not None
    assert card.images.count == 2
    assert card.images.spacing == ((2.0, 1.0, 1.0), (2.0, 1.0, 1.0))
    assert card.images.extent[1] == (48.0, 28.0, 32.0)
    assert RunFolder(ball_cohort.run_folder("r")).card().images == card.images
    assert card.images.differences(case_facts(ball_cohort, "ball_0")) == []


def test_a_run_of_an_earlier_version_says_nothing(ball_cohort):
    card = train(ball_cohort, "r", TrainingSettings(**QUICK_TRAINING))
    folder = RunFolder(ball_cohort.run_folder("r"))
    content = json.loads(folder.card_path.read_text(encoding="utf-8"))
    del content["images"]
    folder.card_path.write_text(json.dumps(content), encoding="utf-8")
    assert folder.card() == replace(card, images=None)
    assert difference_sentence(folder.card().images, facts_of(spacing=(9.0, 9.0, 9.0))) == ""


def test_an_image_that_has_been_prepared_for_training_is_not_read_again(ball_cohort, monkeypatch):
    train(ball_cohort, "r", TrainingSettings(**QUICK_TRAINING))
    monkeypatch.setattr(type(ball_cohort), "image", lambda *_: pytest.fail("read again"))
    assert learned_images(ball_cohort, ["ball_0", "ball_1"]).count == 2


def test_facts_that_cannot_be_read_are_computed_again(ball_cohort):
    facts = case_facts(ball_cohort, "ball_0")
    path = image_facts.facts_path(ball_cohort, "ball_0")
    path.write_text("{}", encoding="utf-8")
    assert case_facts(ball_cohort, "ball_0") == facts
    assert "spacing" in path.read_text(encoding="utf-8")


def test_a_training_does_not_fail_because_an_image_has_gone(ball_cohort):
    ball_cohort.image_path("ball_0").unlink()
    assert learned_images(ball_cohort, ["ball_0", "ball_1"]).count == 1
    assert learned_images(ball_cohort, ["ball_0"]) is None
