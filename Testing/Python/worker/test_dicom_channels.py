"""DICOM series as the channels of one case, and the modality that their headers say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_made import oblique, write_series
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, VolumeGeometry
from SparseAnnotateLib.core.dicom_source import read_source

SHAPE = (5, 12, 10)
FRAME = generate_uid()


def scan(seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(-500, 500, shape)


def study(folder, uid: str, first: int, grid=None, second: str = "T1 mprage", lower: int = 0, **elements) -> None:
    """A study of two series on one grid, or the second one on another `grid`, with values that much `lower`."""
    own = oblique(SHAPE)
    shared = {"StudyInstanceUID": uid, "FrameOfReferenceUID": FRAME, "modality": "MR"}
    write_series(folder / "a", scan(first), own, SeriesDescription="T2 flair", **shared)
    grid = grid or own
    voxels = scan(first + 1, grid.shape) - lower
    write_series(folder / "b", voxels, grid, SeriesDescription=second, SeriesNumber=4, **{**shared, **elements})


def create(folder, cohort, *more: str) -> int:
    return main(["create", str(cohort), str(folder), "--channels", "FLAIR=T2 FLAIR", "T1=t1 mprage", "--quiet", *more])


def test_the_series_of_each_study_are_the_channels_of_a_case(tmp_path, capsys):
    study(tmp_path / "dicom/p1", generate_uid(), 1)
    study(tmp_path / "dicom/p2", generate_uid(), 5)
    write_series(tmp_path / "dicom/p2/c", scan(9), oblique(SHAPE), SeriesDescription="DWI", modality="MR")
    assert create(tmp_path / "dicom", tmp_path / "cohort") == 0
    cohort = Cohort.open(tmp_path / "cohort")
    assert [case.name for case in cohort.cases] == ["case_001", "case_002"]
    assert cohort.channels == ("FLAIR", "T1")
    assert cohort.modalities == {"FLAIR": "MR", "T1": "MR"}
    for name, first in (("case_001", 1), ("case_002", 5)):
        geometry = cohort.geometry(name)
        np.testing.assert_array_equal(cohort.image(name)[0], scan(first))
        np.testing.assert_array_equal(cohort.channel_image(name, "T1", geometry), scan(first + 1))
    assert read_source(cohort, "case_001").modality == "MR"
    before = (tmp_path / "cohort/cohort.json").read_bytes()
    assert create(tmp_path / "dicom", tmp_path / "cohort") == 0  # the same again adds nothing
    assert "Already in the cohort: case_001, case_002" in capsys.readouterr().err
    assert (tmp_path / "cohort/cohort.json").read_bytes() == before


def test_a_study_may_lack_a_further_channel_but_not_the_first(tmp_path, capsys):
    study(tmp_path / "dicom/p1", generate_uid(), 1)
    uid = generate_uid()
    shared = {"StudyInstanceUID": uid, "modality": "MR"}
    write_series(tmp_path / "dicom/p2", scan(3), oblique(SHAPE), SeriesDescription="T2 flair", **shared)
    assert create(tmp_path / "dicom", tmp_path / "cohort") == 0
    assert "1 case has no image of the channel 'T1': case_002" in capsys.readouterr().err
    assert list(Cohort.open(tmp_path / "cohort").channel_paths("case_002")) == ["FLAIR"]
    write_series(tmp_path / "more", scan(4), oblique(SHAPE), SeriesDescription="T1 mprage")
    study(tmp_path / "more/p3", generate_uid(), 6)
    assert create(tmp_path / "more", tmp_path / "other") == 1
    assert "have no series of the first channel, 'FLAIR'" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_series_on_another_grid_is_refused_or_resampled(tmp_path, capsys):
    spacing, origin, direction = oblique(SHAPE).to_itk()
    coarse = VolumeGeometry.from_itk((6, 7, 5), tuple(1.7 * s for s in spacing[:2]) + spacing[2:], origin, direction)
    study(tmp_path / "dicom", generate_uid(), 1, coarse)
    assert create(tmp_path / "dicom", tmp_path / "cohort") == 1
    message = capsys.readouterr().err
    assert "The channel 'T1' (series 4 (MR, 'T1 mprage'" in message
    assert "does not lie on the grid of series 3" in message
    assert "'--resample' resamples it." in message
    assert not (tmp_path / "cohort").exists()
    assert create(tmp_path / "dicom", tmp_path / "cohort", "--resample") == 0
    assert "Resampled the channel 'T1' of 'case_001'" in capsys.readouterr().err
    cohort = Cohort.open(tmp_path / "cohort")
    found = cohort.channel_image("case_001", "T1", cohort.geometry("case_001"))
    assert found.shape == SHAPE
    assert found[2, 0, 0] == pytest.approx(scan(2, coarse.shape)[2, 0, 0])  # both grids begin there


def test_a_series_in_another_frame_of_reference_is_refused(tmp_path, capsys):
    study(tmp_path / "dicom", generate_uid(), 1, FrameOfReferenceUID=generate_uid())
    assert create(tmp_path / "dicom", tmp_path / "cohort", "--resample") == 1
    assert "has another frame of reference than series 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        (["FLAIR", "T1"], "Say which DICOM series each channel is"),
        (["FLAIR=T2 flair", "T1=nothing"], "No DICOM series has the UID or the description 'nothing'"),
        (["FLAIR=T2 flair", "T1=t2 FLAIR"], "is given for two channels"),
        (["FLAIR=T2 flair", "T1=twice"], "Two series of one study are the channel 'T1'"),
    ],
)
def test_channels_that_are_no_series_are_refused(tmp_path, capsys, channels, words):
    uid = generate_uid()
    study(tmp_path / "dicom", uid, 1, second="twice")
    write_series(tmp_path / "dicom/c", scan(7), oblique(SHAPE), SeriesDescription="twice", StudyInstanceUID=uid)
    assert main(["create", str(tmp_path / "cohort"), str(tmp_path / "dicom"), "--channels", *channels]) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "cohort").exists()


def test_series_are_named_once(tmp_path, capsys):
    study(tmp_path / "dicom", generate_uid(), 1)
    assert create(tmp_path / "dicom", tmp_path / "cohort", "--series", "T2 flair") == 1
    assert "leave out '--series'" in capsys.readouterr().err


def test_the_check_of_ct_values_follows_what_the_user_says_of_each_channel(tmp_path, capsys):
    no_sign = {"PixelRepresentation": 0, "RescaleIntercept": 0, "lower": 1024}
    study(tmp_path / "dicom", generate_uid(), 1, **no_sign)
    for kind in (("FLAIR=MR", "T1=CT"), ("T1=CT",)):
        assert create(tmp_path / "dicom", tmp_path / "cohort", "--modality", *kind) == 1
        words = " ".join(capsys.readouterr().err.split())
        assert "calls values unsigned that have a sign" in words
        assert "give '--modality T1=OT'" in words
    assert not (tmp_path / "cohort/cohort.json").exists()
    study(tmp_path / "ct", generate_uid(), 1, modality="CT", **no_sign)
    assert create(tmp_path / "ct", tmp_path / "cohort") == 1
    assert create(tmp_path / "ct", tmp_path / "cohort", "--modality", "T1=OT") == 0
    cohort = Cohort.open(tmp_path / "cohort")
    assert cohort.channel_image("case_001", "T1", cohort.geometry("case_001")).max() > 60_000
    # Of a case that is added, the cohort says it.
    cohort.use_modalities({"FLAIR": "MR", "T1": "CT"})
    study(tmp_path / "more", generate_uid(), 7, Modality="", **no_sign)
    capsys.readouterr()
    assert create(tmp_path / "more", tmp_path / "cohort") == 1
    assert "calls values unsigned that have a sign" in " ".join(capsys.readouterr().err.split())


def test_the_headers_say_whether_images_are_ct(tmp_path, capsys):
    write_series(tmp_path / "ct", scan(1), oblique(SHAPE))
    write_series(tmp_path / "mr", scan(2), oblique(SHAPE), modality="MR")
    cohort = tmp_path / "cohort"
    assert main(["create", str(cohort), str(tmp_path / "ct"), "--quiet"]) == 0
    assert Cohort.open(cohort).modalities == {"": "CT"}
    assert main(["add", str(cohort), str(tmp_path / "mr"), "--quiet"]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "(MR, " in message
    assert "says that it is MR, and the cohort 'cohort' has CT, so nothing was added" in message
    assert "give '--modality CT'." in message
    write_series(tmp_path / "more ct", scan(4), oblique(SHAPE))
    assert main(["add", str(cohort), str(tmp_path / "more ct"), str(tmp_path / "mr"), "--quiet"]) == 1
    assert "says that it is MR, and the cohort 'cohort' has CT" in " ".join(capsys.readouterr().err.split())
    assert [case.name for case in Cohort.open(cohort).cases] == ["case_001"]
    assert not list((cohort / "images").glob("case_002*"))
    # Of both kinds no cohort is made, unless a user knows better than the headers.
    both = [str(tmp_path / "both"), str(tmp_path / "ct"), str(tmp_path / "mr"), "--quiet"]
    assert main(["create", *both]) == 1
    assert "The headers of two series differ in what they are: series" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "both").exists()
    assert main(["create", *both, "--modality", "CT"]) == 0
    assert Cohort.open(tmp_path / "both").modalities == {"": "CT"}
    # A cohort of an earlier version, which knows none, still takes CT.
    content = json.loads((cohort / "cohort.json").read_text())
    del content["modalities"]
    (cohort / "cohort.json").write_text(json.dumps(content))
    write_series(tmp_path / "more", scan(3), oblique(SHAPE))
    assert main(["add", str(cohort), str(tmp_path / "more"), "--quiet"]) == 0
    assert Cohort.open(cohort).modalities == {}
