"""Slices that are drawn or marked while an answer still follows from strokes."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import confidence, shown
from followed_strokes import Followed, at_once
from SparseAnnotateLib.core import SliceState

FAR = 22


@pytest.fixture
def second(disc):
    return np.roll(disc, (2, 1), axis=(0, 1))


@pytest.mark.parametrize("turns", [0, 4])
def test_a_far_slice_that_is_marked_while_two_strokes_follow(mrml, logic, drawn, disc, second, follower, loop, turns):
    volume, _, node = drawn
    logic.panel.mark(volume, "axial", FAR, SliceState.EMPTY, 1.0)
    wanted, wanted_sure, _ = at_once(mrml, logic, drawn, disc, second)
    after_one = at_once(mrml, logic, drawn, disc)[0]
    logic.panel.mark(volume, "axial", FAR, SliceState.TODO, 1.0)
    followed = Followed(follower, loop, volume, node)
    for mask in (disc, second):
        followed.stroke(mrml, mask)
        loop.turn(turns)
    follower.panel.mark(volume, "axial", FAR, SliceState.EMPTY, 1.0)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), wanted)
    np.testing.assert_array_equal(confidence(mrml, logic, node), wanted_sure)
    follower.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), after_one)


def test_undo_after_the_slice_of_two_strokes_was_drawn_as_corrected(mrml, drawn, disc, follower, loop):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    first = disc.copy()
    first[[7, 9]] = disc[8]
    other = np.roll(first, 6, axis=2)
    followed = Followed(follower, loop, volume, node)
    followed.stroke(mrml, first)
    followed.stroke(mrml, other)
    follower.panel.draw_as_corrected(volume, node, "axial", 8)
    follower.panel.mark(volume, "axial", 8, SliceState.DRAWN, 1.0)
    loop.run()
    now = shown(mrml, node, volume)
    assert (now[first | other] == 1).all()
    off = other.copy()
    off[8] = False
    follower.undoCorrection(volume)
    undone = shown(mrml, node, volume)
    assert np.count_nonzero(undone[off] != 1) == np.count_nonzero(before[off] != 1) > 0
    np.testing.assert_array_equal(undone[8], now[8])
    follower.undoCorrection(volume)
    assert follower.panel.correction_count(volume) == 0
    np.testing.assert_array_equal(np.delete(shown(mrml, node, volume), 8, axis=0), np.delete(before, 8, axis=0))


def test_what_lies_on_a_slice_drawn_since_still_is_to_follow(mrml, logic, drawn, disc, second, follower, loop):
    volume, _, node = drawn
    wanted = at_once(mrml, logic, drawn, disc, second)[0]
    followed = Followed(follower, loop, volume, node)
    followed.stroke(mrml, disc)
    followed.stroke(mrml, second)
    follower.panel.draw_as_corrected(volume, node, "axial", 10)
    follower.panel.mark(volume, "axial", 10, SliceState.DRAWN, 1.0)
    loop.run()
    now = shown(mrml, node, volume)
    differ = np.delete(now != wanted, 10, axis=0)
    assert np.count_nonzero(differ) <= 0.02 * np.count_nonzero(wanted)


@pytest.mark.parametrize("reader", ["begin", "stroke and undo"])
def test_a_slice_that_is_marked_stays_whoever_reads_it_first(mrml, drawn, disc, follower, loop, reader):
    volume, _, node = drawn
    followed = Followed(follower, loop, volume, node)
    followed.stroke(mrml, disc)
    loop.turn(3)
    follower.panel.mark(volume, "axial", 9, SliceState.EMPTY, 1.0)
    if reader == "begin":
        follower.panel.end_correcting()
        follower.panel.begin_correcting(volume, node, lambda *end: followed.ends.append(end))
    else:
        followed.stroke(mrml, np.roll(disc, 6, axis=0))
        assert not shown(mrml, node, volume)[9].any()
        follower.undoCorrection(volume)
    loop.run()
    assert [error for _report, error in followed.ends] == [None]
    now = shown(mrml, node, volume)
    assert not now[9].any()
    assert (now[disc] == 1).all()


def test_a_slice_that_is_marked_stays_when_what_follows_is_cancelled(mrml, drawn, disc, second, follower, loop):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    followed = Followed(follower, loop, volume, node)
    followed.stroke(mrml, disc)
    followed.stroke(mrml, second)
    loop.turn(3)
    follower.panel.mark(volume, "axial", 9, SliceState.EMPTY, 1.0)
    follower.cancel()
    loop.run()
    wanted = np.where(disc | second, 1, before)
    wanted[9] = 0
    np.testing.assert_array_equal(shown(mrml, node, volume), wanted)
    follower.undoCorrection(volume)
    wanted[second] = before[second]
    np.testing.assert_array_equal(shown(mrml, node, volume), wanted)
