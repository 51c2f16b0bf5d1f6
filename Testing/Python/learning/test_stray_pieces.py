"""What clean-up leaves out of a prediction: pieces in an image's empty surroundings, and far from anything drawn."""

from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.learning.data.surroundings import surroundings_value, without_surroundings
from SparseAnnotateLib.learning.prediction.clean_up import CleanUp, cleaned
from SparseAnnotateLib.learning.prediction.predictor import Predictor
from SparseAnnotateLib.learning.prediction.stray_pieces import DrawnVoxels, without_far_pieces
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.worker import requests

SHAPE, SPACING = (40, 48, 64), (2.0, 1.0, 1.0)


def drawn_on(labels: np.ndarray, indices, axis: int = 0) -> DrawnVoxels:
    mask = np.zeros(labels.shape, bool)
    for index in indices:
        mask[(slice(None),) * axis + (index,)] = True
    return DrawnVoxels(np.where(mask, labels, 0), mask, tuple((axis, index) for index in indices))


def a_long_structure() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:36, 10:20, 10:20] = 1
    return labels


def test_a_piece_far_from_the_drawn_structure_is_left_out_and_counted():
    labels = a_long_structure()
    predicted = labels.copy()
    predicted[18:22, 40:44, 56:60] = 1  # 36 mm away; drawn slices are 8 mm apart
    predicted[19:21, 22:24, 10:14] = 1  # close by, between two drawn slices
    found, stray = without_far_pieces(predicted, 2, SPACING, drawn_on(labels, range(2, 40, 4)))
    assert [(s.value, s.pieces, s.voxels) for s in stray] == [(1, 1, 64)]
    assert not found[:, 40:].any()
    assert found[19, 22, 10] == 1
    np.testing.assert_array_equal(found[:, :20], predicted[:, :20])


def test_nothing_is_left_out_of_a_scattered_structure_or_one_hardly_drawn():
    rng = np.random.default_rng(0)
    scattered = np.zeros(SHAPE, np.uint8)
    for place in rng.integers(2, (36, 44, 60), (60, 3)):
        scattered[tuple(slice(p, p + 3) for p in place)] = 1
    found, stray = without_far_pieces(scattered, 2, SPACING, drawn_on(scattered, range(2, 40, 4)))
    assert not stray
    np.testing.assert_array_equal(found, scattered)
    labels = a_long_structure()
    predicted = labels.copy()
    predicted[20, 40:44, 56:60] = 1
    assert not without_far_pieces(predicted, 2, SPACING, drawn_on(labels, (8, 14, 22, 30)))[1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_beyond_an_outermost_slice_that_shows_the_structure_nothing_is_left_out(axis):
    labels = np.moveaxis(a_long_structure(), 0, axis)
    predicted = labels.copy()
    beyond = [slice(40, 44)] * 3
    beyond[axis] = slice(34, 37)
    predicted[tuple(beyond)] = 1
    indices = range(8, 34, 4)  # the last one at 32 still shows the structure
    assert not without_far_pieces(predicted, 2, (1.0, 1.0, 1.0), drawn_on(labels, indices, axis))[1]
    # The last drawn slice is now empty, so the structure does not extend beyond it.
    predicted[tuple(beyond)] = 0
    beyond[axis] = slice(39, 40)
    predicted[tuple(beyond)] = 1
    ended = drawn_on(labels, [*indices, 38], axis)
    assert len(without_far_pieces(predicted, 2, (1.0, 1.0, 1.0), ended)[1]) == 1


def test_slices_in_two_planes_do_not_make_the_gaps_between_them_look_small():
    labels = a_long_structure()
    predicted = labels.copy()
    predicted[18:20, 26:28, 12:14] = 1  # 6 mm from the structure, in a gap of 16 mm
    one, other = drawn_on(labels, range(2, 40, 8)), drawn_on(labels, (12, 16), axis=1)
    both = DrawnVoxels(np.maximum(one.classes, other.classes), one.mask | other.mask, (*one.slices, *other.slices))
    assert not without_far_pieces(predicted, 2, SPACING, both)[1]


def test_uniform_surroundings_are_found_where_there_are_any():
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(size=SHAPE)).astype(np.float16)
    assert surroundings_value(image) is None
    inside = ball(SHAPE, 15.0) > 0
    image[~inside] = -0.5
    assert surroundings_value(image) == -0.5
    image[20, 24, 32] = -0.5  # as dark as the surroundings, but within
    classes = np.ones(SHAPE, np.uint8)
    found, count = without_surroundings(classes, image)
    assert count == np.count_nonzero(~inside)
    np.testing.assert_array_equal(found > 0, inside)
    # Tissue that reaches the faces of the image does not close the surroundings off.
    image[:, :, 30:34] = 1.0
    assert not without_surroundings(classes, image)[0][0, 0].reshape(-1)[[0, -1]].any()


