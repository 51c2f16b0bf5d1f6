"""What drawing has cost and spared."""

from __future__ import annotations

from SparseAnnotateLib.core import Effort, Ledger, Plane, SliceState, VolumeGeometry


def test_minutes_left_and_saved_follow_the_time_slices_have_taken():
    geometry = VolumeGeometry.from_spacing((40, 60, 50))
    ledger = (
        Ledger()
        .with_state(Plane.CORONAL, 3, SliceState.DRAWN, 50.0)
        .with_state(Plane.CORONAL, 9, SliceState.EMPTY, 10.0)
        .with_state(Plane.CORONAL, 20, SliceState.DRAWN)  # not timed
        .with_state(Plane.CORONAL, 30, SliceState.TODO)
        .with_state(Plane.CORONAL, 40, SliceState.SKIPPED)
    )
    effort = Effort.of([(ledger, geometry), (Ledger(), geometry)])
    assert (effort.drawn, effort.to_do, effort.all_slices) == (3, 1, 60 + 40)
    assert effort.seconds == 60.0
    assert effort.seconds_per_slice == 30.0
    assert effort.minutes_left == 0.5
    assert effort.saved_slices == 96
    assert effort.saved_minutes == 48.0
    assert Effort.of([(Ledger(), geometry)], Plane.SAGITTAL).all_slices == 50


def test_without_a_timed_slice_no_minutes_are_promised():
    ledger = Ledger().with_state(Plane.AXIAL, 3, SliceState.DRAWN)
    effort = Effort.of([(ledger, VolumeGeometry.from_spacing((4, 5, 6)))])
    assert effort.minutes_left is None
    assert effort.saved_minutes is None


def test_what_a_slice_was_started_from_stays_with_it():
    ledger = Ledger().with_state(Plane.AXIAL, 3, SliceState.TODO).with_start(Plane.AXIAL, 3, "fill")
    drawn = ledger.with_state(Plane.AXIAL, 3, SliceState.DRAWN, 12.0)
    assert drawn.entry(Plane.AXIAL, 3).started_from == "fill"
    assert ledger.with_recommended([]).entries == ()
    skipped = ledger.with_state(Plane.AXIAL, 3, SliceState.SKIPPED)
    again = skipped.with_recommended([skipped.entries[0]])
    assert again.entry(Plane.AXIAL, 3).started_from == "fill"
