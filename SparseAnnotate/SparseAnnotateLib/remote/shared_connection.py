"""One connection of OpenSSH that all programs of a session use (its ControlMaster), so that a copy starts at once."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ..core import SparseAnnotateError
from ..core.folder_lock import FolderLock
from ..core.messages import _
from ..core.slicer_python import environment_for
from .ssh import Ssh, program

_LONGEST_PATH = 103  # of a socket, on macOS; Linux takes 107
_PLAIN_PATH = re.compile(r"[\w./%+-]+")  # OpenSSH takes other characters, such as a space, for its own syntax
_PREFIX, _LOCK = "sa-", "in-use"  # of the folder, and in it
_SUFFIX = 17  # that OpenSSH adds while it makes the socket
_PERSIST_SECONDS = 60  # after its last user, where nobody lived to end it
_ASK_SECONDS = 10.0


class SharedConnection:
    """The options with which OpenSSH's programs share a connection to a host: the first of them makes it.

    The connection of a process that is killed ends up to 60 s later, and its folder is removed by the next one.
    There are none on Windows, where OpenSSH cannot, and where the user's own configuration already shares connections.

    Args:
        ssh: how the host is reached without it.
    """

    def __init__(self, ssh: Ssh):
        self._ssh = ssh
        self._lock = threading.Lock()
        self._options: list[str] | None = None
        self._end: Callable[[], object] | None = None

    def options(self) -> list[str]:
        """The options of `ssh` and `sftp`, the same until `close`."""
        with self._lock:
            if self._options is None:
                is_possible = os.name != "nt" and not self._is_shared_already()
                if is_possible:
                    _remove_left_folders()
                folder = _folder_for_a_socket() if is_possible else None
                in_use = _held(folder) if folder is not None else None
                self._options = _options(folder) if folder is not None and in_use is not None else []
                if folder is not None and in_use is not None:
                    # Also when nobody closes it.
                    self._end = weakref.finalize(self, _end_connection, self._ssh, self._options, folder, in_use)
            return self._options

    def close(self) -> None:
        """End the connection, and all that still use it."""
        with self._lock:
            end, self._end, self._options = self._end, None, None
        if end is not None:
            end()

    def _is_shared_already(self) -> bool:
        """Whether the user's configuration names a socket; also when it cannot be read, which is reported later."""
        found = _asked(self._ssh, "-G")
        paths = [line.split(None, 1)[1:] for line in found.splitlines() if line.lower().startswith("controlpath")]
        return not found or any(path != ["none"] for path in paths)


def _asked(ssh: Ssh, *words: str) -> str:
    """What `ssh` on this computer answers; '' when it fails."""
    with suppress(OSError, subprocess.SubprocessError, SparseAnnotateError):
        path = program("ssh")
        done = subprocess.run(
            [path, *ssh.options, *words, "--", ssh.host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_for(path),
            timeout=_ASK_SECONDS,
        )
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
    return ""


def _end_connection(ssh: Ssh, options: Sequence[str], folder: Path, in_use: FolderLock) -> None:
    if _socket_in(folder).exists():
        # Without an answer it ends by itself.
        _asked(ssh, "-O", "exit", *options)
    shutil.rmtree(folder, ignore_errors=True)
    in_use.__exit__()


def _options(folder: Path) -> list[str]:
    path = str(_socket_in(folder)).replace("%", "%%")
    options = ("ControlMaster=auto", f"ControlPath={path}", f"ControlPersist={_PERSIST_SECONDS}")
    return [word for option in options for word in ("-o", option)]


def _socket_in(folder: Path) -> Path:
    return folder / "s"


def _in_use(folder: Path) -> FolderLock:
    """Held by the process that has made a folder for a socket, until it ends in whatever way."""
    return FolderLock(folder, _("sharing a connection"), name=_LOCK)


def _held(folder: Path) -> FolderLock | None:
    """The lock of a new folder; None, and no folder, when the disk is full or another process has just removed it."""
    with suppress(SparseAnnotateError):
        lock = _in_use(folder).__enter__()
        if lock.path.exists():
            return lock
        lock.__exit__()
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _remove_left_folders() -> None:
    """Remove folders whose process was killed, once OpenSSH has let go of the socket."""
    for place in _places():
        for folder in Path(place).glob(f"{_PREFIX}*"):
            with suppress(OSError, SparseAnnotateError):
                is_own = folder.lstat().st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
                if not is_own or not (folder / _LOCK).is_file() or _is_answered(_socket_in(folder)):
                    continue
                with _in_use(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        return tried.connect_ex(str(path)) == 0


def _places() -> list[str]:
    return [place for place in dict.fromkeys((tempfile.gettempdir(), "/tmp")) if _PLAIN_PATH.fullmatch(place)]


def _folder_for_a_socket() -> Path | None:
    """A folder that only this user may open, where a socket can be made; None when there is none."""
    for place in _places():
        folder: Path | None = None
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            path = _socket_in(folder)
            if len(os.fsencode(path)) + _SUFFIX > _LONGEST_PATH:
                raise OSError
            with socket.socket(socket.AF_UNIX) as tried:
                tried.bind(str(path))
            path.unlink()
            return folder
        except OSError:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
    return None
