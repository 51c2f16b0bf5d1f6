"""Running a model on cases with drawn slices: one answer from all that is known of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, cancelled_at
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    FileWriteError,
    Ledger,
    Plane,
    RunError,
    SliceState,
    SparseAnnotation,
    Watch,
)
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import read_facts, read_labels, read_percent
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.run_sources import RunSources


@pytest.fixture
def trained(ball_cohort):
    request = requests.TrainRequest(str(ball_cohort.folder), run="r", settings=TrainingSettings(**QUICK_TRAINING))
    requests.train(request, Watch())
    return ball_cohort


def predicted(cohort, **changes):
    return requests.predict(requests.PredictRequest(str(cohort.folder), "r", device="cpu", **changes), Watch())


def labels_of(cohort, row) -> np.ndarray:
    return read_labels(row.path, cohort.geometry(row.case))


def undraw(cohort, name: str) -> None:
    geometry = cohort.geometry(name)
    cohort.save_annotation(name, SparseAnnotation(np.zeros(geometry.shape, np.uint8), Ledger(), geometry))


def test_fill_and_predict_give_the_same_answer(trained):
    filled = requests.fill(requests.FillRequest(str(trained.folder), run="r", device="cpu"), Watch())
    rows = predicted(trained)
    for one, other in zip(filled, rows, strict=True):
        np.testing.assert_array_equal(labels_of(trained, one), labels_of(trained, other))
        assert other.labels == one.labels
        assert other.summary == one.summary != ""
        geometry = trained.geometry(one.case)
        confidences = [read_percent(path, geometry) for path in (one.confidence_path, other.confidence_path)]
        np.testing.assert_array_equal(*confidences)
        assert (confidences[0][trained.annotation(one.case).supervised_mask()] == 100).all()


def test_the_answer_says_what_it_was_made_from(trained):
    (row, _other) = predicted(trained)
    made = Origin.from_facts(read_facts(row.path))
    assert (made.run, made.method) == ("r", "auto")
    assert made.annotation == trained.annotation(row.case).fingerprint()
    alone = Origin.from_facts(read_facts(predicted(trained, model_only=True)[0].path))
    assert (alone.run, alone.method) == ("r", "")


def test_a_case_without_drawn_slices_gets_the_result_of_the_model(trained):
    undraw(trained, "ball_1")
    with_answers = {row.case: (row, labels_of(trained, row)) for row in predicted(trained)}
    alone = {row.case: (row, labels_of(trained, row)) for row in predicted(trained, model_only=True)}
    np.testing.assert_array_equal(with_answers["ball_1"][1], alone["ball_1"][1])
    assert with_answers["ball_1"][0].confidence_path == ""
    assert with_answers["ball_0"][0].confidence_path != ""
    assert alone["ball_0"][0].confidence_path == ""
    assert (with_answers["ball_0"][1] != alone["ball_0"][1]).any()


def test_a_run_from_elsewhere_that_has_learned_from_this_image_by_another_name_proves_nothing_here(trained, tmp_path):
    name, other = trained.cases[0].name, Cohort.create(tmp_path / "other", "other", trained.labels)
    other.add_case("another name", trained.channel_paths(name)[""])
    other.save_annotation("another name", trained.annotation(name))
    shutil.copytree(trained.run_folder("r"), other.run_folder("r"))
    request = requests.FillRequest(str(other.folder), cases=("another name",), run="r", device="cpu")
    (filled,) = requests.fill(request, Watch())
    assert any("has learned from slices of this volume" in warning for warning in filled.warnings)


def test_the_answer_is_better_than_a_model_that_has_hardly_learned(trained):
    def error(**changes):
        return [
            np.count_nonzero(labels_of(trained, row) != trained.reference(row.case))
            for row in predicted(trained, **changes)
        ]

    assert all(answer < alone for answer, alone in zip(error(), error(model_only=True), strict=True))


def test_uncertainty_of_the_run_is_written_beside_the_answer(trained):
    def entropy():
        cases = trained.annotated_cases()
        return [read_percent(trained.uncertainty_path("r", c, "entropy"), trained.geometry(c)) for c in cases]

    predicted(trained, uncertainty=True)
    beside = entropy()
    predicted(trained, uncertainty=True, model_only=True)
    for found, alone in zip(beside, entropy(), strict=True):
        assert found.any()
        np.testing.assert_array_equal(found, alone)


def test_a_run_does_not_know_what_is_drawn(trained):
    """Its labels on the drawn slices are its own, so that they tell how good it is."""
    predictor = Predictor(trained, "r", "cpu")
    for name in trained.annotated_cases():
        annotation = trained.annotation(name)
        (source,), _problems = RunSources(trained, predictor, "r").of(name, Watch())
        classes = predictor.keep_likeliest(name)[0].labels[0]
        own = predictor.card.label_table[annotation.geometry.from_standard_order(classes)]
        drawn = annotation.supervised_mask()
        np.testing.assert_array_equal(source.found.labels[0][drawn], own[drawn])
        assert (own[drawn] != annotation.labels[drawn]).any(), "it has hardly learned"
        assert source.agreement(annotation).dice(1)[0] < 0.99


def test_clean_up_that_is_asked_for_holds_for_the_answer(trained):
    name = "ball_0"
    annotation = trained.annotation(name)
    labels = annotation.labels.copy()
    labels[2, :3, :3] = 1  # a second piece, drawn
    trained.save_annotation(name, replace(annotation, labels=labels))
    from scipy import ndimage

    (row,) = predicted(trained, cases=(name,), largest_component=True, smoothing=1.0)
    found = labels_of(trained, row)
    drawn = trained.annotation(name)
    np.testing.assert_array_equal(found[drawn.supervised_mask()], drawn.labels[drawn.supervised_mask()])
    pieces, count = ndimage.label(found == 1)
    shown = {int(v) for v in np.unique(pieces[drawn.supervised_mask()])} - {0}
    assert shown == set(range(1, count + 1)), "every piece is drawn somewhere"
    rough = labels_of(trained, predicted(trained, cases=(name,))[0])
    assert (rough != found).any()


def test_a_structure_of_the_run_that_the_slices_do_not_speak_for(trained):
    name = "ball_0"
    annotation = trained.annotation(name)
    ledger = Ledger()
    for index in annotation.ledger.indices(Plane.AXIAL):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=["shell"])
    labels = np.where(annotation.labels == 2, 0, annotation.labels).astype(np.uint8)
    trained.save_annotation(name, SparseAnnotation(labels, ledger, annotation.geometry, names=trained.labels))
    (row,) = predicted(trained, cases=(name,))
    assert {label["name"] for label in row.labels} == {"shell", "kernel"}
    assert (labels_of(trained, row) == 2).any()
    assert any("No drawn slice says anything about 'kernel': taken from the run 'r' alone." in s for s in row.notes)


def test_another_choice_of_models_is_predicted_by_itself(trained, monkeypatch):
    from SparseAnnotateLib.learning.prediction import run_models

    made = []
    real = run_models.VolumePrediction.__init__

    def counted(self, *given, **named):
        made.append(1)
        real(self, *given, **named)

    monkeypatch.setattr(run_models.VolumePrediction, "__init__", counted)
    predicted(trained, cases=("ball_0",))
    assert len(made) == 1
    predicted(trained, cases=("ball_0",))
    assert len(made) == 1, "it is known already"
    predicted(trained, cases=("ball_0",), models=("3d",))
    assert len(made) == 1, "all models of this run"
    predicted(trained, cases=("ball_0",), flips=True)
    assert len(made) == 2


def test_a_case_that_the_run_cannot_predict_is_an_error_and_the_others_go_on(trained, monkeypatch):
    from SparseAnnotateLib.learning.prediction import predictor

    real = predictor.normalised_image

    def broken(cohort, case, *how):
        if case == "ball_0":
            raise RunError("This cannot be predicted.")
        return real(cohort, case, *how)

    monkeypatch.setattr(predictor, "normalised_image", broken)
    with pytest.raises(RunError, match=r"^This cannot be predicted"):
        predicted(trained, cases=("ball_0",))
    for changes in ({}, {"model_only": True}):
        path = trained.prediction_path("r", "ball_1")
        path.unlink(missing_ok=True)
        expected = r"1 case was not labeled \(others labeled: 1\):\n'ball_0': This cannot"
        with pytest.raises(PartlyDoneError, match=expected) as error:
            predicted(trained, **changes)
        assert [row.case for row in error.value.shown] == ["ball_1"]
        assert path.is_file()


@pytest.mark.parametrize("damaged", ["ledgers", "annotations"])
def test_a_case_whose_drawing_is_damaged_is_named_and_the_others_are_labeled(trained, damaged):
    (path,) = (trained.folder / damaged).glob("ball_0.*")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(PartlyDoneError, match=rf"others labeled: 1\):\n'ball_0': .*{path.name}") as error:
        predicted(trained)
    (good,) = error.value.shown
    assert (good.case, bool(good.confidence_path)) == ("ball_1", True)


@pytest.mark.parametrize("place", ["predictions/r", "predictions/r/entropy"])
def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_labeled(trained, monkeypatch, place):
    path = trained.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where the folder would be")
    monkeypatch.setattr(requests, "Answers", None)
    with pytest.raises(FileWriteError, match=f"{path.name}' cannot be written"):
        predicted(trained, uncertainty=True)


def renumbered(cohort) -> None:
    """Swap the label values of the structures, drawings included."""
    annotations = {name: cohort.annotation(name) for name in cohort.annotated_cases()}
    cohort._update_file(lambda file: replace(file, labels={1: "kernel", 2: "shell"}))
    table = np.array([0, 2, 1], np.uint8)
    for name, annotation in annotations.items():
        labels = table[annotation.labels]
        cohort.save_annotation(name, replace(annotation, labels=labels, names={1: "kernel", 2: "shell"}))


@pytest.mark.parametrize("model_only", [True, False])
def test_structures_are_written_with_the_values_of_the_cohort(trained, model_only):
    before = [labels_of(trained, row) for row in predicted(trained, model_only=model_only)]
    renumbered(trained)
    rows = predicted(trained, model_only=model_only)
    for row, labels in zip(rows, before, strict=True):
        np.testing.assert_array_equal(labels_of(trained, row), np.array([0, 2, 1])[labels])
        assert {(label["label"], label["name"]) for label in row.labels} == {(1, "kernel"), (2, "shell")}


def test_a_label_value_that_belongs_to_another_structure_is_not_guessed(trained):
    trained._update_file(lambda file: replace(file, labels={1: "shell", 2: "cyst"}))
    with pytest.raises(BadInputError, match="knows 'kernel', which the cohort does not have"):
        predicted(trained, cases=("ball_0",), model_only=True)
    (row,) = predicted(trained, cases=("ball_0",))
    assert any("knows 'kernel', which the cohort does not have" in sentence for sentence in row.notes)
    assert {label["name"] for label in row.labels} == {"shell", "cyst"}
    assert row.labels[1]["shares"]["run 'r'"] == 0.0


def test_a_drawn_label_without_a_name_is_not_taken_for_a_structure_of_the_run(trained):
    trained._update_file(lambda file: replace(file, labels={1: "shell"}))
    annotation = trained.annotation("ball_0")
    assert (annotation.labels == 2).any()
    for row in (
        predicted(trained, cases=("ball_0",))[0],
        requests.fill(requests.FillRequest(str(trained.folder), cases=("ball_0",), run="r", device="cpu"), Watch())[0],
    ):
        drawn = annotation.supervised_mask()
        np.testing.assert_array_equal(labels_of(trained, row)[drawn], annotation.labels[drawn])


def test_uncertainty_is_predicted_once(trained, monkeypatch):
    from SparseAnnotateLib.learning.prediction import run_models

    made = []
    real = run_models.VolumePrediction.__init__
    monkeypatch.setattr(
        run_models.VolumePrediction, "__init__", lambda *given, **named: made.append(1) or real(*given, **named)
    )
    for _round in range(2):
        predicted(trained, cases=("ball_0",), uncertainty=True)
    assert len(made) == 1
    entropy = read_percent(trained.uncertainty_path("r", "ball_0", "entropy"), trained.geometry("ball_0"))
    drawn = trained.annotation("ball_0").supervised_mask()
    assert not entropy[drawn].any()
    assert entropy[~drawn].any()


def test_a_structure_that_the_cohort_does_not_know_has_its_name(trained):
    """And the fill can be learned from."""
    trained._update_file(lambda file: replace(file, labels={1: "shell"}))
    for name in trained.annotated_cases():
        annotation = trained.annotation(name)
        labels = np.where(annotation.labels == 2, 0, annotation.labels).astype(np.uint8)
        trained.save_annotation(name, replace(annotation, labels=labels))
    rows = requests.fill(requests.FillRequest(str(trained.folder), run="r", device="cpu"), Watch())
    assert all({label["name"] for label in row.labels} == {"shell", "kernel"} for row in rows)
    settings = TrainingSettings(**QUICK_TRAINING, fill_weight=0.5)
    requests.train(requests.TrainRequest(str(trained.folder), run="s", settings=settings), Watch())


def test_the_command_line_gives_the_answer_or_the_model_alone(trained, capsys):
    def said(*options):
        assert main(["predict", str(trained.folder), "--run", "r", "--device", "cpu", *options]) == 0
        return " ".join(capsys.readouterr().out.split())

    assert "Leave-one-out Dice" in said()
    assert "Leave-one-out" not in said("--model-only")
    rows = json.loads(said("--json"))
    assert set(rows[0]["labels"][0]["shares"]) == {"shape", "random_walk", "run 'r'"}


def test_agreement_and_evaluation_read_answers(trained, capsys):
    predicted(trained)
    rows = requests.evaluate(requests.EvaluateRequest(str(trained.folder), "r"), Watch())
    assert all(row.stale == "" for row in rows)
    assert all(row.answer for row in rows)
    assert main(["evaluate", str(trained.folder), "--run", "r"]) == 0
    assert "2 of these results are answers" in capsys.readouterr().out
    predicted(trained, model_only=True)
    assert not any(row.answer for row in requests.evaluate(requests.EvaluateRequest(str(trained.folder), "r"), Watch()))


def test_cancelling_at_any_moment_leaves_the_last_answers(trained):
    predicted(trained, uncertainty=True)
    folder = trained.prediction_path("r", "ball_0").parent
    before = {path: path.read_bytes() for path in folder.rglob("*.nrrd")}
    assert len(before) == 6
    request = requests.PredictRequest(str(trained.folder), "r", device="cpu", uncertainty=True)
    for moment in (0, 1, 3, 7, 11, 15, 19):
        for kept in (trained.cache_folder / "likeliest").iterdir():
            kept.unlink()
        with pytest.raises(CancelledError):
            requests.predict(request, cancelled_at(moment))
        for path, content in before.items():
            whole = read_percent if path.parent != folder else read_labels
            assert whole(path, trained.geometry(path.stem)).shape == trained.geometry(path.stem).shape
            if path.stem == "ball_1":
                assert path.read_bytes() == content, f"{path.name} after {moment} reports"
