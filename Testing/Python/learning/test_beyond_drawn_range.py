"""The Dice on held-out slices holds inside the drawn range; what a model labels beyond it is counted apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.command_line.training_commands import show_training
from SparseAnnotateLib.core import Cohort, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry, Watch, metrics
from SparseAnnotateLib.learning.data.training_cases import TrainingCase, training_cases
from SparseAnnotateLib.learning.prediction.trained_model import TrainedModel
from SparseAnnotateLib.learning.prediction.volume_prediction import predicted_classes
from SparseAnnotateLib.learning.training import beyond_drawn_range, training_run
from SparseAnnotateLib.learning.training.beyond_drawn_range import LabelledBeyond, labelled_beyond
from SparseAnnotateLib.learning.training.validation import dice_on_slices
from SparseAnnotateLib.learning.training.view_scores import ViewScores
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.dice_in_words import dice_range, dice_sentences
from SparseAnnotateLib.runs.run_list import run_summaries

SHAPE, SPACING = (40, 48, 48), (1.0, 1.0, 1.0)
TWO_PLANES = {Plane.AXIAL: range(4, 24, 2), Plane.CORONAL: range(5, 26, 2)}


def ball_mask(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    places = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    mask: np.ndarray = sum((p - c) ** 2 for p, c in zip(places, centre, strict=True)) <= radius**2
    return mask


NODE, OTHER = ball_mask((14, 15, 24), 8.0), ball_mask((32, 37, 24), 7.5)


def drawn_case(folder, bright: np.ndarray, drawn=TWO_PLANES) -> tuple[Cohort, TrainingCase]:
    """A case in which the first ball is the structure, drawn on some slices; every `bright` voxel looks like it."""
    image = (10 + 90 * bright + 5 * np.random.default_rng(0).standard_normal(SHAPE)).astype(np.float32)
    geometry = VolumeGeometry.from_spacing(SHAPE)
    cohort = Cohort.create(folder / "cohort", "nodes", {1: "node"})
    cohort.add_case("first", image, geometry)
    ledger = Ledger()
    for plane, indices in drawn.items():
        for index in indices:
            ledger = ledger.with_state(plane, index, SliceState.DRAWN)
    annotation = SparseAnnotation.from_slices(NODE.astype(np.uint8), geometry, Plane.AXIAL, [])
    cohort.save_annotation("first", replace(annotation, ledger=ledger))
    (case,) = training_cases(
        cohort,
        ["first"],
        {1: 1},
        normalisation="percentile",
        validation_share=0.3,
        seed=0,
        folder=folder / "labels",
        watch=Watch(),
    )
    return cohort, case


class Bright(torch.nn.Module):
    """Labels every bright voxel: right where that is the structure, wrong where it only looks like it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, image - 0.5], 1) * 50.0


SPATIAL = TrainedModel("3d", Bright(), (16, 16, 16), 2, "cpu")
FLAT = TrainedModel("2d", Bright(), (48, 48), 2, "cpu", planes=(0, 1, 2))


def inside(model: TrainedModel, case: TrainingCase) -> float:
    return dice_on_slices(model, [(case, place) for place in case.held_out], Watch())


@pytest.mark.parametrize("model", [SPATIAL, FLAT], ids=["3d", "2d"])
def test_a_false_structure_beyond_the_drawn_range_shows_in_the_corrected_dice_only(tmp_path, monkeypatch, model):
    monkeypatch.setattr(beyond_drawn_range, "WINDOWS_AT_MOST", 10_000)
    _cohort, case = drawn_case(tmp_path, NODE | OTHER)
    labelled = predicted_classes(SPATIAL, case.image) > 0
    truth = metrics.dice(labelled, case_truth(case))
    assert truth < 0.75
    dice = inside(model, case)
    assert dice > 0.95
    found = labelled_beyond(model, [case], SPACING, 0, Watch())
    assert found.corrected(dice) == pytest.approx(truth, abs=0.03)
    assert found.shares()[1] == pytest.approx(OTHER.sum() / (NODE.sum() + OTHER.sum()), abs=0.02)
    (note,) = found.notes(["node"])
    assert note.startswith("About 46 % of what the model labels as node in case 'first' lies beyond the drawn slices")


def case_truth(case: TrainingCase) -> np.ndarray:
    geometry = VolumeGeometry.from_spacing(SHAPE)
    truth: np.ndarray = geometry.to_standard_order(NODE)
    assert truth.shape == case.image.shape
    return truth


def test_a_structure_inside_the_drawn_range_raises_no_alarm(tmp_path):
    _cohort, case = drawn_case(tmp_path, NODE)
    found = labelled_beyond(SPATIAL, [case], SPACING, 0, Watch())
    assert found.labelled[0, 1] > 0
    assert found.shares() == [0.0, 0.0]
    assert found.corrected(0.9) == 0.9
    assert found.notes(["node"]) == ()


def test_a_structure_that_continues_through_the_outermost_slices_is_supported(tmp_path):
    # The ball reaches from 6 to 22.
    _cohort, case = drawn_case(tmp_path, NODE, {Plane.AXIAL: range(10, 19, 2)})
    assert labelled_beyond(SPATIAL, [case], SPACING, 0, Watch()).shares() == [0.0, 0.0]
    # Beside it on the same side, but far from where the outermost slice shows it: unsupported.
    aside = ball_mask((30, 40, 24), 5.0)
    _cohort, case = drawn_case(tmp_path / "aside", NODE | aside, {Plane.AXIAL: range(10, 19, 2)})
    assert labelled_beyond(SPATIAL, [case], SPACING, 0, Watch()).shares()[1] > 0.1


