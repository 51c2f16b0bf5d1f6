from __future__ import annotations

import csv
import errno
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.command_line.evaluate_command import show_evaluations
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_facts, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.worker import evaluate_request
from SparseAnnotateLib.worker.evaluate_request import EvaluateRequest, Evaluation, OutOfDateError, evaluate
from SparseAnnotateLib.worker.fill_request import FillRequest, fill
from SparseAnnotateLib.worker.plan_requests import AgreementRequest, agreement

GEOMETRY = VolumeGeometry.from_spacing((24, 28, 32), (2.0, 1.0, 1.0))


def by_hand(cohort: Cohort, run: str, name: str, labels: np.ndarray, origin: Origin | None = None) -> None:
    facts = origin.facts() if origin else None
    write_image(cohort.prediction_path(run, name), labels.astype(np.uint8), cohort.geometry(name), facts=facts)


def figures(cohort: Cohort, run: str | None = None, cases: tuple[str, ...] = (), **options):
    return {e.case: e for e in evaluate(EvaluateRequest(str(cohort.folder), run, cases=cases, **options), Watch())}


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


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table_of(shown: str, title: str) -> dict[str, list[str]]:
    """The rows of a printed table by the name of the case."""
    lines = [line.split() for line in shown.partition(title)[2].splitlines()[1:]]
    table: dict[str, list[str]] = {}
    for line in filter(None, lines):
        if line[0] in table:
            break
        table[line[0]] = line[1:]
    return table


def test_structures_are_columns_with_means_and_undrawn_voxels_apart(ball_cohort, capsys):
    for name in ("ball_0", "ball_1"):
        wrong = ball_cohort.reference(name).copy()
        wrong[:, :, 16 if name == "ball_0" else 14 :] = 0
        by_hand(ball_cohort, "hand", name, wrong)
    found = figures(ball_cohort, "hand")
    assert main(["evaluate", str(ball_cohort.folder), "--run", "hand"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown[: shown.index("Mean Dice")].splitlines())) <= 80
    for title, measure in (("Dice over all voxels", "dice"), ("Dice over undrawn voxels", "undrawn_dice")):
        table = table_of(shown, title)
        assert table["case"] == ["shell", "kernel", "mean"]
        each = [[row[measure] for row in found[name].labels] for name in ("ball_0", "ball_1")]
        wanted = [[*row, np.mean(row)] for row in each]
        for name, row in zip(("ball_0", "ball_1"), wanted, strict=True):
            assert table[name] == [f"{value:.3f}" for value in row]
        assert table["mean"] == [f"{value:.3f}" for value in np.mean(wanted, axis=0)]
        assert table["SD"] == [f"{value:.3f}" for value in np.std(wanted, axis=0, ddof=1)]


def test_another_measure_may_be_shown_for_each_structure(ball_cohort, capsys):
    by_hand(ball_cohort, "hand", "ball_0", np.where(ball_cohort.reference("ball_0") == 1, 1, 0))
    by_hand(ball_cohort, "hand", "ball_1", ball_cohort.reference("ball_1"))
    command = ["evaluate", str(ball_cohort.folder), "--run", "hand"]
    assert main([*command, "--table", "hd95_mm"]) == 0
    shown = capsys.readouterr().out
    assert "Dice over" not in shown
    table = table_of(shown, "95 % Hausdorff distance (mm)")
    assert table["ball_0"][1:] == ["infinite", "infinite"]
    assert table["SD"][1:] == ["-", "-"]
    assert table["ball_1"] == ["0.00"] * 3


def test_surface_dice_is_measured_at_a_tolerance(ball_cohort, capsys):
    for name in ("ball_0", "ball_1"):
        by_hand(ball_cohort, "hand", name, np.roll(ball_cohort.reference(name), 1, axis=2))
    asked = EvaluateRequest(str(ball_cohort.folder), "hand", tolerance=1.0)
    found = evaluate(asked, Watch())[0]
    assert found.surface_dice == 1.0
    assert figures(ball_cohort, "hand")["ball_0"].surface_dice is None
    tight = evaluate(EvaluateRequest(str(ball_cohort.folder), "hand", tolerance=0.5), Watch())[0]
    assert 0 < tight.surface_dice < 1
    assert tight.surface_dice == pytest.approx(np.mean([row["surface_dice"] for row in tight.labels]))
    command = ["evaluate", str(ball_cohort.folder), "--run", "hand", "--table", "surface_dice"]
    assert main([*command, "--tolerance", "0.5"]) == 0
    shown = capsys.readouterr().out
    assert table_of(shown, "Surface Dice at 0.5 mm")["ball_0"][-1] == f"{tight.surface_dice:.3f}"
    assert main(command) == 1
    assert "needs a tolerance in mm: add '--tolerance MM'" in capsys.readouterr().err
    for value in ("-1", "nan", "inf"):
        assert main([*command, f"--tolerance={value}"]) == 1
        assert f"The tolerance is a distance of 0 mm or more, not {value}." in capsys.readouterr().err


