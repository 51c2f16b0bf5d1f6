from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
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
    counts = [metrics.intersection_and_union(*pair) for pair in (counted(1, 0, 1, 2), counted(7, 1, 3, 14))]
    assert counts == [(1, 2), (7, 11)]
    assert metrics.batched_iou(counts) == pytest.approx(8 / 13)


def test_two_empty_masks_agree_and_one_empty_mask_does_not():
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert metrics.dice(empty, empty) == metrics.iou(empty, empty) == 1.0
    assert metrics.batched_iou([metrics.intersection_and_union(empty, empty)]) == metrics.batched_iou([]) == 1.0
    assert metrics.dice(empty, full) == metrics.iou(full, empty) == 0.0
    assert metrics.boundary_figures(empty, empty, (1, 1, 1)) == metrics.BoundaryFigures(0.0, 0.0, 0.0)
    for one, other in ((empty, full), (full, empty)):
        assert metrics.boundary_figures(one, other, (1, 1, 1)) == metrics.BoundaryFigures(*[math.inf] * 3)


def test_distances_of_two_voxels_count_in_millimetres_of_each_axis():
    a, b = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    a[1, 1, 1], b[3, 1, 2] = True, True
    expected = math.hypot(2 * 2.5, 1 * 0.5)
    found = metrics.boundary_figures(a, b, (2.5, 1.0, 0.5))
    assert found.hausdorff == pytest.approx(expected)
    assert found.hausdorff_95 == pytest.approx(expected)
    assert found.average == pytest.approx(expected)


def test_average_boundary_distance_is_the_mean_over_both_boundaries():
    a, b = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
    a[..., [0, 1]], b[..., 1] = True, True
    # From a: 1 and 0 voxels; from b: 0. Two millimetres a voxel.
    found = metrics.boundary_figures(a, b, (1, 1, 2.0))
    assert found.average == pytest.approx(2.0 / 3)
    assert found.hausdorff == pytest.approx(2.0)


@given(MASKS, MASKS, st.tuples(*[st.floats(0.5, 4.0)] * 3))
def test_distances_agree_with_monai(prediction, reference, spacing):
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    if not (prediction.any() and reference.any()):
        return
    import torch

    p, r = (torch.as_tensor(m)[None, None] for m in (prediction, reference))
    found = metrics.boundary_figures(prediction, reference, spacing)
    for percentile, ours in ((None, found.hausdorff), (95, found.hausdorff_95)):
        theirs = compute_hausdorff_distance(p, r, include_background=True, percentile=percentile, spacing=spacing)
        assert ours == pytest.approx(float(theirs), rel=1e-4)
    there, back = metrics.boundary_distances(prediction, reference, spacing)
    asd = compute_average_surface_distance(p, r, include_background=True, spacing=spacing)
    assert there.mean() == pytest.approx(float(asd), rel=1e-4)
    assert back.size > 0


def test_hvsmr_score_adds_dice_and_takes_off_distances_class_by_class():
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[1:3], reference[4] = 1, 2
    geometry = VolumeGeometry.from_spacing(reference.shape)
    assert compare_labels("c", reference, reference, geometry).hvsmr_score == pytest.approx(1.0)
    shifted = np.roll(reference, 1, axis=0)
    p, r = shifted == 1, reference == 1
    one = metrics.dice(p, r) / 2 - metrics.boundary_figures(p, r, (1, 1, 1)).average / 4 - 1 / 30
    two = 0.0 / 2 - 1 / 4 - 1 / 30
    assert compare_labels("c", shifted, reference, geometry).hvsmr_score == pytest.approx(one + two)


def test_hvsmr_score_agrees_with_a_published_table():
    # Zheng et al. 2020, table 1: the first and the last row.
    unet, ours = ((0.694, 1.461, 10.221), (0.926, 0.940, 8.628)), ((0.830, 0.678, 3.614), (0.937, 0.770, 7.034))
    assert metrics.hvsmr_overall_score(unet) == pytest.approx(-0.419, abs=2e-3)
    assert metrics.hvsmr_overall_score(ours) == pytest.approx(0.166, abs=2e-3)


def test_scores_of_a_case_without_any_structure_are_unknown_and_a_missing_structure_has_the_worst():
    empty, full = np.zeros((3, 4, 5), np.uint8), np.ones((3, 4, 5), np.uint8)
    geometry = VolumeGeometry.from_spacing(empty.shape)
    nothing = compare_labels("c", empty, empty, geometry)
    assert (nothing.hvsmr_score, nothing.rand_f_score, nothing.iou) == (None, None, None)
    assert compare_labels("c", empty, full, geometry).hvsmr_score == -math.inf


@given(arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3)), arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3)))
def test_rand_f_score_agrees_with_scikit_image(prediction, reference):
    if not reference.any():
        return
    # scikit-image leaves out the pair of a voxel with itself; with every voxel there 300 times that no longer shows.
    truth, found = (np.repeat(labels.ravel(), 300) for labels in (reference, prediction))
    # It takes all voxels that are 0 in the prediction for one object; here each is one of its own.
    alone = np.where(found == 0, 10 + np.arange(found.size), found)
    error, _, _ = adapted_rand_error(truth, alone, ignore_labels=(0,))
    assert metrics.adapted_rand_f_score(found, truth) == pytest.approx(1 - error, abs=0.01)


