"""NaN and Inf in NIfTI files, which ITK reads as 0, are refused as in files of other formats."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from SparseAnnotateLib.core import BadInputError, VolumeGeometry
from SparseAnnotateLib.core.images import read_image, read_labels

SHAPE = (4, 5, 6)


def written(path, voxels: np.ndarray, slope: float = 1.0, intercept: float = 0.0, order: str = "<"):
    """A NIfTI file on the unit matrix; voxels: (..., K, J, I)."""
    code = {"f4": 16, "f8": 64, "i2": 4}[voxels.dtype.str[1:]]
    header = bytearray(352)
    for place, kind, values in (
        (0, "i", [348]),
        (40, "8h", [voxels.ndim, *reversed(voxels.shape), *[1] * (7 - voxels.ndim)]),
        (70, "hh", [code, 8 * voxels.dtype.itemsize]),
        (76, "8f", [1] * 8),
        (108, "fff", [352, slope, intercept]),
        (252, "hh", [1, 0]),
        (344, "4s", [b"n+1\0"]),
    ):
        struct.pack_into(order + kind, header, place, *values)
    content = bytes(header) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(content) if path.name.startswith("packed") or path.suffix == ".gz" else content)
    return path


def image(kind: str = "f4") -> np.ndarray:
    return (np.arange(np.prod(SHAPE)).reshape(SHAPE) + 1).astype(kind)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("a.nii", "f4", {}),
        ("a.nii.gz", "f8", {}),
        ("a.nii", "f4", {"order": ">"}),
        ("a.nii.gz", "f4", {"slope": 2.0, "intercept": -7.0}),
        ("a.nii", "f8", {"intercept": 3.0}),
        ("packed.nii", "f4", {}),
    ],
)
def test_a_voxel_that_is_no_number_is_refused_and_named(tmp_path, value, name, kind, options):
    voxels = image(kind)
    path = written(tmp_path / name, voxels, **options)
    expected = voxels * options.get("slope", 1.0) + options.get("intercept", 0.0)
    np.testing.assert_allclose(read_image(path)[0], expected)
    voxels[2, 3, 1] = value
    written(path, voxels, **options)
    with pytest.raises(BadInputError, match="not numbers .* 1 in slice 2 along"):
        read_image(path)


def test_a_label_file_with_such_a_voxel_is_refused(tmp_path):
    labels = np.zeros(SHAPE, np.float32)
    path = written(tmp_path / "labels.nii.gz", labels)
    geometry = read_image(path)[1]
    assert not read_labels(path, geometry).any()
    labels[0, 0, 0] = np.nan
    with pytest.raises(BadInputError, match="not numbers"):
        read_labels(written(path, labels), geometry)


def test_of_a_4d_file_only_the_image_that_is_read_counts(tmp_path):
    both = np.stack([image(), image() - 1])
    both[1, 0, 0, 2] = np.nan
    path = written(tmp_path / "both.nii.gz", both)
    np.testing.assert_array_equal(read_image(path, channel=0)[0], image())
    with pytest.raises(BadInputError, match="1 in slice 0"):
        read_image(path, channel=1)


def test_zeros_and_integers_are_numbers(tmp_path):
    assert isinstance(read_image(written(tmp_path / "zero.nii", np.zeros(SHAPE, np.float32)))[1], VolumeGeometry)
    assert not read_image(written(tmp_path / "int.nii", np.zeros(SHAPE, np.int16)))[0].any()
