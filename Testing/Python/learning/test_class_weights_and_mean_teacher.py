"""What the settings `class_weights`, `mean_teacher` and `mixup` do to the loss of a base model."""

from __future__ import annotations

import math

import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.learning.training.distributed import Ranks
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.learning.training.supervised_objective import SupervisedObjective
from SparseAnnotateLib.runs import AugmentationSettings, TrainingSettings


def objective_of(cohort, **settings):
    plan = new_plan(cohort, TrainingSettings(**{**QUICK_TRAINING, "loss": "ce", **settings}), ["ball_0"])
    return SupervisedObjective(plan, [], Ranks())


def batch_of(labels=None):
    """Two patches with one drawn slice each."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, 4, 4, 4)
    supervised = torch.zeros(shape, dtype=torch.bool)
    supervised[:, :, 1] = True
    label = torch.randint(0, 3, shape, generator=generator) if labels is None else labels
    return {
        "image": torch.randn(shape, generator=generator),
        "label": label,
        "supervised": supervised,
        "iteration": torch.tensor(0),
    }


def test_class_weights_as_set_weigh_every_voxel_by_its_class(ball_cohort):
    batch, logits = batch_of(), torch.randn(2, 3, 4, 4, 4)
    weights = (0.04, 0.2, 1.0)
    objective = objective_of(ball_cohort, loss="weighted_ce", class_weights=weights)
    expected = torch.nn.functional.cross_entropy(
        logits[:, :, 1].contiguous(), batch["label"][:, 0, 1].contiguous(), torch.tensor(weights)
    )
    assert float(objective.loss(lambda _: logits, batch, 0.0, None)) == pytest.approx(float(expected), rel=1e-5)
    even = objective_of(ball_cohort, loss="weighted_ce", class_weights=(1.0, 1.0, 1.0))
    assert float(even.loss(lambda _: logits, batch, 0.0, None)) != pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("weights", [(1.0, 0.0, 1.0), (-1.0, 1.0, 1.0)])
def test_class_weights_must_be_positive(weights):
    with pytest.raises(BadInputError, match=r"Each of the 'class_weights' .* must be more than 0"):
        TrainingSettings(class_weights=weights)


def test_class_weights_of_another_number_of_structures_are_refused(ball_cohort):
    with pytest.raises(BadInputError, match=r"'class_weights' needs 3 values .*, not 2"):
        objective_of(ball_cohort, class_weights=(1.0, 2.0))


def test_a_mean_teacher_is_agreed_with_on_undrawn_voxels_more_and_more(ball_cohort):
    batch, logits = batch_of(), torch.randn(2, 3, 4, 4, 4)
    objective = objective_of(ball_cohort, mean_teacher=2.0)
    alone = float(objective.loss(lambda _: logits, batch, 1.0, None))
    teacher = torch.randn(2, 3, 4, 4, 4)
    squares = (logits.softmax(1) - teacher.softmax(1)).square().mean(1)
    disagreement = squares[:, [0, 2, 3]].mean()  # the slice 1 is drawn
    for done in (0.0, 0.2, 0.4, 1.0):
        ramp = math.exp(-5 * max(0.0, 1 - done / 0.4) ** 2)
        expected = alone + 2.0 * ramp * float(disagreement)
        assert float(objective.loss(lambda _: logits, batch, done, lambda _: teacher)) == pytest.approx(expected)
    on_drawn = teacher.clone()
    on_drawn[:, :, 1] += 100.0 * torch.randn(2, 3, 4, 4)
    assert float(objective.loss(lambda _: logits, batch, 1.0, lambda _: on_drawn)) == pytest.approx(expected)


def test_no_gradient_flows_into_a_mean_teacher(ball_cohort):
    batch = batch_of()
    student, teacher = (torch.randn(2, 3, 4, 4, 4, requires_grad=True) for _ in range(2))
    objective_of(ball_cohort, mean_teacher=1.0).loss(lambda _: student, batch, 1.0, lambda _: teacher).backward()
    assert teacher.grad is None
    assert student.grad[:, :, 0].any()


def test_mixed_patches_learn_from_the_labels_of_both_by_their_share(ball_cohort):
    objective = objective_of(ball_cohort, augmentation=AugmentationSettings(mixup=1.0))
    labels = torch.zeros(2, 1, 4, 4, 4, dtype=torch.long)
    labels[1] = 1
    batch, seen = batch_of(labels), []
    logits = torch.zeros(2, 3, 4, 4, 4)
    logits[0, 0] = logits[1, 1] = 3.0  # each patch is predicted as its own label

    def forward(image):
        seen.append(image)
        return logits

    loss = float(objective.loss(forward, batch, 0.0, None))
    own, other = batch["image"], batch["image"].flip(0)
    share = float(((seen[0] - other) / (own - other)).median())
    assert 0.0 < share < 1.0
    torch.testing.assert_close(seen[0], share * own + (1 - share) * other, atol=1e-4, rtol=1e-4)
    agreeing, differing = (
        float(torch.nn.functional.cross_entropy(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([value])))
        for value in (0, 1)
    )
    assert loss == pytest.approx(share * agreeing + (1 - share) * differing, rel=1e-3)
