"""Corrections in the scene: strokes in an answer, what follows from them, undo, storage, and the cohort."""

from __future__ import annotations

import numpy as np
import pytest

from corrected_scene import INDICES, confidence, painted, point, shown
from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, Plane
from SparseAnnotateLib.core.corrections import Stroke


def test_a_point_is_corrected_and_the_answer_follows(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    report = logic.correct(volume, "ball", point(volume, (8, 21, 22)), radius=3.0)
    after = shown(mrml, node, volume)
    assert (before[8, 21, 22], after[8, 21, 22]) == (0, 1)
    assert report.corrections == 1
    assert report.voxels > 5
    np.testing.assert_array_equal(after[list(INDICES)], before[list(INDICES)])
    np.testing.assert_array_equal(after == 2, before == 2)
    (stroke,) = logic.corrections(volume).strokes
    assert (confidence(mrml, logic, node).reshape(-1)[stroke.voxels] == 100).all()
    assert (after.reshape(-1)[stroke.voxels] == 1).all()
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    assert logic.corrections(volume) is None
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)


def test_what_is_painted_in_an_answer_is_a_correction_and_one_undo_takes_back_all_of_it(mrml, logic, drawn, disc):
    volume, _, node = drawn
    labels, sure = shown(mrml, node, volume), confidence(mrml, logic, node)
    logic.panel.begin_correcting(volume, node)
    assert logic.panel.take_strokes(volume, node, 1.0) is None
    assert not logic.panel.can_undo_correction(volume)
    painted(mrml, node, volume, disc, "ball")
    report = logic.panel.take_strokes(volume, node, 3.0)
    assert report.corrections == 1
    assert report.place[0] == 8
    (stroke,) = logic.corrections(volume).strokes
    assert stroke == Stroke.of(disc & (labels != 1), 1, True)
    assert stroke.seconds == 3.0
    corrected = shown(mrml, node, volume)
    assert (corrected[disc] == 1).all()
    assert report.changed == np.count_nonzero((corrected != labels) & ~disc)
    assert (confidence(mrml, logic, node)[disc & (labels != 1)] == 100).all()
    # Nothing is taken twice.
    assert logic.panel.take_strokes(volume, node, 1.0) is None
    assert logic.panel.can_undo_correction(volume)
    logic.undoCorrection(volume)
    assert logic.panel.take_strokes(volume, node, 1.0) is None
    np.testing.assert_array_equal(shown(mrml, node, volume), labels)
    np.testing.assert_array_equal(confidence(mrml, logic, node), sure)
    assert logic.corrections(volume) is None
    logic.redoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), corrected)
    assert logic.corrections(volume).strokes == (stroke,)
    with pytest.raises(BadInputError, match="no correction to redo"):
        logic.redoCorrection(volume)


def test_ten_strokes_are_undone_one_after_the_other(mrml, logic, drawn):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    states, sure = [shown(mrml, node, volume)], [confidence(mrml, logic, node)]
    for number in range(10):
        mask = np.zeros(states[0].shape, bool)
        mask[5 + number % 6, 3 + number : 6 + number, 24:28] = True
        painted(mrml, node, volume, mask, ("ball", "box")[number % 2])
        logic.panel.take_strokes(volume, node, 1.0)
        states.append(shown(mrml, node, volume))
        sure.append(confidence(mrml, logic, node))
        assert not np.array_equal(states[-1], states[-2])
    for number in range(9, -1, -1):
        logic.undoCorrection(volume)
        np.testing.assert_array_equal(shown(mrml, node, volume), states[number])
        np.testing.assert_array_equal(confidence(mrml, logic, node), sure[number])
        assert logic.panel.correction_count(volume) == number
    for number in (1, 2):
        logic.redoCorrection(volume)
        np.testing.assert_array_equal(shown(mrml, node, volume), states[number])
    # Another stroke instead of the others.
    mask[:] = False
    mask[9, 24:27, 3:6] = True
    painted(mrml, node, volume, mask, "box")
    assert logic.panel.take_strokes(volume, node, 1.0).corrections == 3
    with pytest.raises(BadInputError, match="no correction to redo"):
        logic.redoCorrection(volume)


