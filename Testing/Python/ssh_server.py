"""A real SSH server on this computer, with keys of its own, for tests of what runs on another computer."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
HAS_SSH = all((SSHD, shutil.which("ssh"), shutil.which("sftp"), shutil.which("ssh-keygen"), shutil.which("rsync")))

_IS_INSISTED = "ssh" in os.environ.get("SPARSE_ANNOTATE_INSIST", "").split()

needs_ssh_server = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not (HAS_SSH or _IS_INSISTED),
    reason="needs an SSH server on Linux: apt-get install openssh-server openssh-client rsync",
)


class SshServer:
    """An SSH server that listens on the loopback; `host` is its name in an OpenSSH configuration of its own."""

    host = "gpu"

    def __init__(self, folder: Path):
        self.folder = folder
        self.port = _free_port()
        self.config, self.known_hosts = folder / "ssh_config", folder / "known_hosts"
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host_key", "key", "other_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(words, check=True)
        self.authorize("key")
        key = (folder / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        self.write_config()

    def write_config(self, **changed: str) -> None:
        """Write the client's configuration, with some options changed."""
        options = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "User": getpass.getuser(),
            "IdentityFile": str(self.folder / "key"),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        } | changed
        lines = [f"Host {self.host}", *(f"  {name} {value}" for name, value in options.items())]
        self.config.write_text("\n".join(lines) + "\n")

    def authorize(self, key: str) -> None:
        """Accept this key and no other."""
        shutil.copy(self.folder / f"{key}.pub", self.folder / "authorized_keys")

    def start(self, **options: str) -> None:
        """Start the server, and wait until it answers."""
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        given = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.folder / "host_key"),
            "AuthorizedKeysFile": str(self.folder / "authorized_keys"),
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "MaxStartups": "100",
            "Subsystem": "sftp internal-sftp",
        } | options
        file = self.folder / "sshd_config"
        file.write_text("".join(f"{name} {value}\n" for name, value in given.items()))
        with open(self.folder / "sshd.log", "ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not _answers(self.port):
            assert self._process.poll() is None, (self.folder / "sshd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server and all that it has started, at once: as when the computer is switched off."""
        self.kill_sessions()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def kill_sessions(self, containing: str = "") -> int:
        """Kill the processes of all connections, or those whose command line contains a text; returns how many."""
        found = self.running(containing)
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def running(self, containing: str = "") -> list[int]:
        """The processes of all connections, or those whose command line contains a text."""
        found = []
        for pid in _descendants(self._process.pid) if self._process is not None else []:
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if containing in words:
                    found.append(pid)
        return found


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(folder.name))
    found, rest = [], [pid]
    while rest:
        children = parents.get(rest.pop(), [])
        found += children
        rest += children
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as connection:
        return connection.recv(4) == b"SSH-"
    return False
