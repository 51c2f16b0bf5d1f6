"""Results that are in the cohort already, as sources of a new fill."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, Ledger, Plane, SliceState, Watch
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.core.structure_values import names_as_facts
from SparseAnnotateLib.worker import requests
from SparseAnnotateLib.worker.earlier_results import earlier_results

CASE = "ball_0"


def filled(cohort, **changes):
    (row,) = requests.fill(requests.FillRequest(str(cohort.folder), cases=(CASE,), **changes), Watch())
    return row


def draw_more(cohort, *indices: int) -> None:
    annotation, reference = cohort.annotation(CASE), cohort.reference(CASE)
    ledger, labels = annotation.ledger, annotation.labels.copy()
    for index in indices:
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN)
        labels[index] = reference[index]
    cohort.save_annotation(CASE, replace(annotation, labels=labels, ledger=ledger))


def imported(cohort, labels: np.ndarray, facts=None) -> None:
    write_image(cohort.prediction_path("theirs", CASE), labels, cohort.geometry(CASE), facts=facts)


def errors(cohort, row) -> int:
    return np.count_nonzero(read_labels(row.path, cohort.geometry(CASE)) != cohort.reference(CASE))


def test_slices_that_an_earlier_fill_was_made_from_are_no_evidence(ball_cohort):
    filled(ball_cohort)
    (source,), problems = earlier_results(ball_cohort, CASE, ["fill"])
    assert problems == []
    assert source.made_from == {e.key for e in ball_cohort.annotation(CASE).ledger.decided}
    annotation = ball_cohort.annotation(CASE)
    assert source.agreement(annotation).dice(1) == (0.0, 0), "nothing to measure it by"
    draw_more(ball_cohort, 11, 13)
    dice, slices = source.agreement(ball_cohort.annotation(CASE)).dice(1)
    assert slices == 2
    assert 0.9 < dice <= 1
    row = filled(ball_cohort, earlier=("fill",))
    assert set(row.labels[0]["shares"]) == {"shape", "random_walk", "earlier fill"}


def test_a_good_result_from_elsewhere_helps_once_slices_show_that_it_is_good(ball_cohort):
    reference = ball_cohort.reference(CASE)
    imported(ball_cohort, reference, {"drawn slices": "axial 0", "annotation": "x"})
    annotation = ball_cohort.annotation(CASE)
    few = Ledger(tuple(entry for entry in annotation.ledger.entries if entry.index in (6, 14)))
    ball_cohort.save_annotation(CASE, replace(annotation, ledger=few))
    alone = errors(ball_cohort, filled(ball_cohort, methods=("shape",)))
    helped = filled(ball_cohort, methods=("shape",), earlier=("theirs",))
    assert helped.labels[0]["shares"]["earlier theirs"] > 0.5
    assert errors(ball_cohort, helped) < 0.5 * alone


def test_a_bad_one_hardly_counts(ball_cohort):
    imported(
        ball_cohort, np.roll(ball_cohort.reference(CASE), 9, axis=1), {"drawn slices": "axial 0", "annotation": "x"}
    )
    assert filled(ball_cohort, earlier=("theirs",)).labels[0]["shares"]["earlier theirs"] < 0.1


def test_what_cannot_take_part_is_said_and_left_out(ball_cohort):
    row = filled(ball_cohort, earlier=("fill", "theirs"))
    assert any("Filled without the earlier fill. The case 'ball_0' has none." in w for w in row.warnings)
    assert any("Filled without the earlier result of 'theirs'." in w for w in row.warnings)
    imported(ball_cohort, ball_cohort.reference(CASE), {"image": "another"})
    row = filled(ball_cohort, earlier=("theirs",))
    assert any("It was made from another image." in w for w in row.warnings)
    with pytest.raises(BadInputError, match="Only the fill method 'auto'"):
        filled(ball_cohort, earlier=("fill",), method="shape")


def test_the_command_line_takes_earlier_results(ball_cohort, capsys):
    filled(ball_cohort)
    assert main(["fill", str(ball_cohort.folder), "--cases", CASE, "--earlier", "fill", "--json"]) == 0
    assert "earlier fill" in json.loads(capsys.readouterr().out)[0]["labels"][0]["shares"]


def test_structures_of_an_earlier_result_are_matched_by_name(ball_cohort):
    names = {**names_as_facts({1: "kernel", 2: "shell"}), "drawn slices": "axial 0", "annotation": "x"}
    table = np.array([0, 2, 1], np.uint8)
    imported(ball_cohort, table[ball_cohort.reference(CASE)], names)
    (source,), _problems = earlier_results(ball_cohort, CASE, ["theirs"])
    np.testing.assert_array_equal(source.found.labels[0], ball_cohort.reference(CASE))
    imported(ball_cohort, ball_cohort.reference(CASE), {**names, **names_as_facts({1: "shell", 2: "cyst"})})
    found, (problem,) = earlier_results(ball_cohort, CASE, ["theirs"])
    assert found == []
    assert "It has 'cyst', whose label values belong to other structures now." in problem


def test_an_earlier_result_takes_part_after_a_fill_without_it(ball_cohort):
    for _round in range(2):
        assert "earlier fill" not in filled(ball_cohort).labels[0]["shares"]
    row = filled(ball_cohort, earlier=("fill", "nonsense"))
    assert "earlier fill" in row.labels[0]["shares"]
    assert any("'nonsense'" in sentence for sentence in row.warnings)


def test_after_the_structures_changed_their_values_everything_is_measured_again(ball_cohort):
    by_name = [{label["name"]: label["hidden_dice"] for label in filled(ball_cohort).labels}]
    annotation = ball_cohort.annotation(CASE)
    ball_cohort._update_file(lambda file: replace(file, labels={1: "kernel", 2: "shell"}))
    labels = np.array([0, 2, 1], np.uint8)[annotation.labels]
    ball_cohort.save_annotation(CASE, replace(annotation, labels=labels, names={1: "kernel", 2: "shell"}))
    by_name.append({label["name"]: label["hidden_dice"] for label in filled(ball_cohort).labels})
    assert by_name[0] == by_name[1]
