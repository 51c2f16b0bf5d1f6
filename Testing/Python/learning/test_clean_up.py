"""Clean-up of predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.learning.prediction.clean_up import CleanUp, cleaned
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.stray_pieces import DrawnVoxels
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings


def test_clean_up_keeps_the_largest_piece_and_smooths_what_sticks_out():
    classes = np.zeros((20, 20, 20), np.uint8)
    classes[4:14, 4:14, 4:14] = 1
    classes[17, 17, 17] = 1
    classes[4:8, 15:18, 4:8] = 2
    largest = cleaned(classes, 3, (1, 1, 1), CleanUp(largest_component=True)).classes
    assert largest[17, 17, 17] == 0
    np.testing.assert_array_equal(largest[:16], classes[:16])
    spiked = classes.copy()
    spiked[9, 9, 14:17] = 1
    smooth = cleaned(spiked, 3, (1, 1, 1), CleanUp(smoothing=1.0)).classes
    assert not smooth[9, 9, 15:].any()
    assert smooth[9, 9, 9] == 1
    np.testing.assert_array_equal(cleaned(classes, 3, (1, 1, 1), CleanUp()).classes, classes)


def test_a_piece_that_a_person_has_drawn_a_part_of_is_no_stray_piece():
    classes = np.zeros((9, 12, 12), np.uint8)
    classes[:, 1:6, 1:6] = 1  # the largest
    classes[3:6, 8:10, 8:10] = 1  # drawn on slice 4
    classes[1, 11, 0] = 1  # stray
    mask = np.zeros(classes.shape, bool)
    mask[4] = True
    drawn = classes.copy()
    drawn[4, 1:6, 1:6] = 2  # the person sees another structure in the midst of the first
    clean_up = CleanUp(largest_component=True)
    by_hand = DrawnVoxels(np.where(mask, drawn, 0), mask, ((0, 4),))
    found = cleaned(classes, 3, (1, 1, 1), clean_up, by_hand).classes
    np.testing.assert_array_equal(found[4], drawn[4])
    assert (found[[3, 5], 8:10, 8:10] == 1).all()
    assert not found[1, 11, 0]
    # Without anything drawn the largest piece stays alone.
    assert not cleaned(classes, 3, (1, 1, 1), clean_up).classes[:, 8:].any()


@pytest.mark.parametrize("flips", [False, True])
def test_drawn_slices_stay_as_drawn_whatever_is_done_to_a_prediction(ball_cohort, flips):
    settings = TrainingSettings(**{**QUICK_TRAINING, "recipe": "ensemble", "patch_2d": (16, 32), "batch_2d": 2})
    train(ball_cohort, "r", settings)
    annotation = ball_cohort.annotation("ball_0")
    labels = annotation.labels.copy()
    labels[2, 0, 0], labels[6, :3, :3] = 2, 1  # pieces that no clean-up would leave
    labels[10, 5, 5] = 77  # a label that the run does not know
    ball_cohort.save_annotation("ball_0", replace(annotation, labels=labels))
    predictor = Predictor(ball_cohort, "r", "cpu", flips)
    drawn = annotation.supervised_mask()
    for clean_up in (CleanUp(), CleanUp(True), CleanUp(True, 3.0)):
        found = predictor.predict("ball_0", clean_up=clean_up, uncertainty=True)
        np.testing.assert_array_equal(found.labels[drawn], labels[drawn])
        assert not found.entropy[drawn].any()
        assert not found.disagreement[drawn].any()


def test_smoothing_a_prediction_does_not_depend_on_which_number_a_structure_has():
    # The middle column is as near to the one as to the other.
    classes = np.array([1, 1, 1, 1, 0, 2, 2, 2, 2], np.uint8).reshape(1, 1, 9).repeat(5, 0).repeat(5, 1)
    found = []
    for table in (np.array([0, 1, 2], np.uint8), np.array([0, 2, 1], np.uint8)):
        smoothed = cleaned(table[classes], 3, (1, 1, 1), CleanUp(smoothing=2.0)).classes
        assert smoothed[2, 2, 4]
        found.append(table[smoothed])
    np.testing.assert_array_equal(found[0], found[1])
