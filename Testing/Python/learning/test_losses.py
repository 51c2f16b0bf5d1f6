"""Every loss over supervised voxels only, and equal to MONAI's own on a dense mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import BoundaryLoss, DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss

from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.data.training_cases import slice_distances
from SparseAnnotateLib.learning.training import losses as formulas
from SparseAnnotateLib.learning.training.losses import SparseLoss, SupervisedVoxels
from SparseAnnotateLib.runs import LOSSES, TrainingSettings

CLASSES = 3
CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


def problem(seed, supervised_share=0.3, shape=(4, 5, 6)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (2, 1, *shape), generator=generator)
    supervised = torch.rand(2, 1, *shape, generator=generator) < supervised_share
    distances = torch.randn(2, CLASSES, *shape, generator=generator)
    return logits, target, supervised, distances


def loss_named(name):
    return SparseLoss(name, CLASS_WEIGHTS if name == "weighted_ce" else None)


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(seed=st.integers(0, 50))
@settings(max_examples=15)
def test_undrawn_voxels_change_neither_the_value_nor_the_gradient(name, seed):
    logits, target, supervised, distances = problem(seed)
    generator = torch.Generator().manual_seed(seed + 1000)
    random = torch.randn(logits.shape, generator=generator, dtype=logits.dtype) * 100
    random_target = torch.randint(0, CLASSES, target.shape, generator=generator)
    nan = torch.full_like(logits, float("nan"))
    values, gradients = [], []
    for x, t, d in (
        (logits, target, distances),
        (torch.where(supervised, logits, random), target, distances),
        (logits, torch.where(supervised, target, random_target), distances),
        (torch.where(supervised, logits, nan), target, torch.where(supervised, distances, nan.float())),
    ):
        leaf = x.clone().requires_grad_()
        value = loss_named(name)(leaf, t, supervised, d)
        value.backward()
        values.append(value.item())
        gradients.append(leaf.grad)
    assert len(set(values)) == 1
    undrawn = ~supervised.expand_as(logits)
    for gradient in gradients:
        assert torch.equal(gradient[undrawn], torch.zeros_like(gradient[undrawn]))
        assert torch.equal(gradient, gradients[0])
    assert gradients[0].abs().sum() > 0


def everywhere(target):
    return torch.ones_like(target, dtype=torch.bool)


def dense_voxels(logits, target, distances=None):
    """All voxels of a batch, for a formula with MONAI's smoothing."""
    flat = logits.movedim(1, -1).reshape(-1, CLASSES).float()
    apart = distances.movedim(1, -1).reshape(-1, CLASSES) if distances is not None else None
    truth = torch.nn.functional.one_hot(target.reshape(-1), CLASSES).to(flat)
    return SupervisedVoxels(flat, truth, torch.ones(len(flat)), apart, lambda t: t)


COMMON = {"include_background": False, "softmax": True, "to_onehot_y": True, "batch": True}