def test_a_correction_that_changes_no_label_is_undone_like_any_other(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    inside = np.argwhere(before[8] == 1).mean(axis=0).astype(int)
    report = logic.correct(volume, "ball", point(volume, (8, *inside)), radius=0.5)
    assert (report.voxels, report.changed) == (1, 0)
    first = shown(mrml, node, volume)
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    logic.undoCorrection(volume)
    assert logic.panel.correction_count(volume) == 1
    np.testing.assert_array_equal(shown(mrml, node, volume), first)
    logic.undoCorrection(volume)
    assert logic.corrections(volume) is None


def test_erasing_says_that_a_structure_is_not_there(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    middle = np.argwhere(before[8] == 1).mean(axis=0).astype(int)
    mask = np.zeros(before.shape, bool)
    mask[8, middle[0] - 1 : middle[0] + 2, middle[1] - 1 : middle[1] + 2] = True
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, mask, "ball", erase=True)
    logic.panel.take_strokes(volume, node, 1.0)
    (stroke,) = logic.corrections(volume).strokes
    assert (stroke.value, stroke.is_in) == (1, False)
    assert not (shown(mrml, node, volume)[mask] == 1).any()


def test_a_stroke_over_another_structure_is_of_the_new_one(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    mask = np.zeros(before.shape, bool)
    mask[8, 3:5, 3:5] = True
    assert (before[mask] == 2).all()
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, mask, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    assert [(s.value, s.is_in) for s in logic.corrections(volume).strokes] == [(1, True)]
    assert (shown(mrml, node, volume)[mask] == 1).all()


def test_a_stroke_across_a_drawn_slice_leaves_the_slice_as_drawn_and_says_so(mrml, logic, drawn):
    volume, labels, node = drawn
    mask = np.zeros(labels.shape, bool)
    mask[7:13, 19:22, 20:23] = True
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, mask, "ball")
    report = logic.panel.take_strokes(volume, node, 1.0)
    assert "on a drawn slice and was left out" in " ".join(report.notes)
    now = shown(mrml, node, volume)
    np.testing.assert_array_equal(now[12], labels[12])
    assert (now[mask][:9] == 1).all()
    # Nothing but the drawn slice: no correction at all, and the slice is put back.
    mask[:] = False
    mask[12, 19:22, 20:23] = True
    painted(mrml, node, volume, mask, "ball")
    report = logic.panel.take_strokes(volume, node, 1.0)
    assert "lies on drawn slices" in " ".join(report.notes)
    assert report.corrections == 1
    np.testing.assert_array_equal(shown(mrml, node, volume), now)


def test_two_strokes_before_the_first_was_taken(mrml, logic, drawn, disc):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    other = np.roll(disc, 1, axis=0)
    painted(mrml, node, volume, other, "box")
    report = logic.panel.take_strokes(volume, node, 1.0)
    assert report.corrections == 2
    now = shown(mrml, node, volume)
    assert (now[disc] == 1).all()
    assert (now[other] == 2).all()
    logic.undoCorrection(volume)
    assert logic.corrections(volume) is None


def test_the_later_of_two_contradicting_corrections_counts_and_it_is_said_where(mrml, logic, drawn, disc):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    # Erasing gives the labels from before, but says more than undo would.
    both = shown(mrml, node, volume) == 1
    painted(mrml, node, volume, both & (before != 1), "ball", erase=True)
    report = logic.panel.take_strokes(volume, node, 1.0)
    assert not (shown(mrml, node, volume)[disc] == 1).any()
    assert "contradict an earlier correction" in " ".join(report.notes)
    assert [(stroke.value, stroke.is_in) for stroke in logic.corrections(volume).strokes] == [(1, True), (1, False)]


def test_a_later_fill_has_the_corrections_in_this_process_and_in_the_worker(mrml, logic, drawn, disc, monkeypatch):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    corrected = shown(mrml, node, volume)
    again = logic.fillBetweenSlices(volume, "shape")
    np.testing.assert_array_equal(shown(mrml, again, volume), corrected)
    from SparseAnnotateLib.logic import fills

    monkeypatch.setattr(fills, "runs_in_worker", lambda name: True)
    in_worker = logic.fillBetweenSlices(volume, "shape")
    np.testing.assert_array_equal(shown(mrml, in_worker, volume), corrected)
    cohort, case = logic.cohort(), scene.case_of(volume)
    assert cohort.corrections(case) is not None
    assert cohort.annotation(case).corrections.strokes == logic.corrections(volume).strokes
    logic.clearCorrections(volume)
    assert logic.corrections(volume) is None
    logic.fillBetweenSlices(volume, "shape")
    assert cohort.corrections(case) is None


def test_clearing_gives_back_the_answer_from_before(mrml, logic, drawn, disc):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    with pytest.raises(BadInputError, match="has no corrections"):
        logic.clearCorrections(volume)
    logic.panel.begin_correcting(volume, node)
    for shift in (0, 1):
        painted(mrml, node, volume, np.roll(disc, shift, axis=0), "ball")
        logic.panel.take_strokes(volume, node, 1.0)
    assert logic.clearCorrections(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    assert logic.panel.correction_count(volume) == 0
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)


def test_an_applied_result_keeps_the_corrections(mrml, logic, drawn, disc):
    volume, _, node = drawn
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    logic.applyFill(volume, node)
    own = scene.labels_of(logic.segmentationNode(volume), volume, {"ball": 1, "box": 2})
    np.testing.assert_array_equal(own, shown(mrml, node, volume))
    # Also an older result, which has not taken them in.
    other = logic.fillBetweenSlices(volume, "shape")
    logic.correct(volume, "box", point(volume, (9, 20, 21)), resultNode=node)
    logic.applyFill(volume, other)
    own = scene.labels_of(logic.segmentationNode(volume), volume, {"ball": 1, "box": 2})
    (_, second) = logic.corrections(volume).strokes
    assert (own.reshape(-1)[second.voxels] == 2).all()
    assert "Corrections were made after" in " ".join(logic.applyReport(volume))


def test_corrections_belong_to_a_segment_whatever_its_name(logic, drawn):
    volume = drawn[0]
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    (stroke,) = logic.corrections(volume).strokes
    segmentation = logic.segmentationNode(volume)
    segment = segmentation.GetSegmentation().GetSegment("ball")
    segment.SetName("sphere")
    assert logic.corrections(volume).strokes == (stroke,)
    segmentation.GetSegmentation().RemoveSegment("ball")
    assert logic.corrections(volume) is None


def test_corrections_follow_a_volume_that_is_stored_in_another_orientation(mrml, logic, drawn):
    volume = drawn[0]
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    (stroke,) = logic.corrections(volume).strokes
    array = mrml.util.arrayFromVolume(volume).copy()
    matrix = scene.geometry_of(volume).matrix
    matrix[:3, 3] += matrix[:3, 0] * (array.shape[2] - 1)
    matrix[:3, 0] *= -1
    mrml.util.updateVolumeFromArray(volume, np.ascontiguousarray(array[:, :, ::-1]))
    from SparseAnnotateLib.scene.volume_nodes import vtk_matrix

    volume.SetIJKToRASMatrix(vtk_matrix(matrix))
    (moved,) = logic.corrections(volume).strokes
    mask = np.zeros(array.shape, bool)
    mask.reshape(-1)[stroke.voxels] = True
    assert moved == Stroke.of(np.ascontiguousarray(mask[:, :, ::-1]), 1, True)


def test_a_copy_on_the_grid_of_the_volume_keeps_them(mrml, logic, drawn):
    volume, _, _ = drawn
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    (stroke,) = logic.corrections(volume).strokes
    copy = logic.mendGeometry(volume, logic.segmentationNode(volume))
    logic.useSegmentation(volume, copy)
    assert logic.corrections(volume).strokes == (stroke,)


def test_bad_input(mrml, logic, drawn):
    volume = drawn[0]
    with pytest.raises(BadInputError, match="no segment 'spleen'. It has: 'ball', 'box'. Choose one"):
        logic.correct(volume, "spleen", point(volume, (8, 20, 21)))
    with pytest.raises(BadInputError, match="outside the volume"):
        logic.correct(volume, "ball", [1e4, 0.0, 0.0])
    with pytest.raises(BadInputError, match="lies on drawn slices"):
        logic.correct(volume, "ball", point(volume, (12, 20, 21)), radius=0.5)
    assert logic.corrections(volume) is None
    with pytest.raises(BadInputError, match="is not a result of"):
        logic.correct(volume, "ball", point(volume, (8, 20, 21)), resultNode=logic.segmentationNode(volume))
    other = mrml.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), np.eye(4), "other")
    with pytest.raises(BadInputError, match="has no result to correct"):
        logic.correct(other, "ball", [0.0, 0.0, 0.0])
    segmentation = logic.segmentationNode(volume)
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    segmentation.SetAttribute("SparseAnnotate.Corrections", '{"anchor": 3}')
    with pytest.raises(BadInputError, match="the corrections stored in the segmentation"):
        logic.corrections(volume)
    logic.clearCorrections(volume)
    assert logic.corrections(volume) is None


