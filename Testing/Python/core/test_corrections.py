"""Corrections of single voxels: what is known by them, and their files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    CohortError,
    Ledger,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.added_corrections import with_correction
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.core.oracle import drawn_from_reference
from SparseAnnotateLib.worker import requests

SHAPE = (12, 10, 8)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))


def box(*sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def stroke(value: int, is_in: bool, *sides: tuple[int, int]) -> Stroke:
    return Stroke.of(box(*sides), value, is_in)


IN_LIVER = stroke(1, True, (2, 5), (2, 6), (2, 6))
NOT_LIVER = stroke(1, False, (4, 7), (2, 6), (2, 6))
IN_TUMOR = stroke(2, True, (4, 5), (2, 6), (2, 3))


def test_the_later_stroke_wins_where_two_contradict_each_other():
    corrections = Corrections(SHAPE, (IN_LIVER, NOT_LIVER))
    everywhere = tuple(slice(0, n) for n in SHAPE)
    expected = np.zeros(SHAPE, np.int8)
    expected[2:4, 2:6, 2:6], expected[4:7, 2:6, 2:6] = 1, -1
    np.testing.assert_array_equal(corrections.of(1, everywhere), expected)
    back = corrections.with_stroke(IN_LIVER)
    assert (back.of(1, everywhere) == 1).sum() == len(IN_LIVER.voxels)
    assert (back.of(1, everywhere) == -1).sum() == len(NOT_LIVER.voxels) - 16
    another = corrections.with_stroke(IN_TUMOR)
    assert (another.of(2, everywhere) == 1).sum() == len(IN_TUMOR.voxels)
    assert another.of(1, everywhere)[4, 2, 2] == -1, "what is tumor is not liver"
    assert another.of(2, everywhere)[2, 2, 2] == -1
    part = (slice(3, 6), slice(4, 10), slice(0, 4))
    np.testing.assert_array_equal(another.of(1, part), another.of(1, everywhere)[part])


def test_contradictions_are_the_voxels_of_which_the_opposite_was_said():
    corrections = Corrections(SHAPE, (IN_LIVER,))
    assert len(corrections.contradictions(NOT_LIVER)) == 16
    assert len(corrections.contradictions(IN_TUMOR)) == len(IN_TUMOR.voxels)
    assert not len(corrections.contradictions(IN_LIVER))
    assert not len(corrections.contradictions(stroke(2, False, (2, 5), (2, 6), (2, 6))))


@pytest.mark.parametrize("order", ["C", "F"])
def test_labels_agree_with_the_corrections_after_restoring(order):
    labels = np.asarray(np.full(SHAPE, 1, np.uint8), order=order)
    Corrections(SHAPE, (IN_LIVER, NOT_LIVER, IN_TUMOR)).restore(labels)
    assert (labels[4:7, 2:6, 3:6] == 0).all()
    assert (labels[4, 2:6, 2] == 2).all()
    assert (labels[5:7, 2:6, 2] == 0).all()
    assert labels.sum() == np.prod(SHAPE) - 48 + 4 * 2


def drawn(corrections: Corrections | None) -> SparseAnnotation:
    labels = np.ones(SHAPE, np.uint8)
    ledger = Ledger().with_state(Plane.AXIAL, 4, SliceState.DRAWN)
    return SparseAnnotation(labels, ledger, GEOMETRY, corrections=corrections)


def test_a_drawn_slice_counts_more_than_a_correction_on_it():
    annotation = drawn(Corrections(SHAPE, (NOT_LIVER,)))
    assert len(annotation.corrections.strokes[0].voxels) == len(NOT_LIVER.voxels) - 16
    result = np.ones(SHAPE, np.uint8)
    annotation.restore_drawn(result)
    assert (result[4] == 1).all()
    assert (result[5:7, 2:6, 2:6] == 0).all()
    assert drawn(Corrections(SHAPE, (stroke(1, False, (4, 5), (0, 3), (0, 3)),))).corrections is None
    known = annotation.known_in((slice(3, 6), slice(0, 10), slice(0, 8)))
    np.testing.assert_array_equal(known.any(axis=(1, 2)), [False, True, False])


def test_the_fingerprint_changes_with_a_correction():
    found = {drawn(c).fingerprint() for c in (None, Corrections(SHAPE, (NOT_LIVER,)), Corrections(SHAPE, (IN_LIVER,)))}
    assert len(found) == 3
    swapped = [Corrections(SHAPE, (IN_LIVER, NOT_LIVER)), Corrections(SHAPE, (NOT_LIVER, IN_LIVER))]
    assert swapped[0].fingerprint() != swapped[1].fingerprint()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Stroke(np.array([5, 960]), 1, True), "Correction 2 lies outside the volume"),
        (Stroke(np.array([-1]), 1, True), "Correction 2 lies outside the volume"),
        (Stroke(np.array([1]), 0, True), "Correction 2 has the label 0"),
    ],
)
def test_bad_strokes_are_refused(bad, message):
    with pytest.raises(BadInputError, match=message):
        Corrections(SHAPE, (IN_LIVER, bad))


def test_corrections_of_another_shape_are_refused():
    with pytest.raises(BadInputError, match="corrections have shape"):
        drawn(Corrections((3, 4, 5)))


def not_drawn(corrections: Corrections | None) -> SparseAnnotation:
    return SparseAnnotation(np.zeros(SHAPE, np.uint8), Ledger(), GEOMETRY, corrections=corrections)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    write_image(tmp_path / "scan.nrrd", np.zeros(SHAPE, np.int16), GEOMETRY)
    made = Cohort.create(tmp_path / "cohort", "one", {1: "liver", 2: "tumor"})
    made.add_case("scan", tmp_path / "scan.nrrd")
    return made


def test_a_cohort_keeps_corrections(cohort):
    corrections = Corrections(SHAPE, (IN_LIVER, NOT_LIVER, IN_TUMOR))
    for one in corrections.strokes:
        cohort.add_correction("scan", one)
    read = cohort.annotation("scan").corrections
    assert read.fingerprint() == corrections.fingerprint()
    picture = read_labels(cohort.corrections_path("scan").with_suffix(".nrrd"), GEOMETRY)
    assert (picture == 1).sum() == 32
    assert (picture == 2).sum() == 4
    # Whoever does not know of them, such as a scene, leaves them alone.
    cohort.save_annotation("scan", not_drawn(None))
    assert cohort.annotation("scan").corrections.fingerprint() == corrections.fingerprint()
    cohort.save_annotation("scan", drawn(None))
    assert len(cohort.annotation("scan").corrections.strokes) == 2, "the tumor was said of the drawn slice only"
    cohort.save_corrections("scan", None)
    assert cohort.annotation("scan").corrections is None
    assert not list(cohort.corrections_path("scan").parent.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["strokes"][0].update(structure="spleen"), "'spleen', which the cohort does not have"),
        (lambda c: c.update(shape=[1, 2, 3]), "belong to a volume of shape"),
        (lambda c: c["strokes"][0].update(spans="5+3 6+1"), "in order"),
        (lambda c: c["strokes"][0].update(spans="5+0"), "in order"),
        (lambda c: c["strokes"][0].update(spans="5+999999999999"), "in order"),
        (lambda c: c["strokes"][0].update(spans="5+3 6"), "not of the form"),
        (lambda c: c["strokes"][0].update(spans="-5+3"), "not of the form"),
        (lambda c: c["strokes"][0].update(spans="950+30"), "outside the volume"),
        (lambda c: c["strokes"][0].pop("is_in"), "is_in"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(cohort, change, message):
    corrections = Corrections(SHAPE, (IN_LIVER,))
    cohort.add_correction("scan", corrections.strokes[0])
    path = cohort.corrections_path("scan")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises((BadInputError, CohortError), match=message):
        cohort.annotation("scan")


def test_renamed_structures_keep_their_corrections(cohort):
    cohort.add_correction("scan", IN_LIVER)
    cohort.add_correction("scan", IN_TUMOR)
    cohort.set_labels({1: "tumor", 2: "liver"})
    assert [s.value for s in cohort.annotation("scan").corrections.strokes] == [1, 2]
    cohort.set_labels({1: "spleen", 2: "liver"})
    assert [s.value for s in cohort.annotation("scan").corrections.strokes] == [1, 2]


def test_a_correction_that_a_slice_hides_comes_back_when_the_slice_is_withdrawn(cohort):
    for one in (IN_LIVER, IN_TUMOR):
        cohort.add_correction("scan", one)
    cohort.save_annotation("scan", drawn(None))
    assert len(cohort.annotation("scan").corrections.strokes) == 1
    cohort.save_annotation("scan", not_drawn(None))
    assert len(cohort.annotation("scan").corrections.strokes) == 2
    cohort.add_correction("scan", IN_TUMOR)
    assert len(cohort.annotation("scan").corrections.strokes) == 2, "the same correction again adds nothing"


def partly_drawn(*strokes: Stroke) -> SparseAnnotation:
    """Slice 4 speaks for the liver only, and shows it in half of the rows."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, :5] = 1
    ledger = Ledger().with_state(Plane.AXIAL, 4, SliceState.DRAWN, structures=["liver"])
    corrections = Corrections(SHAPE, strokes) if strokes else None
    return SparseAnnotation(labels, ledger, GEOMETRY, names={1: "liver", 2: "tumor"}, corrections=corrections)


