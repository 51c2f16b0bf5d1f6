"""Undecided voxels of drawn slices: in the annotation, in the cohort's files, in fills."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    CohortError,
    Ledger,
    LedgerEntry,
    Plane,
    Provenance,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.known_slices import drawn_from_known
from SparseAnnotateLib.core.oracle import drawn_from_reference
from SparseAnnotateLib.core.provenance import DRAWN
from SparseAnnotateLib.interpolation import interpolator_named
from SparseAnnotateLib.interpolation.filling import changed_slices, finished_fill
from SparseAnnotateLib.interpolation.leave_one_out import evidence_of, rounds

GRID = VolumeGeometry.from_spacing((6, 5, 4))
SHAPE = GRID.shape


def annotated(undecided=None, indices=(1, 3), labels=None):
    plain = SparseAnnotation.from_slices(
        np.ones(SHAPE, np.uint8) if labels is None else labels, GRID, Plane.AXIAL, indices
    )
    return SparseAnnotation(plain.labels, plain.ledger, GRID, undecided)


@given(arrays(bool, SHAPE), arrays(np.uint8, SHAPE, elements=st.integers(0, 3)), arrays(np.uint8, SHAPE))
def test_an_undecided_voxel_is_never_supervised_nor_copied(undecided, labels, other):
    annotation = annotated(undecided, labels=labels)
    drawn = np.zeros(SHAPE, bool)
    drawn[[1, 3]] = True
    np.testing.assert_array_equal(annotation.supervised_mask(), drawn & ~undecided)
    np.testing.assert_array_equal(annotation.drawn_labels(), np.where(drawn & ~undecided, labels, 0))
    restored = other.copy()
    annotation.restore_drawn(restored)
    np.testing.assert_array_equal(restored, np.where(drawn & ~undecided, labels, other))
    assert annotation.label_values() == sorted(set(labels[drawn & ~undecided].tolist()) - {0})
    np.testing.assert_array_equal(Provenance.of(annotation).sources == DRAWN, drawn & ~undecided)
    assert (annotation.undecided is None) == (not (drawn & undecided).any())


def test_the_fingerprint_follows_the_undecided_voxels_but_not_their_labels():
    undecided = np.zeros(SHAPE, bool)
    undecided[1, 2, 3] = True
    labels = np.ones(SHAPE, np.uint8)
    other = labels.copy()
    other[1, 2, 3] = 7
    assert annotated(undecided).fingerprint() != annotated().fingerprint()
    assert annotated(undecided, labels=other).fingerprint() == annotated(undecided).fingerprint()
    off_the_slices = np.zeros(SHAPE, bool)
    off_the_slices[0] = True
    assert annotated(off_the_slices).fingerprint() == annotated().fingerprint()
    with pytest.raises(BadInputError, match="undecided voxels have shape"):
        annotated(undecided[1:])


def test_a_slice_that_is_drawn_later_decides_where_it_crosses():
    undecided = np.zeros(SHAPE, bool)
    undecided[1, :, :2] = True
    before = annotated(undecided)
    todo = Ledger((*before.ledger.entries, LedgerEntry(Plane.SAGITTAL, 0)))
    after = drawn_from_reference(SparseAnnotation(before.labels, todo, GRID, undecided), np.full(SHAPE, 2, np.uint8))
    assert (after.labels[1, :, 0] == 2).all()
    assert not after.undecided[1, :, 0].any()
    assert after.undecided[1, :, 1].all()


@pytest.fixture
def cohort(tmp_path):
    found = Cohort.create(tmp_path / "c", "c", {1: "a"})
    found.add_case("x", np.arange(120, dtype=np.int16).reshape(SHAPE), GRID)
    return found


def undecided_file(cohort):
    return cohort.state_folder / "annotations" / "undecided" / "x.nrrd"


def test_undecided_voxels_are_kept_beside_the_annotation_and_go_with_them(cohort):
    undecided = np.zeros(SHAPE, bool)
    undecided[1, 2:4, 1] = True
    cohort.save_annotation("x", annotated(undecided))
    back = Cohort.open(cohort.folder).annotation("x")
    np.testing.assert_array_equal(back.undecided, undecided)
    np.testing.assert_array_equal(back.labels, annotated(undecided).drawn_labels())
    assert back.fingerprint() == annotated(undecided).fingerprint()
    cohort.save_annotation("x", back)
    np.testing.assert_array_equal(cohort.annotation("x").undecided, undecided)
    cohort.save_annotation("x", annotated())
    assert not undecided_file(cohort).exists()
    assert cohort.annotation("x").undecided is None


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_undecided_voxels_never_become_decided_by_damage(cohort, damage):
    undecided = np.zeros(SHAPE, bool)
    undecided[1, 2:4, 1] = True
    cohort.save_annotation("x", annotated(undecided))
    path = undecided_file(cohort)
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 16]) + content[-2:])
    with pytest.raises((CohortError, BadInputError), match="undecided"):
        cohort.annotation("x")


@given(st.data())
def test_at_no_moment_of_saving_an_undecided_voxel_counts_as_decided(tmp_path_factory, data):
    cohort = Cohort.create(tmp_path_factory.mktemp("c") / "c", "c", {1: "a"})
    cohort.add_case("x", np.arange(120, dtype=np.int16).reshape(SHAPE), GRID)
    masks = st.none() | arrays(bool, SHAPE)
    slices = st.lists(st.integers(0, 5), max_size=4)
    old = annotated(data.draw(masks), data.draw(slices))
    new = annotated(data.draw(masks), data.draw(slices))
    cohort.save_annotation("x", old)
    for _ in cohort.saving_annotation("x", new):
        seen = cohort.annotation("x")
        decided = seen.supervised_mask()
        assert not (decided & ~old.supervised_mask() & ~new.supervised_mask()).any()
        assert seen.labels[decided].all()
    seen = cohort.annotation("x")
    np.testing.assert_array_equal(seen.supervised_mask(), new.supervised_mask())
    assert seen.ledger == new.ledger


SHAPE_OF_BALL = ball().shape


def ball_annotation(undecided=None, indices=(2, 6, 10, 14, 18, 22)):
    geometry = VolumeGeometry.from_spacing(SHAPE_OF_BALL, (2.0, 1.0, 1.0))
    plain = SparseAnnotation.from_slices(ball(), geometry, Plane.AXIAL, indices)
    return SparseAnnotation(plain.labels, plain.ledger, geometry, undecided)


def half_undecided():
    undecided = np.zeros(SHAPE_OF_BALL, bool)
    undecided[[6, 10], :, :16] = True
    return undecided


@pytest.mark.parametrize("method", ["shape", "random_walk", "auto"])
def test_a_fill_claims_nothing_about_undecided_voxels_and_says_so(method):
    annotation = ball_annotation(half_undecided())
    filled = finished_fill(interpolator_named(method), annotation, lambda: noisy_image(ball()), {1: "ball"})
    assert (filled.fill.confidence[half_undecided()] == 1).all()
    drawn = annotation.supervised_mask()
    np.testing.assert_array_equal(filled.fill.confidence == 100, drawn)
    np.testing.assert_array_equal(filled.fill.labels[drawn], ball()[drawn])
    assert any("896 voxels of the drawn slices were left undecided" in sentence for sentence in filled.warnings)
    plain = finished_fill(interpolator_named(method), ball_annotation(), lambda: noisy_image(ball()), {1: "ball"})
    assert not any("undecided" in sentence for sentence in plain.warnings)


def test_filling_again_after_a_voxel_was_decided_is_the_same_as_filling_from_the_start():
    before, after = ball_annotation(half_undecided()), ball_annotation()
    assert changed_slices(before, after) == [(Plane.AXIAL, 6), (Plane.AXIAL, 10)]
    for old, new in ((before, after), (after, before)):
        method = interpolator_named("shape")
        first = finished_fill(method, old, lambda: None, {})
        again = finished_fill(method, new, lambda: None, {}, previous=first)
        fresh = finished_fill(method, new, lambda: None, {})
        np.testing.assert_array_equal(again.fill.labels, fresh.fill.labels)
        np.testing.assert_array_equal(again.fill.confidence, fresh.fill.confidence)


def test_leave_one_out_does_not_count_undecided_voxels():
    class Right:
        def prepared(self, annotation, drawn, image):
            return drawn.main.moved(ball())

        def chance(self, place, drawn, prepared, watch):
            del drawn, watch
            return (prepared[place.gap.first : place.gap.stop][place.part] == place.value).astype(np.float32)

    def counts(undecided):
        annotation = ball_annotation(undecided)
        found = [evidence_of({"m": Right()}, one, annotation, None, Watch()) for one in rounds(annotation)]
        ((both, either),) = sum(evidence.counts[1] for evidence in found)
        return both, either

    full, part = counts(None), counts(half_undecided())
    inside = [ball()[index] for index in (6, 10, 14, 18)]
    hidden = sum(int(layer[:, :16].sum()) for layer in inside[:2])
    assert full[0] == full[1] / 2 == sum(int(layer.sum()) for layer in inside)
    assert part[0] == full[0] - hidden
    assert part[1] == 2 * part[0]


# --- which slices were drawn ----------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from(Plane), st.lists(st.integers(0, 9), min_size=1, max_size=2), min_size=1),
    arrays(np.uint8, (12, 11, 10), elements=st.integers(0, 1)),
)
def test_few_whole_slices_of_any_planes_are_found_exactly(slices, labels):
    geometry = VolumeGeometry.from_spacing(labels.shape)
    ledger = Ledger()
    for plane, indices in slices.items():
        for index in indices:
            ledger = ledger.with_state(plane, index, SliceState.DRAWN)
    known = SparseAnnotation(labels, ledger, geometry).supervised_mask()
    found = drawn_from_known(labels, known, geometry)
    assert {p: found.ledger.indices(p) for p in Plane} == {p: ledger.indices(p) for p in Plane}
    assert found.undecided is None


@given(st.sampled_from(Plane), st.sets(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 2**20))
def test_the_annotated_plane_is_found_where_a_part_of_each_slice_is_ignored(plane, indices, seed):
    labels = np.zeros((12, 11, 10), np.uint8)
    geometry = VolumeGeometry.from_spacing(labels.shape)
    ledger = Ledger()
    for index in indices:
        ledger = ledger.with_state(plane, index, SliceState.EMPTY)
    inside = SparseAnnotation(labels, ledger, geometry).supervised_mask()
    rng = np.random.default_rng(seed)
    known = inside & (rng.random(labels.shape) > 0.2)
    known[:2, :2, :2] = False
    found = drawn_from_known(labels, known, geometry)
    np.testing.assert_array_equal(found.supervised_mask(), known)
    assert found.ledger.indices(plane) == sorted(indices)


def test_a_whole_volume_with_a_few_ignored_voxels_is_drawn_in_one_plane():
    geometry = VolumeGeometry.from_spacing((12, 11, 10))
    known = np.ones((12, 11, 10), bool)
    known[4, 5, 6] = known[7, 1:3, 1:3] = False
    found = drawn_from_known(np.zeros(known.shape, np.uint8), known, geometry)
    assert found.ledger.indices(Plane.AXIAL) == list(range(12))
    assert not found.ledger.indices(Plane.CORONAL)
    np.testing.assert_array_equal(found.undecided, ~known)
