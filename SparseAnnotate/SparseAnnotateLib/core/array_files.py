"""Arrays kept in a cache as .npy files, with a checksum after the array, which NumPy ignores."""

from __future__ import annotations

import io
import math
import mmap
import threading
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .atomic_files import written_atomically
from .file_stamp import FileStamp, is_settled, stamp_of

_MARK = b"CRC-32 "
_TAIL_BYTES = len(_MARK) + 8
_CHUNK = 1 << 22
_intact: set[FileStamp] = set()
_parsing = threading.Lock()


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as a .npy file, atomically, with its checksum. Raises FileWriteError."""
    with written_atomically(path) as temporary, open(temporary, "wb") as file:
        checked = _ChecksummedWriter(file)
        np.lib.format.write_array(checked, np.ascontiguousarray(array), allow_pickle=False)
        file.write(_MARK + f"{checked.checksum:08x}".encode("ascii"))


def is_whole_array(path: Path) -> bool:
    """True when the file exists and is unchanged since `save_array` wrote it.

    The whole file is read to check that, once per process unless it changes.
    """
    try:
        stamp = stamp_of(path)
        if stamp in _intact:
            return True
        left, checksum = stamp[1] - _TAIL_BYTES, 0
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
    if is_whole and is_settled(stamp):
        _intact.add(stamp)
    return is_whole


def limit_size(folder: Path, most: int, kept: str) -> None:
    """Remove the oldest files of a cache folder until it has at most `most` bytes; those starting with `kept` stay."""
    found = []
    for path in folder.iterdir():
        try:
            stat = path.stat()
        except OSError:
            continue  # another process has removed it
        found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _time, size, _path in found)
    for _time, size, path in sorted(found):
        if total <= most:
            return
        if not path.name.startswith(kept):
            path.unlink(missing_ok=True)
            total -= size


def mapped_array(path: Path) -> np.ndarray:
    """The array of a .npy file, mapped from disk, so that only what is used is read. It cannot be written to.

    Mapping costs little, so patches map what they need each time: `np.load` would take longer than cutting them.
    Raises OSError, and ValueError for a file that is no such array, or has been cut short.
    """
    with open(path, "rb", buffering=0) as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    fields = 10 if content[6:7] == b"\x01" else 12  # of these the last two or four bytes are the length of the rest
    header = content[: fields + int.from_bytes(content[8:fields], "little")]
    shape, is_fortran, dtype = _layout(header)
    if dtype.hasobject:
        raise ValueError(f"'{path}' holds Python objects, not numbers")
    if len(content) < len(header) + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"'{path}' has been cut short")
    return np.ndarray(shape, dtype, content, len(header), order="F" if is_fortran else "C")


@lru_cache(1024)
def _layout(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether values are in Fortran's order, and dtype, from what a .npy file begins with.

    One thread at a time: NumPy has the header parsed as Python code, and in Python 3.11 that has failed while several
    threads were reading (SystemError: AST constructor recursion depth mismatch).
    """
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with _parsing:
        return read(file)


def load_array(path: Path) -> np.ndarray | None:
    """A small array in memory; None when the file is missing, or has changed since `save_array` wrote it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, tail = content[:-_TAIL_BYTES], content[-_TAIL_BYTES:]
    if tail != _MARK + f"{zlib.crc32(content):08x}".encode("ascii"):
        return None
    with _parsing:
        array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


class _ChecksummedWriter:
    """A file whose checksum is computed while it is written."""

    def __init__(self, file: BinaryIO):
        self._file, self.checksum = file, 0

    def write(self, content: bytes | memoryview) -> int:
        self.checksum = zlib.crc32(content, self.checksum)
        return self._file.write(content)
