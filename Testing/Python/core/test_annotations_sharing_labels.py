"""Annotations that share one label array, as with each stroke: none of them may notice what another one enters."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from SparseAnnotateLib.core import Ledger, Plane, SliceState, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Corrections, Stroke

SHAPE = (6, 5, 4)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))
NAMES = {1: "a", 2: "b"}
AXIAL = next(plane for plane in Plane if plane.array_axis(GEOMETRY) == 0)
LEDGER = Ledger().with_state(AXIAL, 1, SliceState.DRAWN).with_state(AXIAL, 4, SliceState.DRAWN, structures=("a",))
STROKES = st.builds(
    lambda voxels, value, is_in: Stroke(np.array(sorted(voxels), np.int64), value, is_in),
    st.sets(st.integers(0, int(np.prod(SHAPE)) - 1), min_size=1, max_size=12),
    st.integers(1, 2),
    st.booleans(),
)


def drawn() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 1:3, :2] = 1
    labels[4, 2:, 2:] = 1
    labels[2] = 2  # painted, but not marked: without meaning
    return labels


def with_all(strokes: list[Stroke]) -> SparseAnnotation:
    """An annotation that shares nothing."""
    return SparseAnnotation(drawn(), LEDGER, GEOMETRY, None, NAMES, Corrections(SHAPE, tuple(strokes)))


def what_it_says(annotation: SparseAnnotation) -> tuple:
    shown = np.full(SHAPE, 2, np.uint8)
    annotation.restore_drawn(shown)
    known = annotation.known_in(tuple(slice(0, n) for n in SHAPE))
    corrected = annotation.labels[annotation.corrected_mask() & known].tolist()
    return shown.tobytes(), known.tobytes(), corrected, annotation.label_values(), annotation.fingerprint()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(STROKES, st.integers(0, 100)), max_size=7), st.integers(0, 2))
def test_each_says_what_one_with_labels_of_its_own_says(steps, first_of_all):
    start = [stroke for stroke, _branch in steps[:first_of_all]]
    annotation = SparseAnnotation(
        drawn(), LEDGER, GEOMETRY, None, NAMES, Corrections(SHAPE, tuple(start)) if start else None, is_own=True
    )
    found = [(annotation, start)]
    for stroke, branch in steps[first_of_all:]:
        before, strokes = found[-1 - branch % len(found) if branch > 60 else -1]
        kept = list(before.corrections.strokes) if before.corrections is not None else []
        found.append((before.with_stroke(stroke), [*kept, stroke]))
    for annotation, strokes in found:
        assert what_it_says(annotation) == what_it_says(with_all(strokes))


def test_a_stroke_needs_no_copy_of_labels_that_nobody_else_uses():
    labels = drawn()
    first = SparseAnnotation(labels, LEDGER, GEOMETRY, None, NAMES, is_own=True)
    second = first.with_stroke(Stroke(np.array([0, 1]), 2, True))
    third = second.with_stroke(Stroke(np.array([1, 2]), 1, True))
    assert second.labels is labels
    assert second.labels.ravel()[:2].tolist() == [2, 2]
    assert third.labels is not labels  # it contradicts the second one
    assert third.labels.ravel()[:3].tolist() == [2, 1, 1]


def test_labels_that_somebody_else_uses_are_never_changed():
    labels = drawn()
    annotation = SparseAnnotation(labels, LEDGER, GEOMETRY, None, NAMES)
    after = annotation.with_stroke(Stroke(np.array([0]), 1, True))
    assert after.labels[0, 0, 0] == 1
    np.testing.assert_array_equal(labels, drawn())


def test_a_second_branch_does_not_rely_on_labels_that_the_first_may_change():
    first = SparseAnnotation(drawn(), LEDGER, GEOMETRY, None, NAMES, is_own=True)
    painted = Stroke(np.array([2 * 20 + 3]), 2, True)  # the labels show this there already
    one, other = first.with_stroke(Stroke(np.array([0]), 1, True)), first.with_stroke(painted)
    one.with_stroke(Stroke(painted.voxels, 1, True))
    assert what_it_says(other) == what_it_says(with_all([painted]))
