"""One process at a time: locks that the operating system releases even when the process is killed."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .atomic_files import why_not_written
from .errors import BusyError, FileWriteError
from .messages import _

# Not `os.name`: with `sys.platform`, type checkers skip the branch for other systems.
if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD_BY_ANOTHER = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK, getattr(errno, "EDEADLOCK", -1)}
_without_locks: set[str] = set()


class FolderLock:
    """An exclusive lock on a folder, held through an open file in it.

    Use it as a context manager. It waits up to `wait_seconds` for another holder, then raises BusyError with a message
    that names the holder. The operating system releases the lock of a process that dies. On a file system without
    locks (some network file systems), it logs one warning and locks nothing.

    Example::

        with FolderLock(cohort_folder, "writing the ledger of case 7", wait_seconds=5):
            ...
    """

    def __init__(self, folder: str | Path, purpose: str, wait_seconds: float = 0.0, name: str = ".lock"):
        self.path = Path(folder) / name
        self.purpose = purpose
        self.wait_seconds = wait_seconds
        self._file: BinaryIO | None = None

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self.path, "a+b")
        except OSError as error:
            raise FileWriteError(why_not_written(self.path, error)) from error
        deadline = time.monotonic() + self.wait_seconds
        while not self._try_lock(file):
            if time.monotonic() >= deadline:
                holder = self._holder()
                file.close()
                raise BusyError(self._busy_sentence(holder))
            time.sleep(0.02)
        own = {"process": os.getpid(), "computer": socket.gethostname(), "purpose": self.purpose}
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), json.dumps(own).encode())
        except OSError as error:
            file.close()
            raise FileWriteError(why_not_written(self.path, error)) from error
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with suppress(OSError):
                os.ftruncate(file.fileno(), 0)
                _unlock(file)
        finally:
            # Closing the file releases the lock in any case.
            file.close()

    def holder_elsewhere(self) -> str:
        """Who holds the lock in another process, in words; '' when nobody does. Not for a lock held by this process."""
        try:
            with open(self.path, "r+b") as file:
                if not self._try_lock(file):
                    return self._holder()
                _unlock(file)
        except OSError:  # nobody has ever held it, or it cannot be seen
            pass
        return ""

    def _try_lock(self, file: BinaryIO) -> bool:
        try:
            _lock(file)
            return True
        except OSError as error:
            if error.errno in _HELD_BY_ANOTHER:
                return False
            self._warn_once(error)
            return True

    def _warn_once(self, error: OSError) -> None:
        folder = str(self.path.parent)
        if folder not in _without_locks:
            _without_locks.add(folder)
            reason = os.strerror(error.errno) if error.errno else str(error)
            logging.getLogger(__name__).warning(
                f"The file system of '{folder}' does not support locks ({reason}), so two processes could change the "
                "same files. Make sure that only one process works there at a time."
            )

    def _busy_sentence(self, holder: str) -> str:
        return _("'{folder}' is in use: {holder}. Wait until it has finished, or cancel it.").format(
            folder=self.path.parent, holder=holder
        )

    def _holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text())
            return self._holder_sentence(holder["process"], holder["computer"], holder["purpose"])
        except (OSError, ValueError, KeyError, TypeError):
            return _("another process is working there")

    def _holder_sentence(self, process: int, computer: str, purpose: str) -> str:
        return _("process {process} on {computer} is {purpose}").format(
            process=process, computer=computer, purpose=purpose
        )


def _lock(file: BinaryIO) -> None:
    """Lock the file, or raise OSError without waiting."""
    if sys.platform == "win32":
        # Far beyond the text in the file, so that others can still read who holds it.
        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
