"""Structures that a drawn slice says nothing about are learned neither as present nor as absent there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from small_volumes import QUICK_TRAINING, ball, noisy_image
from SparseAnnotateLib.core import Cohort, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.core.images import read_labels
from SparseAnnotateLib.learning.data.patches import PatchSampler, Placing, extract_patch
from SparseAnnotateLib.learning.data.training_cases import TrainingCase, training_cases
from SparseAnnotateLib.learning.exchange.nnunet import export_nnunet_dataset, import_nnunet_dataset
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.training import validation
from SparseAnnotateLib.learning.training.losses import SparseLoss, merged
from SparseAnnotateLib.learning.training.planning import new_plan
from SparseAnnotateLib.runs import LOSSES, TrainingSettings
from SparseAnnotateLib.worker import requests

SHAPE = (24, 28, 32)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
NAMES = {1: "shell", 2: "kernel"}
OLD = (2, 10, 18)  # marked before there was a kernel
CLASSES = 4
SETS = ((1,), (2, 3))


def reference() -> np.ndarray:
    labels = ball(SHAPE, 9)
    labels[ball(SHAPE, 5, (12, 14, 9)) > 0] = 2
    return labels


def annotation(old: tuple[str, ...] = ("shell",)) -> SparseAnnotation:
    labels, ledger = reference(), Ledger()
    for index in range(2, 24, 4):
        if index in OLD:
            labels[index][labels[index] == 2] = 0
        structures = old if index in OLD else tuple(NAMES.values())
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    return SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """'partly', whose older slices do not speak for the kernel, and 'shells', of which nothing else is known."""
    made = Cohort.create(tmp_path / "cohort", "cohort", NAMES)
    for seed, name in enumerate(("partly", "shells")):
        made.add_case(name, noisy_image(reference(), seed), GEOMETRY)
    made.save_annotation("partly", annotation())
    ledger = Ledger()
    for index in (4, 12, 20):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=("shell",))
    labels = np.where(reference() == 1, 1, 0).astype(np.uint8)
    made.save_annotation("shells", SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES))
    return made


def cases_of(cohort: Cohort, folder, fill_weight: float = 0.0) -> list[TrainingCase]:
    return training_cases(
        cohort,
        ["partly", "shells"],
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=folder,
        watch=Watch(),
        fill_weight=fill_weight,
    )


def problem(seed: int):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, 4, 5, 6)
    logits = torch.randn(2, CLASSES, *shape[2:], generator=generator, dtype=torch.float64)
    target = torch.randint(0, CLASSES, shape, generator=generator)
    supervised = torch.rand(shape, generator=generator) < 0.5
    unknown = torch.randint(0, 3, shape, generator=generator) * (target == 0)
    distances = torch.randn(2, CLASSES, *shape[2:], generator=generator)
    return logits, target, supervised, distances, unknown


def loss_named(name: str) -> SparseLoss:
    return SparseLoss(name, torch.tensor([0.2, 1.0, 3.0, 2.0]), None, SETS)


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(seed=st.integers(0, 30), share=st.floats(0.05, 0.95))
@settings(max_examples=10)
def test_moving_probability_between_background_and_unknown_structures_changes_nothing(name, seed, share):
    logits, target, supervised, distances, unknown = problem(seed)
    group = torch.zeros_like(logits, dtype=torch.bool)
    for number, classes in enumerate(SETS, start=1):
        for c in (0, *classes):
            group[:, c] |= (unknown == number)[:, 0]
    group &= supervised
    total = torch.logsumexp(logits.masked_fill(~group, -torch.inf), 1, keepdim=True)
    # The same sum, shared otherwise: `share` for the background, the rest for the others in equal parts.
    count = (group.sum(1, keepdim=True) - 1).clamp_min(1)
    parts = torch.log((1 - share) / count.double()).expand_as(logits).clone()
    parts[:, 0] = float(np.log(share))
    moved = torch.where(group, total + parts, logits)
    values = []
    for x in (logits, moved):
        leaf = x.clone().requires_grad_()
        value = loss_named(name)(leaf, target, supervised, distances, unknown)
        value.backward()
        values.append(value.item())
        # Along that exchange the gradient is zero: it is the softmax within the group times one number for each voxel.
        within = torch.softmax(x.masked_fill(~group, -torch.inf), 1).nan_to_num()
        total_gradient = torch.where(group, leaf.grad, 0.0).sum(1, keepdim=True)
        expected = within * total_gradient
        assert torch.allclose(torch.where(group, leaf.grad, 0.0), expected, atol=1e-6)
        assert torch.isfinite(leaf.grad).all()
    assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_without_unknown_structures_the_loss_is_the_same(name):
    logits, target, supervised, distances, unknown = problem(7)
    plain = SparseLoss(name, torch.tensor([0.2, 1.0, 3.0, 2.0]))(logits, target, supervised, distances)
    assert torch.allclose(
        loss_named(name)(logits, target, supervised, distances, torch.zeros_like(unknown)), plain, rtol=1e-6
    )
    assert not torch.equal(loss_named(name)(logits, target, supervised, distances, unknown), plain)


def test_an_unknown_structure_is_not_pushed_away_and_one_that_is_decided_is():
    logits = torch.zeros(1, CLASSES, 1, 1, 1).requires_grad_()
    background = torch.zeros(1, 1, 1, 1, 1, dtype=torch.long)
    everywhere = torch.ones(1, 1, 1, 1, 1, dtype=torch.bool)
    for number, classes in ((1, {1}), (2, {2, 3})):
        logits.grad = None
        loss_named("ce")(logits, background, everywhere, None, torch.full_like(background, number)).backward()
        gradient = logits.grad.flatten().tolist()
        for c in (1, 2, 3):
            assert (gradient[c] < 0) == (c in classes), "a descent raises what may be there and lowers what is not"
    value = torch.tensor([[0.3, -1.0, 2.0, 0.5]])
    both, truth = merged(value, torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[False, True, False, True]]))
    assert torch.softmax(both, 1)[0, 0] == pytest.approx(torch.softmax(value, 1)[0, [0, 1, 3]].sum().item())
    assert truth.tolist() == [[1, 0, 0, 0]]


def test_patches_carry_what_is_unknown(cohort, tmp_path):
    partly, shells = cases_of(cohort, tmp_path / "labels")
    assert partly.unknown_sets == shells.unknown_sets == ((2,),)
    for case, drawn in ((partly, OLD), (shells, (4, 12, 20))):
        patch = extract_patch(case, [0, 0, 0], SHAPE)
        where = np.zeros(SHAPE, bool)
        where[list(drawn)] = True
        where &= case.labels == 0
        assert np.array_equal(patch["unknown"][0] > 0, where)
        assert patch["supervised"][0][where].all(), "that the shell is absent is learned"
    placing = Placing(0.0, {0: 1.0}, 0.0, is_centered=True)
    sampler = PatchSampler([partly], (3, 3, 3), placing, 0)
    for number in range(40):
        arrays = sampler.patches(0, [number])[0].arrays
        centre = (0, 1, 1, 1)
        if arrays["supervised"][centre] and arrays["label"][centre] == 0:
            assert not arrays["unknown"][centre], "no patch is placed on background that may be something else"


def test_slices_are_compared_for_the_structures_that_they_decide(cohort, tmp_path, monkeypatch):
    partly, _shells = cases_of(cohort, tmp_path / "labels")
    held_out = tuple((0, index) for index in OLD)
    case = replace(partly, slices=(), held_out=held_out)
    monkeypatch.setattr(
        validation, "_predicted_slice", lambda model, case, axis, index, watch, weights: reference()[index]
    )
    model = type("Model", (), {"class_count": 3, "network": torch.nn.Identity()})
    slices = [(case, s) for s in held_out]
    assert validation.dice_on_slices(model, slices, Watch()) == 1.0
    complete = replace(case, unknown_path=None)
    assert validation.dice_on_slices(model, [(complete, s) for s in held_out], Watch()) < 0.7


def test_fills_of_unknown_structures_are_learned_with_their_confidence(cohort, tmp_path):
    requests.fill(requests.FillRequest(str(cohort.folder), method="random_walk"), Watch())
    partly, _shells = cases_of(cohort, tmp_path / "labels", 0.5)
    fill = read_labels(cohort.fill_path("partly"), GEOMETRY)
    kernel = np.zeros(SHAPE, bool)
    kernel[list(OLD)] = fill[list(OLD)] == 2
    assert kernel.any()
    patch = extract_patch(partly, [0, 0, 0], SHAPE)
    assert (patch["label"][0][kernel] == 2).all()
    assert not patch["unknown"][0][kernel].any()
    assert (patch["supervised"][0][kernel] < 0.5).all()
    assert (patch["supervised"][0][kernel] > 0).all()
    others = np.zeros(SHAPE, bool)
    others[list(OLD)] = True
    assert (patch["supervised"][0][others & ~kernel] == 1).all()


def test_what_a_fill_says_of_unknown_structures_is_neither_scored_nor_drawn_for_the_final_model(cohort, tmp_path):
    partly = cohort.annotation("partly")
    not_shell = np.flatnonzero((reference() == 2) & ~partly.supervised_mask())[:20]
    cohort.add_correction("partly", Stroke(not_shell, 1, False))
    requests.fill(requests.FillRequest(str(cohort.folder), method="random_walk"), Watch())
    case, _shells = cases_of(cohort, tmp_path / "labels", 0.5)
    fill = read_labels(cohort.fill_path("partly"), GEOMETRY)
    guessed = np.zeros(SHAPE, bool)
    guessed[list(OLD)] = fill[list(OLD)] == 2
    guessed.reshape(-1)[not_shell] = fill.reshape(-1)[not_shell] == 2
    assert guessed[list(OLD)].any()
    assert guessed.reshape(-1)[not_shell].any()
    known = GEOMETRY.to_standard_order(cohort.annotation("partly").supervised_mask() & ~guessed)
    final = replace(case, weights_path=None)
    np.testing.assert_array_equal(extract_patch(final, (0, 0, 0), SHAPE)["supervised"][0], known)
    tally = validation.Tally(3)
    tally.add(fill[OLD[1]], case, 0, OLD[1])
    assert tally.counts[0].all()
    assert not tally.counts[1].any()


def test_the_plan_says_what_is_unknown(cohort):
    notes = " ".join(new_plan(cohort, TrainingSettings(**QUICK_TRAINING), ["partly", "shells"]).notes)
    assert "'partly': 'kernel' is unknown on 3 drawn slices (axial 2, axial 10, axial 18)" in notes
    assert "Nothing is known of 'kernel' in these cases" in notes
    assert "'shells'" in notes


@pytest.mark.parametrize("change", [{"loss": "boundary"}, {"pseudo_label_target": "sets"}])
def test_training_and_prediction_keep_what_was_decided(cohort, change):
    wanted = {
        **QUICK_TRAINING,
        "recipe": "self_training",
        "iterations": 3,
        "patch_2d": (32, 32),
        "drawn_weight": 4.0,
        "validation_share": 0.0,
        **change,
    }
    requests.train(requests.TrainRequest(str(cohort.folder), run="r", settings=TrainingSettings(**wanted)), Watch())
    labels = Predictor(cohort, "r", "cpu").labels("partly")
    drawn = annotation()
    restored = labels.copy()
    drawn.restore_drawn(restored)
    assert np.array_equal(labels, restored)
    assert not (labels[list(OLD)] == 1)[drawn.labels[list(OLD)] == 0].any()


def test_a_model_finds_the_structure_on_slices_that_do_not_speak_for_it(cohort):
    wanted = {**QUICK_TRAINING, "iterations": 60, "validate_every": 60, "checkpoint_every": 60, "seed": 1}
    requests.train(requests.TrainRequest(str(cohort.folder), run="r", settings=TrainingSettings(**wanted)), Watch())
    found = Predictor(cohort, "r", "cpu").labels("shells")
    kernel = reference() == 2
    overlap = 2 * np.count_nonzero((found == 2) & kernel) / (np.count_nonzero(found == 2) + np.count_nonzero(kernel))
    assert overlap > 0.5, "in a case of which nothing but the shell is known"


def test_nnunet_gets_no_decision_that_was_not_made_and_the_ledger_comes_back(cohort, tmp_path):
    folder = export_nnunet_dataset(cohort, tmp_path / "Dataset501_parts", ["partly"], Watch())
    exported = read_labels(folder / "labelsTr" / "partly.nii.gz", GEOMETRY)
    drawn = annotation()
    ignored = max(NAMES) + 1
    assert np.array_equal(exported != ignored, drawn.decided_mask())
    assert not (exported[list(OLD)] == 0).any()
    back, _warnings = import_nnunet_dataset(folder, tmp_path / "back", Watch())
    read = back.annotation("partly")
    assert read.ledger.entry(Plane.AXIAL, 10).structures == ("shell",)
    assert np.array_equal(read.decided_mask(), drawn.decided_mask())
    assert np.array_equal(read.drawn_labels(), drawn.drawn_labels())