def test_a_structure_undecided_on_the_outermost_slices_may_continue(tmp_path):
    _cohort, case = drawn_case(tmp_path, NODE | OTHER)
    np.save(tmp_path / "undecided.npy", np.ones(SHAPE, bool))
    found = labelled_beyond(SPATIAL, [replace(case, undecided_path=tmp_path / "undecided.npy")], SPACING, 0, Watch())
    assert found.shares() == [0.0, 0.0]


def test_two_drawn_slices_of_a_plane_are_no_range(tmp_path):
    _cohort, case = drawn_case(tmp_path, NODE | OTHER, {Plane.AXIAL: (4, 22), Plane.SAGITTAL: (24,)})
    assert labelled_beyond(SPATIAL, [case], SPACING, 0, Watch()) is None


def test_large_volumes_are_sampled_alike_with_the_same_seed(tmp_path, monkeypatch):
    _cohort, case = drawn_case(tmp_path, NODE | OTHER)
    predicted, counted = [], beyond_drawn_range.predicted_part
    monkeypatch.setattr(beyond_drawn_range, "WINDOWS_AT_MOST", 12)
    monkeypatch.setattr(
        beyond_drawn_range, "predicted_part", lambda *given: predicted.append(given[2]) or counted(*given)
    )
    first, again, other = (labelled_beyond(SPATIAL, [case, case], SPACING, seed, Watch()) for seed in (0, 0, 1))
    assert len(predicted) == 3 * 12
    assert predicted[:12] == predicted[12:24] != predicted[24:]
    assert np.array_equal(first.labelled, again.labelled)
    assert first.labelled.sum() + other.labelled.sum() > 0
    assert all(side.stop - side.start == 16 for window in predicted for side in window)


def test_what_the_last_model_of_an_ensemble_labels_beyond_does_not_correct_the_dice_of_the_average(
    tmp_path, monkeypatch
):
    cohort, _case = drawn_case(tmp_path, NODE | OTHER)
    counts = LabelledBeyond(("first",), np.array([[1000, 400]]), np.array([[0, 200]]))
    monkeypatch.setattr(training_run, "labelled_beyond", lambda *_given: counts)
    monkeypatch.setattr(training_run, "view_scores", lambda *_given: ViewScores({"3d": np.array([[[1.0, 2.0]]])}, 0.7))
    settings = {**QUICK_TRAINING, "validation_share": 0.3, "recipe": "ensemble", "patch_2d": (16, 16), "batch_2d": 2}
    card = training_run.train(cohort, "r", TrainingSettings(**{**settings, "iterations": 1}))
    assert (card.validation_dice, card.corrected_dice) == (0.7, None)
    assert card.unsupported == {1: 0.5}


def test_the_card_and_the_list_of_runs_tell_both_figures(tmp_path, monkeypatch, capsys):
    cohort, _case = drawn_case(tmp_path, NODE | OTHER)
    counts = LabelledBeyond(("first",), np.array([[1000, 400]]), np.array([[0, 200]]))
    monkeypatch.setattr(training_run, "labelled_beyond", lambda *_given: counts)
    settings = TrainingSettings(**{**QUICK_TRAINING, "validation_share": 0.3})
    card = training_run.train(cohort, "r", settings)
    # As much again as inside: 2 TP / (P + T) becomes 2 TP / (2 P + T).
    assert card.corrected_dice == pytest.approx(card.validation_dice * 2 / 3)
    assert card.unsupported == {1: 0.5}
    assert "About 50 % of what the model labels as node in case 'first'" in card.notes[-1]
    (summary,) = run_summaries(cohort)
    assert (summary.dice, summary.corrected_dice) == (card.validation_dice, card.corrected_dice)
    show_training(
        {
            "run": "r",
            "models": [],
            "slices": 21,
            "cases": ["first"],
            "seconds": 1.0,
            "device": "cpu",
            "validation_dice": 0.87,
            "corrected_dice": 0.55,
            "notes": [],
        }
    )
    shown = capsys.readouterr().out
    assert (
        "Dice 0.870 on held-out drawn slices. It holds inside the drawn range. Dice 0.550 if all labels are wrong"
        in shown
    )


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 drawn slice of 1 case, 1 step in 3 s"), (2, "2 drawn slices of 2 cases, 2 steps in 3 s")],
)
def test_a_training_of_one_step_is_told_in_the_singular(capsys, count, words):
    models = [{"plan": {"network": "unet", "role": "3d"}, "iterations": count}]
    facts = {"run": "r", "models": models, "slices": count, "cases": ["a"] * count, "seconds": 3.0, "device": "cpu"}
    show_training({**facts, "validation_dice": None, "corrected_dice": None, "notes": []})
    assert f"unet (3d) trained on {words} on cpu." in capsys.readouterr().out


def test_a_dice_in_words_has_a_second_figure_only_where_it_differs():
    assert dice_range(0.87, 0.55) == "0.550 to 0.870"
    assert dice_range(0.87, 0.869) == dice_range(0.87, None) == "0.870"
    assert dice_range(None, None) == ""
    assert "inside the drawn range" in dice_sentences(0.87, None)
    assert "0.55" not in dice_sentences(0.87, None)
    assert "not measured" in dice_sentences(None, None)
