"""`report`: what is drawn in a cohort, how long it took, and how good the results are, as a page."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from ..core import Cohort
from ..core.messages import counted
from ..worker.report_request import Reported, ReportRequest, default_path
from .shared_options import cohort_command
from .terminal_output import show_line


def add_report(commands) -> None:
    command = cohort_command(
        commands, "report", "write a page on the cohort: cases, effort, worklist, quality, pictures", show_report
    )
    command.add_argument(
        "--out", dest="path", metavar="HTML", default="", help="where to (default: report.html in the cohort folder)"
    )
    command.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        default=ReportRequest.pictures,
        help=f"show N cases in pictures, those with drawn slices first (default: {ReportRequest.pictures})",
    )
    command.set_defaults(default_output=_default_output)


def _default_output(options: Namespace) -> Path:
    """Where the report goes without '--out'. Raises CohortError and BadInputError as `Cohort.open`."""
    return default_path(Cohort.open(options.cohort, options.state))


def show_report(result: Reported) -> None:
    cases = counted(result.cases, "{count} case", "{count} cases")
    show_line(
        f"{cases}, {result.drawn} slices drawn in {result.minutes:g} minutes, {result.to_do} to do: {result.path}"
    )
    for warning in result.warnings:
        show_line(warning)
