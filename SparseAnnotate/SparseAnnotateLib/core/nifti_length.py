"""Whether a NIfTI file is all there. ITK reads one that is cut off without a word and puts zeros for the rest."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

_CHUNK = 1 << 22


def is_cut_off(path: Path) -> bool:
    """True when a .nii or .nii.gz file holds fewer bytes than its header says, or ends within its compressed data."""
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else open(path, "rb") as file:
            expected = _expected_bytes(file.read(540))
            if expected is None:
                return False
            if not compressed:
                return path.stat().st_size < expected
            # The last four bytes of a gzip file are its length: enough to trust it without reading all of it.
            with open(path, "rb") as raw:
                raw.seek(-4, 2)
                if struct.unpack("<I", raw.read(4))[0] == expected % (1 << 32):
                    return False
            file.seek(0)
            length = 0
            while chunk := file.read(_CHUNK):
                length += len(chunk)
            return length < expected
    except (EOFError, OSError, zlib.error):
        return True


def _expected_bytes(header: bytes) -> int | None:
    """Bytes of header and voxels together, from a NIfTI-1 or NIfTI-2 header; None when it is neither."""
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(f"{order}i", header)[0] == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            bits, offset = (
                struct.unpack_from(f"{order}h", header, 72)[0],
                struct.unpack_from(f"{order}f", header, 108)[0],
            )
        elif len(header) >= 540 and struct.unpack_from(f"{order}i", header)[0] == 540:
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            bits, offset = (
                struct.unpack_from(f"{order}h", header, 14)[0],
                struct.unpack_from(f"{order}q", header, 168)[0],
            )
        else:
            continue
        voxels = math.prod(max(1, n) for n in dimensions[1 : 1 + dimensions[0]])
        return int(offset) + voxels * bits // 8
    return None
