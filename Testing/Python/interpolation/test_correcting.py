"""Corrections spread into an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Ledger,
    Plane,
    SliceState,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
)
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill
from SparseAnnotateLib.interpolation import correcting as correcting_module
from SparseAnnotateLib.interpolation.correcting import correct, correcting, slice_answer, slice_at_hand

SHAPE = (32, 40, 40)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.eye(4))
TRUTH = (ball(SHAPE, 6, (16, 20, 12)) + 2 * (ball(SHAPE, 5, (16, 20, 28)) > 0)).astype(np.uint8)
IMAGE = (100.0 * (TRUTH > 0) + np.random.default_rng(0).normal(0, 5, SHAPE)).astype(np.float32)
ANNOTATION = SparseAnnotation.from_slices(TRUTH, GEOMETRY, Plane.AXIAL, [16])


def click(value: int, is_in: bool, place: tuple[int, int, int]) -> Stroke:
    return Stroke.of(ball(SHAPE, 2, place) > 0, value, is_in)


def corrected(labels: np.ndarray, *strokes: Stroke, image: np.ndarray | None = IMAGE, sure: int = 80):
    labels, confidence = labels.copy(), np.full(SHAPE, sure, np.uint8)
    annotation = ANNOTATION
    for number in range(1, len(strokes) + 1):
        annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, strokes[:number]))
        correct(labels, confidence, image, annotation, strokes[number - 1])
    return labels, confidence


def wrong(labels: np.ndarray) -> int:
    return int(np.count_nonzero(labels != TRUTH))


def test_a_click_brings_back_a_part_that_is_missing():
    labels = TRUTH.copy()
    labels[19:] = 0
    found, confidence = corrected(labels, click(1, True, (20, 20, 12)))
    assert wrong(found) < 0.8 * wrong(labels)
    assert (found[TRUTH == 0] == 0).all(), "the edge of the image holds it"
    assert confidence[20, 20, 12] == 100


def test_a_click_takes_away_what_is_too_much():
    labels = TRUTH.copy()
    labels[4:9, 4:12, 4:12] = 1
    found, _confidence = corrected(labels, click(1, False, (6, 8, 8)))
    assert wrong(found) < 0.8 * wrong(labels)
    assert (found[TRUTH == 1] == 1).all()


def test_what_is_not_one_structure_becomes_the_one_beside_it():
    labels = TRUTH.copy()
    labels[(TRUTH == 2) & (np.indices(SHAPE)[2] < 28)] = 1
    found, _confidence = corrected(labels, click(1, False, (20, 20, 27)))
    changed = (found != labels) & (TRUTH == 2)
    assert changed.any()
    assert np.isin(found[changed], (0, 2)).all()
    assert (found[(TRUTH == 2) & (np.indices(SHAPE)[2] == 27)] == 2).any(), "beside the rest of it"


def test_the_drawn_slice_and_the_earlier_corrections_stay():
    labels = TRUTH.copy()
    first, second = click(1, True, (24, 8, 8)), click(1, False, (24, 8, 12))
    found, _confidence = corrected(labels, first, second)
    flat = found.reshape(-1)
    both = np.intersect1d(first.voxels, second.voxels)
    assert (flat[np.setdiff1d(first.voxels, both)] == 1).all()
    assert (flat[second.voxels] != 1).all()
    np.testing.assert_array_equal(found[16], TRUTH[16])


def test_nothing_changes_outside_the_region_or_without_need():
    labels = TRUTH.copy()
    same, _confidence = corrected(labels, click(1, True, (18, 20, 12)))
    np.testing.assert_array_equal(same, labels)
    found = labels.copy()
    confidence = np.full(SHAPE, 80, np.uint8)
    stroke = click(2, True, (4, 8, 8))
    done = correct(found, confidence, IMAGE, replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,))), stroke)
    outside = np.ones(SHAPE, bool)
    outside[done.region] = False
    np.testing.assert_array_equal(found[outside], labels[outside])
    assert done.changed == np.count_nonzero(found != labels) >= len(stroke.voxels)


def test_without_an_image_it_spreads_evenly():
    labels = TRUTH.copy()
    labels[19:] = 0
    found, _confidence = corrected(labels, click(1, True, (20, 20, 12)), image=None)
    assert np.count_nonzero(found != labels) > np.count_nonzero(ball(SHAPE, 2, (20, 20, 12)))


def test_a_cancelled_correction_has_changed_nothing():
    labels, confidence = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 80, np.uint8)
    stroke = click(1, True, (20, 20, 12))
    watch = Watch()
    watch.cancel()
    with pytest.raises(CancelledError):
        correct(
            labels, confidence, IMAGE, replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,))), stroke, watch
        )
    assert not labels.any()
    assert (confidence == 80).all()


def test_another_grid_is_refused():
    with pytest.raises(BadInputError, match="same grid"):
        correct(TRUTH.copy(), np.zeros(SHAPE, np.uint8), IMAGE[1:], ANNOTATION, click(1, True, (20, 20, 12)))


def test_a_fill_takes_the_corrections_in_and_is_as_if_corrected_live():
    strokes = (click(1, True, (21, 20, 12)), click(2, False, (12, 20, 28)))
    plain = finished_fill(AutoInterpolator(), ANNOTATION, lambda: IMAGE, {1: "a", 2: "b"}).fill
    annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, strokes))
    filled = finished_fill(AutoInterpolator(), annotation, lambda: IMAGE, {1: "a", 2: "b"})
    assert (filled.fill.labels.reshape(-1)[strokes[0].voxels] == 1).all()
    assert (filled.fill.labels.reshape(-1)[strokes[1].voxels] != 2).all()
    labels, confidence = plain.labels.copy(), plain.confidence.copy()
    for number, stroke in enumerate(strokes, start=1):
        so_far = replace(ANNOTATION, corrections=Corrections(SHAPE, strokes[:number]))
        correct(labels, confidence, IMAGE, so_far, stroke)
    np.testing.assert_array_equal(filled.fill.labels, labels)
    np.testing.assert_array_equal(filled.fill.confidence, confidence)
    # After a further slice is drawn, the new fill has the corrections, too.
    more = SparseAnnotation.from_slices(TRUTH, GEOMETRY, Plane.AXIAL, [10, 16])
    more = replace(more, corrections=annotation.corrections)
    again = finished_fill(AutoInterpolator(), more, lambda: IMAGE, {1: "a", 2: "b"}, previous=filled)
    assert (again.fill.labels.reshape(-1)[strokes[0].voxels] == 1).all()
    np.testing.assert_array_equal(again.fill.labels[10], TRUTH[10])


def test_what_a_slice_decides_of_another_structure_stays_when_a_stroke_takes_one_away():
    labels = np.zeros(SHAPE, np.uint8)
    ledger = Ledger().with_state(Plane.AXIAL, 10, SliceState.DRAWN, structures=["b"])
    annotation = SparseAnnotation(labels, ledger, GEOMETRY, names={1: "a", 2: "b"})
    answer = np.zeros(SHAPE, np.uint8)
    answer[6:16, 10:30, 10:30] = 2
    answer[8:14, 14:26, 14:26] = 1
    annotation.restore_drawn(answer)
    stroke = click(1, False, (12, 20, 20))
    annotation = replace(annotation, corrections=Corrections(SHAPE, (stroke,)))
    correct(answer, np.full(SHAPE, 60, np.uint8), None, annotation, stroke)
    assert (answer[12] == 2).any()
    assert not (answer[10] == 2).any(), "slice 10 shows that it has no b"


def test_the_answer_in_a_slice_changes_nothing_and_is_much_like_that_in_space():
    labels = TRUTH.copy()
    labels[19:] = 0
    confidence = np.full(SHAPE, 80, np.uint8)
    stroke = Stroke.of((ball(SHAPE, 2, (20, 20, 12)) > 0) & (np.indices(SHAPE)[0] == 20), 1, True)
    annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,)))
    assert slice_at_hand(stroke, annotation) == (0, 20)
    part = slice_answer(labels, confidence, IMAGE, annotation, stroke, 0, 20)
    assert part.region[0] == slice(20, 21)
    assert not labels[19:].any()
    found, _confidence = corrected(labels, stroke)
    first, last = part.labels, found[part.region]
    assert (last == 1).any()
    assert np.count_nonzero((first == 1) & (last == 1)) > 0.6 * np.count_nonzero((first == 1) | (last == 1))
    # A slice that the stroke does not reach.
    assert not slice_answer(labels, confidence, IMAGE, annotation, stroke, 0, 24).labels.size


def test_a_slice_through_a_drawn_one_and_other_corrections_keeps_what_is_known():
    labels = TRUTH.copy()
    first, second = click(1, True, (20, 8, 8)), click(1, False, (20, 8, 12))
    annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, (first, second)))
    confidence = np.full(SHAPE, 80, np.uint8)
    part = slice_answer(labels, confidence, IMAGE, annotation, second, 1, 8)
    shown = labels.copy()
    shown[part.region] = part.labels
    np.testing.assert_array_equal(shown[16], TRUTH[16])
    for stroke, is_it in ((first, True), (second, False)):
        others = first.voxels[~np.isin(first.voxels, second.voxels)] if is_it else second.voxels
        inside = others[np.unravel_index(others, SHAPE)[1] == 8]
        assert len(inside)
        assert ((shown.reshape(-1)[inside] == 1) == is_it).all(), stroke


def test_nothing_changes_before_the_last_piece():
    labels = TRUTH.copy()
    labels[19:] = 0
    stroke = click(1, True, (20, 20, 12))
    annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,)))
    found, confidence = labels.copy(), np.full(SHAPE, 80, np.uint8)
    pieces = correcting(found, confidence, IMAGE, annotation, stroke)
    count = 0
    for _piece in pieces:
        count += 1
        if not np.array_equal(found, labels):
            break
        assert (confidence == 80).all()
    assert count > 10
    np.testing.assert_array_equal(found, corrected(labels, stroke)[0])


def test_of_a_large_region_a_part_comes_first(monkeypatch):
    labels = TRUTH.copy()
    labels[19:] = 0
    stroke = click(1, True, (20, 20, 12))
    whole, _confidence = corrected(labels, stroke)
    monkeypatch.setattr(correcting_module, "_AT_ONCE", 8000)
    annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,)))
    found, confidence = labels.copy(), np.full(SHAPE, 80, np.uint8)
    parts = [part for part in correcting(found, confidence, IMAGE, annotation, stroke) if part is not None]
    (part,) = parts
    assert 0 < part.labels.size <= 8000
    assert (part.labels != labels[part.region]).any()
    assert np.count_nonzero(found != whole) <= 0.05 * np.count_nonzero(whole != labels)


@pytest.mark.parametrize("image", [IMAGE, None])
def test_beyond_the_region_nothing_would_change(monkeypatch, image):
    labels = TRUTH.copy()
    labels[19:] = 0
    labels[4:9, 4:12, 4:12] = 1
    for stroke in (click(1, True, (20, 20, 12)), click(1, False, (6, 8, 8))):
        annotation = replace(ANNOTATION, corrections=Corrections(SHAPE, (stroke,)))
        region = correct(labels.copy(), np.full(SHAPE, 50, np.uint8), image, annotation, stroke).region
        with monkeypatch.context() as patched:
            patched.setattr(correcting_module, "_MARGIN", 9.0)
            patched.setattr(correcting_module, "_MOST_MARGIN", 96.0)
            wider, _confidence = corrected(labels, stroke, image=image, sure=50)
        outside = np.ones(SHAPE, bool)
        outside[region] = False
        assert outside.any()
        np.testing.assert_array_equal(wider[outside], labels[outside])


def test_a_huge_stroke_is_solved_tile_by_tile_and_gives_nearly_the_same(monkeypatch):
    shape = (24, 60, 100)
    truth = np.zeros(shape, np.uint8)
    truth[6:18, 15:45, 10:90] = 1
    image = (100.0 * truth + np.random.default_rng(0).normal(0, 5, shape)).astype(np.float32)
    geometry = VolumeGeometry.from_matrix(shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    drawn = SparseAnnotation.from_slices(truth, geometry, Plane.AXIAL, [6])
    painted = np.zeros(shape, bool)
    painted[13, 28:32, 14:86] = True
    stroke = Stroke.of(painted, 1, True)
    annotation = replace(drawn, corrections=Corrections(shape, (stroke,)))
    answer = np.where(np.arange(shape[0])[:, None, None] < 11, truth, 0).astype(np.uint8)

    def followed() -> tuple[np.ndarray, int, int]:
        labels, confidence, pieces = answer.copy(), np.full(shape, 80, np.uint8), 0
        ends: list = []

        def steps():
            ends.append((yield from correcting(labels, confidence, image, annotation, stroke)))

        for _piece in steps():
            assert np.array_equal(labels, answer), "only the last piece changes anything"
            pieces += 1
        assert ends[0].changed == np.count_nonzero(labels != answer)
        return labels, confidence, pieces

    whole, sure, pieces = followed()
    largest = []
    following = correcting_module.following
    monkeypatch.setattr(
        correcting_module, "following", lambda *given, **more: largest.append(given[5]) or following(*given, **more)
    )
    monkeypatch.setattr(correcting_module, "_MOST_AT_ONCE", 100_000)
    tiled, sure_tiled, more_pieces = followed()
    assert len(largest) > 2
    assert max(np.prod([side.stop - side.start for side in box]) for box in largest) < np.prod(shape)
    assert more_pieces > pieces
    assert np.count_nonzero(whole != answer) > 2000
    assert tiled[painted].all()
    assert np.count_nonzero(tiled != whole) < 0.02 * np.count_nonzero(whole != answer)
    assert np.abs(sure.astype(int) - sure_tiled).mean() < 0.5


def test_how_far_a_stroke_reaches_does_not_depend_on_the_tiles_it_is_measured_in(monkeypatch):
    labels = np.zeros((20, 60, 90), np.uint8)
    labels[:, :20] = 1
    for width in (1, 4, 15):
        painted = np.zeros(labels.shape, bool)
        painted[8:12, 20 : 20 + width, 5:85] = True
        stroke, places = Stroke.of(painted, 1, True), np.stack(np.nonzero(painted))
        given = labels, places, stroke, (2.0, 1.0, 1.0), labels.shape
        once = correcting_module._reach(*given)
        assert 1.5 <= once <= 16.0
        monkeypatch.setattr(correcting_module, "_AT_ONCE", 20_000)
        assert correcting_module._reach(*given) == once
        monkeypatch.undo()
