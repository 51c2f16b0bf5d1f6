"""Arrays mapped from disk are those that were saved, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from SparseAnnotateLib.core.array_files import mapped_array, save_array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24, dtype=np.uint16).reshape(2, 3, 4)),
        np.zeros((0, 3), dtype=np.int8),
        np.array(7.5),
        np.array([True, False]),
    ],
    ids=["float16", "Fortran order", "empty", "a number", "bool"],
)
def test_it_is_the_array_that_was_saved_and_cannot_be_written_to(tmp_path, array):
    for write in (save_array, np.save):
        path = tmp_path / "a.npy"
        write(path, array)
        found = mapped_array(path)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert not found.flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path, version):
    array = np.arange(10, dtype=np.int32)
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    np.testing.assert_array_equal(mapped_array(tmp_path / "a.npy"), array)


def test_what_is_no_array_of_numbers_or_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    save_array(path, np.arange(1000))
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:100], whole[:4000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="empty file|magic|header|EOF|cut short|reading"):
            mapped_array(path)
    np.save(path, np.array([{}, "text"], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        mapped_array(path)
    with pytest.raises(FileNotFoundError):
        mapped_array(tmp_path / "none.npy")


def test_a_file_that_was_replaced_is_mapped_anew(tmp_path):
    path = tmp_path / "a.npy"
    for array in (np.zeros((2, 3), np.uint8), np.ones((2, 3), np.uint8), np.ones((4, 5), np.float32)):
        save_array(path, array)
        np.testing.assert_array_equal(mapped_array(path), array)
