"""DICOM series that are added to the cases of a cohort as a channel."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_made import PATIENT, oblique, write_series
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import CancelledError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.worker import dicom_added_channels
from SparseAnnotateLib.worker.add_channel_request import AddChannelRequest, add_channel

SHAPE = (5, 12, 10)
GRID = oblique(SHAPE)
SPACING, ORIGIN, DIRECTION = GRID.to_itk()
COARSE = VolumeGeometry.from_itk((6, 7, 5), tuple(1.7 * s for s in SPACING[:2]) + SPACING[2:], ORIGIN, DIRECTION)
STUDIES = {"case_001": generate_uid(), "case_002": generate_uid()}
FRAME = generate_uid()


# Read without the sign of its values, half of the voxels of a scan are very high.
NO_SIGN = {"PixelRepresentation": 0, "RescaleIntercept": 0, "lower": 1024}


def scan(seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(-500, 500, shape)


def series(folder, case: str, seed: int, description: str, grid=GRID, lower: int = 0, **elements):
    given = {"StudyInstanceUID": STUDIES.get(case, generate_uid()), "FrameOfReferenceUID": FRAME, "modality": "MR"}
    given |= {"SeriesDescription": description, "SeriesNumber": seed, **elements}
    return write_series(folder, scan(seed, grid.shape) - lower, grid, **given)


@pytest.fixture
def cohort(tmp_path):
    """Two cases that were made from one series each, and a folder with two more of them, and one of somebody else."""
    for number, case in enumerate(STUDIES):
        series(tmp_path / f"flair/{case}", case, number, "T2 flair")
        series(tmp_path / f"t1/{case}/t1", case, 10 + number, "T1 mprage")
        series(tmp_path / f"t1/{case}/flair", case, 20 + number, "T2 flair again")
    series(tmp_path / "t1/other", "other", 30, "T1 mprage")
    assert main(["create", str(tmp_path / "cohort"), str(tmp_path / "flair"), "--labels", "1=ball", "--quiet"]) == 0
    found = Cohort.open(tmp_path / "cohort")
    labels = (scan(0) > 0).astype(np.uint8)
    for case in found.cases:
        geometry = found.geometry(case.name)
        found.save_annotation(case.name, SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [1, 3]))
    return found


def add(tmp_path, *more: str, scans: str = "t1", channel: str = "T1=t1 mprage") -> int:
    first = () if Cohort.open(tmp_path / "cohort").channels else ("--first-channel", "FLAIR")
    given = ["add", str(tmp_path / "cohort"), str(tmp_path / scans), "--channel", channel, "--quiet"]
    return main([*given, *first, *more])


def said(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_series_becomes_the_channel_of_the_case_that_was_made_from_its_study(cohort, tmp_path, capsys):
    before = {case.name: cohort.annotation(case.name).fingerprint() for case in cohort.cases}
    assert add(tmp_path) == 0
    words = said(capsys)
    assert "Left out 1 series whose study is that of no case: series 30 (MR, 'T1 mprage'" in words
    assert "Added the channel 'T1' to 2 cases of the cohort 'cohort'" in words
    again = Cohort.open(cohort.folder)
    assert (again.channels, again.modalities) == (("FLAIR", "T1"), {"FLAIR": "MR", "T1": "MR"})
    for number, name in enumerate(STUDIES):
        np.testing.assert_array_equal(again.image(name)[0], scan(number))
        np.testing.assert_array_equal(again.channel_image(name, "T1", again.geometry(name)), scan(10 + number))
        assert again.annotation(name).fingerprint() == before[name]
    content = (cohort.folder / "cohort.json").read_bytes()
    assert add(tmp_path) == 0  # the same again changes nothing
    assert "Added the channel 'T1' to 0 cases" in said(capsys)
    assert (cohort.folder / "cohort.json").read_bytes() == content
    # By UID, for a single case; and another series is not put in its place.
    (header, *_others) = series(tmp_path / "pd", "case_002", 40, "PD")
    assert add(tmp_path, scans="pd", channel=f"PD={header.SeriesInstanceUID}") == 0
    assert list(Cohort.open(cohort.folder).channel_paths("case_001")) == ["FLAIR", "T1"]
    assert add(tmp_path, channel="PD=T1 mprage") == 1
    assert "The case 'case_002' already has another image of the channel 'PD'" in said(capsys)
    everything = b"".join(path.read_bytes() for path in cohort.folder.rglob("*") if path.is_file())
    for word in (PATIENT, "Annegret", "4711-X"):
        assert word.encode() not in everything
        assert word.encode("latin-1") not in everything


def test_series_are_added_to_cases_by_name(cohort, tmp_path, capsys):
    write_image(tmp_path / "nrrd/p7.nrrd", scan(7), GRID)
    assert main(["add", str(cohort.folder), str(tmp_path / "nrrd/p7.nrrd"), "--quiet"]) == 0
    assert add(tmp_path, "--names", "p7", scans="t1/other", channel="T1") == 0
    again = Cohort.open(cohort.folder)
    np.testing.assert_array_equal(again.channel_image("p7", "T1", again.geometry("p7")), scan(30))
    assert add(tmp_path, "--names", "p7", "p7", channel="T1=T1 mprage") == 1
    assert "Number of DICOM series: 3, number of names: 2" in said(capsys)


def refused_cases(tmp_path):
    """What is added, and words of the sentence that refuses it."""
    yield {"channel": "T1"}, "Say which DICOM series are the channel, by their description or UID"
    yield {"channel": "T1=T2 flair again", "scans": "flair"}, "No DICOM series has the UID or the description"
    yield {"channel": "T1=T2 flair", "scans": "flair"}, "was made from series 0 (MR, 'T2 flair'"
    yield {"scans": "t1/other"}, "None of the DICOM series is of a study that a case of the cohort"
    series(tmp_path / "coarse", "case_001", 50, "coarse", COARSE)
    yield {"channel": "T1=coarse", "scans": "coarse"}, "does not lie on the grid of the case 'case_001'"
    series(tmp_path / "moved", "case_001", 51, "moved", FrameOfReferenceUID=generate_uid())
    yield {"channel": "T1=moved", "scans": "moved"}, "has another frame of reference than the case 'case_001'"
    series(tmp_path / "twice/a", "case_001", 52, "twice")
    series(tmp_path / "twice/b", "case_001", 53, "twice")
    yield {"channel": "T1=twice", "scans": "twice"}, "Two series of one study are the channel 'T1'"
    series(tmp_path / "mixed/a", "case_001", 54, "mixed", modality="CT")
    series(tmp_path / "mixed/b", "case_002", 55, "mixed")
    yield {"channel": "T1=mixed", "scans": "mixed"}, "The headers of two series differ in what they are"
    series(tmp_path / "gap", "case_001", 56, "gap", change=lambda headers: headers[:2] + headers[3:])
    yield {"channel": "T1=gap", "scans": "gap"}, "1 DICOM series cannot be used"


def test_what_cannot_be_a_channel_is_refused_and_nothing_changed(cohort, tmp_path, capsys):
    before = {path: path.read_bytes() for path in cohort.folder.rglob("*") if path.is_file()}
    for given, words in refused_cases(tmp_path):
        assert add(tmp_path, **given) == 1, given
        assert words in said(capsys)
    now = {path: path.read_bytes() for path in cohort.folder.rglob("*") if path.is_file()}
    assert {path for path in now if path.name != ".channels.lock"} == set(before)
    assert all(now[path] == content for path, content in before.items())
    assert add(tmp_path, "--resample", channel="T1=coarse", scans="coarse") == 0
    assert "Resampled the channel 'T1' of 'case_001' to the grid of the first" in said(capsys)
    assert Cohort.open(cohort.folder).channel_image("case_001", "T1", GRID).shape == SHAPE


def test_a_cohort_that_does_not_say_what_its_images_are_takes_no_series_of_another_kind(cohort, tmp_path, capsys):
    cohort.use_modalities({"": ""})
    series(tmp_path / "ct", "ct", 60, "abdomen", modality="CT")
    assert main(["add", str(cohort.folder), str(tmp_path / "ct"), "--quiet"]) == 1
    words = said(capsys)
    assert "series 60 (CT, 'abdomen'" in words
    assert "is CT, and the case 'case_001' is MR. Nothing was added." in words
    assert "enter what all of them are as 'modalities' in 'cohort.json'" in words
    assert len(Cohort.open(cohort.folder).cases) == 2
    series(tmp_path / "more/mr", "mr", 61, "head")
    assert main(["add", str(cohort.folder), str(tmp_path / "more"), "--quiet"]) == 0
    assert Cohort.open(cohort.folder).modalities == {}


def test_ct_added_to_files_of_which_nothing_is_known_is_noted(tmp_path, capsys):
    write_image(tmp_path / "a.nrrd", scan(1), GRID)
    assert main(["create", str(tmp_path / "files"), str(tmp_path / "a.nrrd"), "--quiet"]) == 0
    series(tmp_path / "ct", "ct", 60, "abdomen", modality="CT")
    assert main(["add", str(tmp_path / "files"), str(tmp_path / "ct"), "--quiet"]) == 0
    words = said(capsys)
    assert "Series 60 (CT, 'abdomen'" in words
    assert "does not say what its images are, so each of them is scaled by itself" in words
    assert Cohort.open(tmp_path / "files").modalities == {}


def test_the_check_of_ct_values_follows_what_the_user_says_of_the_added_channel(cohort, tmp_path, capsys):
    for header, name in (("CT", "called ct"), ("MR", "called mr")):
        series(tmp_path / name, "case_001", 62, "without sign", modality=header, **NO_SIGN)
        signless = {"scans": name, "channel": "other=without sign"}
        assert add(tmp_path, "--modality", "CT", **signless) == 1
        words = said(capsys)
        assert "calls values unsigned that have a sign" in words
        assert "give '--modality other=OT'" in words
    assert Cohort.open(cohort.folder).channels == ()
    # What is no CT may have such values.
    assert add(tmp_path, "--modality", "other=OT", scans="called ct", channel="other=without sign") == 0
    again = Cohort.open(cohort.folder)
    assert again.channel_image("case_001", "other", GRID).max() > 60_000
    assert again.modalities["other"] == "OT"


def test_names_in_another_order_than_the_series_do_not_swap_patients(cohort, tmp_path, capsys):
    t1 = {"channel": "T1=T1 mprage", "scans": "t1/case_00[12]"}
    assert add(tmp_path, "--names", "case_002", "case_001", **t1) == 1
    words = said(capsys)
    assert "is given for the case 'case_002', but is of the study that the case 'case_001' was made from" in words
    assert Cohort.open(cohort.folder).channels == ()
    assert add(tmp_path, "--names", "case_001", "case_002", **t1) == 0
    words = said(capsys)
    assert "'case_001': series 10 (MR, 'T1 mprage'" in words
    assert "'case_002': series 11 (MR, 'T1 mprage'" in words
    again = Cohort.open(cohort.folder)
    np.testing.assert_array_equal(again.channel_image("case_002", "T1", GRID), scan(11))


def test_of_cases_of_one_study_a_series_belongs_to_that_with_its_frame_of_reference(tmp_path):
    frames = {"head": generate_uid(), "chest": generate_uid()}
    for number, (part, frame) in enumerate(frames.items()):
        one = {"StudyInstanceUID": STUDIES["case_001"], "FrameOfReferenceUID": frame}
        series(tmp_path / f"ct/{part}", part, number, f"ct {part}", modality="CT", **one)
        series(tmp_path / f"pet/{part}", part, 10 + number, "pet", modality="PT", **one)
    assert main(["create", str(tmp_path / "cohort"), str(tmp_path / "ct"), "--labels", "1=ball", "--quiet"]) == 0
    first = ("--first-channel", "CT")
    for part in frames:
        given = ["add", str(tmp_path / "cohort"), str(tmp_path / f"pet/{part}"), "--channel", "PET=pet", "--quiet"]
        assert main([*given, *first]) == 0
        first = ()
    made = Cohort.open(tmp_path / "cohort")
    for case in made.cases:
        number = 0 if np.array_equal(made.image(case.name)[0], scan(0)) else 1
        np.testing.assert_array_equal(made.channel_image(case.name, "PET", GRID), scan(10 + number))


def test_a_cancel_does_not_wait_for_a_whole_series_to_be_written(cohort, tmp_path, monkeypatch):
    watch, real = Watch(), dicom_added_channels.channel_voxels

    def cancelled(one, grid, part, *given):
        watch.cancel()
        return real(one, grid, part, *given)

    monkeypatch.setattr(dicom_added_channels, "channel_voxels", cancelled)
    written = []
    monkeypatch.setattr(dicom_added_channels, "write_image", lambda path, *_rest: written.append(path))
    request = AddChannelRequest(str(cohort.folder), (str(tmp_path / "t1"),), "T1=T1 mprage", first_channel="FLAIR")
    with pytest.raises(CancelledError):
        add_channel(request, watch)
    assert written == []
    assert Cohort.open(cohort.folder).channels == ()
