"""A trained run as a source of an answer, beside the drawn slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import BadInputError, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation.likeliest_labels import LikeliestLabels
from SparseAnnotateLib.interpolation.run_source import RunSource

SHAPE = (40, 36, 36)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
NAMES = {1: "liver", 2: "tumor"}


def reference() -> np.ndarray:
    """A liver that bends, and a tumor that lies between drawn slices as well."""
    labels = np.zeros(SHAPE, np.uint8)
    for index in range(4, 36):
        row = 18 + 7 * np.sin(index / 3)
        rows, columns = np.indices(SHAPE[1:])
        labels[index][np.hypot(rows - row, columns - 14) < 8] = 1
    labels[ball(SHAPE, 4, (20, 18, 30)) > 0] = 2
    return labels


def drawn(indices, labels: np.ndarray | None = None) -> SparseAnnotation:
    ledger = Ledger()
    for index in indices:
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=NAMES.values())
    return SparseAnnotation(reference() if labels is None else labels, ledger, GEOMETRY, names=NAMES)


def likeliest(labels: np.ndarray, sure: float = 0.95) -> LikeliestLabels:
    chances = np.empty((2, *SHAPE), np.uint8)
    chances[0], chances[1] = round(255 * sure), round(255 * (1 - sure))
    return LikeliestLabels(np.stack([labels, np.where(labels == 0, 1, 0).astype(np.uint8)]), chances)


def run(labels: np.ndarray, learned_here: bool = False, values=(1, 2), dice: float | None = 0.9) -> RunSource:
    return RunSource("run r", "run 'r'", likeliest(labels), values, learned_here, dice)


def answer(annotation: SparseAnnotation, *runs: RunSource):
    def no_image():
        raise BadInputError("There is no image.")

    return finished_fill(AutoInterpolator(runs=runs), annotation, no_image, NAMES)


def dice(one: np.ndarray, value: int = 1) -> float:
    truth = reference() == value
    return 2 * np.count_nonzero((one == value) & truth) / (np.count_nonzero(one == value) + np.count_nonzero(truth))


def test_two_likeliest_labels_give_the_probability_of_each(tmp_path):
    found = likeliest(reference())
    there = (slice(10, 12), slice(None), slice(None))
    expected = np.where(reference()[there] == 1, 0.95, np.where(reference()[there] == 0, 0.05, 0.0))
    np.testing.assert_allclose(found.chance_of(1, there), expected, atol=0.004)
    assert not found.chance_of(7, there).any()
    found.save(tmp_path / "found.npy")
    read = LikeliestLabels.load(tmp_path / "found.npy")
    np.testing.assert_array_equal(read.labels, found.labels)
    np.testing.assert_array_equal(read.moved(2).labels, np.moveaxis(found.labels, 3, 1))
    (tmp_path / "found.npy").write_bytes((tmp_path / "found.npy").read_bytes()[:-9])
    assert LikeliestLabels.load(tmp_path / "found.npy") is None


def test_a_good_run_repairs_the_fill_and_drawn_slices_stay():
    annotation = drawn(range(4, 40, 8))
    alone, together = answer(annotation), answer(annotation, run(reference()))
    assert together.fill.shares[1]["run r"] > 0.8, "it predicts the drawn slices"
    assert dice(alone.fill.labels) < 0.8
    assert dice(together.fill.labels) > 0.97
    for index in range(4, 40, 8):
        np.testing.assert_array_equal(together.fill.labels[index], reference()[index])
    assert "of the fill methods alone" in together.summary
    assert "'liver' 0.34 (run r)" in together.summary
    assert not any(warning.startswith("Low leave-one-out") and "liver" in warning for warning in together.warnings)


def test_a_bad_run_hardly_counts():
    wrong = np.roll(reference(), 12, axis=2)
    annotation = drawn(range(4, 40, 4))
    alone, together = answer(annotation), answer(annotation, run(wrong))
    assert together.fill.shares[1]["run r"] < 0.3
    assert dice(together.fill.labels) > dice(alone.fill.labels) - 0.01


def test_the_score_on_slices_that_a_run_has_learned_from_is_no_evidence():
    annotation = drawn(range(4, 40, 4))
    shares = [answer(annotation, run(reference(), True, dice=d)).fill.shares[1]["run r"] for d in (0.95, 0.6, None)]
    assert 0.95 > shares[0] > shares[2] > shares[1] > 0.0
    assert answer(annotation, run(reference())).fill.shares[1]["run r"] > shares[0]
    said = answer(annotation, run(reference(), True)).warnings
    assert any("has learned from slices of this volume" in w and "(0.90)" in w for w in said)
    assert not any("has learned" in w for w in answer(annotation, run(reference())).warnings)


def test_with_two_drawn_slices_what_differs_from_a_proven_run_is_the_error_of_the_fill():
    """No slice can be hidden there, so the fill's error is not measured."""
    annotation = drawn((8, 28))
    alone, together = answer(annotation), answer(annotation, run(reference(), True, dice=0.85))
    assert dice(alone.fill.labels) < 0.7
    usual = 0.3**2 / (0.3**2 + 0.15**2)
    assert together.fill.shares[1]["run r"] > usual + 0.03
    like_the_fill = answer(annotation, run(alone.fill.labels, True, dice=0.85))
    assert like_the_fill.fill.shares[1]["run r"] == pytest.approx(usual)


