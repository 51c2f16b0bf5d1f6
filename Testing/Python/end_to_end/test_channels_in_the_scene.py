"""Several volumes of the scene as one case: fills, models and cohort folders see all of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from corrected_scene import point
from followed_strokes import Followed
from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    CohortError,
    Plane,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import write_image

SHAPE = (24, 28, 32)
LABELS = ball(SHAPE, 8.0)
MATRIX = np.diag([-1.0, -1.0, 2.0, 1.0])
RNG = np.random.default_rng(1)
NOISE = RNG.normal(size=SHAPE).astype(np.float32)
SHOWN = (100.0 * LABELS + 8.0 * RNG.normal(size=SHAPE)).astype(np.float32)


@pytest.fixture
def volumes(mrml, logic):
    """A volume of noise with drawn slices, and another one on its grid, which shows what is drawn."""
    drawn = mrml.util.addVolumeFromArray(NOISE, MATRIX, "noise")
    other = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "shown")
    segmentation = logic.segmentationNode(drawn)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    indices = list(range(2, 24, 5))
    mask = np.zeros_like(LABELS)
    mask[indices] = LABELS[indices]
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "ball", drawn)
    for index in indices:
        logic.markDrawn(drawn, "axial", index)
    return drawn, other


def filled(mrml, logic, volume, **how):
    node = logic.fillBetweenSlices(volume, "random_walk", **how)
    return mrml.util.arrayFromSegmentBinaryLabelmap(node, "ball", volume).copy()


def test_a_fill_sees_the_channel_that_shows_the_structure(mrml, logic, volumes):
    volume, other = volumes
    before = filled(mrml, logic, volume)
    assert logic.channels(volume) == {}
    assert logic.setChannels(volume, {"T1": volume, "FLAIR": other}) == []
    assert logic.channels(volume) == {"T1": volume, "FLAIR": other}
    assert logic.panel.volumes() == [volume]
    after = filled(mrml, logic, volume)
    assert np.count_nonzero(after != LABELS) < 0.5 * np.count_nonzero(before != LABELS)
    # Changed voxels of a further channel count as a changed image.
    mrml.util.updateVolumeFromArray(other, NOISE)
    assert np.array_equal(filled(mrml, logic, volume), before)
    logic.setChannels(volume, {"T1": volume})
    assert logic.channels(volume) == {"T1": volume}
    assert logic.panel.volumes() == [volume, other]
    logic.setChannels(volume, {})
    assert logic.channels(volume) == {}


def test_a_correction_follows_the_channel_that_shows_the_structure(mrml, logic, volumes):
    """In the answer at hand as in a new fill, and as if that channel were the only one."""
    volume, other = volumes
    found = []
    for image, channels in ((NOISE, {}), (NOISE, {"T1": volume, "FLAIR": other}), (SHOWN, {})):
        logic.setChannels(volume, channels)
        mrml.util.updateVolumeFromArray(volume, image)
        node = logic.fillBetweenSlices(volume, "shape")
        logic.correct(volume, "ball", point(volume, (14, 7, 9)), radius=3.0)
        found.append(mrml.util.arrayFromSegmentBinaryLabelmap(node, "ball", volume).copy())
        again = logic.fillBetweenSlices(volume, "shape")
        assert np.array_equal(mrml.util.arrayFromSegmentBinaryLabelmap(again, "ball", volume), found[-1])
        logic.clearCorrections(volume)
    by_noise, by_both, by_shown = found
    assert np.array_equal(by_both, by_shown)
    assert not np.array_equal(by_both, by_noise)


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_after_a_further_slice_the_channel_is_chosen_before_the_next_stroke(
    mrml, follower, loop, volumes, monkeypatch, is_waited_for
):
    """In pieces, from the event loop; a stroke that comes sooner chooses the same."""
    from SparseAnnotateLib.logic import corrected_answer  # here, because it needs Slicer's modules

    volume, other = volumes
    follower.setChannels(volume, {"T1": volume, "FLAIR": other})
    node = follower.fillBetweenSlices(volume, "shape")
    strokes = Followed(follower, loop, volume, node)
    chosen, choose = [], corrected_answer.finding_image_of_structure

    def choosing(*given):
        chosen.append(given)
        return choose(*given)

    monkeypatch.setattr(corrected_answer, "finding_image_of_structure", choosing)
    drawing = follower.segmentationNode(volume)
    mask = mrml.util.arrayFromSegmentBinaryLabelmap(drawing, "ball", volume).copy()
    mask[9] = LABELS[9]
    mrml.util.updateSegmentBinaryLabelmapFromArray(mask, drawing, "ball", volume)
    follower.markDrawn(volume, "axial", 9)
    if is_waited_for:
        assert len(loop.waiting) == 1
        turns = 0
        while loop.waiting:
            loop.turn()
            turns += 1
        assert turns > 2 * 6  # one for each drawn slice of each channel
        assert len(chosen) == 1
    strokes.stroke(mrml, ball(SHAPE, 3.0, (14, 7, 9)) > 0)
    assert len(chosen) == 1
    loop.run()
    after = mrml.util.arrayFromSegmentBinaryLabelmap(node, "ball", volume)
    monkeypatch.setattr(corrected_answer.CorrectedAnswer, "choosing_ahead", lambda _answer: iter(()))
    follower.clearCorrections(volume)
    again = Followed(follower, loop, volume, node)
    again.stroke(mrml, ball(SHAPE, 3.0, (14, 7, 9)) > 0)
    loop.run()
    assert np.array_equal(mrml.util.arrayFromSegmentBinaryLabelmap(node, "ball", volume), after)


def test_a_result_is_out_of_date_when_a_channel_has_changed(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    node = logic.fillBetweenSlices(volume, "random_walk")
    mrml.util.updateVolumeFromArray(other, NOISE)
    with pytest.raises(BadInputError, match="image 'noise' has changed since"):
        logic.applyFill(volume, node)


def test_training_and_running_a_model_see_all_channels(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    run = logic.train([volume], "r", settings={**QUICK_TRAINING, "iterations": 3}, preset="quick")
    cohort = logic.cohort()
    assert cohort.channels == ("T1", "FLAIR")
    case = cohort.cases[0].name
    assert np.array_equal(cohort.channel_image(case, "FLAIR", cohort.geometry(case)), SHOWN)
    (result,) = logic.segment([volume], run, modelOnly=True)
    assert scene.segment_names(result) == ["ball"]
    # A further volume of one image does not fit into this folder.
    single = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "single")
    with pytest.raises(CohortError, match="has T1, FLAIR, and the images to add have no named channels"):
        logic.segment([single], run)


def test_a_volume_on_another_grid_is_resampled_once_and_that_is_said(mrml, logic, volumes):
    volume, _other = volumes
    coarse = mrml.util.addVolumeFromArray(SHOWN[::2, ::2, ::2], MATRIX @ np.diag([2.0, 2.0, 2.0, 1.0]), "coarse")
    logic.setModality(coarse, "CT")
    (note,) = logic.setChannels(volume, {"T1": volume, "FLAIR": coarse})
    made = logic.channels(volume)["FLAIR"]
    assert note == f"'coarse' was resampled to the grid of 'noise', as '{made.GetName()}'."
    assert made is not coarse
    assert logic.modality(made) == "CT"
    assert scene.geometry_of(made).difference_from(scene.geometry_of(volume)) is None
    found = mrml.util.arrayFromVolume(made)
    assert np.allclose(found[::2, ::2, ::2], SHOWN[::2, ::2, ::2], atol=1e-3)
    far = mrml.util.addVolumeFromArray(SHOWN, MATRIX + np.array([[0, 0, 0, 900]] * 3 + [[0] * 4]), "far")
    with pytest.raises(BadInputError, match="'far' cannot be a channel of 'noise'. The image lies outside"):
        logic.setChannels(volume, {"T1": volume, "FLAIR": far})
    assert logic.channels(volume)["FLAIR"] is made


def test_a_resampled_channel_has_a_name_that_can_be_saved(mrml, logic, volumes):
    """Slicer names its file after it, and cannot open a scene again with an '&' there."""
    volume, _other = volumes
    coarse = mrml.util.addVolumeFromArray(SHOWN[::2, ::2, ::2], MATRIX @ np.diag([2.0, 2.0, 2.0, 1.0]), "coarse")
    logic.setChannels(volume, {"T1": volume, "fat & water": coarse})
    assert logic.channels(volume)["fat & water"].GetName() == "noise fat + water"


def test_channels_that_cannot_be_are_refused(mrml, logic, volumes):
    volume, other = volumes
    for channels, words in (
        ({"T1": other, "FLAIR": volume}, "first channel must be the volume that is drawn on, 'noise'"),
        ({"T1": volume, "T2": volume}, "'noise' is given for two channels"),
        ({"T1": volume, "t1": other}, "Two channels are named"),
        ({f"c{n}": volume for n in range(9)}, "at most 8 channels"),
        ({"T1": volume, "FLAIR": None}, "No volume is selected"),
    ):
        with pytest.raises(BadInputError, match=words):
            logic.setChannels(volume, channels)
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    third = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "third")
    with pytest.raises(BadInputError, match="'noise' has channels of its own"):
        logic.setChannels(third, {"T1": third, "FLAIR": volume})
    with pytest.raises(BadInputError, match="'shown' is a channel of another volume"):
        logic.setChannels(other, {"FLAIR": other, "T2": third})
    assert logic.channels(volume) == {"T1": volume, "FLAIR": other}


def test_a_volume_belongs_to_one_case(mrml, logic, volumes):
    volume, other = volumes
    second = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "second")
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    assert second in logic.panel.channels.choices(volume)
    assert logic.panel.channels.choices(second) == []
    with pytest.raises(BadInputError, match="'shown' is a channel of 'noise' already"):
        logic.setChannels(second, {"T1": second, "FLAIR": other})
    assert logic.channels(second) == {}
    # A volume with drawn slices of its own can be a channel, but they do not count then, which is said.
    logic.setChannels(volume, {})
    (note,) = logic.setChannels(other, {"FLAIR": other, "T1": volume})
    assert note == "Slices were drawn on 'noise' itself. They do not count while it is a channel of 'shown'."


def test_nothing_stays_behind_when_one_of_several_channels_cannot_be_used(mrml, logic, volumes):
    volume, _other = volumes
    coarse = mrml.util.addVolumeFromArray(SHOWN[::2, ::2, ::2], MATRIX @ np.diag([2.0, 2.0, 2.0, 1.0]), "coarse")
    far = mrml.util.addVolumeFromArray(SHOWN, MATRIX + np.array([[0, 0, 0, 900]] * 3 + [[0] * 4]), "far")
    before = logic.panel.volumes()
    with pytest.raises(BadInputError, match="'far' cannot be a channel of 'noise'"):
        logic.setChannels(volume, {"T1": volume, "FLAIR": coarse, "T2": far})
    assert logic.panel.volumes() == before


def test_a_case_may_lack_a_channel_that_has_a_name(mrml, logic, volumes):
    volume, other = volumes
    with pytest.raises(BadInputError, match="'FLAIR' is not one of the names"):
        logic.setChannels(volume, {"T1": volume, "FLAIR": other}, ("T1", "T2"))
    with pytest.raises(BadInputError, match="first channel must be"):
        logic.setChannels(volume, {"T1": volume, "FLAIR": other}, ("FLAIR", "T1"))
    logic.setChannels(volume, {"T1": volume, "FLAIR": other}, ("T1", "T2", "FLAIR"))
    assert logic.channels(volume) == {"T1": volume, "FLAIR": other}
    assert logic.panel.channels.missing(volume) == ["T2"]
    # The folder gets the names of all channels: another case may have the one that this one lacks.
    with pytest.raises(SparseAnnotateError, match="channel 'T2' is missing in 1 case"):
        logic.train([volume], "r", settings={**QUICK_TRAINING, "iterations": 3}, preset="quick")
    assert logic.cohort().channels == ("T1", "T2", "FLAIR")
    with pytest.raises(CohortError, match="has T1, T2, FLAIR, and the images to add have T1, PET"):
        logic.setChannels(volume, {"T1": volume, "PET": other})
    assert logic.panel.channels.missing(volume) == ["T2"]


def test_channels_of_an_opened_case_are_those_of_its_folder(mrml, logic, tmp_path):
    geometry = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
    Cohort.create(tmp_path / "made", "balls", {1: "ball"}).add_case("a", NOISE, geometry)
    (volume,) = logic.openCohort(tmp_path / "made")
    other = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "shown")
    logic.cohortFolder = tmp_path / "another"
    for case, further in ((volume, other), (other, volume)):
        with pytest.raises(BadInputError, match="cohort folder"):
            logic.setChannels(case, {"T1": case, "FLAIR": further})
    assert logic.channels(volume) == {}


def test_a_removed_channel_is_missing_and_not_replaced(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    mrml.mrmlScene.RemoveNode(other)
    assert logic.channels(volume) == {"T1": volume}
    with pytest.raises(SparseAnnotateError, match="channel 'FLAIR' is missing in 1 case"):
        logic.train([volume], "r", settings={**QUICK_TRAINING, "iterations": 3}, preset="quick")


def test_a_cohort_of_several_channels_is_opened_with_all_of_them(mrml, logic, tmp_path):
    geometry = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"}, channels=("T1", "FLAIR"))
    write_image(tmp_path / "flair.nrrd", SHOWN, geometry)
    cohort.add_case("a", NOISE, geometry, further={"FLAIR": tmp_path / "flair.nrrd"})
    cohort.add_case("b", NOISE, geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, geometry, Plane.AXIAL, (6, 12, 18)))
    first, second = logic.openCohort(tmp_path / "made")
    assert list(logic.channels(first)) == ["T1", "FLAIR"]
    assert np.array_equal(mrml.util.arrayFromVolume(logic.channels(first)["FLAIR"]), SHOWN)
    assert logic.channels(second) == {"T1": second}
    assert logic.panel.channels.missing(second) == ["FLAIR"]
    assert "The case 'b' has no image of the channel 'FLAIR'." in logic.openingNotes()
    assert logic.panel.volumes() == [first, second]
    filled(mrml, logic, first)
    logic.markEmpty(first, "axial", 0)
    assert Cohort.open(tmp_path / "made").annotation("a").ledger.is_decided(Plane.AXIAL, 0)
    # What is drawn on other voxels than those of the folder is not written there, of further channels either.
    mrml.util.updateVolumeFromArray(logic.channels(first)["FLAIR"], NOISE)
    with pytest.raises(BadInputError, match="'a' is no longer the image of the case 'a'"):
        logic.markEmpty(first, "axial", 1)
    assert not Cohort.open(tmp_path / "made").annotation("a").ledger.is_decided(Plane.AXIAL, 1)


def test_a_case_may_lack_a_channel_that_others_have(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    second = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "second")
    logic.setChannels(second, {"T1": second, "FLAIR": mrml.util.addVolumeFromArray(SHOWN, MATRIX, "flair")})
    third = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "third")
    logic.train([volume], "r", settings={**QUICK_TRAINING, "iterations": 2}, preset="quick")
    logic.segment([second], "r")
    t2 = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "t2")
    with pytest.raises(CohortError, match="has T1, FLAIR, and the images to add have T1, T2"):
        logic.setChannels(third, {"T1": third, "T2": t2})
    logic.setChannels(third, {"T1": third})
    with pytest.raises(SparseAnnotateError, match="channel 'FLAIR' is missing in 1 case: 'third"):
        logic.segment([third], "r")
    with pytest.raises(CohortError, match="has T1, FLAIR, and the images to add have FLAIR, T1"):
        logic.setChannels(third, {"FLAIR": third, "T1": t2})
    # The folder may be selected afterwards.
    folder, logic.cohortFolder = logic.cohortFolder, logic.cohortFolder.with_name("another")
    logic.setChannels(third, {"T1": third, "T2": t2})
    logic.cohortFolder = folder
    with pytest.raises(CohortError, match="has T1, FLAIR, and the images to add have T1, T2"):
        logic.segment([third], "r")
    assert len(logic.cohort().cases) == 3


def predictions_of(cohort):
    return {case.name: cohort.prediction_path("r", case.name) for case in cohort.cases}


def test_a_volume_that_cannot_be_labeled_gets_no_earlier_result(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    second = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "second")
    logic.setChannels(second, {"T1": second, "FLAIR": mrml.util.addVolumeFromArray(SHOWN, MATRIX, "flair")})
    third = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "third")
    logic.setChannels(third, {"T1": third})
    logic.train([volume], "r", settings={**QUICK_TRAINING, "iterations": 2}, preset="quick")
    for is_earlier in (False, True):
        if is_earlier:
            earlier = {name.partition(" ")[0]: path for name, path in predictions_of(logic.cohort()).items()}
            shutil.copyfile(earlier["second"], earlier["third"])
        before = {node.GetID() for node in mrml.util.getNodesByClass("vtkMRMLSegmentationNode")}
        with pytest.raises(PartlyDoneError, match=r"1 case was not labeled .*\n'third.*': .*'FLAIR' is missing"):
            logic.segment([third, second], "r")
        made = [n for n in mrml.util.getNodesByClass("vtkMRMLSegmentationNode") if n.GetID() not in before]
        assert [node.GetName().split("_")[0] for node in made] == ["second r"]


def test_a_channel_whose_file_was_not_found_is_missing(mrml, logic, volumes):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    before = logic.fillBetweenSlices(volume, "random_walk")
    assert not any("has no image of" in warning for warning in logic.fillReport(before).warnings)
    other.SetAndObserveImageData(None)
    assert logic.channels(volume) == {"T1": volume}
    after = logic.fillBetweenSlices(volume, "random_walk")
    assert "'noise' has no image of 'FLAIR', so it was filled without." in logic.fillReport(after).warnings


def test_of_three_channels_the_one_that_is_removed_is_missing(mrml, logic, volumes):
    volume, other = volumes
    third = mrml.util.addVolumeFromArray(SHOWN, MATRIX, "third")
    logic.setChannels(volume, {"T1": volume, "T2": other, "FLAIR": third})
    mrml.mrmlScene.RemoveNode(other)
    assert logic.channels(volume) == {"T1": volume, "FLAIR": third}
    logic.setChannels(volume, {"T1": volume, "FLAIR": third})
    assert logic.channels(volume) == {"T1": volume, "FLAIR": third}


def test_the_scene_keeps_channels(mrml, logic, volumes, tmp_path):
    volume, other = volumes
    logic.setChannels(volume, {"T1": volume, "FLAIR": other})
    for node in (volume, other):
        storage = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(str(tmp_path / f"{node.GetName()}.nrrd"))
        node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(node)
    mrml.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    mrml.mrmlScene.Commit()
    mrml.mrmlScene.Clear(0)
    mrml.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    mrml.mrmlScene.Connect()
    again = mrml.mrmlScene.GetFirstNodeByName("noise")
    assert {name: node.GetName() for name, node in logic.channels(again).items()} == {"T1": "noise", "FLAIR": "shown"}


def test_a_volume_from_dicom_is_known_to_be_ct_and_others_are_said_to_be(mrml, logic, volumes, tmp_path):
    volume, other = volumes
    assert logic.modality(volume) == ""
    tree = mrml.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml.mrmlScene)
    tree.SetItemAttribute(tree.CreateItem(tree.GetSceneItemID(), volume), "DICOM.Modality", "CT")
    assert logic.modality(volume) == "CT"
    logic.setChannels(volume, {"venous": volume, "other": other})
    logic.setModality(other, "mr")
    with pytest.raises(BadInputError, match="'c t' is not a modality"):
        logic.setModality(volume, "c t")
    logic.exportNnunet([volume], tmp_path / "Dataset501_Balls")
    assert logic.cohort().modalities == {"venous": "CT", "other": "MR"}
    assert '"CT"' in (tmp_path / "Dataset501_Balls/dataset.json").read_text()
    # A case of which that is not known counts as one of them.
    plain = mrml.util.addVolumeFromArray(NOISE + 1, MATRIX, "plain")
    logic.setChannels(plain, {"venous": plain, "other": mrml.util.addVolumeFromArray(SHOWN, MATRIX, "third")})
    logic.exportNnunet([plain, volume], tmp_path / "Dataset502_Balls")
    assert logic.cohort().modalities == {"venous": "CT", "other": "MR"}
    # Said of one volume, it is said of the channel.
    logic.setModality(plain, "PT")
    assert logic.cohort().modalities == {"venous": "PT", "other": "MR"}
    logic.setModality(plain, "CT")
    logic.setModality(volume, "")
    assert logic.modality(volume) == "CT"  # as DICOM says


def test_a_channel_is_added_to_a_case_of_the_cohort_folder(mrml, logic, volumes, tmp_path):
    volume, other = volumes
    plain = mrml.util.addVolumeFromArray(NOISE + 1, MATRIX, "plain")
    fill = logic.fillBetweenSlices(volume, "random_walk")
    logic.exportNnunet([volume, plain], tmp_path / "Dataset501_Balls")
    assert logic.cohort().channels == ()
    with pytest.raises(BadInputError, match="have no channel name yet. Give the first channel a name"):
        logic.addChannels(volume, {"T1": other})
    (note,) = logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    assert note == "The cohort folder has the further channel T1 now; its other cases lack it."
    assert list(logic.channels(volume)) == ["FLAIR", "T1"]
    assert logic.cohort().channels == ("FLAIR", "T1")
    assert [item.index for item in logic.worklist([volume])] == list(range(2, 24, 5))
    with pytest.raises(SparseAnnotateError, match="the image or its grid has changed|is out of date|has changed"):
        logic.applyFill(volume, fill)
    # The other case goes on without it.
    logic.exportNnunet([volume], tmp_path / "Dataset502_Balls")
    cohort = logic.cohort()
    lacking = {case.name: list(cohort.channel_paths(case.name)) for case in cohort.cases}
    assert sorted(lacking.values()) == [["FLAIR"], ["FLAIR", "T1"]]
    (name,) = [name for name, found in lacking.items() if len(found) == 2]
    np.testing.assert_array_equal(cohort.channel_image(name, "T1", cohort.geometry(name)), SHOWN)
    with pytest.raises(BadInputError, match="'noise' already has the channel 'T1'"):
        logic.addChannels(volume, {"T1": other})


def test_a_channel_is_added_to_an_opened_case_and_written_into_its_folder(mrml, logic, tmp_path):
    geometry = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"})
    cohort.add_case("a", NOISE, geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, geometry, Plane.AXIAL, range(2, 24, 5)))
    (volume,) = logic.openCohort(tmp_path / "made")
    matrix = scene.geometry_of(volume).matrix
    matrix[:3, :3] *= 2.0
    coarse = mrml.util.addVolumeFromArray(SHOWN[::2, ::2, ::2].copy(), matrix, "coarse")
    note, _more = logic.addChannels(volume, {"T1": coarse}, firstChannel="FLAIR")
    assert "'coarse' was resampled to the grid of 'a'" in note
    again = Cohort.open(tmp_path / "made")
    assert again.channels == ("FLAIR", "T1")
    assert again.channel_image("a", "T1", geometry)[4, 6, 8] == pytest.approx(SHOWN[4, 6, 8])
    before = again.annotation("a")
    assert before.ledger.indices(Plane.AXIAL) == list(range(2, 24, 5))
    # What is drawn goes on being written into the folder.
    logic.markEmpty(volume, "axial", 0)
    logic.exportNnunet([volume], tmp_path / "Dataset501_Balls")
    assert 0 in Cohort.open(tmp_path / "made").annotation("a").ledger.indices(Plane.AXIAL)