def test_a_slice_that_does_not_speak_for_a_structure_takes_corrections_of_it():
    annotation = partly_drawn(IN_TUMOR, NOT_LIVER)
    tumor, liver = annotation.corrections.strokes
    rows = np.unravel_index(tumor.voxels, SHAPE)[1]
    assert rows.tolist() == [5], "where no liver is drawn"
    assert not (np.unravel_index(liver.voxels, SHAPE)[0] == 4).any(), "for the liver the slice counts"
    result = annotation.drawn_labels()
    assert (result[4, 5, 2], result[4, 4, 2], result[4, 9, 7]) == (2, 1, 0)
    again = partly_drawn(IN_TUMOR)
    assert len(again.corrections.strokes[0].voxels) == 1
    everywhere = tuple(slice(0, n) for n in SHAPE)
    known = annotation.known_in(everywhere)
    assert known[4, :5].all()
    assert known[4, 5:].sum() == 1, "there the tumor may be"
    assert annotation.known_in(everywhere, 1)[4].all()


def test_only_what_counts_of_a_stroke_contradicts_earlier_ones():
    """On the slice, which decides structure 1, a stroke of it is left out and contradicts nothing."""
    first = stroke(2, True, (4, 7), (4, 7), (4, 7))
    before = partly_drawn(first)
    again = with_correction(before, replace(first, value=1))
    left = len(first.voxels) - len(again.stroke.voxels)
    assert left > 0
    assert again.notes[1].startswith(f"{len(again.stroke.voxels)} voxels contradict an earlier correction")


