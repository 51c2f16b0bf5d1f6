"""Channels that are added to cases which a cohort folder has already: nothing is written for another image."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import (
    BadInputError,
    BusyError,
    Cohort,
    Plane,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.scene import annotations

SHAPE = (24, 28, 32)
LABELS = ball(SHAPE, 8.0)
RNG = np.random.default_rng(1)
NOISE = RNG.normal(size=SHAPE).astype(np.float32)
SHOWN = (100.0 * LABELS + 8.0 * RNG.normal(size=SHAPE)).astype(np.float32)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))


@pytest.fixture
def opened(mrml, logic, tmp_path):
    """A case that was opened from the cohort folder 'made', and another volume on its grid."""
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"})
    cohort.add_case("a", NOISE, GEOMETRY)
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 24, 5)))
    (volume,) = logic.openCohort(tmp_path / "made")
    return volume, mrml.util.addVolumeFromArray(SHOWN, scene.geometry_of(volume).matrix, "t1")


def require_unchanged(logic, volume, tmp_path):
    cohort = Cohort.open(tmp_path / "made")
    assert (cohort.channels, list(logic.channels(volume))) == ((), [])
    assert not list((tmp_path / "made").rglob("channels/*/*"))


def test_no_channel_is_added_to_an_image_file_that_was_replaced(logic, opened, tmp_path):
    volume, other = opened
    write_image(Cohort.open(tmp_path / "made").image_path("a"), NOISE[::-1] * 5, GEOMETRY)
    with pytest.raises(BadInputError, match="was replaced since it was opened here"):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    require_unchanged(logic, volume, tmp_path)
    with pytest.raises(SparseAnnotateError, match="was replaced since it was opened here"):
        logic.markEmpty(volume, "axial", 0)


def test_no_channel_is_added_to_voxels_that_have_changed(mrml, logic, opened, tmp_path):
    volume, other = opened
    mrml.util.updateVolumeFromArray(volume, NOISE[::-1] * 5)
    with pytest.raises(BadInputError, match="is no longer the image of the case 'a'"):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    require_unchanged(logic, volume, tmp_path)


def test_no_channel_is_added_to_a_file_that_is_replaced_meanwhile(logic, opened, tmp_path, monkeypatch):
    volume, other = opened
    real = Cohort.add_channels

    def after_another(cohort, *given, **named):
        write_image(cohort.image_path("a"), NOISE[::-1] * 5, GEOMETRY)
        return real(cohort, *given, **named)

    monkeypatch.setattr(Cohort, "add_channels", after_another)
    with pytest.raises(BadInputError, match="was replaced since it was opened here"):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    require_unchanged(logic, volume, tmp_path)


def test_several_channels_are_added_all_or_none(mrml, logic, opened, tmp_path, monkeypatch):
    volume, other = opened
    matrix = scene.geometry_of(volume).matrix
    matrix[:3, :3] *= 2.0
    coarse = mrml.util.addVolumeFromArray(SHOWN[::2, ::2, ::2].copy(), matrix, "coarse")
    count = len(scene.volumes_of_scene())
    with monkeypatch.context() as patched:

        def busy(*_given):
            raise BusyError("Another process works in the folder.")

        patched.setattr(Cohort, "locked", busy)
        with pytest.raises(BusyError):
            logic.addChannels(volume, {"T1": other, "T2": coarse}, firstChannel="FLAIR")
    require_unchanged(logic, volume, tmp_path)
    assert len(scene.volumes_of_scene()) == count
    logic.addChannels(volume, {"T1": other, "T2": coarse}, firstChannel="FLAIR")
    assert list(Cohort.open(tmp_path / "made").channel_paths("a")) == ["FLAIR", "T1", "T2"]
    logic.markEmpty(volume, "axial", 0)
    logic.exportNnunet([volume], tmp_path / "Dataset501_Balls")
    assert 0 in Cohort.open(tmp_path / "made").annotation("a").ledger.indices(Plane.AXIAL)


def test_the_second_of_two_channels_that_cannot_be_added_leaves_the_first_one_out(tmp_path):
    cohort = Cohort.create(tmp_path / "made", "balls", {1: "ball"})
    cohort.add_case("a", NOISE, GEOMETRY)
    with pytest.raises(BadInputError, match="Two channels are named"):
        cohort.add_channels({"T1": {}, "t1": {}}, "FLAIR")
    assert Cohort.open(tmp_path / "made").channels == ()


@pytest.mark.parametrize("has_cohort", [False, True])
def test_a_channel_of_an_opened_case_needs_its_own_folder(logic, opened, tmp_path, has_cohort):
    volume, other = opened
    logic.cohortFolder = tmp_path / "other"
    if has_cohort:
        Cohort.create(tmp_path / "other", "other")
    with pytest.raises(BadInputError, match="belongs to the cohort in .*made'. Choose that cohort folder"):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    with pytest.raises(BadInputError, match="belongs to the cohort in .*made'. Choose that cohort folder"):
        logic.setModality(volume, "CT")
    require_unchanged(logic, volume, tmp_path)
    logic.cohortFolder = tmp_path / "made"
    logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    assert list(logic.channels(volume)) == ["FLAIR", "T1"]


def test_a_channel_that_was_added_elsewhere_to_an_opened_case_is_named(logic, opened, tmp_path):
    volume, other = opened
    write_image(tmp_path / "t1.nrrd", SHOWN, GEOMETRY)
    Cohort.open(tmp_path / "made").add_channel("T1", {"a": tmp_path / "t1.nrrd"}, "FLAIR")
    with pytest.raises(SparseAnnotateError, match=r"has got a new channel since it was opened here \(T1\)"):
        logic.markEmpty(volume, "axial", 0)
    with pytest.raises(SparseAnnotateError, match=r"has got a new channel since it was opened here \(T1\)"):
        logic.addChannels(volume, {"T2": other})
    write_image(Cohort.open(tmp_path / "made").image_path("a"), NOISE[::-1] * 5, GEOMETRY)
    with pytest.raises(SparseAnnotateError, match="was replaced since it was opened here"):
        logic.markEmpty(volume, "axial", 1)


@pytest.fixture
def exported(mrml, logic, tmp_path, monkeypatch):
    """Two volumes that were written into the cohort folder, the first with drawn slices, and what exports them in
    another session.
    """
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    volumes = [mrml.util.addVolumeFromArray(100 * NOISE + n, matrix, name) for n, name in enumerate("ab")]
    segmentation = logic.segmentationNode(volumes[0])
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mrml.util.updateSegmentBinaryLabelmapFromArray(LABELS, segmentation, "ball", volumes[0])
    for index in range(2, 24, 5):
        logic.markDrawn(volumes[0], "axial", index)
    logic.exportNnunet(volumes, tmp_path / "Dataset501_Balls")
    numbers = iter(range(502, 600))

    def again(*given):
        number = next(numbers)
        monkeypatch.setattr(annotations, "_PROCESS", f"session {number}")
        logic.exportNnunet(list(given or volumes), tmp_path / f"Dataset{number}_Balls")

    return volumes, again


def added_elsewhere(logic, tmp_path, first: str) -> str:
    """Add the channel T1 to the first case of the cohort folder, as another program does; returns the case."""
    cohort = logic.cohort()
    name = cohort.cases[0].name
    write_image(tmp_path / "t1.nrrd", SHOWN, cohort.geometry(name))
    cohort.add_channel("T1", {name: tmp_path / "t1.nrrd"}, first)
    return name


def test_a_channel_that_was_added_elsewhere_stays_when_the_volume_is_written_again(mrml, logic, exported, tmp_path):
    volumes, again = exported
    name = added_elsewhere(logic, tmp_path, "FLAIR")
    again(volumes[0])
    assert list(logic.cohort().channel_paths(name)) == ["FLAIR", "T1"]
    np.testing.assert_array_equal(logic.cohort().channel_image(name, "T1", logic.cohort().geometry(name)), SHOWN)


def test_the_reference_of_a_case_stays_when_its_volume_is_written_again(mrml, logic, exported, tmp_path):
    (volume, _other), again = exported
    case = logic.cohort().cases[0].name
    write_image(tmp_path / "truth.nrrd", LABELS, logic.cohort().geometry(case))
    file = tmp_path / logic.cohort().folder / "cohort.json"
    content = json.loads(file.read_text())
    content.pop("checksum", None)
    content["cases"][0]["reference"] = str(tmp_path / "truth.nrrd")
    file.write_text(json.dumps(content))
    mrml.util.updateVolumeFromArray(volume, 2 * NOISE)
    again(volume)
    np.testing.assert_array_equal(logic.cohort().image(case)[0], 2 * NOISE)
    np.testing.assert_array_equal(logic.cohort().reference(case), LABELS)


def test_a_channel_that_is_added_to_an_opened_case_tells_what_it_is(mrml, logic, opened, tmp_path):
    volume, other = opened
    scene.store_modality(other, "PT")
    logic.addChannels(volume, {"PET": other}, firstChannel="MR")
    cohort = Cohort.open(tmp_path / "made")
    assert cohort.modalities == {"PET": "PT"}
    assert logic.modality(other) == "PT"
    # In another case, whose image is known to be something else.
    cohort.add_case("b", NOISE, GEOMETRY)
    (_first, second) = logic.openCohort(tmp_path / "made")
    third = mrml.util.addVolumeFromArray(SHOWN, scene.geometry_of(second).matrix, "t2")
    scene.store_modality(third, "CT")
    with pytest.raises(BadInputError, match="The channel 'PET' of the case 'b' has the modality CT, and .* is PT"):
        logic.addChannels(second, {"PET": third})
    assert list(Cohort.open(tmp_path / "made").channel_paths("b")) == ["MR"]
    assert not list((tmp_path / "made").rglob("channels/PET/b*"))


def test_a_channel_that_another_program_is_adding_is_refused(logic, opened, tmp_path):
    volume, other = opened
    with (
        Cohort.open(tmp_path / "made").adding_channel("T1"),
        pytest.raises(BusyError, match="is adding the channel 'T1'"),
    ):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    require_unchanged(logic, volume, tmp_path)


def test_an_image_that_another_program_has_added_is_not_replaced(logic, opened, tmp_path):
    volume, other = opened
    cohort = Cohort.open(tmp_path / "made")
    write_image(cohort.path_for_channel("a", "T1"), 3 * NOISE, GEOMETRY)
    cohort.add_channel("T1", {"a": cohort.path_for_channel("a", "T1")}, "FLAIR")
    with pytest.raises(BadInputError, match=r"has got a new channel since it was opened here \(T1\)"):
        logic.addChannels(volume, {"T1": other}, firstChannel="FLAIR")
    np.testing.assert_array_equal(Cohort.open(tmp_path / "made").channel_image("a", "T1", GEOMETRY), 3 * NOISE)
    assert len(list((tmp_path / "made").rglob("channels/T1/*"))) == 1


def test_a_written_volume_is_what_its_cohort_folder_says(logic, exported):
    """Which the volume itself may not tell: how it is used follows from the folder."""
    (volume, _other), _again = exported
    logic.cohort().use_modalities({"": "CT"})
    assert (logic.modality(volume), scene.modality_of(volume)) == ("CT", "")


def test_a_volume_of_unknown_modality_changes_nothing(mrml, logic, exported):
    (volume, _other), again = exported
    logic.setModality(volume, "CT")
    again()
    assert logic.cohort().modalities == {"": "CT"}
    third = mrml.util.addVolumeFromArray(NOISE, np.eye(4), "third")
    again(volume, third)
    assert (len(logic.cohort().cases), logic.cohort().modalities) == (3, {"": "CT"})


def test_a_volume_of_another_modality_is_refused_with_a_sentence(mrml, logic, exported, tmp_path):
    (volume, _other), again = exported
    logic.setModality(volume, "CT")
    scan = mrml.util.addVolumeFromArray(NOISE, np.eye(4), "scan")
    scene.store_modality(scan, "MR")
    with pytest.raises(SparseAnnotateError, match="The image of the case 'scan .*' has the modality MR, and .* is CT"):
        again(volume, scan)
    # Also where the first channel has got a name since, which the volume does not know.
    added_elsewhere(logic, tmp_path, "venous")
    words = "The channel 'venous' of the case 'scan .*' has the modality MR, and .* is CT"
    with pytest.raises(SparseAnnotateError, match=words):
        again(volume, scan)
    assert logic.cohort().modalities == {"venous": "CT"}
    assert len(logic.cohort().cases) == 2


def test_a_channel_that_was_named_later_takes_the_modality_of_its_volume(mrml, logic, exported, tmp_path):
    (volume, _other), again = exported
    added_elsewhere(logic, tmp_path, "FLAIR")
    logic.setModality(volume, "MR")
    assert logic.cohort().modalities == {"FLAIR": "MR"}
    again(volume)
    mrml.util.updateVolumeFromArray(volume, 101 * NOISE)
    again(volume)
    (opened, _second) = logic.openCohort(logic.cohortFolder)
    assert logic.modality(opened) == "MR"


def test_a_modality_that_the_cohort_does_not_take_is_not_stored(logic, exported, monkeypatch):
    (volume, _other), _again = exported

    def busy(*_given):
        raise BusyError("Another process works in the folder.")

    monkeypatch.setattr(Cohort, "use_modalities", busy)
    with pytest.raises(BusyError):
        logic.setModality(volume, "CT")
    assert scene.modality_of(volume) == ""