def test_surroundings_are_found_in_large_images_and_on_single_slices():
    rng = np.random.default_rng(0)
    image = np.abs(rng.normal(size=(150, 256, 256))).astype(np.float16)
    rows, columns = np.indices((256, 256)) - 128
    image[:, rows**2 + columns**2 > 70**2] = -0.5
    image[1:-1, 128, 128] = -0.5  # a hole in the body
    assert surroundings_value(image) == -0.5
    for part, surrounded in ((image, image == -0.5), (image[70:71], image[70:71] == -0.5)):
        expected = surrounded.copy()
        expected[:, 128, 128] = False
        found, count = without_surroundings(np.ones(part.shape, np.uint8), part)
        assert count == np.count_nonzero(expected)
        np.testing.assert_array_equal(found == 0, expected)


def test_beyond_an_outermost_slice_that_is_partly_undecided_nothing_is_left_out():
    labels = a_long_structure()
    predicted = labels.copy()
    predicted[38:40, 40:44, 56:60] = 1
    drawn = drawn_on(labels, [*range(2, 34, 4), 37])
    assert without_far_pieces(predicted, 2, SPACING, drawn)[1]
    drawn.mask[37, 40:44] = False
    assert not without_far_pieces(predicted, 2, SPACING, drawn)[1]


def cohort_in_the_dark(folder, reaches_out: bool) -> Cohort:
    """A bright ball in uniform darkness, every fourth slice drawn; if it `reaches_out`, a part of the dark as well."""
    geometry = VolumeGeometry.from_spacing((24, 28, 32))
    labels = ball()
    image = np.where(labels > 0, 100 + np.random.default_rng(0).normal(size=labels.shape), 0).astype(np.float32)
    if reaches_out:
        labels[:, :3, :3] = 1
    cohort = Cohort.create(folder, "dark", {1: "ball"})
    cohort.add_case("one", image, geometry)
    cohort.save_annotation("one", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(0, 24, 4)))
    return cohort


@pytest.mark.parametrize("reaches_out", [False, True])
def test_a_run_knows_whether_its_structures_reach_into_the_surroundings(tmp_path, reaches_out):
    cohort = cohort_in_the_dark(tmp_path / "c", reaches_out)
    settings = TrainingSettings(iterations=1, batch=1, patch=(16, 16, 32), device="cpu")
    assert train(cohort, "r", settings).clear_surroundings is not reaches_out
    predictor = Predictor(cohort, "r", "cpu")
    network = predictor._models[0].network
    for parameter in network.parameters():
        parameter.data.zero_()
    network[1].bias.data[1] = 1.0  # the ball everywhere
    found = predictor.predict("one")
    undrawn = ~cohort.annotation("one").supervised_mask()
    dark = (cohort.image("one")[0] == 0) & undrawn
    kept = predictor.predict("one", clean_up=CleanUp(stray_pieces=False))
    if reaches_out:
        assert not any("surroundings" in note for note in found.notes)
    else:
        assert not found.labels[dark].any()
        assert "empty surroundings of the image were left out" in found.notes[0]
    assert not kept.notes
    blank = kept.labels[dark] == 0  # windows that show nothing but darkness are background anyway
    assert not blank.all()


def test_what_was_left_out_is_said_in_the_result_of_the_request(tmp_path, monkeypatch):
    cohort = cohort_in_the_dark(tmp_path / "c", reaches_out=False)
    settings = TrainingSettings(iterations=1, batch=1, patch=(16, 16, 32), device="cpu")
    train(cohort, "r", settings)
    stray = np.zeros((24, 28, 32), np.uint8)
    stray[2, 25:27, 28:31] = 1
    monkeypatch.setattr(
        "SparseAnnotateLib.learning.prediction.predictor.cleaned",
        lambda classes, *rest: cleaned(np.maximum(classes * 0 + ball(), stray), *rest),
    )
    request = requests.PredictRequest(str(cohort.folder), "r", model_only=True)
    (row,) = requests.predict(request, Watch())
    assert row.notes == ["6 voxels that the model labeled in the empty surroundings of the image were left out."]
    (row,) = requests.predict(replace(request, stray_pieces=False), Watch())
    assert row.notes == []