def test_a_slice_drawn_later_counts_more(mrml, logic, drawn, disc):
    volume, labels, node = drawn
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    segmentation = logic.segmentationNode(volume)
    for name, value in (("ball", 1), ("box", 2)):
        mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).copy()
        mask[8] = labels[8] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, volume)
    logic.markDrawn(volume, "axial", 8)
    assert logic.ledger(volume).entry(Plane.AXIAL, 8) is not None
    logic.correct(volume, "ball", point(volume, (9, 20, 21)))
    np.testing.assert_array_equal(shown(mrml, node, volume)[8], labels[8])


def test_a_corrected_slice_is_marked_as_drawn_with_what_the_answer_shows(mrml, logic, drawn, disc):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    now = shown(mrml, node, volume)
    logic.panel.draw_as_corrected(volume, node, "axial", 8)
    logic.markDrawn(volume, "axial", 8)
    own = scene.labels_of(logic.segmentationNode(volume), volume, {"ball": 1, "box": 2})
    np.testing.assert_array_equal(own[8], now[8])
    # Undoing the correction leaves the drawn slice as it is drawn.
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume)[8], now[8])
    assert not np.array_equal(shown(mrml, node, volume), now)


def test_a_result_of_a_volume_without_drawn_slices_is_corrected_too(mrml, logic):
    from SparseAnnotateLib.core.pieces import result_of
    from SparseAnnotateLib.logic import result_nodes

    labels = ball(radius=9.0)
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "undrawn")
    origins: dict = {}
    result_of(result_nodes.noting_origin(volume, origins))
    origin = origins[volume.GetID()]
    node = result_of(result_nodes.showing_result(volume, None, "run 1", labels, {"ball": 1}, origin))
    report = logic.correct(volume, "ball", point(volume, (8, 21, 22)), radius=3.0)
    assert report.corrections == 1
    segmentation = logic.drawnIn(volume)
    assert scene.segment_names(segmentation) == ["ball"]
    assert not scene.labels_of(segmentation, volume, {"ball": 1}).any()
    assert scene.labels_of(node, volume, {"ball": 1})[8, 21, 22] == 1
    for _step in logic._exportingLabels([volume]):
        pass
    annotation = logic.cohort().annotation(scene.case_of(volume))
    assert annotation.corrections.strokes == logic.corrections(volume).strokes
    assert not annotation.ledger.decided


