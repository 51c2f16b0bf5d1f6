"""Structures that are hardly drawn, or in one case only: said before training, and after it where they are missed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.training import supervised_objective
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.learning.training.validation import unpredicted_classes
from SparseAnnotateLib.runs import TrainingSettings

SETTINGS = TrainingSettings(**QUICK_TRAINING)


@pytest.fixture
def cohort(tmp_path):
    """Two cases with a ball; the first one also has a structure of 3 voxels, and the second one another ball."""
    made = Cohort.create(tmp_path / "c", "c", {1: "ball", 5: "speck", 9: "other ball"})
    geometry = VolumeGeometry.from_spacing((24, 28, 32))
    for name in ("a", "b"):
        labels = ball()
        if name == "a":
            labels[12, 2, 2:5] = 5
        else:
            labels[ball(radius=5.0, centre=(12, 6, 26)) > 0] = 9
        made.add_case(name, noisy_image(labels), geometry)
        made.save_annotation(name, SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [8, 12, 16]))
    return made


def test_a_structure_of_3_voxels_is_warned_of_before_training(cohort):
    notes = new_plan(cohort, SETTINGS, ["a", "b"]).notes
    assert (
        "'speck' is drawn on only 3 voxels, too little to learn it reliably: the model may never find it. Draw it on "
        "more slices." in notes
    )
    assert not any("'ball' is drawn on only" in note for note in notes)


def test_structures_that_one_case_only_shows_are_named_and_trained(cohort):
    note = "Drawn in one case only, so that the model may not find it in others: 'other ball'."
    assert note in new_plan(cohort, SETTINGS, ["a", "b"]).notes
    assert note not in new_plan(cohort, SETTINGS, ["b"]).notes  # there is nothing to compare with
    card = train(cohort, "r", SETTINGS)
    assert card.classes == (1, 5, 9)
    assert np.isfinite(card.last.loss)


def test_a_structure_that_the_model_never_finds_is_in_the_notes_of_the_run(cohort, monkeypatch):
    def as_if(model, cases, watch, *weights):
        assert {case.name for case in cases} == {"a", "b"}
        return [2]

    monkeypatch.setattr(supervised_objective, "unpredicted_classes", as_if)
    notes = train(cohort, "r", replace(SETTINGS, iterations=1)).notes
    assert (
        "The '3d' model does not find 'speck', not even on the drawn slice that shows most of it. Draw it on more "
        "slices, or train longer." in notes
    )


class Bright(torch.nn.Module):
    """Finds class 1 where the image is bright, and no other."""

    def forward(self, image):
        return torch.cat([torch.zeros_like(image), image - 0.5, torch.full_like(image, -9.0)], 1)


@pytest.mark.parametrize(("role", "patch"), [("2d", (16, 32)), ("3d", (16, 16, 32))])
def test_what_a_model_does_not_find_is_looked_for_on_the_slice_that_shows_most_of_it(role, patch):
    labels = np.zeros((40, 50, 60), np.uint8)
    labels[30, 40:44, 50:54] = 1
    labels[10, 3:9, 3:9] = 2
    labels[11, 3, 3] = 1  # not the slice with most of it
    image = np.zeros(labels.shape, np.float16)
    image[30, 40:44, 50:54] = 1.0
    image += 1e-3 * np.random.default_rng(0).normal(size=image.shape)

    class Case:
        name, slices, held_out = "a", ((0, 10), (0, 11)), ((0, 30),)

        def decided_on(self, axis, index):
            return np.ones((50, 60), bool)

    case = Case()
    case.labels, case.image, case.shape = labels, image, image.shape
    from SparseAnnotateLib.core import Watch

    model = TrainedModel(role, Bright(), patch, 3, "cpu", planes=(0,))
    assert unpredicted_classes(model, [case], Watch()) == [2]
    image[10, 3:9, 3:9] = 0.0
    image[30, 40:44, 50:54] = 0.0
    assert unpredicted_classes(model, [case], Watch()) == [1, 2]
