"""Requests about hosts, for the panel and the console: the same functions as the command `host`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from ..client.request_server import InvalidRequestError, RequestServer
from ..core import BadInputError, Watch
from ..core.slicer_python import worker_python
from ..core.strict_json import from_plain
from .hosts import again, host_named
from .setting_up import HostReport, add_host, check_host, clean_host


@dataclass(frozen=True)
class AddHostRequest:
    """Set a host up; see `Host` for the fields. None: as before, where the host was set up already."""

    name: str
    prefix: str | None = None
    python: str | None = None
    folder: str | None = None
    as_is: bool | None = None


@dataclass(frozen=True)
class CheckHostRequest:
    """Check a host."""

    name: str


@dataclass(frozen=True)
class CleanHostRequest:
    """Remove what is on a host; see `clean_host`."""

    name: str
    everything: bool = False


def _add(request: AddHostRequest, watch: Watch) -> HostReport:
    host = again(request.name, prefix=request.prefix, python=request.python, folder=request.folder, as_is=request.as_is)
    return add_host(host, watch)


def _check(request: CheckHostRequest, watch: Watch) -> HostReport:
    return check_host(host_named(request.name), watch)


def _clean(request: CleanHostRequest, watch: Watch) -> str:
    return clean_host(host_named(request.name), request.everything, watch)[1]


HOST_METHODS: dict[str, tuple[type[Any], Callable[[Any, Watch], Any]]] = {
    "add_host": (AddHostRequest, _add),
    "check_host": (CheckHostRequest, _check),
    "clean_host": (CleanHostRequest, _clean),
}


def hosts_command() -> list[str]:
    """Command line of the process that answers these requests, to be run in LIBRARY_FOLDER."""
    return [worker_python(), "-m", "SparseAnnotateLib.remote", "hosts"]


def serve_hosts(streams: tuple[IO[bytes], IO[bytes]]) -> None:
    """Answer requests about hosts until their stream ends."""

    def answer(method: str, params: Any, watch: Watch) -> Any:
        kind, function = HOST_METHODS[method]
        try:
            request = from_plain(params, kind, f"the request '{method}'")
        except BadInputError as error:
            raise InvalidRequestError(error.message) from error
        watch.check()
        return function(request, watch)

    RequestServer(*streams, HOST_METHODS, answer).serve()
