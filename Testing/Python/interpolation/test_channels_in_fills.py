"""Fills of images of several channels."""

from __future__ import annotations

import numpy as np
import pytest

from small_volumes import ball
from sparse_fills import annotation_of
from SparseAnnotateLib.core import BadInputError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.interpolation import finished_fill
from SparseAnnotateLib.interpolation.channel_mixtures import channel_mixture
from SparseAnnotateLib.interpolation.drawn_stack import drawn_stacks
from SparseAnnotateLib.interpolation.interpolators.random_walk import RandomWalkInterpolator
from SparseAnnotateLib.interpolation.label_fields import DrawnSlices
from SparseAnnotateLib.interpolation.seen_channels import image_of_structure
from SparseAnnotateLib.worker.fill_request import FillRequest, fill

SHAPE = (30, 40, 44)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE)
RNG = np.random.default_rng(3)


def bent_tube():
    """A tube whose middle moves back and forth, which shapes alone do not show."""
    grid = np.indices(SHAPE)
    middle = 20 + 9 * np.sin(grid[0] / 3.0)
    return (np.hypot(grid[1] - middle, grid[2] - 22) < 7).astype(np.uint8)


LABELS = bent_tube()
DRAWN = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 30, 6))
SHOWN = (100.0 * LABELS + 8.0 * RNG.normal(size=SHAPE)).astype(np.float32)
NOISE = RNG.normal(size=SHAPE).astype(np.float32)


def walked(*channels):
    image = channels[0] if len(channels) == 1 else np.stack(channels)
    return RandomWalkInterpolator().fill(DRAWN, image, Watch()).labels


def dice(labels):
    return 2 * np.count_nonzero(labels & LABELS) / (labels.sum() + LABELS.sum())


def test_a_channel_that_tells_nothing_changes_nothing():
    alone = walked(SHOWN)
    assert dice(alone) > 0.9
    assert np.array_equal(walked(SHOWN, NOISE), alone)
    assert np.array_equal(walked(NOISE, SHOWN), alone)
    assert np.array_equal(walked(NOISE, np.zeros_like(NOISE), SHOWN), alone)
    assert dice(walked(NOISE)) < dice(alone) - 0.05


def test_a_structure_that_only_several_channels_show_together_is_found():
    # Each channel alone shows something else much more strongly; only their difference is the structure.
    other = 60.0 * RNG.normal(size=SHAPE)
    one, two = (other + 25.0 * LABELS).astype(np.float32), other.astype(np.float32)
    together = dice(walked(one, two))
    assert together > max(dice(walked(one)), dice(walked(two))) + 0.02
    stack = drawn_stacks(DRAWN)[0]
    layers = np.stack([(c - c.min()) / np.ptp(c) for c in (one, two)])[:, stack.indices]
    weights = channel_mixture(layers, stack, 1).weights
    assert weights[0] * weights[1] < 0


def test_each_structure_has_its_own_channel():
    """One is seen in the first channel, the other in the second."""
    left, right = ball(SHAPE, 6.0, (15, 12, 12)), ball(SHAPE, 6.0, (15, 28, 30))
    labels = left + 2 * right
    drawn = SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, range(10, 22, 4))
    stack = drawn_stacks(drawn)[0]
    images = [(50.0 * mask + 5 * RNG.normal(size=SHAPE)).astype(np.float32) for mask in (left, right)]
    layers = np.stack([(c - c.min()) / np.ptp(c) for c in images])[:, stack.indices]
    for value, expected in ((1, [1, 0]), (2, [0, 1])):
        found = channel_mixture(layers, stack, value)
        assert found.weights.tolist() == expected
        part = layers[:, 0]
        assert np.array_equal(found.of(lambda number, part=part: part[number]), np.clip(part[value - 1], 0, 1))


def test_a_structure_that_only_slices_of_another_plane_show_has_its_own_channel():
    left, right = ball(SHAPE, 6.0, (15, 12, 12)), ball(SHAPE, 6.0, (15, 28, 30))
    labels = left + 2 * right
    labels[10:22:4][labels[10:22:4] == 2] = 0
    drawn = annotation_of(labels, {Plane.AXIAL: [10, 14, 18], Plane.CORONAL: [27]})
    images = [(50.0 * mask + 5 * RNG.normal(size=SHAPE)).astype(np.float32) for mask in (left, right)]
    seen = RandomWalkInterpolator().prepared(drawn, DrawnSlices.of(drawn), np.stack(images))
    assert DrawnSlices.of(drawn).main.axis == 0
    assert {value: seen.mixtures[value].weights.tolist() for value in (1, 2)} == {1: [1, 0], 2: [0, 1]}
    # So it is for corrections.
    assert image_of_structure(images, drawn, 2)[0] is images[1]


def test_a_fill_that_is_made_slice_by_slice_is_that_of_all_slices_together():
    """Which channels count follows from all drawn slices, so that all gaps depend on each."""
    rng = np.random.default_rng(8)
    other = 60.0 * rng.normal(size=SHAPE)
    image = np.stack([(other + 25.0 * LABELS).astype(np.float32), other.astype(np.float32)])
    done = None
    for count in range(2, 6):
        drawn = SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 2 + 6 * count, 6))
        done = finished_fill(RandomWalkInterpolator(), drawn, lambda: image, {1: "tube"}, previous=done)
    whole = finished_fill(RandomWalkInterpolator(), drawn, lambda: image, {1: "tube"})
    assert np.array_equal(done.fill.labels, whole.fill.labels)


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(BadInputError, match="image has shape"):
        RandomWalkInterpolator().fill(DRAWN, np.stack([SHOWN[1:], NOISE[1:]]), Watch())


def test_the_fill_of_a_case_uses_the_channels_it_has(tmp_path):
    cohort = Cohort.create(tmp_path / "c", "tubes", {1: "tube"}, channels=("noise", "shown"))
    write_image(tmp_path / "shown.nrrd", SHOWN, GEOMETRY)
    cohort.add_case("both", NOISE, GEOMETRY, further={"shown": tmp_path / "shown.nrrd"})
    cohort.add_case("one", NOISE, GEOMETRY)
    for name in ("both", "one"):
        cohort.save_annotation(name, DRAWN)
    for result in fill(FillRequest(str(tmp_path / "c"), method="random_walk"), Watch()):
        labels = read_labels(result.path, GEOMETRY)
        expected = walked(SHOWN) if result.case == "both" else walked(NOISE)
        assert np.array_equal(labels, expected)
        said = "'one' has no image of 'shown', so it was filled without."
        assert (said in result.warnings) == (result.case == "one")
