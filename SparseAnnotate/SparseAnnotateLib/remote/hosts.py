"""The hosts that were set up on this computer: a strict JSON file in the user's configuration folder."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..core import BadInputError
from ..core.messages import _
from ..core.strict_json import read_json, write_json
from .ssh import check_host_name, split_prefix

DEFAULT_FOLDER = "~/.local/share/sparse-annotate"
DEFAULT_PYTHON = "python3"
CopyWith = Literal["auto", "rsync", "sftp"]


@dataclass(frozen=True)
class Host:
    """A computer to compute on.

    Attributes:
        name: of the host in the user's OpenSSH configuration.
        prefix: what the worker is started with there, such as 'srun --gres=gpu:1 --time=2:00:00'.
        python: there. as_is: use its packages as they are; otherwise an environment of our own was made with it.
        environment: the Python of that environment; '' when there is none yet.
        requirements: fingerprint of the packages that the environment was made with.
        folder: there, for everything of ours.
        copy_with: the program that copies files.
        job: of a training there: partition, gpus, hours and other fields of `submit`.
        cohorts: identities of the cohorts that may be copied there; the user was asked.
    """

    name: str
    prefix: str = ""
    python: str = DEFAULT_PYTHON
    folder: str = DEFAULT_FOLDER
    as_is: bool = False
    environment: str = ""
    requirements: str = ""
    copy_with: CopyWith = "auto"
    job: dict[str, Any] = field(default_factory=dict)
    cohorts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_host_name(self.name)
        split_prefix(self.prefix)


@dataclass(frozen=True)
class HostsFile:
    """The content of hosts.json."""

    hosts: tuple[Host, ...] = ()
    format: Literal["SparseAnnotate hosts"] = "SparseAnnotate hosts"
    version: Literal[1] = 1


def hosts_path() -> Path:
    """The file, in the folder where this system keeps settings of users."""
    home = Path(os.path.expanduser("~"))
    if os.name == "nt":
        folder = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return folder / "sparse-annotate" / "hosts.json"


def known_hosts() -> tuple[Host, ...]:
    """The hosts that were set up. Raises BadInputError when the file is damaged."""
    path = hosts_path()
    return read_json(path, HostsFile).hosts if path.is_file() else ()


def host_named(name: str) -> Host:
    """A host that was set up. Raises BadInputError when it was not."""
    for host in known_hosts():
        if host.name == name:
            return host
    raise BadInputError(
        _(
            "The host '{host}' has not been set up. Set it up with 'sparse-annotate host add {host}', or with 'Add "
            "host...' under Environment."
        ).format(host=name)
    )


def keep_host(host: Host) -> None:
    """Store a host, in place of one with its name. Raises FileWriteError."""
    others = [other for other in known_hosts() if other.name != host.name]
    write_json(hosts_path(), HostsFile(tuple(sorted([*others, host], key=lambda one: one.name))), checksum=False)


def forget_host(name: str) -> None:
    """Remove a host from this computer's list; what is on it stays. Raises BadInputError when it is not in the list."""
    host_named(name)
    others = tuple(host for host in known_hosts() if host.name != name)
    write_json(hosts_path(), HostsFile(others), checksum=False)


def allow_copying(name: str, cohort: str) -> None:
    """Remember that a cohort, by its identity, may be copied to a host."""
    host = host_named(name)
    if cohort not in host.cohorts:
        keep_host(replace(host, cohorts=(*host.cohorts, cohort)))
