"""Slices drawn in more than one plane: they correct each other, and what contradicts is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_volumes import ball
from sparse_fills import annotation_of, blobs, filled
from SparseAnnotateLib.core import Plane, VolumeGeometry, metrics
from SparseAnnotateLib.interpolation.crossings import contradictions
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator


def cylinder() -> np.ndarray:
    """A straight tube along the first axis."""
    rows, columns = np.indices((40, 40))
    return np.broadcast_to((np.hypot(rows - 20, columns - 20) < 6).astype(np.uint8), (41, 40, 40)).copy()


@pytest.mark.parametrize("coronal", [[5], [0], [20], [14], [5, 35], [5, 12, 20, 28, 35], [0, 39]])
def test_more_slices_that_are_right_do_not_spoil_a_fill(coronal):
    labels = cylinder()
    axial = {Plane.AXIAL: [0, 20, 40]}
    plain = metrics.iou(filled(annotation_of(labels, axial)).labels > 0, labels > 0)
    more = metrics.iou(filled(annotation_of(labels, {**axial, Plane.CORONAL: coronal})).labels > 0, labels > 0)
    assert more >= plain - 0.06


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 12), min_size=2, max_size=5), st.integers(0, 12), st.booleans())
def test_filling_again_is_the_same_as_filling_the_whole(seed, drawn, index, in_another_plane):
    labels = blobs(seed)
    other = {Plane.CORONAL: [12]} if in_another_plane else {}
    before = annotation_of(labels, {Plane.AXIAL: sorted(drawn), **other})
    changed = labels.copy()
    changed[index] = np.roll(labels[index], 2, 1)
    after = annotation_of(changed, {Plane.AXIAL: sorted(drawn | {index}), **other})
    again = ShapeInterpolator().refill(filled(before), after, None, [(Plane.AXIAL, index)])
    whole = filled(after)
    np.testing.assert_array_equal(again.labels, whole.labels)
    np.testing.assert_array_equal(again.confidence, whole.confidence)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_a_fill_from_equally_many_slices_of_two_planes_does_not_depend_on_how_the_volume_is_stored(order):
    standard = blobs(3)
    matrix = np.eye(4)
    matrix[:3, :3] = matrix[:3, list(order)]
    geometry = VolumeGeometry.from_matrix([standard.shape[2 - axis] for axis in order[::-1]], matrix)
    labels = np.ascontiguousarray(geometry.from_standard_order(standard))
    slices = {Plane.AXIAL: [3, 6], Plane.SAGITTAL: [12, 18]}
    found = filled(annotation_of(labels, slices, geometry=geometry)).labels
    differs = geometry.to_standard_order(found) != filled(annotation_of(standard, slices)).labels
    assert np.count_nonzero(differs) < 0.002 * np.count_nonzero(standard)


def test_a_slice_drawn_between_two_neighbours_is_fully_trusted_after_filling_again():
    labels = ball()
    previous = filled(annotation_of(labels, {Plane.AXIAL: [4, 6]}))
    after = annotation_of(labels, {Plane.AXIAL: [4, 5, 6]})
    again = ShapeInterpolator().refill(previous, after, None, [(Plane.AXIAL, 5)])
    np.testing.assert_array_equal(again.confidence, filled(after).confidence)
    assert (again.confidence[5] == 100).all()


def test_when_another_plane_becomes_the_main_one_everything_is_filled_again():
    labels = ball(radius=9.0)
    before = annotation_of(labels, {Plane.AXIAL: [8, 12, 16], Plane.CORONAL: [8, 14, 20]})
    after = annotation_of(labels, {Plane.AXIAL: [8, 12, 16], Plane.CORONAL: [8, 14, 17, 20]})
    again = ShapeInterpolator().refill(filled(before), after, None, [(Plane.CORONAL, 17)])
    np.testing.assert_array_equal(again.labels, filled(after).labels)


def test_crossing_slices_side_by_side_are_compared_with_what_lies_beside_them_all():
    labels = ball((24, 28, 32), 9.0)
    labels[:, 14:16, :] = 0
    annotation = annotation_of(labels, {Plane.AXIAL: [6, 12, 18], Plane.CORONAL: [14, 15]})
    named = {(c.overwritten, c.kept[1]) for c in contradictions(annotation)}
    assert ((Plane.AXIAL, 12), 14) in named
    assert ((Plane.AXIAL, 12), 15) in named


def test_a_structure_one_voxel_thick_in_a_drawn_slice_is_not_taken_for_a_notch():
    labels = np.zeros((21, 40, 40), np.uint8)
    labels[:, 10:30, 15] = 1
    annotation = annotation_of(labels, {Plane.AXIAL: [0, 10, 20], Plane.SAGITTAL: [15]})
    fill = filled(annotation)
    assert metrics.iou(fill.labels > 0, labels > 0) > 0.6
    # It looks like a contradiction, and is asked about as one.
    assert "unless the structure really is that thin" in fill.warnings[0]
