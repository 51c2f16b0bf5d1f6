"""Short texts that stand for the content of files, and stay when the files are copied elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import BadInputError, FileWriteError
from .file_looks import FileLooks, is_settled, looks_of
from .messages import _
from .metaimage_length import metaimage_files
from .nrrd_length import nrrd_files
from .strict_json import read_json, write_json

_BLOCK = 1 << 16
_BLOCKS = 256
_CHUNK = 1 << 22


@dataclass(frozen=True)
class ImageMark:
    """The fingerprint of an image's files, and how they looked when it was computed."""

    files: tuple[FileLooks, ...]
    mark: str


def image_files(path: Path) -> list[Path]:
    """The image's file; for a header whose voxels lie in other files, those that are there, too. Raises OSError."""
    ending = path.suffix.lower()
    named = metaimage_files(path) if ending == ".mhd" else nrrd_files(path) if ending == ".nhdr" else None
    return [path, *(file for file in named or () if file != path and file.is_file())]


def image_fingerprint(path: str | Path, memo: Path | None = None) -> str:
    """24 hexadecimal digits from the content of an image's files.

    Args:
        memo: a file in which the fingerprint is kept; the image is read again only when it looks different.

    Raises BadInputError when a file cannot be read.
    """
    try:
        files = image_files(Path(path))
        looks = tuple(looks_of(file) for file in files)
        known = _kept(memo)
        if known is not None and known.files == looks:
            return known.mark
        digest = hashlib.sha256()
        for file in files:
            with open(file, "rb") as content:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise BadInputError(
            _("The file '{path}' cannot be read ({strerror}).").format(path=path, strerror=error.strerror)
        ) from error
    mark = digest.hexdigest()[:24]
    if memo is not None and all(map(is_settled, looks)):
        # Where nothing can be written, the image is read each time.
        with suppress(FileWriteError):
            write_json(memo, ImageMark(looks, mark))
    return mark


def content_fingerprint(files: Sequence[Path]) -> str:
    """16 hexadecimal digits from files' sizes and contents, in this order.

    Of a file larger than 16 MB, 256 blocks spread evenly over it are read, the first and the last among them: enough
    for files that begin with a checksum, such as weights and label maps written by SparseAnnotate. Raises OSError.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{size};".encode())
        with open(path, "rb") as file:
            if size <= _BLOCK * _BLOCKS:
                digest.update(file.read())
                continue
            for number in range(_BLOCKS):
                file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:16]


def _kept(memo: Path | None) -> ImageMark | None:
    if memo is None or not memo.is_file():
        return None
    try:
        return read_json(memo, ImageMark)
    except BadInputError:
        return None
