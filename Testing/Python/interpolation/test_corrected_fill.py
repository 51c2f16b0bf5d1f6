"""Filling again after a slice has changed, with corrections: the same as filling all of it, sooner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import BadInputError, Plane, SparseAnnotation, VolumeGeometry
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.interpolation import corrected_fill, finished_fill
from SparseAnnotateLib.interpolation.interpolator import interpolator_named

SHAPE = (200, 26, 28)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
TUBE = np.zeros(SHAPE, np.uint8)
for _k in range(SHAPE[0]):
    TUBE[_k] = ball((1, 26, 28), 6.0, (0, 13 + 3 * np.sin(_k / 15), 14))
IMAGE = noisy_image(TUBE)
DRAWN = list(range(0, 200, 20))


def stroke(place: tuple[int, int, int], value: int = 1, is_in: bool = True) -> Stroke:
    return Stroke.of(ball(SHAPE, 2, place) > 0, value, is_in)


FAR, NEAR = stroke((30, 3, 3)), stroke((170, 22, 24))


def annotation(*strokes: Stroke, drawn=DRAWN, labels=TUBE) -> SparseAnnotation:
    found = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, drawn)
    return replace(found, corrections=Corrections(SHAPE, strokes)) if strokes else found


@pytest.fixture
def spread(monkeypatch):
    """The strokes that are spread."""
    found = []
    correct = corrected_fill.correct
    monkeypatch.setattr(corrected_fill, "correct", lambda *given: found.append(given[4]) or correct(*given))
    return found


def filled(method, what, previous=None, image=lambda: IMAGE, beyond=None):
    return finished_fill(method, what, image, {1: "tube", 2: "spot"}, None, previous, beyond)


def assert_same(one, other):
    np.testing.assert_array_equal(one.fill.labels, other.fill.labels)
    np.testing.assert_array_equal(one.fill.confidence, other.fill.confidence)


def test_only_the_gaps_beside_a_slice_and_the_corrections_near_them_are_done_again(spread, monkeypatch):
    method = interpolator_named("shape")
    before = filled(method, annotation(FAR, NEAR))
    assert spread == [FAR, NEAR]
    spread.clear()
    calls, refill = [], type(method).refill
    monkeypatch.setattr(type(method), "refill", lambda *given: calls.append(given[4]) or refill(*given))
    after = annotation(FAR, NEAR, drawn=sorted([*DRAWN, 170]))
    again = filled(method, after, before)
    assert calls == [[(Plane.AXIAL, 170)]]
    # What of it lies on the drawn slice is left out.
    (second,) = spread
    assert 0 < len(second.voxels) < len(NEAR.voxels)
    assert_same(again, filled(interpolator_named("shape"), after))
    once_more = filled(method, annotation(FAR, NEAR, drawn=DRAWN), again)
    assert len(calls) == 2
    assert_same(once_more, filled(interpolator_named("shape"), annotation(FAR, NEAR)))


@pytest.mark.parametrize("name", ["shape", "auto"])
def test_a_further_correction_and_one_that_is_gone(spread, name):
    method = interpolator_named(name)
    before = filled(method, annotation(FAR))
    spread.clear()
    more = filled(method, annotation(FAR, NEAR), before)
    assert spread == [NEAR]
    whole = filled(interpolator_named(name), annotation(FAR, NEAR))
    if name == "shape":
        assert_same(more, whole)
    assert (more.fill.labels == whole.fill.labels).mean() > 0.995
    spread.clear()
    less = filled(method, annotation(NEAR), more)
    assert spread == []
    if name == "shape":
        assert_same(less, filled(interpolator_named(name), annotation(NEAR)))
    assert (less.fill.labels.reshape(-1)[NEAR.voxels] == 1).all()
    none = filled(method, annotation(), less)
    if name == "shape":
        assert_same(none, filled(interpolator_named(name), annotation()))


def test_corrections_that_meet_are_spread_again_together_and_in_order(spread):
    first, against, third = stroke((30, 3, 3)), stroke((31, 4, 3), is_in=False), stroke((65, 3, 3), 2)
    method = interpolator_named("shape")
    before = filled(method, annotation(first, NEAR, against))
    spread.clear()
    what = annotation(first, NEAR, against, third)
    again = filled(method, what, before)
    assert spread == [first, against, third]
    assert_same(again, filled(interpolator_named("shape"), what))


def test_with_slices_beyond_left_empty_and_undecided_voxels(spread):
    method = interpolator_named("shape")
    drawn = DRAWN[1:-1]
    undecided = np.zeros(SHAPE, bool)
    undecided[60, 10:12, 10:12] = True

    def what(*indices):
        return replace(annotation(FAR, NEAR, drawn=sorted([*drawn, *indices])), undecided=undecided)

    before = filled(method, what(), beyond=5)
    spread.clear()
    again = filled(method, what(150), before, beyond=5)
    assert FAR not in spread
    assert_same(again, filled(interpolator_named("shape"), what(150), beyond=5))


def test_an_image_that_can_be_used_only_now_changes_all_of_them(spread):
    def broken():
        raise BadInputError("no image")

    method = interpolator_named("shape")
    before = filled(method, annotation(FAR), image=broken)
    assert "no image" in " ".join(before.warnings)
    spread.clear()
    same = filled(method, annotation(FAR), before, image=broken)
    assert spread == []
    assert "no image" in " ".join(same.warnings)
    spread.clear()
    again = filled(method, annotation(FAR, NEAR), same)
    assert spread == [FAR, NEAR]
    assert again.warnings == ()
    assert_same(again, filled(interpolator_named("shape"), annotation(FAR, NEAR)))


def test_a_label_that_needs_more_room(spread):
    method = interpolator_named("shape")
    before = filled(method, annotation(FAR))
    large = stroke((170, 22, 24), 300)
    again = filled(method, annotation(FAR, large), before)
    assert (again.fill.labels.reshape(-1)[large.voxels] == 300).all()
    assert_same(again, filled(interpolator_named("shape"), annotation(FAR, large)))


def test_of_empty_slices_with_corrections_it_is_not_said_that_there_is_nothing_to_fill():
    found = filled(interpolator_named("shape"), annotation(FAR, labels=np.zeros_like(TUBE)))
    assert found.fill.labels.any()
    assert found.warnings[0].endswith("so the fill has only what follows from the corrections.")
