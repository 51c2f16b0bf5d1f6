"""Reading the voxels of an image layer by layer, so that it need not be in memory as a whole."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from .nifti_header import NIFTI_ENDINGS, is_gzip, nifti_header
from .nrrd_checksum import checksum_differs
from .nrrd_length import nrrd_header
from .packed_stream import GZIP_MAGIC

_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_NRRD_TYPES = {
    **dict.fromkeys(("uint8", "uchar", "unsigned char", "uint8_t"), "u1"),
    **dict.fromkeys(("int8", "signed char", "int8_t"), "i1"),
    **dict.fromkeys(("int16", "short", "short int", "signed short", "signed short int", "int16_t"), "i2"),
    **dict.fromkeys(("uint16", "ushort", "unsigned short", "unsigned short int", "uint16_t"), "u2"),
    **dict.fromkeys(("int32", "int", "signed int", "int32_t"), "i4"),
    **dict.fromkeys(("uint32", "uint", "unsigned int", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
_NRRD_ELSEWHERE = ("datafile", "lineskip", "byteskip")
_NRRD_ENCODINGS = ("raw", "gzip", "gz")
_CHUNK = 1 << 20


class NotLayeredError(Exception):
    """A file that cannot be read in this way; reading it as a whole may say what is wrong with it."""


@dataclass(frozen=True)
class LayeredFile:
    """A 3D image file whose voxels lie one after another in it, compressed as gzip or not, as ITK reads them.

    Attributes:
        path: of the file. shape: (K, J, I). dtype: of the voxels, with their byte order.
        start: where the voxels begin, in bytes: in the stream if `is_packed_whole`, otherwise in the file.
        is_packed, is_packed_whole: the voxels, or also the header before them, are compressed.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    start: int
    is_packed: bool
    is_packed_whole: bool

    @classmethod
    def of(cls, path: Path) -> LayeredFile | None:
        """The file as one of layers; None for another kind of file."""
        name = path.name.lower()
        try:
            if name.endswith(NIFTI_ENDINGS):
                return cls._of_nifti(path)
            return cls._of_nrrd(path) if name.endswith(".nrrd") else None
        except OSError:
            return None

    @classmethod
    def _of_nifti(cls, path: Path) -> LayeredFile | None:
        header = nifti_header(path)
        if header is None or not header.is_nifti or header.datatype not in _NIFTI_TYPES or header.is_scaled:
            return None
        dtype, (i, j, k) = np.dtype(header.order + _NIFTI_TYPES[header.datatype]), header.size
        if header.length != header.offset + i * j * k * dtype.itemsize:
            return None
        return cls(path, (k, j, i), dtype, header.offset, is_gzip(path), is_gzip(path))

    @classmethod
    def _of_nrrd(cls, path: Path) -> LayeredFile | None:
        fields, start = nrrd_header(path)
        kind, packing = _NRRD_TYPES.get(fields.get("type", "").lower()), fields.get("encoding", "").lower()
        sizes, is_big = fields.get("sizes", "").split(), fields.get("endian", "").lower() == "big"
        if kind is None or packing not in _NRRD_ENCODINGS or any(name in fields for name in _NRRD_ELSEWHERE):
            return None
        if len(sizes) != 3 or not all(re.fullmatch("[0-9]{1,9}", size) for size in sizes) or checksum_differs(path):
            return None
        i, j, k = map(int, sizes)
        return cls(path, (k, j, i), np.dtype((">" if is_big else "<") + kind), start, packing != "raw", False)

    def layers(self) -> Iterator[np.ndarray]:
        """(J, I) for each of the K layers. Raises NotLayeredError when not all voxels are there, or are damaged."""
        rows, columns = self.shape[1:]
        size = rows * columns * self.dtype.itemsize
        try:
            with open(self.path, "rb") as file:
                if not self.is_packed_whole:
                    file.seek(self.start)
                if self.is_packed and file.peek(2)[:2] != GZIP_MAGIC:
                    raise NotLayeredError
                stream: gzip.GzipFile | BufferedReader = gzip.GzipFile(fileobj=file) if self.is_packed else file
                if self.is_packed_whole and len(stream.read(self.start)) < self.start:
                    raise NotLayeredError
                for _layer in range(self.shape[0]):
                    content = stream.read(size)
                    if len(content) < size:
                        raise NotLayeredError
                    yield np.frombuffer(content, dtype=self.dtype).reshape(rows, columns)
                while self.is_packed and stream.read(_CHUNK):
                    pass  # its checksum is at the end
        except (OSError, EOFError, zlib.error) as error:
            raise NotLayeredError from error