@pytest.mark.parametrize("learned_here", [False, True])
@pytest.mark.parametrize("held_out", [0.9, None])
@pytest.mark.parametrize("what", ["elsewhere", "nothing"])
def test_a_run_that_two_drawn_slices_contradict_does_not_take_over(what, held_out, learned_here):
    """However good it is on other volumes: what differs is not the fill's error there."""
    annotation = drawn((12, 28))
    wrong = np.roll(reference(), 14, axis=1) if what == "elsewhere" else np.zeros_like(reference())
    alone, together = answer(annotation), answer(annotation, run(wrong, learned_here, dice=held_out))
    assert together.fill.shares[1]["run r"] < 0.4
    assert dice(together.fill.labels) > dice(alone.fill.labels) - 0.12


def test_a_structure_that_the_run_does_not_know_is_filled_from_the_drawn_slices():
    annotation = drawn(range(4, 40, 4))
    only_liver = np.where(reference() == 1, 1, 0).astype(np.uint8)
    done = answer(annotation, run(only_liver, values=(1,)))
    assert done.fill.shares[2]["run r"] == 0.0
    assert sum(done.fill.shares[2].values()) == pytest.approx(1.0)
    assert any("does not know 'tumor'" in warning for warning in done.warnings)
    alone = answer(annotation)
    assert dice(done.fill.labels, 2) > dice(alone.fill.labels, 2) - 0.02


def test_far_from_drawn_slices_the_run_decides_and_near_them_the_drawing():
    # The upper half is not drawn at all.
    annotation = drawn((4, 8, 12))
    done = answer(annotation, run(reference(), True, dice=0.7))
    far = slice(22, 40)
    truth = reference()[far] == 1
    found = done.fill.labels[far] == 1
    assert 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)) > 0.95
    alone = answer(annotation).fill.labels[far] == 1
    assert np.count_nonzero(alone & truth) < 0.5 * np.count_nonzero(truth)


def test_far_from_drawn_slices_a_bad_run_does_not_decide():
    wrong = np.zeros(SHAPE, np.uint8)
    wrong[:, 2:8, 2:8] = 1
    annotation = drawn((12, 16, 20, 24))
    done = answer(annotation, run(wrong, dice=0.1))
    assert not (done.fill.labels[:, 2:8, 2:8] == 1)[[0, 2, 4, 34, 38]].any()


@pytest.mark.parametrize("indices", [(12,), (12, 16, 20, 24)])
def test_a_run_that_nothing_proves_does_not_decide_far_from_drawn_slices(indices):
    """It has learned from these slices only, none were held out, and far from them it finds what is not there."""
    wrong = np.zeros(SHAPE, np.uint8)
    wrong[:, 2:8, 2:8] = 1
    annotation = drawn(indices)
    for index in indices:
        wrong[index] = reference()[index]
    memorised = replace(run(wrong, True, dice=None), elsewhere=0.0)
    alone, done = answer(annotation).fill, answer(annotation, memorised).fill
    assert not (done.labels[:, 2:8, 2:8] == 1)[[0, 2, 34, 38]].any()
    assert dice(done.labels) > dice(alone.labels) - 0.005


