"""Writing large images in slabs."""

from __future__ import annotations

import errno
import os
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    FileWriteError,
    Plane,
    SparseAnnotation,
    VolumeGeometry,
    slab_writing,
)
from SparseAnnotateLib.core.images import read_image
from SparseAnnotateLib.core.slab_writing import written_in_slabs

OBLIQUE = np.array([[0.0, -0.8, 1.2, 7.5], [0.9, 0.0, 0.0, -3.25], [0.0, 0.6, 1.6, 100.125], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize("compress", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    kind=st.sampled_from(["i1", "u1", "i2", ">i2", "u2", "i4", "u4", "f4", "f8"]),
    shape=st.tuples(*[st.integers(2, 7)] * 3),
    slab=st.integers(1, 400),
)
def test_what_is_written_in_slabs_of_any_size_is_read_bit_for_bit(tmp_path, compress, kind, shape, slab):
    array = (np.random.default_rng(len(kind)).normal(60, 20, shape)).astype(kind)
    geometry = VolumeGeometry.from_matrix(shape, OBLIQUE)
    path = tmp_path / "image.nrrd"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slab_writing, "_SLAB_BYTES", slab)
        shares = list(written_in_slabs(path, array, geometry, compress))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    found, where = read_image(path)
    assert where.difference_from(geometry) is None
    assert found.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found, array)


def test_leaving_half_way_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(slab_writing, "_SLAB_BYTES", 10)
    geometry = VolumeGeometry.from_spacing((5, 4, 3))
    path = tmp_path / "image.nrrd"
    list(written_in_slabs(path, np.ones((5, 4, 3), np.int16), geometry))
    before = path.read_bytes()
    steps = written_in_slabs(path, np.zeros((5, 4, 3), np.int16), geometry)
    next(steps)
    steps.close()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["image.nrrd"]


def test_while_the_system_writes_the_file_to_disk_the_caller_goes_on(tmp_path, monkeypatch):
    may_end, sync, synced = threading.Event(), os.fsync, []

    def slow(number):
        may_end.wait(60)
        synced.append(threading.current_thread())
        sync(number)

    monkeypatch.setattr(slab_writing.os, "fsync", slow)
    path = tmp_path / "image.nrrd"
    steps = written_in_slabs(path, np.ones((5, 4, 3), np.int16), VolumeGeometry.from_spacing((5, 4, 3)))
    assert [next(steps) for _ in range(4)] == [1.0] * 4
    assert not synced
    assert not path.exists()
    may_end.set()
    list(steps)
    assert synced[0] is not threading.current_thread()
    assert read_image(path)[0].all()


def test_a_disk_that_is_found_full_at_the_end_is_reported(tmp_path, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(slab_writing.os, "fsync", full)
    with pytest.raises(FileWriteError, match="because the disk is full"):
        list(
            written_in_slabs(
                tmp_path / "image.nrrd", np.ones((5, 4, 3), np.int16), VolumeGeometry.from_spacing((5, 4, 3))
            )
        )
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(slab_writing, "_SLAB_BYTES", 10)
    geometry = VolumeGeometry.from_spacing((5, 4, 3))
    bad = np.zeros((5, 4, 3), np.float32)
    bad[3, 1, 2] = np.nan
    with pytest.raises(BadInputError, match="NaN or Inf.*: 1 in slice 3 along"):
        list(written_in_slabs(tmp_path / "image.nrrd", bad, geometry))
    with pytest.raises(BadInputError, match="type 'complex64' cannot be written"):
        list(written_in_slabs(tmp_path / "image.nrrd", bad.astype(np.complex64), geometry))
    with pytest.raises(BadInputError, match="does not fit"):
        list(written_in_slabs(tmp_path / "image.nrrd", bad[1:], geometry))
    assert list(tmp_path.iterdir()) == []


def test_a_slice_that_is_reset_goes_from_the_labels_after_the_ledger(tmp_path):
    cohort = Cohort.create(tmp_path / "c", "c", {1: "a"})
    geometry = VolumeGeometry.from_spacing((6, 5, 4))
    cohort.add_case("x", np.zeros((6, 5, 4), np.int16), geometry)
    labels = np.ones((6, 5, 4), np.uint8)
    cohort.save_annotation("x", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [1, 3]))
    fewer = SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [3])
    for _ in cohort.saving_annotation("x", fewer):
        # Whenever somebody else looks, the ledger names no slice whose labels are not there.
        seen = cohort.annotation("x")
        for index in seen.ledger.indices(Plane.AXIAL):
            assert seen.labels[index].all()
    assert cohort.annotation("x").ledger.indices(Plane.AXIAL) == [3]
    assert not cohort.annotation("x").labels[1].any()
