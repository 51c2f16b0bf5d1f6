"""The report on a cohort: what it counts, what it shows, and what cannot be read."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SliceState, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.runs.run_list import run_summaries
from SparseAnnotateLib.worker.report_pictures import case_picture
from SparseAnnotateLib.worker.report_request import ReportRequest, cohort_report, report


def pictures_of(text):
    from matplotlib.image import imread

    return [imread(io.BytesIO(base64.b64decode(found))) for found in re.findall(r"base64,([^']+)'", text)]


def test_a_report_counts_what_is_drawn_and_measures_the_fills(ball_cohort, tmp_path, capsys):
    folder = str(ball_cohort.folder)
    assert main(["fill", folder, "--method", "shape", "--quiet"]) == 0
    annotation = ball_cohort.annotation("ball_0")
    timed = annotation.ledger.with_state(Plane.AXIAL, 3, SliceState.EMPTY, 90.0)
    ball_cohort.save_annotation("ball_0", SparseAnnotation(annotation.labels, timed, annotation.geometry))
    assert main(["recommend", folder, "--more", "4", "--quiet"]) == 0
    capsys.readouterr()
    out = tmp_path / "page.html"
    assert main(["report", folder, "--out", str(out), "--pictures", "1", "--quiet"]) == 0
    drawn = sum(len(ball_cohort.ledger(name).decided) for name in ("ball_0", "ball_1"))
    assert f"2 cases, {drawn} slices drawn in 1.5 minutes, 4 to do" in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    assert "shell (1), kernel (2)" in text
    # A slice was drawn after the fill of the first case.
    assert "out of date: 1 more slice has been drawn since" in text
    assert re.search(r"Dice 0\.\d+, undrawn 0\.\d+ \(shape\)", text)
    assert text.count("<td>axial</td>") == 4
    assert re.search(r"filled \(shape\) \d+%, drawn \d+%", text)
    (picture,) = pictures_of(text)
    assert picture.ndim == 3
    assert "http" not in text.replace("http-equiv", "")


def test_the_date_of_a_run_is_that_of_its_training_also_when_the_folder_was_copied(ball_cohort, tmp_path):
    before = datetime.now()
    train(ball_cohort, "r", TrainingSettings(recipe="3d", **{**QUICK_TRAINING, "iterations": 1}))
    folder = RunFolder(ball_cohort.run_folder("r"))
    os.utime(folder.card_path, (0, datetime(2020, 2, 3, 4, 5).timestamp()))
    (run,) = run_summaries(ball_cohort)
    assert before - timedelta(seconds=1) <= run.changed <= datetime.now()
    assert f"<td>{run.changed:%Y-%m-%d %H:%M}</td>" in page_of(ball_cohort, tmp_path)
    # Earlier versions did not record it.
    folder.write_card(replace(folder.card(), trained=""))
    assert "trained" not in json.loads(folder.card_path.read_text())
    os.utime(folder.card_path, (0, datetime(2020, 2, 3, 4, 6).timestamp()))
    assert "<td>2020-02-03 04:06</td>" in page_of(ball_cohort, tmp_path)


def page_of(cohort: Cohort, folder) -> str:
    path = folder / "page.html"
    report(ReportRequest(str(cohort.folder), str(path), pictures=0), Watch())
    return path.read_text(encoding="utf-8")


def test_names_are_never_taken_for_html(tmp_path):
    cohort = Cohort.create(tmp_path / "co", "<b>x</b> & co", {1: "<i>liver</i>"})
    geometry = VolumeGeometry.from_spacing((6, 7, 8), (1.0, 1.0, 1.0))
    cohort.add_case("a & 'b'", noisy_image(ball((6, 7, 8), 2.0)), geometry)
    found = report(ReportRequest(str(cohort.folder)), Watch())
    text = (cohort.folder / "report.html").read_text(encoding="utf-8")
    assert found.path == str(cohort.folder / "report.html")
    assert "&lt;b&gt;x&lt;/b&gt; &amp; co" in text
    assert "&lt;i&gt;liver" in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_reported(ball_cohort, tmp_path, capsys):
    image = ball_cohort.image_path("ball_0")
    image.write_bytes(b"NRRD0004\nnothing")
    command = ["report", str(ball_cohort.folder), "--out", str(tmp_path / "page.html"), "--quiet"]
    assert main(command) == 1
    said = capsys.readouterr()
    assert f"to do: {tmp_path / 'page.html'}" in "".join(said.out.splitlines())
    assert "1 case cannot be read (others in the report: 1):\n'ball_0': " in said.err
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["unreadable"] == ["ball_0"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "class='problem'" in text
    assert len(pictures_of(text)) == 1


def test_a_damaged_reference_does_not_hide_the_slices(ball_cohort, tmp_path):
    assert main(["fill", str(ball_cohort.folder), "--method", "shape", "--quiet"]) == 0
    ball_cohort.reference_path("ball_0").write_bytes(b"nothing")
    with pytest.raises(
        PartlyDoneError, match=r"1 case, or a result of it, cannot be read \(others .*: 1\):\n'ball_0': The reference"
    ) as error:
        report(ReportRequest(str(ball_cohort.folder), str(tmp_path / "page.html")), Watch())
    found = error.value.shown
    drawn = sum(len(ball_cohort.ledger(name).decided) for name in ("ball_0", "ball_1"))
    assert (found.drawn, found.unreadable) == (drawn, [])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"Drawn: {drawn} slices of 2 cases" in text
    assert "class='problem'" in text


def test_damaged_results_are_named_after_the_report_was_written(ball_cohort, tmp_path, capsys):
    assert main(["fill", str(ball_cohort.folder), "--method", "shape", "--quiet"]) == 0
    path = ball_cohort.fill_path("ball_1")
    path.write_bytes(path.read_bytes()[:300])
    ball_cohort.reference_path("ball_0").unlink()
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["report", str(ball_cohort.folder), "--out", str(page), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "2 cases, or results of them, cannot be read (others in the report: 0):" in said
    assert f"'ball_1': The file '{path}' cannot be read" in said
    assert "'ball_0': The reference of case 'ball_0' cannot be used." in said
    assert page.is_file()


def test_an_empty_cohort_and_a_wrong_path(tmp_path):
    cohort = Cohort.create(tmp_path / "co", "empty")
    assert report(ReportRequest(str(cohort.folder)), Watch()).cases == 0
    with pytest.raises(BadInputError, match=r"ends with \.html"):
        report(ReportRequest(str(cohort.folder), str(tmp_path / "page.pdf")), Watch())
    with pytest.raises(BadInputError, match="page"):
        report(ReportRequest(str(cohort.folder), str(tmp_path / "missing" / "page")), Watch())


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_pictures_are_upright_however_the_image_is_stored(tmp_path, flips, order):
    """The brightest corner is at the patient's left, front and top; the picture shows it at the upper right."""
    shape = np.array([10, 12, 14])[list(order)]
    matrix = np.eye(4)
    for column, axis in enumerate(order):
        # Array axes are (K, J, I), the columns of the matrix (i, j, k).
        matrix[:3, column] = 0
        matrix[axis, column] = flips[axis]
    geometry = VolumeGeometry.from_matrix(tuple(reversed(shape.tolist())), matrix)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1)[..., ::-1]
    ras = places @ matrix[:3, :3].T
    left, front = -ras[..., 0], ras[..., 1]
    image = (left - left.min() + front - front.min()).astype(np.float32)
    cohort = Cohort.create(tmp_path / "co", "corner", {1: "ball"})
    cohort.add_case("a", image, geometry)
    (case,) = cohort_report(cohort, list(cohort.cases), Watch()).cases
    (picture,) = pictures_of(f"base64,{case_picture(cohort, case)}'")
    height, width = picture.shape[:2]
    one = picture[:, : (width - 8) // 3, 0]
    corners = {"upper left": one[0, 0], "upper right": one[0, -1], "lower left": one[-1, 0], "lower right": one[-1, -1]}
    assert max(corners, key=corners.get) == "upper right"
    assert height >= 160


def test_a_picture_shows_an_image_whatever_its_values_are(tmp_path):
    labels = ball()
    image = noisy_image(labels).astype(np.float64)
    padded = image.copy()
    padded[:, :9] = -32768
    cohort = Cohort.create(tmp_path / "co", "values", {1: "ball"})
    geometry = VolumeGeometry.from_spacing(labels.shape)
    for name, values in {"usual": image, "huge": image * 1e300, "tiny": image * 1e-300, "padded": padded}.items():
        cohort.add_case(name, values, geometry)
    report = cohort_report(cohort, list(cohort.cases), Watch())
    pictures = {
        case.name: pictures_of(f"base64,{case_picture(cohort, case)}'")[0][..., 0].astype(float)
        for case in report.cases
    }
    for name in ("huge", "tiny"):
        assert np.abs(pictures[name] - pictures["usual"]).max() < 0.02
    # The padding is black, and what remains has the contrast that it has without any.
    height = pictures["usual"].shape[0]
    rest = [pictures[name][: height // 2] for name in ("padded", "usual")]
    assert np.abs(rest[0] - rest[1]).mean() < 0.1
