"""The checksum in the header of every NRRD file written here: of the header, and of the whole file.

It is kept in a comment, `# SparseAnnotate checksum: <header><file><length>`: two CRC-32 of eight hexadecimal digits
each and the file's length in sixteen, all computed with these digits set to 0. Programs that change the file and save
it again drop comments, and with them a checksum that would no longer match. Bytes appended to a file are ignored.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import BinaryIO

_NO_DIGITS = "0" * 32
CHECKSUM_LINE = f"# SparseAnnotate checksum: {_NO_DIGITS}"
_FOUND = re.compile(rb"SparseAnnotate checksum: (.{32})", re.DOTALL)
_LONGEST_HEADER, _HEADER_CHUNK = 1 << 20, 1 << 13
_CHUNK = 1 << 22


class ChecksummedFile:
    """A file opened for writing; `finish` writes the checksum of everything written into the header.

    Args:
        file: open in binary mode, empty. header: the header with CHECKSUM_LINE and the empty line at its end.
    """

    def __init__(self, file: BinaryIO, header: bytes):
        self._file = file
        self._place = header.index(CHECKSUM_LINE.encode()) + len(CHECKSUM_LINE) - len(_NO_DIGITS)
        self._header = self._whole = zlib.crc32(header)
        self._length = len(header)
        file.write(header)

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes, or anything with a buffer of them."""
        self._whole = zlib.crc32(content, self._whole)
        self._length += memoryview(content).nbytes
        self._file.write(content)

    def finish(self) -> None:
        """Write the checksum in place of the zeros; nothing may be written afterwards."""
        self._file.seek(self._place)
        self._file.write(f"{self._header:08x}{self._whole:08x}{self._length:016x}".encode("ascii"))


def checksum_differs(path: Path, header_only: bool = False) -> bool:
    """True when the file has a checksum and has changed since it was written. Raises OSError.

    `header_only`: do not check the voxels.
    """
    with open(path, "rb") as file:
        start, end = b"", -1
        while end < 0 and len(start) < _LONGEST_HEADER and (chunk := file.read(_HEADER_CHUNK)):
            start += chunk
            end = start.find(b"\n\n")
        found = _FOUND.search(start, 0, end if end >= 0 else len(start))
        if found is None:
            return False
        stored = found.group(1)
        start = start[: found.start(1)] + _NO_DIGITS.encode("ascii") + start[found.end(1) :]
        header = zlib.crc32(start[: end + 2])
        if end < 0 or stored[:8] != f"{header:08x}".encode("ascii"):
            return True
        if header_only:
            return False
        if re.fullmatch(rb"[0-9a-f]{16}", stored[16:]) is None:
            return True
        left, whole = int(stored[16:], 16) - end - 2, header
        file.seek(end + 2)
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            whole = zlib.crc32(chunk, whole)
            left -= len(chunk)
        return left != 0 or stored[8:16] != f"{whole:08x}".encode("ascii")
