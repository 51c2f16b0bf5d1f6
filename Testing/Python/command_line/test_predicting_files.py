"""`predict` with scans that are in no cohort."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, cancelled_at, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    Plane,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.images import read_facts, read_image, read_labels, read_percent, write_image
from SparseAnnotateLib.core.structure_values import names_from_facts
from SparseAnnotateLib.learning.prediction import image_predictor
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import results_folder
from SparseAnnotateLib.worker.predict_files_request import PredictFilesRequest, ScansNotLabeledError, predict_files
from SparseAnnotateLib.worker.requests import METHODS
from system_needs import needs_posix_signals

SHAPE = (16, 20, 22)


def oblique() -> VolumeGeometry:
    """Axes in another order than usual, flipped, 20 degrees oblique, and with spacings that differ."""
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.array([[0, 1.25, 0], [0, 0, -0.9], [-1.7, 0, 0]])
    matrix[:3, 3] = (-31.7, 12.123456789, 1203.5)
    return VolumeGeometry.from_matrix(SHAPE, matrix)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run that has been trained for a few steps; label 300 does not fit into a byte."""
    folder = tmp_path_factory.mktemp("trained")
    cohort = Cohort.create(folder / "cohort", "balls", {1: "shell", 300: "kernel"})
    labels = ball(SHAPE, 7.0).astype(np.uint16)
    labels[ball(SHAPE, 3.5) > 0] = 300
    geometry = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
    cohort.add_case("drawn", noisy_image((labels > 0).astype(int) + (labels > 1)), geometry)
    cohort.save_annotation("drawn", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(2, 16, 3)))
    train(cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "patch": (16, 16, 16), "iterations": 40}))
    train(cohort, "other", TrainingSettings(**{**QUICK_TRAINING, "patch": (16, 16, 16), "iterations": 1}))
    return cohort.run_folder("r")


@pytest.fixture
def scans(tmp_path) -> Path:
    """A folder with three scans, one of them oblique, each in another format."""
    folder = tmp_path / "scans"
    for number, ending in enumerate(("nrrd", "nii.gz", "mha")):
        geometry = oblique() if number == 1 else VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
        labels = ball(SHAPE, 7.0).astype(int) + ball(SHAPE, 3.5)
        write_image(folder / f"scan_{number}.{ending}", noisy_image(labels, number), geometry)
    return folder


def request(run: Path, scans, out: Path, **changes) -> PredictFilesRequest:
    given = (str(scans),) if isinstance(scans, Path) else tuple(map(str, scans))
    return PredictFilesRequest(str(run), given, str(out), device="cpu", **changes)


def labeled(run: Path, scans, out: Path, **changes):
    return predict_files(request(run, scans, out, **changes), Watch())


def problem(run: Path, scans, out: Path, **changes) -> str:
    with pytest.raises(BadInputError) as error:
        labeled(run, scans, out, **changes)
    return error.value.message


def outcomes(found) -> dict[str, str]:
    return {scan.name: scan.outcome for scan in found.scans}


def test_each_scan_gets_the_labels_that_a_cohort_with_it_would_get(run, scans, tmp_path):
    found = labeled(run, scans, tmp_path / "out")
    assert outcomes(found) == dict.fromkeys(("scan_0", "scan_1", "scan_2"), "labeled")
    assert found.labels == {1: "shell", 300: "kernel"}
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 300: "kernel"})
    shutil.copytree(run, cohort.run_folder("r"))
    predictor = Predictor(cohort, "r", "cpu")
    seen = set()
    for scan in found.scans:
        cohort.add_case(scan.name, scan.scan)
        labels = read_labels(scan.path, cohort.geometry(scan.name))
        np.testing.assert_array_equal(labels, predictor.labels(scan.name))
        seen |= set(np.unique(labels).tolist())
        facts = read_facts(scan.path)
        assert names_from_facts(facts) == {1: "shell", 300: "kernel"}
        assert facts["run"] == "r"
        assert facts["image"] == cohort.image_fingerprint(scan.name)
    assert seen == {0, 1, 300}


@pytest.mark.parametrize("ending", results_folder.FORMATS)
def test_every_format_keeps_labels_and_grid(run, scans, tmp_path, ending):
    expected = labeled(run, scans, tmp_path / "nrrd")
    found = labeled(run, scans, tmp_path / "out", format=f".{ending.upper()}", uncertainty=True)
    for one, other in zip(expected.scans, found.scans, strict=True):
        assert other.path.endswith(f"{other.name}.{ending}")
        labels, geometry = read_image(other.path)
        own = read_image(other.scan)[1]
        assert geometry.difference_from(own, 1e-4) is None
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, read_labels(one.path, own))
        read_percent(tmp_path / "out" / "entropy" / f"{other.name}.{ending}", own)


