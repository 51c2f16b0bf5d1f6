"""What a NIfTI file's header says: the length of the file, and its orientation."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .messages import _
from .packed_stream import GZIP_MAGIC, gzip_length

NIFTI_ENDINGS = (".nii", ".nii.gz")
_HEADER_BYTES = 540
_LARGEST = 1 << 62
_ONE_FILE, _TWO_FILES = (b"n+1", b"n+2"), (b"ni1", b"ni2")
_SAME_SIZE = 0.01


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The part of a NIfTI-1 or NIfTI-2 header that is needed here.

    Attributes:
        length: bytes of header and voxels together. offset: where the voxels begin.
        is_nifti: False for Analyze 7.5, whose header differs only in its magic bytes and does not tell left from right.
        datatype: NIfTI's code of what a voxel is stored as.
        slope, intercept: what the stored values are multiplied by, unless it is 0, and what is added to them.
        size: number of voxels along (i, j, k). voxel_sizes: along the same, in the file's own unit.
        qform_code, sform_code: 0 where the file has none. sform: (3, 4) rows of the matrix, in the file's unit, RAS.
        order: byte order for `struct`, '<' or '>'. sform_place, sform_format, sizes_place, sizes_format, code_place,
            code_format: offsets in bytes and `struct` formats of the sform, the voxel sizes and the code of the qform.
    """

    length: int
    offset: int
    is_nifti: bool
    datatype: int
    slope: float
    intercept: float
    size: tuple[int, int, int]
    voxel_sizes: tuple[float, float, float]
    qform_code: int
    sform_code: int
    sform: np.ndarray
    order: str
    sform_place: int
    sform_format: str
    sizes_place: int
    sizes_format: str
    code_place: int
    code_format: str

    @property
    def is_scaled(self) -> bool:
        """Whether voxels may have other values than those that are stored; ITK adds the intercept to slope 0, too."""
        return self.slope not in (0.0, 1.0) or self.intercept != 0


def is_gzip(path: Path) -> bool:
    """True for a file whose content begins as gzip does; its name does not matter. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(2) == GZIP_MAGIC


def nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI file, compressed or not; None when it has none that can be read."""
    try:
        with gzip.open(path) if is_gzip(path) else open(path, "rb") as file:
            return _parsed(file.read(_HEADER_BYTES))
    except (EOFError, OSError, zlib.error):
        return None


def nifti_damage(path: Path) -> str:
    """What is wrong with a .nii or .nii.gz file, as a clause; '' when it is complete. Raises OSError.

    ITK reads a file that is cut off without an error and fills the rest with zeros.
    """
    header = nifti_header(path)
    if not is_gzip(path):
        length, problem = path.stat().st_size, ""
        if header is None:
            return _("it is neither a NIfTI nor a gzip-compressed NIfTI file")
    else:
        with open(path, "rb") as file:
            length, problem = gzip_length(file, header.length if header else None)
    if problem:
        return problem
    if header is None:
        return _("it has no NIfTI header")
    return "" if length >= header.length else _("the file is shorter than its header says")


def nifti_contradiction(path: Path) -> str:
    """A message when a NIfTI file's header is ambiguous or contradicts itself; '' when it is clear.

    ITK only warns about such headers and guesses.
    """
    header = nifti_header(path)
    if header is None:
        return ""
    if not header.is_nifti:
        return _(
            "The file '{path}' has an Analyze 7.5 header, which does not record left and right, or it is "
            "damaged. Convert it to NIfTI or NRRD with a program that knows its orientation, or copy it again from "
            "its source."
        ).format(path=path)
    scales = np.linalg.norm(header.sform[:, :3], axis=0)
    if header.sform_code > 0 and header.qform_code == 0 and np.isfinite(scales).all():
        sizes = np.abs(header.voxel_sizes)
        if not np.allclose(scales, sizes, rtol=_SAME_SIZE, atol=0):
            pixdim, sform = (" x ".join(f"{n:.4g}" for n in found) for found in (sizes, scales))
            return _(
                "The file '{path}' gives two different voxel sizes: {pixdim} (pixdim) and {sform} (sform). Find out "
                "which is right, and save the file again with the same voxel size in both."
            ).format(path=path, pixdim=pixdim, sform=sform)
    return ""


def _parsed(header: bytes) -> NiftiHeader | None:
    for order in "<>":

        def read(kind: str, place: int, order: str = order) -> tuple[Any, ...]:
            return struct.unpack_from(order + kind, header, place)

        if len(header) >= 348 and read("i", 0)[0] == 348:
            dimensions, (datatype, bits), (offset,) = read("8h", 40), read("2h", 70), read("f", 108)
            sform, voxel_sizes, codes = ("12f", 280), ("3f", 80), ("h", 252)
            (slope, intercept), magic, size = read("2f", 112), header[344:347], 348
        elif len(header) >= 540 and read("i", 0)[0] == 540:
            dimensions, (datatype, bits), (offset,) = read("8q", 16), read("2h", 12), read("q", 168)
            sform, voxel_sizes, codes = ("12d", 400), ("3d", 112), ("i", 344)
            (slope, intercept), magic, size = read("2d", 176), header[4:7], 540
        else:
            continue
        if not 1 <= dimensions[0] <= 7 or not 0 <= offset < _LARGEST:
            return None
        if magic in _ONE_FILE:
            offset = max(offset, size)  # as ITK reads files that say 0
        sizes = [max(1, n) for n in dimensions[1 : 1 + dimensions[0]]]
        i, j, k = (*sizes, 1, 1)[:3]
        qform_code, sform_code = read(f"2{codes[0]}", codes[1])
        return NiftiHeader(
            length=int(offset) + math.prod(sizes) * bits // 8,
            offset=int(offset),
            is_nifti=magic in _ONE_FILE + _TWO_FILES,
            datatype=datatype,
            slope=slope,
            intercept=intercept,
            size=(i, j, k),
            voxel_sizes=read(*voxel_sizes),
            qform_code=qform_code,
            sform_code=sform_code,
            sform=np.array(read(*sform), dtype=float).reshape(3, 4),
            order=order,
            sform_place=sform[1],
            sform_format=sform[0],
            sizes_place=voxel_sizes[1],
            sizes_format=voxel_sizes[0],
            code_place=codes[1],
            code_format=codes[0],
        )
    return None
