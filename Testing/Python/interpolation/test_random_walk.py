from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from small_volumes import ball, noisy_image
from sparse_fills import annotation_of, axial, bent_tube, blobs, filled
from SparseAnnotateLib.core import BadInputError, CancelledError, Plane, Watch, metrics
from SparseAnnotateLib.core.pieces import result_of
from SparseAnnotateLib.interpolation.interpolators import random_walk
from SparseAnnotateLib.interpolation.interpolators.random_walk import RandomWalkInterpolator
from SparseAnnotateLib.interpolation.walk_solving import _unknowns


def test_the_image_shows_where_a_structure_goes_that_shapes_alone_cannot_know():
    labels = bent_tube()
    annotation = axial(labels, [0, 20])
    image = noisy_image(labels)
    by_shape, by_image = filled(annotation), filled(annotation, "random_walk", image)
    scores = [metrics.dice(f.labels > 0, labels > 0) for f in (by_shape, by_image)]
    assert scores[1] > scores[0] + 0.3
    assert scores[1] > 0.8


def test_a_swelling_structure_is_followed_where_intensities_drift_between_distant_drawn_slices():
    labels = np.zeros((25, 60, 60), np.uint8)
    for index in range(25):
        labels[index][np.hypot(*np.ogrid[-30:30, -30:30]) < 5 + 15 * np.sin(np.pi * index / 24)] = 1
    # Half-way between the drawn slices the surroundings are brighter than the structure is on them.
    drift = 150 * np.sin(np.pi * np.arange(25) / 24).astype(np.float32)
    fill = filled(axial(labels, [0, 24]), "random_walk", noisy_image(labels) + drift[:, None, None])
    assert metrics.dice(fill.labels > 0, labels > 0) > 0.75


@pytest.mark.parametrize("shape", [(12, 20, 1), (12, 1, 20), (20, 2, 1), (12, 1, 1)])
def test_volumes_one_voxel_wide_are_filled(shape):
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 4, max(3 * n // 4, 1)) for n in shape)] = 1
    drawn = [0, 4, 8, shape[0] - 1]
    fill = filled(axial(labels, drawn), "random_walk", noisy_image(labels))
    np.testing.assert_array_equal(fill.labels[drawn], labels[drawn])
    assert metrics.dice(fill.labels > 0, labels > 0) > 0.7


def test_an_image_that_shows_nothing_leaves_the_fill_to_the_shapes():
    labels = ball(radius=9.0)
    annotation = axial(labels, [6, 9, 12, 15, 18])
    blank = np.zeros(labels.shape, np.float32)
    by_shape, by_image = filled(annotation), filled(annotation, "random_walk", blank)
    inside = slice(6, 19)
    assert metrics.dice(by_image.labels[inside] > 0, by_shape.labels[inside] > 0) > 0.93


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e6])
def test_the_unit_of_the_intensities_does_not_matter(factor):
    labels = bent_tube()
    image = noisy_image(labels) * np.float32(factor)
    fill = filled(axial(labels, [0, 10, 20]), "random_walk", image + np.float32(3 * factor))
    plain = filled(axial(labels, [0, 10, 20]), "random_walk", noisy_image(labels))
    assert (fill.labels == plain.labels).mean() > 0.999


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float64])
def test_images_of_any_type_are_looked_at(kind):
    labels = bent_tube()
    image = np.clip(noisy_image(labels) + 60, 0, 255).astype(kind)
    assert metrics.dice(filled(axial(labels, [0, 10, 20]), "random_walk", image).labels > 0, labels > 0) > 0.8


def test_touching_labels_share_out_the_space_between_them():
    labels = blobs(4)
    labels[labels == 3] = 2
    image = noisy_image(labels)
    annotation = axial(labels, [0, 3, 6, 9, 12])
    fill = filled(annotation, "random_walk", image)
    assert set(np.unique(fill.labels)) == {0, 1, 2}
    assert [metrics.dice(fill.labels == v, labels == v) for v in (1, 2)] > [0.8, 0.8]


def test_drawn_slices_of_several_planes_stay_and_seed_the_walk():
    labels = bent_tube()
    image = noisy_image(labels)
    one = filled(axial(labels, [0, 20]), "random_walk", image)
    several = annotation_of(labels, {Plane.AXIAL: [0, 20], Plane.SAGITTAL: [24, 30], Plane.CORONAL: [25]})
    fill = filled(several, "random_walk", image)
    mask = several.supervised_mask()
    np.testing.assert_array_equal(fill.labels[mask], labels[mask])
    assert (fill.confidence[mask] == 100).all()
    assert (fill.confidence[~mask] < 100).all()
    assert metrics.dice(fill.labels > 0, labels > 0) >= metrics.dice(one.labels > 0, labels > 0) - 0.01


def test_flip_and_translation_of_the_input_flip_and_translate_the_output_but_for_rounding():
    labels = bent_tube()
    image = noisy_image(labels)
    plain = filled(axial(labels, [0, 7, 14, 20]), "random_walk", image).labels
    for axis in (1, 2):
        flipped = filled(
            axial(np.flip(labels, axis).copy(), [0, 7, 14, 20]), "random_walk", np.flip(image, axis).copy()
        )
        assert (np.flip(flipped.labels, axis) != plain).sum() <= 0.01 * plain.sum()
    moved = filled(axial(np.roll(labels, 3, 1), [0, 7, 14, 20]), "random_walk", np.roll(image, 3, 1)).labels
    assert (np.roll(moved, -3, 1) != plain).sum() <= 0.01 * plain.sum()
    again = filled(axial(labels, [0, 7, 14, 20]), "random_walk", image).labels
    np.testing.assert_array_equal(again, plain)


