"""Reading the voxels of an image layer by layer, so that it need not be in memory as a whole."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Literal

import numpy as np

from .metaimage_length import (
    META_ENDINGS,
    is_packed_metaimage,
    metaimage_files,
    metaimage_header,
    packed_metaimage_length,
)
from .nifti_header import NIFTI_ENDINGS, is_gzip, nifti_header
from .nrrd_checksum import checksum_differs
from .nrrd_length import NRRD_ENDINGS, nrrd_files, nrrd_header
from .packed_stream import GZIP_MAGIC

Packing = Literal["", "gzip", "zlib"]

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
_NRRD_SKIPS = ("lineskip", "byteskip")
_NRRD_PACKINGS: dict[str, Packing] = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_NRRD_AXES = ("domain", "space", "time", "none", "???")  # of other kinds ITK makes the values of one voxel
_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_META_UNUSUAL = ("HeaderSize", "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset")
_META_ORDERS = {"false": "<", "true": ">"}
_CHUNK = 1 << 20


class NotLayeredError(Exception):
    """A file that cannot be read in this way; reading it as a whole may say what is wrong with it."""


@dataclass(frozen=True)
class LayeredFile:
    """A 3D image in a file whose voxels lie one after another in it, compressed or not, as ITK reads them.

    Attributes:
        path: of the file with the voxels. shape: (K, J, I). dtype: of the voxels, with their byte order.
        start: where the voxels begin, in bytes: in the stream if `is_packed_whole`, otherwise in the file.
        packing: how the voxels are compressed; '' if they are not. is_packed_whole: the header before them is, too.
        packed_length: bytes of the compressed voxels; None: up to the end of the file.
        frame: the number of the image in a 4D file, from 0. frames: how many images the file holds.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    start: int
    packing: Packing
    is_packed_whole: bool
    packed_length: int | None = None
    frame: int = 0
    frames: int = 1

    @classmethod
    def of(cls, path: Path, frame: int = 0, frames: int = 1) -> LayeredFile | None:
        """The image as one of layers; None for another kind of file.

        Args:
            frame: its number in a 4D file. frames: how many 3D images the file holds, as ITK sees it; 1: it is 3D.
        """
        name = path.name.lower()
        try:
            if name.endswith(NIFTI_ENDINGS):
                found = cls._of_nifti(path, frames)
            elif name.endswith(NRRD_ENDINGS):
                found = cls._of_nrrd(path, frames)
            else:
                found = cls._of_metaimage(path, frames) if name.endswith(META_ENDINGS) else None
        except OSError:
            return None
        return replace(found, frame=frame, frames=frames) if found is not None else None

    @classmethod
    def _of_nifti(cls, path: Path, frames: int) -> LayeredFile | None:
        header = nifti_header(path)
        if header is None or not header.is_nifti or header.datatype not in _NIFTI_TYPES or header.is_scaled:
            return None
        dtype, (i, j, k) = np.dtype(header.order + _NIFTI_TYPES[header.datatype]), header.size
        if header.length != header.offset + i * j * k * frames * dtype.itemsize:
            return None
        is_packed = is_gzip(path)
        return cls(path, (k, j, i), dtype, header.offset, "gzip" if is_packed else "", is_packed)

    @classmethod
    def _of_nrrd(cls, path: Path, frames: int) -> LayeredFile | None:
        fields, start = nrrd_header(path)
        kind, encoding = _NRRD_TYPES.get(fields.get("type", "").lower()), fields.get("encoding", "").lower()
        files, is_big = nrrd_files(path) or (), fields.get("endian", "").lower() == "big"
        if kind is None or encoding not in _NRRD_PACKINGS or any(name in fields for name in _NRRD_SKIPS):
            return None
        shape = _shape(fields.get("sizes", ""), frames)
        if shape is None or len(files) != 1 or not set(fields.get("kinds", "").lower().split()) <= set(_NRRD_AXES):
            return None
        if checksum_differs(path):
            return None
        start = start if files[0] == path else 0
        return cls(files[0], shape, np.dtype((">" if is_big else "<") + kind), start, _NRRD_PACKINGS[encoding], False)

    @classmethod
    def _of_metaimage(cls, path: Path, frames: int) -> LayeredFile | None:
        fields, start = metaimage_header(path)
        kind, files = _META_TYPES.get(fields.get("ElementType", "")), metaimage_files(path) or ()
        # Without this field, or in another order of bytes, it is for ITK to say what is meant.
        order = _META_ORDERS.get(fields.get("BinaryDataByteOrderMSB", "").lower())
        is_usual = fields.get("BinaryData", "").lower() == "true" and not any(name in fields for name in _META_UNUSUAL)
        shape = _shape(fields.get("DimSize", ""), frames)
        if kind is None or order is None or shape is None or len(files) != 1 or not is_usual:
            return None
        if fields.get("ElementNumberOfChannels", "1") != "1":
            return None
        packing: Packing = "zlib" if is_packed_metaimage(fields) else ""
        start, length = start if files[0] == path else 0, packed_metaimage_length(fields) if packing else None
        if packing and (length is None or files[0].stat().st_size < start + length):
            return None
        return cls(files[0], shape, np.dtype(order + kind), start, packing, False, length)

    def layers(self) -> Iterator[np.ndarray]:
        """(J, I) for each of the K layers. Raises NotLayeredError when not all voxels are there, or are damaged."""
        rows, columns = self.shape[1:]
        size = rows * columns * self.dtype.itemsize
        try:
            with open(self.path, "rb") as file:
                if not self.is_packed_whole:
                    file.seek(self.start)
                if self.packing == "gzip" and file.peek(2)[:2] != GZIP_MAGIC:
                    raise NotLayeredError
                stream = _unpacked(file, self.packing, self.packed_length)
                self._skip(stream, self.frame * self.shape[0] * size)
                for _layer in range(self.shape[0]):
                    content = stream.read(size)
                    if len(content) < size:
                        raise NotLayeredError
                    yield np.frombuffer(content, dtype=self.dtype).reshape(rows, columns)
                if self._rest(stream) < (self.frames - self.frame - 1) * self.shape[0] * size:
                    raise NotLayeredError
        except (OSError, EOFError, zlib.error) as error:
            raise NotLayeredError from error

    def _rest(self, stream: gzip.GzipFile | BufferedReader) -> int:
        """How many bytes follow; compressed ones are read, because their checksum is at the end."""
        if not self.packing:
            return self.path.stat().st_size - stream.tell()
        rest = 0
        while chunk := stream.read(_CHUNK):
            rest += len(chunk)
        return rest

    def _skip(self, stream: gzip.GzipFile | BufferedReader, count: int) -> None:
        """Go past the header that is compressed with the voxels, and so many bytes of voxels."""
        if not self.packing:
            stream.seek(count, os.SEEK_CUR)
            return
        count += self.start if self.is_packed_whole else 0
        while count:
            skipped = len(stream.read(min(count, _CHUNK)))
            if not skipped:
                raise NotLayeredError
            count -= skipped


