"""What OpenSSH reports, as a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core import WorkerError
from ..core.messages import _

SSH_FAILED = 255
"""The exit code by which `ssh` says that the connection itself failed."""


class ConnectionLostError(WorkerError):
    """The connection to a host could not be made, or broke.

    Attributes:
        may_return: True when trying again later may help.
    """

    def __init__(self, message: str, may_return: bool):
        super().__init__(message)
        self.may_return = may_return


_UNKNOWN_KEY = _(
    "OpenSSH does not know the key of the host '{host}' yet, and SparseAnnotate never accepts one by itself. Run 'ssh "
    "{host}' once in a terminal, compare the fingerprint with the one that the administrator gives, and answer 'yes'."
)
_CHANGED_KEY = _(
    "The key of the host '{host}' has changed since you last used it. Somebody may be intercepting the connection, or "
    "the computer was installed again. Ask its administrator; if that is so, remove the old key with 'ssh-keygen -R "
    "{host}' and run 'ssh {host}' once in a terminal."
)
_PASSWORD = _(
    "The host '{host}' asks for a password or a code. SparseAnnotate never asks for one and keeps none. Set up a key "
    "('ssh-keygen', then 'ssh-copy-id {host}'); if the key has a passphrase, add it to the agent with 'ssh-add'. Then "
    "'ssh {host}' must work without a question."
)
_REFUSED_KEY = _(
    "The host '{host}' refused your key (OpenSSH: {said}). Check the user name and the key for this host in your "
    "OpenSSH configuration, and that its public half is in the file authorized_keys there. 'ssh {host}' must work "
    "without a question."
)
_UNKNOWN_NAME = _(
    "There is no computer with the name '{host}' (OpenSSH: {said}). Check the name, your network or VPN, or add a "
    "'Host {host}' with its address to your OpenSSH configuration (~/.ssh/config)."
)
_TIMED_OUT = _(
    "The host '{host}' did not answer in time. Check that it is switched on, and your network or VPN; then try again."
)
_REFUSED = _(
    "The host '{host}' refused the connection: no SSH server answers there. Check the address and the port in your "
    "OpenSSH configuration, and that the server is running."
)
_NO_ROUTE = _(
    "The host '{host}' cannot be reached from this network (OpenSSH: {said}). Check your network or VPN, and try again."
)
_BAD_CONFIGURATION = _(
    "Your OpenSSH configuration cannot be used (OpenSSH: {said}). Correct it; then 'ssh {host}' must work."
)
_BROKEN = _("The connection to the host '{host}' broke. What was copied is kept; try again to resume.")
_OTHER = _("The host '{host}' cannot be used (OpenSSH: {said}). 'ssh {host}' must work without a question.")

_NOT_FOUND = r"command not found|No such file or directory|not found"
_MAY_RETURN = (_TIMED_OUT, _REFUSED, _NO_ROUTE, _BROKEN, _UNKNOWN_NAME)

_KNOWN: tuple[tuple[str, str], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|Offending .* key in", _CHANGED_KEY),
    (r"Host key verification failed|No \S+ host key is known for|authenticity of host", _UNKNOWN_KEY),
    (r"Permission denied \([^)]*(password|keyboard-interactive)", _PASSWORD),
    (r"Permission denied|Too many authentication failures|no mutual signature|Load key .*: ", _REFUSED_KEY),
    (r"Could not resolve hostname|Name or service not known", _UNKNOWN_NAME),
    (r"Bad configuration option|bad configuration options|Can't open user config file|Bad owner or permissions on", ""),
    (r"[Tt]imed out|Timeout, server .* not responding|timeout during banner", _TIMED_OUT),
    (r"Connection refused", _REFUSED),
    (r"No route to host|Network is unreachable|Network is down|Host is down", _NO_ROUTE),
    (
        r"Connection (to \S+ )?(closed|reset)|Broken pipe|client_loop|kex_exchange_identification|unexpectedly closed",
        _BROKEN,
    ),
)


def ssh_problem(host: str, lines: Sequence[str], was_connected: bool = False) -> ConnectionLostError:
    """What is wrong with a connection, from what `ssh` has written to stderr.

    `was_connected`: it worked before; without a known reason it broke.
    """
    text = "\n".join(lines)
    template: str | None = None
    said = ""
    for pattern, sentence in _KNOWN:
        found = re.search(pattern, text)
        if found:
            template = sentence or _BAD_CONFIGURATION
            said = next((line.strip() for line in lines if re.search(pattern, line)), "")
            break
    if template is None:
        template = _BROKEN if was_connected or not text.strip() else _OTHER
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ConnectionLostError(template.format(host=host, said=said.rstrip(".")), template in _MAY_RETURN)


def not_started(host: str, what: str, code: int, lines: Sequence[str]) -> WorkerError:
    """What is wrong when the connection works and a program on the host ends at once."""
    written = [line.strip() for line in lines if line.strip()]
    if not written:
        written = [_("exit code {code}, without a message").format(code=code)]
    said = written[-1].rstrip(".")
    if code == 127:  # a shell's hints may follow what it says of the program
        said = next((line.rstrip(".") for line in written if re.search(_NOT_FOUND, line)), said)
    if code == 127 or re.search(_NOT_FOUND, said):
        return WorkerError(
            _(
                "'{program}' was not found on the host '{host}' ({said}). Name another Python or prefix with "
                "'sparse-annotate host add {host} --python PATH'."
            ).format(program=what, host=host, said=said)
        )
    return WorkerError(
        _("'{program}' ended on the host '{host}' ({said}). Try it with 'ssh {host}' in a terminal.").format(
            program=what, host=host, said=said
        )
    )
