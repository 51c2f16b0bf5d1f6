from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_facts, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.worker.evaluate_request import EvaluateRequest, OutOfDateError, evaluate
from SparseAnnotateLib.worker.fill_request import FillRequest, fill
from SparseAnnotateLib.worker.plan_requests import AgreementRequest, agreement

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def by_hand(cohort: Cohort, run: str, name: str, labels: np.ndarray, origin: Origin | None = None) -> None:
    facts = origin.facts() if origin else None
    write_image(cohort.prediction_path(run, name), labels.astype(np.uint8), cohort.geometry(name), facts=facts)


def figures(cohort: Cohort, run: str | None = None, cases: tuple[str, ...] = ()):
    return {e.case: e for e in evaluate(EvaluateRequest(str(cohort.folder), run, cases=cases), Watch())}


def filled(cohort: Cohort, **options) -> None:
    fill(FillRequest(str(cohort.folder), method="shape", **options), Watch())


def draw_more(cohort: Cohort, name: str, index: int) -> None:
    drawn = cohort.annotation(name).ledger.indices(Plane.AXIAL)
    reference = cohort.reference(name)
    cohort.save_annotation(
        name, SparseAnnotation.from_slices(reference, cohort.geometry(name), Plane.AXIAL, [*drawn, index])
    )


def test_a_structure_that_is_only_predicted_or_only_in_the_reference_counts_as_zero(ball_cohort):
    reference = ball_cohort.reference("ball_0")
    false = np.where(reference == 0, 0, reference).copy()
    false[0, :3, :3] = 5
    by_hand(ball_cohort, "hand", "ball_0", false)
    by_hand(ball_cohort, "hand", "ball_1", np.where(ball_cohort.reference("ball_1") == 2, 0, 1) * 0)
    found = figures(ball_cohort, "hand")
    assert found["ball_0"].dice == pytest.approx(2 / 3)
    assert found["ball_0"].hd95_mm == math.inf
    assert [row["name"] for row in found["ball_0"].labels] == ["shell", "kernel", "5"]
    assert found["ball_1"].dice == 0.0


