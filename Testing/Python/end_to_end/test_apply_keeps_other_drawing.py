"""Applying a result replaces what was filled, and nothing that the user or another tool has drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError

SHAPE = (24, 28, 32)
MATRIX = np.array([[1.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 2, -30], [0, 0, 0, 1]])
INDICES = [4, 8, 12, 16, 20]


def paint(mrml, segmentation, volume, mask, name):
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
    segment_id = segment_id or segmentation.GetSegmentation().AddEmptySegment(name, name)
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segment_id, volume)


def array_of(mrml, node, volume, name):
    segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return mrml.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume).astype(bool)


def on_slices(labels, indices):
    drawn = np.zeros_like(labels)
    drawn[indices] = labels[indices]
    return drawn


@pytest.fixture
def drawn(mrml, logic):
    """A finished organ from another tool beside a tumour that is drawn on five slices."""
    organ, tumour = ball(SHAPE, 9.0, (12, 14, 12)), ball(SHAPE, 6.0, (12, 14, 26))
    organ[tumour > 0] = 0
    volume = mrml.util.addVolumeFromArray(noisy_image(organ + 2 * tumour), MATRIX, "CT")
    segmentation = logic.segmentationNode(volume)
    paint(mrml, segmentation, volume, organ, "organ")
    paint(mrml, segmentation, volume, on_slices(tumour, INDICES), "tumour")
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    return volume, segmentation, organ > 0, tumour > 0


def test_a_finished_structure_beside_the_sparse_one_is_kept_and_this_is_reported(mrml, logic, drawn):
    volume, segmentation, organ, tumour = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    assert logic.applyFill(volume, result) == ["organ"]
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "organ"), organ)
    assert array_of(mrml, segmentation, volume, "tumour").sum() > 1.5 * tumour[INDICES].sum()
    (sentence,) = logic.applyReport(volume)
    assert "'organ' was not changed because it seems to be finished" in sentence


def test_a_finished_structure_is_replaced_on_request(mrml, logic, drawn):
    volume, segmentation, organ, _ = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    before = array_of(mrml, segmentation, volume, "tumour")
    assert logic.applyFill(volume, result, ["organ"]) == ["tumour"]
    np.testing.assert_array_equal(
        array_of(mrml, segmentation, volume, "organ"), array_of(mrml, result, volume, "organ")
    )
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour"), before)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "organ")[INDICES], organ[INDICES])


def test_structures_missing_in_the_result_or_the_segmentation_are_refused_by_name(logic, drawn):
    result = logic.fillBetweenSlices(drawn[0], "shape")
    with pytest.raises(BadInputError, match="'spleen' cannot be applied, because it is not a segment of both"):
        logic.applyFill(drawn[0], result, ["spleen"])


def off_slices(labels, *places):
    """The labels outside some slices: (axis, index)."""
    labels = labels.copy()
    for axis, index in places:
        np.moveaxis(labels, axis, 0)[index] = False
    return labels


def both(mrml, node, volume):
    return [array_of(mrml, node, volume, name) for name in ("organ", "tumour")]


@pytest.fixture
def applied(mrml, logic, drawn):
    """Organ and tumour, drawn on the same slices, to which a fill was applied."""
    volume, segmentation, organ, tumour = drawn
    paint(mrml, segmentation, volume, on_slices(organ, INDICES), "organ")
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    return volume, segmentation, organ, tumour


@pytest.mark.parametrize("asked", [None, ["tumour"]])
def test_a_painted_slice_that_is_not_marked_stays_and_all_else_is_applied(mrml, logic, drawn, asked):
    volume, segmentation, organ, tumour = drawn
    paint(mrml, segmentation, volume, on_slices(organ, INDICES), "organ")
    result = logic.fillBetweenSlices(volume, "shape")
    painted = on_slices(tumour, [*INDICES, 11])
    paint(mrml, segmentation, volume, painted, "tumour")
    before = both(mrml, segmentation, volume)
    assert logic.applyFill(volume, result, asked) == ([] if asked is None else ["organ"])
    for name, was, now in zip(("organ", "tumour"), before, both(mrml, segmentation, volume), strict=True):
        np.testing.assert_array_equal(now[11], was[11])
        if asked is None or name in asked:
            wanted = off_slices(array_of(mrml, result, volume, name), (0, 11))
            np.testing.assert_array_equal(off_slices(now, (0, 11)), wanted)
    (sentence,) = logic.applyReport(volume)
    assert "painted but not marked as drawn were not changed: axial 11 ('tumour')" in sentence
    # Nothing more can be applied: what was painted is still known, and neither lost nor taken for a result.
    with pytest.raises(BadInputError, match=r"'CT fill' was not applied. Slices that are painted .* axial 11"):
        logic.applyFill(volume, result, asked)
    assert logic.provenance(volume).counts()["painted, not marked"] == (tumour[11] & ~before[0][11]).sum()
    logic.markDrawn(volume, "axial", 11)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour")[11], tumour[11])


def test_a_painted_slice_that_is_erased_again_is_applied_to(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    before = both(mrml, segmentation, volume)
    painted = before[1].copy()
    painted[11, :3, :3] = True
    paint(mrml, segmentation, volume, painted, "tumour")
    other = logic.fillBetweenSlices(volume, "morphological")
    logic.applyFill(volume, other)
    assert array_of(mrml, segmentation, volume, "tumour")[11, :3, :3].all()
    now = array_of(mrml, segmentation, volume, "tumour")
    now[11] = before[1][11]
    paint(mrml, segmentation, volume, now, "tumour")
    logic.applyFill(volume, other)
    assert logic.applyReport(volume) == ()
    for name in ("organ", "tumour"):
        np.testing.assert_array_equal(
            array_of(mrml, segmentation, volume, name), array_of(mrml, other, volume, name), name
        )


def test_voxels_on_a_slice_that_was_left_out_keep_their_source(mrml, logic, applied, embedded, tmp_path):
    volume, segmentation, _organ, _tumour = applied
    painted = array_of(mrml, segmentation, volume, "tumour")
    painted[11, :3, :3] = True
    paint(mrml, segmentation, volume, painted, "tumour")
    organ = array_of(mrml, segmentation, volume, "organ")[11]

    def on_the_slice(volume):
        found = logic.provenance(volume)
        return {found.names[value] for value in np.unique(found.sources[11][organ])}

    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    assert on_the_slice(volume) == {"filled (shape)"}
    assert "filled (morphological)" in logic.provenance(volume).counts()
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.forgetScene()
    assert on_the_slice(mrml.util.getNode("CT")) == {"filled (shape)"}


def test_sources_of_left_out_slices_are_read_from_scenes_of_earlier_versions(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    organ = array_of(mrml, segmentation, volume, "organ")
    identifier = segmentation.GetSegmentation().GetSegmentIdBySegmentName("organ")
    stored = json.loads(segmentation.GetAttribute("SparseAnnotate.Applied"))
    assert not {"label_sources", "earlier"} & set(stored)  # fields that earlier versions do not all know
    stored["earlier"] = {"0 11": {identifier: "filled (before)"}, "2 0": {identifier: "filled (nowhere)"}}
    segmentation.SetAttribute("SparseAnnotate.Applied", json.dumps(stored))
    found = logic.provenance(volume)
    names = {index: {found.names[v] for v in np.unique(found.sources[index][organ[index]])} for index in (10, 11)}
    assert names == {10: {"filled (shape)"}, 11: {"filled (before)"}}


def test_what_was_painted_is_not_overlapped_by_its_neighbor(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    shown = array_of(mrml, segmentation, volume, "organ")
    blot = np.zeros_like(shown)
    blot[10] = shown[10] & (np.indices(shown.shape)[2][10] > 14)
    paint(mrml, segmentation, volume, shown & ~blot, "organ")
    paint(mrml, segmentation, volume, array_of(mrml, segmentation, volume, "tumour") | blot, "tumour")
    before = both(mrml, segmentation, volume)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    now = both(mrml, segmentation, volume)
    assert not (now[0] & now[1]).any()
    for one, other in zip(before, now, strict=True):
        np.testing.assert_array_equal(one[10], other[10])
    assert (before[0] != now[0]).any()


def test_a_slice_that_was_painted_with_another_structure_stays_for_all(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    vessel = np.zeros(SHAPE, bool)
    vessel[10, 12:16, 10:14] = True
    result = logic.fillBetweenSlices(volume, "morphological")
    paint(mrml, segmentation, volume, vessel, "vessel")
    before = both(mrml, segmentation, volume)
    logic.applyFill(volume, result)
    for one, other in zip(before, both(mrml, segmentation, volume), strict=True):
        np.testing.assert_array_equal(one[10], other[10])
    assert "axial 10 ('vessel')" in " ".join(logic.applyReport(volume))
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "vessel"), vessel)


def test_painted_slices_of_two_planes_are_left_out_and_no_others(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    painted = array_of(mrml, segmentation, volume, "tumour")
    painted[10, 3:9, 3:9] = True
    painted[:, 3:9, 2] = True
    paint(mrml, segmentation, volume, painted, "tumour")
    result = logic.fillBetweenSlices(volume, "morphological")
    logic.applyFill(volume, result)
    assert "axial 10; sagittal 2 ('tumour')" in " ".join(logic.applyReport(volume))
    now, places = array_of(mrml, segmentation, volume, "tumour"), ((0, 10), (2, 2))
    for axis, index in places:
        np.testing.assert_array_equal(now.take(index, axis), painted.take(index, axis))
    np.testing.assert_array_equal(
        off_slices(now, *places), off_slices(array_of(mrml, result, volume, "tumour"), *places)
    )


def test_a_slice_that_is_left_out_stays_where_segments_overlap_or_lie_on_another_grid(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    overlap = array_of(mrml, segmentation, volume, "organ")
    overlap[10] |= array_of(mrml, segmentation, volume, "tumour")[10]
    segmentation.GetSegmentation().SeparateSegmentLabelmap("organ")
    paint(mrml, segmentation, volume, overlap, "organ")
    assert (overlap & array_of(mrml, segmentation, volume, "tumour"))[10].any()
    before, result = both(mrml, segmentation, volume), logic.fillBetweenSlices(volume, "morphological")
    logic.applyFill(volume, result)
    for name, was, now in zip(("organ", "tumour"), before, both(mrml, segmentation, volume), strict=True):
        np.testing.assert_array_equal(was[10], now[10])
        np.testing.assert_array_equal(
            off_slices(now, (0, 10)), off_slices(array_of(mrml, result, volume, name), (0, 10))
        )


def test_a_finished_structure_is_not_overlapped_by_what_is_applied(mrml, logic, drawn):
    volume, segmentation, organ, tumour = drawn
    grown = tumour | (organ & (np.indices(SHAPE)[2] > 18))
    result = logic.fillBetweenSlices(volume, "shape")
    paint(mrml, result, volume, grown, "tumour")
    paint(mrml, result, volume, organ & ~grown, "organ")
    assert logic.applyFill(volume, result) == ["organ"]
    now = both(mrml, segmentation, volume)
    np.testing.assert_array_equal(now[0], organ)
    assert not (now[0] & now[1]).any()
    drawn_slices = [(0, index) for index in INDICES]
    np.testing.assert_array_equal(off_slices(now[1], *drawn_slices), off_slices(grown & ~organ, *drawn_slices))
    assert "'tumour' was left out where it would overlap 'organ'" in logic.applyReport(volume)[1]
    # As asked for: segments may overlap.
    logic.applyFill(volume, result, ["tumour"])
    now = both(mrml, segmentation, volume)
    assert (now[0] & now[1]).any()
    np.testing.assert_array_equal(now[0], organ)
    # They overlap now, so that the one is no longer kept from the other.
    smaller = grown & (tumour | (np.indices(SHAPE)[2] > 19))
    paint(mrml, result, volume, smaller, "tumour")
    logic.applyFill(volume, result)
    assert (organ & array_of(mrml, segmentation, volume, "tumour")).any()
    paint(mrml, result, volume, grown, "tumour")
    assert logic.applyFill(volume, result) == ["organ"]
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "organ"), organ)
    wanted = off_slices(grown, *drawn_slices)
    np.testing.assert_array_equal(off_slices(array_of(mrml, segmentation, volume, "tumour"), *drawn_slices), wanted)


def test_a_painted_slice_that_was_undone_does_not_block_apply(mrml, logic, drawn):
    volume, segmentation, _, tumour = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    before = on_slices(tumour, INDICES)
    paint(mrml, segmentation, volume, on_slices(tumour, [*INDICES, 11]), "tumour")
    paint(mrml, segmentation, volume, before, "tumour")
    logic.applyFill(volume, result)
    assert array_of(mrml, segmentation, volume, "tumour")[11].any()


def test_results_applied_earlier_are_replaced_by_the_next_one(mrml, logic, drawn, embedded, tmp_path):
    volume, segmentation, _, _ = drawn
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "random_walk"))
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.forgetScene()
    volume = mrml.util.getNode("CT")
    segmentation = logic.drawnIn(volume)
    result = logic.fillBetweenSlices(volume, "shape")
    logic.applyFill(volume, result)
    np.testing.assert_array_equal(
        array_of(mrml, segmentation, volume, "tumour"), array_of(mrml, result, volume, "tumour")
    )


def test_what_the_segment_editor_s_undo_has_restored_counts_as_applied(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    before = array_of(mrml, segmentation, volume, "tumour")
    first = logic.fillBetweenSlices(volume, "shape")
    logic.applyFill(volume, first)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "random_walk"))
    for state in (array_of(mrml, first, volume, "tumour"), before):
        logic.undo(volume) if state is not before else paint(mrml, segmentation, volume, before, "tumour")
        np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour"), state)
        logic.applyFill(volume, first)


def test_an_unmarked_correction_of_an_applied_fill_is_not_overwritten(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    logic.applyFill(volume, result)
    corrected = array_of(mrml, segmentation, volume, "tumour")
    corrected[10] = False
    paint(mrml, segmentation, volume, corrected, "tumour")
    with pytest.raises(BadInputError, match=r"axial 10 \('tumour'\)"):
        logic.applyFill(volume, result)
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour"), corrected)


def test_voxels_outside_the_volume_are_kept(mrml, logic):
    large = ball((40, 44, 48), 14.0)
    large[36:39, 2:5, 2:5] = 1
    whole = mrml.util.addVolumeFromArray(noisy_image(large), MATRIX, "whole")
    matrix = MATRIX.copy()
    matrix[:3, 3] = (MATRIX @ [10, 9, 8, 1])[:3]
    crop = mrml.util.addVolumeFromArray(noisy_image(large)[8:32, 9:37, 10:42].copy(), matrix, "crop")
    segmentation = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(whole)
    paint(mrml, segmentation, whole, on_slices(large, [10, 14, 18, 22, 26, 30, 37]), "a")
    logic.useSegmentation(crop, segmentation)
    for index in (2, 6, 10, 14, 18, 22):
        logic.markDrawn(crop, "axial", index)
    before = array_of(mrml, segmentation, whole, "a")
    logic.applyFill(crop, logic.fillBetweenSlices(crop, "shape"))
    after = array_of(mrml, segmentation, whole, "a")
    outside = np.ones(large.shape, bool)
    outside[8:32, 9:37, 10:42] = False
    np.testing.assert_array_equal(after[outside], before[outside])
    assert after[~outside].sum() > before[~outside].sum()
    logic.undo(crop)
    np.testing.assert_array_equal(array_of(mrml, segmentation, whole, "a"), before)


def test_slices_drawn_since_are_reported_and_a_result_of_another_image_is_refused(mrml, logic, drawn):
    volume, segmentation, _, tumour = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    paint(mrml, segmentation, volume, on_slices(tumour, [*INDICES, 10]), "tumour")
    logic.markDrawn(volume, "axial", 10)
    logic.applyFill(volume, result)
    assert logic.applyReport(volume)[-1].endswith("after 'CT fill' was created: axial 10.")
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "tumour")[10], tumour[10])
    result = logic.fillBetweenSlices(volume, "shape")
    logic.applyFill(volume, result)
    assert not any("since" in sentence for sentence in logic.applyReport(volume))
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume)[::-1].copy())
    with pytest.raises(BadInputError, match="The image 'CT' has changed since 'CT fill_1' was made"):
        logic.applyFill(volume, result)


def test_a_fill_s_report_is_saved_with_the_scene(mrml, logic, drawn, embedded, tmp_path):
    result = logic.fillBetweenSlices(drawn[0])
    report, name = logic.fillReport(result), result.GetName()
    assert report.summary
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    assert logic.fillReport(mrml.util.getNode(name)) == report


def test_a_structure_that_was_added_later_is_reported_with_the_slices_marked_before(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    late = ball(SHAPE, 4.0, (12, 4, 28))
    paint(mrml, segmentation, volume, on_slices(late, [10, 14]), "late")
    for index in (10, 14):
        logic.markDrawn(volume, "axial", index)
    warnings = " ".join(logic.fillReport(logic.fillBetweenSlices(volume, "shape")).warnings)
    assert "'late' is unknown on 5 drawn slices (axial 4, axial 8, axial 12" in warnings
    assert "'tumour' is unknown" not in warnings
    segmentation.GetSegmentation().GetSegment("late").SetName("renamed")
    assert "'renamed' is unknown on 5 drawn slices" in " ".join(
        logic.fillReport(logic.fillBetweenSlices(volume, "shape")).warnings
    )
    paint(mrml, segmentation, volume, on_slices(late, [8, 10, 12, 14]), "renamed")
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    warnings = " ".join(logic.fillReport(logic.fillBetweenSlices(volume, "shape")).warnings)
    assert "unknown" not in warnings


def test_two_volumes_on_one_grid_can_share_a_segmentation(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    flair = mrml.util.addVolumeFromArray(noisy_image(ball(SHAPE), 1), MATRIX, "FLAIR")
    logic.useSegmentation(flair, segmentation)
    assert logic.drawnIn(flair) is segmentation is logic.drawnIn(volume)
    assert logic.segmentationNode(flair) is segmentation
    assert len(logic.ledger(flair).decided) == len(INDICES)
    fill = logic.fillBetweenSlices(flair, "shape")
    assert array_of(mrml, fill, flair, "tumour").any()
    logic.applyFill(flair, fill)


def test_one_non_linear_transform_for_both_nodes_works_and_for_one_of_them_is_refused(mrml, logic, drawn):
    import vtk

    volume, segmentation, _, _ = drawn
    bend = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bend")
    spline = mrml.vtkOrientedBSplineTransform()
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(4, 4, 4)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    spline.SetCoefficientData(coefficients)
    bend.SetAndObserveTransformToParent(spline)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(bend.GetID())
    fill = logic.fillBetweenSlices(volume, "shape")
    logic.applyFill(volume, fill)
    logic.startSlice(volume, "axial", 10, "fill")
    segmentation.SetAndObserveTransformNodeID(None)
    with pytest.raises(BadInputError, match="non-linear transform 'bend'"):
        logic.fillBetweenSlices(volume, "shape")


def test_three_painted_neighbours_are_not_a_finished_structure(mrml, logic, drawn):
    volume, segmentation, _, tumour = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    painted = on_slices(tumour, [*INDICES, 9, 10, 11]) > 0
    paint(mrml, segmentation, volume, painted, "tumour")
    assert logic.applyFill(volume, result) == ["organ"]
    assert any("axial 9, 10, 11 ('tumour')" in sentence for sentence in logic.applyReport(volume))
    now = array_of(mrml, segmentation, volume, "tumour")
    np.testing.assert_array_equal(now[9:12], painted[9:12])
    np.testing.assert_array_equal(now[13], array_of(mrml, result, volume, "tumour")[13])


def test_a_painted_slice_of_another_plane_is_named_in_that_plane(mrml, logic, drawn):
    volume, segmentation, _, tumour = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    painted = on_slices(tumour, INDICES).astype(np.uint8)
    painted[:, :, 26] = tumour[:, :, 26]
    paint(mrml, segmentation, volume, painted, "tumour")
    logic.applyFill(volume, result, ["tumour"])
    assert "sagittal 26 ('tumour')" in " ".join(logic.applyReport(volume))
    now, wanted = (array_of(mrml, node, volume, "tumour") for node in (segmentation, result))
    np.testing.assert_array_equal(now[:, :, 26], painted[:, :, 26] > 0)
    np.testing.assert_array_equal(off_slices(now, (2, 26)), off_slices(wanted, (2, 26)))


def test_only_the_slice_edited_after_undo_is_reported(mrml, logic, drawn):
    volume, segmentation, _, tumour = drawn
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    logic.undo(volume)
    paint(mrml, segmentation, volume, on_slices(tumour, [*INDICES, 10]), "tumour")
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"), ["tumour"])
    assert any("changed: axial 10 ('tumour')" in sentence for sentence in logic.applyReport(volume))


def test_results_of_swapped_segments_and_the_drawing_itself_are_refused(logic, drawn):
    volume, segmentation, _, _ = drawn
    result = logic.fillBetweenSlices(volume, "shape")
    with pytest.raises(BadInputError, match="is your drawing itself"):
        logic.applyFill(volume, segmentation)
    found = segmentation.GetSegmentation()
    organ, tumour = (found.GetSegment(found.GetSegmentIdBySegmentName(name)) for name in ("organ", "tumour"))
    organ.SetName("tumour")
    tumour.SetName("organ")
    with pytest.raises(BadInputError, match="Segments have been renamed since 'CT fill' was made"):
        logic.applyFill(volume, result)


def test_a_slice_is_not_initialized_from_a_result_of_swapped_segments_or_another_image(mrml, logic, drawn):
    volume, segmentation, _, _ = drawn
    logic.fillBetweenSlices(volume, "shape")
    before = logic.panel.slice_mark(volume, "axial", 10)
    found = segmentation.GetSegmentation()
    organ, tumour = (found.GetSegment(found.GetSegmentIdBySegmentName(name)) for name in ("organ", "tumour"))
    organ.SetName("tumour")
    tumour.SetName("organ")
    with pytest.raises(BadInputError, match="Segments have been renamed since 'CT fill' was made"):
        logic.startSlice(volume, "axial", 10, "fill")
    organ.SetName("organ")
    tumour.SetName("tumour")
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume)[::-1].copy())
    with pytest.raises(BadInputError, match="The image 'CT' has changed since 'CT fill' was made"):
        logic.startSlice(volume, "axial", 10, "fill")
    assert logic.panel.slice_mark(volume, "axial", 10) == before
    logic.fillBetweenSlices(volume, "shape")
    assert logic.startSlice(volume, "axial", 10, "fill") == "fill"


@pytest.mark.parametrize("marks_are_renewed", [True, False])
def test_marked_slices_stay_the_same_when_apply_rewrites_layers(mrml, logic, monkeypatch, marks_are_renewed):
    from contextlib import nullcontext

    from SparseAnnotateLib import scene
    from SparseAnnotateLib.scene import segment_editing

    labels = ball(SHAPE, 8.0, (9, 14, 16))
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), MATRIX, "CT")
    # Stored upside down, as label maps of other tools may be.
    flip = np.diag([1.0, 1, -1, 1])
    flip[2, 3] = SHAPE[0] - 1
    other = mrml.util.addVolumeFromArray(noisy_image(labels)[::-1].copy(), MATRIX @ flip, "upside down")
    segmentation = logic.segmentationNode(volume)
    indices = [3, 5, 9, 14]
    paint(mrml, segmentation, other, on_slices(labels, indices)[::-1], "ball")
    for index in indices:
        logic.markDrawn(volume, "axial", index)
    if not marks_are_renewed:
        # As when another tool writes the layers.
        monkeypatch.setattr(segment_editing, "layers_may_be_replaced", lambda *_: nullcontext())
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "shape"))
    copy = logic.mendGeometry(volume, segmentation)
    assert [entry.index for entry in scene.stored_ledger(copy, volume).decided] == indices
    if marks_are_renewed:
        # Each slice is corrected, so that the number of drawn voxels cannot identify them.
        corrected = array_of(mrml, segmentation, volume, "ball")
        corrected[indices, 0, 0] = True
        paint(mrml, segmentation, volume, corrected, "ball")
        assert [entry.index for entry in logic.ledger(volume).decided] == indices


@pytest.mark.parametrize("handedness", [1, -1])
def test_a_fill_is_still_up_to_date_in_a_reopened_scene(mrml, logic, embedded, tmp_path, handedness):
    labels = ball(SHAPE, 8.0, (9, 14, 16))
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), MATRIX @ np.diag([handedness, 1, 1, 1]), "CT")
    segmentation = logic.segmentationNode(volume)
    paint(mrml, segmentation, volume, on_slices(labels, [3, 6, 9, 12, 15]), "ball")
    for index in (3, 6, 9, 12, 15):
        logic.markDrawn(volume, "axial", index)
    logic.fillBetweenSlices(volume, "shape")
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.forgetScene()
    volume = mrml.util.getNode("CT")
    list(logic._exportingLabels([volume]))
    list(logic._export.fills([volume]))
    from SparseAnnotateLib import scene

    cohort, case = logic.cohort(), scene.case_of(volume)
    from SparseAnnotateLib.core.images import read_facts, read_labels
    from SparseAnnotateLib.core.origin import together

    annotation = cohort.annotation(case)
    confidence = read_labels(cohort.fill_confidence_path(case), annotation.geometry)
    labels = read_labels(cohort.fill_path(case), annotation.geometry)
    files = cohort.fill_path(case), cohort.fill_confidence_path(case)
    assert all(together(labels, confidence).items() <= read_facts(path).items() for path in files)
    np.testing.assert_array_equal(confidence == 100, annotation.supervised_mask())
    result = logic.panel.latest_result(volume, of_run=False)
    logic.applyFill(volume, result)
    assert logic.applyReport(volume) == ()
    mrml.util.updateVolumeFromArray(volume, mrml.util.arrayFromVolume(volume).copy())
    logic.applyFill(volume, result)


@pytest.fixture
def film(mrml):
    """A sequence of two frames and the volume node that shows them."""
    logic = mrml.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(mrml.mrmlScene)
    frames = [ball(SHAPE, 8.0), ball(SHAPE, 8.0, (12, 14, 24))]
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    sequence.SetIndexName("time")
    for number, labels in enumerate(frames):
        node = mrml.util.addVolumeFromArray(noisy_image(labels), MATRIX, "CT")
        sequence.SetDataNodeAtValue(node, str(10 * number))
        mrml.mrmlScene.RemoveNode(node)
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())

    def show(number):
        browser.SetSelectedItemNumber(number)
        logic.UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    return show, frames


def test_each_frame_of_a_sequence_has_its_own_drawing_case_and_results(mrml, logic, film):
    show, frames = film
    volume = show(0)
    segmentation = logic.segmentationNode(volume)
    paint(mrml, segmentation, volume, on_slices(frames[0], INDICES), "ball")
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    fill = logic.fillBetweenSlices(volume, "shape")
    volume = show(1)
    assert logic.worklist([volume]) == []
    assert logic.panel.latest_result(volume, of_run=False) is None
    with pytest.raises(BadInputError, match="frame 'time = 10 s' of the sequence 'heart' has no drawn slices yet"):
        logic.fillBetweenSlices(volume, "shape")
    with pytest.raises(BadInputError, match="has marked slices of the frame 'time = 0 s' of the sequence 'heart'"):
        logic.useSegmentation(volume, segmentation)
    other = logic.segmentationNode(volume)
    assert other is not segmentation
    paint(mrml, other, volume, on_slices(frames[1], INDICES), "ball")
    logic.markDrawn(volume, "axial", 12)

    def exported():
        list(logic._exportingLabels([volume]))
        from SparseAnnotateLib import scene

        case = scene.case_of(volume)
        cohort = logic.cohort()
        return case, cohort.image(case)[0], cohort.annotation(case).drawn_labels() > 0

    second, image, labels = exported()
    assert image[labels].mean() == pytest.approx(100, abs=10)
    volume = show(0)
    assert logic.drawnIn(volume) is segmentation
    assert len(logic.ledger(volume).decided) == len(INDICES)
    assert logic.panel.latest_result(volume, of_run=False) is fill
    first, image, labels = exported()
    assert image[labels].mean() == pytest.approx(100, abs=10)
    assert first != second
    assert exported()[0] == first


def test_two_nodes_that_show_one_frame_share_its_drawing(mrml, logic, film):
    show, frames = film
    volume = show(0)
    segmentation = logic.segmentationNode(volume)
    paint(mrml, segmentation, volume, on_slices(frames[0], INDICES), "ball")
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    sequences = mrml.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(mrml.mrmlScene)
    sequence = mrml.util.getNodesByClass("vtkMRMLSequenceNode")[0]
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "second")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.SetSelectedItemNumber(0)
    sequences.UpdateProxyNodesFromSequences(browser)
    second = browser.GetProxyNode(sequence)
    assert second is not volume
    assert logic.drawnIn(second) is segmentation
    list(logic._exportingLabels([volume, second]))
    from SparseAnnotateLib import scene

    assert scene.case_of(second) == scene.case_of(volume)
    assert len(logic.cohort().ledger(scene.case_of(volume)).decided) == len(INDICES)


def test_a_drawing_of_another_volume_cannot_be_used_for_a_frame(mrml, logic, film, drawn):
    _, segmentation, _, _ = drawn
    with pytest.raises(BadInputError, match="has marked slices of a volume that does not belong to a sequence"):
        logic.useSegmentation(film[0](1), segmentation)


def test_a_few_painted_slices_of_two_planes_are_not_a_finished_structure(mrml, logic, drawn):
    volume, segmentation, _organ, tumour = drawn
    painted = on_slices(tumour, INDICES) > 0
    for axis, index in ((2, 24), (2, 26), (1, 13), (1, 15)):
        np.moveaxis(painted, axis, 0)[index] = np.moveaxis(tumour, axis, 0)[index]
    paint(mrml, segmentation, volume, painted, "tumour")
    result = logic.fillBetweenSlices(volume, "shape")
    # Named, a finished structure would be replaced.
    assert logic.applyFill(volume, result, ["tumour"]) == ["organ"]
    (sentence,) = logic.applyReport(volume)
    assert "coronal 13, 15; sagittal 24, 26 ('tumour')" in sentence
    now = array_of(mrml, segmentation, volume, "tumour")
    for axis, index in ((2, 24), (2, 26), (1, 13), (1, 15)):
        np.testing.assert_array_equal(now.take(index, axis), painted.take(index, axis))
    assert (now & ~painted).any()


def test_a_structure_that_was_finished_after_a_result_was_applied_does_not_block_the_others(mrml, logic, applied):
    volume, segmentation, organ, _tumour = applied
    shown = array_of(mrml, segmentation, volume, "organ")
    finished = shown & np.roll(shown, 1, 2) & np.roll(shown, 1, 1)  # as by a tool that smooths all of it
    finished[INDICES] = organ[INDICES]
    paint(mrml, segmentation, volume, finished, "organ")
    result = logic.fillBetweenSlices(volume, "morphological")
    assert logic.applyFill(volume, result) == ["organ"]
    np.testing.assert_array_equal(array_of(mrml, segmentation, volume, "organ"), finished)
    room = finished & array_of(mrml, result, volume, "tumour")
    np.testing.assert_array_equal(
        array_of(mrml, segmentation, volume, "tumour"), array_of(mrml, result, volume, "tumour") & ~room
    )
    assert "'organ' was not changed because it seems to be finished" in logic.applyReport(volume)[0]


def test_what_was_painted_over_is_left_out_with_the_slice_that_was_painted(mrml, logic, applied):
    volume, segmentation, _organ, _tumour = applied
    shown = array_of(mrml, segmentation, volume, "organ")
    over = np.zeros_like(shown)
    over[13:16, 10, 12] = shown[13:16, 10, 12]  # a line of voxels, which lies in slices of two planes
    assert over.any()
    painted = array_of(mrml, segmentation, volume, "tumour") | over
    painted[13:16, 10, 22:30] = True
    paint(mrml, segmentation, volume, shown & ~over, "organ")
    paint(mrml, segmentation, volume, painted, "tumour")
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    (sentence,) = logic.applyReport(volume)
    assert "were not changed: coronal 10 ('organ', 'tumour')." in sentence
