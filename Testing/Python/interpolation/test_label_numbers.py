"""Which number a structure has is chance: other numbers must give the same fill, with other numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_volumes import noisy_image
from sparse_fills import annotation_of, axial, blobs, filled
from SparseAnnotateLib.core import Plane
from SparseAnnotateLib.interpolation import AutoInterpolator, interpolator_named

NUMBERS = st.permutations(range(1, 5)) | st.lists(st.integers(1, 900), min_size=4, max_size=4, unique=True)


def blocks(seed: int) -> np.ndarray:
    """(13, 24, 28) labels in blocks of 4 x 4 pixels: outlines equally far from a voxel are everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 5, (13, 4, 5)).astype(np.uint16)
    return np.pad(coarse.repeat(4, 1).repeat(4, 2), ((0, 0), (4, 4), (4, 4)))


def table_of(numbers) -> np.ndarray:
    return np.array([0, *numbers], dtype=np.uint16)


@pytest.mark.parametrize("method", ["shape", "random_walk", "auto"])
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), NUMBERS, st.integers(2, 5), st.booleans(), st.sampled_from([blocks, blobs]))
def test_other_numbers_give_the_same_fill(method, seed, numbers, step, in_two_planes, made):
    labels, table = made(seed).astype(np.uint16), table_of(numbers)
    slices = {Plane.AXIAL: list(range(0, 13, step))} | ({Plane.CORONAL: [9, 15]} if in_two_planes else {})
    image = noisy_image(labels, seed)
    fills = [filled(annotation_of(x, slices, (2, 1, 1)), method, image) for x in (labels, table[labels])]
    np.testing.assert_array_equal(table[fills[0].labels], fills[1].labels)
    np.testing.assert_array_equal(fills[0].confidence, fills[1].confidence)
    assert {table[v]: shares for v, shares in fills[0].shares.items()} == dict(fills[1].shares)


@pytest.mark.parametrize("method", ["shape", "random_walk", "auto"])
def test_other_numbers_give_the_same_when_some_gaps_are_filled_again(method):
    labels, image = blocks(3), noisy_image(blocks(3))
    for numbers in ((1, 2, 3, 4), (4, 2, 1, 3)):
        table = table_of(numbers)
        before, after = (axial(table[labels], drawn, (2, 1, 1)) for drawn in ([0, 4, 12], [0, 4, 8, 12]))
        previous = filled(before, method, image)
        again = interpolator_named(method).refill(previous, after, image, [(Plane.AXIAL, 8)])
        if numbers == (1, 2, 3, 4):
            first = again
    np.testing.assert_array_equal(table[first.labels], again.labels)
    np.testing.assert_array_equal(first.confidence, again.confidence)


def test_methods_that_fare_equally_well_share_voxels_out_alike_whatever_the_numbers():
    class Half:
        needs_image = uses_image = False

        def __init__(self, claimed, table):
            self.claimed, self.table = claimed, table

        def fill(self, annotation, image, watch=None):
            fill = filled(annotation)
            labels = np.where(self.claimed > 0, self.table[self.claimed], fill.labels).astype(fill.labels.dtype)
            return type(fill)(labels, fill.confidence)

    labels = np.zeros((7, 12, 12), np.uint8)
    labels[[0, 6], 2:5, 2:5], labels[[0, 6], 6:10, 6:10] = 1, 2
    claims = [np.zeros_like(labels) for _ in range(2)]
    claims[0][3, 5, 5], claims[1][3, 5, 5] = 1, 2  # both methods claim it, each for another structure
    found = []
    for table in (np.array([0, 1, 2], np.uint8), np.array([0, 2, 1], np.uint8)):
        methods = {"one": Half(claims[0], table), "two": Half(claims[1], table)}
        fill = filled(axial(table[labels], [0, 6]), AutoInterpolator(methods))
        assert dict(fill.shares) == {value: {"one": 0.5, "two": 0.5} for value in table[1:]}
        found.append(int(np.argwhere(table == fill.labels[3, 5, 5])[0, 0]))
    assert found[0] == found[1]