def test_outlines_show_what_is_and_what_is_not(mrml, logic, drawn):
    volume, _, node = drawn
    logic.correct(volume, "ball", point(volume, (8, 20, 21)))
    logic.correct(volume, "box", point(volume, (8, 4, 4)), outside=True)
    logic.panel.show_corrections(volume)
    (outlines,) = [
        n
        for n in mrml.util.getNodesByClass("vtkMRMLSegmentationNode")
        if n.GetAttribute("SparseAnnotate.CorrectionOutlines")
    ]
    assert scene.segment_names(outlines) == ["ball", "not box"]
    strokes = logic.corrections(volume).strokes
    for name, stroke in zip(("ball", "not box"), strokes, strict=True):
        mask = scene.labels_of(outlines, volume, {name: 1})
        assert Stroke.of(mask > 0, stroke.value, stroke.is_in) == stroke
    assert node in scene.results_of(volume)
    assert outlines not in scene.results_of(volume)
    logic.undoCorrection(volume)
    logic.undoCorrection(volume)
    logic.panel.show_corrections(volume)
    assert outlines.GetScene() is None


def test_renaming_a_segment_while_correcting_is_refused_and_nothing_is_lost(mrml, logic, drawn, disc):
    volume, _, node = drawn
    segmentation = logic.segmentationNode(volume)
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    (stroke,) = logic.corrections(volume).strokes
    elsewhere = np.zeros(disc.shape, bool)
    elsewhere[9, 24:27, 3:6] = True
    for where, old, new in ((node, "ball", "tumour"), (segmentation, "ball", "sphere")):
        elsewhere = np.roll(elsewhere, 1, axis=0)
        segment = where.GetSegmentation().GetSegment(where.GetSegmentation().GetSegmentIdBySegmentName(old))
        segment.SetName(new)
        painted(mrml, node, volume, elsewhere, "box")
        with pytest.raises(BadInputError, match="were added, renamed or removed"):
            logic.panel.take_strokes(volume, node, 1.0)
        with pytest.raises(BadInputError, match="Switch 'Correct the answer' off and on again"):
            logic.panel.take_strokes(volume, node, 1.0)
        segment.SetName(old)
        assert logic.corrections(volume).strokes == (stroke,)
        assert scene.segment_names(segmentation) == ["ball", "box"]
        logic.panel.begin_correcting(volume, node)


