"""The checksum in the header of every NRRD file written here: of the header, and of the whole file.

It stands in a comment, `# SparseAnnotate checksum: <header><file>`, two CRC-32 of eight digits each, both computed with
the sixteen digits set to 0. Programs that change the file and write it again leave comments out, and with them a
checksum that would no longer be true.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

_NO_DIGITS = "0" * 16
CHECKSUM_LINE = f"# SparseAnnotate checksum: {_NO_DIGITS}"
_FOUND = re.compile(rb"SparseAnnotate checksum: (.{16})", re.DOTALL)
_LONGEST_HEADER, _HEADER_CHUNK = 1 << 20, 1 << 13
_CHUNK = 1 << 22


class ChecksummedFile:
    """A file opened for writing: what is written counts into the checksum, which `finish` enters.

    Args:
        file: open in binary mode, empty. header: the header with CHECKSUM_LINE and the empty line at its end.
    """

    def __init__(self, file, header: bytes):
        self._file = file
        self._place = header.index(CHECKSUM_LINE.encode()) + len(CHECKSUM_LINE) - len(_NO_DIGITS)
        self._header = self._whole = zlib.crc32(header)
        file.write(header)

    def write(self, content) -> None:
        """Append bytes, or anything with a buffer of them."""
        self._whole = zlib.crc32(content, self._whole)
        self._file.write(content)

    def finish(self) -> None:
        """Enter the checksum in place of the zeros; nothing may be written afterwards."""
        self._file.seek(self._place)
        self._file.write(f"{self._header:08x}{self._whole:08x}".encode("ascii"))


def checksum_differs(path: Path, header_only: bool = False) -> bool:
    """True when the file has a checksum and is no longer what was written. Raises OSError.

    `header_only`: the voxels are not looked at.
    """
    with open(path, "rb") as file:
        start, end = b"", -1
        while end < 0 and len(start) < _LONGEST_HEADER and (chunk := file.read(_HEADER_CHUNK)):
            start += chunk
            end = start.find(b"\n\n")
        found = _FOUND.search(start, 0, end if end >= 0 else len(start))
        if found is None:
            return False
        start = start[: found.start(1)] + _NO_DIGITS.encode("ascii") + start[found.end(1) :]
        header = zlib.crc32(start[: end + 2])
        if end < 0 or found.group(1)[:8] != f"{header:08x}".encode("ascii"):
            return True
        if header_only:
            return False
        whole = zlib.crc32(start[end + 2 :], header)
        while chunk := file.read(_CHUNK):
            whole = zlib.crc32(chunk, whole)
        return found.group(1)[8:] != f"{whole:08x}".encode("ascii")
