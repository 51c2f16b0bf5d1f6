"""Structures that a run finds in a volume, and its drawn slices do not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import BadInputError, Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation.likeliest_labels import LikeliestLabels
from SparseAnnotateLib.interpolation.run_agreement import RunAgreement
from SparseAnnotateLib.interpolation.run_source import RunSource

SHAPE = (36, 36, 40)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
NAMES = {1: "liver", 2: "tumor", 3: "spleen"}
DRAWN = range(4, 36, 4)


def reference() -> np.ndarray:
    """A tumor within the liver, and a spleen beside it."""
    labels = ball(SHAPE, 12, (18, 18, 14)).astype(np.uint8)
    labels[ball(SHAPE, 4, (18, 18, 10)) > 0] = 2
    labels[ball(SHAPE, 6, (18, 18, 33)) > 0] = 3
    return labels


def only(labels: np.ndarray, *values: int) -> np.ndarray:
    return np.where(np.isin(labels, values), labels, 0).astype(np.uint8)


def drawn(*values: int, speaks_for=None, names=NAMES, labels: np.ndarray | None = None) -> SparseAnnotation:
    """Slices on which these labels are drawn, and which speak for these structures (default: those drawn)."""
    structures = [NAMES[v] for v in values] if speaks_for is None else speaks_for
    ledger = Ledger()
    for index in DRAWN:
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    return SparseAnnotation(only(reference(), *values) if labels is None else labels, ledger, GEOMETRY, names=names)


def run(labels: np.ndarray, learned_here: bool = False, sure: float = 0.95, values=(1, 2, 3)) -> RunSource:
    chances = np.empty((2, *SHAPE), np.uint8)
    chances[0], chances[1] = round(255 * sure), round(255 * (1 - sure))
    found = LikeliestLabels(np.stack([labels, np.where(labels == 0, 1, 0).astype(np.uint8)]), chances)
    return RunSource("run r", "run 'r'", found, values, learned_here, 0.9)


def answer(annotation: SparseAnnotation, source: RunSource):
    def no_image():
        raise BadInputError("There is no image.")

    return finished_fill(AutoInterpolator(runs=[source]), annotation, no_image, NAMES)


def dice(found: np.ndarray, value: int) -> float:
    one, other = found == value, reference() == value
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_what_no_slice_speaks_for_is_taken_from_the_run():
    done = answer(drawn(2), run(reference()))
    assert dice(done.fill.labels, 1) > 0.98
    assert dice(done.fill.labels, 3) == 1
    assert dice(done.fill.labels, 2) > 0.9
    assert any("No drawn slice says anything about" in s and "'liver'" in s and "'spleen'" in s for s in done.warnings)
    assert done.fill.shares[1] == {"run r": 1.0}
    assert "Not measured: 'liver' (run r), 'spleen' (run r)." in done.summary
    # Even on drawn slices, which say nothing about them; what is drawn there stays.
    np.testing.assert_array_equal(done.fill.labels[16] == 2, reference()[16] == 2)
    assert (done.fill.labels[16] == 1).any()


def test_without_the_run_they_stay_unknown():
    done = finished_fill(AutoInterpolator(["shape"]), drawn(2), lambda: np.zeros(SHAPE), NAMES)
    assert set(np.unique(done.fill.labels)) == {0, 2}


def test_the_smaller_structure_wins_whichever_is_drawn():
    by_run = answer(drawn(1), run(reference()))  # the tumor from the run, within a liver that is drawn
    assert dice(by_run.fill.labels, 2) > 0.9
    assert dice(by_run.fill.labels, 1) > 0.95
    # A liver from a run that does not know the tumor, around a tumor that is drawn.
    filled_liver = np.where(reference() == 2, 1, reference()).astype(np.uint8)
    drawn_tumor = answer(drawn(2), run(filled_liver, values=(1, 3)))
    assert dice(drawn_tumor.fill.labels, 2) > 0.85


def test_a_structure_that_slices_were_marked_without_counts_less_and_is_said():
    done = answer(drawn(1, 2, speaks_for=list(NAMES.values())), run(reference()))
    assert not (done.fill.labels == 3).any()
    (note,) = [s for s in done.warnings if "on drawn slices that show none of them" in s]
    assert note.startswith("The run 'r' has structures on drawn slices that show none of them")
    assert ": 'spleen'." in note
    # Having learned from these very slices is no excuse.
    learned = answer(drawn(1, 2, speaks_for=list(NAMES.values())), run(reference(), learned_here=True))
    assert not (learned.fill.labels == 3).any()


def test_a_structure_between_drawn_slices_that_speak_for_it_is_found():
    found = reference()
    small = ball(SHAPE, 1.5, (22, 6, 33)) > 0
    found = only(found, 1, 2)
    found[small] = 3
    done = answer(drawn(1, 2, speaks_for=list(NAMES.values())), run(found))
    assert np.count_nonzero(done.fill.labels == 3) > 0.8 * np.count_nonzero(small)
    assert not any("show none of them" in s for s in done.warnings)


def test_a_structure_that_the_cohort_does_not_name_is_taken_from_the_run():
    names = {1: "liver", 2: "tumor"}
    annotation = drawn(1, 2, speaks_for=list(names.values()), names=names).with_more_names(NAMES)
    assert dice(answer(annotation, run(reference())).fill.labels, 3) == 1
    # Ledgers that do not record structures speak for all of the cohort, which does not know this one.
    ledger = Ledger()
    for index in DRAWN:
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN)
    older = SparseAnnotation(only(reference(), 1, 2), ledger, GEOMETRY, names=names).with_more_names(NAMES)
    assert dice(answer(older, run(reference())).fill.labels, 3) == 1


def test_all_drawn_slices_empty_and_the_run_finds_something_elsewhere():
    ledger = Ledger()
    for index in (0, 34, 35):
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.EMPTY, structures=NAMES.values())
    empty = SparseAnnotation(np.zeros(SHAPE, np.uint8), ledger, GEOMETRY, names=NAMES)
    done = answer(empty, run(reference()))
    for value in NAMES:
        assert dice(done.fill.labels, value) > 0.95
    assert not done.fill.labels[[0, 34, 35]].any()


def test_a_structure_that_the_run_knows_by_another_name_is_left_out():
    """A liver that was renamed after training: it must not take the place of what is drawn."""
    annotation = drawn(1, 2)
    by_run = np.where(reference() == 1, 3, np.where(reference() == 3, 0, reference())).astype(np.uint8)
    done = answer(annotation, run(by_run, values=(2, 3)))
    assert not (done.fill.labels == 3).any()
    assert dice(done.fill.labels, 1) > 0.9
    assert any("has 'spleen' where 'liver' is drawn, which it does not know: left out" in s for s in done.warnings)


def test_slices_of_two_groups_and_a_run_together():
    """The spleen is decided on every second slice only, the tumor nowhere."""
    labels, ledger = only(reference(), 1, 3), Ledger()
    for number, index in enumerate(DRAWN):
        structures = ["liver", "spleen"] if number % 2 else ["liver"]
        if "spleen" not in structures:
            labels[index][labels[index] == 3] = 0
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=structures)
    done = answer(SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES), run(reference()))
    for value in NAMES:
        assert dice(done.fill.labels, value) > 0.9, NAMES[value]


def test_label_numbers_change_nothing():
    table = np.array([0, 7, 1, 4], np.uint8)
    names = {int(table[value]): name for value, name in NAMES.items()}
    one = answer(drawn(2), run(reference())).fill
    found = LikeliestLabels(
        *(np.array(a) for a in (table[run(reference()).found.labels], run(reference()).found.chances))
    )
    renumbered = drawn(2, names=names, labels=table[only(reference(), 2)])
    other = answer(renumbered, RunSource("run r", "run 'r'", found, tuple(names), False, 0.9)).fill
    np.testing.assert_array_equal(table[one.labels], other.labels)


def test_labels_beyond_the_drawn_labels_dtype_are_added():
    table = np.array([0, 1, 2, 300], np.uint16)
    names = {1: "liver", 2: "tumor", 300: "spleen"}
    known = run(reference()).found
    found = LikeliestLabels(table[known.labels], known.chances.astype(np.uint16))
    source = RunSource("run r", "run 'r'", found, tuple(names), False, 0.9)
    for decided in (["liver", "tumor"], list(names.values())):
        annotation = drawn(1, 2, speaks_for=decided, names=names)
        assert annotation.labels.dtype == np.uint8
        small = ball(SHAPE, 1.5, (22, 6, 33)) > 0
        if len(decided) == 3:
            found.labels[0][found.labels[0] == 300] = 0
            found.labels[0][small] = 300
        done = answer(annotation, source)
        assert (done.fill.labels == 300).any()
        np.testing.assert_array_equal(done.fill.labels[16][reference()[16] < 3], reference()[16][reference()[16] < 3])


def test_what_only_another_source_finds_is_added_from_that():
    spleen = run(only(reference(), 3))
    liver = RunSource("run q", "run 'q'", run(only(reference(), 1)).found, (1,), False, 0.8)

    def no_image():
        raise BadInputError("There is no image.")

    done = finished_fill(AutoInterpolator(runs=[spleen, liver]), drawn(2), no_image, NAMES)
    assert dice(done.fill.labels, 1) > 0.9
    assert dice(done.fill.labels, 3) == 1
    assert done.fill.shares[3] == {"run r": 1.0}
    assert done.fill.shares[1] == {"run q": 1.0}


def test_evidence_of_other_volumes_says_nothing_of_a_structure_that_no_slice_shows():
    everywhere = drawn(1, 2, 3)
    evidence = AutoInterpolator().measure(everywhere, None)
    found = only(reference(), 1, 2)
    found[ball(SHAPE, 1.5, (22, 6, 33)) > 0] = 3
    annotation = drawn(1, 2, speaks_for=list(NAMES.values()))

    def no_image():
        raise BadInputError("There is no image.")

    fills = [
        finished_fill(AutoInterpolator(evidence=known, runs=[run(found)]), annotation, no_image, NAMES)
        for known in (None, evidence)
    ]
    for done in fills:
        assert (done.fill.labels == 3).any()
        assert not any(score.label == 3 for score in done.fill.scores)
        assert set(done.fill.shares[3]) == {"run r", "drawn slices without it"}
    np.testing.assert_array_equal(*(done.fill.labels == 3 for done in fills))


def test_where_nothing_is_doubtful_the_confidence_is_high():
    source = run(reference())
    source.found.chances[0][reference() == 2] = 0  # left out by clean-up, or another structure here
    fill = source.alone([1, 3], np.dtype(np.uint8))
    assert (fill.confidence[reference() == 0] > 90).all()
    assert (fill.confidence[reference() == 2] > 90).all(), "neither liver nor spleen"


def test_agreement_of_labels_with_large_values_takes_little_memory():
    import tracemalloc

    labels = reference().astype(np.uint16)
    labels[labels > 0] += 60000
    ledger = Ledger()
    for index in DRAWN:
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN)
    tracemalloc.start()
    agreement = RunAgreement.of(labels, SparseAnnotation(labels, ledger, GEOMETRY))
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert agreement.dice(60001) == (1.0, 6)
    assert agreement.contradicted(60001) == 0


def test_a_twin_is_found_by_the_slices_that_speak_for_the_drawn_structure():
    """Of the liver, drawn under another name on two slices only."""
    labels, ledger = np.where(reference() == 1, 3, 0).astype(np.uint8), Ledger()
    for index in DRAWN:
        speaks = ["spleen"] if index in (16, 20) else ["tumor"]
        if speaks == ["tumor"]:
            labels[index] = 0
        ledger = ledger.with_state(Plane.AXIAL, index, SliceState.DRAWN, structures=speaks)
    annotation = SparseAnnotation(labels, ledger, GEOMETRY, names=NAMES)
    assert RunAgreement.of(only(reference(), 1), annotation).twin(1) == 3


@pytest.mark.parametrize("asked", ["reach", "closed"])
@pytest.mark.parametrize("learned_here", [False, True])  # then the fill and the run are compared first
def test_a_run_that_has_too_little_memory_takes_no_part(monkeypatch, asked, learned_here):
    def fails(*_given):
        raise MemoryError

    monkeypatch.setattr(RunSource, asked, fails)
    source = run(reference(), learned_here)
    if learned_here:
        source = replace(source, dice=None)
    fill = AutoInterpolator(["shape"], runs=[source]).fill(drawn(1, 3), None)
    np.testing.assert_array_equal(fill.labels, AutoInterpolator(["shape"]).fill(drawn(1, 3), None).labels)
    assert any("There was not enough memory for it." in warning for warning in fill.warnings)
