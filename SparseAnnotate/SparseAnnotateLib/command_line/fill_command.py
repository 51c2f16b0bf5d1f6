"""`fill`: label the slices between drawn ones."""

from __future__ import annotations

from collections.abc import Sequence

from ..interpolation import INTERPOLATORS, choosing_methods, methods_with
from ..worker.fill_request import FillRequest, FillResult
from .shared_options import DEVICES, choices, cohort_command, host_options, quoted
from .terminal_output import show_line, show_notes, show_table


def add_fill(commands) -> None:
    command = cohort_command(commands, "fill", "fill between drawn slices", show_fills)
    host_options(command)
    defaults = FillRequest("")
    command.add_argument(
        "--method", default=defaults.method, help=f"{choices(INTERPOLATORS)} Default: {defaults.method}."
    )
    command.add_argument(
        "--steps",
        type=int,
        default=defaults.steps,
        metavar="N",
        help=f"training steps of {quoted(methods_with('steps'))}",
    )
    command.add_argument(
        "--device",
        default=defaults.device,
        help=f"device for {quoted(methods_with('device'))} and for '--run': {DEVICES} (default: {defaults.device})",
    )
    command.add_argument(
        "--beyond",
        type=int,
        metavar="N",
        help="largest number of slices to fill beyond the outermost drawn ones (default: automatic taper)",
    )
    command.add_argument(
        "--methods",
        nargs="+",
        default=defaults.methods,
        help=f"methods that {quoted(choosing_methods())} mixes (default: {', '.join(defaults.methods)})",
    )
    command.add_argument(
        "--run",
        default=defaults.run,
        metavar="RUN",
        help=f"a finished run that takes part in {quoted(choosing_methods())}",
    )
    command.add_argument(
        "--earlier",
        nargs="+",
        default=defaults.earlier,
        metavar="NAME",
        help=f"stored results that take part in {quoted(choosing_methods())}: 'fill', or a run or imported predictions",
    )
    command.add_argument(
        "--time-limit",
        type=float,
        default=defaults.time_limit,
        metavar="SECONDS",
        help=f"seconds for one volume with {quoted(methods_with('time_limit'))} (default: {defaults.time_limit:g})",
    )


def show_fills(rows: Sequence[FillResult]) -> None:
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        show_line(summary)
    show_notes((row.case, sentence) for row in rows for sentence in row.warnings)
