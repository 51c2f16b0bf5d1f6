"""How much each view counts: less than by default only where held-out slices show for sure that it is worse.

Also how good their average is.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.learning.prediction.view_averages import mean_pseudo_label, mean_view, set_weights, sets_of
from SparseAnnotateLib.learning.prediction.volume_prediction import most_likely
from SparseAnnotateLib.learning.training import view_scores as scoring
from SparseAnnotateLib.learning.training.validation import Tally
from SparseAnnotateLib.learning.training.view_scores import ViewScores, view_scores

VIEWS = ("axial", "coronal", "sagittal", "3d")
DEFAULT = pytest.approx({"axial": 1 / 3, "coronal": 1 / 3, "sagittal": 1 / 3, "3d": 1.0})


def scores(dice: dict[str, list[float]], size: int = 1000) -> ViewScores:
    """Of one structure that the truth and each view show with `size` voxels on every slice."""
    return ViewScores({name: np.array([[[2 * d * size, 2 * size]] for d in values]) for name, values in dice.items()})


def test_without_a_difference_a_3d_model_counts_as_much_as_all_views_of_a_2d_model():
    assert scores({view: [0.8, 0.9, 0.7] for view in VIEWS}).weights() == DEFAULT
    assert scores({view: [0.8, 0.9] for view in VIEWS[:3]}).weights() == pytest.approx(dict.fromkeys(VIEWS[:3], 1.0))


def test_few_slices_that_differ_at_random_change_nothing():
    """As measured with four slices: the best view there was not the best one on other volumes."""
    found = scores(
        {
            "axial": [0.89, 0.86, 0.62, 0.90],
            "coronal": [0.89, 0.91, 0.32, 0.89],
            "sagittal": [0.90, 0.39, 0.64, 0.91],
            "3d": [0.88, 0.85, 0.27, 0.94],
        }
    )
    assert found.weights() == DEFAULT
    assert found.dice["axial"] == pytest.approx(0.8175)


def test_a_view_that_is_worse_on_every_slice_counts_less():
    good = np.linspace(0.85, 0.95, 12)
    found = scores(
        {"axial": good - 0.3, "coronal": good - 0.1 + 0.002 * np.cos(range(12)), "sagittal": good, "3d": good}
    )
    weights = found.weights()
    assert weights["3d"] == 1.0
    assert weights["sagittal"] == pytest.approx(1 / 3)
    assert weights["axial"] == pytest.approx(np.exp(-0.3 / 0.05) / 3)
    # A little less than the measured difference counts, as that is not sure to the last voxel.
    assert np.exp(-0.1 / 0.05) / 3 < weights["coronal"] < np.exp(-0.095 / 0.05) / 3


def test_more_slices_with_the_same_differences_make_them_sure():
    one = {"axial": [0.7, 0.9, 0.8], "coronal": [0.8, 0.8, 0.8], "sagittal": [0.8, 0.8, 0.8], "3d": [0.85, 0.95, 0.9]}
    assert scores(one).weights() == DEFAULT
    assert scores({name: values * 8 for name, values in one.items()}).weights()["axial"] < 0.3 * 1 / 3


def test_voxels_on_slices_without_the_structure_count_as_errors():
    truth_only = np.array([[[1800.0, 2000.0]]] * 10)
    wrong = np.concatenate([truth_only, [[[0.0, 800.0]]] * 10])  # 800 voxels on each of ten empty slices
    right = np.concatenate([truth_only, [[[0.0, 0.0]]] * 10])
    weights = ViewScores({"axial": wrong, "coronal": right, "sagittal": right, "3d": right}).weights()
    assert weights["axial"] < 0.25 * 1 / 3
    assert weights["coronal"] == pytest.approx(1 / 3)


def test_a_single_slice_tells_nothing_of_differences():
    assert scores({"axial": [0.1], "coronal": [0.9], "sagittal": [0.9], "3d": [0.9]}).weights() == DEFAULT


def test_the_average_is_right_where_only_one_view_in_three_is_wrong(monkeypatch):
    truth = np.zeros((4, 6), dtype=np.uint8)
    truth[1:3] = 1
    views = np.stack([truth] * 3)
    for view, columns in enumerate((slice(0, 2), slice(2, 4), slice(4, 6))):
        views[view, 1:3, columns] = 0
    case = SimpleNamespace(labels=truth[None], unknown_path=None, decided_on=lambda _axis, _index: truth >= 0)

    def found(sure: tuple[float, float, float], count: int) -> ViewScores | None:
        given = {name: probabilities(view, p) for name, view, p in zip(VIEWS[:3], views, sure, strict=True)}
        monkeypatch.setattr(scoring, "_views_of_slice", lambda *_given: given)
        return view_scores([SimpleNamespace(class_count=2)], [(case, (0, 0))] * count, Watch())

    equal = found((0.78, 0.78, 0.78), 2)
    assert equal.dice == pytest.approx(dict.fromkeys(VIEWS[:3], 0.8))
    assert equal.average_dice == 1.0
    # Two views that are not sure count less than one that is.
    assert found((0.98, 0.55, 0.55), 1).average_dice == pytest.approx(0.8)


def probabilities(classes: np.ndarray, sure: float) -> torch.Tensor:
    """(2, rows, columns): `sure` of each of these classes."""
    return torch.from_numpy(np.stack([np.where(classes == c, sure, 1 - sure) for c in range(2)]).astype(np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_with_more_than_two_classes_the_views_are_averaged_as_in_a_prediction(axis, monkeypatch):
    """Of a view that is unsure, its second class counts, too."""
    shape, class_count = (40, 18, 20), 4
    draw = np.random.default_rng(axis)
    truth = draw.integers(0, class_count, shape).astype(np.uint8)
    logits = {name: torch.from_numpy(draw.normal(size=(class_count, *shape)).astype(np.float32)) for name in VIEWS[:2]}
    hit = torch.nn.functional.one_hot(torch.from_numpy(truth).long(), class_count).movedim(-1, 0).float()
    whole = {name: (logit + hit).softmax(0) for name, logit in logits.items()}

    class Predicted:
        view_names = VIEWS[:2]

        def __init__(self, *_given):
            pass

        def views(self, start, stop):
            return {name: view[:, start:stop] for name, view in whole.items()}

        def slabs(self, compute):
            return [(start, start + 8, compute(start, start + 8)) for start in range(0, shape[0], 8)]

    monkeypatch.setattr(scoring, "VolumePrediction", Predicted)
    monkeypatch.setattr(scoring, "slab_around", lambda *_given: ((slice(None),) * 3, 0))
    every = np.ones([n for a, n in enumerate(shape) if a != axis], dtype=bool)
    case = SimpleNamespace(
        labels=truth, shape=shape, image=truth, unknown_path=None, decided_on=lambda _axis, _index: every
    )
    slices = [(case, (axis, index)) for index in (3, 8, 15)]
    found = view_scores([SimpleNamespace(class_count=class_count, role="2d", patch=(8, 8))], slices, Watch())
    tally = Tally(class_count)
    joint = most_likely(mean_view(whole, found.weights()))
    for _case, (_axis, index) in slices:
        tally.add(joint.take(index, axis), case, axis, index)
    assert found.average_dice == pytest.approx(tally.dice(), abs=2e-3)
    sets = mean_pseudo_label(*sets_of(list(whole.values())), class_count, set_weights(VIEWS[:2], found.weights()))
    assert not np.array_equal(most_likely(sets), joint)
