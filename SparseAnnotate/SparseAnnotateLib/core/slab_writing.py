"""Writing a large image in slabs, so that the caller can do other work in between."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from .atomic_files import written_atomically
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _
from .nrrd_checksum import CHECKSUM_LINE, ChecksummedFile
from .pieces import done_beside
from .voxel_values import require_finite

FACT_PREFIX = "SparseAnnotate "
_SLAB_BYTES = 1 << 22  # some five milliseconds of compression
_GZIP = 16 + zlib.MAX_WBITS
_TYPES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
}


def written_in_slabs(
    path: str | Path,
    array: np.ndarray,
    geometry: VolumeGeometry,
    compress: bool = False,
    facts: Mapping[str, str] | None = None,
    require_numbers: bool = True,
) -> Iterator[float]:
    """Write a (K, J, I) array on its grid as a NRRD file, atomically; yields the share written so far.

    The file appears only when the iterator is exhausted; if iteration stops earlier, nothing is written.
    `facts` are kept in the header, for `images.read_facts`. A checksum over the whole file is verified on reading.
    `require_numbers`: refuse NaN and Inf.

    Raises:
        BadInputError: when array and geometry do not fit, or a slab holds NaN or Inf. FileWriteError: when the file
            cannot be written.
    """
    if array.shape != geometry.shape:
        raise BadInputError(
            _("An array of shape {shape} does not fit a volume of shape {volume_shape}.").format(
                shape=array.shape, volume_shape=geometry.shape
            )
        )
    if array.dtype == bool:
        array = array.view(np.uint8)
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    if kind not in _TYPES:
        raise BadInputError(
            _("Voxels of type '{type}' cannot be written. Convert the volume first, for example to 'int16'.").format(
                type=array.dtype
            )
        )
    spacing, origin, direction = geometry.to_itk()
    columns = np.asarray(direction, dtype=float).reshape(3, 3) * np.asarray(spacing, dtype=float)
    header = [
        "NRRD0004",
        CHECKSUM_LINE,
        f"type: {_TYPES[kind]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in reversed(array.shape))}",
        f"space directions: {' '.join(_vector(column) for column in columns.T)}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compress else 'raw'}",
        f"space origin: {_vector(origin)}",
        *(f"{FACT_PREFIX}{name}:={_escaped(text)}" for name, text in (facts or {}).items()),
    ]
    # Labels are mostly zeros, so the fastest compression is good enough.
    packer = zlib.compressobj(1, wbits=_GZIP) if compress else None
    rows = max(1, _SLAB_BYTES // max(1, array[0].nbytes))
    with written_atomically(path, is_synced=True) as temporary, open(temporary, "wb") as file:
        checked = ChecksummedFile(file, ("\n".join(header) + "\n\n").encode("utf-8"))
        for first in range(0, len(array), rows):
            slab = array[first : first + rows]
            if require_numbers:
                require_finite(slab, _("The image '{name}'").format(name=Path(path).stem), first)
            raw = np.ascontiguousarray(slab, dtype=array.dtype.newbyteorder("<")).data
            checked.write(packer.compress(raw) if packer else raw)
            yield min(1.0, (first + rows) / len(array))
        if packer:
            checked.write(packer.flush())
        checked.finish()
        file.flush()
        # The system may take a tenth of a second for a large file.
        for _waiting in done_beside(lambda: os.fsync(file.fileno())):
            yield 1.0
        yield 1.0  # what comes next, small files with the ledger, is a piece of its own


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(repr(float(v)) for v in values)})"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
