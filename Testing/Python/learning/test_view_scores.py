"""How much each view counts: less than by default only where held-out slices show for sure that it is worse.

Also how good their average is.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.learning.training import view_scores as scoring
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
    sure = np.full(views.shape, 200, dtype=np.uint8)
    monkeypatch.setattr(scoring, "_views_of_slice", lambda *_given: (VIEWS[:3], views, sure))
    case = SimpleNamespace(labels=truth[None], unknown_path=None, decided_on=lambda _axis, _index: truth >= 0)
    found = view_scores([SimpleNamespace(class_count=2)], [(case, (0, 0))] * 2, Watch())
    assert found.dice == pytest.approx(dict.fromkeys(VIEWS[:3], 0.8))
    assert found.average_dice == 1.0
    # Two views that are not sure count less than one that is.
    sure[0], sure[1:] = 250, 140
    found = view_scores([SimpleNamespace(class_count=2)], [(case, (0, 0))], Watch())
    assert found.average_dice == pytest.approx(0.8)
