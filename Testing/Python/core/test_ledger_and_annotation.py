from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SparseAnnotateLib.core import (
    BadInputError,
    Ledger,
    LedgerEntry,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.oracle import drawn_from_reference

GEOMETRY = VolumeGeometry.from_spacing((6, 8, 10), (2.0, 1.0, 1.0))


def labels(seed=0):
    return np.random.default_rng(seed).integers(0, 3, GEOMETRY.shape).astype(np.uint8)


def test_an_empty_drawn_slice_counts_as_background():
    nothing = np.zeros(GEOMETRY.shape, np.uint8)
    annotation = SparseAnnotation.from_slices(nothing, GEOMETRY, Plane.AXIAL, [2])
    assert annotation.ledger.entry(Plane.AXIAL, 2).state is SliceState.EMPTY
    assert annotation.supervised_mask()[2].all()
    assert annotation.supervised_mask().sum() == 80


def test_what_stands_off_the_drawn_slices_is_never_read():
    a = labels()
    b = a.copy()
    b[[0, 1, 3, 4, 5]] = 9
    first, second = (SparseAnnotation.from_slices(x, GEOMETRY, Plane.AXIAL, [2]) for x in (a, b))
    np.testing.assert_array_equal(first.drawn_labels(), second.drawn_labels())
    assert first.fingerprint() == second.fingerprint()
    assert second.label_values() == [1, 2]
    b[2, 0, 0] += 1
    assert second.fingerprint() != first.fingerprint()


@given(st.sets(st.integers(0, 5), max_size=4), st.sets(st.integers(0, 7), max_size=4), st.sets(st.integers(0, 9)))
def test_density_is_the_share_of_supervised_voxels_for_any_planes(axial, coronal, sagittal):
    ledger = Ledger()
    for plane, indices in ((Plane.AXIAL, axial), (Plane.CORONAL, coronal), (Plane.SAGITTAL, sagittal)):
        for index in indices:
            ledger = ledger.with_state(plane, index, SliceState.DRAWN)
    annotation = SparseAnnotation(labels(), ledger, GEOMETRY)
    assert annotation.density() == pytest.approx(annotation.supervised_mask().mean())


def test_recommending_again_keeps_what_is_decided_and_forgets_what_was_to_do():
    ledger = Ledger().with_recommended([LedgerEntry(Plane.AXIAL, i, order=i + 1) for i in range(4)])
    ledger = ledger.with_state(Plane.AXIAL, 0, SliceState.DRAWN, 12.5).with_state(Plane.AXIAL, 1, SliceState.SKIPPED)
    again = ledger.with_recommended([LedgerEntry(Plane.AXIAL, i) for i in (0, 1, 5)])
    states = {e.index: e.state for e in again.entries}
    assert states == {0: SliceState.DRAWN, 1: SliceState.TODO, 5: SliceState.TODO}
    assert again.seconds == 12.5


def test_seconds_add_up_over_several_visits():
    ledger = Ledger().with_state(Plane.AXIAL, 3, SliceState.DRAWN, 10).with_state(Plane.AXIAL, 3, SliceState.DRAWN, 5)
    assert ledger.entry(Plane.AXIAL, 3).seconds == 15
    assert ledger.indices(Plane.AXIAL) == [3]
    assert ledger.indices(Plane.CORONAL) == []


def test_a_slice_outside_the_volume_is_refused_with_the_range_there_is():
    with pytest.raises(BadInputError, match="the volume only has axial slices 0 to 5"):
        SparseAnnotation(labels(), Ledger((LedgerEntry(Plane.AXIAL, 6, SliceState.DRAWN),)), GEOMETRY)


def test_nothing_drawn_and_only_empty_slices_are_two_different_sentences():
    undrawn = SparseAnnotation(labels(), Ledger(), GEOMETRY)
    with pytest.raises(BadInputError, match="No slice of 'case 7' has been drawn"):
        undrawn.require_drawn("case 7")
    empty = SparseAnnotation.from_slices(np.zeros(GEOMETRY.shape, np.uint8), GEOMETRY, Plane.AXIAL, [1])
    empty.require_drawn("case 7")
    with pytest.raises(BadInputError, match="All drawn slices of 'case 7' are empty"):
        empty.require_labels("case 7")


def test_restoring_drawn_slices_touches_nothing_else():
    annotation = SparseAnnotation.from_slices(labels(), GEOMETRY, Plane.CORONAL, [1, 6])
    result = np.full(GEOMETRY.shape, 7, np.uint8)
    annotation.restore_drawn(result)
    np.testing.assert_array_equal(result[:, [1, 6]], labels()[:, [1, 6]])
    assert (np.delete(result, [1, 6], axis=1) == 7).all()


def test_the_oracle_changes_nothing_that_was_drawn_before():
    by_hand = np.full(GEOMETRY.shape, 2, np.uint8)
    ledger = Ledger().with_state(Plane.CORONAL, 3, SliceState.DRAWN).with_recommended([LedgerEntry(Plane.AXIAL, 1)])
    drawn = drawn_from_reference(SparseAnnotation(by_hand, ledger, GEOMETRY), np.ones(GEOMETRY.shape, np.uint8))
    assert (drawn.labels[:, 3] == 2).all()
    assert (np.delete(drawn.labels[1], 3, axis=0) == 1).all()


def test_the_oracle_draws_just_the_slices_that_are_to_do():
    reference = labels()
    reference[3] = 0
    ledger = Ledger().with_recommended([LedgerEntry(Plane.AXIAL, i) for i in (1, 3)])
    drawn = drawn_from_reference(SparseAnnotation(np.zeros_like(reference), ledger, GEOMETRY), reference)
    assert [e.state for e in drawn.ledger.entries] == [SliceState.DRAWN, SliceState.EMPTY]
    np.testing.assert_array_equal(drawn.drawn_labels()[1], reference[1])
    assert not drawn.labels[[0, 2, 4, 5]].any()
