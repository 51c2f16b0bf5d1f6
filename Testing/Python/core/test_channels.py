"""Cohorts whose cases have several images on one grid."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Case, Cohort, CohortError, VolumeGeometry
from SparseAnnotateLib.core.channels import (
    check_channels,
    grouped_by_channel,
    parsed_channels,
    resampled_to_channel,
    volume_of_channel,
)
from SparseAnnotateLib.core.images import channel_count, read_geometry, read_image, write_image

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
FLAIR, T1 = noisy_image(ball(), 1), noisy_image(ball(), 2).astype(np.int16)


def write_4d(path, *channels):
    import SimpleITK as sitk

    images = []
    for channel in channels:
        image = sitk.GetImageFromArray(channel.astype(np.float32))
        image.SetSpacing((1.0, 1.0, 2.0))
        images.append(image)
    sitk.WriteImage(sitk.JoinSeries(images), str(path))
    return path


@pytest.fixture
def two_channels(tmp_path):
    cohort = Cohort.create(tmp_path / "cohort", "heads", {1: "ball"}, channels=("FLAIR", "T1"))
    write_image(tmp_path / "t1.nrrd", T1, GEOMETRY)
    cohort.add_case("a", FLAIR, GEOMETRY, further={"T1": tmp_path / "t1.nrrd"})
    cohort.add_case("b", FLAIR, GEOMETRY)
    return Cohort.open(tmp_path / "cohort")


def test_each_channel_is_read_by_its_name(two_channels, tmp_path):
    assert two_channels.channels == ("FLAIR", "T1")
    assert two_channels.channel_paths("a") == {
        "FLAIR": tmp_path / "cohort/images/a.nrrd",
        "T1": tmp_path / "cohort" / "../t1.nrrd",
    }
    assert np.array_equal(two_channels.channel_image("a", "FLAIR", GEOMETRY), FLAIR)
    found = two_channels.channel_image("a", "T1", GEOMETRY)
    assert found.dtype == np.int16
    assert np.array_equal(found, T1)
    assert np.array_equal(two_channels.image("a")[0], FLAIR)


def test_a_case_that_is_written_again_keeps_channels_on_its_grid(two_channels):
    list(two_channels.adding_case("a", FLAIR + 1, GEOMETRY, kept=["T1"]))
    assert list(Cohort.open(two_channels.folder).channel_paths("a")) == ["FLAIR", "T1"]
    other = VolumeGeometry.from_spacing(GEOMETRY.shape, (3.0, 1.0, 1.0))
    with pytest.raises(BadInputError, match="does not lie on the grid of the first channel"):
        list(two_channels.adding_case("a", FLAIR + 2, other, kept=["T1"]))
    assert np.array_equal(two_channels.image("a")[0], FLAIR + 1)
    list(two_channels.adding_case("a", FLAIR, GEOMETRY))
    assert list(two_channels.channel_paths("a")) == ["FLAIR"]


def test_files_of_channels_cannot_be_those_of_another_case(two_channels):
    """A case is called like the file of a channel of another one."""
    other = FLAIR + 7
    two_channels.add_case("a T1", other, GEOMETRY)
    path = two_channels.path_for_channel("a", "T1")
    assert path != two_channels.image_path("a T1")
    write_image(path, T1, GEOMETRY)
    assert np.array_equal(two_channels.image("a T1")[0], other)
    # A case that was renamed keeps its file.
    two_channels.add_case("b", FLAIR, GEOMETRY, further={"T1": path})
    assert two_channels.path_for_channel("a", "T1") != path
    assert two_channels.path_for_channel("b", "T1") != path


def test_a_missing_channel_is_said_by_case(two_channels):
    assert list(two_channels.channel_paths("b")) == ["FLAIR"]
    with pytest.raises(BadInputError, match="case 'b' has no image of the channel 'T1'"):
        two_channels.channel_image("b", "T1", GEOMETRY)


def test_a_missing_file_of_a_channel_is_said(two_channels, tmp_path):
    (tmp_path / "t1.nrrd").unlink()
    two_channels.select(["b"])
    with pytest.raises(CohortError, match=r"t1\.nrrd' \(case 'a'\)"):
        two_channels.select(["a"])


def test_the_fingerprint_changes_with_any_channel_and_is_that_of_the_image_where_there_is_one(two_channels, tmp_path):
    before = two_channels.image_fingerprint("a")
    assert before == two_channels.image_fingerprint("a") != two_channels.image_fingerprint("b")
    write_image(tmp_path / "t1.nrrd", T1 + 1, GEOMETRY)
    assert two_channels.image_fingerprint("a") != before
    plain = Cohort.create(tmp_path / "plain", "plain")
    plain.add_case("b", FLAIR, GEOMETRY)
    assert plain.image_fingerprint("b") == two_channels.image_fingerprint("b")


def test_files_of_cohorts_without_channels_are_as_before(tmp_path):
    cohort = Cohort.create(tmp_path / "plain", "plain")
    cohort.add_case("a", FLAIR, GEOMETRY)
    content = json.loads((tmp_path / "plain/cohort.json").read_text())
    assert "channels" not in content
    assert set(content["cases"][0]) == {"name", "image", "reference"}


def test_a_channel_with_other_axes_is_turned_and_one_on_another_grid_refused(two_channels, tmp_path):
    turned = np.ascontiguousarray(T1[:, ::-1].transpose(2, 0, 1))
    matrix = np.eye(4)
    matrix[:3, :3] = GEOMETRY.matrix[:3, :3][:, [1, 2, 0]] * [-1, 1, 1]
    matrix[:3, 3] = GEOMETRY.matrix[:3, 3] + GEOMETRY.matrix[:3, 1] * (GEOMETRY.shape[1] - 1)
    write_image(tmp_path / "turned.nrrd", turned, VolumeGeometry.from_matrix(turned.shape, matrix))
    two_channels.add_case("c", FLAIR, GEOMETRY, further={"T1": tmp_path / "turned.nrrd"})
    assert np.array_equal(two_channels.channel_image("c", "T1", GEOMETRY), T1)
    write_image(tmp_path / "other.nrrd", T1[1:], VolumeGeometry.from_spacing((23, 28, 32), (2.0, 1.0, 1.0)))
    with pytest.raises(BadInputError, match="does not lie on the grid of the first channel: its size is"):
        two_channels.add_case("d", FLAIR, GEOMETRY, further={"T1": tmp_path / "other.nrrd"})
    assert not two_channels.has_case("d")
    with pytest.raises(BadInputError, match="no further channel 'T2'; it has T1"):
        two_channels.add_case("d", FLAIR, GEOMETRY, further={"T2": tmp_path / "t1.nrrd"})


def test_a_4d_image_has_all_channels(tmp_path):
    path = write_4d(tmp_path / "four.nii.gz", FLAIR, T1)
    assert channel_count(path) == 2
    assert read_geometry(path, 1).shape == (24, 28, 32)
    for number, expected in enumerate((FLAIR, T1)):
        array, geometry = read_image(path, number)
        assert np.array_equal(array, expected.astype(np.float32))
        assert geometry.spacing == (2.0, 1.0, 1.0)
    with pytest.raises(BadInputError, match="holds 2 images, so it has no channel number 3"):
        read_image(path, 2)
    with pytest.raises(BadInputError, match="is a 4D image.*--channels"):
        read_image(path)


def test_a_decathlon_folder_with_several_modalities_has_channels(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    write_4d(tmp_path / "imagesTr/a.nii.gz", FLAIR, T1)
    write_image(tmp_path / "labelsTr/a.nii.gz", ball(), read_geometry(tmp_path / "imagesTr/a.nii.gz", 0))
    content = {
        "name": "tumors",
        "labels": {"0": "background", "1": "tumor"},
        "modality": {"1": "T1w*", "0": "FLAIR"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    cohort = Cohort.open(tmp_path)
    assert cohort.channels == ("FLAIR", "T1w_")
    geometry = cohort.geometry("a")
    assert np.array_equal(cohort.channel_image("a", "T1w_", geometry), T1.astype(np.float32))
    assert np.array_equal(cohort.reference("a"), ball())
    assert len(cohort.image_fingerprint("a")) == 24


@pytest.mark.parametrize(
    ("modality", "volumes", "channels"),
    [
        ({"0": "CT", "1": "MR"}, 1, ()),  # said of images with one channel each
        ({"0": "CT", "1": "MR"}, 3, ()),  # perhaps a time series
        ({"0": "MRI", "1": "mri", "2": ""}, 3, ("MRI 1", "mri 2", "channel")),
        ({"first": "CT", "second": "MR"}, 2, ()),
        ({"0": "CT"}, 1, ()),
    ],
)
def test_modalities_are_channels_only_where_the_images_have_them(tmp_path, modality, volumes, channels):
    (tmp_path / "imagesTr").mkdir()
    path = tmp_path / "imagesTr/a.nii.gz"
    if volumes == 1:
        write_image(path, FLAIR, GEOMETRY)
    else:
        write_4d(path, *[FLAIR] * volumes)
    content = {"labels": {"1": "x"}, "modality": modality, "training": [{"image": "imagesTr/a.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    cohort = Cohort.open(tmp_path)
    assert cohort.channels == channels
    if volumes == 1:
        assert np.array_equal(cohort.image("a")[0], FLAIR)
    elif not channels:
        with pytest.raises(BadInputError, match="is a 4D image"):
            cohort.image("a")


def test_a_4d_image_among_others_with_fewer_volumes_is_refused(tmp_path):
    cohort = Cohort.create(tmp_path / "c", "c", channels=("FLAIR", "T1"))
    path = write_4d(tmp_path / "three.nii.gz", FLAIR, T1, T1)
    cohort.add_cases([Case("a", str(path), is_4d=True)], channels=("FLAIR", "T1"))
    for read in (cohort.image, cohort.geometry, lambda name: cohort.channel_image(name, "T1", GEOMETRY)):
        with pytest.raises(BadInputError, match=r"holds 3 images instead of 2 \(FLAIR, T1\)"):
            read("a")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": ["FLAIR", "FLAIR"]}, "Two channels are named 'FLAIR'"),
        ({"channels": ["FLAIR", "../../evil"]}, "A channel cannot be called '../../evil'"),
        ({"channels": ["FLAIR"]}, "case 'a' has the further channel 'T1', and the cohort has none"),
        ({"channels": ["T1", "FLAIR"]}, "case 'a' has the further channel 'T1', and the cohort has FLAIR"),
        ({"channels": ["FLAIR", "t1"]}, "case 'a' has the further channel 'T1'"),
    ],
)
def test_channels_in_an_edited_cohort_file_are_checked(two_channels, change, words):
    path = two_channels.folder / "cohort.json"
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    path.write_text(json.dumps({**content, **change}))
    with pytest.raises(BadInputError, match=words):
        Cohort.open(two_channels.folder)


def test_a_cohort_that_got_channels_meanwhile_takes_no_plain_image(tmp_path):
    early = Cohort.create(tmp_path / "c", "c")
    other = Cohort.open(tmp_path / "c")
    other.use_channels(["FLAIR", "T1"])
    other.add_case("a", FLAIR, GEOMETRY)
    with pytest.raises(CohortError, match="has FLAIR, T1, and the images to add have no named channels"):
        early.add_case("b", FLAIR, GEOMETRY)
    with pytest.raises(CohortError, match="has FLAIR, T1, and the images to add have no named channels"):
        Cohort.open(tmp_path / "c").use_channels([])
    assert [case.name for case in Cohort.open(tmp_path / "c").cases] == ["a"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"c{n}" for n in range(9)], "at most 8 channels, not 9"),
        (["FLAIR", "flair"], "Two channels are named 'FLAIR'"),
        (["", "T1"], "A channel cannot be called '': the name is empty"),
        (["a/b"], "A channel cannot be called 'a/b'"),
    ],
)
def test_names_of_channels_are_checked(names, words):
    with pytest.raises(BadInputError, match=words):
        check_channels(names)


def test_channels_are_given_with_endings_or_without():
    assert parsed_channels(["FLAIR=_flair", "T1=_t1"]) == {"FLAIR": "_flair", "T1": "_t1"}
    assert parsed_channels(["FLAIR", "T1"]) == {"FLAIR": "", "T1": ""}
    with pytest.raises(BadInputError, match="ending of the file names for each channel"):
        parsed_channels(["FLAIR=_flair", "T1"])
    with pytest.raises(BadInputError, match="Two channels have files that end in '_x'"):
        parsed_channels(["FLAIR=_x", "T1=_x"])


def test_files_are_grouped_by_case():
    endings = {"T1": "_t1", "contrast": "_ce_t1"}
    files = ["s/a_ce_t1.nii.gz", "s/b_t1.nii.gz", "s/a_t1.nii.gz", "s/b_ce_t1.nii.gz", "s/p/t1.nrrd", "s/other.nrrd"]
    found = {key[1]: parts for key, parts in grouped_by_channel(files, endings).items()}
    assert found == {
        "a": {"contrast": "s/a_ce_t1.nii.gz", "T1": "s/a_t1.nii.gz"},
        "b": {"T1": "s/b_t1.nii.gz", "contrast": "s/b_ce_t1.nii.gz"},
        "": {"T1": "s/p/t1.nrrd"},
    }
    with pytest.raises(BadInputError, match="are both the channel 'T1' of one case"):
        grouped_by_channel(["s/a_t1.nii.gz", "s/a_t1.nrrd"], endings)


def test_a_channel_is_resampled_linearly():
    coarse = VolumeGeometry.from_spacing((12, 14, 16), (4.0, 2.0, 2.0))
    ramp = np.indices(coarse.shape)[2].astype(np.float32)
    found = resampled_to_channel(ramp, coarse, GEOMETRY)
    assert found.shape == GEOMETRY.shape
    assert np.allclose(found[4, 4, :30], np.arange(30) / 2)
    assert found[-1, -1, -1] == 0  # beyond the coarse image
    far = VolumeGeometry.from_matrix(coarse.shape, coarse.matrix + np.array([[0, 0, 0, 500]] * 3 + [[0] * 4]))
    with pytest.raises(BadInputError, match="lies outside"):
        resampled_to_channel(ramp, far, GEOMETRY)


@pytest.mark.parametrize(
    ("own", "own_channel", "channel", "others", "found"),
    [
        ("p1_FLAIR", "FLAIR", "T1", ["p1_T1", "p2_T1", "p1_T1c"], "p1_T1"),
        ("p1", "FLAIR", "T1", ["p1 t1", "p2 t1"], "p1 t1"),
        ("t1 study 4: flair", "FLAIR", "T1", ["t1 study 4: t1"], "t1 study 4: t1"),
        ("p1_FLAIR", "FLAIR", "T1", ["p1_T1", "p1-t1"], None),
        ("p1_FLAIR", "FLAIR", "T1", ["p1", "p1_T2", "p11_T1"], None),
        ("p1_FLAIR", "", "T1", ["p1_T1"], None),
        ("p1", "", "", ["p1"], None),
    ],
)
def test_a_channel_is_guessed_from_names_only_when_nothing_else_could_be_meant(
    own, own_channel, channel, others, found
):
    assert volume_of_channel(own, own_channel, channel, others) == found
