"""Cohorts of several channels made from files, by the request of the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, Plane, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.selection import FeatureSettings
from SparseAnnotateLib.worker.recommend_request import cohort_features

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))
CHANNELS = ("--channels", "FLAIR=_flair", "T1=_t1")


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for number, name in enumerate("ab"):
        for place, channel in enumerate(("flair", "t1")):
            write_image(folder / f"{name}_{channel}.nii.gz", noisy_image(ball(), 10 * number + place), GEOMETRY)
        write_image(folder / f"{name}_labels.nii.gz", ball(), GEOMETRY)
    return folder


def test_the_channels_of_each_case_are_found_by_the_ends_of_file_names(scans, tmp_path, capsys):
    references = ("--references", *map(str, sorted(scans.glob("*_labels*"))), "--labels", "1=ball")
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS, *references, "--json"]) == 0
    said = capsys.readouterr()
    assert [case["name"] for case in json.loads(said.out)] == ["a", "b"]
    assert "Left out 2 files whose names match none of the endings" in said.err
    cohort = Cohort.open(tmp_path / "c")
    assert cohort.channels == ("FLAIR", "T1")
    for number, name in enumerate("ab"):
        for place, channel in enumerate(cohort.channels):
            expected = noisy_image(ball(), 10 * number + place)
            assert np.array_equal(cohort.channel_image(name, channel, cohort.geometry(name)), expected)
        assert np.array_equal(cohort.reference(name), ball())
    # The same again adds nothing.
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS]) == 0
    assert len(Cohort.open(tmp_path / "c").cases) == 2


def test_cases_are_named_after_folders(scans, tmp_path):
    for name in "ab":
        (scans / name).mkdir()
        for channel in ("flair", "t1"):
            (scans / f"{name}_{channel}.nii.gz").rename(scans / name / f"{channel}.nii.gz")
    assert main(["create", str(tmp_path / "c"), str(scans / "*" / "*.nii.gz"), *CHANNELS]) == 0
    assert [case.name for case in Cohort.open(tmp_path / "c").cases] == ["a", "b"]


def test_a_case_without_a_channel_is_said_and_one_without_the_first_refused(scans, tmp_path, capsys):
    (scans / "b_t1.nii.gz").unlink()
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS]) == 0
    assert "1 case has no image of the channel 'T1': b." in capsys.readouterr().err
    assert main(["create", str(tmp_path / "d"), str(scans), "--channels", "T1=_t1", "FLAIR=_flair"]) == 1
    assert "have no image of the first channel, 'T1'" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_channel_on_another_grid_is_refused_or_resampled(scans, tmp_path, capsys):
    coarse = VolumeGeometry.from_spacing((12, 14, 16), (4.0, 2.0, 2.0))
    write_image(scans / "b_t1.nii.gz", noisy_image(ball())[::2, ::2, ::2], coarse)
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS]) == 1
    said = capsys.readouterr().err
    assert "b_t1.nii.gz' does not lie on the grid of the first channel" in said
    assert "--resample" in said
    assert not (tmp_path / "c").exists()
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS, "--resample"]) == 0
    assert "Resampled '" in capsys.readouterr().err
    cohort = Cohort.open(tmp_path / "c")
    found = cohort.channel_image("b", "T1", cohort.geometry("b"))
    assert found.shape == (24, 28, 32)
    # The same again adds nothing; another image under this name is refused.
    assert main(["add", str(tmp_path / "c"), str(scans), *CHANNELS, "--resample"]) == 0
    write_image(scans / "b_t1.nii.gz", noisy_image(ball(), 99)[::2, ::2, ::2], coarse)
    assert main(["add", str(tmp_path / "c"), str(scans), *CHANNELS, "--resample"]) == 1
    assert "is already in the cohort" in capsys.readouterr().err
    # A case that got the name of an earlier one does not get its files.
    content = (tmp_path / "c/cohort.json").read_text()
    content = content[: content.rindex('"checksum"')].rstrip().rstrip(",") + "}" if '"checksum"' in content else content
    (tmp_path / "c/cohort.json").write_text(content.replace('"name": "b"', '"name": "renamed"'))
    assert main(["add", str(tmp_path / "c"), str(scans), *CHANNELS, "--resample"]) == 0
    cohort = Cohort.open(tmp_path / "c")
    assert np.array_equal(cohort.channel_image("renamed", "T1", cohort.geometry("renamed")), found)
    assert not np.array_equal(cohort.channel_image("b", "T1", cohort.geometry("b")), found)


def test_4d_files_have_all_channels(tmp_path, capsys):
    import SimpleITK as sitk

    path = tmp_path / "x.nii.gz"
    images = [sitk.GetImageFromArray(noisy_image(ball(), n)) for n in range(2)]
    sitk.WriteImage(sitk.JoinSeries(images), str(path))
    assert main(["create", str(tmp_path / "c"), str(path), "--channels", "FLAIR", "T1", "T2"]) == 1
    assert "holds 2 images instead of 3 (FLAIR, T1, T2)" in capsys.readouterr().err
    assert main(["create", str(tmp_path / "c"), str(path), "--channels", "FLAIR", "T1"]) == 0
    cohort = Cohort.open(tmp_path / "c")
    assert np.array_equal(cohort.channel_image("x", "T1", cohort.geometry("x")), noisy_image(ball(), 1))


def test_added_cases_need_the_same_channels(scans, tmp_path, capsys):
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS]) == 0
    write_image(tmp_path / "new_flair.nii.gz", noisy_image(ball()), GEOMETRY)
    for given in ((), ("--channels", "FLAIR=_flair"), ("--channels", "T1=_t1", "FLAIR=_flair")):
        assert main(["add", str(tmp_path / "c"), str(tmp_path / "new_flair.nii.gz"), *given]) == 1
    said = capsys.readouterr().err
    assert "has FLAIR, T1, and the images to add have no named channels" in said
    assert "the images to add have FLAIR. Name the same channels" in said
    assert [case.name for case in Cohort.open(tmp_path / "c").cases] == ["a", "b"]


def test_slices_are_compared_by_all_channels_that_every_case_has(scans, tmp_path):
    """Only the second channel differs between two halves of the slices."""
    halves = np.zeros((24, 28, 32), np.float32)
    halves[12:, :14] = 50.0
    for name in "ab":
        write_image(scans / f"{name}_flair.nii.gz", noisy_image(np.zeros((24, 28, 32), np.uint8)), GEOMETRY)
        write_image(scans / f"{name}_t1.nii.gz", halves + noisy_image(np.zeros((24, 28, 32), np.uint8), 1), GEOMETRY)
    assert main(["create", str(tmp_path / "c"), str(scans), *CHANNELS]) == 0
    cohort = Cohort.open(tmp_path / "c")

    def contrast():
        found = cohort_features(cohort, ["a", "b"], [Plane.AXIAL], FeatureSettings(), Watch())["a"][Plane.AXIAL]
        units = found / np.linalg.norm(found, axis=1, keepdims=True)
        alike = units @ units.T
        return float(alike[12:, 12:].mean() - alike[:12, 12:].mean())

    assert contrast() > 0.5
    both = cohort_features(cohort, ["a", "b"], [Plane.AXIAL], FeatureSettings(), Watch())["a"][Plane.AXIAL].shape[1]
    cohort.add_case("c", cohort.image_path("a"))
    one = cohort_features(cohort, ["a", "c"], [Plane.AXIAL], FeatureSettings(), Watch())["a"][Plane.AXIAL].shape[1]
    assert one < both


def test_the_modality_is_kept_and_another_one_refused(scans, tmp_path, capsys):
    given = ["--channels", "FLAIR=_flair", "T1=_t1", "--quiet"]
    assert main(["create", str(tmp_path / "cohort"), str(scans), *given, "--modality", "CT"]) == 1
    assert "Say which channel has the modality CT, for example 'FLAIR=CT'" in capsys.readouterr().err
    assert main(["create", str(tmp_path / "cohort"), str(scans), *given, "--modality", "T1=ct"]) == 0
    assert Cohort.open(tmp_path / "cohort").modalities == {"T1": "CT"}
    assert main(["add", str(tmp_path / "cohort"), str(scans), *given]) == 0
    assert main(["add", str(tmp_path / "cohort"), str(scans), *given, "--modality", "T1=MR"]) == 1
    assert "The channel 'T1' has the modality CT in the cohort 'cohort', not MR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "is_said"),
    [
        (("a_0000", "a_0001", "b_0000", "b_0001"), True),
        (("a_0000", "b_0000"), False),
        (("scan_0000", "scan_0001", "scan_0002"), False),
        (("a_0000", "a_0001", "b_0000"), False),
        (("a_0001", "a_0002", "b_0001", "b_0002"), False),
        (("a_0000", "a_0001", "b_0000", "b_0001", "c"), False),
    ],
)
def test_files_named_like_the_channels_of_nnunet_are_noted(tmp_path, capsys, names, is_said):
    for name in names:
        write_image(
            tmp_path / "scans" / f"{name}.nrrd", noisy_image(ball((4, 5, 6), 2)), VolumeGeometry.from_spacing((4, 5, 6))
        )
    assert main(["create", str(tmp_path / "c"), str(tmp_path / "scans"), "--quiet"]) == 0
    words = capsys.readouterr().err
    assert ("2 channels of 2 cases, as nnU-Net writes them" in words) == is_said
    assert ("'--channels NAME1=_0000 NAME2=_0001'" in words) == is_said
    assert len(Cohort.open(tmp_path / "c").cases) == len(names)
