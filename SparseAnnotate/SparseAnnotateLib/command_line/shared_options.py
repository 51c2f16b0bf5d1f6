"""Options that subcommands share (cohort, cases, output), and how options become a request."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from ..core import DEFAULT_DEVICE, BadInputError, Watch
from ..core.messages import _
from ..core.registry import Entry
from ..core.strict_json import from_plain, to_plain
from ..worker import requests

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
DEVICES = "auto, cpu, cuda, cuda:1, mps"
DEVICE_HELP = f"device to compute on: {DEVICES} (default: {DEFAULT_DEVICE})"


def cohort_command(
    commands,
    name: str,
    text: str,
    show: Callable,
    function: Callable | None = None,
    needs_cohort: bool = True,
    request_name: str | None = None,
) -> argparse.ArgumentParser:
    """A subcommand for a request, by default that of the same name, with the shared options that it has fields for."""
    command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    command.add_argument(
        "cohort",
        metavar="COHORT",
        nargs=None if needs_cohort else "?",
        help="cohort folder, or a folder in the Medical Segmentation Decathlon format",
    )
    request_name = request_name or name.replace("-", "_")
    taken = {f.name for f in fields(requests.METHODS[request_name][0])}
    if "state" in taken:
        command.add_argument(
            "--state", metavar="FOLDER", help="keep annotations, ledgers, results and runs in this folder instead"
        )
    if "cases" in taken:
        command.add_argument("--cases", nargs="+", default=(), help="only these cases")
    command.set_defaults(function=function or request_of_options, show=show, request_name=request_name)
    output_options(command)
    return command


def output_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print only the result, as JSON")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "--verbose",
        action="store_true",
        help="show when messages were written, and where an error comes from",
    )


def host_options(command: argparse.ArgumentParser) -> None:
    """The options of commands whose work can be done on another computer; see `answered`."""
    command.add_argument(
        "--on", metavar="HOST", help="do it on this host, which 'host add' has set up; files are copied as needed"
    )
    command.add_argument(
        "--allow-copying",
        action="store_true",
        help="with '--on', once for a cohort: its images and labels may be copied to this host; each time for scans in "
        "no cohort; no names of people, no DICOM headers",
    )


def request_of_options(options: argparse.Namespace, watch: Watch, **made: Any) -> Any:
    """The result of the command's request; its fields are the options of the same names, or given by `made`."""
    request_class, _function = requests.METHODS[options.request_name]
    return answered(options, options.request_name, of_options(request_class, options, **made), watch)


def answered(options: argparse.Namespace, method: str, request: Any, watch: Watch) -> Any:
    """The result of a request: done here, or with '--on' on a host."""
    function = requests.METHODS[method][1]
    require_on(options)
    if getattr(options, "on", None) is None:
        return function(request, watch)
    from ..remote.relay import Relay

    relay = Relay(options.on, options.allow_copying)
    try:
        plain = relay.answer(method, to_plain(request), watch, always_there=True)
    finally:
        relay.close()
    kind = get_type_hints(function)["return"]
    return plain if kind is Any else from_plain(plain, kind, _("the answer of '{host}'").format(host=options.on))


def require_on(options: argparse.Namespace) -> None:
    """Raise BadInputError when copying is allowed to no host."""
    if getattr(options, "allow_copying", False) and getattr(options, "on", None) is None:
        raise BadInputError(_("'--allow-copying' is only for '--on HOST'. Leave it out, or name the host."))


def of_options(cls: type[T], options: argparse.Namespace, **made: Any) -> T:
    """A dataclass whose fields are the options of the same names, or given by `made`."""
    given = {f.name: getattr(options, f.name) for f in fields(cls) if f.name not in made}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return cls(**given, **made)


def quoted(names: Iterable[str]) -> str:
    """The names of parts as text: 'one' and 'other'."""
    return " and ".join(f"'{name}'" for name in names)


def given_with(option: str, parts: Iterable[Entry]) -> str:
    """For `--help`, the option with each of the parts: --option one or --option other."""
    return " or ".join(f"{option} {entry.name}" for entry in parts)


def choices(parts: Mapping[str, Entry]) -> str:
    """The choices of an option with their descriptions, as text for `--help`."""
    return " ".join(f"{entry.name}: {entry.description}" for entry in parts.values()).replace("%", "%%")