def test_corrections_of_a_segment_that_is_not_there_stay_with_the_drawing(mrml, logic, drawn):
    volume = drawn[0]
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    segment = logic.segmentationNode(volume).GetSegmentation().GetSegment("ball")
    segment.SetName("sphere")
    other = logic.fillBetweenSlices(volume, "shape")
    segment.SetName("ball")
    other.GetSegmentation().RemoveSegment("sphere")
    logic.correct(volume, "box", point(volume, (9, 21, 22)), resultNode=other)
    assert [stroke.value for stroke in logic.corrections(volume).strokes] == [1, 2]


def test_a_stroke_on_an_image_that_has_changed_is_put_back(mrml, logic, drawn, disc):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    logic.panel.begin_correcting(volume, node)
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume) + 7)
    painted(mrml, node, volume, disc, "ball")
    with pytest.raises(BadInputError, match="has changed since"):
        logic.panel.take_strokes(volume, node, 1.0)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    assert logic.corrections(volume) is None


def test_undo_and_clear_belong_to_the_drawing_that_was_corrected(mrml, logic, drawn):
    volume, _, node = drawn
    first = logic.segmentationNode(volume)
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    copy = scene.copy_on_volume_grid(first, volume)
    logic.useSegmentation(volume, copy)
    (stroke,) = logic.corrections(volume).strokes
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)
    assert logic.corrections(volume).strokes == (stroke,)
    corrected = shown(mrml, node, volume)
    assert not logic.clearCorrections(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), corrected)
    logic.useSegmentation(volume, first)
    assert logic.corrections(volume).strokes == (stroke,)


def test_correcting_another_result_in_between(mrml, logic, drawn, disc):
    volume, _, node = drawn
    other = logic.fillBetweenSlices(volume, "shape")
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    logic.correct(volume, "box", point(volume, (9, 4, 20)), resultNode=other)
    painted(mrml, node, volume, np.roll(disc, 1, axis=0), "ball")
    assert logic.panel.take_strokes(volume, node, 1.0).corrections == 3
    logic.undoCorrection(volume)
    assert [stroke.value for stroke in logic.corrections(volume).strokes] == [1, 2]
    # Neither has taken in what was corrected in the other.
    for result in (node, other):
        assert scene.corrected_since(result, volume)


def test_the_cohort_follows_names_and_replaces_what_a_terminal_has_added(mrml, logic, drawn):
    volume = drawn[0]

    def exported():
        for _step in logic._exportingLabels([volume]):
            pass
        cohort = logic.cohort()
        corrections = cohort.corrections(scene.case_of(volume))
        return [(cohort.labels[stroke.value], len(stroke.voxels)) for stroke in corrections.strokes]

    report = logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    assert exported() == [("ball", report.voxels)]
    logic.segmentationNode(volume).GetSegmentation().GetSegment("ball").SetName("sphere")
    assert exported() == [("sphere", report.voxels)]
    cohort = logic.cohort()
    cohort.add_correction(scene.case_of(volume), Stroke(np.array([5, 6]), 1, True))
    assert exported() == [("sphere", report.voxels)]


