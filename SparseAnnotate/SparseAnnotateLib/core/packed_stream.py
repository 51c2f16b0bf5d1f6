"""How many bytes a compressed stream holds, checking its checksums, without keeping the bytes in memory."""

from __future__ import annotations

import bz2
import zlib
from typing import BinaryIO

from .messages import _

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_GZIP, _ZLIB_OR_GZIP = 16 + zlib.MAX_WBITS, 32 + zlib.MAX_WBITS


def gzip_length(file: BinaryIO, expected: int | None) -> tuple[int, str]:
    """Bytes in all members of the gzip stream that begins at the file's position, and what is wrong with it, or ''.

    Bytes after the stream that do not begin another member, such as zeros, are ignored. Damage in a later member is
    ignored when the members before it already hold the `expected` bytes.
    """
    length, problem, rest = _length(file, zlib.decompressobj(_GZIP), b"")
    while not problem and rest[:2] == GZIP_MAGIC:
        more, problem, rest = _length(file, zlib.decompressobj(_GZIP), rest)
        if problem and expected is not None and length >= expected:
            return length, ""
        length += more
    return length, problem


def zlib_length(file: BinaryIO, most: int | None = None) -> tuple[int, str]:
    """The same for one zlib or gzip stream of at most `most` bytes: MetaImage files contain either."""
    length, problem, _ = _length(file, zlib.decompressobj(_ZLIB_OR_GZIP), b"", most)
    return length, problem


def bzip2_length(file: BinaryIO) -> tuple[int, str]:
    """The same for one bzip2 stream."""
    length, unpacker = 0, bz2.BZ2Decompressor()
    try:
        while not unpacker.eof:
            chunk = file.read(_CHUNK) if unpacker.needs_input else b""
            if unpacker.needs_input and not chunk:
                return length, _CUT_OFF
            length += len(unpacker.decompress(chunk, _CHUNK))
    except OSError as error:
        return length, _("its compressed voxels are damaged ({error})").format(error=error)
    return length, ""


_CUT_OFF = _("its compressed voxels are cut off")


def _length(
    file: BinaryIO, unpacker: zlib._Decompress, start: bytes, most: int | None = None
) -> tuple[int, str, bytes]:
    """Bytes of one stream, what is wrong with it, and the bytes after it that have been read already."""
    length, waiting = 0, start
    left = most
    try:
        while not unpacker.eof:
            if not waiting:
                waiting = file.read(_CHUNK if left is None else min(_CHUNK, left))
                if not waiting:
                    return length, _CUT_OFF, b""
                left = None if left is None else left - len(waiting)
            # Labels may be compressed a thousandfold: unpacking them piece by piece keeps memory use low.
            length += len(unpacker.decompress(waiting, _CHUNK))
            waiting = unpacker.unconsumed_tail
    except zlib.error as error:
        return length, _("its compressed voxels are damaged ({error})").format(error=error), b""
    rest = unpacker.unused_data
    return length, "", rest if len(rest) > 1 else rest + file.read(1)
