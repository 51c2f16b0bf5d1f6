"""Fills where drawn slices speak for some of the structures only."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill, interpolator_named

SHAPE = (33, 40, 44)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
NAMES = {1: "liver", 2: "tumor"}
METHODS = ("shape", "random_walk", "auto")
OLD = (12, 16, 20)  # marked before there was a tumor


def reference() -> np.ndarray:
    labels = ball(SHAPE, 13, (16, 20, 16))
    k, j, i = np.indices(SHAPE)
    labels[((k - 16) / 14) ** 2 + ((j - 20) / 8) ** 2 + ((i - 36) / 6) ** 2 < 1] = 2
    return labels


def image() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.2, SHAPE)
    return (np.array([0.0, 3.0, 6.0])[reference()] + noise).astype(np.float32)


def annotation(old: tuple[str, ...] = ("liver",), paint: bool = False) -> SparseAnnotation:
    ledger, labels = Ledger(), reference()
    for index in range(0, 33, 4):
        is_old = index in OLD
        if is_old and not paint:
            labels[index][labels[index] == 2] = 0
        structures = old if is_old else ("liver", "tumor")
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    return SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES)


def made(method: str, drawn: SparseAnnotation):
    return finished_fill(interpolator_named(method), drawn, image, NAMES)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.parametrize("method", METHODS)
def test_a_structure_added_later_is_not_absent_on_older_slices(method):
    done, truth = made(method, annotation()), reference()
    tumor = done.fill.labels == 2
    for index in OLD:
        assert dice(tumor[index], truth[index] == 2) > 0.8, f"slice {index} says nothing about the tumor"
    assert dice(tumor, truth == 2) > 0.85
    # The same slices as complete ones hold it back.
    complete = made(method, annotation(("liver", "tumor")))
    assert not (complete.fill.labels[list(OLD)] == 2).any()


@pytest.mark.parametrize("method", METHODS)
def test_drawn_voxels_and_other_structures_are_as_if_all_were_decided(method):
    drawn = annotation()
    done = made(method, drawn)
    for axis, indices in drawn.drawn_by_axis().items():
        assert axis == 0
        for index in indices:
            shown = drawn.labels[index] > 0
            assert np.array_equal(done.fill.labels[index][shown], drawn.labels[index][shown])
            assert not ((done.fill.labels[index] == 1) & ~shown).any()
    # The liver does not touch the tumor: it is filled from all slices.
    complete = made(method, annotation(("liver", "tumor")))
    assert dice(done.fill.labels == 1, complete.fill.labels == 1) > 0.995


@pytest.mark.parametrize("method", METHODS)
def test_confidence_is_full_only_where_everything_is_decided(method):
    drawn = annotation()
    done = made(method, drawn)
    assert np.array_equal(done.fill.confidence == 100, drawn.decided_mask())
    assert done.fill.confidence.min() >= 1


def test_paint_on_a_slice_that_does_not_speak_for_it_has_no_influence():
    clean, painted = made("shape", annotation()), made("shape", annotation(paint=True))
    assert np.array_equal(clean.fill.labels, painted.fill.labels)


def test_the_last_fill_is_not_reused_when_decided_structures_change():
    method = interpolator_named("shape")
    before = finished_fill(method, annotation(("liver", "tumor")), image, NAMES)
    after = finished_fill(method, annotation(), image, NAMES, previous=before)
    assert np.array_equal(after.fill.labels, made("shape", annotation()).fill.labels)
    again = finished_fill(method, annotation(("liver", "tumor")), image, NAMES, previous=after)
    assert np.array_equal(again.fill.labels, made("shape", annotation(("liver", "tumor"))).fill.labels)


def test_scores_do_not_count_a_structure_on_slices_that_do_not_speak_for_it():
    method = AutoInterpolator(("shape",))
    found = [
        {s.label: s for s in one.scores({})}
        for drawn in (annotation(), annotation(("liver", "tumor")))
        for one in method.measure(drawn, image())
    ]
    tumor, wrong = found[0][2], found[1][2]
    assert tumor.spacing_mm > wrong.spacing_mm, "the neighbors are those that speak for the tumor"
    assert (tumor.slices, wrong.slices) == (4, 6)
    assert tumor.both / tumor.either > wrong.both / wrong.either, (tumor, wrong)
    (pooled,) = AutoInterpolator().measure(annotation(), image())
    assert set(pooled.counts) == {1, 2}


def test_warnings_say_what_is_unknown_and_where():
    warnings = " ".join(made("shape", annotation()).warnings)
    assert "'tumor' is unknown on 3 drawn slices (axial 12, axial 16, axial 20)" in warnings
    assert "'liver' is unknown" not in warnings
    assert "missing from the fill" not in warnings
    assert "unknown" not in " ".join(made("shape", annotation(("liver", "tumor"))).warnings)


def test_a_structure_that_one_of_several_slices_speaks_for_is_named():
    labels = reference()
    ledger = Ledger()
    for index, structures in ((6, ["liver"]), (10, ["liver", "tumor"]), (14, ["liver"])):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    drawn = SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES)
    sentences = " ".join(made("shape", drawn).warnings)
    assert "Only one drawn slice is marked for 'tumor', so its fill" in sentences
    assert "Only one slice is drawn" not in sentences


def test_a_structure_decided_on_no_slice_is_said_and_left_out():
    ledger = Ledger()
    for index in (4, 16, 28):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=("liver",))
    done = made("shape", SparseAnnotation(reference(), ledger, GEOMETRY, names=NAMES))
    assert not (done.fill.labels == 2).any()
    assert any(w.startswith("No drawn slice says anything about 'tumor'") for w in done.warnings)


def test_two_planes_of_which_one_does_not_speak_for_a_structure_do_not_contradict():
    ledger, labels = Ledger(), reference()
    for index in range(4, 30, 4):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=("liver",))
    for index in (16, 20, 24):
        ledger = ledger.with_state(Plane.CORONAL, index, SliceState.DRAWN, structures=("liver", "tumor"))
    done = made("shape", SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES))
    assert not any("contradict" in warning for warning in done.warnings)
    assert dice(done.fill.labels == 2, reference() == 2) > 0.7


def test_thirty_structures_decided_in_thirty_ways_are_all_filled():
    labels = np.zeros(SHAPE, np.uint8)
    names = {n: f"structure {n}" for n in range(1, 31)}
    for n in names:
        row, column = divmod(n - 1, 6)
        labels[3:30, 2 + 7 * row : 7 + 7 * row, 2 + 7 * column : 6 + 7 * column] = n
    ledger = Ledger()
    for number, index in enumerate(range(2, 32, 2)):
        structures = [name for n, name in names.items() if (n + number) % 3 or n == 7]
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    done = made("shape", SparseAnnotation(labels, ledger, GEOMETRY, names=names))
    for n in names:
        assert dice(done.fill.labels == n, labels == n) > 0.9