def test_an_answer_in_a_volume_that_is_stored_the_other_way_round_is_corrected(mrml, logic, drawn, disc):
    from SparseAnnotateLib.scene.volume_nodes import vtk_matrix

    volume, _, node = drawn
    array, matrix = mrml.util.arrayFromVolume(volume).copy(), scene.geometry_of(volume).matrix
    matrix[:3, 3] += matrix[:3, 0] * (array.shape[2] - 1)
    matrix[:3, 0] *= -1
    mrml.util.updateVolumeFromArray(volume, np.ascontiguousarray(array[:, :, ::-1]))
    volume.SetIJKToRASMatrix(vtk_matrix(matrix))
    before = shown(mrml, node, volume)
    logic.panel.begin_correcting(volume, node)
    flipped = np.ascontiguousarray(disc[:, :, ::-1])
    painted(mrml, node, volume, flipped, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    now = shown(mrml, node, volume)
    assert (now[flipped] == 1).all()
    np.testing.assert_array_equal(now[list(INDICES)], before[list(INDICES)])
    own = scene.geometry_of(logic.confidenceNode(node))
    percent = scene.geometry_of(volume).with_same_voxels(mrml.util.arrayFromVolume(logic.confidenceNode(node)), own)
    assert (percent[flipped & (before != 1)] == 100).all()
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)


def test_each_frame_of_a_sequence_has_its_own_corrections(mrml, logic):
    labels = ball(radius=9.0)
    sequences = mrml.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(mrml.mrmlScene)
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    sequence.SetIndexName("time")
    for value in ("0", "1"):
        frame = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), f"frame {value}")
        sequence.SetDataNodeAtValue(frame, value)
        mrml.mrmlScene.RemoveNode(frame)
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())

    def show(number):
        browser.SetSelectedItemNumber(number)
        sequences.UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    results, plain = [], []
    for frame in (0, 1):
        volume = show(frame)
        segmentation = logic.segmentationNode(volume)
        segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
        mask = np.zeros_like(labels)
        mask[list(INDICES)] = labels[list(INDICES)]
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
        for index in INDICES:
            logic.markDrawn(volume, "axial", index)
        results.append(logic.fillBetweenSlices(volume, "shape"))
        plain.append(scene.labels_of(results[-1], volume, {"ball": 1}))
        for place in range(1 + frame):
            logic.correct(volume, "ball", point(volume, (8, 21 - 10 * place, 22)))
    assert logic.panel.correction_count(volume) == 2
    show(0)
    assert logic.panel.correction_count(volume) == 1
    before = [scene.labels_of(result, volume, {"ball": 1}) for result in results]
    # Each frame has its own steps to undo, too.
    logic.undoCorrection(volume)
    assert logic.panel.correction_count(volume) == 0
    np.testing.assert_array_equal(scene.labels_of(results[0], volume, {"ball": 1}), plain[0])
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)
    logic.redoCorrection(volume)
    np.testing.assert_array_equal(scene.labels_of(results[0], volume, {"ball": 1}), before[0])
    logic.clearCorrections(volume)
    np.testing.assert_array_equal(scene.labels_of(results[1], volume, {"ball": 1}), before[1])
    show(1)
    assert logic.panel.correction_count(volume) == 2
    for count in (1, 0):
        logic.undoCorrection(volume)
        assert logic.panel.correction_count(volume) == count
    np.testing.assert_array_equal(scene.labels_of(results[1], volume, {"ball": 1}), plain[1])


def test_a_volume_that_is_moved_while_correcting_is_refused(mrml, logic, drawn, disc):
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    origin = volume.GetOrigin()
    volume.SetOrigin(origin[0], origin[1] + 3.0, origin[2])
    painted(mrml, node, volume, disc, "ball")
    with pytest.raises(BadInputError, match="has been moved while"):
        logic.panel.take_strokes(volume, node, 1.0)
    volume.SetOrigin(*origin)
    assert logic.corrections(volume) is None
    assert not logic.panel.is_correcting(volume, node)


def test_what_fails_in_the_middle_changes_nothing(mrml, logic, drawn, disc, monkeypatch):
    from SparseAnnotateLib.logic import following_strokes

    volume, _, node = drawn
    before, sure = shown(mrml, node, volume), confidence(mrml, logic, node)
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    painted(mrml, node, volume, np.roll(disc, 1, axis=0), "box")
    pieces, calls = following_strokes.correcting, []

    def failing(*given):
        calls.append((yield from pieces(*given)))
        if len(calls) == 2:
            raise MemoryError
        return calls[-1]

    monkeypatch.setattr(following_strokes, "correcting", failing)
    with pytest.raises(MemoryError):
        logic.panel.take_strokes(volume, node, 1.0)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    np.testing.assert_array_equal(confidence(mrml, logic, node), sure)
    assert logic.corrections(volume) is None
    monkeypatch.undo()
    painted(mrml, node, volume, disc, "ball")
    logic.panel.take_strokes(volume, node, 1.0)
    assert [stroke.value for stroke in logic.corrections(volume).strokes] == [1]


