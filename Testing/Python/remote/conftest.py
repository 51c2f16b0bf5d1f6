"""A host to compute on: a real SSH server on this computer."""

from __future__ import annotations

import sys

import pytest

from SparseAnnotateLib.remote.hosts import Host, keep_host
from SparseAnnotateLib.remote.relay import Relay
from ssh_server import SshServer


@pytest.fixture(scope="module")
def running_server(tmp_path_factory):
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(running_server, tmp_path, monkeypatch):
    """The server, and a configuration folder of this user without any hosts."""
    monkeypatch.setenv("SPARSE_ANNOTATE_SSH_CONFIG", str(running_server.config))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    return running_server


@pytest.fixture
def host(server, tmp_path) -> Host:
    """A host that was set up to use this Python as it is."""
    host = Host(server.host, python=sys.executable, folder=str(tmp_path / "there"), as_is=True)
    keep_host(host)
    return host


@pytest.fixture(scope="module")
def folder_there(tmp_path_factory):
    """A folder there that several tests share, so that the library is sent once."""
    return tmp_path_factory.mktemp("there")


@pytest.fixture
def shared_host(server, folder_there) -> Host:
    """As `host`, with a folder there that several tests share; trainings do not wait in a queue."""
    host = Host(server.host, python=sys.executable, folder=str(folder_there), as_is=True, job={"engine": "local"})
    keep_host(host)
    return host


@pytest.fixture(scope="module")
def relays():
    """The relay that the tests of a file share, so that the worker there starts once."""
    kept: list[Relay] = []
    yield kept
    for relay in kept:
        relay.close()


@pytest.fixture
def relay(shared_host, relays):
    """A relay that may copy."""
    if not relays:
        relays.append(Relay(shared_host.name, is_allowed=True))
    return relays[0]
