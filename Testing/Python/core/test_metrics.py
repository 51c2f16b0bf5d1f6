from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error

from SparseAnnotateLib.core import BadInputError, VolumeGeometry, compare_labels, metrics

MASKS = arrays(bool, (4, 5, 6), elements=st.booleans())


def counted(tp, fp, fn, tn):
    prediction = np.array([True] * tp + [True] * fp + [False] * fn + [False] * tn)
    reference = np.array([True] * tp + [False] * fp + [True] * fn + [False] * tn)
    return prediction, reference


def test_dice_and_iou_of_a_case_counted_by_hand():
    prediction, reference = counted(tp=7, fp=1, fn=3, tn=14)
    assert metrics.dice(prediction, reference) == pytest.approx(0.7778, abs=5e-5)
    assert metrics.iou(prediction, reference) == pytest.approx(0.6364, abs=5e-5)


def test_batched_iou_sums_over_the_cohort_before_it_divides():
    pairs = [counted(1, 0, 1, 2), counted(7, 1, 3, 14)]
    assert metrics.batched_iou(pairs) == pytest.approx(8 / 13)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert metrics.dice(empty, empty) == metrics.iou(empty, empty) == 1.0
    assert metrics.batched_iou([(empty, empty)]) == 1.0
    assert metrics.dice(empty, full) == metrics.iou(full, empty) == 0.0
    for distance in (metrics.hausdorff_distance, metrics.hausdorff_distance_95, metrics.average_boundary_distance):
        assert distance(empty, empty, (1, 1, 1)) == 0.0
        assert distance(empty, full, (1, 1, 1)) == distance(full, empty, (1, 1, 1)) == math.inf


def test_distances_of_two_voxels_count_in_millimetres_of_each_axis():
    a, b = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    a[1, 1, 1], b[3, 1, 2] = True, True
    expected = math.hypot(2 * 2.5, 1 * 0.5)
    assert metrics.hausdorff_distance(a, b, (2.5, 1.0, 0.5)) == pytest.approx(expected)
    assert metrics.hausdorff_distance_95(a, b, (2.5, 1.0, 0.5)) == pytest.approx(expected)
    assert metrics.average_boundary_distance(a, b, (2.5, 1.0, 0.5)) == pytest.approx(expected)


def test_average_boundary_distance_is_the_mean_over_both_boundaries():
    a, b = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
    a[..., [0, 1]], b[..., 1] = True, True
    # From a: 1 and 0 voxels; from b: 0. Two millimetres a voxel.
    assert metrics.average_boundary_distance(a, b, (1, 1, 2.0)) == pytest.approx(2.0 / 3)
    assert metrics.hausdorff_distance(a, b, (1, 1, 2.0)) == pytest.approx(2.0)


@given(MASKS, MASKS, st.tuples(*[st.floats(0.5, 4.0)] * 3))
def test_distances_agree_with_monai(prediction, reference, spacing):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    if not (prediction.any() and reference.any()):
        return
    import torch

    p, r = (torch.as_tensor(m)[None, None] for m in (prediction, reference))
    for percentile, ours in ((None, metrics.hausdorff_distance), (95, metrics.hausdorff_distance_95)):
        theirs = compute_hausdorff_distance(p, r, include_background=True, percentile=percentile, spacing=spacing)
        assert ours(prediction, reference, spacing) == pytest.approx(float(theirs), rel=1e-4)
    there, back = metrics.boundary_distances(prediction, reference, spacing)
    asd = compute_average_surface_distance(p, r, include_background=True, spacing=spacing)
    assert there.mean() == pytest.approx(float(asd), rel=1e-4)
    assert back.size > 0


def test_hvsmr_score_adds_dice_and_takes_off_distances_class_by_class():
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:3], reference[4] = 1, 2
    assert metrics.hvsmr_overall_score(reference, reference, (1, 1, 1), (1, 2)) == pytest.approx(1.0)
    shifted = np.roll(reference, 1, axis=0)
    p, r = shifted == 1, reference == 1
    one = metrics.dice(p, r) / 2 - metrics.average_boundary_distance(p, r, (1, 1, 1)) / 4 - 1 / 30
    two = 0.0 / 2 - 1 / 4 - 1 / 30
    assert metrics.hvsmr_overall_score(shifted, reference, (1, 1, 1), (1, 2)) == pytest.approx(one + two)


@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3)), arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3)))
def test_rand_f_score_agrees_with_scikit_image(prediction, reference):
    if not reference.any():
        return
    # scikit-image leaves out the pair of a voxel with itself; with every voxel there 300 times that no longer shows.
    many = [np.repeat(labels.ravel(), 300) for labels in (reference, prediction)]
    error, _, _ = adapted_rand_error(*many, ignore_labels=(0,))
    assert metrics.adapted_rand_f_score(prediction, reference) == pytest.approx(1 - error, abs=0.01)


def test_rand_f_score_of_a_split_object_by_hand():
    reference, prediction = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    # Merge score 8 / 8, split score 8 / 16.
    assert metrics.adapted_rand_f_score(prediction, reference) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert metrics.adapted_rand_f_score(reference, reference) == 1.0
    nothing = np.zeros(4, int)
    assert metrics.adapted_rand_f_score(nothing, nothing) == 1.0
    assert metrics.adapted_rand_f_score(prediction, nothing) == 0.0


def test_masks_of_different_size_are_refused():
    with pytest.raises(BadInputError, match="the same grid"):
        metrics.dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_a_comparison_lists_every_label_of_the_reference_with_volumes_in_millilitres():
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[:5], reference[5:] = 1, 7
    figures = compare_labels("c", reference, reference, VolumeGeometry.from_spacing(reference.shape, (2, 1, 1)))
    assert [f.label for f in figures.labels] == [1, 7]
    assert figures.dice == 1.0
    assert figures.hd95_mm == 0.0
    assert figures.labels[0].reference_volume_ml == pytest.approx(1.0)
    missing = compare_labels("c", np.zeros_like(reference), reference, VolumeGeometry.from_spacing(reference.shape))
    assert missing.dice == 0.0
    assert missing.hd95_mm == math.inf