def test_a_band_too_large_for_memory_is_narrowed_and_the_fill_still_good(monkeypatch):
    labels = bent_tube()
    image = noisy_image(labels)
    monkeypatch.setattr(random_walk, "_MOST_UNKNOWNS", 20_000)
    sizes = []
    solved = random_walk._solved

    def counted(slab, free, *rest):
        sizes.append(free.sum())
        return solved(slab, free, *rest)

    monkeypatch.setattr(random_walk, "_solved", counted)
    fill = filled(axial(labels, [0, 20]), "random_walk", image)
    assert 0 < max(sizes) <= 20_000
    assert metrics.dice(fill.labels > 0, labels > 0) > 0.6


def test_confidence_is_lower_where_the_walk_is_undecided():
    labels = bent_tube()
    faint = noisy_image(labels) - 85 * labels
    fill = filled(axial(labels, [0, 20]), "random_walk", faint)
    undecided = ndimage.binary_dilation(fill.labels[10] > 0) & (fill.labels[10] == 0)
    assert fill.confidence[10][undecided].mean() < fill.confidence[10, 2, 2]
    assert fill.confidence[10, 2, 2] < 100


def test_cancel_takes_effect_within_a_gap():
    labels = bent_tube()
    annotation = axial(labels, [0, 20])
    calls = []

    class Impatient(Watch):
        def check(self):
            calls.append(1)
            if len(calls) > 3:
                raise CancelledError("Cancelled.")

    with pytest.raises(CancelledError):
        RandomWalkInterpolator().fill(annotation, noisy_image(labels), Impatient())


@pytest.mark.parametrize("shape", [(1, 5, 2), (2, 4, 2), (1, 2, 1), (3, 4, 5), (2, 2, 2)])
def test_the_matrix_of_the_unknowns_is_that_of_their_neighbours(shape):
    rng = np.random.default_rng(3)
    free = rng.random(shape) < 0.8
    free.flat[0] = True
    edges = [rng.random([n - (axis == one) for one, n in enumerate(shape)]).astype(np.float32) for axis in range(3)]
    count = int(free.sum())
    numbers = np.full(shape, -1)
    numbers[free] = np.arange(count)
    diagonal = (10 + rng.random(count)).astype(np.float32)
    expected = np.diag(diagonal)
    for axis, edge in enumerate(edges):
        for place in np.argwhere(np.ones(edge.shape, bool)):
            neighbour = place.copy()
            neighbour[axis] += 1
            one, other = numbers[tuple(place)], numbers[tuple(neighbour)]
            if one >= 0 and other >= 0:
                expected[one, other] = expected[other, one] = -edge[tuple(place)]
    np.testing.assert_array_equal(result_of(_unknowns(free, edges, diagonal)).toarray(), expected)


def test_hundreds_of_labels_walk():
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 100, (300, 2))
    rows, columns = np.indices((100, 100))
    cells = np.argmin((rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2, axis=2) + 1
    labels = np.stack([np.roll(cells, index // 2, 1) for index in range(9)]).astype(np.uint16)
    labels[:, :, :6] = 0
    edges = sum(np.abs(np.diff(labels.astype(int), axis=a, append=0)) > 0 for a in (1, 2)).astype(np.float32)
    fill = filled(axial(labels, [0, 4, 8]), "auto", 100 - 50 * edges)
    assert set(fill.methods) == set(np.unique(labels[::4])) - {0}
    assert (fill.labels == labels)[1:4].mean() > 0.75


def test_bad_images_are_named():
    labels = bent_tube()
    annotation = axial(labels, [0, 20])
    with pytest.raises(BadInputError, match="needs the image, and there is none"):
        filled(annotation, "random_walk")
    image = noisy_image(labels)
    image[3, 4, 5] = np.nan
    with pytest.raises(BadInputError, match="NaN"):
        filled(annotation, "random_walk", image)
    with pytest.raises(BadInputError, match="has shape"):
        filled(annotation, "random_walk", image[1:])


def test_one_drawn_slice_is_continued_where_the_image_agrees():
    labels = bent_tube()
    fill = filled(axial(labels, [10]), RandomWalkInterpolator(), noisy_image(labels))
    assert fill.labels[8].any()
    assert metrics.dice(fill.labels[7:14] > 0, labels[7:14] > 0) > 0.7


def test_empty_drawn_slices_fill_to_nothing():
    nothing = np.zeros((9, 20, 20), np.uint8)
    assert not filled(axial(nothing, [2, 6]), "random_walk", noisy_image(nothing)).labels.any()


def test_a_thin_bright_structure_of_a_large_dark_image_is_seen_though_few_voxels_of_it_are_sampled():
    labels = np.zeros((5, 1001, 1001), np.uint8)
    for index in range(5):
        labels[index, 501, 400 + 3 * index : 420 + 3 * index] = 1
    near = (slice(None), slice(460, 540), slice(360, 480))
    large, small = (
        filled(axial(part, [0, 4]), "random_walk", np.float32(1e-3) * part).labels for part in (labels, labels[near])
    )
    np.testing.assert_array_equal(small[2], labels[near][2])
    np.testing.assert_array_equal(large[near], small)
