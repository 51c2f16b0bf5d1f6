"""Recognizing a file that has not changed since it was read, so that it need not be read and checked again."""

from __future__ import annotations

import time
from pathlib import Path

FileStamp = tuple[str, int, int, int, int]
"""Absolute path, size in bytes, times of the last change of content and of status in nanoseconds, and inode."""

_SETTLED_SECONDS = 2.0  # a file may change twice within one tick of the file system's clock


def stamp_of(path: Path) -> FileStamp:
    """The file's stamp, which differs when its content has changed. Raises OSError."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_settled(stamp: FileStamp) -> bool:
    """False for a file that was changed a moment ago: it may change again and keep the same stamp."""
    return time.time() - stamp[2] / 1e9 > _SETTLED_SECONDS
