"""How other computers are reached: the command lines of OpenSSH's programs, which never ask anything."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core import BadInputError
from ..core.messages import _
from ..core.slicer_python import environment_for

SSH_CONFIG_VARIABLE = "SPARSE_ANNOTATE_SSH_CONFIG"
"""Environment variable that names another configuration file for OpenSSH; by default OpenSSH's own."""

_OPTIONS = (
    "BatchMode=yes",  # never a question: it would wait where nobody sees it
    "ConnectTimeout=15",
    # A connection that drops silently is noticed after 20 to 25 s: until then new programs wait for the shared one.
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)
# Whether a key of a host is accepted is not among them: this is as the user's own configuration says.


@dataclass(frozen=True)
class Ssh:
    """OpenSSH's programs with the options for one host, a name in the user's OpenSSH configuration or on the network.

    `further` returns more options; see `SharedConnection`. Raises BadInputError when that cannot be the name of a host.
    """

    host: str
    further: Callable[[], Sequence[str]] = tuple

    def __post_init__(self) -> None:
        check_host_name(self.host)

    @property
    def options(self) -> list[str]:
        """The options of `ssh` and `sftp`."""
        config = os.environ.get(SSH_CONFIG_VARIABLE)
        chosen = ["-F", config] if config else []
        return [*chosen, *(word for option in _OPTIONS for word in ("-o", option)), *self.further()]

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program on the host: its words reach it as they are, whatever the shell."""
        return [program("ssh"), "-T", *self.options, "--", self.host, shlex.join(words)]

    def sftp(self) -> list[str]:
        """The command line of `sftp`, which reads its commands from stdin."""
        return [program("sftp"), "-q", "-b", "-", *self.options, "--", self.host]

    def rsync_shell(self) -> str:
        """What `rsync -e` needs."""
        return shlex.join([program("ssh"), "-T", *self.options])


def check_host_name(host: str) -> None:
    """Raise BadInputError when a text cannot be the name of a host; it must not be taken for an option."""
    if not re.fullmatch(r"[\w@%+.\[\]-]+", host) or host.startswith("-"):
        raise BadInputError(
            _(
                "'{host}' cannot be the name of a host. Use a name from your OpenSSH configuration (~/.ssh/config), "
                "or user@computer."
            ).format(host=host)
        )


def split_prefix(prefix: str) -> list[str]:
    """The words of a prefix. Raises BadInputError when its quotes do not match."""
    try:
        return shlex.split(prefix)
    except ValueError as error:
        raise BadInputError(
            _("The prefix '{prefix}' cannot be used ({reason}).").format(prefix=prefix, reason=str(error))
        ) from error


def program(name: str) -> str:
    """The path of one of OpenSSH's programs on this computer. Raises BadInputError when it is not installed."""
    found = program_or_none(name)
    if found is None:
        raise BadInputError(
            _(
                "OpenSSH's program '{name}' was not found on this computer. Install the OpenSSH client: on Windows "
                "under Settings > Optional features, on Linux the package 'openssh-client'."
            ).format(name=name)
        )
    return found


def program_or_none(name: str) -> str | None:
    """The path of a program that is not Slicer's own; None when it is not installed."""
    return shutil.which(name, path=environment_for(name).get("PATH"))
