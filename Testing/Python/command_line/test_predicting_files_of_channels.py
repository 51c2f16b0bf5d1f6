"""`predict` with scans of several channels that are in no cohort."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings

SHAPE = (16, 20, 36)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
LABELS = ball(SHAPE, 6.0)
CHANNELS = ("--channels", "T1=_t1", "FLAIR=_flair")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A cohort with a run, and a folder with the same images as scans."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(2)
    cohort = Cohort.create(folder / "cohort", "balls", {1: "ball"}, channels=("FLAIR", "T1"))
    for name in "ab":
        flair, t1 = ((rng.normal(size=SHAPE) * 9 + scale * LABELS).astype(np.float32) for scale in (40.0, -70.0))
        write_image(folder / "scans" / f"{name}_flair.nii.gz", flair, GEOMETRY)
        write_image(folder / "scans" / f"{name}_t1.nii.gz", t1, GEOMETRY)
        cohort.add_case(name, flair, GEOMETRY, further={"T1": folder / "scans" / f"{name}_t1.nii.gz"})
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
    train(cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 30}))
    return cohort, folder / "scans"


@pytest.fixture
def scans(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / "scans")
    return tmp_path / "scans"


def predicted(cohort, scans, out, *options):
    run = ("predict", "--run", str(cohort.run_folder("r")), "-i", str(scans), "-o", str(out), "--device", "cpu")
    return main([*run, *map(str, options)])


def test_scans_of_several_files_are_labeled_as_cases_are(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS) == 0
    expected = Predictor(cohort, "r", "cpu").labels("b")
    assert np.array_equal(read_labels(tmp_path / "out/b.nrrd", GEOMETRY), expected)
    assert expected.any()
    # A result is of all channels: when one has changed, it is not kept.
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS, "--continue") == 0
    write_image(scans / "b_t1.nii.gz", np.random.default_rng(9).normal(size=SHAPE).astype(np.float32), GEOMETRY)
    capsys.readouterr()
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS, "--continue") == 1
    assert "'b': the image file has changed since" in capsys.readouterr().err
    record = json.loads((tmp_path / "out/made_from/b.nrrd.json").read_text())
    assert list(record["channels"]) == ["FLAIR", "T1"]


def test_4d_scans_are_labeled_in_any_order_of_their_channels(trained, tmp_path, capsys):
    cohort, _ = trained
    images = []
    for channel in ("T1", "FLAIR"):
        image = sitk.GetImageFromArray(cohort.channel_image("b", channel, GEOMETRY))
        spacing, origin, direction = GEOMETRY.to_itk()
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        images.append(image)
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(sitk.JoinSeries(images), str(tmp_path / "scans/b.nii.gz"))
    assert predicted(cohort, tmp_path / "scans", tmp_path / "out", "--channels", "T1", "FLAIR") == 0
    expected = Predictor(cohort, "r", "cpu").labels("b")
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/b.nrrd")))
    assert np.array_equal(found, expected)
    # Named in another order, the result is another one.
    order = ("--channels", "FLAIR", "T1")
    assert predicted(cohort, tmp_path / "scans", tmp_path / "out", *order, "--continue") == 1
    assert "the channels of its scan were named T1, FLAIR, not FLAIR, T1" in capsys.readouterr().err
    assert predicted(cohort, tmp_path / "scans", tmp_path / "two", "--channels", "T1", "FLAIR", "T2") == 1
    assert "It holds 2 images instead of 3 (T1, FLAIR, T2)" in capsys.readouterr().err


def test_what_is_missing_is_said(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    (scans / "b_t1.nii.gz").unlink()
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS) == 1
    said = capsys.readouterr().err
    assert "1 scan was not labeled (others labeled: 1)" in said
    assert "'b': It has no image of the channel 'T1'." in said
    assert (tmp_path / "out/a.nrrd").is_file()
    for options, words in (
        ((), "needs the channels FLAIR, T1. Say which files they are, for example with '--channels FLAIR=_flair"),
        (("--channels", "FLAIR=_flair"), "needs the channels FLAIR, T1"),
        (("--channels", "FLAIR=_x", "T1=_y"), "No file's name ends like a channel"),
    ):
        assert predicted(cohort, scans, tmp_path / "more", *options) == 1
        assert words in capsys.readouterr().err


def test_a_scan_without_the_first_channel_does_not_stop_the_others(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    (scans / "b_flair.nii.gz").unlink()
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS) == 1
    assert "'b': It has no image of the channel 'FLAIR'." in capsys.readouterr().err
    assert (tmp_path / "out/a.nrrd").is_file()


def test_files_of_channels_that_the_run_does_not_need_are_not_taken_for_others(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    shutil.copyfile(scans / "a_flair.nii.gz", scans / "a_ce_t1.nii.gz")
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS, "contrast=_ce_t1") == 0
    assert {path.name for path in (tmp_path / "out").glob("*.nrrd")} == {"a.nrrd", "b.nrrd"}
    assert "Left out" not in capsys.readouterr().err
    expected = Predictor(cohort, "r", "cpu").labels("a", clean_up=None)
    found = read_labels(tmp_path / "out/a.nrrd", GEOMETRY)
    undrawn = ~cohort.annotation("a").supervised_mask()
    assert np.array_equal(found[undrawn], expected[undrawn])


def test_a_run_of_single_images_takes_no_channels(ball_cohort, scans, tmp_path, capsys):
    train(ball_cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "iterations": 2}))
    assert predicted(ball_cohort, scans, tmp_path / "out", *CHANNELS) == 1
    assert "has learned from single images without channels" in capsys.readouterr().err


def test_a_scan_with_none_of_the_channels_of_the_run_is_named(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    shutil.copyfile(scans / "a_flair.nii.gz", scans / "c_ce_t1.nii.gz")
    assert predicted(cohort, scans, tmp_path / "out", *CHANNELS, "contrast=_ce_t1") == 1
    assert "'c': It has no image of the channel 'FLAIR'." in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").glob("*.nrrd")} == {"a.nrrd", "b.nrrd"}


def test_a_run_of_one_channel_is_told_from_files_of_others(trained, scans, tmp_path, capsys):
    cohort, _ = trained
    settings = TrainingSettings(**{**QUICK_TRAINING, "iterations": 1}, channels=("FLAIR",))
    train(cohort, "one", settings)
    run = ("predict", "--run", str(cohort.run_folder("one")), "--device", "cpu")
    assert main([*run, "-i", str(scans), "-o", str(tmp_path / "all")]) == 0
    words = "labeled as an image of the channel 'FLAIR', also the 2 files without this name. If scans have files of"
    said = capsys.readouterr().err
    assert words in said
    assert "with '--channels FLAIR=_flair'" in said
    assert main([*run, "-i", str(scans), "-o", str(tmp_path / "own"), "--channels", "FLAIR=_flair"]) == 0
    assert "without this name" not in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "own").glob("*.nrrd")} == {"a.nrrd", "b.nrrd"}
