"""Answers that are applied, exported or drawn from while they still follow from strokes."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import painted, shown
from followed_strokes import Followed
from SparseAnnotateLib import scene
from SparseAnnotateLib.core.pieces import result_of


@pytest.mark.parametrize("turns", [0, 3, 8])
@pytest.mark.parametrize("is_taken", [True, False])
def test_a_stroke_that_is_made_while_a_result_is_applied(
    mrml, logic, drawn, disc, expected, follower, loop, turns, is_taken
):
    volume, _, node = drawn
    followed = Followed(follower, loop, volume, node)
    ends = []
    follower.panel.apply(volume, node, None, waitForCompletion=False, onDone=lambda *end: ends.append(end))
    loop.turn(turns)
    assert not ends
    if is_taken:
        followed.stroke(mrml, disc)
    else:
        painted(mrml, node, volume, disc, "ball")
    loop.run()
    assert ends == [([], None)]
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])
    np.testing.assert_array_equal(shown(mrml, logic.drawnIn(volume), volume), expected[0])


def test_applying_lets_only_its_own_result_follow_and_does_not_block(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    followed.stroke(mrml, disc)
    ends = []
    followed.logic.panel.apply(volume, node, None, waitForCompletion=False, onDone=lambda *end: ends.append(end))
    assert followed.logic.panel.is_following(volume)
    # Not its own result.
    result_of(followed.logic._correcting.following(followed.logic.drawnIn(volume)))
    assert followed.logic.panel.is_following(volume)
    loop.run()
    assert ends == [([], None)]
    np.testing.assert_array_equal(shown(mrml, followed.logic.drawnIn(volume), volume), expected[0])


def test_a_slice_starts_from_a_fill_that_has_followed(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    index = 9
    followed.stroke(mrml, disc)
    followed.logic.startSlice(volume, "axial", index, "fill")
    started = shown(mrml, followed.logic.drawnIn(volume), volume)
    np.testing.assert_array_equal(started[index], expected[0][index])
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])


def test_the_panel_exports_a_result_that_has_followed_as_dicom(mrml, tmp_path, drawn, disc, followed, monkeypatch):
    volume, _, node = drawn
    monkeypatch.setattr(scene, "dicom_files_of", lambda _volume: ["slice.dcm"])
    prepared = []
    monkeypatch.setattr(followed.logic.session, "do", lambda _method, prepare, *_given: prepared.append(prepare))
    followed.stroke(mrml, disc)
    followed.logic.panel.dicom.export_from_panel(node, volume, str(tmp_path))
    assert followed.logic.panel.is_following(volume)
    request = result_of(prepared[0])
    assert not followed.logic.panel.is_following(volume)
    assert [segment["name"] for segment in request["segments"]] == ["ball", "box"]
