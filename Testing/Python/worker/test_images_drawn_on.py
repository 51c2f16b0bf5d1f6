"""Every request says that an image is not the one that was drawn on; those that would use the drawing refuse it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, ball, noisy_image, write_two_files
from SparseAnnotateLib.client import BlockingWorker
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, LedgerEntry, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.image_fingerprint import image_files
from SparseAnnotateLib.core.images import read_facts, read_image, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.selection import Budget
from SparseAnnotateLib.worker import requests, selection_picture
from SparseAnnotateLib.worker.accept_image_request import AcceptImageRequest
from SparseAnnotateLib.worker.evaluate_request import EvaluateRequest
from SparseAnnotateLib.worker.fill_request import FillRequest
from SparseAnnotateLib.worker.report_request import ReportRequest
from SparseAnnotateLib.worker.requests import METHODS, PredictRequest
from SparseAnnotateLib.worker.train_request import TrainRequest

SETTINGS = TrainingSettings(recipe="3d", **{**QUICK_TRAINING, "iterations": 2})
NOT_THE_ONE = r"case 'ball_0' is not the one that was drawn on: its voxels have other values\..*accept-image"


def replace_image(cohort, name):
    path = cohort.image_path(name)
    array, geometry = read_image(path)
    write_image(path, array + 1, geometry)


@pytest.fixture
def replaced(ball_cohort):
    replace_image(ball_cohort, "ball_0")
    return ball_cohort


def ask(cohort, method, **fields):
    kind, function = METHODS[method]
    return function(kind(cohort=str(cohort.folder), **fields), Watch())


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("fill", {"cases": ("ball_0",)}),
        ("correct", {"case": "ball_0", "structure": "shell", "at": (16.0, 14.0, 9.0)}),
        ("recommend", {"cases": ("ball_0",), "budget": Budget(total=3)}),
        ("picture", {"cases": ("ball_0",), "path": "never.png"}),
        ("plan_training", {"settings": SETTINGS}),
        ("train", {"run": "r", "settings": SETTINGS}),
        ("train", {"run": "r", "settings": SETTINGS, "live": True}),
        ("export_nnunet", {"folder": "Dataset501_balls"}),
    ],
)
def test_what_would_use_the_drawing_is_refused_and_nothing_is_written(replaced, method, fields, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in replaced.folder.rglob("*") if path.is_file()}
    with pytest.raises(BadInputError, match=NOT_THE_ONE):
        ask(replaced, method, **fields)
    after = [path for path in replaced.folder.rglob("*") if path.is_file() and "cache" not in path.parts]
    assert {path: path.read_bytes() for path in after if path.name != ".lock"} == {
        path: content for path, content in before.items() if "cache" not in path.parts and path.name != ".lock"
    }


@pytest.mark.parametrize("cases", [(), ("ball_0",)])
def test_a_training_on_it_is_refused_before_it_waits_in_a_queue(replaced, cases):
    work = {"run": "r", "cases": list(cases)}
    with pytest.raises(BadInputError, match=NOT_THE_ONE):
        ask(replaced, "submit", what="train", request=work, engine="local")
    assert not (replaced.state_folder / "jobs" / "1").exists()


def test_references_are_copied_to_the_other_cases(ball_cohort, tmp_path, capsys):
    geometry, reference = ball_cohort.geometry("ball_0"), tmp_path / "reference.nrrd"
    write_image(reference, ball(), geometry)
    for name in ("ball_0", "ball_1"):
        ball_cohort.add_case(name, ball_cohort.image_path(name), reference=reference)
    ball_cohort.save_recommended({name: [LedgerEntry(Plane.AXIAL, 12)] for name in ("ball_0", "ball_1")})
    before = ball_cohort.ledger("ball_0")
    assert before.todo
    replace_image(ball_cohort, "ball_1")
    other = ball_cohort.ledger("ball_1")
    assert main(["draw", str(ball_cohort.folder)]) == 1
    shown = capsys.readouterr()
    assert "1 case was not drawn (others drawn: 1)" in shown.err
    assert "'ball_1' is not the one that was drawn on" in " ".join(shown.err.split())
    assert "ball_0" in shown.out
    assert ball_cohort.ledger("ball_0").is_decided(Plane.AXIAL, 12)
    assert ball_cohort.ledger("ball_1") == other
    ball_cohort.save_recommended(
        {name: [LedgerEntry(Plane.AXIAL, 2), LedgerEntry(Plane.AXIAL, 3)] for name in ("ball_0", "ball_1")}
    )
    replace_image(ball_cohort, "ball_0")
    with pytest.raises(BadInputError, match="images of 2 cases are not those that were drawn on"):
        ask(ball_cohort, "draw")


def test_the_other_cases_are_filled_and_nothing_is_learned_from_this_one(replaced):
    with pytest.raises(PartlyDoneError, match="'ball_0': .* is not the one that was drawn on") as error:
        requests.fill(FillRequest(str(replaced.folder)), Watch())
    (good,) = error.value.shown
    assert good.case == "ball_1"
    assert read_image(good.path)[0].any()
    (alone,) = requests.fill(FillRequest(str(replaced.folder), cases=("ball_1",)), Watch())
    assert good.labels == alone.labels


def test_a_picture_shows_the_other_cases(replaced, capsys, tmp_path, monkeypatch):
    path, shown_in_it, real = tmp_path / "slices.png", [], selection_picture.write_picture

    def write_picture(path, volumes, *others):
        shown_in_it.append([volume.name for volume in volumes])
        real(path, volumes, *others)

    monkeypatch.setattr(selection_picture, "write_picture", write_picture)
    assert main(["picture", str(replaced.folder), "--path", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out.strip() == str(path)
    assert re.search(r"1 case was left out. The picture shows the other one. 'ball_0': .*not the one", shown.err)
    assert path.is_file()
    assert shown_in_it == [["ball_1"]]
    replace_image(replaced, "ball_1")
    with pytest.raises(BadInputError, match="2 cases are not those that were drawn on|ball_0.*ball_1"):
        ask(replaced, "picture", path=str(tmp_path / "none.png"))
    assert not (tmp_path / "none.png").exists()


def test_what_is_done_of_a_picture_comes_from_the_worker_with_the_error(replaced, tmp_path):
    path = str(tmp_path / "slices.png")
    with BlockingWorker() as worker, pytest.raises(PartlyDoneError, match="The picture shows the other one") as error:
        worker.call("picture", {"cohort": str(replaced.folder), "path": path})
    assert error.value.shown == path


@pytest.mark.parametrize("more", [(), ("--features", "intensity", "--strategy", "representative")])
def test_slices_of_the_other_cases_are_recommended(replaced, capsys, tmp_path, more):
    picture = tmp_path / "slices.png"
    replaced.save_recommended({name: [LedgerEntry(Plane.AXIAL, 1, order=1)] for name in ("ball_0", "ball_1")})
    before = replaced.ledger("ball_0")
    command = ["recommend", str(replaced.folder), "--more", "3", "--per", "cohort", "--picture", str(picture), *more]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert re.search(
        r"1 case was left out. Slices were recommended for the other one. 'ball_0': .*not the one", shown.err
    )
    assert "The case 'ball_0' keeps its earlier slices to do." in shown.err
    assert shown.out.count("ball_1") == 3
    assert (replaced.ledger("ball_0"), len(replaced.ledger("ball_1").todo)) == (before, 3)
    assert picture.is_file()


def test_a_case_that_cannot_be_read_does_not_stop_the_others(ball_cohort, capsys):
    ball_cohort.add_case("damaged", noisy_image(ball(), 3), ball_cohort.geometry("ball_0"))
    path = ball_cohort.image_path("damaged")
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["recommend", str(ball_cohort.folder), "--more", "1", "--per", "volume", "--json"]) == 1
    shown = capsys.readouterr()
    assert {row["case"] for row in json.loads(shown.out)} == {"ball_0", "ball_1"}
    assert "1 case was left out. Slices were recommended for the other 2. 'damaged': " in shown.err


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_that_cannot_be_read_to_compare_its_slices_does_not_stop_the_others(ball_cohort, whole):
    truncate_image(ball_cohort, "ball_1")
    ball_cohort.forget_image("ball_1")
    with pytest.raises(PartlyDoneError, match=r"1 case was left out. .* the other one. 'ball_1': ") as error:
        ask(ball_cohort, "recommend", budget=Budget(more=2), strategy="representative", whole=whole)
    assert {row.case for row in error.value.shown} == {"ball_0"}


def test_slices_drawn_on_a_case_that_is_left_out_are_said_not_to_count_toward_the_budget(replaced):
    drawn = len(replaced.ledger("ball_0").decided)
    with pytest.raises(PartlyDoneError, match=f"{drawn} slices that are drawn there were not counted toward .* of 15"):
        ask(replaced, "recommend", budget=Budget(total=15))


def test_when_cases_fail_for_different_reasons_each_is_named(replaced):
    """Also when most have the same one."""
    for number in range(4):
        replaced.add_case(f"cut_{number}", noisy_image(ball(), number), replaced.geometry("ball_0"))
        truncate_image(replaced, f"cut_{number}")
    truncate_image(replaced, "ball_1")
    sentence = "No slices were recommended, because 6 cases cannot be used. .*ball_0' is not the one .*cut off.*3 more"
    with pytest.raises(BadInputError, match=sentence):
        ask(replaced, "recommend", budget=Budget(total=3))


def test_a_cohort_without_cases_has_nothing_to_recommend(tmp_path, capsys):
    Cohort.create(tmp_path / "c", "c", {1: "ball"})
    assert main(["recommend", str(tmp_path / "c"), "--more", "3", "--per", "cohort"]) == 1
    assert "There is no volume to recommend slices for. Choose at least one volume." in capsys.readouterr().err


def test_the_worker_answers_with_the_slices_of_the_others(replaced):
    with BlockingWorker() as worker, pytest.raises(PartlyDoneError, match="the other one") as error:
        worker.call("recommend", {"cohort": str(replaced.folder), "budget": {"more": 3}})
    assert [row["case"] for row in error.value.shown] == ["ball_1"] * 3


def test_when_all_images_were_replaced_no_slice_is_recommended(replaced):
    replace_image(replaced, "ball_1")
    with pytest.raises(BadInputError, match=r"images of 2 cases are not those .* 'ball_0' \(.*'ball_1' \("):
        ask(replaced, "recommend", budget=Budget(total=3))


def test_when_all_images_were_replaced_the_fill_names_them_all(replaced):
    replace_image(replaced, "ball_1")
    with pytest.raises(BadInputError, match=r"images of 2 cases are not those .* 'ball_0' \(.*'ball_1' \("):
        requests.fill(FillRequest(str(replaced.folder)), Watch())


def test_a_run_labels_the_other_cases_and_the_drawing_enters_no_prediction(ball_cohort, capsys):
    requests.train(TrainRequest(cohort=str(ball_cohort.folder), run="r", settings=SETTINGS), Watch())
    geometry = ball_cohort.geometry("ball_0")
    ball_cohort.add_case("undrawn", noisy_image(ball(), 3), geometry)
    replace_image(ball_cohort, "ball_0")
    request = PredictRequest(cohort=str(ball_cohort.folder), run="r", device="cpu")
    results, failed = requests.predict_each(request, Watch())
    assert [result.case for result in results] == ["ball_1", "undrawn"]
    assert list(failed) == ["ball_0"]
    assert "not the one that was drawn on" in failed["ball_0"].message
    assert not ball_cohort.prediction_path("r", "ball_0").is_file()
    # By the run alone it is labeled as a copy of it without drawn slices.
    ball_cohort.add_case("copy", ball_cohort.image_path("ball_0"))
    alone = replace(request, cases=("ball_0", "ball_1", "copy"), model_only=True)
    (result, other, copy), failed = requests.predict_each(alone, Watch())
    assert failed == {}
    assert re.search(NOT_THE_ONE + ".* nothing that is drawn on it enters its prediction", result.notes[0])
    assert (result.slices_drawn, copy.slices_drawn) == (0, 0)
    assert other.slices_drawn > 0
    np.testing.assert_array_equal(read_image(result.path)[0], read_image(copy.path)[0])
    # When the image is accepted, the prediction is not taken for one with the drawn slices.
    ball_cohort.accept_image("ball_0")
    made = Origin.from_facts(read_facts(result.path))
    assert made.changes(ball_cohort.origin("ball_0", run="r"))


def test_evaluating_and_reporting_warn(ball_cohort, tmp_path, capsys):
    replace_image(ball_cohort, "ball_0")
    write_image(ball_cohort.fill_path("ball_0"), ball(), ball_cohort.geometry("ball_0"))
    (figures,) = requests.evaluate(EvaluateRequest(str(ball_cohort.folder), cases=("ball_0",)), Watch())
    assert any("not the one that was drawn on" in note for note in figures.notes)
    path = tmp_path / "report.html"
    reported = requests.report(ReportRequest(str(ball_cohort.folder), str(path), pictures=1), Watch())
    (warning,) = reported.warnings
    assert "'ball_0' is not the one that was drawn on" in warning
    assert reported.unreadable == []
    assert path.read_text().count("is not the one that was drawn on") == 1
    assert main(["report", str(ball_cohort.folder), "--out", str(path), "--quiet"]) == 0
    assert "is not the one that was drawn on" in " ".join(capsys.readouterr().out.split())


def test_a_report_warns_of_all_images_in_one_sentence(replaced, capsys, tmp_path):
    replace_image(replaced, "ball_1")
    path = tmp_path / "report.html"
    reported = requests.report(ReportRequest(str(replaced.folder), str(path), pictures=0), Watch())
    (warning,) = reported.warnings
    assert "The images of 2 cases are not those that were drawn on: 'ball_0' (" in warning
    for name in ("ball_0", "ball_1"):
        assert path.read_text().count(f"{name}&#x27; is not the one that was drawn on") == 1


def test_slices_drawn_elsewhere_are_not_added_to_slices_of_another_image(replaced, tmp_path, capsys):
    mask = tmp_path / "ball_0.nrrd"
    write_image(mask, ball(), replaced.geometry("ball_0"))
    before = replaced.ledger("ball_0")
    assert main(["import-drawn", str(replaced.folder), str(mask), "--slices", "12", "--replace"]) == 1
    assert "not the one that was drawn on" in capsys.readouterr().err
    assert replaced.ledger("ball_0") == before
    assert main(["accept-image", str(replaced.folder)]) == 0
    assert main(["import-drawn", str(replaced.folder), str(mask), "--slices", "12", "--replace"]) == 0
    assert requests.fill(FillRequest(str(replaced.folder), cases=("ball_0",)), Watch())[0].path


def test_images_are_accepted_in_one_command(replaced, capsys):
    assert main(["accept-image", str(replaced.folder), "--cases", "ball_1"]) == 0
    assert "No image differs from the one that was drawn on." in capsys.readouterr().out
    replace_image(replaced, "ball_1")
    assert main(["accept-image", str(replaced.folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["case"], row["change"]) for row in rows] == [
        (f"ball_{n}", "its voxels have other values") for n in range(2)
    ]
    assert all(result.path for result in requests.fill(FillRequest(str(replaced.folder)), Watch()))


def test_what_was_accepted_is_named_with_the_time_of_its_file(replaced, capsys):
    os.utime(replaced.image_path("ball_0"), (0, datetime(2026, 5, 4, 13, 7, 30).timestamp()))
    assert main(["accept-image", str(replaced.folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"ball_0.* its voxels have other values.* 2026-05-04 13:07", shown)
    assert "Accepted 1 image: what was drawn on this case counts as drawn on it now. Results that were made" in shown


@pytest.mark.parametrize("ending", ["nhdr", "mhd"])
def test_the_time_of_the_voxels_counts_where_they_are_in_a_file_of_their_own(tmp_path, ending):
    geometry = VolumeGeometry.from_spacing((24, 28, 32))
    cohort = Cohort.create(tmp_path / "c", "c", {1: "ball"})
    path = cohort.folder / "images" / f"a.{ending}"
    write_two_files(path, noisy_image(ball(), 1), geometry)
    cohort.add_case("a", path)
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, [8]))
    write_two_files(path, noisy_image(ball(), 2), geometry)
    header, voxels = image_files(path)
    os.utime(header, (0, datetime(2026, 5, 1, 12, 0).timestamp()))
    os.utime(voxels, (0, datetime(2026, 5, 4, 13, 7, 30).timestamp()))
    (found,) = requests.accept_image(AcceptImageRequest(str(cohort.folder)), Watch())
    assert found.written == "2026-05-04 13:07"


def test_an_image_is_accepted_while_another_channel_is_replaced(tmp_path, monkeypatch):
    geometry = VolumeGeometry.from_spacing((24, 28, 32))
    cohort = Cohort.create(tmp_path / "c", "c", {1: "ball"}, channels=("FLAIR", "T1"))
    for name in ("FLAIR", "T1"):
        write_image(tmp_path / f"{name}.nrrd", noisy_image(ball(), 1), geometry)
    cohort.add_case("a", tmp_path / "FLAIR.nrrd", further={"T1": tmp_path / "T1.nrrd"})
    cohort.save_annotation("a", SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, [8]))
    replace_image(cohort, "a")
    changed = Cohort.image_change

    def replacing(cohort, name):
        write_image(cohort.channel_paths(name)["T1"], noisy_image(ball(), 2), geometry)
        return changed(cohort, name)

    monkeypatch.setattr(Cohort, "image_change", replacing)
    (found,) = requests.accept_image(AcceptImageRequest(str(cohort.folder)), Watch())
    assert found.case == "a"
    monkeypatch.undo()
    assert cohort.image_change("a") is None


def test_an_image_that_is_replaced_while_it_is_looked_at_is_not_accepted(replaced, monkeypatch):
    changed = Cohort.image_change

    def replacing(cohort, name):
        found = changed(cohort, name)
        if name == "ball_0":
            replace_image(cohort, name)
        return found

    monkeypatch.setattr(Cohort, "image_change", replacing)
    with pytest.raises(BadInputError, match="image of case 'ball_0' is being replaced"):
        requests.accept_image(AcceptImageRequest(str(replaced.folder)), Watch())
    monkeypatch.undo()
    assert replaced.image_change("ball_0") is not None


def test_an_image_that_cannot_be_accepted_is_named_and_the_others_are_accepted(replaced, capsys):
    smaller = VolumeGeometry.from_spacing((5, 28, 32))
    write_image(replaced.image_path("ball_1"), np.zeros(smaller.shape, np.int16), smaller)
    assert main(["accept-image", str(replaced.folder)]) == 1
    shown = capsys.readouterr()
    assert "1 image was not accepted (others accepted: 1)" in shown.err
    assert "'ball_1': The image of case 'ball_1' is not the one that was drawn on: its size" in shown.err
    assert "ball_0" in shown.out
    assert replaced.image_change("ball_0") is None


def test_what_is_known_of_an_image_and_damaged_is_replaced_by_accepting_it(ball_cohort):
    ball_cohort.drawn_on_path("ball_0").write_text("{")
    with pytest.raises(BadInputError, match=r"drawn_on"):
        requests.fill(FillRequest(str(ball_cohort.folder), cases=("ball_0",)), Watch())
    found = requests.accept_image(AcceptImageRequest(str(ball_cohort.folder)), Watch())
    assert [(one.case, one.change) for one in found] == [("ball_0", "what was known of the earlier image is damaged")]
    assert requests.fill(FillRequest(str(ball_cohort.folder), cases=("ball_0",)), Watch())[0].path


def truncate_image(cohort, name):
    path = cohort.image_path(name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_an_image_that_is_cut_off_is_called_so_and_is_not_accepted(ball_cohort, capsys):
    truncate_image(ball_cohort, "ball_0")
    assert main(["accept-image", str(ball_cohort.folder)]) == 1
    assert main(["fill", str(ball_cohort.folder), "--cases", "ball_0", "--quiet"]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("The image of case 'ball_0' cannot be used.") == 2
    assert "drawn on" not in shown
    with pytest.raises(PartlyDoneError, match="image of case 'ball_0' cannot be used") as error:
        requests.fill(FillRequest(str(ball_cohort.folder)), Watch())
    assert error.value.shown[0].path


@pytest.mark.parametrize("method", ["recommend", "train"])
def test_what_is_damaged_of_the_image_that_was_drawn_on_stops_what_uses_the_drawing(ball_cohort, method):
    ball_cohort.drawn_on_path("ball_0").write_text("{")
    fields = {"recommend": {"budget": Budget(total=3)}, "train": {"run": "r", "settings": SETTINGS}}
    with pytest.raises(BadInputError, match=r"drawn_on.ball_0"):
        ask(ball_cohort, method, **fields[method])