def test_corrections_on_a_slice_that_is_drawn_and_cleared_again_are_still_there(mrml, logic, drawn):
    volume, _, _ = drawn
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    (first,) = logic.corrections(volume).strokes
    logic.markDrawn(volume, "axial", 8)
    logic.correct(volume, "box", point(volume, (16, 20, 20)))
    assert logic.panel.correction_count(volume) == 2
    logic.markToDo(volume, "axial", 8)
    assert logic.corrections(volume).strokes[0] == first


def test_the_cohort_does_not_keep_corrections_of_a_drawing_that_is_no_longer_used(mrml, logic, drawn):
    volume, labels, _ = drawn

    def exported():
        for _step in logic._exportingLabels([volume]):
            pass
        return logic.cohort().corrections(scene.case_of(volume))

    for _step in logic._exportingLabels([volume]):
        pass
    # Made in a terminal, before the scene knows of any: they stay.
    elsewhere = Stroke(np.array([5, 6]), 1, True)
    logic.cohort().add_correction(scene.case_of(volume), elsewhere)
    assert exported().strokes == (elsewhere,)
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    assert exported().strokes == logic.corrections(volume).strokes
    other = scene.new_segmentation("other", np.where(labels == 1, labels, 0).astype(np.uint8), {1: "ball"}, volume)
    logic.useSegmentation(volume, other)
    assert exported() is None
    logic.markDrawn(volume, "axial", 8)
    assert exported() is None


def test_undo_does_not_act_on_an_older_result(mrml, logic, drawn):
    volume, _, node = drawn
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    corrected = shown(mrml, node, volume)
    later = logic.fillBetweenSlices(volume, "shape")
    assert not logic.panel.can_undo_correction(volume)
    with pytest.raises(BadInputError, match="no correction to undo"):
        logic.undoCorrection(volume)
    assert not logic.clearCorrections(volume)
    for result in (node, later):
        np.testing.assert_array_equal(shown(mrml, result, volume), corrected)
        assert scene.corrected_since(result, volume)
    # Another correction does not make it look as if it had taken in what it has not.
    logic.correct(volume, "box", point(volume, (16, 20, 20)), resultNode=node)
    assert scene.corrected_since(node, volume)


def test_segments_that_overlap_are_put_right(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    inside = np.argwhere(before[8] == 1).mean(axis=0).astype(int)
    mask = np.zeros(before.shape, np.uint8)
    mask[8, inside[0] - 1 : inside[0] + 2, inside[1] - 1 : inside[1] + 2] = 1
    logic.panel.begin_correcting(volume, node)
    box = mrml.util.arrayFromSegmentBinaryLabelmap(node, "box", volume) | mask
    node.GetSegmentation().SeparateSegmentLabelmap("box")
    mrml.util.updateSegmentBinaryLabelmapFromArray(box, node, "box", volume)
    with pytest.raises(BadInputError, match="overlap"):
        shown(mrml, node, volume)
    # What was painted last, the box, is what counts.
    assert logic.panel.take_strokes(volume, node, 1.0).voxels == 9
    assert (shown(mrml, node, volume)[mask > 0] == 2).all()


def test_steps_hold_only_what_changed(mrml, logic, drawn):
    volume, _, _ = drawn
    logic.correct(volume, "ball", point(volume, (8, 21, 22)), radius=0.5)
    (step,) = logic._correcting._others[0].steps
    assert step.size < 4 * 24 * 28 * 32
    changed = (step.labels[0] != step.labels[1]) | (step.confidence[0] != step.confidence[1])
    for axis in range(3):
        rest = tuple(a for a in range(3) if a != axis)
        assert changed.any(axis=rest)[[0, -1]].all()


def test_corrections_are_undone_after_another_volume_has_been_corrected(mrml, logic, drawn):
    first, labels, node = drawn
    second = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "second")
    segmentation = logic.segmentationNode(second)
    for name, value in (("ball", 1), ("box", 2)):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        mask = np.zeros_like(labels)
        mask[list(INDICES)] = labels[list(INDICES)] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, second)
    for index in INDICES:
        logic.markDrawn(second, "axial", index)
    other = logic.fillBetweenSlices(second, "shape")
    plain = [shown(mrml, node, first), shown(mrml, other, second)]
    for volume, result in ((first, node), (second, other), (first, node), (second, other)):
        logic.panel.begin_correcting(volume, result)
        logic.correct(volume, "ball", point(volume, (8, 21, 22)))
        logic.panel.end_correcting()
    for volume, result, before in ((first, node, plain[0]), (second, other, plain[1])):
        assert logic.panel.can_undo_correction(volume)
        for _ in range(2):
            logic.undoCorrection(volume)
        np.testing.assert_array_equal(shown(mrml, result, volume), before)
        assert logic.corrections(volume) is None