def test_a_run_that_nothing_proves_and_that_is_not_like_the_fill_does_not_count():
    """It knows the drawn slices by heart, and finds something else between them, in a much larger part of the image."""
    elsewhere = np.roll(reference(), 16, axis=1)
    elsewhere[:, :, :3] = 1
    indices = range(4, 36, 8)
    annotation = drawn(indices)
    for index in indices:
        elsewhere[index - 1 : index + 2] = reference()[index - 1 : index + 2]
    memorised = run(elsewhere, True, dice=None)
    done = answer(annotation, replace(memorised, elsewhere=0.0)).fill
    assert done.shares[1]["run r"] == 0.0
    # Where two structures meet, a mixture with a single share is not exactly the method alone.
    assert np.count_nonzero(done.labels != answer(annotation).fill.labels) < 100
    # One that has learned three quarters of its slices from other volumes keeps that part of its share.
    other = answer(annotation, replace(memorised, elsewhere=0.75)).fill
    assert other.shares[1]["run r"] == pytest.approx(0.75 / 3)


def test_a_run_counts_for_what_it_has_learned_from_other_volumes_where_nothing_can_be_compared():
    annotation = drawn((20,))
    shares = [
        answer(annotation, replace(run(reference(), True, dice=None), elsewhere=elsewhere)).fill.shares[1]["run r"]
        for elsewhere in (0.0, 0.5, 14 / 15, 1.0)
    ]
    assert shares == pytest.approx([0.0, 1 / 6, 14 / 45, 1 / 3])


def test_a_fill_that_is_updated_keeps_what_the_run_counts_far_from_drawn_slices():
    """As it keeps the other shares: all parts of the volume are filled by the same rule."""
    wrong = np.zeros(SHAPE, np.uint8)
    wrong[:, :, 25:] = 1
    before, after = drawn(range(8, 29, 4)), drawn([*range(8, 29, 4), 29])
    method = AutoInterpolator(runs=[run(np.where(reference() > 0, reference(), wrong), dice=0.5)])
    previous = method.fill(before, None)
    copied = replace(previous, labels=previous.labels.copy(), confidence=previous.confidence.copy())
    some = method.refill(previous, after, None, [(Plane.AXIAL, 29)])
    every = method.refill(copied, after, None, [(Plane.AXIAL, index) for index in [*range(8, 29, 4), 29]])
    assert some.is_updated
    np.testing.assert_array_equal(some.confidence, every.confidence)
    np.testing.assert_array_equal(some.labels, every.labels)
    assert some.far_shares == previous.far_shares


def test_a_run_may_have_the_name_of_a_method():
    source = RunSource("run shape", "run 'shape'", likeliest(reference()), (1, 2), learned_here=False)
    shares = answer(drawn(range(4, 40, 8)), source).fill.shares[1]
    assert set(shares) == {"shape", "run shape"}
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_run_of_another_volume_is_refused():
    source = RunSource(
        "run r",
        "run 'r'",
        LikeliestLabels(np.zeros((2, 3, 3, 3), np.uint8), np.zeros((2, 3, 3, 3), np.uint8)),
        (1,),
        False,
    )
    with pytest.raises(BadInputError, match="The prediction has shape"):
        answer(drawn((4, 12, 20)), source)


def test_after_a_change_only_the_gaps_beside_it_are_filled_again_with_the_run():
    indices = list(range(2, 40, 4))
    before = answer(drawn(indices), run(reference()))
    shares, old = before.fill.shares, before.fill.labels.copy()
    labels = reference()
    labels[18, :6, :6] = 1
    after = drawn(indices, labels)
    again = finished_fill(AutoInterpolator(runs=[run(reference())]), after, lambda: None, NAMES, previous=before)
    assert again.fill.is_updated
    assert again.fill.shares == shares
    np.testing.assert_array_equal(again.fill.labels[18], labels[18])
    far = [index for index in range(40) if not 14 <= index <= 22]
    np.testing.assert_array_equal(again.fill.labels[far], old[far])
    assert dice(again.fill.labels) > 0.97
    # With a quarter more slices everything is measured again.
    more = finished_fill(
        AutoInterpolator(runs=[run(reference())]), drawn([*indices, 16, 20, 24]), lambda: None, NAMES, previous=before
    )
    assert not more.fill.is_updated
    np.testing.assert_array_equal(more.fill.labels, answer(drawn([*indices, 16, 20, 24]), run(reference())).fill.labels)