class _ZlibFile(RawIOBase):
    """What is compressed in a file from where it is; at its end zlib compares the checksum. Raises zlib.error.

    Args:
        most: bytes that are read of the file at most; None: all.
    """

    def __init__(self, file: BufferedReader, most: int | None):
        self._file, self._left, self._unpacker = file, most, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._next()
            found = self._unpacker.decompress(packed, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)
            if not packed:
                raise zlib.error("cut off")
        return 0

    def _next(self) -> bytes:
        packed = self._file.read(_CHUNK if self._left is None else min(_CHUNK, self._left))
        if self._left is not None:
            self._left -= len(packed)
        return packed


def _unpacked(file: BufferedReader, packing: Packing, most: int | None) -> gzip.GzipFile | BufferedReader:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    return BufferedReader(_ZlibFile(file, most), _CHUNK) if packing else file


def _shape(sizes: str, frames: int) -> tuple[int, int, int] | None:
    """(K, J, I) of an image file with this text of sizes, which must be that of a 4D file with more than one frame."""
    words = sizes.split()
    if not all(re.fullmatch("[0-9]{1,9}", word) for word in words):
        return None
    i, j, k, *others = [*map(int, words), 0, 0, 0][: max(len(words), 3)]
    return (k, j, i) if i and j and k and others == ([frames] if frames > 1 else []) else None