@pytest.mark.parametrize("seed", range(5))
def test_on_a_dense_mask_each_equals_monai_s_own(seed):
    logits, target, _, _ = problem(seed)
    logits, mask = logits.float(), everywhere(target)
    smooth = {"smooth_nr": 1.0, "smooth_dr": 1.0}
    entropy = torch.nn.functional.cross_entropy(logits, target[:, 0])
    weighted = torch.nn.functional.cross_entropy(logits, target[:, 0], weight=CLASS_WEIGHTS)
    dice = DiceLoss(**COMMON, **smooth)(logits, target)
    expected = {
        "ce": entropy,
        "weighted_ce": weighted,
        "dice_ce": dice + entropy,
        "dice_focal": dice + FocalLoss(to_onehot_y=True, use_softmax=True)(logits, target),
        "tversky": TverskyLoss(**COMMON, **smooth, alpha=0.3, beta=0.7)(logits, target),
    }
    for name, value in expected.items():
        assert loss_named(name)(logits, target, mask).item() == pytest.approx(value.item(), rel=1e-5), name
    generalised = GeneralizedDiceLoss(**COMMON, smooth_nr=0.0, smooth_dr=0.0)(logits, target)
    ours = formulas.generalised_dice(dense_voxels(logits, target), smoothing=0.0)
    assert ours.item() == pytest.approx(generalised.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_boundary_loss_of_a_drawn_slice_equals_monai_s_own_in_2d(seed):
    labels = np.zeros((16, 18), np.uint8)
    labels[3 + seed : 9, 4:12] = 1
    labels[10:13, 5:9] = 2
    logits = torch.randn(1, CLASSES, 16, 18, generator=torch.Generator().manual_seed(seed))
    target = torch.from_numpy(labels)[None, None].long()
    distances = torch.from_numpy(slice_distances(labels, CLASSES).astype(np.float32))[None]
    ours = formulas.boundary(dense_voxels(logits, target, distances))
    monai = BoundaryLoss(include_background=False, softmax=True, to_onehot_y=True)(logits, target)
    assert ours.item() == pytest.approx(monai.item(), rel=1e-3)


def test_distances_are_those_within_the_slice():
    labels = np.zeros((5, 7), np.uint8)
    labels[:, 2:5] = 1
    distances = slice_distances(labels, 3)
    np.testing.assert_array_equal(distances[1], np.tile([2, 1, 0, -1, 0, 1, 2], (5, 1)))
    assert not distances[2].any()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_sparse_loss_equals_the_dense_one_of_the_drawn_slices_alone(name):
    logits, target, _, distances = problem(1)
    supervised = torch.zeros_like(target, dtype=torch.bool)
    supervised[:, :, 2] = True
    sparse = loss_named(name)(logits, target, supervised, distances)
    alone = [tensor[:, :, 2:3] for tensor in (logits, target, distances)]
    dense = loss_named(name)(alone[0], alone[1], everywhere(alone[1]), alone[2])
    assert sparse.item() == pytest.approx(dense.item(), rel=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_an_empty_drawn_slice_teaches_background(name):
    logits = torch.zeros(1, CLASSES, 1, 4, 4, requires_grad=True)
    target, distances = torch.zeros(1, 1, 1, 4, 4, dtype=torch.long), torch.zeros(1, CLASSES, 1, 4, 4)
    loss_named(name)(logits, target, everywhere(target), distances).backward()
    assert (logits.grad[:, 1:] > 0).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nothing_supervised_gives_zero_and_no_gradient(name):
    logits = torch.randn(1, CLASSES, 2, 2, 2, requires_grad=True)
    target = torch.zeros(1, 1, 2, 2, 2)
    value = loss_named(name)(logits, target, target > 0, torch.zeros(1, CLASSES, 2, 2, 2))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"boundary"}))
def test_a_perfect_prediction_costs_next_to_nothing(name):
    target = torch.from_numpy(np.random.default_rng(0).integers(0, CLASSES, (1, 1, 3, 4, 5)))
    logits = 50.0 * torch.nn.functional.one_hot(target[:, 0], CLASSES).movedim(-1, 1).float()
    assert loss_named(name)(logits, target, everywhere(target)).item() < 1e-4


def test_an_unknown_loss_is_refused():
    for make in (lambda: SparseLoss("hinge"), lambda: TrainingSettings(loss="hinge")):
        with pytest.raises(BadInputError, match="There is no loss 'hinge'; choose one of dice_ce, ce"):
            make()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_certain_probabilities_are_the_same_target_as_class_indices(name):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    target = torch.randint(0, 3, (2, 1, 4, 5, 6), generator=generator)
    supervised = torch.rand(2, 1, 4, 5, 6, generator=generator) > 0.5
    distances = torch.randn(2, 3, 4, 5, 6, generator=generator)
    certain = torch.nn.functional.one_hot(target[:, 0], 3).movedim(-1, 1).float()
    found = loss_named(name)
    torch.testing.assert_close(
        found(logits, certain, supervised, distances), found(logits, target, supervised, distances)
    )


@pytest.mark.parametrize("name", ["ce", "weighted_ce"])
def test_the_loss_of_probabilities_is_the_mean_over_the_classes_they_stand_for(name):
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    supervised = torch.ones(1, 1, 4, 4, 4, dtype=torch.bool)
    chance = torch.tensor([0.2, 0.5, 0.3])
    mixed = chance.reshape(1, 3, 1, 1, 1).expand_as(logits)
    found = loss_named(name)
    each = torch.stack([found(logits, torch.full((1, 1, 4, 4, 4), value), supervised) for value in range(3)])
    # 'weighted_ce' divides by the weights of the classes.
    weights = chance * CLASS_WEIGHTS if name == "weighted_ce" else chance
    torch.testing.assert_close(found(logits, mixed, supervised), (each * weights).sum() / weights.sum())
