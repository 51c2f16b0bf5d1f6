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
from ..core.slicer_python import environment_for
from .ssh import Ssh, program

_LONGEST_PATH = 103  # of a socket, on macOS; Linux takes 107
_PLAIN_PATH = re.compile(r"[\w./%+-]+")  # OpenSSH takes other characters, such as a space, for its own syntax
_SUFFIX = 17  # that OpenSSH adds while it makes the socket
_PERSIST_SECONDS = 60  # after its last user, where nobody lived to end it
_ASK_SECONDS = 10.0


class SharedConnection:
    """The options with which OpenSSH's programs share a connection to a host: the first of them makes it.

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
                folder = _folder_for_a_socket() if is_possible else None
                self._options = _options(folder) if folder is not None else []
                if folder is not None:
                    # Also when nobody closes it.
                    self._end = weakref.finalize(self, _end_connection, self._ssh, self._options, folder)
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


def _end_connection(ssh: Ssh, options: Sequence[str], folder: Path) -> None:
    if _socket_in(folder).exists():
        # Without an answer it ends by itself.
        _asked(ssh, "-O", "exit", *options)
    shutil.rmtree(folder, ignore_errors=True)


def _options(folder: Path) -> list[str]:
    path = str(_socket_in(folder)).replace("%", "%%")
    options = ("ControlMaster=auto", f"ControlPath={path}", f"ControlPersist={_PERSIST_SECONDS}")
    return [word for option in options for word in ("-o", option)]


def _socket_in(folder: Path) -> Path:
    return folder / "s"


def _folder_for_a_socket() -> Path | None:
    """A folder that only this user may open, where a socket can be made; None when there is none."""
    for place in filter(_PLAIN_PATH.fullmatch, dict.fromkeys((tempfile.gettempdir(), "/tmp"))):
        folder: Path | None = None
        try:
            folder = Path(tempfile.mkdtemp(prefix="sa-", dir=place))
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
