"""Many small pieces: how they are paired across a gap depends on neither the volume's orientation nor their order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_fills import axial, discs, filled


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([0, 8]), st.integers(4, 25), st.integers(4, 35)), min_size=1, max_size=9))
def test_flips_flip_the_fill_of_loose_pieces(places):
    labels = discs(*places, shape=(9, 30, 40), radius=1.8)
    plain = filled(axial(labels, [0, 8], (2.0, 1.0, 1.0))).labels
    for axis in (1, 2):
        flipped = filled(axial(np.flip(labels, axis).copy(), [0, 8], (2.0, 1.0, 1.0))).labels
        np.testing.assert_array_equal(np.flip(flipped, axis), plain)


def test_a_piece_between_two_others_equally_far_away_joins_neither():
    labels = discs((0, 15, 20), (8, 15, 10), (8, 15, 30), shape=(9, 30, 40), radius=2.5)
    fill = filled(axial(labels, [0, 8], (2.0, 1.0, 1.0))).labels
    assert fill[1, 15, 20]
    assert not fill[4, 15, 16]
    assert not fill[4, 15, 24]


def test_two_structures_that_pass_each_other_leave_what_lies_between_them_empty():
    labels = discs((0, 20, 20, 1), (0, 20, 34, 2), (15, 20, 34, 1), (15, 20, 48, 2), shape=(16, 40, 60), radius=3.5)
    middle = filled(axial(labels, [0, 15])).labels[7, 20]
    one, two = np.flatnonzero(middle == 1), np.flatnonzero(middle == 2)
    assert len(one)
    assert len(two)
    assert one.max() < two.min()
    assert np.ptp(one) <= 10
    assert np.ptp(two) <= 10
