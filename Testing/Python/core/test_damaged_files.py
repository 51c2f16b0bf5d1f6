"""Image files with a flipped bit, a hole or a cut, and files that only look damaged."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import tracemalloc
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SparseAnnotateLib.core import BadInputError, SparseAnnotateError, VolumeGeometry, file_damage
from SparseAnnotateLib.core.images import read_facts, read_geometry, read_image, write_image
from SparseAnnotateLib.core.packed_stream import gzip_length
from SparseAnnotateLib.core.slab_writing import written_in_slabs

SHAPE = (20, 24, 28)
VOXELS = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def written(folder, ending: str, compress: bool):
    """A file as ITK writes it, and the file that holds its voxels."""
    path = folder / f"image.{ending}"
    image = sitk.GetImageFromArray(VOXELS)
    sitk.WriteImage(image, str(path), compress)
    others = [p for p in folder.iterdir() if p != path]
    return path, others[0] if others else path


FORMATS = [(e, c) for e in ("nrrd", "nhdr", "mha", "mhd") for c in (True, False)] + [("nii.gz", True), ("nii", False)]


@pytest.mark.parametrize(("ending", "compress"), FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.97, 0.9999])
def test_a_file_that_is_cut_off_is_refused_in_every_format(tmp_path, ending, compress, share):
    path, voxels = written(tmp_path, ending, compress)
    content = voxels.read_bytes()
    voxels.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadInputError, match=rf"image.{ending}' cannot be read as an image; it may be damaged or cut"):
        read_image(path)


@pytest.mark.parametrize("ending", ["nrrd", "nhdr", "mha", "mhd", "nii.gz"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.data())
def test_any_bit_flipped_in_compressed_voxels_is_noticed(tmp_path, ending, data):
    path, voxels = written(tmp_path, ending, True)
    content = voxels.read_bytes()
    np.testing.assert_array_equal(read_image(path)[0], VOXELS)
    header = 0
    if voxels == path and ending != "nii.gz":
        header = content.index(b"\n\n") + 2 if ending == "nrrd" else content.index(b"LOCAL\n") + 6
    try:
        voxels.write_bytes(flipped(content, data.draw(st.integers(8 * header, 8 * len(content) - 1))))
        with contextlib.suppress(BadInputError):
            np.testing.assert_array_equal(read_image(path)[0], VOXELS)
    finally:
        voxels.write_bytes(content)


@pytest.mark.parametrize("ending", ["nrrd", "nhdr", "mha", "mhd", "nii.gz"])
def test_a_hole_in_compressed_voxels_is_noticed(tmp_path, ending):
    path, voxels = written(tmp_path, ending, True)
    content = bytearray(voxels.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 100] = bytes(100)
    voxels.write_bytes(content)
    with pytest.raises(BadInputError, match="damaged or cut off"):
        read_image(path)


@pytest.mark.parametrize(("ending", "compress"), FORMATS)
@pytest.mark.parametrize("rest", [bytes(512), b"something else"])
def test_bytes_behind_the_voxels_are_no_damage(tmp_path, ending, compress, rest):
    path, voxels = written(tmp_path, ending, compress)
    voxels.write_bytes(voxels.read_bytes() + rest)
    np.testing.assert_array_equal(read_image(path)[0], VOXELS)


def test_a_nifti_file_is_read_whether_its_name_says_that_it_is_compressed_or_not(tmp_path):
    path, _ = written(tmp_path, "nii", False)
    content = path.read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(content)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(content))
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    for name in ("plain.nii.gz", "packed.nii", "members.nii.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[0], VOXELS)
        assert read_geometry(tmp_path / name) == read_geometry(path)
    (tmp_path / "plain.nii.gz").write_bytes(content[:-1])
    (tmp_path / "packed.nii").write_bytes(flipped(gzip.compress(content, 0), 8 * 9000))
    (tmp_path / "members.nii.gz").write_bytes(gzip.compress(content[:400]) + flipped(gzip.compress(content[400:]), 999))
    for name in ("plain.nii.gz", "packed.nii", "members.nii.gz"):
        with pytest.raises(BadInputError, match=f"{name}' cannot be read as an image; it may be damaged or cut off"):
            read_image(tmp_path / name)


def test_a_file_that_is_no_image_is_refused_whatever_its_ending(tmp_path):
    for ending in ("nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"):
        for content in (b"", b"\x1f\x8b", b"NRRD0004\n", b"not an image at all" * 50, gzip.compress(b"x" * 5000)):
            path = tmp_path / f"a.{ending}"
            path.write_bytes(content)
            with pytest.raises(BadInputError, match=rf"a.{ending}' cannot be read as an image"):
                read_image(path)


def test_voxels_packed_by_bzip2_are_checked(tmp_path):
    header = f"NRRD0004\ntype: int16\ndimension: 3\nsizes: {' '.join(map(str, SHAPE[::-1]))}\nendian: little\n"
    path = tmp_path / "image.nrrd"
    content = (header + "encoding: bzip2\n\n").encode() + bz2.compress(VOXELS.tobytes())
    for changed in (flipped(content, 8 * len(content) - 5000), content[:-30]):
        path.write_bytes(changed)
        with pytest.raises(BadInputError, match="damaged or cut off"):
            read_image(path)


def test_missing_voxel_files_are_named(tmp_path):
    for ending in ("mhd", "nhdr"):
        folder = tmp_path / ending
        folder.mkdir()
        path, voxels = written(folder, ending, False)
        voxels.unlink()
        with pytest.raises(BadInputError, match=f"{voxels.name}', which contains its voxels, is missing"):
            read_image(path)


def test_labels_that_shrink_a_thousandfold_do_not_fill_the_memory(tmp_path):
    path = tmp_path / "empty.gz"
    path.write_bytes(gzip.compress(bytes(1 << 26)))
    tracemalloc.start()
    with open(path, "rb") as file:
        assert gzip_length(file, None) == (1 << 26, "")
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


@pytest.mark.parametrize("compress", [False, True])
def test_no_flipped_bit_of_a_file_written_here_is_believed(tmp_path, compress):
    small = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    geometry = VolumeGeometry.from_matrix((2, 2, 2), [[0, -2, 0, 1.5], [1, 0, 0, -7], [0, 0, 3, 0.1], [0, 0, 0, 1]])
    path = tmp_path / "image.nrrd"
    list(written_in_slabs(path, small, geometry, compress, {"annotation": "0f3a"}))
    content, where = path.read_bytes(), read_geometry(path)
    np.testing.assert_array_equal(read_image(path)[0], small)
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        for read, expected in ((read_image, (small, where)), (read_geometry, where), (read_facts, None)):
            try:
                found = read(path)
            except BadInputError:
                continue
            if read is read_image:
                np.testing.assert_array_equal(found[0], expected[0])
                assert found[1] == expected[1]
            else:
                assert found == (expected or {"annotation": "0f3a"}), f"bit {bit}"


def test_the_checksum_says_that_a_raw_voxel_has_changed(tmp_path):
    path = tmp_path / "image.nrrd"
    write_image(path, VOXELS, GEOMETRY, compress=False)
    content = path.read_bytes()
    path.write_bytes(content[:-7] + bytes([content[-7] ^ 8]) + content[-6:])
    with pytest.raises(
        BadInputError, match="image.nrrd' cannot be read.*its checksum does not match: the file has changed"
    ):
        read_image(path)


@pytest.mark.parametrize("compress", [False, True])
def test_what_was_appended_to_a_file_written_here_is_let_be(tmp_path, compress):
    path = tmp_path / "image.nrrd"
    write_image(path, VOXELS, GEOMETRY, compress)
    path.write_bytes(path.read_bytes() + bytes(4096))
    np.testing.assert_array_equal(read_image(path)[0], VOXELS)


def test_a_file_that_another_program_changed_and_wrote_again_is_read(tmp_path):
    path = tmp_path / "image.nrrd"
    write_image(path, VOXELS, GEOMETRY, facts={"annotation": "0f3a"})
    sitk.WriteImage(sitk.ReadImage(str(path)) + 1, str(path), True)
    np.testing.assert_array_equal(read_image(path)[0], VOXELS + 1)


def test_a_large_file_is_checked_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(file_damage, "_KEPT_FROM", 1000)
    path, _ = written(tmp_path, "nii.gz", True)
    os.utime(path, (1e9, 1e9))
    checks = []
    monkeypatch.setattr(file_damage, "_CHECKS", (((".nii.gz",), lambda p: checks.append(p) or ""),))
    read_image(path)
    read_image(path)
    assert len(checks) == 1
    path.write_bytes(path.read_bytes() + b"\0")
    read_image(path)
    assert len(checks) == 2
    # Written within the last moment: its time may stay the same when it is written once more.
    read_image(path)
    assert len(checks) == 3


def test_what_zlib_finds_in_a_metaimage_is_reported(tmp_path):
    path, _ = written(tmp_path, "mha", True)
    content = path.read_bytes()
    start = content.index(b"LOCAL\n") + 6
    assert zlib.decompress(content[start:]) == VOXELS.tobytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(SparseAnnotateError, match="its compressed voxels are damaged .*incorrect data check"):
        read_image(path)
