"""Arrays kept in a cache as .npy files, with a checksum behind the array that NumPy does not mind."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .atomic_files import written_atomically
from .file_looks import FileLooks, is_settled, looks_of

_MARK = b"CRC-32 "
_TAIL_BYTES = len(_MARK) + 8
_CHUNK = 1 << 22
_whole: set[FileLooks] = set()


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as a .npy file, atomically, with its checksum. Raises FileWriteError."""
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        checked = _Counted(file)
        np.lib.format.write_array(checked, np.ascontiguousarray(array), allow_pickle=False)
        file.write(_MARK + f"{checked.checksum:08x}".encode("ascii"))
        file.flush()
        os.fsync(file.fileno())


def is_whole_array(path: Path) -> bool:
    """True when the file is there and just as `save_array` wrote it.

    It is read for that from end to end, once in this process while it does not change.
    """
    try:
        looks = looks_of(path)
        if looks in _whole:
            return True
        left, checksum = looks[1] - _TAIL_BYTES, 0
        with open(path, "rb") as file:
            while left > 0:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    return False
                checksum = zlib.crc32(chunk, checksum)
                left -= len(chunk)
            is_whole = file.read() == _MARK + f"{checksum:08x}".encode("ascii")
    except OSError:
        return False
    if is_whole and is_settled(looks):
        _whole.add(looks)
    return is_whole


def load_array(path: Path) -> np.ndarray | None:
    """A small array in memory; None when the file is missing, or not just as `save_array` wrote it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, tail = content[:-_TAIL_BYTES], content[-_TAIL_BYTES:]
    if tail != _MARK + f"{zlib.crc32(content):08x}".encode("ascii"):
        return None
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


class _Counted:
    """A file whose checksum is kept while it is written."""

    def __init__(self, file: BinaryIO):
        self._file, self.checksum = file, 0

    def write(self, content: bytes | memoryview) -> int:
        self.checksum = zlib.crc32(content, self.checksum)
        return self._file.write(content)