def test_rand_f_score_of_a_split_object_by_hand():
    reference, prediction = np.array([1, 1, 1, 1]), np.array([1, 1, 2, 2])
    # Merge score 8 / 8, split score 8 / 16.
    assert metrics.adapted_rand_f_score(prediction, reference) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert metrics.adapted_rand_f_score(reference, reference) == 1.0
    nothing = np.zeros(4, int)
    assert metrics.adapted_rand_f_score(nothing, nothing) == 1.0
    assert metrics.adapted_rand_f_score(prediction, nothing) == 0.0


def test_rand_f_score_of_missed_and_merged_objects_by_hand():
    reference = np.array([1, 1, 1, 2, 2, 0, 0])
    # Merged: 9 + 4 pairs in both, 25 in the prediction, 13 in the reference. What is labelled outside does not count.
    merged = np.array([7, 7, 7, 7, 7, 7, 0])
    assert metrics.adapted_rand_f_score(merged, reference) == pytest.approx(2 * 13 / (25 + 13))
    # One object missed: each of its three voxels is an object of its own, so 3 + 4 pairs in both and the prediction.
    missed = np.array([0, 0, 0, 2, 2, 0, 0])
    assert metrics.adapted_rand_f_score(missed, reference) == pytest.approx(2 * 7 / (7 + 13))
    assert metrics.adapted_rand_f_score(0 * reference, np.ones(1000, int)[:7]) == pytest.approx(2 * 7 / (7 + 49))


def test_objects_are_the_pieces_of_each_label_whose_faces_touch():
    labels = np.array([[1, 1, 0, 1], [5, 5, 1, 0]], np.uint8)[None]
    found = metrics.objects_of(labels)
    assert found.dtype == np.int32
    assert sorted(np.unique(found).tolist()) == [0, 1, 2, 3, 4]
    assert found[0, 0, 0] == found[0, 0, 1] != found[0, 0, 3]
    assert found[0, 1, 0] == found[0, 1, 1]
    assert ((found == 0) == (labels == 0)).all()


def test_the_rand_score_of_a_comparison_notices_two_objects_of_a_structure_that_have_grown_together():
    reference = np.zeros((4, 9, 9), np.uint8)
    reference[:, 1:4, 1:8], reference[:, 5:8, 1:8] = 1, 1
    joined = reference.copy()
    joined[:, 4, 4] = 1
    geometry = VolumeGeometry.from_spacing(reference.shape)
    size = 4 * 3 * 7
    assert compare_labels("c", reference, reference, geometry).rand_f_score == 1.0
    found = compare_labels("c", joined, reference, geometry)
    assert found.rand_f_score == pytest.approx(2 * (2 * size**2) / ((2 * size) ** 2 + 2 * size**2))
    assert found.dice > 0.98
    # Labels that are not compared are no objects.
    other = np.where(joined == 0, 3, joined).astype(np.uint8)
    assert compare_labels("c", other, reference, geometry, [1]).rand_f_score == found.rand_f_score


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


def test_added_path_length_counts_the_contour_that_was_missing():
    square = np.zeros((12, 12), dtype=bool)
    square[3:8, 3:8] = True  # a contour of 16 pixels
    nothing = np.zeros_like(square)
    assert metrics.added_path_length(nothing, square) == 16
    assert metrics.added_path_length(square, square) == 0
    assert metrics.added_path_length(square, nothing) == 0, "erasing is not drawing"
    shifted = np.roll(square, 1, axis=1)
    # The sides across the shift are missing, less what the top and bottom share.
    assert metrics.added_path_length(square, shifted) == 8
    assert metrics.added_path_length(shifted, square) == 8
    assert metrics.added_path_length(square, shifted, tolerance=1) == 0
    assert metrics.added_path_length(square, np.roll(square, 2, axis=1), tolerance=1) == 6
    assert metrics.added_path_length(nothing, square, tolerance=1) == 16
    with pytest.raises(BadInputError, match="differ in size"):
        metrics.added_path_length(square, square[1:])
    at_the_border = np.ones((4, 4), dtype=bool)
    assert metrics.added_path_length(np.zeros_like(at_the_border), at_the_border) == 12


@given(MASKS, MASKS, st.tuples(*[st.floats(0.5, 4.0)] * 3), st.floats(0.0, 9.0))
def test_surface_dice_agrees_with_monai(prediction, reference, spacing, tolerance):
    from monai.metrics import compute_surface_dice

    if not (prediction.any() and reference.any()):
        return
    distances = np.concatenate(metrics.boundary_distances(prediction, reference, spacing))
    assume(np.abs(distances - tolerance).min() > 1e-3)  # at the tolerance itself, rounding decides
    import torch

    p, r = (torch.as_tensor(m)[None, None] for m in (prediction, reference))
    theirs = compute_surface_dice(p, r, [tolerance], include_background=True, spacing=spacing)
    ours = metrics.boundary_figures(prediction, reference, spacing, tolerance).surface_dice
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_surface_dice_of_masks_a_voxel_apart():
    a, b = np.zeros((1, 1, 9), bool), np.zeros((1, 1, 9), bool)
    a[..., 2], b[..., 3] = True, True
    spacing = (1.0, 1.0, float(np.float32(1.2)))  # as NIfTI keeps it: a little more than 1.2
    assert metrics.boundary_figures(a, b, spacing, 1.2).surface_dice == 1.0
    assert metrics.boundary_figures(a, b, spacing, 1.1).surface_dice == 0.0
    assert metrics.boundary_figures(a, b, spacing).surface_dice is None
    nothing = np.zeros_like(a)
    assert metrics.boundary_figures(nothing, nothing, spacing, 1.0).surface_dice == 1.0
    assert metrics.boundary_figures(a, nothing, spacing, 1.0).surface_dice == 0.0
