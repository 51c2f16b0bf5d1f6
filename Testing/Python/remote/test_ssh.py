"""How hosts are reached: nothing is asked, and what OpenSSH says becomes a sentence with what to do."""

from __future__ import annotations

import os
import socket
import stat
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from SparseAnnotateLib.core import BadInputError, WorkerError, slicer_python
from SparseAnnotateLib.remote import ssh
from SparseAnnotateLib.remote.host_connection import keeper_connection
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.hosts import Host
from SparseAnnotateLib.remote.ssh import Ssh
from SparseAnnotateLib.remote.ssh_errors import ConnectionLostError, not_started, ssh_problem
from ssh_server import SshServer, needs_ssh_server
from system_needs import needs_posix_names


@pytest.fixture
def own_server(tmp_path, monkeypatch):
    """A server that a test may change."""
    server = SshServer(tmp_path)
    monkeypatch.setenv(ssh.SSH_CONFIG_VARIABLE, str(server.config))
    yield server
    server.stop()


def problem(server: SshServer) -> ConnectionLostError:
    with pytest.raises(ConnectionLostError) as error:
        keeper_connection(Ssh(server.host), sys.executable).call("facts", {"folder": "~"})
    return error.value


@needs_ssh_server
def test_an_unknown_key_of_a_host_is_never_accepted(own_server):
    own_server.start()
    own_server.known_hosts.write_text("")
    found = problem(own_server)
    assert "does not know the key of the host 'gpu'" in found.message
    assert "'ssh gpu' once in a terminal" in found.message
    assert not found.may_return
    assert own_server.known_hosts.read_text() == ""


@needs_ssh_server
def test_a_changed_key_of_a_host_is_reported(own_server):
    own_server.start()
    key = (own_server.folder / "other_key.pub").read_text().split()
    own_server.known_hosts.write_text(f"[127.0.0.1]:{own_server.port} {key[0]} {key[1]}\n")
    assert "key of the host 'gpu' has changed" in problem(own_server).message


@needs_ssh_server
def test_a_refused_key_is_reported(own_server):
    own_server.start()
    own_server.authorize("other_key")
    found = problem(own_server)
    assert "refused your key" in found.message
    assert "Permission denied" in found.message


@needs_ssh_server
def test_a_host_that_wants_a_password_does_not_hang(own_server):
    own_server.start(PasswordAuthentication="yes", KbdInteractiveAuthentication="yes")
    own_server.authorize("other_key")
    assert "asks for a password or a code" in problem(own_server).message


@needs_ssh_server
def test_a_refused_connection_and_a_name_that_nobody_has_are_reported(own_server):
    assert "refused the connection" in problem(own_server).message
    own_server.write_config(HostName="no-such-computer.invalid")
    assert "There is no computer with the name 'gpu'" in problem(own_server).message


@needs_ssh_server
def test_a_host_that_does_not_answer_is_reported_in_time(own_server, monkeypatch):
    monkeypatch.setattr(ssh, "_OPTIONS", ("BatchMode=yes", "ConnectTimeout=1"))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        own_server.write_config(Port=str(silent.getsockname()[1]))
        found = problem(own_server)
    assert "did not answer in time" in found.message
    assert found.may_return


@needs_ssh_server
def test_a_configuration_that_cannot_be_read_is_reported(own_server):
    own_server.config.write_text("Host gpu\n  NoSuchOption yes\n")
    assert "Your OpenSSH configuration cannot be used" in problem(own_server).message


@needs_ssh_server
def test_a_python_that_is_not_there_or_is_none_is_reported(host, tmp_path):
    with pytest.raises(WorkerError, match=r"'/no/python3' was not found on the host 'gpu'.*--python PATH"):
        HostFiles(replace(host, python="/no/python3")).facts()
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\necho 'I am no Python' >&2\nexit 3\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(WorkerError, match="ended on the host 'gpu' .I am no Python"):
        HostFiles(replace(host, python=str(fake))).facts()


