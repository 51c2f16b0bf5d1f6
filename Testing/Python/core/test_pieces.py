"""Large arrays in pieces: the same results, and no piece larger than it may be."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, VolumeGeometry, pieces
from SparseAnnotateLib.core.images import read_labels, read_percent, write_image
from SparseAnnotateLib.core.pieces import finding_box, result_of, slabs
from SparseAnnotateLib.core.slab_reading import reading_labels, reading_percent
from SparseAnnotateLib.core.voxel_boxes import bounding_box
from SparseAnnotateLib.core.voxel_values import values_in

SHAPE = (7, 5, 6)
GEOMETRY = VolumeGeometry.from_matrix(SHAPE, np.diag([-1.0, 1.0, 2.0, 1.0]))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2 * 5 * 6)


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return np.where(rng.random(SHAPE) < 0.3, rng.integers(1, 90, SHAPE), 0).astype(np.uint8)


def steps_and_result(steps):
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return count, end.value
        count += 1


def test_slabs_cover_every_layer_once_and_none_is_larger_than_a_piece():
    found = list(slabs(SHAPE, 1))
    assert [index for slab in found for index in range(slab.start, slab.stop)] == list(range(7))
    assert max(slab.stop - slab.start for slab in found) == 2
    assert [slab.stop - slab.start for slab in slabs(SHAPE, 8)] == [1] * 7


def test_the_box_found_in_pieces_is_the_bounding_box(labels):
    labels[:2], labels[:, 4:], labels[:, :, :1] = 0, 0, 0
    assert result_of(finding_box(labels)) == bounding_box(labels)
    assert result_of(finding_box(np.zeros_like(labels))) is None


@pytest.mark.parametrize("compress", [True, False])
def test_a_file_that_was_written_here_is_read_in_pieces(tmp_path, labels, compress):
    write_image(tmp_path / "labels.nrrd", labels, GEOMETRY, compress=compress)
    count, found = steps_and_result(reading_labels(tmp_path / "labels.nrrd", GEOMETRY))
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.uint8
    assert count >= 4  # two layers at a time
    count, found = steps_and_result(reading_percent(tmp_path / "labels.nrrd", GEOMETRY))
    np.testing.assert_array_equal(found, labels)
    assert count >= 4


def test_other_files_are_read_as_ever(tmp_path, labels):
    flipped = GEOMETRY.matrix @ np.array([[-1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    other = VolumeGeometry.from_matrix(SHAPE, flipped)
    write_image(tmp_path / "flipped.nrrd", labels[:, :, ::-1].copy(), other)
    write_image(tmp_path / "many.nrrd", labels.astype(np.uint16) * 300, GEOMETRY)
    write_image(tmp_path / "wide.nrrd", labels.astype(np.uint16), GEOMETRY)
    write_image(tmp_path / "other.nii.gz", labels, GEOMETRY)
    for name in ("flipped.nrrd", "many.nrrd", "wide.nrrd", "other.nii.gz"):
        count, found = steps_and_result(reading_labels(tmp_path / name, GEOMETRY))
        wanted = read_labels(tmp_path / name, GEOMETRY)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
        assert count == 0


@pytest.mark.parametrize("damage", ["cut off", "a changed byte", "another grid", "missing", "above 100"])
def test_what_is_wrong_with_a_file_is_said_as_ever(tmp_path, labels, damage):
    path, geometry, read, reading = tmp_path / "labels.nrrd", GEOMETRY, read_labels, reading_labels
    if damage == "above 100":
        labels[3, 2, 2], read, reading = 101, read_percent, reading_percent
    write_image(path, labels, GEOMETRY)
    content = bytearray(path.read_bytes())
    if damage == "cut off":
        path.write_bytes(content[:-9])
    elif damage == "a changed byte":
        content[-20] ^= 4
        path.write_bytes(content)
    elif damage == "another grid":
        geometry = VolumeGeometry.from_matrix((7, 5, 7), GEOMETRY.matrix)
    elif damage == "missing":
        path.unlink()
    with pytest.raises(BadInputError) as wanted:
        read(path, geometry)
    with pytest.raises(BadInputError) as found:
        result_of(reading(path, geometry))
    assert found.value.message == wanted.value.message


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, labels):
    path = tmp_path / "labels.nrrd"
    write_image(path, labels, GEOMETRY)
    steps = reading_labels(path, GEOMETRY)
    next(steps)
    next(steps)
    newer = np.roll(labels, 1, axis=0)
    write_image(path, newer, GEOMETRY)
    np.testing.assert_array_equal(result_of(steps), newer)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_values_of_an_array_are_those_of_unique(labels, dtype):
    array = labels.astype(dtype) * (1 if dtype is np.uint8 else 300)
    for part in (array, array[::-1, ::2], array[:0], np.zeros_like(array)):
        assert values_in(part) == np.unique(part).tolist()
