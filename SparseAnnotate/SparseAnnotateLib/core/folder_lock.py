"""One process at a time: locks that the operating system releases even when the process is killed."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from .atomic_files import why_not_written
from .errors import BusyError, FileWriteError

if os.name == "nt":
    import msvcrt
else:
    import fcntl


class FolderLock:
    """An exclusive lock on a folder, held by an open file in it.

    Use as a context manager. Waits up to `wait_seconds` for another holder, then raises BusyError with a sentence
    that names who holds it. A process that dies gives the lock back by dying.

    Example::

        with FolderLock(cohort_folder, "writing the ledger of case 7", wait_seconds=5):
            ...
    """

    def __init__(self, folder: str | Path, purpose: str, wait_seconds: float = 0.0, name: str = ".lock"):
        self.path = Path(folder) / name
        self.purpose = purpose
        self.wait_seconds = wait_seconds
        self._file = None

    def __enter__(self) -> FolderLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self.path, "a+b")
        except OSError as error:
            raise FileWriteError(why_not_written(self.path, error)) from error
        deadline = time.monotonic() + self.wait_seconds
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                holder = self._holder()
                file.close()
                raise BusyError(f"'{self.path.parent}' is in use: {holder}. Wait until it has finished, or cancel it.")
            time.sleep(0.02)
        holder = {"process": os.getpid(), "computer": socket.gethostname(), "purpose": self.purpose}
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), json.dumps(holder).encode())
        except OSError as error:
            file.close()
            raise FileWriteError(why_not_written(self.path, error)) from error
        self._file = file
        return self

    def __exit__(self, *_):
        os.ftruncate(self._file.fileno(), 0)
        _unlock(self._file)
        self._file.close()
        self._file = None

    def _holder(self) -> str:
        try:
            holder = json.loads(self.path.read_text())
            return f"process {holder['process']} on {holder['computer']} is {holder['purpose']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process is working there"


def _try_lock(file) -> bool:
    try:
        if os.name == "nt":
            # Far beyond the text in the file, so that others can still read who holds it.
            file.seek(1 << 30)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _unlock(file) -> None:
    if os.name == "nt":
        file.seek(1 << 30)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_UN)
