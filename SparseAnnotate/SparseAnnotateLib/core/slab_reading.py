"""Reading the label maps and percentages that `slab_writing` wrote in slabs, so that a window stays responsive."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from . import pieces
from .errors import BadInputError
from .file_stamp import stamp_of
from .geometry import VolumeGeometry
from .images import read_geometry, read_labels, read_percent
from .nrrd_checksum import checksum_differs
from .nrrd_length import nrrd_header

_GZIP = 16 + zlib.MAX_WBITS
_ENCODINGS = ("gzip", "raw")
_NOT_PLAIN = ("datafile", "lineskip", "byteskip")


def reading_labels(path: str | Path, geometry: VolumeGeometry) -> Generator[None, None, np.ndarray]:
    """`images.read_labels` in pieces for the files that are written here; any other file is read at once."""
    labels = yield from _reading_plain(Path(path), geometry, 255)
    return labels if labels is not None else read_labels(path, geometry)


def reading_percent(path: str | Path, geometry: VolumeGeometry) -> Generator[None, None, np.ndarray]:
    """`images.read_percent` in pieces for the files that are written here; any other file is read at once."""
    percent = yield from _reading_plain(Path(path), geometry, 100)
    return percent if percent is not None else read_percent(path, geometry)


def _reading_plain(path: Path, geometry: VolumeGeometry, most: int) -> Generator[None, None, np.ndarray | None]:
    """(K, J, I) uint8 of an intact file of such values, up to `most`, on this grid; None for any other file.

    What is wrong with a file, `images` says: here, whatever is unusual leads to None.
    """
    try:
        before = stamp_of(path)
        if read_geometry(path).difference_from(geometry):
            return None
        fields, start = nrrd_header(path)
        packing = fields.get("encoding", "")
        sizes = " ".join(str(n) for n in reversed(geometry.shape))
        is_plain = fields.get("type") == "uint8" and fields.get("sizes") == sizes and packing in _ENCODINGS
        if not is_plain or any(name in fields for name in _NOT_PLAIN) or checksum_differs(path):
            return None
        yield
        voxels = np.empty(geometry.shape, dtype=np.uint8)
        flat, filled = voxels.reshape(-1), 0
        with open(path, "rb") as file:
            file.seek(start)
            for piece in _unpacked(file) if packing == "gzip" else iter(lambda: file.read(pieces.PIECE_BYTES), b""):
                part = np.frombuffer(piece, dtype=np.uint8)
                if filled + len(part) > flat.size or part.max(initial=0) > most:
                    return None
                flat[filled : filled + len(part)] = part
                filled += len(part)
                yield
        return voxels if filled == flat.size and stamp_of(path) == before else None
    except (OSError, zlib.error, BadInputError):
        return None


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a gzip stream of one member, in pieces; zlib checks its checksum. Raises zlib.error."""
    unpacker, waiting = zlib.decompressobj(_GZIP), b""
    while not unpacker.eof:
        waiting = waiting or file.read(pieces.PIECE_BYTES)
        if not waiting:
            raise zlib.error("cut off")
        yield unpacker.decompress(waiting, pieces.PIECE_BYTES)
        waiting = unpacker.unconsumed_tail
