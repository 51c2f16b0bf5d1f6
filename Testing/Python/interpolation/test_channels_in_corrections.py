"""Corrections of images of several channels: each structure's follow the channel that shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.corrections import Corrections, Stroke
from SparseAnnotateLib.core.images import read_labels, write_image
from SparseAnnotateLib.core.intensities import Intensities
from SparseAnnotateLib.interpolation import corrected_fill, finished_fill
from SparseAnnotateLib.interpolation.channel_mixtures import ChannelMixture
from SparseAnnotateLib.interpolation.correcting import correct
from SparseAnnotateLib.interpolation.interpolator import interpolator_named
from SparseAnnotateLib.interpolation.seen_channels import (
    MixedImage,
    SeenChannels,
    finding_image_of_structure,
    image_of_structure,
)
from SparseAnnotateLib.worker.correct_request import CorrectRequest
from SparseAnnotateLib.worker.correct_request import correct as correct_case
from SparseAnnotateLib.worker.fill_request import FillRequest, fill

SHAPE = (32, 40, 40)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE)
LEFT, RIGHT = ball(SHAPE, 7, (16, 20, 11)), ball(SHAPE, 6, (16, 20, 29))
TRUTH = LEFT + 2 * RIGHT
RNG = np.random.default_rng(5)
SHOWS_LEFT, SHOWS_RIGHT = ((100.0 * part + 5.0 * RNG.normal(size=SHAPE)).astype(np.float32) for part in (LEFT, RIGHT))
NOISE = RNG.normal(size=SHAPE).astype(np.float32)
NAMES = {1: "left", 2: "right"}
STROKES = {value: Stroke.of(ball(SHAPE, 2, (21, 20, place)) > 0, value, True) for value, place in ((1, 11), (2, 29))}


def annotation(*strokes, drawn=(14, 16)):
    found = SparseAnnotation.from_slices(TRUTH, GEOMETRY, Plane.AXIAL, drawn)
    return replace(found, corrections=Corrections(SHAPE, strokes)) if strokes else found


def filled(what, *channels, previous=None):
    image = channels[0] if len(channels) == 1 else np.stack(channels)
    return finished_fill(interpolator_named("shape"), what, lambda: image, NAMES, previous=previous)


def assert_same(one, other):
    np.testing.assert_array_equal(one.fill.labels, other.fill.labels)
    np.testing.assert_array_equal(one.fill.confidence, other.fill.confidence)


@pytest.mark.parametrize("channels", [(NOISE, SHOWS_LEFT), (SHOWS_LEFT, NOISE), (NOISE, NOISE[::-1], SHOWS_LEFT)])
def test_a_channel_that_tells_nothing_changes_no_correction(channels):
    what = annotation(STROKES[1])
    alone = filled(what, SHOWS_LEFT)
    assert_same(filled(what, *channels), alone)
    assert np.any(filled(what, NOISE).fill.labels != alone.fill.labels)


def test_the_corrections_of_each_structure_follow_the_channel_that_shows_it():
    both = filled(annotation(*STROKES.values()), SHOWS_LEFT, SHOWS_RIGHT)
    for value, image in ((1, SHOWS_LEFT), (2, SHOWS_RIGHT)):
        alone = filled(annotation(STROKES[value]), image)
        np.testing.assert_array_equal(both.fill.labels == value, alone.fill.labels == value)


def test_a_fill_is_as_if_corrected_live():
    plain = filled(annotation(), NOISE, SHOWS_LEFT).fill
    labels, confidence = plain.labels.copy(), plain.confidence.copy()
    image, weights = image_of_structure([NOISE, SHOWS_LEFT], annotation(), 1)
    assert image is SHOWS_LEFT
    assert weights == (0.0, 1.0)
    correct(labels, confidence, image, annotation(STROKES[1]), STROKES[1])
    again = filled(annotation(STROKES[1]), NOISE, SHOWS_LEFT).fill
    np.testing.assert_array_equal(again.labels, labels)
    np.testing.assert_array_equal(again.confidence, confidence)


def test_where_only_several_channels_show_a_structure_they_are_mixed():
    other = 60.0 * RNG.normal(size=SHAPE)
    images = [(other + 25.0 * LEFT).astype(np.float32), other.astype(np.float32)]
    mixed, weights = image_of_structure(images, annotation(drawn=(12, 16, 20)), 1)
    assert weights[0] * weights[1] < 0
    assert mixed.shape == SHAPE
    whole = mixed[:, :, :]
    apart = [np.abs(i[LEFT > 0].mean() - i[LEFT == 0].mean()) / i[LEFT == 0].std() for i in (whole, *images)]
    assert apart[0] > 3 * max(apart[1:])
    # A part is computed by itself, as the whole would be, and as the whole is an image of its own.
    part = slice(3, 9), slice(2, 30, 3), slice(None)
    np.testing.assert_array_equal(mixed[part], whole[part])
    stroke = STROKES[1]
    results = []
    for image in (mixed, whole):
        plain = filled(annotation(drawn=(12, 16, 20)), *images).fill
        found = plain.labels.copy(), plain.confidence.copy()
        correct(*found, image, annotation(stroke, drawn=(12, 16, 20)), stroke)
        results.append(found)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_what_shows_a_structure_is_found_in_pieces_too():
    """One for each channel, for each slice of each, and for each slice that shows it."""
    drawn = annotation(drawn=(12, 16, 20))
    for images in ([NOISE, SHOWS_LEFT], [(LEFT + 5.0 * NOISE).astype(np.float32), 5.0 * NOISE]):
        pieces, steps = 0, finding_image_of_structure(images, drawn, 1)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                found, weights = end.value
                break
            pieces += 1
        assert pieces >= 2 + 2 * 3 + 3
        expected, same = image_of_structure(images, drawn, 1)
        assert weights == same
        assert np.array_equal(found[:, :, :], expected[:, :, :])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mixture_is_read_in_the_axes_of_the_volume(axis):
    values = np.random.default_rng(0).random((2, 6, 7, 8)).astype(np.float32)
    channels = [(np.moveaxis(one, axis, 0), Intensities.of(one), 0.0, 1.0) for one in values]
    mixture = ChannelMixture(np.array([1.0, -0.5], np.float32), -0.5, 2.0)
    mixed = MixedImage(values[0].shape, SeenChannels(channels, {1: mixture}), 1, axis)
    part = slice(1, 4), slice(None, None, 2), slice(5, 8)
    expected = (values[0] - 0.5 * values[1] + 0.5) / 2
    np.testing.assert_allclose(mixed[part], expected[part], rtol=1e-6)


def test_without_a_drawn_slice_that_shows_the_structure_it_is_the_first_channel():
    for what in (annotation(drawn=(1,)), annotation(drawn=())):
        assert image_of_structure([NOISE, SHOWS_LEFT], what, 1)[0] is NOISE
    assert image_of_structure([SHOWS_LEFT], annotation(), 1)[0] is SHOWS_LEFT


def test_corrections_are_spread_again_when_another_channel_shows_their_structure_now(monkeypatch):
    """A slice far from them may decide which channel that is."""
    spread, own = [], corrected_fill.correct
    monkeypatch.setattr(corrected_fill, "correct", lambda *given: spread.append(given[4].value) or own(*given))
    labels = np.zeros((150, 40, 40), np.uint8)
    labels[:] = LEFT[16]
    geometry = VolumeGeometry.from_spacing(labels.shape)
    rng = np.random.default_rng(1)
    # Seen in the first channel at one end, in the second channel at the other.
    one, two = (20.0 * rng.normal(size=labels.shape).astype(np.float32) for _channel in range(2))
    one[:10] += 60.0 * labels[:10]
    two[100:] += 900.0 * labels[100:]
    stroke = Stroke.of(ball(labels.shape, 2, (4, 33, 33)) > 0, 1, True)

    def what(*drawn):
        found = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, drawn)
        return replace(found, corrections=Corrections(labels.shape, (stroke,)))

    before = filled(what(0, 8, 60), one, two)
    again = filled(what(0, 8, 60, 120, 130, 140), one, two, previous=before)
    assert spread == [1, 1]
    assert_same(again, filled(what(0, 8, 60, 120, 130, 140), one, two))
    spread.clear()
    once_more = filled(what(0, 8, 60, 110, 120, 130, 140), one, two, previous=again)
    assert spread == []
    assert_same(once_more, filled(what(0, 8, 60, 110, 120, 130, 140), one, two))


def test_a_case_is_corrected_by_the_channel_that_shows_the_structure(tmp_path):
    write_image(tmp_path / "shown.nrrd", SHOWS_LEFT, GEOMETRY)
    found = {}
    for kind in ("alone", "noise first"):
        channels = ("noise", "shown") if kind == "noise first" else ()
        cohort = Cohort.create(tmp_path / kind, kind, NAMES, channels=channels)
        if channels:
            cohort.add_case("case", NOISE, GEOMETRY, further={"shown": tmp_path / "shown.nrrd"})
        else:
            cohort.add_case("case", SHOWS_LEFT, GEOMETRY)
        cohort.save_annotation("case", annotation())
        fill(FillRequest(str(cohort.folder), method="shape"), Watch())
        at = (GEOMETRY.matrix @ [11, 20, 21, 1])[:3]
        correct_case(CorrectRequest(str(cohort.folder), "case", "left", tuple(at)), Watch())
        found[kind] = read_labels(cohort.fill_path("case"), GEOMETRY)
    np.testing.assert_array_equal(found["noise first"], found["alone"])
