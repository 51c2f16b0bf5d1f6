"""Filling again after slices have changed: exactly a whole fill, whatever is drawn, and however it is flipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_volumes import noisy_image
from sparse_fills import annotation_of, axial, blobs, discs, filled
from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.interpolation import AutoInterpolator, finished_fill, interpolator_named
from SparseAnnotateLib.interpolation.chance_filling import ChanceInterpolator
from SparseAnnotateLib.interpolation.interpolators.shape import ShapeInterpolator

DEPTH = 14
MADE = st.sampled_from(["blobs", "specks"])
DRAWN = st.sets(st.integers(0, DEPTH - 1), min_size=1, max_size=8)


def specks(seed: int) -> np.ndarray:
    """(K, J, I) labels with up to four discs on each slice, of any size: pieces that begin and end anywhere."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((DEPTH, 26, 30), np.uint8)
    for index in range(DEPTH):
        for _ in range(rng.integers(0, 5)):
            place = index, rng.integers(4, 22), rng.integers(4, 26), rng.integers(1, 4)
            found = discs(place, shape=labels.shape, radius=rng.uniform(1, 7))
            labels[found > 0] = found[found > 0]
    return labels


def made_labels(made: str, seed: int) -> np.ndarray:
    return specks(seed) if made == "specks" else blobs(seed, (DEPTH, 26, 30))


def two_level_image(labels: np.ndarray) -> np.ndarray:
    """An image of 0 and 1 in which every slice has both: whichever are drawn, their range is the same."""
    image = (labels > 0) ^ (np.random.default_rng(0).random(labels.shape) < 0.1)
    return image.astype(np.float32)


def same(fill, other) -> None:
    np.testing.assert_array_equal(fill.labels, other.labels)
    np.testing.assert_array_equal(fill.confidence, other.confidence)


@pytest.mark.parametrize("method", ["shape", "random_walk", "auto"])
@settings(deadline=None, max_examples=25)
@given(MADE, st.integers(0, 999), DRAWN, DRAWN, st.sets(st.integers(0, DEPTH - 1), max_size=2), st.sampled_from(Plane))
def test_filling_again_is_a_whole_fill(method, made, seed, first, second, redrawn, plane):
    axis = plane.array_axis(axial(np.zeros((2, 2, 2), np.uint8), [0]).geometry)
    second = (first ^ set(sorted(second)[:2])) or first  # one or two slices more or less
    labels, others = made_labels(made, seed), made_labels(made, seed + 1000)
    both = labels.copy()
    both[sorted(redrawn)] = others[sorted(redrawn)]
    image = np.moveaxis(two_level_image(labels), 0, axis)
    before, after = (
        annotation_of(np.moveaxis(shown, 0, axis), {plane: sorted(drawn)}, (1.5, 1.0, 1.0))
        for shown, drawn in ((labels, first), (both, second))
    )
    changed = [(plane, index) for index in sorted((first ^ second) | (redrawn & first & second))]
    interpolator = interpolator_named(method)
    if method == "auto":
        interpolator = AutoInterpolator(evidence=interpolator.measure(before, image))
    previous = interpolator.fill(before, image)
    same(interpolator.refill(previous, after, image, changed), interpolator.fill(after, image))


@settings(deadline=None, max_examples=40)
@given(MADE, st.integers(0, 999), DRAWN, st.sets(st.integers(0, 2), min_size=1))
def test_a_flipped_drawing_gives_the_flipped_fill(made, seed, drawn, axes):
    axes = tuple(sorted(axes))
    labels = made_labels(made, seed)
    flipped_drawn = [DEPTH - 1 - index for index in drawn] if 0 in axes else drawn
    fill = filled(axial(labels, sorted(drawn), (3.0, 1.0, 0.8)))
    other = filled(axial(np.flip(labels, axes).copy(), sorted(flipped_drawn), (3.0, 1.0, 0.8)))
    same(replace(fill, labels=np.flip(fill.labels, axes), confidence=np.flip(fill.confidence, axes)), other)