def test_a_csv_file_has_a_row_for_each_case_and_structure(ball_cohort, capsys):
    by_hand(ball_cohort, "hand", "ball_0", np.where(ball_cohort.reference("ball_0") == 1, 1, 0))
    by_hand(ball_cohort, "hand", "ball_1", ball_cohort.reference("ball_1"))
    ball_cohort.set_labels({**ball_cohort.labels, 3: "tail, left"})
    path = ball_cohort.folder.parent / "new" / "figures.csv"
    command = ["evaluate", str(ball_cohort.folder), "--run", "hand", "--csv", str(path)]
    assert main([*command, "--tolerance", "1", "--json"]) == 0
    rows = rows_of(path)
    assert [(row["case"], row["structure"], row["label"]) for row in rows] == [
        (case, structure, label)
        for case in ("ball_0", "ball_1")
        for structure, label in (("shell", "1"), ("kernel", "2"), ("tail, left", ""))
    ]
    answered = {row["case"]: row for row in json.loads(capsys.readouterr().out)}
    for row in rows:
        labels = {figure["name"]: figure for figure in answered[row["case"]]["labels"]}
        if row["structure"] == "tail, left":
            assert (row["dice"], row["hd95_mm"], row["surface_dice"]) == ("", "", "")
        else:
            assert float(row["dice"]) == labels[row["structure"]]["dice"]
            assert float(row["rand_f_score"]) == answered[row["case"]]["rand_f_score"]
            assert float(row["surface_dice"]) == labels[row["structure"]]["surface_dice"]
    assert float(rows[1]["hd95_mm"]) == math.inf
    assert {row["case"]: float(row["hvsmr_score"]) for row in rows} == {"ball_0": -math.inf, "ball_1": 1.0}
    assert main(command) == 0
    assert {row["surface_dice"] for row in rows_of(path)} == {""}