def test_the_run_of_a_cohort_can_be_named(run, scans, tmp_path, capsys):
    cohort = run.parents[1]
    out = tmp_path / "out"
    arguments = ["predict", str(cohort), "--run", "r", "-i", str(scans), "-o", str(out), "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [scan["outcome"] for scan in shown["scans"]] == ["labeled"] * 3
    assert main([*arguments, "--continue", "--quiet"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "0 scans were labeled, 3 had been labeled before." in shown
    assert "1 shell, 300 kernel" in shown


def test_options_after_or_before_the_cohort_are_understood_as_ever(run, capsys):
    cohort = str(run.parents[1])
    for arguments in ([cohort, "--run", "r"], ["--run", "r", cohort], ["--run", "r", "--quiet", cohort]):
        assert main(["predict", *arguments, "--device", "cpu", "--json"]) == 0
        assert [row["case"] for row in json.loads(capsys.readouterr().out)] == ["drawn"]


def test_an_existing_result_is_not_replaced_unless_asked_for(run, scans, tmp_path):
    out = tmp_path / "out"
    labeled(run, [scans / "scan_0.nrrd"], out)
    before = (out / "scan_0.nrrd").stat().st_mtime_ns
    message = problem(run, scans, out)
    for words in ("1 of the 3 results exists", "'scan_0.nrrd'", "--continue", "--overwrite"):
        assert words in message
    assert not (out / "scan_1.nrrd").exists()
    assert list(outcomes(labeled(run, scans, out, resume=True)).values()) == ["kept", "labeled", "labeled"]
    assert (out / "scan_0.nrrd").stat().st_mtime_ns == before
    assert set(outcomes(labeled(run, scans, out, overwrite=True)).values()) == {"labeled"}
    assert (out / "scan_0.nrrd").stat().st_mtime_ns != before
    assert set(outcomes(labeled(run, scans, out, resume=True)).values()) == {"kept"}


def test_uncertainty_of_an_earlier_result_does_not_stay_beside_a_new_one(run, scans, tmp_path):
    out = tmp_path / "out"
    labeled(run, scans, out, uncertainty=True)
    assert len(list((out / "entropy").iterdir())) == 3
    labeled(run, [scans / "scan_0.nrrd"], out, overwrite=True)
    assert sorted(path.name for path in (out / "entropy").iterdir()) == ["scan_1.nrrd", "scan_2.nrrd"]


def replaced_scan(run, scans, out):
    image, geometry = read_image(scans / "scan_0.nrrd")
    write_image(scans / "scan_0.nrrd", image + 1, geometry)


def lost_record(run, scans, out):
    (out / "made_from" / "scan_0.nrrd.json").unlink()


def damaged_record(run, scans, out):
    (out / "made_from" / "scan_0.nrrd.json").write_text("{", encoding="utf-8")


def trained_again(run, scans, out):
    content = json.loads((run / "card.json").read_text(encoding="utf-8"))
    (run / "card.json").write_text(json.dumps({**content, "seconds": 1.5}), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replaced_scan, "the image file has changed since"),
        (lost_record, "it is not known what it was made from"),
        (damaged_record, "is not valid JSON"),
        (trained_again, "the run 'r' has been trained again"),
    ],
)
def test_continuing_does_not_keep_a_result_of_something_else(run, scans, tmp_path, change, words):
    own = tmp_path / "runs" / "r"
    shutil.copytree(run, own)
    out = tmp_path / "out"
    labeled(own, [scans / "scan_0.nrrd"], out)
    change(own, scans, out)
    message = problem(own, scans, out, resume=True)
    assert words in message
    assert "'scan_0'" in message
    assert not (out / "scan_1.nrrd").exists()
    assert set(outcomes(labeled(own, scans, out, resume=True, overwrite=True)).values()) == {"labeled"}
    assert set(outcomes(labeled(own, scans, out, resume=True)).values()) == {"kept"}


def test_continuing_with_another_run_or_other_options_is_refused(run, scans, tmp_path):
    labeled(run, scans, tmp_path / "out")
    assert "made by the run 'r'" in problem(run.parent / "other", scans, tmp_path / "out", resume=True)
    assert "with other options" in problem(run, scans, tmp_path / "out", resume=True, smoothing=1.0)
    found = labeled(run.parent / "other", scans, tmp_path / "out", resume=True, overwrite=True)
    assert set(outcomes(found).values()) == {"labeled"}


def test_a_copy_of_a_run_and_of_the_scans_is_the_same_run_and_the_same_scans(run, scans, tmp_path):
    labeled(run, scans, tmp_path / "out")
    shutil.copytree(run, tmp_path / "copied" / "r")
    shutil.copytree(scans, tmp_path / "moved")
    found = labeled(tmp_path / "copied" / "r", tmp_path / "moved", tmp_path / "out", resume=True)
    assert set(outcomes(found).values()) == {"kept"}


def test_a_replacing_that_was_interrupted_leaves_no_result_under_a_wrong_record(run, scans, tmp_path, monkeypatch):
    out = tmp_path / "out"
    labeled(run, scans, out)

    def killed(path, *_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(results_folder, "write_image", killed)
        with pytest.raises(KeyboardInterrupt):
            labeled(run.parent / "other", [scans / "scan_0.nrrd"], out, overwrite=True)
    message = problem(run.parent / "other", [scans / "scan_0.nrrd"], out, resume=True)
    assert "has not been replaced" in message


def test_damaged_scans_do_not_stop_the_others_and_are_named(run, scans, tmp_path, capsys):
    whole = (scans / "scan_1.nii.gz").read_bytes()
    (scans / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (scans / "text.nrrd").write_text("not an image", encoding="utf-8")
    write_image(scans / "uniform.nrrd", np.ones(SHAPE), VolumeGeometry.from_spacing(SHAPE))
    out = tmp_path / "out"
    arguments = ["predict", "--run", str(run), "-i", str(scans), "-o", str(out), "--device", "cpu", "--quiet"]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "3 scans were labeled" in captured.out
    assert "3 scans were not labeled (others labeled: 3)." in captured.err
    for name in ("'cut'", "'text'", "'uniform'"):
        assert name in captured.err
    assert sorted(path.name for path in out.glob("*.nrrd")) == [f"scan_{number}.nrrd" for number in range(3)]
    assert main([*arguments, "--continue", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)["scans"]
    assert [scan["outcome"] for scan in shown] == ["failed", "kept", "kept", "kept", "failed", "failed"]
    assert all(bool(scan["problem"]) == (scan["outcome"] == "failed") for scan in shown)


def test_an_earlier_result_of_a_scan_that_cannot_be_labeled_is_named_as_such(run, scans, tmp_path):
    out, scan = tmp_path / "out", scans / "scan_0.nrrd"
    (path,) = (one.path for one in labeled(run, [scan], out).scans)
    scan.write_bytes(scan.read_bytes()[:200])
    assert f"'{path}' is an earlier result." in problem(run, [scan], out, overwrite=True)
    Path(path).unlink()
    assert "earlier result" not in problem(run, [scan], out, overwrite=True)


def test_a_4d_image_is_a_damaged_scan_with_a_sentence(run, scans, tmp_path):
    import SimpleITK as sitk

    path = scans / "time.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).random((3, *SHAPE)), isVector=False), str(path))
    with pytest.raises(ScansNotLabeledError) as error:
        labeled(run, scans, tmp_path / "out")
    assert "'time'" in error.value.message
    assert "4D image" in error.value.message
    assert outcomes(error.value.shown)["scan_0"] == "labeled"


def test_a_scan_that_is_too_large_for_the_memory_does_not_stop_the_others(run, scans, tmp_path, monkeypatch):
    normalise = image_predictor.normalise

    def short_of_memory(image, *how):
        if not seen:
            seen.append(image)
            raise MemoryError
        return normalise(image, *how)

    seen: list = []
    monkeypatch.setattr(image_predictor, "normalise", short_of_memory)
    with pytest.raises(ScansNotLabeledError, match="not enough memory"):
        labeled(run, scans, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.nrrd"))) == 2


def test_when_results_cannot_be_written_nothing_more_is_computed(run, scans, tmp_path, monkeypatch):
    tries = []

    def full(path, *_arguments, **_options):
        tries.append(path)
        raise FileWriteError("the disk is full")

    monkeypatch.setattr(results_folder, "write_image", full)
    with pytest.raises(FileWriteError):
        labeled(run, scans, tmp_path / "out")
    assert len(tries) == 1


def test_cancelling_keeps_finished_results_and_continuing_does_the_others(run, scans, tmp_path):
    out = tmp_path / "out"
    for moment in range(1, 40):
        with pytest.raises(CancelledError):
            predict_files(request(run, scans, out, overwrite=True), cancelled_at(moment))
        if (out / "scan_0.nrrd").exists():
            break
    assert not (out / "scan_2.nrrd").exists()
    assert not list(out.rglob("*writing*"))
    found = outcomes(labeled(run, scans, out, resume=True))
    assert found["scan_0"] == "kept"
    assert found["scan_2"] == "labeled"


@needs_posix_signals
def test_sigterm_keeps_finished_results(run, tmp_path):
    labels = ball(SHAPE, 7.0).astype(int)
    path, many = tmp_path / "scan.nrrd", tmp_path / "many"
    write_image(path, noisy_image(labels), VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0)))
    many.mkdir()
    for number in range(3000):
        os.link(path, many / f"{number:04d}.nrrd")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "SparseAnnotateLib.command_line", "predict", "--run", str(run)]
    command += ["-i", str(many), "-o", str(out), "--device", "cpu", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while len(list(out.glob("*.nrrd"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 143
    assert b"Finished results are kept; with '--continue', the same command labels the other scans." in error
    done = list(out.glob("*.nrrd"))
    assert 3 <= len(done) < 3000
    for result in done:
        read_image(result)
        assert (out / "made_from" / f"{result.name}.json").is_file()


def test_scans_of_the_same_name_are_refused_before_anything_runs(run, scans, tmp_path):
    for patient in ("anna", "ben"):
        (tmp_path / "patients" / patient).mkdir(parents=True)
        shutil.copy(scans / "scan_0.nrrd", tmp_path / "patients" / patient / "T1.nrrd")
    pattern = [tmp_path / "patients" / "*" / "T1.nrrd"]
    out = tmp_path / "out"
    assert "'--name-from parent'" in problem(run, pattern, out)
    assert not out.exists()
    assert list(outcomes(labeled(run, pattern, out, name_from="parent"))) == ["anna", "ben"]
    again = labeled(run, tmp_path / "patients", out, name_from="parent", resume=True)
    assert outcomes(again) == {"anna": "kept", "ben": "kept"}


def test_results_are_never_among_the_scans(run, scans, tmp_path):
    for out in (scans, scans / "results", scans / "deep" / "results"):
        assert "in the folder of the scans" in problem(run, scans, out)
    assert "may be a result itself" in problem(run, [scans / "scan_0.nrrd"], tmp_path)
    link = tmp_path / "link"
    try:
        link.symlink_to(scans, target_is_directory=True)
    except OSError:
        return  # not allowed on this system
    assert "in the folder of the scans" in problem(run, scans, link / "results")


def test_a_folder_that_cannot_be_written_is_reported_before_anything_runs(run, scans, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(image_predictor.ImagePredictor, "__init__", None)
    with pytest.raises(FileWriteError, match="cannot be written"):
        labeled(run, scans, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "dicom"}, "Choose one of nrrd, nii.gz, nii, mha"),
        ({"smoothing": -1.0}, "must be from 0 to 100 mm, not -1."),
        ({"smoothing": float("nan")}, "must be from 0 to 100 mm, not nan."),
        ({"smoothing": 1e30}, "must be from 0 to 100 mm, not 1e+30."),
        ({"scans": ("nowhere",)}, "'nowhere' does not exist"),
        ({"scans": ()}, "at least one scan"),
        ({"run": "nowhere"}, "is not the folder of a run"),
        ({"models": ("2d",)}, "cannot predict with 2d"),
    ],
)
def test_bad_input_is_a_sentence(run, scans, tmp_path, changes, words):
    asked = {"run": str(run), "scans": (str(scans),), "output": str(tmp_path / "out"), "device": "cpu", **changes}
    with pytest.raises(BadInputError) as error:
        predict_files(PredictFilesRequest(**asked), Watch())
    assert words in error.value.message
    assert not list(tmp_path.glob("out/*"))


def test_a_folder_without_images_and_a_run_that_is_not_finished_are_sentences(run, scans, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "has no images directly in it" in problem(run, tmp_path / "empty", tmp_path / "out")
    unfinished = tmp_path / "runs" / "r"
    shutil.copytree(run, unfinished)
    (unfinished / "card.json").unlink()
    assert main(["predict", "--run", str(unfinished), "-i", str(scans), "-o", str(tmp_path / "out")]) == 1
    assert "has not finished training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name a cohort, or scans"),
        (["-i", "s"], "Name a folder for the results with '-o'"),
        (["-o", "o"], "Name the scans with '-i'"),
        (["COHORT", "-o", "o"], "Name the scans with '-i'"),
        (["-i", "s", "-o", "o", "--cases", "a"], "'--cases' is only for the cases of a cohort"),
        (["COHORT", "-i", "s", "-o", "o", "--model-only"], "'--model-only' is only for the cases of a cohort"),
        (["-i", "s", "-o", "o", "--state", "x"], "'--state' is only for a cohort"),
        (["COHORT", "--continue"], "'--continue' is only for scans"),
        (["COHORT", "--overwrite"], "'--overwrite' is only for scans"),
        (["COHORT", "--format", "nii.gz"], "'--format' is only for scans"),
        (["COHORT", "--name-from", "parent"], "'--name-from' is only for scans"),
    ],
)
def test_options_that_do_not_go_together_are_sentences(capsys, arguments, words):
    assert main(["predict", "--run", "r", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_scan_of_another_kind_is_reported_before_it_is_labeled(run, scans, tmp_path, caplog, monkeypatch):
    image = noisy_image(ball(SHAPE, 7.0))
    for name in ("thick", "thick_too"):
        write_image(scans / f"{name}.nrrd", image, VolumeGeometry.from_spacing(SHAPE, (9.0, 1.0, 1.0)))
    predict, reported = image_predictor.ImagePredictor.predict, []

    def predicted(self, *arguments):
        reported.append(len(caplog.records))
        return predict(self, *arguments)

    monkeypatch.setattr(image_predictor.ImagePredictor, "predict", predicted)
    found = labeled(run, scans, tmp_path / "out")
    assert reported == [1, 1, 1, 2, 2]  # of its intensities when it is read
    record = caplog.records[0]  # it is not repeated when their turn comes
    assert not any("9 mm long" in other.getMessage() for other in caplog.records[1:])
    assert record.getMessage().startswith(
        "'thick', 'thick_too' (2 images): The image differs from those that the run has learned from: its "
    )
    assert "9 mm long from top to bottom (learned: 2 mm)" in record.getMessage()
    assert found.scans[-1].notes == found.scans[-2].notes
    assert found.scans[-1].notes[0].startswith("The image differs")
    assert found.scans[0].notes == ()


def test_many_scans_of_another_kind_are_reported_in_a_few_lines_and_damaged_ones_in_their_turn(
    run, scans, tmp_path, caplog
):
    image = noisy_image(ball(SHAPE, 7.0))
    for number in range(6):
        geometry = VolumeGeometry.from_spacing(SHAPE, (9.0 + number, 1.0, 1.0))
        write_image(scans / f"thick_{number}.nrrd", image, geometry)
    (scans / "thick_5.nrrd").write_bytes(b"NRRD0004")
    with pytest.raises(BadInputError, match="'thick_5'"):
        labeled(run, scans, tmp_path / "out")
    texts = [record.getMessage() for record in caplog.records]
    assert not any("mm long" in text for text in texts[4:])
    assert [text[:9] for text in texts[:3]] == ["'thick_0'", "'thick_1'", "'thick_2'"]
    assert texts[3] == "2 further images differ in other ways: 'thick_3', 'thick_4'. Check the results."


def test_cases_of_a_cohort_are_reported_by_the_same_sentence(run, tmp_path, caplog, capsys):
    cohort = tmp_path / "cohort"
    shutil.copytree(run.parents[1], cohort)
    image = noisy_image(ball(SHAPE, 7.0))
    Cohort.open(cohort).add_case("thick", image, VolumeGeometry.from_spacing(SHAPE, (9.0, 1.0, 1.0)))
    assert main(["predict", str(cohort), "--run", "r", "--device", "cpu", "--json"]) == 0
    rows = {row["case"]: row["notes"] for row in json.loads(capsys.readouterr().out)}
    texts = [record.getMessage() for record in caplog.records]
    assert texts[0].startswith("'thick': The image differs from those that the run has learned from: its voxels are 9")
    assert sum("9 mm long" in text for text in texts) == 1
    assert rows["thick"][0].startswith("The image differs")
    assert not any(note.startswith("The image differs") for note in rows["drawn"])


def test_the_worker_answers_the_same_request():
    assert METHODS["predict_files"] == (PredictFilesRequest, predict_files)


def test_nothing_is_kept_in_memory_of_a_scan_but_small_facts(run, scans, tmp_path):
    import tracemalloc

    many = tmp_path / "many"
    many.mkdir()
    for number in range(30):
        os.link(scans / "scan_0.nrrd", many / f"{number}.nrrd")
    used = []

    def report(progress):
        if "reading" in progress.message:
            used.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        predict_files(request(run, many, tmp_path / "out"), Watch(report))
    finally:
        tracemalloc.stop()
    image_bytes = 4 * int(np.prod(SHAPE))
    assert len(used) == 30
    assert used[-1] - used[10] < 19 * image_bytes / 4
