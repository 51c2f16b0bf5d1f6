"""Options that subcommands share (cohort, cases, output), and how options become a request."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from ..core import Watch
from ..core.registry import Entry
from ..worker import requests

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
DEVICES = "auto, cpu, cuda, cuda:1, mps"


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


def request_of_options(options: argparse.Namespace, watch: Watch, **made: Any) -> Any:
    """The result of the command's request; its fields are the options of the same names, or given by `made`."""
    request_class, function = requests.METHODS[options.request_name]
    return function(of_options(request_class, options, **made), watch)


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
