"""The hosts that were set up on this computer: a strict JSON file in the user's configuration folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..core import BadInputError
from ..core.folder_lock import FolderLock
from ..core.messages import _
from ..core.strict_json import read_json, write_json
from .ssh import check_host_name, split_prefix

DEFAULT_FOLDER = "~/.local/share/sparse-annotate"
DEFAULT_PYTHON = "python3"
_LOCK_SECONDS = 5.0
_OF_SLURM = ("partition", "account", "qos", "cpus", "memory_gb")
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

    @property
    def submission(self) -> dict[str, Any]:
        """`job` without what is for Slurm alone when trainings there do not use it."""
        is_local = self.job.get("engine") == "local"
        return {name: value for name, value in self.job.items() if not (is_local and name in _OF_SLURM)}


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
            "host' under Environment."
        ).format(host=name)
    )


def again(name: str, job: dict[str, Any] | None = None, **given: Any) -> Host:
    """A host as it is known, or a new one, with the fields that are given: those that are not None.

    `job`: fields of a training, added to those that are known; None or an empty text removes one.
    """
    before = next((host for host in known_hosts() if host.name == name), None) or Host(name)
    fields = {field: value for field, value in given.items() if value is not None}
    together = {**before.job, **(job or {})}
    host = replace(before, job={field: value for field, value in together.items() if value not in (None, "")}, **fields)
    return host if host.folder == before.folder else replace(host, cohorts=())


def keep_host(host: Host) -> None:
    """Store a host, in place of one with its name. Raises FileWriteError."""
    _change(lambda hosts: [*(other for other in hosts if other.name != host.name), host])


def forget_host(name: str) -> Host:
    """Remove a host from this computer's list; what is on it stays. Raises BadInputError when it is not in the list."""
    host = host_named(name)
    _change(lambda hosts: [other for other in hosts if other.name != name])
    return host


def allow_copying(name: str, cohort: str) -> None:
    """Remember that a cohort, by its identity, may be copied to a host. Raises BadInputError."""
    host_named(name)

    def allowed(host: Host) -> Host:
        is_new = host.name == name and cohort not in host.cohorts
        return replace(host, cohorts=(*host.cohorts, cohort)) if is_new else host

    _change(lambda hosts: [allowed(host) for host in hosts])


def _change(change: Callable[[Sequence[Host]], Iterable[Host]]) -> None:
    """Change the list of hosts while no other process can. Raises BadInputError, BusyError, FileWriteError."""
    with FolderLock(hosts_path().parent, "changing the list of hosts", _LOCK_SECONDS):
        hosts = sorted(change(known_hosts()), key=lambda one: one.name)
        write_json(hosts_path(), HostsFile(tuple(hosts)), checksum=False)