def test_results_out_of_date_are_in_no_table_mean_or_file_and_are_named_with_what_to_do(ball_cohort, capsys):
    filled(ball_cohort)
    kept = figures(ball_cohort)["ball_1"]
    draw_more(ball_cohort, "ball_0", 12)
    path = ball_cohort.folder.parent / "figures.csv"
    command = ["evaluate", str(ball_cohort.folder), "--csv", str(path)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "Dice over all voxels" in captured.out
    assert f"Mean Dice {kept.dice:.4g} over 1 of 1 case." in captured.out
    assert "ball_0" not in captured.out
    assert "'ball_0' is out of date: 1 more slice has been drawn since. The other case was compared. Fill again." in (
        captured.err
    )
    assert "--include-stale" in captured.err
    assert {row["case"] for row in rows_of(path)} == {"ball_1"}
    assert main([*command, "--include-stale"]) == 0
    captured = capsys.readouterr()
    assert "over 2 of 2 cases." in captured.out
    assert "- 'ball_0': This result is out of date: 1 more slice has been drawn since." in captured.out
    assert {row["case"] for row in rows_of(path)} == {"ball_0", "ball_1"}


def test_where_all_results_are_out_of_date_no_table_is_shown_and_earlier_figures_do_not_stay(ball_cohort, capsys):
    filled(ball_cohort)
    path = ball_cohort.folder.parent / "figures.csv"
    command = ["evaluate", str(ball_cohort.folder), "--csv", str(path)]
    assert main(command) == 0
    assert rows_of(path)
    for name in ("ball_0", "ball_1"):
        draw_more(ball_cohort, name, 13)
    capsys.readouterr()
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "out of date for 2 cases" in captured.err
    assert "earlier command" not in captured.err
    assert path.read_text().startswith("case,structure,label,dice")
    assert rows_of(path) == []


@pytest.mark.parametrize(
    ("words", "option", "name"),
    [
        (["evaluate", "--run", "typo"], "--csv", "figures.csv"),
        (["picture", "--cases", "typo"], "--path", "slices.png"),
        (["report", "--cases", "typo"], "--out", "report.html"),
        (["recommend", "--slices", "9", "--cases", "typo"], "--picture", "slices.png"),
    ],
)
def test_a_file_of_an_earlier_command_is_named_after_an_error(ball_cohort, capsys, words, option, name):
    path = ball_cohort.folder.parent / name
    command = [words[0], str(ball_cohort.folder), *words[1:], option, str(path)]
    assert main(command) == 1
    assert "earlier command" not in capsys.readouterr().err
    path.write_text("earlier")
    assert main(command) == 1
    assert f"The file '{path}' was not changed: it is from an earlier command." in capsys.readouterr().err


@pytest.mark.parametrize("has_state_folder", [False, True])
def test_the_report_of_an_earlier_command_in_the_cohort_is_named_after_an_error(ball_cohort, capsys, has_state_folder):
    folder = ball_cohort.folder.parent / "state" if has_state_folder else ball_cohort.folder
    state = ["--state", str(folder)] if has_state_folder else []
    folder.mkdir(exist_ok=True)
    sentence = f"The file '{folder / 'report.html'}' was not changed: it is from an earlier command."
    assert main(["report", str(ball_cohort.folder), *state, "--cases", "typo"]) == 1
    assert "earlier command" not in capsys.readouterr().err
    assert main(["report", str(ball_cohort.folder), *state]) == 0
    assert main(["report", str(ball_cohort.folder), *state, "--cases", "typo"]) == 1
    assert sentence in capsys.readouterr().err
    out = str(ball_cohort.folder.parent / "other.html")
    assert main(["report", str(ball_cohort.folder), *state, "--cases", "typo", "--out", out]) == 1
    assert "earlier command" not in capsys.readouterr().err


def test_a_cohort_in_a_folder_without_rights_ends_in_a_sentence_for_a_report_too(ball_cohort, capsys, monkeypatch):
    def refused(*_given):
        raise PermissionError(errno.EACCES, "Permission denied", str(ball_cohort.folder))

    monkeypatch.setattr(Cohort, "open", refused)
    assert main(["report", str(ball_cohort.folder)]) == 1
    assert str(ball_cohort.folder) in capsys.readouterr().err


def test_a_file_name_that_no_file_can_have_ends_in_a_sentence(ball_cohort, capsys):
    path = ball_cohort.folder.parent / f"{'a' * 300}.csv"
    assert main(["evaluate", str(ball_cohort.folder), "--run", "typo", "--csv", str(path)]) == 1
    assert capsys.readouterr().err


def test_a_damaged_result_does_not_keep_the_others_from_being_compared(ball_cohort, capsys):
    filled(ball_cohort)
    draw_more(ball_cohort, "ball_1", 13)
    filled(ball_cohort, cases=("ball_1",))
    path = ball_cohort.fill_path("ball_0")
    path.write_bytes(path.read_bytes()[:300])
    assert main(["evaluate", str(ball_cohort.folder), "--json"]) == 1
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    assert "cannot be read" in first["refused"]
    assert first["dice"] is None
    assert second["dice"] > 0.5
    assert second["refused"] == ""
    assert "1 case was not compared (others compared: 1):\n'ball_0': The file" in captured.err
    draw_more(ball_cohort, "ball_1", 5)
    assert main(["evaluate", str(ball_cohort.folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 cases were not compared" in captured.err
    assert "'ball_1': This result is out of date: 1 more slice has been drawn since." in captured.err


def test_a_fill_that_is_replaced_while_it_is_read_is_not_compared(ball_cohort, monkeypatch):
    filled(ball_cohort)
    real = evaluate_request.read_labels

    def replaced(path, geometry):
        draw_more(ball_cohort, "ball_0", 12)
        filled(ball_cohort, cases=("ball_0",))
        return real(path, geometry)

    monkeypatch.setattr(evaluate_request, "read_labels", replaced)
    with pytest.raises(BadInputError, match=r"fills.ball_0\.nrrd' is being replaced\. Try again"):
        figures(ball_cohort, cases=("ball_0",))


def test_each_table_of_several_cases_ends_with_their_mean(ball_cohort, capsys):
    filled(ball_cohort)
    known = figures(ball_cohort)
    assert main(["evaluate", str(ball_cohort.folder), "--measures", "iou"]) == 0
    shown = capsys.readouterr().out
    assert len([line for line in shown.splitlines() if line.split()[:1] == ["mean"]]) == 3
    last = next(line for line in reversed(shown.splitlines()) if line.split()[:1] == ["mean"])
    means = [sum(getattr(case, name) for case in known.values()) / 2 for name in ("dice", "undrawn_dice")]
    assert last.split()[1:3] == [f"{mean:.4g}" for mean in means]
    assert main(["evaluate", str(ball_cohort.folder), "--cases", "ball_0"]) == 0
    assert "SD" not in capsys.readouterr().out


def test_a_csv_file_that_cannot_be_written_is_an_error_in_a_sentence_before_measuring(ball_cohort, capsys, monkeypatch):
    filled(ball_cohort)
    (ball_cohort.folder.parent / "file").write_text("")
    path = ball_cohort.folder.parent / "file" / "figures.csv"
    # Before hours of measuring.
    monkeypatch.setattr(evaluate_request, "compare_labels", None)
    for wrong in (path, ball_cohort.folder):
        assert main(["evaluate", str(ball_cohort.folder), "--csv", str(wrong)]) == 1
        assert f"{wrong.name}' cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "tables"), [(8, 1), (9, 2), (30, 4)])
def test_tables_of_many_structures_fit_the_terminal(capsys, monkeypatch, count, tables):
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"s{n}" for n in range(count - 1)] + ["right kidney"]
    labels = [{"name": name, "label": n, "dice": 0.5, "undrawn_dice": 0.25} for n, name in enumerate(names, 1)]
    rows = [Evaluation(f"patient_{n}", 0.5, 0.25, 1.0, 3, 0.1, labels=labels) for n in range(2)]
    show_evaluations(rows)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("Dice over all voxels") == tables
    assert shown.count("0.500") == 2 * (count + 1) + count + 1
    assert all(name in shown for name in (*names[:-1], "patient_1", "kidney"))


def test_a_fill_that_is_older_than_the_drawings_is_refused_with_the_case_and_what_has_changed(ball_cohort, capsys):
    filled(ball_cohort)
    before = figures(ball_cohort)
    draw_more(ball_cohort, "ball_0", 12)
    draw_more(ball_cohort, "ball_0", 20)
    with pytest.raises(
        OutOfDateError, match=r"'ball_0' is out of date: 2 more slices have been drawn since\. .* Fill again"
    ) as caught:
        figures(ball_cohort)
    shown = {e.case: e for e in caught.value.shown}
    assert shown["ball_0"].stale == "2 more slices have been drawn since"
    assert shown["ball_0"].refused == "This result is out of date: 2 more slices have been drawn since."
    # Its figures are those of the time when it was made; they are in no table.
    assert shown["ball_0"].dice == before["ball_0"].dice
    assert shown["ball_0"].slices_drawn == before["ball_0"].slices_drawn
    assert shown["ball_1"] == before["ball_1"]
    # The figures of the old fill are those of the slices that were drawn then.
    old = figures(ball_cohort, include_stale=True)["ball_0"]
    assert old.stale == "2 more slices have been drawn since"
    assert old.slices_drawn == before["ball_0"].slices_drawn
    assert old.undrawn_dice == before["ball_0"].undrawn_dice
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
    with pytest.raises(OutOfDateError, match="case 'ball_1' is out of date: the image file has changed since"):
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
    # Of a run that was removed it cannot be known.
    (run / "card.json").unlink()
    (note,) = figures(ball_cohort, "r", ("ball_0",))["ball_0"].notes
    assert note.startswith("The run 'r' is no longer in the cohort")


def test_a_run_without_predictions_is_refused_with_those_that_there_are(ball_cohort):
    with pytest.raises(BadInputError, match=r"run 'nope' .* Predictions in this cohort: none\."):
        figures(ball_cohort, "nope")
    by_hand(ball_cohort, "hand", "ball_0", ball_cohort.reference("ball_0"))
    with pytest.raises(BadInputError, match=r"run 'nope' .* Predictions in this cohort: 'hand'\."):
        figures(ball_cohort, "nope")


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
        assert not origin.scale  # shapes do not depend on intensities
        assert origin == replace(ball_cohort.origin("ball_0", method="shape"), scale="")


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
    ball_cohort.accept_image("ball_1")
    with pytest.raises(
        BadInputError,
        match=r"case 'ball_1' is out of date: the image file has .*, or there are other channels\. Fill it again",
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