def test_what_neither_has_is_named_and_a_case_without_any_structure_is_in_no_mean(ball_cohort, capsys):
    nothing = np.zeros(GEOMETRY.shape, np.uint8)
    path = ball_cohort.folder.parent / "nothing.nrrd"
    write_image(path, nothing, GEOMETRY)
    ball_cohort.add_case("empty", noisy_image(ball()), GEOMETRY, path)
    for name in ("ball_0", "empty"):
        by_hand(ball_cohort, "hand", name, ball_cohort.reference(name))
    found = figures(ball_cohort, "hand", ("ball_0", "empty"))
    assert (found["empty"].dice, found["empty"].undrawn_dice, found["empty"].hd95_mm) == (None, None, None)
    assert found["empty"].absent == ["shell", "kernel"]
    folder = str(ball_cohort.folder)
    assert main(["evaluate", folder, "--run", "hand"]) == 0
    shown = capsys.readouterr().out
    assert "no structure" in shown
    assert "nan" not in shown
    assert "Mean Dice 1 over 1 of 2 cases." in shown
    assert "Left out of the mean, because they have no structure: 1." in shown
    assert main(["evaluate", folder, "--run", "hand", "--json"]) == 0
    rows = {row["case"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["empty"]["dice"] is None
    assert rows["ball_0"]["dice"] == 1.0


def test_an_infinite_distance_is_a_word_in_the_table(ball_cohort, capsys):
    by_hand(ball_cohort, "hand", "ball_0", np.zeros(GEOMETRY.shape))
    assert main(["evaluate", str(ball_cohort.folder), "--run", "hand", "--cases", "ball_0"]) == 0
    assert "infinite" in capsys.readouterr().out


def test_undrawn_voxels_are_measured_beside_all(ball_cohort):
    filled(ball_cohort)
    found = figures(ball_cohort)["ball_0"]
    annotation, reference = ball_cohort.annotation("ball_0"), ball_cohort.reference("ball_0")
    assert found.undrawn_dice < found.dice
    wrong = np.where(annotation.supervised_mask(), reference, 0)
    by_hand(ball_cohort, "copied", "ball_0", wrong)
    copied = figures(ball_cohort, "copied", ("ball_0",))["ball_0"]
    assert copied.dice > 0.3
    assert copied.undrawn_dice == 0.0


def test_scores_of_the_papers_are_shown_on_request_and_always_in_json(ball_cohort, capsys):
    reference = {name: ball_cohort.reference(name) for name in ("ball_0", "ball_1")}
    half = reference["ball_0"].copy()
    half[:, :, 16:] = 0
    by_hand(ball_cohort, "hand", "ball_0", half)
    by_hand(ball_cohort, "hand", "ball_1", reference["ball_1"])
    found = figures(ball_cohort, "hand")
    assert found["ball_1"].hvsmr_score == pytest.approx(1.0)
    assert found["ball_1"].rand_f_score == found["ball_1"].iou == 1.0
    assert 0 < found["ball_0"].rand_f_score < 1
    assert found["ball_0"].hvsmr_score < 1
    shell = [(f["intersection_voxels"], f["union_voxels"]) for e in found.values() for f in e.labels if f["label"] == 1]
    expected = sum(both for both, _ in shell) / sum(either for _, either in shell)
    assert "batched_iou" not in found["ball_0"].labels[0]
    command = ["evaluate", str(ball_cohort.folder), "--run", "hand"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "rand_f_score" not in shown
    assert "Batched" not in shown
    assert main([*command, "--measures", "batched_iou", "hvsmr_score", "rand_f_score"]) == 0
    shown = capsys.readouterr().out
    assert f"Batched IoU over 2 cases: shell {expected:.4g}, kernel" in shown
    assert "hvsmr_score" in shown
    assert f"{found['ball_0'].rand_f_score:.4g}" in shown
    assert main([*command, "--measures", "batched_iou", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["labels"][0]["batched_iou"] for row in rows] == pytest.approx([expected] * 2)
    by_hand(ball_cohort, "hand", "ball_0", np.zeros(GEOMETRY.shape))
    assert main([*command, "--measures", "hvsmr_score", "--cases", "ball_0"]) == 0
    assert "-infinite" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    rows = {row["case"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ball_1"]["rand_f_score"] == 1.0
    assert rows["ball_0"]["hvsmr_score"] is None


def test_a_fill_that_is_older_than_the_drawings_is_refused_with_the_case_and_what_has_changed(ball_cohort, capsys):
    filled(ball_cohort)
    before = figures(ball_cohort)
    draw_more(ball_cohort, "ball_0", 12)
    draw_more(ball_cohort, "ball_0", 20)
    with pytest.raises(
        OutOfDateError, match=r"'ball_0' is out of date: 2 more slices have been drawn since\. Fill again"
    ) as caught:
        figures(ball_cohort)
    # The figures of the old fill are those of the slices that were drawn then.
    shown = {e.case: e for e in caught.value.shown}
    assert shown["ball_0"].stale == "2 more slices have been drawn since"
    assert shown["ball_0"].slices_drawn == before["ball_0"].slices_drawn
    assert shown["ball_0"].undrawn_dice == before["ball_0"].undrawn_dice
    assert shown["ball_1"] == before["ball_1"]
    assert figures(ball_cohort, cases=("ball_1",)) == {"ball_1": before["ball_1"]}
    assert main(["evaluate", str(ball_cohort.folder), "--json"]) == 1
    captured = capsys.readouterr()
    assert "2 more slices have been drawn since" in captured.err
    assert [row["stale"] for row in json.loads(captured.out)] == ["2 more slices have been drawn since", ""]
    filled(ball_cohort, cases=("ball_0",))
    assert figures(ball_cohort)["ball_0"].slices_drawn == before["ball_0"].slices_drawn + 2


def test_a_result_for_another_image_is_refused(ball_cohort):
    filled(ball_cohort)
    write_image(ball_cohort.image_path("ball_1"), noisy_image(ball(), 9), GEOMETRY)
    with pytest.raises(
        OutOfDateError, match="case 'ball_1' is out of date: the image has been replaced by another one"
    ):
        figures(ball_cohort)


def test_a_prediction_by_a_run_that_was_trained_again_is_refused(ball_cohort):
    run = ball_cohort.run_folder("r")
    run.mkdir(parents=True)
    (run / "card.json").write_text('{"loss": 1}')
    by_hand(ball_cohort, "r", "ball_0", ball(), ball_cohort.origin("ball_0", run="r"))
    assert figures(ball_cohort, "r", ("ball_0",))["ball_0"].notes == []
    (run / "card.json").write_text('{"loss": 2}')
    with pytest.raises(OutOfDateError, match=r"the run 'r' has been trained again\. Predict again"):
        figures(ball_cohort, "r", ("ball_0",))


def test_a_result_of_another_program_is_measured_and_this_is_reported(ball_cohort):
    by_hand(ball_cohort, "hand", "ball_0", ball_cohort.reference("ball_0"))
    found = figures(ball_cohort, "hand", ("ball_0",))["ball_0"]
    assert found.dice == 1.0
    assert "The source of this result is unknown" in found.notes[0]


def test_cases_that_cannot_be_measured_are_named(ball_cohort, caplog):
    by_hand(ball_cohort, "hand", "ball_0", ball_cohort.reference("ball_0"))
    with caplog.at_level(logging.WARNING):
        assert list(figures(ball_cohort, "hand")) == ["ball_0"]
    assert "Left out (no prediction of the run 'hand'): 'ball_1'." in caplog.text
    with pytest.raises(BadInputError, match=r"Cannot be compared \(no prediction of the run 'hand'\): 'ball_1'\."):
        figures(ball_cohort, "hand", ("ball_0", "ball_1"))


def test_fills_and_confidences_say_what_they_came_from(ball_cohort):
    filled(ball_cohort)
    for path in (ball_cohort.fill_path("ball_0"), ball_cohort.fill_confidence_path("ball_0")):
        origin = Origin.from_facts(read_facts(path))
        assert origin == ball_cohort.origin("ball_0", method="shape")


def compared(cohort: Cohort, *runs: str):
    return agreement(AgreementRequest(str(cohort.folder), runs), Watch())


def test_cases_in_which_runs_see_nothing_are_no_agreement(ball_cohort):
    nothing = np.zeros(GEOMETRY.shape)
    for run, labels in (("a", ball()), ("b", ball(radius=4.0))):
        by_hand(ball_cohort, run, "ball_0", labels)
        by_hand(ball_cohort, run, "ball_1", nothing)
    found = compared(ball_cohort, "a", "b")
    assert found.empty == (1,)
    assert found.cases == 2
    both = 2 * (ball(radius=4.0) > 0).sum() / ((ball() > 0).sum() + (ball(radius=4.0) > 0).sum())
    assert found.dice[0] == pytest.approx(both)
    by_hand(ball_cohort, "c", "ball_0", nothing)
    by_hand(ball_cohort, "d", "ball_0", nothing)
    with pytest.raises(BadInputError, match="Neither 'c' nor 'd' predicts any structure"):
        compared(ball_cohort, "c", "d")


def test_rounds_with_other_drawings_are_compared_and_predictions_for_another_image_are_not(ball_cohort):
    for run, index in (("a", 12), ("b", 20)):
        by_hand(ball_cohort, run, "ball_0", ball(), ball_cohort.origin("ball_0", run=run))
        draw_more(ball_cohort, "ball_0", index)
    assert compared(ball_cohort, "a", "b").dice == (1.0,)
    write_image(ball_cohort.image_path("ball_0"), noisy_image(ball(), 9), GEOMETRY)
    with pytest.raises(BadInputError, match="by 'a' of case '.*' is out of date: .*Predict again"):
        compared(ball_cohort, "a", "b")


def test_nothing_is_learned_from_a_fill_for_another_image(ball_cohort, tmp_path):
    from SparseAnnotateLib.learning.data.training_cases import training_cases

    filled(ball_cohort)
    write_image(ball_cohort.image_path("ball_1"), noisy_image(ball(), 9), GEOMETRY)
    with pytest.raises(
        BadInputError, match=r"case 'ball_1' is out of date: the image has been replaced by another one\. Fill it again"
    ):
        training_cases(
            ball_cohort,
            ["ball_0", "ball_1"],
            {1: 1, 2: 2},
            normalisation="z_score",
            validation_share=0.0,
            seed=0,
            folder=tmp_path / "l",
            watch=Watch(),
            fill_weight=0.5,
        )