def test_of_many_corrected_volumes_the_last_can_be_undone(mrml, logic, drawn, monkeypatch):
    from SparseAnnotateLib.logic import correcting

    monkeypatch.setattr(correcting, "_MOST_BYTES", 0)
    volume = drawn[0]
    logic.correct(volume, "ball", point(volume, (8, 21, 22)))
    again = logic.fillBetweenSlices(volume, "shape")
    logic.correct(volume, "ball", point(volume, (9, 21, 22)), resultNode=again)
    assert [answer.node for answer in logic._correcting._others] == [again]
    logic.undoCorrection(volume)
    assert logic.panel.correction_count(volume) == 1


@pytest.mark.parametrize("is_completed", [False, True])
def test_a_hidden_or_completed_segment_is_corrected_like_any_other(mrml, logic, drawn, disc, is_completed):
    volume, _, node = drawn
    node.GetDisplayNode().SetSegmentVisibility("ball", False)
    if is_completed:  # as near to a lock as Slicer comes: its effects paint in it all the same
        status = mrml.vtkSlicerSegmentationsModuleLogic
        for segmentation in (node, logic.drawnIn(volume)):
            status.SetSegmentStatus(segmentation.GetSegmentation().GetSegment("ball"), status.Completed)
    logic.panel.begin_correcting(volume, node)
    painted(mrml, node, volume, disc, "ball")
    assert logic.panel.take_strokes(volume, node, 1.0).voxels
    assert (shown(mrml, node, volume)[disc] == 1).all()
    assert not node.GetDisplayNode().GetSegmentVisibility("ball")


@pytest.mark.parametrize("erase", [False, True])
def test_voxels_of_a_completed_structure_are_corrected_too_and_one_undo_gives_them_back(mrml, logic, drawn, erase):
    volume, _, node = drawn
    status = mrml.vtkSlicerSegmentationsModuleLogic
    segments = [s.GetSegmentation().GetSegment("ball") for s in (node, logic.drawnIn(volume))]
    for segment in segments:
        status.SetSegmentStatus(segment, status.Completed)
    before = shown(mrml, node, volume)
    inside = np.zeros(before.shape, bool)
    inside[8, 11:14, 11:14] = True
    assert (before[inside] == 1).all()
    logic.panel.begin_correcting(volume, node)
    # The person says it of this structure, or paints another one over it: neither is held up, or silently left out.
    painted(mrml, node, volume, inside, "ball" if erase else "box", erase)
    assert logic.panel.take_strokes(volume, node, 1.0).voxels == 9
    assert (shown(mrml, node, volume)[inside] == (0 if erase else 2)).all()
    (stroke,) = logic.corrections(volume).strokes
    assert (stroke.value, stroke.is_in) == ((1, False) if erase else (2, True))
    assert [status.GetSegmentStatus(segment) for segment in segments] == [status.Completed] * 2
    logic.undoCorrection(volume)
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
    assert [status.GetSegmentStatus(segment) for segment in segments] == [status.Completed] * 2


def test_what_is_painted_outside_the_image_is_no_correction(mrml, logic, drawn):
    volume, _, node = drawn
    before = shown(mrml, node, volume)
    logic.panel.begin_correcting(volume, node)
    editor = scene.editor_for(node, volume)
    stroke = mrml.vtkOrientedImageData()
    stroke.DeepCopy(node.GetBinaryLabelmapInternalRepresentation("ball"))
    stroke.SetExtent(-6, -3, 4, 8, 8, 9)
    stroke.AllocateScalars(3, 1)
    stroke.GetPointData().GetScalars().Fill(1)
    editor.ModifySegmentByLabelmap(node, "ball", stroke, editor.ModificationModeAdd, True, True)
    assert logic.panel.take_strokes(volume, node, 1.0) is None
    assert logic.corrections(volume) is None
    np.testing.assert_array_equal(shown(mrml, node, volume), before)
