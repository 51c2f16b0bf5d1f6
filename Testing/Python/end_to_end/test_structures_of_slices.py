"""Marking slices for some of the structures, and applying results to some of them."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Plane
from SparseAnnotateLib.scene import annotation_of

SHAPE = (24, 28, 32)
INDICES = (2, 6, 10, 14, 18, 22)


def paint(mrml, segmentation, volume, mask, name) -> None:
    if not segmentation.GetSegmentation().GetSegmentIdBySegmentName(name):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
    array = np.ascontiguousarray(mask, dtype=np.uint8)
    mrml.util.updateSegmentBinaryLabelmapFromArray(array, segmentation, name, volume)


def array_of(mrml, segmentation, volume, name) -> np.ndarray:
    return mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume).copy()


def on_slices(mask: np.ndarray, indices) -> np.ndarray:
    result = np.zeros_like(mask)
    result[list(indices)] = mask[list(indices)]
    return result


LIVER, TUMOUR = ball(SHAPE, 7.9, (12, 14, 9)), ball(SHAPE, 7.0, (12, 14, 24))


@pytest.fixture
def drawn(mrml, logic):
    """A liver on six slices, and a tumour, which was added later, on four of them."""
    volume = mrml.util.addVolumeFromArray(noisy_image(LIVER + 2 * TUMOUR), np.eye(4), "CT")
    segmentation = logic.segmentationNode(volume)
    paint(mrml, segmentation, volume, on_slices(LIVER, INDICES), "liver")
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    paint(mrml, segmentation, volume, on_slices(TUMOUR, (6, 10, 18)), "tumour")
    for index in (2, 6, 10, 18, 22):
        logic.markDrawn(volume, "axial", index)
    return volume, segmentation


def test_a_slice_is_marked_for_the_segments_that_exist_or_for_those_that_are_named(mrml, logic, drawn):
    volume, segmentation = drawn
    ledger = logic.ledger(volume)
    assert ledger.entry(Plane.AXIAL, 14).structures == ("liver",)
    assert ledger.entry(Plane.AXIAL, 10).structures == ("liver", "tumour")
    assert logic.markDrawn(volume, "axial", 10, structures=["tumour"]) == "drawn"
    assert logic.ledger(volume).entry(Plane.AXIAL, 10).structures == ("tumour",)
    assert logic.markDrawn(volume, "axial", 14, structures=["tumour"]) == "empty", "no tumour is painted there"
    assert logic.markEmpty(volume, "axial", 14, structures=["tumour"]) == "empty"
    with pytest.raises(BadInputError, match="is not empty"):
        logic.markEmpty(volume, "axial", 14, structures=["liver"])
    with pytest.raises(BadInputError, match="has no segment 'spleen' to mark a slice for"):
        logic.markDrawn(volume, "axial", 10, structures=["spleen"])
    with pytest.raises(BadInputError, match="at least one structure"):
        logic.markDrawn(volume, "axial", 10, structures=[])
    segmentation.GetSegmentation().GetSegment("tumour").SetName("lesion")
    assert logic.ledger(volume).entry(Plane.AXIAL, 10).structures == ("lesion",)
    annotation = annotation_of(volume, segmentation)
    assert annotation.unknown_on(Plane.AXIAL, 10) == (1,)


def test_a_slice_marked_before_there_is_a_segment_speaks_for_all(mrml, logic):
    volume = mrml.util.addVolumeFromArray(noisy_image(LIVER), np.eye(4), "CT")
    segmentation = logic.segmentationNode(volume)
    from SparseAnnotateLib.core import SliceState
    from SparseAnnotateLib.scene import mark_slice

    mark_slice(volume, Plane.AXIAL, 1, SliceState.EMPTY)
    paint(mrml, segmentation, volume, on_slices(LIVER, (10,)), "liver")
    logic.markDrawn(volume, "axial", 10)
    assert not annotation_of(volume, segmentation).has_unknown_structures


@pytest.mark.parametrize("method", ["shape", "random_walk", "auto"])
def test_the_fill_and_applying_it_extend_a_structure_over_slices_that_do_not_speak_for_it(mrml, logic, drawn, method):
    volume, segmentation = drawn
    fill = logic.fillBetweenSlices(volume, method)
    tumour = array_of(mrml, fill, volume, "tumour")
    assert tumour[14].sum() > 0.4 * TUMOUR[14].sum()
    assert any("'tumour' is unknown on one drawn slice (axial 14)" in w for w in logic.fillReport(fill).warnings)
    liver = array_of(mrml, segmentation, volume, "liver")
    logic.applyFill(volume, fill)
    after = array_of(mrml, segmentation, volume, "tumour")
    np.testing.assert_array_equal(after, tumour)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "liver")[list(INDICES)], liver[list(INDICES)])
    # What was applied is no drawing: the slice still says nothing about the tumour.
    assert not (annotation_of(volume, segmentation).labels[14] == 2).any()
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))


def test_paint_on_a_slice_that_does_not_speak_for_it_is_kept_from_the_console_too(mrml, logic, drawn):
    volume, segmentation = drawn
    fill = logic.fillBetweenSlices(volume, "shape")
    painted = array_of(mrml, segmentation, volume, "tumour")
    painted[14, 3:5, 20:24] = 1
    paint(mrml, segmentation, volume, painted, "tumour")
    logic.applyFill(volume, fill)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour")[14], painted[14])
    assert array_of(mrml, segmentation, volume, "tumour")[13].any()
    assert "not changed: axial 14 ('tumour')" in " ".join(logic.applyReport(volume))
    for asked in (["tumour"], ["liver", "tumour"]):
        with pytest.raises(BadInputError, match="was not applied. .* axial 14"):
            logic.applyFill(volume, fill, asked)
    assert array_of(mrml, segmentation, volume, "liver")[12].any(), "the liver was applied the first time"


def test_only_the_named_structures_are_applied_and_those_without_a_change_need_no_undo(mrml, logic, drawn):
    volume, segmentation = drawn
    fill = logic.fillBetweenSlices(volume, "shape")
    before = array_of(mrml, segmentation, volume, "tumour")
    assert logic.applyFill(volume, fill, ["liver"]) == ["tumour"]
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour"), before)
    assert logic.applyFill(volume, fill) == []
    np.testing.assert_array_equal(
        array_of(mrml, segmentation, volume, "tumour"), array_of(mrml, fill, volume, "tumour")
    )
    assert logic.applyFill(volume, fill) == []
    assert "show the same, so nothing was changed" in logic.applyReport(volume)[-1]
    logic.undo(volume)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour"), before)


def test_a_structure_of_another_tool_that_is_on_no_marked_slice_is_neither_filled_nor_changed(mrml, logic, drawn):
    volume, segmentation = drawn
    organ = ball(SHAPE, 4.0, (12, 4, 6))
    paint(mrml, segmentation, volume, organ, "organ")
    fill = logic.fillBetweenSlices(volume, "shape")
    assert "organ" not in list(fill.GetSegmentation().GetSegmentIDs())
    logic.applyFill(volume, fill)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "organ"), organ)
    assert any("No drawn slice says anything about 'organ'" in w for w in logic.fillReport(fill).warnings)


def test_training_sees_what_the_slices_speak_for(mrml, logic, drawn):
    volume, _segmentation = drawn
    plan = logic.trainingPlan([volume], settings={"patch": (16, 16, 32), "device": "cpu", "iterations": 2})
    assert any("'tumour' is unknown on one drawn slice (axial 14)" in note for note in plan.notes)
    cohort = logic.cohort()
    case = cohort.annotated_cases()[0]
    annotation = cohort.annotation(case)
    assert annotation.ledger.entry(Plane.AXIAL, 14).structures == ("liver",)
    assert annotation.has_unknown_structures


def test_the_decided_structures_survive_saving_and_loading_the_scene(mrml, logic, drawn, embedded, tmp_path):
    volume, _segmentation = drawn
    before = [(e.key, e.structures) for e in logic.ledger(volume).decided]
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    volume = mrml.util.getNode("CT")
    assert [(e.key, e.structures) for e in logic.ledger(volume).decided] == before


def test_a_slice_starts_each_structure_from_the_nearest_slice_that_speaks_for_it(mrml, logic, drawn):
    volume, segmentation = drawn
    logic.startSlice(volume, "axial", 13, "nearest drawn slice")
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "liver")[13], LIVER[14])
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour")[13], TUMOUR[10])


def test_a_segment_that_is_added_later_makes_no_result_out_of_date(mrml, logic, drawn):
    volume, segmentation = drawn
    fill = logic.fillBetweenSlices(volume, "shape")
    paint(mrml, segmentation, volume, np.zeros(SHAPE, np.uint8), "spleen")
    logic.applyFill(volume, fill)
    assert logic.applyReport(volume) == ()
    logic.markDrawn(volume, "axial", 14)
    logic.applyFill(volume, fill)
    assert "axial 14" in " ".join(logic.applyReport(volume))
