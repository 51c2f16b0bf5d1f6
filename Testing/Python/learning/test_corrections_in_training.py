"""Corrected voxels are learned from as drawn ones are, and only as far as something is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from SparseAnnotateLib.core import Ledger, Watch
from SparseAnnotateLib.core.corrections import Stroke
from SparseAnnotateLib.learning.data.patches import PatchSampler, Placing, extract_patch
from SparseAnnotateLib.learning.data.training_cases import training_cases
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.worker import requests


def corrected(cohort) -> tuple[str, np.ndarray, np.ndarray]:
    """A case with one voxel that is known to be label 1, and one that is known not to be: name, and the voxels."""
    name = cohort.annotated_cases()[0]
    annotation = cohort.annotation(name)
    undrawn = np.flatnonzero(~annotation.supervised_mask())
    inside, outside = undrawn[10:12], undrawn[30:33]
    strokes = (Stroke(inside, 1, True), Stroke(outside, 1, False))
    for stroke in strokes:
        cohort.add_correction(name, stroke)
    return name, inside, outside


def cases(cohort, folder, fill_weight=0.0):
    return training_cases(
        cohort,
        cohort.annotated_cases(),
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=folder,
        watch=Watch(),
        fill_weight=fill_weight,
    )


def mask(cohort, name: str, voxels: np.ndarray) -> np.ndarray:
    geometry = cohort.geometry(name)
    found = np.zeros(geometry.shape, bool)
    found.reshape(-1)[voxels] = True
    return geometry.to_standard_order(found)


def test_corrected_voxels_are_supervised_and_what_is_not_known_of_them_is_unknown(ball_cohort, tmp_path):
    before = ball_cohort.annotation(ball_cohort.annotated_cases()[0]).supervised_mask()
    name, inside, outside = corrected(ball_cohort)
    first = next(case for case in cases(ball_cohort, tmp_path) if case.name == name)
    patch = extract_patch(first, (0, 0, 0), first.labels.shape)
    there, not_there = mask(ball_cohort, name, inside), mask(ball_cohort, name, outside)
    expected = ball_cohort.geometry(name).to_standard_order(before) | there | not_there
    np.testing.assert_array_equal(patch["supervised"][0], expected)
    assert (patch["label"][0][there] == 1).all()
    assert (patch["label"][0][not_there] == 0).all()
    assert (first.unknown_sets[0]) == (2,), "what is not label 1 may be label 2"
    np.testing.assert_array_equal(patch["unknown"][0] > 0, not_there)


def test_the_gradient_of_a_voxel_that_is_not_a_structure_lowers_that_structure_only(ball_cohort, tmp_path):
    name, _inside, outside = corrected(ball_cohort)
    case = next(case for case in cases(ball_cohort, tmp_path) if case.name == name)
    patch = {k: torch.as_tensor(v[None]) for k, v in extract_patch(case, (0, 0, 0), case.labels.shape).items()}
    torch.manual_seed(0)
    logits = torch.randn(1, 3, *case.labels.shape, requires_grad=True)
    loss = SparseLoss("ce", unknown_sets=case.unknown_sets)
    loss(logits, patch["label"], patch["supervised"], unknown=patch["unknown"]).backward()
    gradient = logits.grad[0][:, torch.as_tensor(mask(ball_cohort, name, outside).copy())]
    assert (gradient[1] > 0).all()
    assert (gradient[0] < 0).all()
    assert (gradient[2] < 0).all(), "together with the background"


def test_fills_with_corrections_can_be_learned_from(ball_cohort, tmp_path):
    name, inside, outside = corrected(ball_cohort)
    requests.fill(requests.FillRequest(str(ball_cohort.folder), method="shape"), Watch())
    case = next(case for case in cases(ball_cohort, tmp_path, 0.5) if case.name == name)
    patch = extract_patch(case, (0, 0, 0), case.labels.shape)
    assert (patch["supervised"][0][mask(ball_cohort, name, inside)] == 1).all()
    assert (patch["label"][0][mask(ball_cohort, name, inside)] == 1).all()
    assert (patch["label"][0][mask(ball_cohort, name, outside)] != 1).all()


def test_of_a_cohort_with_one_structure_what_is_not_it_is_background(ball_cohort):
    name, inside, outside = corrected(ball_cohort)
    annotation = replace(ball_cohort.annotation(name), names={1: "ball"})
    assert annotation.unknown_structures() is None
    decided = annotation.decided_mask().reshape(-1)
    assert decided[inside].all()
    assert decided[outside].all()
    assert (annotation.drawn_labels().reshape(-1)[outside] == 0).all()


def test_a_correction_of_an_undecided_voxel_counts(ball_cohort, tmp_path):
    name = ball_cohort.annotated_cases()[0]
    annotation = ball_cohort.annotation(name)
    inside = np.flatnonzero(annotation.supervised_mask())[:2]
    undecided = np.zeros(annotation.geometry.shape, bool)
    undecided.reshape(-1)[inside] = True
    ball_cohort.save_annotation(name, replace(annotation, undecided=undecided))
    ball_cohort.add_correction(name, Stroke(inside[:1], 1, True))
    requests.fill(requests.FillRequest(str(ball_cohort.folder), method="shape"), Watch())
    for weight in (0.0, 0.5):
        case = next(case for case in cases(ball_cohort, tmp_path / str(weight), weight) if case.name == name)
        patch = extract_patch(case, (0, 0, 0), case.labels.shape)
        assert (patch["supervised"][0][mask(ball_cohort, name, inside[:1])] == 1).all()
        assert (patch["supervised"][0][mask(ball_cohort, name, inside[1:])] == 0).all()


def test_after_a_stroke_that_says_what_a_voxel_is_not_fills_can_still_be_learned_from(ball_cohort, tmp_path):
    ball_cohort.set_labels({1: "one", 2: "two", 3: "never drawn"})
    corrected(ball_cohort)
    requests.fill(requests.FillRequest(str(ball_cohort.folder), method="shape"), Watch())
    assert cases(ball_cohort, tmp_path, 0.5)


def corrected_on_a_drawn_slice(cohort, folder):
    """A case whose slices speak for one structure, with a correction of another on one of them; and where that is."""
    name = cohort.annotated_cases()[0]
    before = cohort.annotation(name)
    entries = tuple(replace(entry, structures=("shell",)) for entry in before.ledger.entries)
    cohort.save_annotation(name, replace(before, ledger=Ledger(entries)))
    voxels = np.flatnonzero(before.supervised_mask() & (before.labels == 2))[:5]
    cohort.add_correction(name, Stroke(voxels, 2, True))
    case = next(case for case in cases(cohort, folder) if case.name == name)
    return case, mask(cohort, name, voxels)


def test_corrections_on_a_slice_that_is_held_out_are_not_learned_from(ball_cohort, tmp_path):
    """A slice that speaks for one structure may have corrections of another."""
    case, there = corrected_on_a_drawn_slice(ball_cohort, tmp_path)
    (index,) = np.unique(np.argwhere(there)[:, 0])
    assert (extract_patch(case, (0, 0, 0), case.shape)["supervised"][0][there]).all()
    left = tuple(s for s in case.slices if s != (0, index))
    case = replace(case, slices=left, held_out=((0, int(index)),))
    assert not extract_patch(case, (0, 0, 0), case.shape)["supervised"][0][index].any()


@pytest.mark.parametrize("placing", [Placing(), Placing(class_shares={0: 0.5, 1: 0.5}), Placing(foreground_share=0.0)])
def test_slices_through_corrected_voxels_are_learned_from(ball_cohort, tmp_path, placing):
    """All drawn slices are axial, and so are the patches: the corrections lie in none of them."""
    ball_cohort.set_labels({1: "shell"})
    name, inside, outside = corrected(ball_cohort)
    case = next(case for case in cases(ball_cohort, tmp_path) if case.name == name)
    sampler = PatchSampler([case], case.shape[1:], placing, seed=0, planes=(0,))
    wanted = np.argwhere(mask(ball_cohort, name, np.concatenate([inside, outside])))[:, 0]
    image = case.image.astype(np.float32)
    seen = {
        index
        for patch in sampler.patches(0, range(200))
        for index in set(wanted.tolist())
        if np.array_equal(patch.arrays["image"][0], image[index])
    }
    assert seen == set(wanted.tolist())


def test_no_patch_is_placed_on_corrections_of_a_held_out_slice(ball_cohort, tmp_path):
    """A patch of such a slice would show nothing to learn."""
    case, there = corrected_on_a_drawn_slice(ball_cohort, tmp_path)
    (index,) = np.unique(np.argwhere(there)[:, 0])
    held_out = ((0, int(index)),)
    by_class = {c: tuple(s for s in slices if s not in held_out) for c, slices in case.by_class.items()}
    left = tuple(s for s in case.slices if s not in held_out)
    case = replace(case, slices=left, held_out=held_out, by_class={c: s for c, s in by_class.items() if s})
    for placing in (Placing(), Placing(foreground_share=0.0)):
        sampler = PatchSampler([case], case.shape[1:], placing, seed=0, planes=(0,))
        assert all(patch.arrays["supervised"].any() for patch in sampler.patches(0, range(200)))


def test_a_structure_that_only_corrections_show_gets_as_many_patches_as_others(ball_cohort, tmp_path):
    """As while learning from a growing annotation, where its first voxels may be corrections."""
    name = ball_cohort.annotated_cases()[0]
    annotation = ball_cohort.annotation(name)
    labels = np.where(annotation.labels == 1, 1, 0).astype(np.uint8)
    ball_cohort.save_annotation(name, replace(annotation, labels=labels))
    corrected_voxels = np.flatnonzero(~annotation.supervised_mask())[:2]
    ball_cohort.add_correction(name, Stroke(corrected_voxels, 2, True))
    case = next(case for case in cases(ball_cohort, tmp_path) if case.name == name)
    assert 2 not in case.by_class
    sampler = PatchSampler([case], (1, 1, 1), Placing(foreground_share=1.0), seed=0)
    shown = [int(patch.arrays["label"].item()) for patch in sampler.patches(0, range(200))]
    assert shown.count(1) + shown.count(2) == 200
    assert 60 < shown.count(2) < 140


def test_corrected_voxels_are_searched_for_once_however_many_structures_there_are(ball_cohort, tmp_path, monkeypatch):
    """There may be millions of them, and a sampler is made again after each slice that is drawn while it learns."""
    corrected(ball_cohort)
    case = cases(ball_cohort, tmp_path)[0]
    reads: list[str] = []
    plain = type(case).labels.fget
    monkeypatch.setattr(type(case), "labels", property(lambda one: reads.append(one.name) or plain(one)))
    counts = []
    for structures in (2, 50):
        many = replace(case, by_class=dict.fromkeys(range(1, structures + 1), case.slices))
        reads.clear()
        PatchSampler([many], (4, 4, 4), Placing(), seed=0)
        counts.append(len(reads))
    assert counts[0] == counts[1]
