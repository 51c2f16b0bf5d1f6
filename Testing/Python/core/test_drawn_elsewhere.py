from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SparseAnnotateLib.core import Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.drawn_elsewhere import with_drawn_elsewhere

GEOMETRY = VolumeGeometry.from_spacing((6, 5, 4))
NAMES = {1: "liver", 2: "spleen"}
SEVENTH = (Plane.AXIAL, 3)


def empty(names=NAMES) -> SparseAnnotation:
    return SparseAnnotation(np.zeros(GEOMETRY.shape, np.uint8), Ledger(), GEOMETRY, names=names)


def mask(**voxels: int) -> np.ndarray:
    """Labels at places like k3j1i2."""
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    for place, value in voxels.items():
        labels[int(place[1]), int(place[3]), int(place[5])] = value
    return labels


def taken(annotation: SparseAnnotation, labels: np.ndarray, slices=(SEVENTH,), **options) -> SparseAnnotation:
    return with_drawn_elsewhere(annotation, labels, slices, **options).annotation


def test_a_slice_is_drawn_as_the_mask_shows_it_for_all_structures_and_nothing_else_is():
    found = with_drawn_elsewhere(empty(), mask(k3j1i1=1, k4j1i1=2), [SEVENTH, (Plane.AXIAL, 0)])
    assert found.new == (SEVENTH, (Plane.AXIAL, 0))
    annotation = found.annotation
    assert annotation.drawn_labels()[3, 1, 1] == 1
    assert annotation.drawn_labels().sum() == 1
    drawn, checked = annotation.ledger.entry(*SEVENTH), annotation.ledger.entry(Plane.AXIAL, 0)
    assert (drawn.state, drawn.structures) == (SliceState.DRAWN, ("liver", "spleen"))
    assert checked.state is SliceState.EMPTY


def test_a_slice_to_do_keeps_its_place_in_the_worklist():
    annotation = empty()
    todo = annotation.ledger.with_state(*SEVENTH, SliceState.TODO, seconds=4)
    annotation = SparseAnnotation(annotation.labels, todo, GEOMETRY, names=NAMES)
    assert taken(annotation, mask(k3j1i1=1)).ledger.entry(*SEVENTH).seconds == 4


def test_the_same_again_changes_nothing():
    once = taken(empty(), mask(k3j1i1=1))
    found = with_drawn_elsewhere(once, mask(k3j1i1=1), [SEVENTH])
    assert (found.unchanged, found.new, found.changed, found.differing) == ((SEVENTH,), (), (), {})
    assert found.annotation.fingerprint() == once.fingerprint()


def test_what_differs_on_a_slice_or_where_slices_cross_is_counted():
    once = taken(empty(), mask(k3j1i1=1))
    assert with_drawn_elsewhere(once, mask(k3j1i1=2, k3j2i2=1), [SEVENTH]).differing == {SEVENTH: 2}
    crossing = (Plane.CORONAL, 1)
    found = with_drawn_elsewhere(once, mask(), [crossing])
    assert found.differing == {crossing: 1}
    assert found.annotation.drawn_labels()[3, 1, 1] == 0
    empty_slice = taken(empty(), mask())
    crossed = taken(empty_slice, mask(k3j1i1=1), [crossing])
    assert crossed.ledger.entry(*SEVENTH).state is SliceState.DRAWN


def test_structures_come_one_after_another_and_what_was_drawn_of_the_others_stays():
    once = taken(empty(), mask(k3j1i1=1, k3j4i3=2), values=[1])
    assert once.ledger.entry(*SEVENTH).structures == ("liver",)
    assert once.label_values() == [1]
    found = with_drawn_elsewhere(once, mask(k3j2i2=2), [SEVENTH], values=[2])
    assert (found.differing, found.changed) == ({}, (SEVENTH,))
    both = found.annotation
    assert both.ledger.entry(*SEVENTH).structures == ("liver", "spleen")
    assert (both.labels[3, 1, 1], both.labels[3, 2, 2]) == (1, 2)
    assert with_drawn_elsewhere(once, mask(k3j1i1=2), [SEVENTH], values=[2]).differing == {SEVENTH: 1}


def test_an_ignored_voxel_is_undecided_where_it_was_not_decided_before():
    ignored = mask(k3j0i0=1, k3j1i1=1) > 0
    found = taken(empty(), mask(k3j1i1=1, k3j2i2=1), ignored=ignored)
    assert found.undecided.sum() == 2
    assert not found.supervised_mask()[3, 1, 1]
    decided = taken(empty(), mask(k3j1i1=1))
    kept = with_drawn_elsewhere(decided, mask(), [SEVENTH], ignored=ignored)
    assert (kept.unchanged, kept.differing) == ((SEVENTH,), {})
    later = taken(found, mask(k3j1i1=2, k3j2i2=1))
    assert later.undecided is None
    assert later.labels[3, 1, 1] == 2


def test_a_voxel_cannot_become_undecided_for_one_of_its_structures_only():
    once = taken(empty(), mask(k3j1i1=1), values=[1])
    found = with_drawn_elsewhere(once, mask(), [SEVENTH], values=[2], ignored=mask(k3j2i2=1) > 0)
    assert found.unclear == (SEVENTH,)


@pytest.mark.parametrize("values", [None, [1], [2]])
def test_without_names_labels_are_taken_as_they_are(values):
    found = taken(empty(names={}), mask(k3j1i1=1, k3j2i2=7), values=values)
    assert found.ledger.entry(*SEVENTH).structures is None
    assert found.labels[3, 1, 1] == (1 if values != [2] else 0)


slices = st.lists(st.tuples(st.sampled_from(list(Plane)), st.integers(0, 3)), min_size=1, max_size=4, unique=True)


@given(slices, slices, st.sampled_from([[1], [2], [1, 2]]), st.sampled_from([[1], [2], [1, 2]]), st.integers(0, 99))
def test_a_voxel_that_was_decided_changes_only_where_a_difference_is_reported(first, second, before, after, seed):
    rng = np.random.default_rng(seed)
    one, other = (rng.integers(0, 3, GEOMETRY.shape, dtype=np.uint8) for _ in range(2))
    old = taken(empty(), one, first, values=before)
    found = with_drawn_elsewhere(old, other, second, values=after)
    new = found.annotation
    for value in NAMES:
        region = tuple(slice(0, n) for n in GEOMETRY.shape)
        known = old.known_in(region, value)
        changed = known & ((old.drawn_labels() == value) != (new.drawn_labels() == value))
        assert found.differing or not changed.any()
        # Off the slices of the second mask, nothing changes.
        for plane, index in second:
            np.moveaxis(changed, plane.array_axis(GEOMETRY), 0)[index] = False
        assert not changed.any()
        # All that was decided still is; where a structure was erased, a slice may say nothing of the others.
        assert found.differing or not (known & ~new.known_in(region, value)).any()