def test_slices_drawn_from_a_reference_show_the_reference():
    annotation = not_drawn(Corrections(SHAPE, (IN_TUMOR,)))
    todo = annotation.ledger.with_state(Plane.AXIAL, 4, SliceState.TODO)
    found = drawn_from_reference(replace(annotation, ledger=todo), np.ones(SHAPE, np.uint8))
    assert (found.labels[4] == 1).all()
    assert found.corrections is None


def test_a_label_that_only_corrections_have_does_not_fit_into_a_byte():
    annotation = not_drawn(Corrections(SHAPE, (stroke(300, True, (0, 1), (0, 1), (0, 1)),)))
    assert annotation.label_values() == [300]
    with pytest.raises(ValueError, match="cannot hold"):
        annotation.restore_drawn(np.zeros(SHAPE, np.uint8))
    fortran = SparseAnnotation(
        np.asfortranarray(np.zeros(SHAPE, np.uint8)), Ledger(), GEOMETRY, corrections=annotation.corrections
    )
    assert fortran.labels[0, 0, 0] == 300


def test_a_damaged_file_can_be_cleared(cohort):
    cohort.add_correction("scan", IN_LIVER)
    cohort.corrections_path("scan").write_text("{")
    requests.correct(requests.CorrectRequest(str(cohort.folder), "scan", clear=True), Watch())
    assert cohort.annotation("scan").corrections is None
