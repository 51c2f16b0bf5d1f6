"""What follows from strokes: the slice at hand first, the rest from the event loop, and what may come in between."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import INDICES, confidence, painted, point, shown
from followed_strokes import Followed, at_once
from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, CancelledError


def test_the_slice_that_was_painted_comes_first_and_then_the_rest(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, followed.logic, node)
    report = followed.stroke(mrml, disc)
    first = shown(mrml, node, volume)
    assert report.is_following
    assert report.corrections == 1
    assert followed.logic.panel.is_following(volume)
    assert (first[disc] == 1).all()
    assert np.count_nonzero((first != before) & ~disc) == report.changed > 0
    assert not (first != before)[[k for k in range(len(first)) if k != 8]].any()
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), sure)
    assert scene.corrected_since(node, volume)
    loop.turn(3)
    np.testing.assert_array_equal(shown(mrml, node, volume), first)
    loop.run()
    ((last, error),) = followed.ends
    assert error is None
    assert not last.is_following
    assert last.changed == np.count_nonzero((expected[0] != before) & ~disc) > report.changed
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), expected[1])
    assert not scene.corrected_since(node, volume)
    assert not followed.logic.panel.is_following(volume)
    followed.logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), sure)
    followed.logic.redoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])


def test_the_slices_that_the_views_show_come_first_too(mrml, drawn, disc, followed, slice_views):
    volume, _, node = drawn
    from SparseAnnotateLib.core import Plane

    scene.jump_to_slice(scene.slice_view_for(Plane.CORONAL), volume, Plane.CORONAL, 20)
    before = shown(mrml, node, volume)
    axis = Plane.CORONAL.array_axis(scene.geometry_of(volume))
    assert scene.slice_shown(volume, Plane.CORONAL) == 20
    followed.stroke(mrml, disc)
    changed = shown(mrml, node, volume) != before
    off = np.delete(changed, 8, axis=0)
    assert off.any()
    assert off.sum() == np.moveaxis(off, axis, 0)[20].sum()


@pytest.mark.parametrize("turns", [0, 4])
def test_a_stroke_is_undone_while_the_rest_follows_and_made_again(mrml, drawn, disc, expected, followed, loop, turns):
    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, followed.logic, node)
    followed.stroke(mrml, disc)
    loop.turn(turns)
    assert followed.logic.panel.can_undo_correction(volume)
    followed.logic.undoCorrection(volume)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), sure)
    assert followed.logic.corrections(volume) is None
    assert not scene.corrected_since(node, volume)
    assert followed.ends == []
    followed.logic.redoCorrection(volume)
    assert followed.logic.panel.is_following(volume)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), expected[1])
    with pytest.raises(BadInputError, match="no correction to redo"):
        followed.logic.redoCorrection(volume)


@pytest.mark.parametrize("turns", [0, 4])
def test_two_strokes_faster_than_what_follows_from_the_first(mrml, logic, drawn, disc, follower, loop, turns):
    volume, _, node = drawn
    second = np.roll(disc, (2, 1), axis=(0, 1))
    after_one = at_once(mrml, logic, drawn, disc)
    after_both = at_once(mrml, logic, drawn, disc, second)
    followed = Followed(follower, loop, volume, node)
    before = shown(mrml, node, volume)
    followed.stroke(mrml, disc)
    loop.turn(turns)
    followed.stroke(mrml, second)
    now = shown(mrml, node, volume)
    assert (now[disc] == 1).all()
    assert (now[second] == 1).all()
    loop.run()
    assert [error for _report, error in followed.ends] == [None, None]
    np.testing.assert_array_equal(shown(mrml, node, volume), after_both[0])
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), after_both[1])
    assert followed.logic.corrections(volume).strokes == after_both[2].strokes
    for labels in (after_one[0], before):
        followed.logic.undoCorrection(volume)
        np.testing.assert_array_equal(shown(mrml, node, volume), labels)
    for labels in (after_one[0], after_both[0]):
        followed.logic.redoCorrection(volume)
        np.testing.assert_array_equal(shown(mrml, node, volume), labels)


def test_the_second_of_two_strokes_is_undone_while_the_first_still_follows(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    followed.stroke(mrml, disc)
    loop.turn(4)
    followed.stroke(mrml, np.roll(disc, 1, axis=0))
    followed.logic.undoCorrection(volume)
    loop.run()
    assert len(followed.ends) == 1
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), expected[1])


def test_ten_strokes_are_undone_before_anything_has_followed(mrml, drawn, followed, loop):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    for number in range(10):
        mask = np.zeros(before.shape, bool)
        mask[5 + number % 6, 3 + number : 6 + number, 24:28] = True
        followed.stroke(mrml, mask, ("ball", "box")[number % 2])
        loop.turn(number % 3)
    assert followed.logic.panel.correction_count(volume) == 10
    for number in range(9, -1, -1):
        followed.logic.undoCorrection(volume)
        assert followed.logic.panel.correction_count(volume) == number
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), before)


@pytest.mark.parametrize("turns", [0, 4])
def test_cancel_leaves_the_painted_voxels_and_says_that_the_result_is_out_of_date(
    mrml, drawn, disc, followed, loop, turns
):
    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, followed.logic, node)
    followed.stroke(mrml, disc)
    loop.turn(turns)
    followed.logic.cancel()
    ((report, error),) = followed.ends
    assert report is None
    assert isinstance(error, CancelledError)
    wanted = np.where(disc, 1, before)
    np.testing.assert_array_equal(shown(mrml, node, volume), wanted)
    (stroke,) = followed.logic.corrections(volume).strokes
    wanted_sure = sure.copy()
    wanted_sure.reshape(-1)[stroke.voxels] = 100
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), wanted_sure)
    assert scene.corrected_since(node, volume)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), wanted)
    followed.logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), sure)
    assert not scene.corrected_since(node, volume)


def test_what_fails_while_it_follows_leaves_the_painted_voxels(mrml, drawn, disc, followed, loop, monkeypatch):
    from SparseAnnotateLib.logic import following_strokes

    def failing(*_given):
        yield None
        raise MemoryError("no room")

    volume, _, node = drawn
    before = shown(mrml, node, volume)
    monkeypatch.setattr(following_strokes, "correcting", failing)
    followed.stroke(mrml, disc)
    loop.run()
    ((report, error),) = followed.ends
    assert report is None
    assert "no room" in error.message
    np.testing.assert_array_equal(shown(mrml, node, volume), np.where(disc, 1, before))
    assert followed.logic.panel.correction_count(volume) == 1
    assert scene.corrected_since(node, volume)


def test_what_is_painted_while_the_rest_follows_is_not_written_over(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    other = np.roll(disc, 1, axis=0)
    followed.stroke(mrml, disc)
    loop.turn(2)
    painted(mrml, node, volume, other, "box")
    loop.run()
    now = shown(mrml, node, volume)
    assert (now[disc] == 1).all()
    assert (now[other] == 2).all()
    assert [stroke.value for stroke in followed.logic.corrections(volume).strokes] == [1, 2]


def test_a_slice_that_is_drawn_while_the_rest_follows_stays_as_it_is_drawn(mrml, drawn, disc, followed, loop):
    volume, labels, node = drawn
    followed.stroke(mrml, disc)
    loop.turn(2)
    segmentation = followed.logic.drawnIn(volume)
    for name, value in (("ball", 1), ("box", 2)):
        mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).copy()
        mask[9] = labels[9] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, volume)
    followed.logic.markDrawn(volume, "axial", 9)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume)[[9, *INDICES]], labels[[9, *INDICES]])
    assert (shown(mrml, node, volume)[disc] == 1).all()


def test_a_result_is_applied_with_all_that_follows(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    followed.stroke(mrml, disc)
    loop.turn(2)
    followed.logic.applyFill(volume, node)
    own = scene.labels_of(followed.logic.drawnIn(volume), volume, {"ball": 1, "box": 2})
    np.testing.assert_array_equal(own, expected[0])
    loop.run()
    assert len(followed.ends) == 1


def test_clearing_while_the_rest_follows_gives_back_the_answer_from_before(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, followed.logic, node)
    followed.stroke(mrml, disc)
    loop.run()
    followed.stroke(mrml, np.roll(disc, 1, axis=0))
    loop.turn(3)
    assert followed.logic.clearCorrections(volume)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    np.testing.assert_array_equal(confidence(mrml, followed.logic, node), sure)
    with pytest.raises(BadInputError, match="no correction to undo"):
        followed.logic.undoCorrection(volume)


def test_the_console_waits_for_what_the_panel_has_begun(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    followed.stroke(mrml, disc)
    report = followed.logic.correct(volume, "ball", point(volume, (16, 21, 22)), radius=2.0)
    assert not report.is_following
    assert not followed.logic.panel.is_following(volume)
    now = shown(mrml, node, volume)
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), now)


def test_a_stroke_in_another_result_lets_the_first_one_follow_before(mrml, drawn, disc, expected, followed, loop):
    volume, _, node = drawn
    followed.stroke(mrml, disc)
    other = followed.logic.fillBetweenSlices(volume, "shape")
    loop.turn(2)
    followed.logic.panel.end_correcting()
    followed.logic.panel.begin_correcting(volume, other)
    assert followed.logic.panel.is_following(volume)
    followed.logic.correct(volume, "box", point(volume, (16, 20, 20)), resultNode=other)
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), expected[0])


def test_closing_the_scene_while_the_rest_follows(mrml, disc, followed, loop):
    followed.stroke(mrml, disc)
    loop.turn(2)
    followed.logic.forgetScene()
    mrml.mrmlScene.Clear(0)
    loop.run()
    assert followed.ends == []


def test_the_parts_of_a_large_region_come_one_after_the_other(mrml, drawn, disc, expected, followed, loop, monkeypatch):
    from SparseAnnotateLib.interpolation import correcting

    volume, _, node = drawn
    monkeypatch.setattr(correcting, "_AT_ONCE", 2000)
    followed.stroke(mrml, disc)
    states = [shown(mrml, node, volume)]
    while loop.waiting:
        loop.turn()
        now = shown(mrml, node, volume)
        if not np.array_equal(now, states[-1]):
            states.append(now)
    assert len(states) == 3
    assert all((state[disc] == 1).all() for state in states)
    assert np.count_nonzero(states[-1] != expected[0]) <= 0.02 * np.count_nonzero(states[-1])


@pytest.mark.parametrize("erase", [False, True])
def test_the_slice_at_hand_of_a_volume_is_much_like_it_is_in_the_end(mrml, tmp_path, loop, follower, logic, erase):
    labels = ball((24, 40, 40), 9.0, (12, 20, 20))
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    segmentation = logic.segmentationNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    segmentation.GetSegmentation().AddEmptySegment("box", "box")
    mask = np.zeros_like(labels)
    mask[[4, 20]] = labels[[4, 20]]
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    for index in (4, 20):
        logic.markDrawn(volume, "axial", index)
    node = logic.fillBetweenSlices(volume, "shape")
    followed = Followed(follower, loop, volume, node)
    before = shown(mrml, node, volume)
    where = np.zeros(labels.shape, bool)
    if erase:
        middle = np.argwhere(before[10] == 1).mean(axis=0).astype(int)
        where[10, middle[0] - 1 : middle[0] + 2, middle[1] - 1 : middle[1] + 2] = True
    else:
        where[10, 26:30, 19:22] = before[10, 26:30, 19:22] == 0
    followed.stroke(mrml, where, "ball", erase)
    first = shown(mrml, node, volume)[10]
    loop.run()
    last = shown(mrml, node, volume)[10]
    changed, wanted = first != before[10], last != before[10]
    assert wanted.any()
    assert np.count_nonzero(changed & wanted) >= 0.6 * np.count_nonzero(changed | wanted)


def test_another_segmentation_that_is_drawn_in_stops_what_follows(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    followed.stroke(mrml, disc)
    loop.turn(2)
    other = scene.new_segmentation("other", np.zeros(before.shape, np.uint8), {1: "ball", 2: "box"}, volume)
    followed.logic.useSegmentation(volume, other)
    loop.run()
    ((report, error),) = followed.ends
    assert report is None
    assert "drawn on in another segmentation" in error.message
    np.testing.assert_array_equal(shown(mrml, node, volume), np.where(disc, 1, before))


@pytest.mark.parametrize("is_told", [False, True])
def test_a_stroke_that_is_found_while_the_rest_follows_is_taken_by_who_knows_more_of_it(
    mrml, drawn, disc, follower, loop, is_told
):
    volume, _, node = drawn
    inside = (16, *(int(n) for n in np.argwhere(shown(mrml, node, volume)[16] == 1).mean(axis=0)))
    brush = scene.BrushPlace(tuple(point(volume, inside)), 1.5, "ball", True)
    reports = []

    def take():
        reports.append(follower.panel.take_strokes(volume, node, 2.0, brush))

    followed = Followed(follower, loop, volume, node)
    follower.panel.begin_correcting(volume, node, lambda *end: followed.ends.append(end), take if is_told else None)
    followed.stroke(mrml, disc)
    loop.turn(3)
    # As a stroke over voxels that are right already.
    node.GetBinaryLabelmapInternalRepresentation("ball").Modified()
    loop.run()
    assert len(follower.corrections(volume).strokes) == len(followed.ends) == 1 + is_told
    if is_told:
        (report,) = reports
        assert report.confirmed > 4
        assert follower.corrections(volume).strokes[-1].seconds == 2.0


def test_what_is_painted_after_the_console_began_to_correct_what_still_follows(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    second = np.roll(disc, 2, axis=0)
    followed.stroke(mrml, disc)
    loop.turn(3)
    followed.logic.panel.begin_correcting(volume, node)
    assert not followed.logic.panel.is_following(volume)
    painted(mrml, node, volume, second, "ball")
    loop.run()
    followed.logic.panel.take_strokes(volume, node, 1.0)
    assert followed.logic.panel.correction_count(volume) == 2
    assert not scene.corrected_since(node, volume)
    assert (shown(mrml, node, volume)[disc | second] == 1).all()
    assert [error for _report, error in followed.ends] == [None]


def test_cancel_stops_all_answers_though_one_of_them_was_changed(mrml, logic, drawn, disc, followed, loop):
    volume, labels, _node = drawn
    other = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "other")
    segmentation = logic.segmentationNode(other)
    for name, value in (("ball", 1), ("box", 2)):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        mask = np.zeros_like(labels)
        mask[list(INDICES)] = labels[list(INDICES)] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, other)
    for index in INDICES:
        logic.markDrawn(other, "axial", index)
    fill = logic.fillBetweenSlices(other, "shape")
    followed.stroke(mrml, disc)
    followed.logic.panel.end_correcting()
    followed.logic.panel.begin_correcting(other, fill, lambda *end: followed.ends.append(end))
    painted(mrml, fill, other, disc, "ball")
    followed.logic.panel.take_strokes(other, fill, 1.0)
    assert followed.logic.panel.is_following(volume)
    # The last one is stopped first.
    fill.GetSegmentation().GetSegment("box").SetName("crate")
    with pytest.raises(BadInputError, match="added, renamed or removed"):
        followed.logic.cancel()
    assert not followed.logic.panel.is_following(volume)
    assert not followed.logic.panel.is_following(other)
    ((report, error),) = followed.ends
    assert report is None
    assert isinstance(error, CancelledError)
    loop.run()
    assert len(followed.ends) == 1


def test_a_module_that_is_reloaded_while_the_rest_follows_leaves_the_painted_voxels(mrml, drawn, disc, followed, loop):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    followed.stroke(mrml, disc)
    loop.turn(2)
    assert followed.logic.panel.is_following(volume)
    followed.logic.panel.forget_calls()
    loop.run()
    np.testing.assert_array_equal(shown(mrml, node, volume), np.where(disc, 1, before))
    assert followed.logic.panel.correction_count(volume) == 1
    assert scene.corrected_since(node, volume), "it has not taken the correction in"
