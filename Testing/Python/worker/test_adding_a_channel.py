"""A channel added to the cases of a cohort: what is drawn stays, what came from other channels is out of date."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, CohortError, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.images import read_facts, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.run_planning import plan_run
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

SHAPE = (24, 28, 32)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))


@pytest.fixture
def cohort(tmp_path):
    """Two drawn cases of a single image each, and a folder with another image of them, and of somebody else."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "ball"})
    for number, name in enumerate(("p1", "p2")):
        cohort.add_case(name, noisy_image(ball(), number), GEOMETRY)
        cohort.save_annotation(name, SparseAnnotation.from_slices(ball(), GEOMETRY, Plane.AXIAL, range(2, 24, 5)))
    for number, name in enumerate(("p1", "p2", "p9")):
        write_image(tmp_path / f"t1/{name}_t1.nii.gz", noisy_image(ball(), 10 + number), GEOMETRY)
    return cohort


def add(tmp_path, *more: str, channel: str = "T1=_t1", scans: str = "t1") -> int:
    return main(["add", str(tmp_path / "cohort"), str(tmp_path / scans), "--channel", channel, "--quiet", *more])


def test_what_is_drawn_stays_and_fills_are_out_of_date(cohort, tmp_path, capsys):
    before = {name: cohort.annotation(name) for name in ("p1", "p2")}
    assert main(["fill", str(cohort.folder), "--method", "shape", "--quiet"]) == 0
    assert add(tmp_path, "--first-channel", "FLAIR", "--modality", "MR") == 0
    said = capsys.readouterr().err
    assert "Left out 1 file that is named after no case of the cohort" in said
    assert "Added the channel 'T1' to 2 cases of the cohort 'balls'" in said
    again = Cohort.open(cohort.folder)
    assert (again.channels, again.modalities) == (("FLAIR", "T1"), {"T1": "MR"})
    for number, name in enumerate(("p1", "p2")):
        np.testing.assert_array_equal(again.channel_image(name, "T1", GEOMETRY), noisy_image(ball(), 10 + number))
        now = again.annotation(name)
        assert now.ledger == before[name].ledger
        np.testing.assert_array_equal(now.labels, before[name].labels)
    made = Origin.from_facts(read_facts(again.fill_path("p1")))
    assert "there are other channels" in made.changes(again.origin("p1"))
    assert add(tmp_path) == 0  # the same again changes nothing
    assert "Added the channel 'T1' to 0 cases" in capsys.readouterr().err


def test_runs_go_on_using_the_channels_that_they_have_learned_from(cohort, tmp_path):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 20})
    train(cohort, "one", settings, ["p1"])
    before = Predictor(cohort, "one", "cpu").labels("p2")
    assert add(tmp_path, "--first-channel", "FLAIR") == 0
    again = Cohort.open(cohort.folder)
    np.testing.assert_array_equal(Predictor(again, "one", "cpu").labels("p2"), before)
    assert train(again, "both", settings, ["p1"]).channels == ("FLAIR", "T1")
    write_image(tmp_path / "pd/p1_pd.nrrd", noisy_image(ball(), 20), GEOMETRY)
    assert add(tmp_path, channel="PD=_pd", scans="pd") == 0
    third = Cohort.open(cohort.folder)
    assert third.channels == ("FLAIR", "T1", "PD")
    Predictor(third, "both", "cpu").labels("p2")  # which lacks PD
    with pytest.raises(BadInputError, match="channel 'PD' is missing in 1 case: 'p2'"):
        train(third, "three", settings)


def test_a_run_that_was_not_finished_is_resumed_with_its_own_channels(cohort, tmp_path):
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 2})
    plan_run(cohort, "r", settings, ["p1"])
    assert add(tmp_path, "--first-channel", "FLAIR") == 0
    again = Cohort.open(cohort.folder)
    assert train(again, "r", settings, ["p1"]).channels == ()


@pytest.mark.parametrize(
    ("more", "channel", "words"),
    [
        ([], "T1=_t1", "have no channel name yet. Give the first channel a name, for example FLAIR"),
        (["--first-channel", "T1"], "T1=_t1", "'T1' is the first channel of the cohort 'balls'"),
        (["--first-channel", "FLAIR"], "T1=_t2", "No file's name ends like a channel (T1=_t2)"),
        (["--first-channel", "FLAIR"], "T1", "Say what the file names of the channel end with, for example T1=_t1"),
        (["--first-channel", "FLAIR", "--names", "p1"], "T1", "Number of images: 3, number of names: 1"),
        (["--first-channel", "FLAIR", "--names", "p1", "p2", "p3"], "T1", "has no case 'p3'"),
        (["--first-channel", "FLAIR", "--names", "p1", "p2", "P1"], "T1", "Two images are given for the case 'p1'"),
        (["--first-channel", "FLAIR", "--channels", "A=_a"], "T1=_t1", "'--channels' is not for '--channel'"),
        (["--first-channel", "FLAIR", "--skip-unusable"], "T1=_t1", "'--skip-unusable' is for DICOM series, and there"),
        (["--first-channel", "FLAIR", "--labels", "1=a"], "T1=_t1", "'--labels' is not for '--channel'"),
    ],
)
def test_what_is_not_clear_is_refused_and_nothing_changed(cohort, tmp_path, capsys, more, channel, words):
    before = (cohort.folder / "cohort.json").read_bytes()
    assert add(tmp_path, *more, channel=channel) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert (cohort.folder / "cohort.json").read_bytes() == before
    assert not (cohort.folder / "channels").exists()


