"""Filled voxels as a further source of labels, weighted by their confidence: only if asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from small_volumes import QUICK_TRAINING
from SparseAnnotateLib.core import BadInputError, Ledger, Plane, RunError, SparseAnnotation, Watch
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.origin import together
from SparseAnnotateLib.core.structure_values import names_as_facts
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation.likeliest_labels import LikeliestLabels
from SparseAnnotateLib.interpolation.run_source import RunSource
from SparseAnnotateLib.learning.data.patches import extract_patch
from SparseAnnotateLib.learning.data.training_cases import training_cases
from SparseAnnotateLib.learning.training.losses import SparseLoss
from SparseAnnotateLib.learning.training.run_planning import plan_run
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests


def cases(cohort, folder, fill_weight):
    names = cohort.annotated_cases()
    return training_cases(
        cohort,
        names,
        {1: 1, 2: 2},
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=folder,
        watch=Watch(),
        fill_weight=fill_weight,
    )


def fill(cohort):
    return requests.fill(requests.FillRequest(str(cohort.folder), method="shape"), Watch())


def whole(case):
    return extract_patch(case, (0, 0, 0), case.labels.shape)


def test_a_filled_voxel_counts_by_its_confidence_and_a_drawn_one_fully(ball_cohort, tmp_path):
    results = fill(ball_cohort)
    case = cases(ball_cohort, tmp_path, 0.5)[0]
    patch = whole(case)
    annotation = ball_cohort.annotation(results[0].case)
    turn = annotation.geometry.to_standard_order
    drawn = turn(annotation.supervised_mask())
    confidence = turn(read_image(results[0].confidence_path)[0])
    assert patch["supervised"].dtype == np.float32
    assert (patch["supervised"][0][drawn] == 1).all()
    np.testing.assert_allclose(patch["supervised"][0][~drawn], 0.5 * confidence[~drawn] / 100, rtol=1e-3)
    np.testing.assert_array_equal(patch["label"][0], turn(read_image(results[0].path)[0]))


def test_without_a_weight_fills_are_not_looked_at(ball_cohort, tmp_path):
    fill(ball_cohort)
    patch = whole(cases(ball_cohort, tmp_path, 0.0)[0])
    annotation = ball_cohort.annotation(ball_cohort.annotated_cases()[0])
    assert patch["supervised"].dtype == bool
    np.testing.assert_array_equal(
        patch["supervised"][0], annotation.geometry.to_standard_order(annotation.supervised_mask())
    )


def test_held_out_slices_count_nothing_though_they_were_filled(ball_cohort, tmp_path):
    fill(ball_cohort)
    case = cases(ball_cohort, tmp_path, 1.0)[0]
    from dataclasses import replace

    held_out = replace(case, slices=case.slices[1:], held_out=case.slices[:1])
    axis, index = case.slices[0]
    assert not np.take(whole(held_out)["supervised"][0], index, axis).any()


def test_a_case_that_was_not_filled_and_a_fill_older_than_the_drawing_are_refused(ball_cohort, tmp_path):
    with pytest.raises(BadInputError, match="has not been filled"):
        cases(ball_cohort, tmp_path, 0.5)
    fill(ball_cohort)
    name = ball_cohort.annotated_cases()[0]
    annotation = ball_cohort.annotation(name)
    labels = read_image(ball_cohort.fill_path(name))[0].copy()
    indices = [*annotation.ledger.indices(Plane.AXIAL), 5]
    ball_cohort.save_annotation(name, SparseAnnotation.from_slices(labels, annotation.geometry, Plane.AXIAL, indices))
    with pytest.raises(BadInputError, match="does not match what is drawn now"):
        cases(ball_cohort, tmp_path, 0.5)


def test_a_fill_to_which_a_run_has_added_a_structure_is_learned_from(ball_cohort, tmp_path, monkeypatch):
    """Where the structure is unknown the fill is not certain; nothing of it counts as another drawing."""
    for name in ball_cohort.annotated_cases():
        annotation = ball_cohort.annotation(name)
        ledger = Ledger()
        for entry in annotation.ledger.entries:
            ledger = ledger.with_state(entry.plane, entry.index, entry.state, structures=["shell"])
        shell = np.where(annotation.labels > 0, 1, 0).astype(np.uint8)
        annotation = SparseAnnotation(shell, ledger, annotation.geometry, names=ball_cohort.labels)
        ball_cohort.save_annotation(name, annotation)
        kernel = np.where(ball_cohort.reference(name) == 2, 2, 0).astype(np.uint8)
        chances = np.stack([np.full(kernel.shape, 240, np.uint8), np.full(kernel.shape, 15, np.uint8)])
        run = RunSource("run r", "run 'r'", LikeliestLabels(np.stack([kernel, 0 * kernel]), chances), (2,), False)
        annotation = ball_cohort.annotation(name)
        image = ball_cohort.image(name)[0]
        done = finished_fill(AutoInterpolator(["shape"], runs=[run]), annotation, lambda image=image: image, {})
        assert (done.fill.labels == 2).any()
        facts = ball_cohort.origin(name, annotation, method="auto").facts()
        write_image(ball_cohort.fill_path(name), done.fill.labels, annotation.geometry, facts=facts)
        write_image(ball_cohort.fill_confidence_path(name), done.fill.confidence, annotation.geometry, facts=facts)
    assert len(cases(ball_cohort, tmp_path, 0.5)) == 2


@pytest.mark.parametrize("is_filled_before", [False, True])
def test_a_fill_to_which_a_correction_has_added_a_structure_is_learned_from(ball_cohort, tmp_path, is_filled_before):
    """The drawn slices say nothing of the structure: where it may be on them, the fill is not certain."""
    name = ball_cohort.annotated_cases()[0]
    before = ball_cohort.annotation(name)
    entries = tuple(replace(entry, structures=("shell",)) for entry in before.ledger.entries)
    ball_cohort.save_annotation(name, replace(before, ledger=Ledger(entries)))
    where = before.geometry.matrix @ [16.0, 13.0, 8.0, 1.0]
    correction = requests.CorrectRequest(str(ball_cohort.folder), name, "kernel", tuple(where[:3].tolist()), radius=3.0)
    if is_filled_before:
        fill(ball_cohort)
    requests.correct(correction, Watch())
    if not is_filled_before:
        fill(ball_cohort)
    confidence = read_image(ball_cohort.fill_confidence_path(name))[0]
    annotation = ball_cohort.annotation(name)
    is_open = annotation.supervised_mask() & ~annotation.decided_mask() & ~annotation.corrected_mask()
    assert is_open.any()
    assert (confidence[is_open] < 100).all()
    weights = cases(ball_cohort, tmp_path, 0.5)[0].weights
    assert (weights[annotation.geometry.to_standard_order(annotation.corrected_mask())] == 1).all()


def test_a_correction_leaves_open_what_a_run_has_added_to_a_fill(ball_cohort, tmp_path):
    """Of that structure, which the cohort does not know, no slice says anything, marked for some structures or all."""
    name = ball_cohort.annotated_cases()[0]
    before = ball_cohort.annotation(name)
    entries = list(before.ledger.entries)
    entries[0] = replace(entries[0], structures=("shell",))
    ball_cohort.save_annotation(name, replace(before, ledger=Ledger(tuple(entries))))
    annotation = ball_cohort.annotation(name).with_more_names({3: "added"})
    found = np.zeros(annotation.geometry.shape, np.uint8)
    found[:, 2:12, 2:12] = 3
    chances = np.stack([np.full(found.shape, 240, np.uint8), np.full(found.shape, 15, np.uint8)])
    run = RunSource("run r", "run 'r'", LikeliestLabels(np.stack([found, 0 * found]), chances), (3,), False)
    image = ball_cohort.image(name)[0]
    made = finished_fill(AutoInterpolator(["shape"], runs=[run]), annotation, lambda: image, {}).fill
    assert (made.labels == 3).any()
    facts = ball_cohort.origin(name, ball_cohort.annotation(name), method="auto").facts()
    facts |= together(made.labels, made.confidence) | names_as_facts(annotation.names)
    write_image(ball_cohort.fill_confidence_path(name), made.confidence, annotation.geometry, facts=facts)
    write_image(ball_cohort.fill_path(name), made.labels, annotation.geometry, facts=facts)
    where = before.geometry.matrix @ [16.0, 13.0, 8.0, 1.0]
    at = tuple(where[:3].tolist())
    assert requests.correct(requests.CorrectRequest(str(ball_cohort.folder), name, "kernel", at), Watch()).path
    confidence = read_image(ball_cohort.fill_confidence_path(name))[0]
    on_slices = annotation.supervised_mask() & (annotation.labels == 0)
    assert (confidence[on_slices] < 100).all()
    names = {1: 1, 2: 2, 3: 3}
    how = {"normalisation": "z_score", "validation_share": 0.0, "seed": 0, "watch": Watch(), "fill_weight": 0.5}
    assert training_cases(ball_cohort, [name], names, folder=tmp_path, **how)


def test_cases_whose_names_look_like_those_of_files_have_files_of_their_own(ball_cohort, tmp_path):
    names = ["ball_0", "ball_0 weights", "ball_0 distances 0", "weights", "labels", "ball_0 pseudo-labels"]
    for number, name in enumerate(names[1:], start=1):
        annotation = ball_cohort.annotation("ball_1")
        ball_cohort.add_case(name, ball_cohort.image("ball_1")[0] + number, annotation.geometry)
        ball_cohort.save_annotation(name, annotation)
    fill(ball_cohort)
    folder, classes = tmp_path / "kept", {1: 1, 2: 2}
    found = training_cases(
        ball_cohort,
        names,
        classes,
        normalisation="z_score",
        validation_share=0.0,
        seed=0,
        folder=folder,
        watch=Watch(),
        fill_weight=0.5,
        with_distances=True,
    )
    paths = [p for c in found for p in (c.labels_path, c.weights_path, *c.distances_paths.values())]
    assert len(set(paths)) == len(paths) == 3 * len(names)
    for case in found:
        alone = training_cases(
            ball_cohort,
            [case.name],
            classes,
            normalisation="z_score",
            validation_share=0.0,
            seed=0,
            folder=tmp_path / "1",
            watch=Watch(),
            fill_weight=0.5,
            with_distances=True,
        )
        assert case.weights.dtype == np.float16
        for kind in ("labels", "weights", "image"):
            np.testing.assert_array_equal(getattr(case, kind), getattr(alone[0], kind))
        np.testing.assert_array_equal(case.distances(0), alone[0].distances(0))


def test_a_run_does_not_resume_with_another_fill(ball_cohort):
    fill(ball_cohort)
    settings = TrainingSettings(**QUICK_TRAINING, fill_weight=0.5)
    plan_run(ball_cohort, "r", settings)
    name = ball_cohort.annotated_cases()[0]
    path, annotation = ball_cohort.fill_path(name), ball_cohort.annotation(name)
    labels = np.where(annotation.supervised_mask(), annotation.labels, 1).astype(np.uint8)
    kept = path.read_bytes()
    write_image(path, labels, annotation.geometry)
    with pytest.raises(RunError, match=f"The fill of {name} has changed"):
        train(ball_cohort, "r")
    path.write_bytes(kept)
    assert train(ball_cohort, "r").last.iterations == QUICK_TRAINING["iterations"]


def test_the_loss_weighs_voxels_and_ignores_those_without_weight():
    torch.manual_seed(0)
    loss = SparseLoss()
    logits, target = torch.randn(2, 3, 4, 4, 4), torch.randint(0, 3, (2, 1, 4, 4, 4))
    mask = torch.rand(2, 1, 4, 4, 4) > 0.5
    torch.testing.assert_close(loss(logits, target, mask.float()), loss(logits, target, mask))
    # A weight for all scales nothing in the cross-entropy; only the smoothing of Dice sees it.
    exact = SparseLoss("ce")
    torch.testing.assert_close(exact(logits, target, 0.25 * mask.float()), exact(logits, target, mask))
    # A voxel of weight two counts like two voxels.
    twice = mask.float()
    twice[0] *= 2
    doubled = [torch.cat([x[:1], x[:1], x[1:]]) for x in (logits, target, mask)]
    torch.testing.assert_close(exact(logits, target, twice), exact(*doubled))
    noisy = torch.where(mask, logits, torch.full_like(logits, float("nan")))
    torch.testing.assert_close(loss(noisy, target, mask.float()), loss(logits, target, mask))


def test_a_model_is_trained_on_fills(ball_cohort):
    fill(ball_cohort)
    settings = TrainingSettings(**QUICK_TRAINING, fill_weight=0.5)
    card = train(ball_cohort, "r", settings)
    assert card.last.iterations == QUICK_TRAINING["iterations"]
    with pytest.raises(BadInputError, match="'fill_weight' is a share"):
        TrainingSettings(fill_weight=2.0)


def test_scripts_of_version_0_1_0_still_find_the_training_cases(ball_cohort, tmp_path):
    from SparseAnnotateLib.learning.data.training_cases import training_cases as current
    from SparseAnnotateLib.learning.training_data import training_cases

    classes = {1: 1, 2: 2}
    (old,) = training_cases(ball_cohort, ["ball_0"], classes, "z_score", 0.1, 0, tmp_path / "old", Watch())
    (new,) = current(
        ball_cohort,
        ["ball_0"],
        classes,
        normalisation="z_score",
        validation_share=0.1,
        seed=0,
        folder=tmp_path / "new",
        watch=Watch(),
    )
    np.testing.assert_array_equal(np.asarray(old.image), np.asarray(new.image))
    np.testing.assert_array_equal(np.asarray(old.labels), np.asarray(new.labels))