def test_the_notes_on_a_run_that_failed_are_not_told():
    annotation = drawn(range(4, 40, 8))
    good = replace(run(reference()), notes=("It has learned with few steps.",))
    assert "It has learned with few steps." in answer(annotation, good).warnings

    class Gone(RunSource):
        """Its file can no longer be read, once a fill needs more of it than the drawn slices."""

        def chance(self, *_given):
            raise MemoryError

    gone = Gone(good.name, good.title, good.found, good.values, False, 0.9, good.notes)
    done = answer(annotation, gone)
    assert any(warning.startswith("Filled without 'run r', which failed.") for warning in done.warnings)
    assert good.notes[0] not in done.warnings
    np.testing.assert_array_equal(done.fill.labels, answer(annotation).fill.labels)


def test_a_run_that_no_drawn_slice_can_be_held_against_counts_by_how_it_differs_beside_them():
    annotation = drawn(range(4, 40, 4))
    alone = answer(annotation)
    good = answer(annotation, run(reference(), learned_here=True, dice=None))
    assert 0.34 < good.fill.shares[1]["run r"] <= 0.5, "it differs as much beside them as elsewhere"
    assert dice(good.fill.labels) > dice(alone.fill.labels)
    assert any("how much it differs from the fill" in warning for warning in good.warnings)
    learned = np.roll(reference(), 6, axis=1)
    learned[4::4] = reference()[4::4]  # it knows by heart what it has learned from
    wrong = answer(annotation, run(learned, learned_here=True, dice=None))
    assert wrong.fill.shares[1]["run r"] < 0.15
    assert dice(wrong.fill.labels) > dice(alone.fill.labels) - 0.005


def test_a_run_that_differs_more_away_from_drawn_slices_counts_for_a_third_at_most():
    learned = reference()
    learned[6::4] = np.roll(reference(), 6, axis=1)[6::4]  # in the middle of each gap
    found = answer(drawn(range(4, 40, 4)), run(learned, learned_here=True, dice=None))
    assert 0.0 < found.fill.shares[1]["run r"] <= 0.34


def test_a_run_is_not_better_between_the_slices_it_has_learned_from_than_on_them():
    annotation, by_heart = drawn(range(4, 40, 4)), np.roll(reference(), 1, axis=1)
    poor = by_heart.copy()
    by_heart[4::4], poor[4::4] = reference()[4::4], np.roll(reference(), 5, axis=1)[4::4]
    shares = [
        answer(annotation, run(labels, learned_here=True, dice=None)).fill.shares[1]["run r"]
        for labels in (by_heart, poor)
    ]
    assert shares[1] < 0.5 * shares[0]


def test_in_gaps_of_one_slice_a_run_counts_for_a_third_at_most():
    found = answer(drawn(range(4, 40, 2)), run(reference(), learned_here=True, dice=None))
    assert 0.0 < found.fill.shares[1]["run r"] <= 0.34


def test_what_a_run_finds_far_from_the_drawn_shapes_counts_against_it():
    annotation = drawn(range(4, 40, 4))
    learned = reference()
    learned[:, :6, :] = 1
    learned[4::4] = reference()[4::4]
    found = answer(annotation, run(learned, learned_here=True, dice=None))
    whole = answer(annotation, run(reference(), learned_here=True, dice=None))
    assert found.fill.shares[1]["run r"] < 0.6 * whole.fill.shares[1]["run r"]
    assert not found.fill.labels[:, :4, :].any()


def test_with_one_drawn_slice_nothing_can_be_compared():
    found = answer(drawn([20]), run(reference(), learned_here=True, dice=None))
    assert 0 < found.fill.shares[1]["run r"] <= 0.34
