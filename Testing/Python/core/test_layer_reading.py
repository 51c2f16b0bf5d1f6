"""Voxels read layer by layer are those that ITK reads, and everything unusual is left to it."""

from __future__ import annotations

import gzip
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SparseAnnotateLib.core import BadInputError, Case, Cohort, VolumeGeometry, pieces
from SparseAnnotateLib.core.cohort_voxels import CohortVoxels
from SparseAnnotateLib.core.images import read_image, write_image
from SparseAnnotateLib.core.layer_reading import LayeredFile, NotLayeredError
from SparseAnnotateLib.core.pieces import result_of
from SparseAnnotateLib.core.voxel_fingerprint import finding_voxel_fingerprint

SHAPE = (5, 6, 7)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
NAMES = ("a.nrrd", "a.nhdr", "a.nii", "a.nii.gz", "a.mha", "a.mhd")
TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def image(dtype: str = "int16", shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 120, shape).astype(dtype)


def written(path: Path, array: np.ndarray, compress: bool = True) -> Path:
    found = sitk.GetImageFromArray(array)
    found.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(found, str(path), useCompression=compress)
    return path


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [True, False])
def test_layers_are_those_that_itk_reads(tmp_path, name, dtype, compress):
    path = written(tmp_path / name, image(dtype), compress)
    layered = LayeredFile.of(path)
    assert layered is not None
    np.testing.assert_array_equal(np.stack(list(layered.layers())), read_image(path)[0])


@pytest.mark.parametrize("slope_and_intercept", [(2.0, 0.0), (1.0, 120.0), (0.0, 120.0)])
def test_scaled_files_are_left_to_itk(tmp_path, slope_and_intercept):
    path = written(tmp_path / "a.nii", image())
    content = bytearray(path.read_bytes())
    content[112:120] = np.float32(slope_and_intercept).tobytes()
    path.write_bytes(content)
    assert read_image(path)[0].max() > 120
    assert LayeredFile.of(path) is None


def is_layered(path: Path, content: bytes, line: bytes, other: bytes) -> bool:
    """Whether a file with another line in its header is read in layers."""
    assert line in content
    path.write_bytes(content.replace(line, other))
    return LayeredFile.of(path) is not None


def test_other_files_are_left_to_itk(tmp_path):
    assert LayeredFile.of(tmp_path / "none.nii") is None
    written(tmp_path / "a.mha", image(), compress=False)
    content = (tmp_path / "a.mha").read_bytes()
    for line, other in (
        (b"ElementType = MET_SHORT", b"ElementType = MET_LONG"),
        (b"BinaryDataByteOrderMSB = False\n", b""),
        (b"CompressedData = False", b"HeaderSize = 10"),
        (b"CompressedData = False", b"HeaderSize: 10"),
        (b"CompressedData = False", b"ElementToIntensityFunctionSlope = 2"),
        (b"CompressedData = False", b"ElementNumberOfChannels = 2"),
        (b"ElementDataFile = LOCAL", b"ElementDataFile = LIST\na.raw\nb.raw"),
        (b"DimSize = 7 6 5", b"DimSize = 7 6 5 1"),
        (b"DimSize = 7 6 5", b"DimSize = 7 6"),
    ):
        assert not is_layered(tmp_path / "b.mha", content, line, other)
    written(tmp_path / "a.nhdr", image())
    content = (tmp_path / "a.nhdr").read_bytes()
    for line, other in (
        (b"kinds: domain domain domain", b"kinds: vector domain domain"),
        (b"encoding: gzip", b"encoding: bzip2"),
        (b"encoding: gzip", b"encoding: gzip\nbyte skip: 3"),
        (b"data file: a.raw.gz", b"data file: LIST\na.raw.gz\na.raw.gz"),
    ):
        assert not is_layered(tmp_path / "b.nhdr", content, line, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [True, False])
def test_layers_of_a_4d_file_are_those_that_itk_reads(tmp_path, name, compress):
    frames = [sitk.GetImageFromArray(image(shape=SHAPE) + number) for number in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / name), useCompression=compress)
    for number in range(3):
        layered = LayeredFile.of(tmp_path / name, number, 3)
        np.testing.assert_array_equal(np.stack(list(layered.layers())), read_image(tmp_path / name, number)[0])
    assert LayeredFile.of(tmp_path / name) is None
    assert LayeredFile.of(tmp_path / name, 0, 2) is None


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
@pytest.mark.parametrize("compress", [True, False])
def test_a_4d_file_that_is_cut_off_has_no_image_that_is_the_same(tmp_path, name, compress):
    frames = [sitk.GetImageFromArray(image()) for _number in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / name), useCompression=compress)
    content = (tmp_path / name).read_bytes()
    if name == "a.nii.gz":
        content = gzip.compress(gzip.decompress(content)[:-3])
    else:
        content = content[:-3]
    (tmp_path / name).write_bytes(content)
    layered = LayeredFile.of(tmp_path / name, 0, 3)
    if layered is not None:
        with pytest.raises(NotLayeredError):
            list(layered.layers())
    with pytest.raises(BadInputError, match="damaged or cut off"):
        read_image(tmp_path / name, 0)


