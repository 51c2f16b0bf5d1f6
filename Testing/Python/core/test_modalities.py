"""The modality of a channel: as it is written, where it is kept, and what other programs call it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, Cohort, VolumeGeometry
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.modalities import check_modalities, modalities_by_name, parsed_modalities

GEOMETRY = VolumeGeometry.from_spacing((4, 5, 6))


def test_a_modality_is_given_alone_or_for_each_channel():
    assert parsed_modalities(["ct"], ()) == {"": "CT"}
    assert parsed_modalities(["CT"], ("contrast",)) == {"contrast": "CT"}
    assert parsed_modalities(["contrast=CT", "PET=pt"], ("contrast", "PET")) == {"contrast": "CT", "PET": "PT"}
    assert parsed_modalities([], ("CT", "PET")) == {}


@pytest.mark.parametrize(
    ("items", "channels", "words"),
    [
        (["CT"], ("a", "b"), "which channel has the modality CT, for example 'a=CT'"),
        (["T1=MR"], ("CT", "PET"), "given for the channel 'T1', but the channels are: CT, PET"),
        (["x=CT"], (), "given for the channel 'x', but the channels are: none with a name"),
        (["computed tomography"], (), "'computed tomography' is not a modality"),
        ([""], (), "'' is not a modality"),
        (["a=CT", "a=MR"], ("a", "b"), "Two modalities are given for the channel 'a'"),
        (["CT", "MR"], (), "Two modalities are given"),
    ],
)
def test_modalities_that_cannot_be_are_refused(items, channels, words):
    with pytest.raises(BadInputError, match=words):
        parsed_modalities(items, channels)


def test_a_channel_that_is_called_ct_is_ct(tmp_path):
    assert modalities_by_name(("ct", "PET")) == {"ct": "CT"}
    assert modalities_by_name(("CT 1", "CT 2"), ("CT", "CT")) == {"CT 1": "CT", "CT 2": "CT"}
    cohort = Cohort.create(tmp_path / "a", "a", channels=("PET", "CT"))
    assert (cohort.is_ct("CT"), cohort.is_ct("PET"), cohort.is_ct()) == (True, False, False)
    assert Cohort.open(tmp_path / "a").modalities == {"CT": "CT"}
    assert Cohort.create(tmp_path / "b", "b", channels=("CT",), modalities={"CT": "MR"}).modalities == {"CT": "MR"}
    plain = Cohort.create(tmp_path / "c", "c", modalities={"": "CT"})
    assert plain.is_ct()
    with pytest.raises(BadInputError, match="given for the channel 'T1'"):
        Cohort.create(tmp_path / "d", "d", modalities={"T1": "CT"})


def test_modalities_can_be_changed_later(tmp_path):
    cohort = Cohort.create(tmp_path / "a", "a")
    cohort.use_modalities({"": "ct"})
    assert Cohort.open(tmp_path / "a").is_ct()
    cohort.use_modalities({"": ""})
    assert "modalities" not in json.loads((tmp_path / "a/cohort.json").read_text())
    with pytest.raises(BadInputError, match="given for the channel 'T1'"):
        cohort.use_modalities({"T1": "MR"})
    assert check_modalities(cohort.modalities, ()) == {}


def test_what_a_cohort_knows_of_a_channel_stays_when_a_case_is_added(tmp_path):
    cohort = Cohort.create(tmp_path / "a", "a", modalities={"": "CT"})
    cohort.note_modalities("one", {"": ""})
    assert Cohort.open(tmp_path / "a").modalities == {"": "CT"}
    with pytest.raises(BadInputError, match="of the case 'one' has the modality MR, and in the cohort 'a' it is CT"):
        cohort.note_modalities("one", {"": "MR"})
    plain = Cohort.create(tmp_path / "b", "b")
    plain.add_case("one", np.zeros((4, 5, 6), np.uint8), GEOMETRY)
    plain.note_modalities("two", {"": "CT"})  # of the first case it is not known
    assert plain.modalities == {}
    plain.note_modalities("one", {"": "CT"})
    assert plain.modality() == "CT"


def test_a_channel_with_images_keeps_its_modality(tmp_path):
    cohort = Cohort.create(tmp_path / "a", "a")
    cohort.add_case("one", np.zeros((4, 5, 6), np.uint8), GEOMETRY)
    cohort.add_case("two", np.zeros((4, 5, 6), np.uint8), GEOMETRY)
    write_image(tmp_path / "t1.nrrd", np.ones((4, 5, 6), np.uint8), GEOMETRY)
    cohort.add_channel("T1", {"one": tmp_path / "t1.nrrd"}, "FLAIR", "MR")
    with pytest.raises(BadInputError, match="The channel 'T1' has the modality MR in the cohort 'a', not CT"):
        cohort.add_channel("T1", {"two": tmp_path / "t1.nrrd"}, modality="CT")
    assert Cohort.open(tmp_path / "a").modalities == {"T1": "MR"}
    cohort.add_channel("T1", {"two": tmp_path / "t1.nrrd"}, modality="MR")
    cohort.use_modalities({"": "MR"})  # images that had no channel's name
    assert cohort.modalities == {"FLAIR": "MR", "T1": "MR"}


def test_a_cohort_without_cases_that_gets_channels_keeps_those_of_them(tmp_path):
    cohort = Cohort.create(tmp_path / "a", "a", modalities={"": "CT"})
    cohort.use_channels(("PET", "CT"))
    assert cohort.modalities == {"CT": "CT"}


def test_a_modality_in_an_edited_cohort_file_is_checked(tmp_path):
    path = tmp_path / "a/cohort.json"
    Cohort.create(tmp_path / "a", "a")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "modalities": {"T1": "MR"}}))
    with pytest.raises(BadInputError, match="The channels in '.*' cannot be used. The modality MR is given"):
        Cohort.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("modality", "shape", "found"),
    [
        ({"0": "CT"}, (4, 5, 6), {"": "CT"}),
        ({"0": "MRI"}, (4, 5, 6), {}),
        ({"0": "PET", "1": "CT"}, (2, 4, 5, 6), {"CT": "CT"}),
        ({"0": "CT", "1": "PET"}, (4, 5, 6), {}),
    ],
)
def test_a_decathlon_folder_says_which_images_are_ct(tmp_path, modality, shape, found):
    import SimpleITK as sitk

    (tmp_path / "imagesTr").mkdir()
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros(shape, np.int16), isVector=False), str(tmp_path / "imagesTr/a.nii.gz")
    )
    write_image(tmp_path / "labelsTr/a.nii.gz", np.zeros((4, 5, 6), np.uint8), GEOMETRY)
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    content = {"labels": {"0": "background", "1": "x"}, "modality": modality, "training": training}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    assert Cohort.open(tmp_path).modalities == found