def test_the_line_that_says_that_a_program_was_not_found_is_shown_without_the_hints_after_it():
    lines = ["pyenv: python9: command not found", "", "Note: see 'pyenv help global' for tips."]
    assert "was not found on the host 'gpu' (pyenv: python9: command not found)." in message_of(127, lines)
    assert "was not found on the host 'gpu' (exit code 127, without a message)." in message_of(127, [])
    assert "ended on the host 'gpu' (It was stopped)." in message_of(3, ["a: command not found", "It was stopped."])


def message_of(code: int, lines: list[str]) -> str:
    return not_started("gpu", "python9", code, lines).message


@needs_ssh_server
def test_what_a_login_writes_does_not_disturb(own_server, tmp_path, monkeypatch):
    shell = tmp_path / "python"
    shell.write_text(f"#!/bin/sh\necho 'Welcome to the department!'\nexec {sys.executable} \"$@\"\n")
    shell.chmod(0o755)
    own_server.start()
    found = keeper_connection(Ssh("gpu"), str(shell)).call("facts", {"folder": str(tmp_path / "there")})
    assert found["python"] == sys.version.split()[0]


@needs_ssh_server
@needs_posix_names
def test_words_reach_the_host_as_they_are(own_server, tmp_path):
    own_server.start()
    words = ["", "a b", "it's", '"$HOME"', "`id`", "*", "; exit 3", "ü"]
    files = HostFiles(Host("gpu", python=sys.executable, folder=str(tmp_path / "there")))
    files.facts()
    import subprocess

    command = Ssh("gpu").command([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *words])
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == ascii(words)
    files.close()


@pytest.mark.parametrize("name", ["-oProxyCommand=id", "a b", "", "gpu;id", "gpu:folder", "$(id)"])
def test_what_cannot_be_the_name_of_a_host_is_refused(name):
    with pytest.raises(BadInputError, match="cannot be the name of a host"):
        Ssh(name)


def test_a_prefix_with_an_open_quote_is_refused():
    with pytest.raises(BadInputError, match="prefix"):
        ssh.split_prefix("srun 'half")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ssh: connect to host x port 22: No route to host", "cannot be reached from this network"),
        ("Received disconnect from 1.2.3.4: 2: Too many authentication failures", "refused your key"),
        ('Load key "/home/x/.ssh/id": Permission denied', "refused your key"),
        ("client_loop: send disconnect: Broken pipe", "broke"),
        ("something that nobody has seen before", "something that nobody has seen before"),
    ],
)
def test_other_words_of_openssh_are_understood(line, said):
    assert said in ssh_problem("gpu", [line]).message


def test_a_computer_without_openssh_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(ssh, "program_or_none", lambda name: None)
    with pytest.raises(BadInputError, match="Install the OpenSSH client"):
        Ssh("gpu").command(["true"])


def test_openssh_starts_with_the_environment_that_slicer_was_started_in(monkeypatch, tmp_path):
    """In Slicer, and in the relay that Slicer has started, which does not know Slicer."""
    before = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/own/lib"}
    monkeypatch.setenv("LD_LIBRARY_PATH", "/slicer/lib")
    monkeypatch.setenv("PYTHONHOME", "/slicer/python")
    slicer = SimpleNamespace(util=SimpleNamespace(startupEnvironment=lambda: dict(before)))
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    in_slicer = slicer_python.environment_for("ssh")
    relay = slicer_python.environment_for(sys.executable)
    assert relay["LD_LIBRARY_PATH"] == "/slicer/lib"  # Slicer's Python needs it
    monkeypatch.delitem(sys.modules, "slicer")
    monkeypatch.setattr(os, "environ", relay)
    in_relay = slicer_python.environment_for("ssh")
    for environment in (in_slicer, in_relay):
        assert environment["LD_LIBRARY_PATH"] == "/own/lib"
        assert "PYTHONHOME" not in environment
    assert slicer_python.STARTUP_VARIABLE not in in_relay
