"""Filling with a trained run: from the command line's and the panel's request."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import QUICK_TRAINING, cancelled_at
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import BadInputError, CancelledError, Ledger, Plane, RunError, SparseAnnotation, Watch
from SparseAnnotateLib.core.images import read_labels
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker import requests


@pytest.fixture
def trained(ball_cohort):
    """A run that has learned from the first case only."""
    names = ball_cohort.annotated_cases()
    request = requests.TrainRequest(
        str(ball_cohort.folder), run="r", cases=(names[0],), settings=TrainingSettings(**QUICK_TRAINING)
    )
    requests.train(request, Watch())
    return ball_cohort


def filled(cohort, watch=None, **changes):
    return requests.fill(requests.FillRequest(str(cohort.folder), run="r", device="cpu", **changes), watch or Watch())


def test_every_case_is_filled_with_the_run_and_keeps_its_drawn_slices(trained):
    results = filled(trained)
    for result in results:
        annotation = trained.annotation(result.case)
        labels = read_labels(result.path, annotation.geometry)
        drawn = annotation.supervised_mask()
        np.testing.assert_array_equal(labels[drawn], annotation.labels[drawn])
        assert set(result.labels[0]["shares"]) == {"shape", "random_walk", "run 'r'"}
    first, second = results
    assert any("has learned from slices of this volume" in w for w in first.warnings)
    assert not any("has learned" in w for w in second.warnings)


def test_a_case_is_predicted_once_for_each_run(trained, monkeypatch):
    from SparseAnnotateLib.learning.prediction import run_models

    made = []
    real = run_models.VolumePrediction
    monkeypatch.setattr(run_models, "VolumePrediction", lambda *given: made.append(1) or real(*given))
    name, other = trained.annotated_cases()
    filled(trained, cases=(name,))
    annotation = trained.annotation(name)
    more = SparseAnnotation.from_slices(annotation.labels, annotation.geometry, Plane.AXIAL, [6, 10, 14])
    trained.save_annotation(name, more)
    filled(trained, cases=(name,))
    assert len(made) == 1
    filled(trained, cases=(other,))
    filled(trained, cases=(name,))
    assert len(made) == 2, "both are known now, this one from disk"
    filled(trained, cases=(other,))
    for path in (trained.cache_folder / "likeliest").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    filled(trained, cases=(name,))
    assert len(made) == 3, "a damaged file is not used"


def test_what_cannot_be_combined_is_refused(trained):
    with pytest.raises(BadInputError, match="Only the fill method 'auto' takes a run or an earlier result"):
        filled(trained, method="shape")
    with pytest.raises(RunError):
        requests.fill(requests.FillRequest(str(trained.folder), run="missing", device="cpu"), Watch())


def test_structures_are_matched_by_name(trained):
    old = dict(trained.labels)
    values = sorted(old)
    trained.set_labels({values[0]: "spleen", values[1]: old[values[1]]})
    result = filled(trained)[0]
    assert any("does not know 'spleen'" in warning for warning in result.warnings)
    trained.set_labels({values[0]: "spleen", values[1]: "kidney"})
    with pytest.raises(BadInputError, match="none of them is a structure of the cohort"):
        filled(trained)


def test_the_command_line_fills_with_a_run_on_a_device(trained, capsys):
    name = trained.annotated_cases()[1]
    assert main(["fill", str(trained.folder), "--cases", name, "--run", "r", "--device", "cpu", "--json"]) == 0
    found = capsys.readouterr()
    assert "no effect" not in found.err
    assert "run 'r'" in json.loads(found.out)[0]["labels"][0]["shares"]


def test_cancelling_at_any_moment_leaves_the_last_fill(trained):
    name = trained.annotated_cases()[0]
    filled(trained, cases=(name,))
    before = trained.fill_path(name).read_bytes()
    messages = []
    filled(trained, Watch(lambda progress: messages.append(progress.message)), cases=(name,))
    for moment in range(0, len(messages), max(1, len(messages) // 12)):
        watch = cancelled_at(moment)
        with pytest.raises(CancelledError):
            filled(trained, watch, cases=(name,))
        assert read_labels(trained.fill_path(name), trained.geometry(name)).any()
    assert len(trained.fill_path(name).read_bytes()) == len(before)


def test_the_progress_names_a_case_once_in_each_message(trained):
    name, _other = trained.annotated_cases()
    messages = []
    filled(trained, Watch(lambda progress: messages.append(progress.message)), cases=(name,))
    assert any("by the run" in message for message in messages)
    assert max(message.count(f"'{name}'") for message in messages) == 1


def test_what_a_run_has_learned_from_a_volume_is_counted_whatever_its_slices_were_marked_for(trained):
    name, other = trained.annotated_cases()
    folder = RunFolder(trained.run_folder("r"))
    annotation = trained.annotation(name)
    entries, names = annotation.ledger.decided, tuple(trained.labels.values())
    folder.write_card(replace(folder.card(), validation_dice=None, slices=len(entries), cases=(name, other)))
    middle = len(entries) // 2
    entries = tuple(
        replace(one, structures=names if number == middle else names[1:]) for number, one in enumerate(entries)
    )
    trained.save_annotation(name, replace(annotation, ledger=Ledger(entries)))
    (result,) = filled(trained, cases=(name,))
    (share,) = [label["shares"]["run 'r'"] for label in result.labels if label["name"] == names[0]]
    assert share == 0.0


def test_the_share_of_a_run_does_not_depend_on_earlier_fills_of_the_worker(trained):
    name, other = trained.annotated_cases()
    folder = RunFolder(trained.run_folder("r"))
    folder.write_card(replace(folder.card(), validation_dice=None, slices=2, cases=(name, other)))
    labels, geometry = trained.reference(name), trained.geometry(name)
    shares = []
    for indices in ([12], [12, 13]):  # no gap between them in which fill and run could be compared
        trained.save_annotation(name, SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, indices))
        (result,) = filled(trained, cases=(name,))
        shares.append(result.labels[0]["shares"]["run 'r'"])
    assert shares == [pytest.approx(1 / 6, abs=0.001), 0.0]


def test_a_run_of_one_volume_has_learned_from_no_other_when_slices_were_cleared_since(trained):
    name, _other = trained.annotated_cases()
    folder = RunFolder(trained.run_folder("r"))
    annotation = trained.annotation(name)
    entries = annotation.ledger.decided
    folder.write_card(replace(folder.card(), validation_dice=None, slices=len(entries)))
    kept = Ledger((entries[len(entries) // 2],))
    trained.save_annotation(name, replace(annotation, ledger=kept))
    (result,) = filled(trained, cases=(name,))
    assert {label["shares"]["run 'r'"] for label in result.labels} == {0.0}


def test_a_case_that_the_run_cannot_predict_is_filled_without_it(trained, monkeypatch):
    from SparseAnnotateLib.learning.prediction import predictor

    first, second = trained.annotated_cases()
    real = predictor.normalised_image

    def broken(cohort, case, *how):
        if case == first:
            raise BadInputError("The image is broken.")
        return real(cohort, case, *how)

    monkeypatch.setattr(predictor, "normalised_image", broken)
    results = {result.case: result for result in filled(trained)}
    assert results[first].warnings[0] == "Filled without the run 'r'. The image is broken."
    assert set(results[first].labels[0]["shares"]) == {"shape", "random_walk"}
    assert "run 'r'" in results[second].labels[0]["shares"]
