"""Undecided voxels of drawn slices enter neither the loss nor any metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, Plane, SparseAnnotation, Watch
from SparseAnnotateLib.core.images import read_image
from SparseAnnotateLib.learning.data.patches import extract_patch
from SparseAnnotateLib.learning.data.training_cases import slice_distances, training_cases
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training import validation
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests


@pytest.fixture
def partly_decided(ball_cohort):
    """The balls, with half of two drawn slices of the first case undecided, across the structures."""
    annotation = ball_cohort.annotation("ball_0")
    undecided = np.zeros(annotation.geometry.shape, bool)
    undecided[[10, 14], :, :16] = True
    partly = SparseAnnotation(annotation.labels, annotation.ledger, annotation.geometry, undecided)
    ball_cohort.save_annotation("ball_0", partly)
    return ball_cohort


def case_of(cohort, folder, fill_weight=0.0, share=0.0, distances=False):
    names = cohort.annotated_cases()
    return training_cases(
        cohort,
        names,
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=share,
        seed=0,
        folder=folder,
        watch=Watch(),
        fill_weight=fill_weight,
        with_distances=distances,
    )[0]


def whole(case):
    return extract_patch(case, (0, 0, 0), case.labels.shape)


@pytest.mark.parametrize("fill_weight", [0.0, 0.7])
@pytest.mark.parametrize("name", ["ce", "tversky", "dice_ce"])
def test_an_undecided_voxel_changes_neither_the_value_nor_the_gradient(partly_decided, tmp_path, fill_weight, name):
    if fill_weight:
        requests.fill(requests.FillRequest(str(partly_decided.folder), method="shape"), Watch())
    case = case_of(partly_decided, tmp_path / "labels", fill_weight)
    annotation = partly_decided.annotation("ball_0")
    undecided = annotation.geometry.to_standard_order(annotation.undecided)
    patch = whole(case)
    assert (patch["supervised"][0][undecided] == 0).all()
    drawn = annotation.geometry.to_standard_order(annotation.supervised_mask())
    assert (patch["supervised"][0][drawn] == 1).all()
    loss = SparseLoss(name)
    torch.manual_seed(0)
    logits = torch.randn(1, 3, *case.labels.shape)
    supervised = torch.from_numpy(patch["supervised"])[None]
    values, gradients = [], []
    for trial in range(3):
        rng = np.random.default_rng(trial)
        label = patch["label"].copy()
        label[0][undecided] = rng.integers(0, 3, int(undecided.sum()))
        leaf = logits.clone()
        leaf[0][:, torch.from_numpy(undecided.copy())] = float(trial) * 1e3
        leaf.requires_grad_(True)
        value = loss(leaf, torch.from_numpy(label)[None], supervised)
        value.backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    for value, gradient in zip(values, gradients, strict=True):
        assert torch.equal(value, values[0])
        assert not gradient[0][:, torch.from_numpy(undecided.copy())].any()
        assert torch.equal(gradient, gradients[0])
    assert gradients[0].abs().sum() > 0


def test_patches_of_any_place_and_size_leave_undecided_voxels_out(partly_decided, tmp_path):
    case = case_of(partly_decided, tmp_path / "labels")
    expected = whole(case)["supervised"][0]
    assert expected.sum() == 6 * 28 * 32 - 2 * 28 * 16
    rng = np.random.default_rng(0)
    for _ in range(20):
        start = [int(rng.integers(-4, n - 3)) for n in expected.shape]
        size = [int(rng.integers(2, 12)) for _ in range(3)]
        found = extract_patch(case, start, size)["supervised"][0]
        inside = tuple(
            slice(max(0, -s), max(0, min(n, m - s))) for s, n, m in zip(start, size, expected.shape, strict=True)
        )
        there = tuple(
            slice(max(0, s), max(0, min(s + n, m))) for s, n, m in zip(start, size, expected.shape, strict=True)
        )
        np.testing.assert_array_equal(found[inside], expected[there])
        assert found.sum() == expected[there].sum()


def test_held_out_slices_are_compared_where_they_are_decided(partly_decided, tmp_path, monkeypatch):
    case = case_of(partly_decided, tmp_path / "labels")
    partly = [s for s in case.slices if not case.decided_on(*s).all()]
    assert len(partly) == 2
    case = replace(case, slices=(), held_out=tuple(partly))

    def right_where_decided(model, case, axis, index, watch, set_weights):
        layer = case.labels[(slice(None),) * axis + (index,)]
        return np.where(case.decided_on(axis, index), layer, 1)

    monkeypatch.setattr(validation, "_predicted_slice", right_where_decided)
    model = type("Model", (), {"class_count": 3, "network": torch.nn.Identity()})
    assert validation.dice_on_slices(model, [(case, s) for s in partly], Watch()) == 1.0


def test_distances_to_a_boundary_do_not_reach_beyond_what_is_decided():
    labels = np.zeros((5, 12), np.uint8)
    labels[:, 9:] = 1
    decided = np.ones(labels.shape, bool)
    decided[:, 3] = False
    whole_slice, partly = slice_distances(labels, 2), slice_distances(labels, 2, decided)
    assert whole_slice[1, 2, :].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2]
    assert partly[1, 2, :].tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, -1, -2]


def test_a_cohort_with_undecided_voxels_is_learned_from_and_what_was_decided_stays(partly_decided):
    settings = TrainingSettings(**QUICK_TRAINING, loss="boundary", recipe="2d", patch_2d=(32, 32))
    card = train(partly_decided, "r", settings)
    assert card.slices == 12
    predictor = Predictor(partly_decided, "r", "cpu")
    annotation = partly_decided.annotation("ball_0")
    predicted = predictor.labels("ball_0")
    drawn = annotation.supervised_mask()
    np.testing.assert_array_equal(predicted[drawn], annotation.labels[drawn])


def test_a_fill_of_another_decision_is_not_learned_from(partly_decided, tmp_path):
    requests.fill(requests.FillRequest(str(partly_decided.folder), method="shape"), Watch())
    confidence = read_image(partly_decided.fill_confidence_path("ball_0"))[0]
    annotation = partly_decided.annotation("ball_0")
    assert (confidence[annotation.undecided] < 100).all()
    decided = SparseAnnotation.from_slices(annotation.labels, annotation.geometry, Plane.AXIAL, range(2, 24, 4))
    partly_decided.save_annotation("ball_0", decided)
    with pytest.raises(
        BadInputError, match="The fill of case 'ball_0' does not match what is drawn now. Fill it again"
    ):
        case_of(partly_decided, tmp_path / "labels", 0.5)
