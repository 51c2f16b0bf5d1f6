"""Recognising a file that has not changed since it was read, so that it need not be read again to check it."""

from __future__ import annotations

import time
from pathlib import Path

FileLooks = tuple[str, int, int, int, int]
"""Absolute path, size, times of the last change of content and of anything else in nanoseconds, and the inode."""

_SETTLED_SECONDS = 2.0  # a file may change twice within one tick of the clock that its time is read from


def looks_of(path: Path) -> FileLooks:
    """How a file looks from outside; another content has other looks. Raises OSError."""
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_settled(looks: FileLooks) -> bool:
    """False for a file that was changed a moment ago: it may change again and look the same."""
    return time.time() - looks[2] / 1e9 > _SETTLED_SECONDS
