"""How many bytes a compressed stream holds, with the checksums in it verified; nothing is kept in memory."""

from __future__ import annotations

import bz2
import zlib
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_GZIP, _ZLIB_OR_GZIP = 16 + zlib.MAX_WBITS, 32 + zlib.MAX_WBITS


def gzip_length(file: BinaryIO, expected: int | None) -> tuple[int, str]:
    """Bytes in all members of the gzip stream that begins at the file's position, and what is wrong with it, or ''.

    Bytes behind the stream that are no further member, zeros for example, are let be. What is wrong with a later
    member is let be when the members before it hold the `expected` bytes.
    """
    length, problem, rest = _length(file, zlib.decompressobj(_GZIP), b"")
    while not problem and rest[:2] == GZIP_MAGIC:
        more, problem, rest = _length(file, zlib.decompressobj(_GZIP), rest)
        if problem and expected is not None and length >= expected:
            return length, ""
        length += more
    return length, problem


def zlib_length(file: BinaryIO, most: int | None = None) -> tuple[int, str]:
    """The same of one zlib or gzip stream of `most` bytes at most: MetaImage has either."""
    length, problem, _ = _length(file, zlib.decompressobj(_ZLIB_OR_GZIP), b"", most)
    return length, problem


def bzip2_length(file: BinaryIO) -> tuple[int, str]:
    """The same of one bzip2 stream."""
    length, unpacker = 0, bz2.BZ2Decompressor()
    try:
        while not unpacker.eof:
            chunk = file.read(_CHUNK) if unpacker.needs_input else b""
            if unpacker.needs_input and not chunk:
                return length, _CUT_OFF
            length += len(unpacker.decompress(chunk, _CHUNK))
    except OSError as error:
        return length, f"its compressed voxels are damaged ({error})"
    return length, ""


_CUT_OFF = "it ends within its compressed voxels"


def _length(
    file: BinaryIO, unpacker: zlib._Decompress, start: bytes, most: int | None = None
) -> tuple[int, str, bytes]:
    """Bytes of one stream, what is wrong with it, and what follows it as far as it has been read."""
    length, waiting = 0, start
    left = most
    try:
        while not unpacker.eof:
            if not waiting:
                waiting = file.read(_CHUNK if left is None else min(_CHUNK, left))
                if not waiting:
                    return length, _CUT_OFF, b""
                left = None if left is None else left - len(waiting)
            # Labels shrink a thousandfold: unpacked piece by piece, they never fill the memory.
            length += len(unpacker.decompress(waiting, _CHUNK))
            waiting = unpacker.unconsumed_tail
    except zlib.error as error:
        return length, f"its compressed voxels are damaged ({error})", b""
    rest = unpacker.unused_data
    return length, "", rest if len(rest) > 1 else rest + file.read(1)