def test_an_image_on_another_grid_is_refused_or_resampled(cohort, tmp_path, capsys):
    coarse = VolumeGeometry.from_spacing((12, 14, 16), (4.0, 2.0, 2.0))
    write_image(tmp_path / "t1/p2_t1.nii.gz", np.arange(12 * 14 * 16.0).reshape(12, 14, 16), coarse)
    assert add(tmp_path, "--first-channel", "FLAIR") == 1
    assert "'--resample' does it." in capsys.readouterr().err
    assert Cohort.open(cohort.folder).channels == ()
    assert not (cohort.folder / "channels").exists()
    assert add(tmp_path, "--first-channel", "FLAIR", "--resample") == 0
    assert Cohort.open(cohort.folder).channel_image("p2", "T1", GEOMETRY).shape == SHAPE


def test_another_image_of_a_channel_is_not_replaced(cohort, tmp_path, capsys):
    assert add(tmp_path, "--first-channel", "FLAIR") == 0
    write_image(tmp_path / "other/p1_t1.nii.gz", noisy_image(ball(), 30), GEOMETRY)
    assert add(tmp_path, scans="other") == 1
    assert "The case 'p1' already has another image of the channel 'T1'" in capsys.readouterr().err
    assert add(tmp_path, "--first-channel", "PD", scans="other") == 1
    assert "The first channel of the cohort 'balls' is 'FLAIR', not 'PD'" in capsys.readouterr().err


def test_files_of_other_cases_alone_are_refused(cohort, tmp_path, capsys):
    write_image(tmp_path / "other/p9_t1.nii.gz", noisy_image(ball(), 30), GEOMETRY)
    assert add(tmp_path, "--first-channel", "FLAIR", scans="other") == 1
    assert "No file is named after a case of the cohort 'balls' (p1, p2)" in capsys.readouterr().err


def test_a_ninth_channel_and_one_beside_4d_files_are_refused(tmp_path):
    eight = Cohort.create(tmp_path / "a", "a", channels=[f"c{number}" for number in range(8)])
    with pytest.raises(BadInputError, match="at most 8 channels, not 9"):
        eight.add_channel("c8", {})
    image = sitk.GetImageFromArray(np.zeros((2, 4, 5, 6), np.float32), isVector=False)
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(image, str(tmp_path / "scans/p1.nii.gz"))
    assert main(["create", str(tmp_path / "b"), str(tmp_path / "scans"), "--channels", "A", "B", "--quiet"]) == 0
    with pytest.raises(CohortError, match="one file with all channels"):
        Cohort.open(tmp_path / "b").add_channel("C", {})


def test_of_two_programs_that_add_a_channel_the_second_gets_a_sentence_and_nothing_is_lost(cohort, tmp_path, capsys):
    with cohort.adding_channel("T1"):
        assert add(tmp_path, "--first-channel", "FLAIR") == 1
    assert "is in use: process" in (said := " ".join(capsys.readouterr().err.split()))
    assert "is adding the channel 'T1'. Wait until it has finished" in said
    assert Cohort.open(cohort.folder).channels == ()
    # One that has read the cohort before the other was done.
    late = Cohort.open(cohort.folder)
    assert add(tmp_path, "--first-channel", "FLAIR") == 0
    write_image(tmp_path / "other.nrrd", noisy_image(ball(), 30), GEOMETRY)
    with pytest.raises(CohortError, match="The case 'p1' already has another image of the channel 'T1'"):
        late.add_channel("T1", {"p1": tmp_path / "other.nrrd"}, "FLAIR")
    again = Cohort.open(cohort.folder)
    np.testing.assert_array_equal(again.channel_image("p1", "T1", GEOMETRY), noisy_image(ball(), 10))


def test_nothing_is_added_to_a_folder_that_is_only_read(tmp_path, capsys):
    for name, values in (("imagesTr", noisy_image(ball())), ("labelsTr", ball())):
        write_image(tmp_path / f"cohort/{name}/p1.nii.gz", values, GEOMETRY)
    dataset = {"name": "balls", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "ball"}}
    dataset |= {"training": [{"image": "./imagesTr/p1.nii.gz", "label": "./labelsTr/p1.nii.gz"}]}
    (tmp_path / "cohort/dataset.json").write_text(json.dumps(dataset))
    write_image(tmp_path / "t1/p1_t1.nii.gz", noisy_image(ball(), 1), GEOMETRY)
    before = sorted((tmp_path / "cohort").rglob("*"))
    assert add(tmp_path, "--first-channel", "FLAIR") == 1
    assert "is a folder in the Decathlon format, which SparseAnnotate only reads" in capsys.readouterr().err
    assert sorted((tmp_path / "cohort").rglob("*")) == before


def test_unused_options_are_refused(cohort, tmp_path, capsys):
    assert main(["add", str(cohort.folder), str(tmp_path / "t1"), "--first-channel", "A"]) == 1
    assert "'--first-channel' is for '--channel'" in capsys.readouterr().err


def test_cohorts_that_got_no_channel_are_as_before(cohort):
    content = json.loads((cohort.folder / "cohort.json").read_text())
    assert not {"channels", "modalities", "first_was_unnamed"} & set(content)
