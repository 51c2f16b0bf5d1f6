"""Where the voxels of a segmentation come from: drawn, corrected, filled, predicted, painted."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from small_volumes import ball, noisy_image
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import BadInputError, Provenance
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.provenance import CORRECTED, DRAWN, NOT_LABELED, PAINTED

INDICES = (4, 8, 12, 16, 20)


@pytest.fixture
def drawn(mrml, logic):
    """A volume with a ball, five slices of which are drawn; and its fill."""
    labels = ball(radius=9.0)
    volume = mrml.util.addVolumeFromArray(noisy_image(labels), np.diag([-1.0, 1.0, 2.0, 1.0]), "scan")
    segmentation = logic.segmentationNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mask = np.zeros_like(labels)
    mask[list(INDICES)] = labels[list(INDICES)]
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    for index in INDICES:
        logic.markDrawn(volume, "axial", index)
    return volume, segmentation, logic.fillBetweenSlices(volume, "shape")


def shown(mrml, segmentation, volume, segment="ball"):
    return mrml.util.arrayFromSegmentBinaryLabelmap(segmentation, segment, volume) > 0


def test_after_apply_each_voxel_is_drawn_corrected_or_filled(mrml, logic, drawn):
    volume, segmentation, fill = drawn
    before = logic.provenance(volume)
    assert set(before.names.values()) == {"drawn"}
    assert (before.sources[list(INDICES)] == DRAWN).all()
    point = (scene.geometry_of(volume).matrix @ [16.0, 14.0, 10.0, 1.0])[:3]
    logic.correct(volume, "ball", point, radius=1.5, resultNode=fill)
    logic.applyFill(volume, fill)
    found = logic.provenance(volume)
    labels = shown(mrml, segmentation, volume)
    corrected = scene.annotation_of(volume, segmentation).corrected_mask()
    on_drawn = np.zeros(labels.shape, bool)
    on_drawn[list(INDICES)] = True
    assert corrected.any()
    assert {value: name for value, name in found.names.items() if value > PAINTED} == {4: "filled (shape)"}
    np.testing.assert_array_equal(found.sources == DRAWN, on_drawn)
    np.testing.assert_array_equal(found.sources == CORRECTED, corrected)
    np.testing.assert_array_equal(found.sources == 4, labels & ~on_drawn & ~corrected)
    np.testing.assert_array_equal(found.sources == NOT_LABELED, ~labels & ~on_drawn & ~corrected)
    counts = found.counts()
    assert counts["filled (shape)"] == (found.sources == 4).sum()
    assert sum(counts.values()) == (found.sources > 0).sum()


def test_what_is_painted_afterwards_is_told_apart_from_the_fill(mrml, logic, drawn):
    volume, segmentation, fill = drawn
    logic.applyFill(volume, fill)
    mask = shown(mrml, segmentation, volume).astype(np.uint8)
    mask[6, :3, :3] = 1
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", volume)
    found = logic.provenance(volume)
    np.testing.assert_array_equal(np.argwhere(found.sources == PAINTED)[:, 0], np.full(9, 6))
    logic.markDrawn(volume, "axial", 6)
    assert PAINTED not in logic.provenance(volume).names


def test_a_structure_that_a_slice_does_not_speak_for_was_not_drawn_there(mrml, logic, drawn):
    volume, segmentation, _fill = drawn
    segmentation.GetSegmentation().AddEmptySegment("box", "box")
    mask = np.zeros(scene.geometry_of(volume).shape, np.uint8)
    mask[4, :3, :3] = 1  # on a slice that was marked before the structure existed
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "box", volume)
    found = logic.provenance(volume)
    assert (found.sources[4, :3, :3] == PAINTED).all()
    assert (found.sources[4, 3:, 3:] == DRAWN).all()


def test_each_result_has_its_own_name(mrml, logic, drawn):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    scene.set_made_by(fill, "run 1")
    logic.applyFill(volume, fill)
    # Nothing was changed, so it still comes from the fill.
    assert "filled (shape)" in logic.provenance(volume).names.values()
    other = logic.fillBetweenSlices(volume, "morphological")
    scene.set_made_by(other, "run 1")
    logic.applyFill(volume, other)
    assert "predicted (run 1)" in logic.provenance(volume).names.values()


def test_applying_again_replaces_only_what_was_filled(mrml, logic, drawn):
    volume, segmentation, fill = drawn
    logic.applyFill(volume, fill)
    drawn_before = shown(mrml, segmentation, volume)[list(INDICES)]
    fill_again = logic.fillBetweenSlices(volume, "morphological")
    logic.applyFill(volume, fill_again)
    found = logic.provenance(volume)
    assert "filled (morphological)" in found.names.values()
    assert "filled (shape)" not in found.names.values()
    np.testing.assert_array_equal(shown(mrml, segmentation, volume)[list(INDICES)], drawn_before)


def test_more_results_than_can_be_recorded_are_refused(mrml, logic, drawn):
    volume, _segmentation, _fill = drawn
    found = logic.provenance(volume)
    free = np.argwhere(found.sources == NOT_LABELED)
    for number in range(252):
        mask = np.zeros(found.sources.shape, bool)
        mask[tuple(free[number])] = True
        found.enter(f"predicted ({number})", mask)
    assert max(found.names) == 255
    mask[tuple(free[252])] = True
    with pytest.raises(BadInputError, match="more than 252 results"):
        found.enter("predicted (one more)", mask)


def test_undo_takes_the_source_back(mrml, logic, drawn):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    before = logic.provenance(volume)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    logic.undo(volume)
    found = logic.provenance(volume)
    assert found.counts() == before.counts()
    np.testing.assert_array_equal(found.sources, before.sources)


def test_the_source_that_is_saved_with_a_segment_follows_undo_and_redo(mrml, logic, drawn):
    volume, segmentation, fill = drawn

    def saved() -> str:
        found = vtk.reference("")
        segmentation.GetSegmentation().GetSegment("ball").GetTag("SparseAnnotate.Source", found)
        return str(found)

    logic.applyFill(volume, fill)
    assert saved() == "filled (shape)"
    logic.undo(volume)
    assert saved() == ""
    logic.applyFill(volume, fill)
    logic.applyFill(volume, logic.fillBetweenSlices(volume, "morphological"))
    assert saved() == "filled (morphological)"
    logic.undo(volume)
    assert saved() == "filled (shape)"
    logic._changes.editor(volume, segmentation).Redo()
    assert saved() == "filled (morphological)"


def test_structures_applied_one_after_the_other_keep_their_sources(mrml, logic, drawn):
    volume, segmentation, _fill = drawn
    labels = np.zeros(scene.geometry_of(volume).shape, np.uint8)
    for number, name in enumerate(("one", "two", "three")):
        segmentation.GetSegmentation().AddEmptySegment(name, name)
        labels[:, 2 + 3 * number : 4 + 3 * number, 1:3] = number + 1
    result = scene.new_segmentation("r", labels, {1: "one", 2: "two", 3: "three"}, volume)
    for number, name in enumerate(("one", "two", "three")):
        scene.set_made_by(result, f"run {number}")
        logic.applyFill(volume, result, [name])
    counts = logic.provenance(volume).counts()
    assert [counts[f"predicted (run {number})"] for number in range(3)] == [24 * 4] * 3


def test_what_was_painted_as_the_result_has_it_stays_painted(mrml, logic, drawn):
    volume, segmentation, fill = drawn
    everything = shown(mrml, fill, volume).astype(np.uint8)
    mrml.util.updateSegmentBinaryLabelmapFromArray(everything, segmentation, "ball", volume)
    logic.applyFill(volume, fill, ["ball"])
    assert set(logic.provenance(volume).names.values()) == {"drawn", "painted, not marked"}


def test_a_label_volume_of_the_user_comes_back(mrml, logic, drawn):
    volume, _segmentation, _fill = drawn
    own = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetLabelVolumeID(own.GetID())
    logic.showProvenance(volume)
    logic.showProvenance(volume)
    logic.showProvenance(volume, False)
    assert composite.GetLabelVolumeID() == own.GetID()


def test_it_is_written_with_the_segmentation_and_read_back(mrml, logic, drawn, tmp_path):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    for name in ("scan.nii.gz", "scan.seg.nrrd", "scan.nrrd"):
        beside = logic.writeSegmentation(volume, tmp_path / name)
        assert beside == tmp_path / "scan.provenance.nrrd"
        found, expected = logic.readProvenance(volume, beside), logic.provenance(volume)
        np.testing.assert_array_equal(found.sources, expected.sources)
        assert found.names == expected.names
    with pytest.raises(BadInputError, match="does not name the sources"):
        logic.readProvenance(volume, tmp_path / "scan.nii.gz")
    for name in ("scan.seg.nrrd", "scan.nrrd"):
        with pytest.raises(BadInputError, match="is a segmentation, not the sources of its voxels"):
            logic.readProvenance(volume, tmp_path / name)


def test_sources_written_by_an_earlier_version_are_read(mrml, logic, drawn, tmp_path):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    found = logic.provenance(volume)
    path, facts = tmp_path / "x.nrrd", {key: text for key, text in found.facts.items() if key != "kind"}
    write_image(path, found.sources, scene.geometry_of(volume), facts=facts)
    assert logic.readProvenance(volume, path).names == found.names


def test_sources_are_written_as_nrrd_only(mrml, logic, drawn, tmp_path):
    volume, _segmentation, _fill = drawn
    found = logic.provenance(volume)
    with pytest.raises(BadInputError, match=r"ends with \.nrrd"):
        Provenance(found.sources).write(tmp_path / "x.nii.gz", scene.geometry_of(volume))


def test_it_survives_saving_the_scene(mrml, logic, embedded, drawn, tmp_path):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    before = logic.provenance(volume).counts()
    embedded.save_scene(tmp_path / "scene.mrb")
    embedded.load_scene(tmp_path / "scene.mrb")
    logic.forgetScene()
    assert logic.provenance(mrml.util.getNode("scan")).counts() == before


def test_it_is_shown_in_color_and_hidden_again(mrml, logic, drawn):
    volume, _segmentation, fill = drawn
    logic.applyFill(volume, fill)
    composite = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(volume.GetID())
    node = logic.showProvenance(volume)
    assert composite.GetLabelVolumeID() == node.GetID()
    np.testing.assert_array_equal(mrml.util.arrayFromVolume(node), logic.provenance(volume).sources)
    colors = node.GetDisplayNode().GetColorNode()
    assert [colors.GetColorName(value) for value in (1, 4)] == ["drawn", "filled (shape)"]
    assert not node.GetSaveWithScene()
    assert node not in logic.panel.volumes()
    logic.showProvenance(volume, False)
    assert composite.GetLabelVolumeID() is None
    assert not mrml.util.getNodesByClass("vtkMRMLLabelMapVolumeNode")


def test_nothing_drawn_is_a_sentence(mrml, logic, tmp_path):
    volume = mrml.util.addVolumeFromArray(noisy_image(ball()), np.eye(4), "scan")
    with pytest.raises(BadInputError, match="Nothing has been drawn on 'scan' yet"):
        logic.provenance(volume)
    with pytest.raises(BadInputError, match="no segmentation to write"):
        logic.writeSegmentation(volume, tmp_path / "x.nrrd")
    from SparseAnnotateLib.logic.sources_of_voxels import provenance_path

    assert str(provenance_path(tmp_path / "x")) == str(tmp_path / "x.provenance.nrrd")
