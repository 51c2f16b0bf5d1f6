"""The request that fills: what it writes, chooses, says and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    Plane,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import read_facts, read_image, read_labels, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.interpolation import INTERPOLATORS
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator
from SparseAnnotateLib.worker import answers as filling
from SparseAnnotateLib.worker import fill_request, requests
from SparseAnnotateLib.worker.answers import Answer
from SparseAnnotateLib.worker.requests import FillRequest
from system_needs import needs_slicer


def filled(cohort: Cohort, watch: Watch | None = None, **options):
    return requests.fill(FillRequest(str(cohort.folder), **options), watch or Watch())


def test_a_fill_and_its_confidence_are_written_with_drawn_slices_as_they_were(ball_cohort):
    results = filled(ball_cohort)
    assert [r.case for r in results] == ball_cohort.annotated_cases()
    for result in results:
        annotation = ball_cohort.annotation(result.case)
        drawn = annotation.supervised_mask()
        labels = read_labels(result.path, annotation.geometry)
        confidence, geometry = read_image(result.confidence_path)
        assert geometry.resembles(annotation.geometry)
        np.testing.assert_array_equal(labels[drawn], annotation.labels[drawn])
        assert confidence.dtype == np.uint8
        assert (confidence[drawn] == 100).all()
        assert (confidence[~drawn] < 100).all()


def test_auto_is_chosen_over_the_whole_cohort(ball_cohort):
    results = filled(ball_cohort)
    assert len({json.dumps(r.labels) for r in results}) == 1
    assert [label["name"] for label in results[0].labels] == ["shell", "kernel"]
    assert all(set(label["hidden_dice"]) == {"shape", "random_walk", "auto"} for label in results[0].labels)
    shell = results[0].labels[0]
    assert shell["method"] == "auto"
    assert sum(shell["shares"].values()) == pytest.approx(1.0, abs=0.002)
    assert shell["hidden_dice"]["auto"] >= max(shell["hidden_dice"].values()) - 0.02
    assert "apart (twice the usual spacing): 'shell' " in results[0].summary


def test_at_most_twenty_cases_are_tried(ball_cohort, monkeypatch):
    monkeypatch.setattr(filling, "_MOST_MEASURED", 1)
    messages = []
    filled(ball_cohort, Watch(lambda progress: messages.append(progress.message)))
    tried = {message.split(":")[0] for message in messages if "trying" in message}
    assert tried == {f"'{ball_cohort.annotated_cases()[0]}'"}


@pytest.mark.parametrize(
    "method", ["shape", "random_walk", pytest.param("morphological", marks=needs_slicer), "propagation"]
)
def test_every_method_can_be_asked_for(ball_cohort, method):
    (result,) = filled(ball_cohort, method=method, steps=2, cases=(ball_cohort.annotated_cases()[0],), device="cpu")
    assert result.labels == []
    assert result.summary == ""
    assert read_image(result.path)[0].any()
    # Only what has learned from the images depends on what these are.
    made = Origin.from_facts(read_facts(result.path))
    assert made.changes(ball_cohort.origin(result.case)) == ""
    ball_cohort.use_modalities({"": "CT"})
    change = made.changes(ball_cohort.origin(result.case))
    words = "the images count as CT now (see 'modalities' in 'cohort.json')"
    assert change == (words if method == "propagation" else "")


def test_auto_may_choose_from_learned_filling_too(ball_cohort):
    case = ball_cohort.annotated_cases()[0]
    (result,) = filled(ball_cohort, cases=(case,), methods=("shape", "propagation"), steps=2, device="cpu")
    assert set(result.labels[0]["hidden_dice"]) == {"shape", "propagation", "auto"}
    assert set(result.labels[0]["shares"]) == {"shape", "propagation"}


def test_progress_never_goes_back_and_reaches_the_end(ball_cohort):
    fractions = []
    filled(ball_cohort, Watch(lambda progress: fractions.append(progress.fraction)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_cancel_keeps_the_fills_that_are_finished(ball_cohort):
    cases = ball_cohort.annotated_cases()
    watch = Watch(lambda progress: watch.cancel() if progress.message == f"filling '{cases[1]}'" else None)
    with pytest.raises(CancelledError):
        filled(ball_cohort, watch, method="shape")
    assert ball_cohort.fill_path(cases[0]).is_file()
    assert not ball_cohort.fill_path(cases[1]).exists()


def with_broken_image(tmp_path) -> Cohort:
    labels = ball(radius=9.0)
    image = noisy_image(labels)
    cohort = Cohort.create(tmp_path / "cohort", "c", {1: "ball"})

    geometry = VolumeGeometry.from_spacing(labels.shape)
    cohort.add_case("one", image, geometry)
    cohort.save_annotation("one", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(4, 20, 3)))
    image[2, 3, 4] = np.nan
    write_image(cohort.image_path("one"), image, geometry, compress=False)
    cohort.accept_image("one")
    return cohort


def test_an_image_with_nan_is_filled_by_shape_and_this_is_reported(tmp_path):
    cohort = with_broken_image(tmp_path)
    (result,) = filled(cohort)
    assert result.labels[0]["shares"] == {"shape": 1.0}
    assert result.warnings[0].startswith("Filled without using the image. The image")
    assert "NaN" in result.warnings[0]
    with pytest.raises(BadInputError, match="NaN"):
        filled(cohort, method="random_walk")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "magic"}, "no fill method 'magic'"),
        ({"methods": ("magic",)}, "no fill method 'magic'"),
        ({"methods": ("auto",)}, "cannot be one of them"),
        ({"methods": ()}, "name at least one"),
        ({"time_limit": 0.0}, "time limit must be more than 0"),
        ({"time_limit": float("nan")}, "time limit must be more than 0"),
        ({"cases": ("nobody",)}, "no case 'nobody'"),
        ({"method": "propagation", "steps": 0}, "'steps' must be at least 1"),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(ball_cohort, options, sentence):
    with pytest.raises(SparseAnnotateError, match=sentence):
        filled(ball_cohort, **options)


def test_a_case_with_only_empty_slices_is_filled_with_nothing_beside_others_and_refused_alone(ball_cohort):
    cases = ball_cohort.annotated_cases()
    annotation = ball_cohort.annotation(cases[1])
    nothing = SparseAnnotation.from_slices(np.zeros_like(annotation.labels), annotation.geometry, Plane.AXIAL, [3])
    ball_cohort.save_annotation(cases[1], nothing)
    results = filled(ball_cohort)
    assert read_image(results[0].path)[0].any()
    assert not read_image(results[1].path)[0].any()
    assert "All drawn slices are empty" in results[1].warnings[0]
    with pytest.raises(BadInputError, match="All drawn slices of"):
        filled(ball_cohort, cases=(cases[1],))


def test_one_bad_case_does_not_keep_the_others_from_being_filled(ball_cohort, capsys):
    cases = ball_cohort.annotated_cases()
    image, geometry = ball_cohort.image(cases[0])
    broken = image.copy()
    broken[0, 0, 0] = np.nan
    write_image(ball_cohort.image_path(cases[0]), broken, geometry, compress=False)
    ball_cohort.accept_image(cases[0])
    problem = rf"^1 case was not filled \(others filled: 1\):\n'{cases[0]}': The image"
    with pytest.raises(PartlyDoneError, match=problem) as error:
        filled(ball_cohort, method="random_walk")
    (good,) = error.value.shown
    assert good.case == cases[1]
    assert read_image(good.path)[0].any()
    assert main(["fill", str(ball_cohort.folder), "--method", "random_walk"]) == 1
    shown = capsys.readouterr()
    assert cases[1] in shown.out
    assert cases[0] not in shown.out
    assert f"'{cases[0]}': The image" in shown.err


@pytest.mark.parametrize("damaged", ["ledgers", "annotations"])
def test_a_case_whose_drawing_is_damaged_is_named_and_the_others_are_filled(ball_cohort, damaged):
    (path,) = (ball_cohort.folder / damaged).glob("ball_0.*")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(PartlyDoneError, match=rf"others filled: 1\):\n'ball_0': .*{path.name}") as error:
        filled(ball_cohort)
    (good,) = error.value.shown
    assert (good.case, bool(good.summary)) == ("ball_1", True)
    with pytest.raises(SparseAnnotateError, match=path.name):
        filled(ball_cohort, cases=("ball_0",))
    image, geometry = ball_cohort.image("ball_1")
    write_image(ball_cohort.image_path("ball_1"), image + 1, geometry)
    for cases in ((), ("ball_0", "ball_1")):
        with pytest.raises(BadInputError, match="2 cases were not filled") as none:
            filled(ball_cohort, cases=cases)
        assert "'ball_0': " in none.value.message
        assert path.name in none.value.message
        assert "'ball_1': The image of case 'ball_1' is not the one that was drawn on" in none.value.message


def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_filled(ball_cohort, monkeypatch):
    (ball_cohort.folder / "fills").write_text("a file where the folder would be")
    monkeypatch.setattr(fill_request, "Answers", None)
    with pytest.raises(FileWriteError, match="fills' cannot be written"):
        filled(ball_cohort)


def test_where_the_disk_is_full_for_one_fill_the_others_are_filled(ball_cohort, monkeypatch):
    cases, real = ball_cohort.annotated_cases(), Answer.write

    def write(answer, path, confidence_path):
        if path == ball_cohort.fill_path(cases[0]):
            raise FileWriteError("The disk is full.")
        real(answer, path, confidence_path)

    monkeypatch.setattr(Answer, "write", write)
    with pytest.raises(PartlyDoneError, match="The disk is full") as error:
        filled(ball_cohort, method="shape")
    assert [row.case for row in error.value.shown] == [cases[1]]


def test_the_command_line_shows_the_summary_and_what_to_look_at(ball_cohort, capsys):
    assert main(["fill", str(ball_cohort.folder), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "Leave-one-out Dice, with hidden slices" in shown
    assert shown.count("Leave-one-out Dice, with hidden slices") == 1
    assert "confidence_path" not in shown
    case = ball_cohort.annotated_cases()[0]
    annotation = ball_cohort.annotation(case)
    one = SparseAnnotation.from_slices(annotation.labels, annotation.geometry, Plane.AXIAL, [10])
    ball_cohort.save_annotation(case, one)
    assert main(["fill", str(ball_cohort.folder), "--cases", case, "--method", "shape", "--quiet"]) == 0
    assert f"'{case}': Only one slice is drawn" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["shape", "random_walk"])
def test_filling_a_case_again_after_one_slice_was_drawn_fills_only_next_to_it(ball_cohort, monkeypatch, method):
    calls = []
    interpolator = type(INTERPOLATORS.named(method).loaded()())
    refill = interpolator.refill
    monkeypatch.setattr(interpolator, "refill", lambda *given: calls.append(given[4]) or refill(*given))
    monkeypatch.setattr(filling, "_last", {})

    def labels_of_fill():
        (result,) = filled(ball_cohort, cases=("ball_0",), method=method)
        return read_labels(result.path, ball_cohort.geometry("ball_0"))

    labels_of_fill()
    before, reference = ball_cohort.annotation("ball_0"), ball_cohort.reference("ball_0")
    index = next(n for n in range(24) if not before.ledger.is_decided(Plane.AXIAL, n) and reference[n].any())
    drawn = [*before.ledger.indices(Plane.AXIAL), index]
    ball_cohort.save_annotation(
        "ball_0", SparseAnnotation.from_slices(reference, before.geometry, Plane.AXIAL, sorted(drawn))
    )
    again = labels_of_fill()
    assert calls == [[(Plane.AXIAL, index)]]
    filling._last.clear()
    np.testing.assert_array_equal(again, labels_of_fill())
    assert len(calls) == 1


def test_the_last_fill_is_not_used_for_another_image_or_choice_or_after_several_cases(ball_cohort, monkeypatch):
    calls = []
    refill = ShapeInterpolator.refill
    monkeypatch.setattr(ShapeInterpolator, "refill", lambda *given: calls.append(given[4]) or refill(*given))
    monkeypatch.setattr(filling, "_last", {})
    one = {"cases": ("ball_0",), "method": "shape"}
    filled(ball_cohort, **one)
    filled(ball_cohort, **one, beyond=1)
    filled(ball_cohort, **one)
    assert calls == []
    filled(ball_cohort, method="shape")
    assert (calls, filling._last) == ([[]], {})
    calls.clear()
    filled(ball_cohort, **one)
    image, geometry = ball_cohort.image("ball_0")
    write_image(ball_cohort.image_path("ball_0"), image[::-1].copy(), geometry)
    ball_cohort.accept_image("ball_0")
    filled(ball_cohort, **one)
    assert calls == []
    filled(ball_cohort, **one)
    assert calls == [[]]


def test_a_cancelled_fill_is_not_used_again(ball_cohort, monkeypatch):
    monkeypatch.setattr(filling, "_last", {})
    one = {"cases": ("ball_0",), "method": "shape"}
    filled(ball_cohort, **one)
    assert filling._last
    watch = Watch(lambda progress: watch.cancel() if progress.fraction > 0.0 else None)
    with pytest.raises(CancelledError):
        filled(ball_cohort, watch, **{**one, "method": "random_walk"})
    assert not filling._last
