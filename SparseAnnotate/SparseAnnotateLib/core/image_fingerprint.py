"""Fingerprints: short texts computed from the content of files, which stay the same when files are copied."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import BadInputError, FileWriteError
from .file_damage import missing_sentence
from .file_stamp import FileStamp, is_settled, stamp_of
from .messages import _
from .metaimage_length import META_ENDINGS, metaimage_files
from .nrrd_length import NRRD_ENDINGS, nrrd_files
from .pieces import result_of
from .strict_json import read_json, write_json

_BLOCK = 1 << 16
_BLOCKS = 256
_CHUNK = 1 << 22


@dataclass(frozen=True)
class KeptFingerprint:
    """The fingerprint of an image's files, and their stamps when it was computed."""

    files: tuple[FileStamp, ...]
    mark: str


def image_files(path: Path) -> list[Path]:
    """The image's file, and the existing files of its voxels when these are separate. Raises OSError."""
    ending = path.suffix.lower()
    # Also those that usually hold the voxels themselves, .mha and .nrrd, may name other files.
    named = metaimage_files(path) if ending in META_ENDINGS else nrrd_files(path) if ending in NRRD_ENDINGS else None
    return [path, *(file for file in named or () if file != path and file.is_file())]


def image_fingerprint(path: str | Path, memo: Path | None = None) -> str:
    """24 hexadecimal digits from the content of an image's files.

    Args:
        memo: a file in which the fingerprint is kept; the image is read again only when its files have changed.

    Raises BadInputError when a file cannot be read.
    """
    return result_of(finding_image_fingerprint(path, memo))


def finding_image_fingerprint(path: str | Path, memo: Path | None = None) -> Generator[float, None, str]:
    """`image_fingerprint` in pieces; yields 0.0, the share written of a file, after each."""
    known = _kept(memo)
    found = yield from _finding_current(path, known)
    if memo is not None and found.files and found != known:
        # If the memo cannot be written, the image is read each time.
        with suppress(FileWriteError):
            write_json(memo, found)
    return found.mark


def current_fingerprint(path: str | Path, known: KeptFingerprint | None = None) -> KeptFingerprint:
    """An image's `image_fingerprint` with the stamps of its files; the `known` one when they have not changed since.

    Without stamps when the files were changed a moment ago. Raises BadInputError when a file cannot be read.
    """
    return result_of(_finding_current(path, known))


def _finding_current(path: str | Path, known: KeptFingerprint | None) -> Generator[float, None, KeptFingerprint]:
    try:
        files = image_files(Path(path))
        stamps = tuple(stamp_of(file) for file in files)
        if known is not None and known.files == stamps:
            return known
        digest = hashlib.sha256()
        for file in files:
            with open(file, "rb") as content:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
                    yield 0.0
    except FileNotFoundError as error:
        raise BadInputError(missing_sentence(Path(path))) from error
    except OSError as error:
        raise BadInputError(
            _("The file '{path}' cannot be read ({reason}).").format(path=path, reason=error.strerror)
        ) from error
    return KeptFingerprint(stamps if all(map(is_settled, stamps)) else (), digest.hexdigest()[:24])


def joined_fingerprint(marks: Sequence[tuple[str, str]]) -> str:
    """One fingerprint for the images of several channels, each a name and a fingerprint; that of a single image."""
    if len(marks) == 1:
        return marks[0][1]
    text = "\n".join(f"{name}\t{mark}" for name, mark in marks)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def current_fingerprint_of_channels(
    paths: Mapping[str, str | Path], known: KeptFingerprint | None = None
) -> KeptFingerprint:
    """`current_fingerprint` of the images of several channels, by name, together; that of one image alone.

    Of a 4D image, which is the file of each of its channels, this is one image. Raises BadInputError.
    """
    files = {str(path) for path in paths.values()}
    if len(files) == 1:
        return current_fingerprint(next(iter(paths.values())), known)
    if known is not None and known.files == _stamps_now(paths.values()):
        return known
    found = {name: current_fingerprint(path) for name, path in paths.items()}
    stamps = tuple(stamp for one in found.values() for stamp in one.files)
    is_settled_everywhere = all(one.files for one in found.values())
    mark = joined_fingerprint([(name, one.mark) for name, one in found.items()])
    return KeptFingerprint(stamps if is_settled_everywhere else (), mark)


def _stamps_now(paths: Iterable[str | Path]) -> tuple[FileStamp, ...] | None:
    """The stamps of images' files; None when some cannot be read."""
    try:
        return tuple(stamp_of(file) for path in paths for file in image_files(Path(path)))
    except OSError:
        return None


def content_fingerprint(files: Sequence[Path]) -> str:
    """16 hexadecimal digits from the sizes and contents of files, in this order.

    From a file larger than 16 MB, 256 blocks spread evenly over it are read, including the first and the last: enough
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


def _kept(memo: Path | None) -> KeptFingerprint | None:
    if memo is None or not memo.is_file():
        return None
    try:
        return read_json(memo, KeptFingerprint)
    except BadInputError:
        return None
