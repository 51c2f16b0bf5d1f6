"""An image that is saved again with the same voxels is the same one for results and runs, too."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import Case, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_facts, read_image, read_labels, write_image
from SparseAnnotateLib.core.layer_reading import LayeredFile
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.earlier_results import earlier_results
from SparseAnnotateLib.worker.evaluate_request import EvaluateRequest, OutOfDateError, evaluate
from SparseAnnotateLib.worker.fill_request import FillRequest
from SparseAnnotateLib.worker.jobs.left_cases import is_up_to_date

SETTINGS = TrainingSettings(recipe="3d", **{**QUICK_TRAINING, "iterations": 2})
IS_OTHER = "the image file has changed since"


def save_again(path, change=lambda array: array) -> None:
    """Write an image again, uncompressed and in another type, with the same values, or others."""
    array, geometry = read_image(path)
    before = path.read_bytes()
    write_image(path, change(array).astype(np.float64), geometry, compress=False)
    assert path.read_bytes() != before


def filled(cohort: Cohort) -> Cohort:
    requests.fill(FillRequest(str(cohort.folder)), Watch())
    return cohort


def stale(cohort: Cohort, name: str, path) -> str:
    return Origin.from_facts(read_facts(path)).changes(cohort.origin(name, since=path))


def test_a_fill_stays_up_to_date(ball_cohort):
    filled(ball_cohort)
    for case in ball_cohort.cases:
        save_again(ball_cohort.image_path(case.name))
    assert [row.stale for row in evaluate(EvaluateRequest(str(ball_cohort.folder)), Watch())] == ["", ""]
    assert earlier_results(ball_cohort, "ball_0", ["fill"])[1] == []
    save_again(ball_cohort.image_path("ball_1"), lambda array: array + 1)
    ball_cohort.accept_image("ball_1")
    with pytest.raises(OutOfDateError, match=f"case 'ball_1' is out of date: {IS_OTHER}"):
        evaluate(EvaluateRequest(str(ball_cohort.folder)), Watch())
    assert earlier_results(ball_cohort, "ball_1", ["fill"])[1]


def test_the_report_counts_its_voxels(ball_cohort, tmp_path):
    filled(ball_cohort)
    save_again(ball_cohort.image_path("ball_0"))
    page = tmp_path / "report.html"
    assert main(["report", str(ball_cohort.folder), "--out", str(page)]) == 0
    assert IS_OTHER not in page.read_text()


def test_the_same_voxels_on_another_grid_are_another_image(ball_cohort):
    geometry = ball_cohort.geometry("ball_0")
    filled(ball_cohort)
    path = ball_cohort.image_path("ball_0")
    write_image(path, read_image(path)[0], VolumeGeometry.from_spacing(geometry.shape, (3.0, 1.0, 1.0)))
    made = ball_cohort.fill_path("ball_0")
    assert ball_cohort.image_since("ball_0", made) == ball_cohort.image_fingerprint("ball_0")


def test_of_a_result_of_an_earlier_version_only_the_file_is_known(ball_cohort):
    path = filled(ball_cohort).fill_path("ball_0")
    made = Origin.from_facts(read_facts(path))
    assert made.voxels
    geometry = ball_cohort.geometry("ball_0")
    write_image(path, read_labels(path, geometry), geometry, facts=replace(made, voxels="").facts())
    assert stale(ball_cohort, "ball_0", path) == ""
    save_again(ball_cohort.image_path("ball_0"))
    assert IS_OTHER in stale(ball_cohort, "ball_0", path)


def test_an_image_that_was_not_saved_again_is_not_read(ball_cohort, monkeypatch):
    path = filled(ball_cohort).fill_path("ball_0")
    with monkeypatch.context() as patch:
        patch.setattr(Cohort, "image", lambda *_: pytest.fail("read"))
        patch.setattr(LayeredFile, "layers", lambda *_: pytest.fail("read"))
        assert stale(ball_cohort, "ball_0", path) == ""
    save_again(ball_cohort.image_path("ball_0"))
    read = []
    layers = LayeredFile.layers
    monkeypatch.setattr(LayeredFile, "layers", lambda *given: read.append(given) or layers(*given))
    monkeypatch.setattr(Cohort, "image", lambda *_: pytest.fail("read as a whole"))
    for _attempt in range(3):
        assert stale(ball_cohort, "ball_0", path) == ""
    assert len(read) == 1


def test_the_prediction_of_a_case_without_drawn_slices_stays_up_to_date(ball_cohort):
    ball_cohort.add_case("undrawn", noisy_image(ball(), 9), ball_cohort.geometry("ball_0"))
    train(ball_cohort, "r", SETTINGS)
    request = requests.PredictRequest(str(ball_cohort.folder), "r", cases=("undrawn",), device="cpu")
    requests.predict(request, Watch())
    path = ball_cohort.prediction_path("r", "undrawn")
    save_again(ball_cohort.image_path("undrawn"))
    content = Origin.from_facts(read_facts(path)).run_content
    assert is_up_to_date(ball_cohort, "r", content, "undrawn", {path.stat().st_mtime_ns: ""})
    save_again(ball_cohort.image_path("undrawn"), lambda array: array[::-1])
    assert not is_up_to_date(ball_cohort, "r", content, "undrawn", {path.stat().st_mtime_ns: ""})


def test_the_image_of_a_case_without_drawn_slices_is_read_once_for_its_prediction(ball_cohort, monkeypatch):
    train(ball_cohort, "r", SETTINGS)
    ball_cohort.add_case("undrawn", noisy_image(ball(), 9), ball_cohort.geometry("ball_0"))
    read, image = [], Cohort.image
    monkeypatch.setattr(Cohort, "image", lambda *given: read.append(given) or image(*given))
    monkeypatch.setattr(LayeredFile, "layers", lambda *_: pytest.fail("read again"))
    requests.predict(requests.PredictRequest(str(ball_cohort.folder), "r", cases=("undrawn",), device="cpu"), Watch())
    assert len(read) == 1
    assert Origin.from_facts(read_facts(ball_cohort.prediction_path("r", "undrawn"))).voxels


@pytest.mark.parametrize("four_d", [False, True])
@pytest.mark.parametrize("changed", [None, 0, 1])
def test_each_channel_counts(tmp_path, four_d, changed):
    shape = (8, 10, 12)
    geometry = VolumeGeometry.from_spacing(shape, (1.0, 1.0, 1.0))
    arrays = [np.random.default_rng(number).normal(size=shape).astype(np.float32) for number in range(2)]
    cohort = made_of_channels(tmp_path, arrays, geometry, four_d)
    drawn = SparseAnnotation.from_slices(ball(shape, radius=3.0), cohort.geometry("a"), Plane.AXIAL, [2, 4, 6])
    cohort.save_annotation("a", drawn)
    path = filled(cohort).fill_path("a")
    now = [array + 1 if number == changed else array for number, array in enumerate(arrays)]
    write_channels(cohort, now, geometry)
    if changed == 0:
        cohort.accept_image("a")
    assert bool(stale(cohort, "a", path)) == (changed is not None)


def test_channels_of_a_4d_image_whose_names_were_put_in_another_order_are_known_as_such(tmp_path):
    shape = (8, 10, 12)
    arrays = [np.random.default_rng(number).normal(size=shape).astype(np.float32) for number in range(3)]
    cohort = Cohort.create(tmp_path / "c", "c", {1: "one"}, channels=("T1", "FLAIR", "T2"))
    cohort.add_cases([Case("a", "a.nii", is_4d=True)], channels=("T1", "FLAIR", "T2"))
    write_channels(cohort, arrays, None)
    before = cohort.voxel_marks("a")
    file = cohort.folder / "cohort.json"
    facts = json.loads(file.read_text())
    facts["channels"] = ["T1", "T2", "FLAIR"]
    file.write_text(json.dumps(facts))
    now = Cohort.open(cohort.folder).voxel_marks("a")
    assert now == {"T1": before["T1"], "T2": before["FLAIR"], "FLAIR": before["T2"]}


def made_of_channels(folder, arrays, geometry, four_d: bool) -> Cohort:
    cohort = Cohort.create(folder / "c", "c", {1: "one"}, channels=("FLAIR", "T1"))
    if four_d:
        cohort.add_cases([Case("a", "a.nii", is_4d=True)], channels=("FLAIR", "T1"))
    else:
        for name, array in zip(("FLAIR", "T1"), arrays, strict=True):
            write_image(folder / f"{name}.nrrd", array, geometry)
        cohort.add_case("a", folder / "FLAIR.nrrd", further={"T1": folder / "T1.nrrd"})
    write_channels(cohort, arrays, geometry, np.float32)
    return cohort


def write_channels(cohort: Cohort, arrays, geometry, kind=np.float64) -> None:
    if not cohort.case("a").is_4d:
        for path, array in zip(cohort.channel_paths("a").values(), arrays, strict=True):
            write_image(path, array.astype(kind), geometry, compress=False)
        return
    import SimpleITK as sitk

    image = sitk.JoinSeries([sitk.GetImageFromArray(array.astype(kind)) for array in arrays])
    sitk.WriteImage(image, str(cohort.image_path("a")))


def test_a_run_knows_the_image_that_it_has_learned_from_by_another_name(ball_cohort, tmp_path):
    card = train(ball_cohort, "r", SETTINGS)
    other = Cohort.create(tmp_path / "other", "other", {1: "shell", 2: "kernel"})
    copy = tmp_path / "copy.nii.gz"
    for change, is_known in ((0, True), (1, False)):
        array, geometry = read_image(ball_cohort.image_path("ball_0"))
        write_image(copy, array + np.float32(change), geometry)
        other.add_case("renamed", copy)
        found = card.has_learned_from(
            "renamed",
            lambda: list(other.image_marks("renamed").values()),
            lambda: list(other.voxel_marks("renamed").values()),
        )
        assert found == is_known


def test_a_compressed_copy_of_the_folder_is_as_up_to_date_as_the_original(ball_cohort, tmp_path):
    """The cache may be left out when a cohort is copied."""
    ball_cohort.add_case("plain", noisy_image(ball(), 9), ball_cohort.geometry("ball_0"))
    plain = ball_cohort.folder / "images" / "plain.nii"
    write_image(plain, *read_image(ball_cohort.image_path("plain")))
    ball_cohort.add_case("plain", plain)
    ball_cohort.save_annotation("plain", ball_cohort.annotation("ball_0"))
    filled(ball_cohort)
    copy = Cohort.open(shutil.copytree(ball_cohort.folder, tmp_path / "copy", ignore=lambda *_: {"cache"}))
    packed = copy.folder / "images" / "plain.nii.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    copy.add_case("plain", packed)
    assert stale(copy, "plain", copy.fill_path("plain")) == ""
