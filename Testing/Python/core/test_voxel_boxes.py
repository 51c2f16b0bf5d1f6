"""Boxes around what an array holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from SparseAnnotateLib.core import pieces
from SparseAnnotateLib.core.voxel_boxes import bounding_box, boxes_of_values, enclosing_box


@given(npst.arrays(st.sampled_from([bool, np.uint8, np.uint16]), st.tuples(*[st.integers(1, 5)] * 3)))
def test_a_bounding_box_is_the_smallest_that_holds_everything(array):
    box = bounding_box(array)
    if box is None:
        assert not array.any()
        return
    places = np.argwhere(array)
    assert [part.start for part in box] == places.min(axis=0).tolist()
    assert [part.stop - 1 for part in box] == places.max(axis=0).tolist()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_views_with_other_axes_have_their_own_box(axes):
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 2:5, 3] = 7
    box = bounding_box(np.transpose(array, axes))
    assert box == tuple([slice(1, 3), slice(2, 5), slice(3, 4)][axis] for axis in axes)


def test_a_box_around_boxes_reaches_as_far_as_all_of_them():
    one, other = (slice(0, 2), slice(3, 4), slice(5, 6)), (slice(1, 4), slice(0, 1), slice(5, 7))
    assert enclosing_box([one, other]) == (slice(0, 4), slice(0, 4), slice(5, 7))
    assert enclosing_box([]) is None


@given(npst.arrays(np.uint16, (3, 4, 5), elements=st.sampled_from([0, 0, 0, 1, 2, 900])), st.integers(1, 60))
def test_each_value_has_the_smallest_box_around_it_also_when_it_is_found_in_pieces(array, size):
    expected = {value: bounding_box(array == value) for value in np.unique(array).tolist() if value}
    assert boxes_of_values(array) == expected
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pieces, "PIECE_BYTES", size)
        assert pieces.result_of(pieces.finding_boxes_of_values(array)) == expected
