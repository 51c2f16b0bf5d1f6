"""Valid NIfTI files that ITK refuses, under a name or with a header that it accepts."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import BadInputError
from .file_damage import unreadable
from .geometry import orthogonal_matrix, skew_message
from .nifti_header import NIFTI_ENDINGS, NiftiHeader, is_gzip, nifti_header


@contextmanager
def named_for_itk(path: Path) -> Iterator[Path]:
    """A path to the same file that ITK can read: a compressed file named .nii gets a second name."""
    if not path.name.lower().endswith(".nii") or not is_gzip(path):
        yield path
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        second = Path(folder, "image.nii.gz")
        try:
            os.symlink(path.absolute(), second)
        except OSError:  # on Windows, not every user may create links
            shutil.copyfile(path, second)
        yield second


@contextmanager
def orthogonal_for_itk(path: Path, header_only: bool) -> Iterator[Path | None]:
    """A copy of a NIfTI file whose axes are nearly at right angles, with exact right angles; None for other files.

    ITK refuses headers whose axes are further from right angles than a few parts in 10,000.

    Args:
        header_only: copy only the header.

    Raises:
        BadInputError: when the axes are further from right angles than rounding explains.
    """
    header = nifti_header(path) if path.name.lower().endswith(NIFTI_ENDINGS) else None
    if header is None or header.sform_code <= 0 or not np.isfinite(header.sform).all():
        yield None
        return
    matrix = np.vstack([header.sform, [0, 0, 0, 1]])
    if not matrix[:3, :3].any(axis=0).all():
        yield None
        return
    orthogonal = orthogonal_matrix(matrix, tuple(reversed(header.size)))
    if orthogonal is None:
        raise BadInputError(skew_message(matrix[:3, :3], path))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder, "image.nii")
        try:
            with gzip.open(path) if is_gzip(path) else open(path, "rb") as source, open(copy, "wb") as target:
                target.write(_with_sform(source.read(header.offset), header, orthogonal))
                if not header_only:
                    shutil.copyfileobj(source, target, 1 << 22)
        except (EOFError, OSError, zlib.error, struct.error) as error:
            raise BadInputError(unreadable(path, error)) from error
        yield copy


def _with_sform(start: bytes, header: NiftiHeader, matrix: np.ndarray) -> bytes:
    content = bytearray(start)
    struct.pack_into(header.order + header.sform_format, content, header.sform_place, *matrix[:3].ravel())
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    struct.pack_into(header.order + header.sizes_format, content, header.sizes_place, *sizes)
    # Without a qform, ITK uses this matrix.
    struct.pack_into(header.order + header.code_format, content, header.code_place, 0)
    return bytes(content)
