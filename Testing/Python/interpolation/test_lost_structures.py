"""A structure that is drawn on both sides of a gap is also in the fill of the gap; otherwise a warning names it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_volumes import noisy_image
from sparse_fills import annotation_of, axial, discs
from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.interpolation import Fill, finished_fill, interpolator_named
from system_needs import needs_slicer

METHODS = ["shape", "random_walk", "auto"]
NAMES = {1: "vessel", 2: "nerve"}


def moving_disc(step: float, radius=6.0, gap=10) -> np.ndarray:
    """(K, J, I) labels of a disc that moves by `step` voxels per slice."""
    places = [(index, 30, 12 + step * index) for index in range(2 * gap + 1)]
    return discs(*places, shape=(2 * gap + 1, 60, 110), radius=radius)


def finished(method, annotation, image=None, **options):
    interpolator = interpolator_named(method) if isinstance(method, str) else method
    return finished_fill(interpolator, annotation, lambda: image, NAMES, **options)


class Losing:
    """Fills like the shape method, but leaves some slices empty."""

    needs_image = uses_image = False

    def __init__(self, *empty):
        self.empty = list(empty)

    def fill(self, annotation, image, watch=None):
        fill = interpolator_named("shape").fill(annotation, image, watch)
        fill.labels[self.empty] = 0
        annotation.restore_drawn(fill.labels)
        return Fill(fill.labels, fill.confidence)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step", [0.9, 1.6, 2.0, 2.5, 3.5])
def test_a_disc_is_followed_however_far_it_moves_between_drawn_slices(method, step):
    labels = moving_disc(step)
    done = finished(method, axial(labels, [0, 10, 20]), noisy_image(labels))
    for index, layer in enumerate(done.fill.labels):
        assert layer.any()
        assert np.nonzero(layer)[1].mean() == pytest.approx(12 + step * index, abs=1.5)
    assert not any("missing" in warning for warning in done.warnings)


@pytest.mark.parametrize("method", ["shape", "random_walk"])
def test_a_disc_is_followed_beside_another_piece_of_its_structure_that_stays(method):
    labels = moving_disc(2.5)
    labels |= discs(*((index, 10, 60) for index in range(21)), shape=labels.shape)
    fill = finished(method, axial(labels, [0, 10, 20]), noisy_image(labels)).fill.labels
    assert 2 * np.count_nonzero(fill & labels) / (fill.sum() + labels.sum()) > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_a_disc_that_jumps_too_far_is_named_with_the_gap(method):
    labels = discs(*((index, 10, 8) for index in range(7)), (20, 50, 100), shape=(21, 60, 110), radius=1.5)
    done = finished(method, axial(labels, [0, 6, 20]), noisy_image(labels))
    missing = sum(not layer.any() for layer in done.fill.labels[7:20])
    assert missing
    (named,) = [warning for warning in done.warnings if "missing" in warning]
    assert named == (
        "'vessel' is missing from the fill between drawn slices that both show it: axial slices 6 and 20 "
        f"({missing} of 13 between). Its outlines there are too far apart, or too thin, to be "
        "connected. Draw a slice in between."
    )


@pytest.mark.parametrize("method", METHODS)
@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(4, 35), st.integers(4, 55), st.integers(1, 2)), min_size=2, max_size=6))
def test_each_structure_on_both_sides_of_a_gap_is_filled_or_named(method, places):
    drawn = [4 * number for number in range(len(places))]
    everywhere = [(index, *place) for index, place in zip(drawn, places, strict=True)]
    labels = discs(*everywhere, shape=(drawn[-1] + 1, 40, 60), radius=2.5)
    done = finished(method, axial(labels, drawn), noisy_image(labels))
    for before, after in pairwise(drawn):
        for value in set(np.unique(labels[before])) & set(np.unique(labels[after])) - {0}:
            lost = not (done.fill.labels[before : after + 1] == value).any((1, 2)).all()
            is_reported = any(
                f"'{NAMES[value]}' is missing" in w and f"axial slices {before} and {after} (" in w
                for w in done.warnings
            )
            assert lost == is_reported


def test_every_structure_and_gap_is_named():
    labels = discs(*((k, 10, 10, 1) for k in range(13)), *((k, 30, 40, 2) for k in range(13)), shape=(13, 40, 60))
    done = finished(Losing(1, 2, 3, 9), axial(labels, [0, 4, 8, 12]))
    for name in NAMES.values():
        (named,) = [warning for warning in done.warnings if f"'{name}' is missing" in warning]
        assert "axial slices 0 and 4 (3 of 3 between), axial slices 8 and 12 (1 of 3 between)" in named
        assert "axial slices 4 and 8" not in named


def test_slices_of_a_second_plane_are_checked_too():
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[4:8, 4:16, 4:16] = 1
    annotation = annotation_of(labels, {Plane.AXIAL: [1, 10], Plane.CORONAL: [6, 12]})

    class OnDrawnSlicesOnly(Losing):
        def fill(self, annotation, image, watch=None):
            return Fill(annotation.drawn_labels(), np.full(annotation.labels.shape, 50, np.uint8))

    (named,) = [w for w in finished(OnDrawnSlicesOnly(), annotation).warnings if "missing" in w]
    assert "coronal slices 6 and 12 (5 of 5 between)" in named


def test_what_ends_with_the_outermost_drawn_slice_is_named_unless_nothing_was_to_be_filled_there():
    labels = discs(*((k, 20, 20) for k in range(13)), shape=(13, 40, 60))
    annotation = axial(labels, [3, 6, 9])
    losing = Losing(0, 1, 2, 10, 11, 12)
    (named,) = finished(losing, annotation).warnings
    assert named == (
        "'vessel' is on the outermost drawn slice, but the fill does not extend it: before axial slice 3, after "
        "axial slice 9. Draw a slice there if the structure continues."
    )
    assert finished(losing, annotation, beyond=0).warnings == ()
    assert finished("shape", annotation).warnings == ()


@needs_slicer
def test_a_filter_that_fills_nothing_beyond_the_drawn_slices_says_so():
    labels = discs(*((k, 20, 20) for k in range(13)), shape=(13, 40, 60))
    done = finished("morphological", axial(labels, [3, 6, 9]))
    assert "before axial slice 3, after axial slice 9" in done.warnings[0]


def test_dozens_of_lost_structures_do_not_flood_the_panel():
    labels = np.zeros((5, 40, 60), np.uint8)
    for value in range(1, 41):
        labels[:, (value % 10) * 4, (value // 10) * 8] = value
    done = finished(Losing(1, 2, 3), axial(labels, [0, 4]))
    assert sum("is missing from the fill" in w for w in done.warnings) == 20
    assert "20 more structures are missing from parts of the fill." in done.warnings
