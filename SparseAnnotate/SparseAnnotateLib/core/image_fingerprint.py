"""A short text that stands for an image file's content, and stays when the file is copied elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from .errors import BadInputError

_BLOCK = 1 << 16
_BLOCKS = 256


def image_files(path: Path) -> list[Path]:
    """The image's file; for a header whose voxels lie elsewhere, that file and those of the header's name, too."""
    if not path.name.lower().endswith((".nhdr", ".mhd")):
        return [path]
    stem = path.name.split(".")[0]
    found = {p for p in path.parent.iterdir() if p.is_file() and p.name.split(".")[0] == stem}
    header = path.read_text(encoding="latin-1")
    named = re.findall(r"^(?:ElementDataFile *=|data ?file *:) *(.+?) *$", header, re.MULTILINE | re.IGNORECASE)
    found.update(file for file in (path.parent / name for name in named) if file.is_file())
    return sorted(found)


def image_fingerprint(path: str | Path) -> str:
    """16 hexadecimal digits from the content of an image's files; see `content_fingerprint`.

    Raises BadInputError when a file cannot be read.
    """
    try:
        return content_fingerprint(image_files(Path(path)))
    except OSError as error:
        raise BadInputError(f"The file '{path}' cannot be read ({error.strerror}).") from error


def content_fingerprint(files: Sequence[Path]) -> str:
    """16 hexadecimal digits from files' sizes and contents, in this order.

    Of a file larger than 16 MB, 256 blocks spread evenly over it are read, the first and the last among them: a
    compressed file that differs anywhere differs in all that follows, and a cohort of 500 scans is checked in seconds.
    Raises OSError.
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
