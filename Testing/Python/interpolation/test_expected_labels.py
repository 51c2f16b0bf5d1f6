"""What the drawn slices nearby expect on a single slice."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.planes import slice_layer
from SparseAnnotateLib.interpolation.expected_labels import SUREST, ExpectedLabels

SHAPE = (16, 18, 34)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
LABELS = ball(SHAPE, 7.0) + ball(SHAPE, 3.5)
IMAGE = noisy_image(LABELS)


def drawn(indices, labels=LABELS, plane=Plane.AXIAL) -> SparseAnnotation:
    return SparseAnnotation.from_slices(labels, GEOMETRY, plane, indices)


@pytest.mark.parametrize(
    ("plane", "axis", "indices", "index"), [(Plane.AXIAL, 0, (4, 12), 8), (Plane.SAGITTAL, 2, (12, 22), 17)]
)
def test_between_drawn_slices_it_is_close_to_what_is_there(plane, axis, indices, index):
    odds = ExpectedLabels(drawn(indices, plane=plane), [1, 2], IMAGE).odds(axis, index, [1, 2])
    truth = LABELS[slice_layer(axis, index)]
    assert odds.shape == (2, *truth.shape)
    assert np.abs(odds).max() <= SUREST
    found = odds.max(0) > 0
    both = 2.0 * np.count_nonzero(found & (truth > 0)) / (np.count_nonzero(found) + np.count_nonzero(truth))
    assert both > 0.9


@pytest.mark.parametrize("index", [0, 3, 8, 15])
def test_what_is_drawn_on_the_slice_itself_changes_nothing(index):
    others = [i for i in (0, 3, 6, 8, 12, 15) if i != index]
    without = ExpectedLabels(drawn(others), [1, 2], IMAGE)
    wrong = LABELS.copy()
    wrong[index] = 2 - wrong[index]
    for labels in (LABELS, wrong):
        own = ExpectedLabels(drawn([*others, index], labels), [1, 2], IMAGE)
        np.testing.assert_array_equal(own.odds(0, index, [1, 2]), without.odds(0, index, [1, 2]))


def test_slices_of_another_plane_change_nothing():
    both = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [4, 12])
    ledger = both.ledger.with_state(Plane.SAGITTAL, 17, SliceState.DRAWN)
    crossed = SparseAnnotation(LABELS, ledger, GEOMETRY)
    np.testing.assert_array_equal(
        ExpectedLabels(crossed, [1, 2], IMAGE).odds(0, 8, [1, 2]),
        ExpectedLabels(both, [1, 2], IMAGE).odds(0, 8, [1, 2]),
    )


def test_only_what_it_depends_on_changes_it():
    before = ExpectedLabels(drawn([1, 3, 5, 9, 11, 13]), [1, 2], IMAGE)
    far = ExpectedLabels(drawn([3, 5, 9, 11]), [1, 2], IMAGE)
    np.testing.assert_array_equal(far.odds(0, 7, [1, 2]), before.odds(0, 7, [1, 2]))


def test_with_no_other_slice_nothing_is_known():
    assert not ExpectedLabels(drawn([8]), [1, 2], IMAGE).odds(0, 8, [1, 2]).any()
    assert not ExpectedLabels(drawn([4, 12]), [1, 2], IMAGE).odds(1, 8, [1, 2]).any()
    assert not ExpectedLabels(drawn([]), [1, 2], IMAGE).odds(0, 8, [1, 2]).any()


def test_a_structure_that_no_other_slice_decides_is_unknown_and_one_that_is_absent_is_not():
    ledger = Ledger()
    for index in (4, 12):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=["shell"])
    annotation = SparseAnnotation(np.minimum(LABELS, 1), ledger, GEOMETRY, names={1: "shell", 2: "kernel", 3: "other"})
    odds = ExpectedLabels(annotation, [1, 2], IMAGE).odds(0, 8, [1, 2])
    assert odds[0].max() > 0
    assert not odds[1].any()
    absent = ExpectedLabels(drawn([4, 12]), [1, 2, 7], IMAGE).odds(0, 8, [7])[0]
    assert np.all(absent == -SUREST)


def test_of_several_channels_it_follows_those_that_show_the_structure():
    channels = np.stack([noisy_image(np.zeros_like(LABELS), 1), IMAGE])
    odds = ExpectedLabels(drawn([4, 12]), [1, 2], channels).odds(0, 8, [1, 2])
    found, truth = odds.max(0) > 0, LABELS[8] > 0
    assert 2.0 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)) > 0.9


def test_walks_that_would_take_seconds_are_left_out():
    shape = (150, 120, 120)
    labels = np.zeros(shape, np.uint8)
    labels[:, 30:90, 30:90], labels[70:90, 5:9, 5:9] = 1, 2
    image = np.zeros(shape, np.float32)
    geometry = VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0))
    wide = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [0, 149])
    assert not ExpectedLabels(wide, [1], image).odds(0, 75, [1]).any()
    narrow = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [0, 72, 80, 149])
    assert all(layer.any() for layer in ExpectedLabels(narrow, [1, 2], image).odds(0, 75, [1, 2]))


def test_far_beyond_the_outermost_slice_that_shows_a_structure_nothing_is_known():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 3:15, 3:15] = 1
    odds = ExpectedLabels(drawn([0, 2], labels), [1], IMAGE).odds(0, 15, [1])
    assert not odds.any()
    # Where it was not on that slice either, it is not expected.
    labels[2] = 0
    assert np.all(ExpectedLabels(drawn([0, 2], labels), [1], IMAGE).odds(0, 15, [1]) == -SUREST)
