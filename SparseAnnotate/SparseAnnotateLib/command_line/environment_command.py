"""`environment`: installed packages and usable devices."""

from __future__ import annotations

from typing import Any

from .shared_options import host_options, output_options, request_of_options
from .terminal_output import show_line


def add_environment(commands) -> None:
    command = commands.add_parser("environment", help="show installed packages and usable devices")
    command.set_defaults(function=request_of_options, show=show_environment, request_name="environment")
    output_options(command)
    host_options(command)


def show_environment(report: dict[str, Any]) -> None:
    show_line(report["message"])
    for name, version in report["packages"].items():
        show_line(f"  {name} {version or 'not installed'}")
