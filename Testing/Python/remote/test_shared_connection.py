"""One connection to a host for all of OpenSSH's programs, which leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from SparseAnnotateLib.client import LIBRARY_FOLDER
from SparseAnnotateLib.core import Watch
from SparseAnnotateLib.remote import shared_connection
from SparseAnnotateLib.remote.host_files import HostFiles, KnownHashes
from SparseAnnotateLib.remote.shared_connection import SharedConnection
from SparseAnnotateLib.remote.ssh import Ssh
from ssh_server import needs_ssh_server

pytestmark = needs_ssh_server


def logins(server) -> int:
    return (server.folder / "sshd.log").read_text().count("Accepted publickey")


def processes_with(text: str) -> list[int]:
    """The processes of this computer whose command line contains a text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def until(is_so) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("program", ["rsync", "sftp"])
def test_copies_use_the_connection_that_is_open_and_nothing_of_it_is_left(server, host, tmp_path, program):
    before = logins(server)
    files = HostFiles(replace(host, copy_with=program))
    for number in range(3):
        path = tmp_path / str(number)
        path.write_bytes(os.urandom(600_000))
        files.send("cohorts/one/copy", {path.name: KnownHashes(None).content(path)}, (), (), Watch())
    assert logins(server) == before + 1
    folder = Path(files.ssh.options[-3].partition("=")[2]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    files.close()
    assert not folder.exists()
    until(lambda: not processes_with(str(folder)))


def test_a_connection_of_the_users_own_configuration_is_used(server, tmp_path):
    try:
        server.write_config(ControlMaster="auto", ControlPath=str(tmp_path / "own-%C"))
        assert SharedConnection(Ssh(server.host)).options() == []
        server.write_config(ControlPath="none")
        shared = SharedConnection(Ssh(server.host))
        assert "ControlMaster=auto" in shared.options()
        shared.close()
    finally:
        server.write_config()


@pytest.mark.parametrize("name", ["sp ace", "quo'te", "${HOME}"])
def test_a_temporary_folder_whose_path_openssh_would_misread_is_not_used(server, tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(shared_connection.tempfile, "gettempdir", lambda: str(tmp_path / name))
    shared = SharedConnection(Ssh(server.host))
    assert any(option.startswith("ControlPath=/tmp/sa-") for option in shared.options())
    shared.close()
    assert not list((tmp_path / name).iterdir())


def test_a_path_that_is_too_long_for_a_socket_is_not_used(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_connection.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(shared_connection, "_LONGEST_PATH", 20)
    assert SharedConnection(Ssh(server.host)).options() == []
    assert not list(tmp_path.glob("sa-*"))


def test_the_connection_of_a_process_that_is_killed_ends_by_itself(host):
    code = f"""
from SparseAnnotateLib.remote import shared_connection
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.hosts import host_named
shared_connection._PERSIST_SECONDS = 1
files = HostFiles(host_named({host.name!r}))
files.facts()
print(files.ssh.options[-3].partition("=")[2], flush=True)
input()
"""
    words = [sys.executable, "-c", code]
    process = subprocess.Popen(words, cwd=LIBRARY_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    socket = process.stdout.readline().strip()
    assert processes_with(socket)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not processes_with(socket))
    # What it has left is removed by the next one, which leaves those in use alone.
    in_use, third = SharedConnection(Ssh(host.name)), SharedConnection(Ssh(host.name))
    in_use.options()
    assert not Path(socket).parent.exists()
    third.options()
    folder = Path(in_use.options()[-3].partition("=")[2]).parent
    assert folder.is_dir()
    in_use.close()
    third.close()
    assert not folder.exists()
