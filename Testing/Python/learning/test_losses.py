from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceLoss

from SparseAnnotateLib.learning.losses import SparseDiceCELoss

CLASSES = 3


def problem(seed, supervised_share=0.3):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, 4, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, (2, 1, 4, 5, 6), generator=generator)
    supervised = torch.rand(2, 1, 4, 5, 6, generator=generator) < supervised_share
    return logits, target, supervised


@given(st.integers(0, 50))
def test_undrawn_voxels_change_neither_the_value_nor_the_gradient(seed):
    logits, target, supervised = problem(seed)
    other_logits = torch.where(supervised, logits, torch.full_like(logits, float("nan")))
    other_target = torch.where(supervised, target, (target + 1) % CLASSES)
    values, gradients = [], []
    for x, t in ((logits, target), (logits, other_target), (other_logits, target)):
        leaf = x.clone().requires_grad_()
        value = SparseDiceCELoss()(leaf, t, supervised)
        value.backward()
        values.append(value.item())
        gradients.append(leaf.grad)
    assert values[0] == values[1] == values[2]
    for gradient in gradients:
        assert torch.equal(
            gradient[~supervised.expand_as(gradient)], torch.zeros_like(gradient)[~supervised.expand_as(gradient)]
        )
        assert torch.equal(gradient, gradients[0])
    assert gradients[0].abs().sum() > 0


@given(st.integers(0, 20))
def test_on_a_dense_annotation_it_equals_monai_s_dice_plus_cross_entropy(seed):
    logits, target, _ = problem(seed)
    ours = SparseDiceCELoss(smoothing=1.0)(logits, target, torch.ones_like(target, dtype=torch.bool))
    dice = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    cross_entropy = torch.nn.functional.cross_entropy(logits, target[:, 0])
    assert ours.item() == pytest.approx((dice(logits.float(), target) + cross_entropy).item(), rel=1e-5)


def test_a_sparse_loss_equals_the_dense_one_of_the_drawn_slices_alone():
    logits, target, _ = problem(1)
    supervised = torch.zeros_like(target, dtype=torch.bool)
    supervised[:, :, 2] = True
    everything = torch.ones_like(target[:, :, 2:3], dtype=torch.bool)
    sparse = SparseDiceCELoss()(logits, target, supervised)
    dense = SparseDiceCELoss()(logits[:, :, 2:3], target[:, :, 2:3], everything)
    assert sparse.item() == pytest.approx(dense.item(), rel=1e-6)


def test_an_empty_drawn_slice_teaches_background():
    logits = torch.zeros(1, 2, 1, 4, 4, requires_grad=True)
    target, supervised = torch.zeros(1, 1, 1, 4, 4), torch.ones(1, 1, 1, 4, 4, dtype=torch.bool)
    SparseDiceCELoss()(logits, target, supervised).backward()
    assert (logits.grad[:, 1] > 0).all()


def test_nothing_supervised_gives_zero_and_no_gradient():
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    value = SparseDiceCELoss()(logits, torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_a_perfect_prediction_costs_next_to_nothing():
    target = torch.from_numpy(np.random.default_rng(0).integers(0, CLASSES, (1, 1, 3, 4, 5)))
    logits = 50.0 * torch.nn.functional.one_hot(target[:, 0], CLASSES).movedim(-1, 1).float()
    assert SparseDiceCELoss()(logits, target, torch.ones_like(target, dtype=torch.bool)).item() < 1e-4