@pytest.mark.parametrize("word", ["True", "T", "1", "TRUE"])
def test_a_compressed_metaimage_is_as_long_as_its_header_says(tmp_path, word):
    array = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, SHAPE).astype(np.int16)  # not shorter compressed
    content = written(tmp_path / "a.mha", array).read_bytes()
    header, _place, _rest = content.partition(b"ElementDataFile")
    size = int(re.search(rb"CompressedDataSize = (\d+)", header)[1])
    header = header.replace(b"CompressedData = True", b"CompressedData = " + word.encode())
    voxels = content[-size:]
    path = tmp_path / "b.mha"
    path.write_bytes(header + b"ElementDataFile = LOCAL\n" + voxels + b"more")
    np.testing.assert_array_equal(np.stack(list(LayeredFile.of(path).layers())), array)
    np.testing.assert_array_equal(read_image(path)[0], array)
    for line in (b"", b"CompressedDataSize = %d\n" % (size - 9), b"CompressedDataSize = %d\n" % (size + 99)):
        other = re.sub(rb"CompressedDataSize = \d+\n", line, header)
        path.write_bytes(other + b"ElementDataFile = LOCAL\n" + voxels)
        layered = LayeredFile.of(path)
        if layered is not None:
            with pytest.raises(NotLayeredError):
                list(layered.layers())
        with pytest.raises(BadInputError, match="cannot be read as an image"):
            read_image(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("offset", [0, 100])
def test_voxels_of_a_nifti_file_never_begin_in_its_header(tmp_path, name, offset):
    written(tmp_path / "plain.nii", image())
    content = bytearray((tmp_path / "plain.nii").read_bytes())
    content[108:112] = struct.pack("<f", offset)
    del content[348:352]  # the marks of no extension
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    np.testing.assert_array_equal(np.stack(list(LayeredFile.of(tmp_path / name).layers())), image())
    np.testing.assert_array_equal(read_image(tmp_path / name)[0], image())
    (tmp_path / name).write_bytes(gzip.compress(content[:-8]) if name.endswith(".gz") else content[:-8])
    with pytest.raises(BadInputError, match="shorter than its header says"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha"])
def test_a_file_that_is_cut_off_or_damaged_is_not_read(tmp_path, name):
    path = written(tmp_path / name, image())
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    layered = LayeredFile.of(path)
    assert (layered is None) == (name == "a.mha")  # its header says how long the compressed voxels are
    if layered is not None:
        with pytest.raises(NotLayeredError):
            list(layered.layers())
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(gzip.decompress(content))[:-8] + b"\x00" * 8)  # a wrong checksum
        with pytest.raises(NotLayeredError):
            list(LayeredFile.of(path).layers())


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.nii.gz", "a.mha"])
@pytest.mark.parametrize("compress", [True, False])
def test_an_image_that_was_saved_again_is_compared_without_all_of_it_in_memory(tmp_path, monkeypatch, name, compress):
    array = image(shape=(40, 512, 512))
    path = written(tmp_path / name, array, compress)
    cohort = Cohort.create(tmp_path / "cohort", "one")
    cohort.add_case("a", path)
    monkeypatch.setattr(CohortVoxels, "_kept_voxels", lambda *_: None)
    tracemalloc.start()
    found = cohort.voxel_fingerprint("a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == result_of(finding_voxel_fingerprint(array))
    assert peak < array.nbytes / 2  # of which 4 MB are the pieces of the file


@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a.mha"])
def test_channels_of_a_4d_image_are_compared_without_all_of_it_in_memory(tmp_path, monkeypatch, name):
    arrays = [image(shape=(40, 512, 512)) + number for number in range(2)]
    joined = sitk.JoinSeries([sitk.GetImageFromArray(array) for array in arrays])
    cohort = Cohort.create(tmp_path / "cohort", "one", channels=("T1", "T2"))
    sitk.WriteImage(joined, str(cohort.folder / name), useCompression=True)
    cohort.add_cases([Case("a", name, is_4d=True)], channels=("T1", "T2"))
    monkeypatch.setattr(CohortVoxels, "_kept_voxels", lambda *_: None)
    tracemalloc.start()
    found = cohort.voxel_marks("a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = [result_of(finding_voxel_fingerprint(array)) for array in arrays]
    assert found == dict(zip(("T1", "T2"), expected, strict=True))
    assert peak < arrays[0].nbytes / 2


def test_voxels_that_are_no_numbers_have_no_fingerprint(tmp_path):
    array = image("float32")
    array[2, 3, 4] = np.nan
    cohort = Cohort.create(tmp_path / "cohort", "one")
    cohort.add_case("a", image("float32"), GEOMETRY)
    write_image(cohort.image_path("a"), array, GEOMETRY)
    assert cohort.voxel_fingerprint("a") == ""


def test_voxels_are_found_out_in_pieces_and_then_known(tmp_path, monkeypatch):
    cohort = Cohort.create(tmp_path / "cohort", "one")
    cohort.add_case("a", image(), GEOMETRY)
    file = cohort.image_fingerprint("a")
    assert len(list(cohort.finding_voxel_marks("a", unless=file))) == 1  # the file itself
    assert cohort.voxel_fingerprint("a", read=False) == ""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1)
    assert len(list(cohort.finding_voxel_marks("a", unless="another"))) > SHAPE[0]
    assert cohort.voxel_fingerprint("a", read=False)
    cohort.image_path("a").unlink()
    assert list(cohort.finding_voxel_marks("a", unless=file)) == []