def test_what_ends_beyond_the_next_drawn_slice_is_filled_again_only_if_it_ends_elsewhere():
    labels = discs((4, 13, 8, 1), (8, 13, 8, 1), (4, 13, 22, 2), shape=(17, 26, 30), radius=4.0)
    drawn = [0, 4, 8, 14]
    before = filled(axial(labels, drawn))
    for change, is_again in (((4, 6, 22, 2), False), ((4, 13, 8, 1), True)):
        changed = labels.copy()
        changed[4][discs(change, shape=labels.shape, radius=5.0)[4] > 0] = change[-1]
        marked = before.labels.copy()
        marked[9:14] = 7
        after = axial(changed, drawn)
        again = ShapeInterpolator().refill(
            replace(before, labels=marked, confidence=before.confidence.copy()), after, None, [(Plane.AXIAL, 4)]
        )
        assert (again.labels[9:14] == 7).all() != is_again
        rest = np.r_[0:9, 14:17]
        np.testing.assert_array_equal(again.labels[rest], filled(after).labels[rest])


@settings(deadline=None, max_examples=40)
@given(MADE, st.integers(0, 999), DRAWN, st.permutations(range(1, 4)))
def test_the_order_of_the_structures_does_not_matter_where_they_end(made, seed, drawn, numbers):
    labels, table = made_labels(made, seed), np.array([0, *numbers], np.uint8)
    fill, other = (filled(axial(shown, sorted(drawn), (3.0, 1.0, 0.8))) for shown in (labels, table[labels]))
    same(replace(fill, labels=table[fill.labels]), other)


class KnowsAll:
    """A source that knows the whole volume, and finds the first label wherever the others are unsure."""

    values = (1,)

    def prepared(self, annotation, drawn, image):
        return ()

    def chance(self, place, drawn, prepared, watch):
        return np.full_like(place.inside, 0.9 if place.value in self.values else 0.0)

    def closed(self, drawn, gap, near):
        return None

    def far_share(self, value):
        return 0.8

    def reach(self, gap, prepared):
        return {1: (slice(0, gap.count), (slice(0, 26), slice(0, 30)))}


def test_where_a_source_that_knows_the_whole_volume_counts_more_is_filled_again():
    labels = discs(*((index, 13, 8, 1) for index in range(33)), shape=(33, 26, 30))
    shares = {1: {"shape": 0.7, "all": 0.3}}
    first, second = [2, 4, 6, 8, 20], [2, 4, 8, 20]  # half of all slices are 2 apart, then 4
    mixture = ChanceInterpolator({"shape": ShapeInterpolator(), "all": KnowsAll()}, shares)
    for before, after in ((first, second), (second, first)):
        previous = mixture.fill(axial(labels, before), None)
        again = mixture.refill(previous, axial(labels, after), None, [(Plane.AXIAL, 6)])
        same(again, mixture.fill(axial(labels, after), None))


def test_a_source_without_a_share_changes_nothing():
    """It finds the structure everywhere; a method may depend on how much of the volume it looks at."""
    annotation = axial(discs((8, 13, 8, 1), (16, 13, 9, 1), shape=(33, 26, 30), radius=3), [8, 16])

    class LooksAround:
        """Depends on the size of the part that it is asked about."""

        def prepared(self, annotation, drawn, image):
            return ()

        def chance(self, place, drawn, prepared, watch):
            return np.full_like(place.inside, 0.4 if place.inside.shape[1:] == (26, 30) else 0.6, dtype=np.float32)

        def closed(self, drawn, gap, near):
            return None

    alone = ChanceInterpolator({"looks": LooksAround()}, {1: {"looks": 1.0}}).fill(annotation, None)
    shares = {1: {"looks": 1.0, "all": 0.0}}
    beside = ChanceInterpolator({"looks": LooksAround(), "all": KnowsAll()}, shares).fill(annotation, None)
    same(beside, alone)


def test_structures_whose_labels_have_changed_keep_their_own_shares_and_scores():
    """As after the segments were put into another order, between two fills in one scene."""
    labels = blobs(3, (25, 30, 34), 2)
    image = noisy_image(labels)
    numbers, drawn = np.array([0, 2, 1], np.uint8), list(range(0, 25, 4))
    names = {1: "one", 2: "two"}, {2: "one", 1: "two"}
    before, after = (
        replace(axial(shown, drawn), names=own) for shown, own in zip((labels, numbers[labels]), names, strict=True)
    )
    method = interpolator_named("auto")
    previous = finished_fill(method, before, lambda: image, names[0])
    found = finished_fill(method, after, lambda: image, names[1], None, previous)
    whole = finished_fill(interpolator_named("auto"), after, lambda: image, names[1])
    same(found.fill, whole.fill)
    assert found.fill.shares == whole.fill.shares
    assert found.summary == whole.summary
