"""Writing files so that a reader sees the old or the new content, never a part of it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FileWriteError
from .messages import _

_LOW_DISK_BYTES = 1 << 20
_NAME_KEPT = 48  # characters: 192 bytes at most


@contextmanager
def written_atomically(path: str | Path, is_synced: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an error, sync it and rename it to `path`.

    The temporary name keeps the file extension, because image writers choose the format by it.

    Args:
        is_synced: the block syncs the file itself, for example without the window waiting for it.

    Raises:
        FileWriteError: when the folder cannot be made or the file cannot be written; `path` is then unchanged.
    """
    path = Path(path)
    # Only the end of the name: a prefix before a long name would make it longer than file systems allow.
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.writing.{path.name[-_NAME_KEPT:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not is_synced:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise FileWriteError(why_not_written(path, error)) from error
    except RuntimeError as error:
        # SimpleITK reports every failure to write as a RuntimeError without an error number.
        if "write" in str(error).lower():
            raise FileWriteError(why_not_written(path, error)) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def expanded(path: str | Path) -> Path:
    """The path that a user named, in full where it begins with '~': a shell leaves it in '--out=~/x'."""
    return Path(os.path.expanduser(path))


def require_writable(path: str | Path) -> None:
    """Find out whether a file can be written that is going to be written after long work; nothing stays of the try.

    Raises FileWriteError when it cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise FileWriteError(why_not_written(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))))
    require_writable_place(path.parent, path)


def require_writable_folder(folder: Path, path: Path | None = None) -> None:
    """Make a folder. Raises FileWriteError when nothing can be written there; it names `path`, if there is one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileWriteError(why_not_written(path or folder, error)) from error


def require_writable_place(folder: Path, path: Path | None = None) -> None:
    """As `require_writable_folder`, for a folder that is made only later: nothing stays of the try."""
    existing = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise FileWriteError(why_not_written(path or folder, error)) from error


def require_writable_folders_of(paths: Iterable[Path]) -> None:
    """Find out whether the folders of files can be written before long work; see `require_writable_place`.

    Raises FileWriteError, which names the folder.
    """
    for folder in dict.fromkeys(path.parent for path in paths):
        require_writable_place(folder)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file atomically. Raises FileWriteError."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a whole UTF-8 text file atomically. Raises FileWriteError."""
    write_bytes(path, content.encode("utf-8"))


def append_line(path: str | Path, line: str) -> None:
    """Append one line to a log-like file in a single write. Raises FileWriteError."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            file.write(line.encode("utf-8") + b"\n")
    except OSError as error:
        raise FileWriteError(why_not_written(Path(path), error)) from error


def why_not_written(path: Path, error: Exception) -> str:
    """A message for the user, from the error of the operating system or of an image writer."""
    number = getattr(error, "errno", None)
    if number == errno.EDQUOT:
        return _(
            "'{path}' cannot be written because your disk quota is used up. Free some space and try again; no data was "
            "lost."
        ).format(path=path)
    if number in (errno.ENOSPC, errno.EFBIG) or (number is None and _disk_is_full(path)):
        return _(
            "'{path}' cannot be written because the disk is full. Free some space and try again; no data was lost."
        ).format(path=path)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _(
            "'{path}' cannot be written: no permission to write there. Choose another folder or change its permissions."
        ).format(path=path)
    reason = os.strerror(number) if number else str(error).strip().splitlines()[-1]
    return _("'{path}' cannot be written ({reason}). Check that the folder exists and is writable.").format(
        path=path, reason=reason
    )


def _disk_is_full(path: Path) -> bool:
    folder = next((p for p in path.parents if p.exists()), None)
    return folder is not None and shutil.disk_usage(folder).free < _LOW_DISK_BYTES
