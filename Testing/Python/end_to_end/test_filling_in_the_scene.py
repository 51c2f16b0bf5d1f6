"""Fills as previews in a scene: confidence, report, apply and undo as one step, other segments untouched."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, SparseAnnotateError


@pytest.fixture
def drawn(mrml, logic):
    """A volume with a ball and a box, every fourth slice marked as drawn, and a segment that is on no drawn slice."""
    labels = ball(radius=9.0)
    labels[:, 2:6, 2:8] = 2
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    segmentation = logic.segmentationNode(volume)
    indices = list(range(2, 24, 4))
    for name, value in (("ball", 1), ("box", 2)):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        mask = np.zeros_like(labels)
        mask[indices] = labels[indices] == value
        mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, name, volume)
    segmentation.GetSegmentation().AddEmptySegment("elsewhere", "elsewhere")
    elsewhere = np.zeros_like(labels)
    elsewhere[3:6, 20:24, 20:24] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(elsewhere, segmentation, "elsewhere", volume)
    for index in indices:
        logic.markDrawn(volume, "axial", index)
    return volume, segmentation, labels, indices


def arrays(mrml, segmentation, volume):
    found = segmentation.GetSegmentation()
    names = [found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())]
    return {name: mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).copy() for name in names}


@pytest.mark.parametrize("in_worker", [False, True])
@pytest.mark.parametrize("method", ["auto", "shape", "random_walk", "morphological"])
def test_a_preview_by_every_method_in_this_process_and_in_the_worker(
    mrml, logic, drawn, method, in_worker, monkeypatch
):
    volume, _, labels, indices = drawn
    from SparseAnnotateLib.logic import fills

    if in_worker:
        monkeypatch.setattr(fills, "runs_in_worker", lambda name: True)
    node = logic.fillBetweenSlices(volume, method)
    assert any((logic.cohortFolder / "fills").glob("*.nrrd")) == in_worker
    preview = arrays(mrml, node, volume)
    assert set(preview) == {"ball", "box"}
    for name, value in (("ball", 1), ("box", 2)):
        np.testing.assert_array_equal(preview[name][indices], labels[indices] == value)
        assert preview[name][8].any()
    confidence = mrml.util.arrayFromVolume(logic.confidenceNode(node))
    assert (confidence[indices] == 100).all()
    assert 0 < confidence.min() < 100
    assert ("Leave-one-out Dice, with hidden slices" in logic.fillReport(node).summary) == (method == "auto")
    assert scene.is_confidence(logic.confidenceNode(node))
    assert not scene.is_confidence(volume)


def test_learned_filling_runs_in_the_worker_even_for_a_call_that_waits(mrml, logic, drawn, monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(logic.session.jobs), "run", lambda self, method, params, *rest: asked.append((method, params))
    )
    logic.fillBetweenSlices(drawn[0], "propagation")
    ((method, steps),) = asked
    params = None
    while params is None:
        try:
            next(steps)
        except StopIteration as end:
            params = end.value
    assert method == "fill"
    assert params["method"] == "propagation"


def test_apply_is_one_step_that_leaves_other_segments_and_drawn_slices_as_they_were(mrml, logic, drawn):
    volume, segmentation, _, indices = drawn
    before = arrays(mrml, segmentation, volume)
    node = logic.fillBetweenSlices(volume)
    np.testing.assert_equal(arrays(mrml, segmentation, volume), before)
    logic.applyFill(volume, node)
    after = arrays(mrml, segmentation, volume)
    np.testing.assert_array_equal(after["elsewhere"], before["elsewhere"])
    for name in ("ball", "box"):
        np.testing.assert_array_equal(after[name][indices], before[name][indices])
        assert after[name].sum() > before[name].sum()
    logic.undo(volume)
    np.testing.assert_equal(arrays(mrml, segmentation, volume), before)


def test_confidence_is_overlaid_on_the_slice_views_and_removed(mrml, logic, drawn):
    volume = drawn[0]
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetLayoutName("Red")
    node = logic.fillBetweenSlices(volume, "shape")
    logic.showConfidence(node)
    overlay = mrml.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert overlay.GetName() == f"{logic.confidenceNode(node).GetName()} overlay"
    assert 0 < composite.GetForegroundOpacity() < 1
    logic.showConfidence(node, False)
    assert composite.GetForegroundVolumeID() is None
    with pytest.raises(BadInputError, match="has no confidence"):
        logic.showConfidence(drawn[1])


def test_the_previous_foreground_is_restored_when_the_confidence_is_hidden(mrml, logic, drawn):
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    other = mrml.util.addVolumeFromArray(np.zeros((4, 5, 6), np.float32), np.eye(4), "PET")
    composite.SetForegroundVolumeID(other.GetID())
    composite.SetForegroundOpacity(0.7)
    node = logic.fillBetweenSlices(drawn[0], "shape")
    logic.showConfidence(node)
    logic.showConfidence(node)
    overlay = mrml.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert overlay.GetName() == f"{logic.confidenceNode(node).GetName()} overlay"
    logic.showConfidence(node, False)
    assert composite.GetForegroundVolumeID() == other.GetID()
    assert composite.GetForegroundOpacity() == 0.7


def test_filling_again_after_one_slice_was_drawn_fills_only_next_to_it(mrml, logic, drawn, monkeypatch):
    from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator

    volume, segmentation, labels, _ = drawn
    logic.fillBetweenSlices(volume, "shape")
    calls = []
    refill = ShapeInterpolator.refill
    monkeypatch.setattr(ShapeInterpolator, "refill", lambda *given: calls.append(given[4]) or refill(*given))
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume).copy()
    mask[12] = labels[12] == 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    logic.markDrawn(volume, "axial", 12)
    again = arrays(mrml, logic.fillBetweenSlices(volume, "shape"), volume)
    assert [(plane.value, index) for plane, index in calls[0]] == [("axial", 12)]
    logic.forgetScene()
    whole = arrays(mrml, logic.fillBetweenSlices(volume, "shape"), volume)
    assert len(calls) == 1
    np.testing.assert_equal(again, whole)


def test_after_the_image_has_changed_nothing_of_the_last_fill_is_kept(mrml, logic, drawn, monkeypatch):
    from SparseAnnotateLib.interpolation.interpolators.random_walk import RandomWalkInterpolator

    volume = drawn[0]
    calls = []
    refill = RandomWalkInterpolator.refill
    monkeypatch.setattr(RandomWalkInterpolator, "refill", lambda *given: calls.append(given[4]) or refill(*given))
    logic.fillBetweenSlices(volume, "random_walk")
    logic.fillBetweenSlices(volume, "random_walk")
    assert calls == [[]]
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume)[::-1].copy())
    logic.fillBetweenSlices(volume, "random_walk")
    assert len(calls) == 1


def test_confidence_lies_on_the_volume_and_is_saved_with_the_scene(mrml, logic, drawn, embedded, tmp_path):
    volume = drawn[0]
    node = logic.fillBetweenSlices(volume, "shape")
    expected = mrml.util.arrayFromVolume(logic.confidenceNode(node)).copy()
    name = node.GetName()
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    confidence = logic.confidenceNode(mrml.util.getNode(name))
    volume = mrml.util.getNode("scan")
    # Slicer flips left-handed volumes when it loads them.
    loaded = mrml.util.arrayFromVolume(confidence)
    assert any(np.array_equal(loaded, turned) for turned in (expected, expected[::-1]))
    assert scene.is_confidence(confidence)


def test_contradicting_planes_are_listed_in_the_report(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume).copy()
    mask[:, 14, :] = 0  # a coronal slice drawn empty, through the middle of the ball
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    logic.markDrawn(volume, "coronal", 14)
    report = logic.fillReport(logic.fillBetweenSlices(volume, "shape"))
    assert "contradict each other" in report.warnings[0]
    assert "coronal slice 14" in report.warnings[0]


def test_an_unknown_method_and_a_volume_without_drawing_are_refused(mrml, logic, drawn):
    with pytest.raises(BadInputError, match="no fill method 'magic'"):
        logic.fillBetweenSlices(drawn[0], "magic")
    assert set(logic.fillMethods()) == {"auto", "shape", "random_walk", "morphological", "propagation"}


def test_training_uses_a_fill_from_the_console_but_not_one_of_other_drawings(mrml, logic, drawn):
    volume, segmentation, labels, _ = drawn
    settings = {**QUICK_TRAINING, "fill_weight": 0.5}
    with pytest.raises(SparseAnnotateError, match="has not been filled"):
        logic.train([volume], "first", settings)
    logic.fillBetweenSlices(volume, "shape")
    assert logic.train([volume], "second", settings) == "second"
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, "ball", volume).copy()
    mask[12] = labels[12] == 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    logic.markDrawn(volume, "axial", 12)
    with pytest.raises(SparseAnnotateError, match="does not match what is drawn now"):
        logic.train([volume], "third", settings)
    logic.fillBetweenSlices(volume, "shape")
    assert logic.train([volume], "third", settings) == "third"


def test_training_notes_name_the_slices_that_say_nothing_about_a_structure_that_was_added_later(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    segmentation.GetSegmentation().AddEmptySegment("late", "late")
    late = np.zeros(mrml.util.arrayFromVolume(volume).shape, np.uint8)
    late[11, 2:4, 2:4] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(late, segmentation, "late", volume)
    logic.markDrawn(volume, "axial", 11)
    notes = logic.trainingPlan([volume], settings=QUICK_TRAINING).notes
    (sentence,) = [note for note in notes if "'late' is unknown on" in note]
    assert "they were marked before it was added, or without it" in sentence


def test_a_run_takes_part_in_a_fill_from_the_console(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    logic.train([volume], "r", QUICK_TRAINING)
    fill = logic.fillBetweenSlices(volume, device="cpu", runName="r")
    assert any("'r' has learned from slices of this volume" in warning for warning in logic.fillReport(fill).warnings)
    before, after = (
        mrml.util.arrayFromSegmentBinaryLabelmap(node, "ball", volume).copy() for node in (segmentation, fill)
    )
    for entry in logic.ledger(volume).decided:
        np.testing.assert_array_equal(before[entry.index], after[entry.index])
    with pytest.raises(SparseAnnotateError, match="Only the fill method 'auto' takes a run"):
        logic.fillBetweenSlices(volume, "shape", runName="r")
