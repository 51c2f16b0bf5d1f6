from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_volumes import ball
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Ledger,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
    metrics,
)
from SparseAnnotateLib.interpolation import interpolator_named

ISOTROPIC = VolumeGeometry.from_spacing((24, 28, 32))


def fill(labels, geometry, slices: dict[Plane, list[int]], watch=None):
    ledger = Ledger()
    for plane, indices in slices.items():
        for index in indices:
            ledger = ledger.with_state(plane, index, SliceState.DRAWN)
    annotation = SparseAnnotation(labels, ledger, geometry)
    return interpolator_named("shape").fill(annotation, None, watch), annotation


@given(st.integers(0, 100), st.data())
def test_drawn_slices_are_bit_exact_whatever_is_drawn_in_whatever_planes(seed, data):
    shape = (6, 7, 8)
    labels = np.random.default_rng(seed).integers(0, 4, shape).astype(data.draw(st.sampled_from([np.uint8, np.uint16])))
    slices = {p: sorted(data.draw(st.sets(st.integers(0, 5), max_size=4))) for p in Plane}
    if not any(slices.values()):
        return
    filled, annotation = fill(labels, VolumeGeometry.from_spacing(shape, (3, 1, 0.5)), slices)
    drawn = annotation.supervised_mask()
    np.testing.assert_array_equal(filled.labels[drawn], labels[drawn])
    assert filled.labels.dtype == labels.dtype
    assert filled.confidence.dtype == np.uint8
    assert (filled.confidence[drawn] == 100).all()
    assert (filled.confidence > 0).all()
    assert (filled.confidence[~drawn] < 100).all()
    assert set(np.unique(filled.labels)) <= set(annotation.label_values()) | {0}


@pytest.mark.parametrize("plane", list(Plane))
def test_a_ball_drawn_at_every_fourth_slice_comes_back_in_any_plane(plane):
    labels = ball(ISOTROPIC.shape, 9.0)
    filled, _ = fill(labels, ISOTROPIC, {plane: list(range(1, plane.slice_count(ISOTROPIC), 4))})
    assert metrics.dice(filled.labels > 0, labels > 0) > 0.93


def test_a_second_plane_makes_the_fill_better():
    labels = ball(ISOTROPIC.shape, 9.0)
    one, _ = fill(labels, ISOTROPIC, {Plane.AXIAL: [5, 12, 19]})
    two, _ = fill(labels, ISOTROPIC, {Plane.AXIAL: [5, 12, 19], Plane.CORONAL: [7, 14, 21]})
    score = [metrics.dice(f.labels > 0, labels > 0) for f in (one, two)]
    assert score[1] > score[0] + 0.02


def test_half_way_between_two_discs_lies_the_disc_of_mean_radius():
    labels = np.zeros((11, 41, 41), np.uint8)
    distance = np.hypot(*(np.indices((41, 41)) - 20))
    labels[0], labels[10] = distance < 6, distance < 14
    filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape), {Plane.AXIAL: [0, 10]})
    radius = np.sqrt(filled.labels[5].sum() / np.pi)
    assert radius == pytest.approx(10, abs=0.5)


def test_distances_count_in_millimetres():
    # The same ellipse on a grid with pixels twice as long: the outline half-way must be the same in mm.
    widths = []
    for pixel in (1.0, 2.0):
        count = int(40 / pixel) + 1
        rows, columns = np.meshgrid(np.arange(41) - 20, (np.arange(count) - (count - 1) / 2) * pixel, indexing="ij")
        labels = np.zeros((9, 41, count), np.uint8)
        labels[0], labels[8] = np.hypot(rows, columns) < 6, np.hypot(rows, columns) < 14
        filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape, (1, 1, pixel)), {Plane.AXIAL: [0, 8]})
        widths.append(filled.labels[4, 20].sum() * pixel)
    assert widths[1] == pytest.approx(widths[0], abs=2.0)


def test_touching_labels_neither_gap_nor_overlap_in_between():
    labels = np.zeros((9, 30, 30), np.uint8)
    labels[0, 5:25, 5:12], labels[0, 5:25, 12:25] = 1, 2
    labels[8, 5:25, 5:18], labels[8, 5:25, 18:25] = 1, 2
    filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape), {Plane.AXIAL: [0, 8]})
    middle = filled.labels[4, 5:25, 5:25]
    assert (middle > 0).all()
    assert (middle == 1).sum() == pytest.approx(20 * 10, abs=20)


def test_a_structure_on_one_slice_only_fades_out_half_way():
    labels = np.zeros((11, 30, 30), np.uint8)
    labels[0, 10:20, 10:20] = 1
    filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape), {Plane.AXIAL: [0, 10]})
    areas = filled.labels.sum(axis=(1, 2))
    assert areas[2] > 0
    assert (np.diff(areas.astype(int)) <= 0).all()
    assert not areas[6:].any()


def test_beyond_the_last_drawn_slice_a_structure_never_grows_and_ends_within_a_gap():
    labels = np.zeros((40, 30, 30), np.uint8)
    labels[14, 8:20, 8:20], labels[20, 10:22, 10:22] = 1, 1
    filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape), {Plane.AXIAL: [14, 20]})
    areas = filled.labels.sum(axis=(1, 2)).astype(int)
    assert areas[21] > 0
    assert (np.diff(areas[20:]) <= 0).all()
    assert not areas[26:].any()
    assert not areas[:9].any()


def test_an_oblique_flipped_volume_is_filled_along_its_own_axes():
    labels = ball((20, 24, 28), 8.0)
    geometry = VolumeGeometry.from_matrix(
        labels.shape, [[-0.8, 0.6, 0, 3], [0.6, 0.8, 0, 4], [0, 0, -2, 5], [0, 0, 0, 1]]
    )
    plain, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape, (2, 1, 1)), {Plane.AXIAL: [4, 8, 12, 16]})
    turned, _ = fill(labels, geometry, {Plane.AXIAL: [4, 8, 12, 16]})
    np.testing.assert_array_equal(turned.labels, plain.labels)


def test_confidence_falls_with_distance_and_with_disagreement():
    labels = np.zeros((11, 20, 20), np.uint8)
    labels[0, 5:10, 5:10], labels[10, 5:15, 5:15] = 1, 1
    filled, _ = fill(labels, VolumeGeometry.from_spacing(labels.shape), {Plane.AXIAL: [0, 10]})
    agreeing, disagreeing = (filled.confidence[:, n, n].astype(int) for n in (0, 12))
    assert (np.diff(agreeing[:6]) < 0).all()
    assert (disagreeing[1:10] < agreeing[1:10]).all()


def test_only_empty_slices_fill_to_nothing_and_no_drawn_slice_is_an_error():
    nothing = np.zeros((5, 6, 7), np.uint8)
    geometry = VolumeGeometry.from_spacing(nothing.shape)
    filled, _ = fill(nothing, geometry, {Plane.AXIAL: [2]})
    assert not filled.labels.any()
    with pytest.raises(BadInputError, match="No slice"):
        fill(nothing, geometry, {})


def test_filling_can_be_cancelled():
    watch = Watch()
    watch.cancel()
    with pytest.raises(CancelledError):
        fill(ball(ISOTROPIC.shape), ISOTROPIC, {Plane.AXIAL: [5, 12]}, watch)


def test_an_unknown_interpolator_is_refused_with_the_known_ones():
    with pytest.raises(BadInputError, match="choose one of .*shape"):
        interpolator_named("magic")
